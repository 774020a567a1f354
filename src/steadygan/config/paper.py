"""What a paper says of the experiment that a recipe repeats."""

from typing import Annotated

from pydantic import AfterValidator

from steadygan.config.field_types import NonNegative, Real, Strict

__all__ = ["Paper"]

Figure = Real | tuple[Real, NonNegative]
"""A published number, alone or with what stands after it, as 6.81 and 0.03 of 6.81 ± 0.03."""


def _one_line(text: str) -> str:
    if not text.strip() or len(text.splitlines()) != 1:
        raise ValueError("takes one line of text")
    return text


Line = Annotated[str, AfterValidator(_one_line)]


class Paper(Strict):
    """The row of a table, or the figure, that a recipe repeats, with the numbers published there.

    `protocol` says how these were taken. They are of the paper's run, and of nothing that this package has trained.
    """

    source: Line
    row: Line
    inception_score: Figure | None = None
    fid: Figure | None = None
    protocol: Line | None = None
