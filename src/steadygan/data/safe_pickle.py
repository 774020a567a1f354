"""Read pickles of arrays safely: nothing is called, and only dicts, lists, text, numbers and bytes are made.

An ordinary unpickler calls any function that the file names. Here the four names that Python 2 uses for numpy arrays
stand for harmless classes of this module, and any other name is refused.
"""

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from steadygan.errors import UsageError

__all__ = ["read_pickle"]


DIMENSIONS, SAID = 4, 100
"""The most dimensions of an array, and characters of a file that an error repeats."""


class Marker:
    """Stands for numpy.ndarray, the first argument of numpy's `_reconstruct`."""

    def __setstate__(self, state: Any) -> None:
        """Raise ValueError, because a marker has no state."""
        raise ValueError("a state where none belongs")


class Kind:
    """Stands for numpy.dtype(name, 0, 1). Only bytes (u1) are allowed."""

    def __init__(self, name: Any, *_: Any) -> None:
        """Raise ValueError for every type but bytes."""
        if name not in ("u1", b"u1", "|u1", "uint8"):
            raise ValueError(
                f"an array of {name!r} instead of bytes" if isinstance(name, str) else "no bytes"
            )

    def __setstate__(self, state: Any) -> None:
        """Ignore the byte order, which bytes do not have."""


class Array:
    """Stands for the array of numpy's `_reconstruct`: its state is version, shape, type, by columns, and contents."""

    def __init__(self, *_: Any) -> None:
        """Start empty."""
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        """Set shape and contents. Raises ValueError if they do not fit each other."""
        _, shape, kind, by_columns, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if (
            not isinstance(kind, Kind)
            or by_columns
            or not isinstance(raw, bytes)
            or len(shape) > DIMENSIONS
            or not all(type(side) is int and 0 <= side <= len(raw) for side in shape)
            or len(raw) != math.prod(shape)
        ):
            raise ValueError("an array whose shape and contents do not match")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape)


class Encode(Marker):
    """Stands for _codecs.encode, with which Python 3 writes text for Python 2. A class, to refuse a state."""

    def __call__(self, text: Any, *encoding: Any) -> bytes:
        """Encode the text. Raises ValueError for an encoding other than latin1."""
        if encoding not in ((), ("latin1",)) or not isinstance(text, str):
            raise ValueError("an encoding that the data set does not use")
        return text.encode("latin1")


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
    ("numpy", "ndarray"): Marker,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): Encode(),
}


class Safe(pickle._Unpickler):
    """An unpickler that knows the names in ADMITTED and no others, and keys of text alone.

    It is Python's own one in Python, for which an operation is an entry of a table.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for. Raises UsageError for any other name."""
        if (module, name) not in ADMITTED:
            raise UsageError(f"asks for {f'{module}.{name}'[:SAID]}")
        return ADMITTED[module, name]


Load = Callable[[Safe], None]


def _with_text_keys(load: Load, keys: slice) -> Load:
    """The operation, if the `keys` among the values on the stack are text. Python hashes a key.

    A tuple of 50 tuples in each other, each with the next one twice, takes 2^50 steps to hash.
    """

    def checked(self: Safe) -> None:
        if not all(type(key) in (str, bytes) for key in self.stack[keys]):
            raise ValueError("a key that is no text")
        load(self)

    return checked


def _refused(self: Safe) -> None:
    raise ValueError("a set")  # whose members are hashed, too


KEYED = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(None, None, 2),
    pickle.DICT: slice(None, None, 2),
}
"""The operations that put something into a dict, and where its keys are among the values on the stack."""

Safe.dispatch |= {
    **{code[0]: _with_text_keys(Safe.dispatch[code[0]], keys) for code, keys in KEYED.items()},
    **{code[0]: _refused for code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)},
}


def read_pickle(raw: bytes, place: Path | str) -> dict[str, Any]:
    """Read a pickled dict of text, numbers, lists and arrays of bytes. `place` is its name in an error.

    Nothing that the file names is imported or called. Raises UsageError for a pickle that asks for any other global
    (which is named), for an incomplete pickle, and for one without a dict.

    >>> read_pickle(pickle.dumps({b"labels": [3, 1]}, 2), "some file")
    {'labels': [3, 1]}
    >>> read_pickle(b"cos\\nsystem\\n(S'ls'\\ntR.", "f")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    steadygan.errors.UsageError: f asks for os.system, which the original files never do; do not trust it, and ...
    """
    try:
        found = _plain(Safe(io.BytesIO(raw), encoding="latin1").load())
    except UsageError as error:
        raise UsageError(
            f"{place} {error}, which the original files never do; do not trust it, and download the data set again"
        ) from None
    except Exception as error:  # a damaged pickle may raise almost anything
        reason = " ".join(str(error)[:SAID].split()).rstrip(".") or type(error).__name__
        raise UsageError(f"{place} is a damaged pickle ({reason}); download the data set again") from error
    if not isinstance(found, dict):
        raise UsageError(f"{place} has no table of images; download the data set again")
    return found


def _plain(value: Any) -> Any:
    """A dict with text keys, and with numpy arrays in place of `Array`."""
    if not isinstance(value, dict):
        return value
    text = {key.decode("latin1") if isinstance(key, bytes) else key: part for key, part in value.items()}
    return {key: part.values if isinstance(part, Array) else part for key, part in text.items()}
