"""What a check says of a statement, and how that follows from its cases."""

from typing import NamedTuple

from torch import Tensor

__all__ = [
    "AS_CORRECTED",
    "FAILS",
    "FALSE",
    "FARGAN",
    "HOLDS",
    "NUMERICS",
    "PGN",
    "SURVEY",
    "Verdict",
    "judge",
]

HOLDS = "holds"
AS_CORRECTED = "holds as corrected"
FALSE = "false as printed"
FAILS = "fails"

FARGAN = "Tao and Wang 2020 (FARGAN)"
PGN = "Xia 2023 (PGN)"
NUMERICS = "Mescheder 2017 (Numerics of GANs), supplement"
SURVEY = "Li 2017 (slides on gradient issues)"


class Verdict(NamedTuple):
    """A statement by its name and source, what it claims, what was measured on how many cases, and the outcome."""

    name: str
    source: str
    claim: str
    measured: str
    verdict: str
    cases: int


def judge(printed: Tensor, corrected: Tensor | None = None, broken: str = FALSE) -> str:
    """Say what follows from the cases in which the printed and the corrected claim held (bool, any shape).

    HOLDS if the printed claim held in every case; else `broken`: FALSE for a claim that needs another formula,
    AS_CORRECTED for one that needs a hypothesis or a reading which it does not state. FAILS if the corrected
    claim did not hold in every case, or if the printed one did not and there is none to correct it, and where
    there are no cases, which would say nothing.

    >>> import torch
    >>> true, mixed = torch.tensor([True, True]), torch.tensor([True, False])
    >>> judge(true), judge(mixed), judge(mixed, true), judge(mixed, mixed), judge(true[:0])
    ('holds', 'fails', 'false as printed', 'fails', 'fails')
    """
    if not printed.numel() or (corrected is not None and not corrected.numel()):
        return FAILS
    if corrected is not None and not bool(corrected.all()):
        return FAILS
    if bool(printed.all()):
        return HOLDS
    return FAILS if corrected is None else broken
