"""Pickles of arrays read safely: nothing is called, and nothing is made but dicts, lists, text, numbers and bytes.

An ordinary unpickler calls whatever function the file names. Here the four names that python 2's pickles of numpy
arrays use stand for inert classes of ours, and any other name is refused.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from steadygan.errors import UsageError

__all__ = ["read_pickle"]


class Marker:
    """What numpy.ndarray stands for: the first argument of `Array`'s maker."""

    def __setstate__(self, state: Any) -> None:
        """Refuse: a marker has no state."""
        raise ValueError("a state where none belongs")


class Kind:
    """What numpy.dtype(name, 0, 1) makes; only bytes, u1, are an array's kind here."""

    def __init__(self, name: Any, *_: Any) -> None:
        """Refuse every kind but bytes."""
        if name not in ("u1", b"u1", "|u1", "uint8"):
            raise ValueError(f"an array of {name!r} instead of bytes")

    def __setstate__(self, state: Any) -> None:
        """Take the byte order, which bytes have not."""


class Array:
    """What numpy's reconstruct makes, and the state that follows fills: version, shape, kind, by columns, contents."""

    def __init__(self, *_: Any) -> None:
        """Begin empty."""
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        """Take shape and contents. Raises ValueError where they do not fit each other."""
        _, shape, kind, by_columns, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if (
            not isinstance(kind, Kind)
            or by_columns
            or not isinstance(raw, bytes)
            or len(raw) != math.prod(shape)
        ):
            raise ValueError("an array whose shape and contents do not fit")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape)


class Encode(Marker):
    """What _codecs.encode stands for: text that python 3 wrote for python 2; no function, as these have state."""

    def __call__(self, text: Any, *encoding: Any) -> bytes:
        """The bytes. Raises ValueError for another encoding."""
        if encoding not in ((), ("latin1",)) or not isinstance(text, str):
            raise ValueError("an encoding that the set does not use")
        return text.encode("latin1")


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
    ("numpy", "ndarray"): Marker,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): Encode(),
}


class Safe(pickle.Unpickler):
    """An unpickler that knows the names in ADMITTED and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """Give what a name stands for. Raises UsageError for a name that the sets' files do not use."""
        if (module, name) not in ADMITTED:
            raise UsageError(f"asks for {module}.{name}")
        return ADMITTED[module, name]


def read_pickle(raw: bytes, place: Path | str) -> dict[str, Any]:
    """Read a pickled dict of text, numbers, lists and arrays of bytes; `place` is what a sentence calls it.

    Nothing that the file names is imported or called. Raises UsageError for a pickle that asks for any other global
    (it is named), for one that is cut short, and for one that holds no dict.

    >>> read_pickle(pickle.dumps({b"labels": [3, 1]}, 2), "some file")
    {'labels': [3, 1]}
    >>> read_pickle(b"cos\\nsystem\\n(S'ls'\\ntR.", "f")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    steadygan.errors.UsageError: f asks for os.system, which the set's own files never do; do not trust it, and ...
    """
    try:
        found = _plain(Safe(io.BytesIO(raw), encoding="latin1").load())
    except UsageError as error:
        raise UsageError(
            f"{place} {error}, which the set's own files never do; do not trust it, and download the set again"
        ) from None
    except Exception as error:  # a damaged pickle may raise almost anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UsageError(f"{place} is no whole pickle of the set ({reason}); download it again") from error
    if not isinstance(found, dict):
        raise UsageError(f"{place} holds no table of images; download the set again")
    return found


def _plain(value: Any) -> Any:
    """A dict by text keys, with arrays for what stands for them."""
    if not isinstance(value, dict):
        return value
    text = {key.decode("latin1") if isinstance(key, bytes) else key: part for key, part in value.items()}
    return {key: part.values if isinstance(part, Array) else part for key, part in text.items()}
