"""What a paper says of the experiment that a recipe repeats."""

from typing import Annotated

from pydantic import AfterValidator, Field

from steadygan.config.field_types import NonNegative, Real, Strict, Words

__all__ = ["Paper"]

Figure = Annotated[Real | tuple[Real, NonNegative], Words("number, or [number, deviation]")]
"""A published number, alone or with what stands after it, as 6.81 and 0.03 of 6.81 ± 0.03."""


def _one_line(text: str) -> str:
    if not text.strip() or len(text.splitlines()) != 1:
        raise ValueError("takes one line of text")
    return text


Line = Annotated[str, AfterValidator(_one_line), Words("one line of text")]


class Paper(Strict):
    """The row of a table, or the figure, that a recipe repeats, with the numbers published there.

    The numbers are of the paper's run, and of nothing that this package has trained.
    """

    source: Line = Field(examples=["Tao and Wang 2020"])
    """The paper."""

    row: Line = Field(examples=["Table II"])
    """The table and row, or the figure."""

    inception_score: Figure | None = Field(None, examples=[[6.81, 0.03]])
    """Published Inception score."""

    fid: Figure | None = Field(None, examples=[25.0])
    """Published Fréchet Inception distance."""

    protocol: Line | None = Field(None, examples=["50,000 samples"])
    """How these numbers were taken."""
