"""The numbers of a figure as comma-separated text, which spreadsheets and pandas read."""

import csv
import io
from collections.abc import Iterable, Sequence

from torch import Tensor

__all__ = ["Column", "joined", "written_out"]

Column = tuple[str, Tensor, Tensor]
"""A name, keys [n] and values [n]."""


def joined(key: str, columns: Iterable[Column]) -> str:
    """Columns over the keys of all of them, in increasing order, with nothing where a column lacks a key.

    >>> import torch
    >>> a, b = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    >>> print(joined("step", [("D", a, a * 0.5), ("G, EMA", b, b * 3)]), end="")
    step,D,"G, EMA"
    1,0.5,
    2,1,6
    4,,12
    """
    columns = list(columns)
    rows: dict[float, list[str]] = {}
    for i, (_, keys, values) in enumerate(columns):
        for at, value in zip(keys.tolist(), values.tolist()):
            rows.setdefault(at, [""] * len(columns))[i] = f"{value:.6g}"
    names = [name for name, _, _ in columns]
    return written_out([key, *names], [[f"{at:.12g}", *rows[at]] for at in sorted(rows)])


def written_out(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A heading and rows of text as CSV: RFC 4180, with plain line ends.

    >>> print(written_out(["a", "b, c"], [["1", "2"]]), end="")
    a,"b, c"
    1,2
    """
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([names, *rows])
    return stream.getvalue()
