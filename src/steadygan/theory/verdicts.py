"""The verdict on a statement, and how it follows from the cases."""

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
    """The outcome of one check: the statement, its source and claim, what was measured, the number of cases."""

    name: str
    source: str
    claim: str
    measured: str
    verdict: str
    cases: int


def judge(printed: Tensor, corrected: Tensor | None = None, broken: str = FALSE) -> str:
    """Derive the verdict from the cases in which the printed and the corrected claim held (bool, any shape).

    HOLDS: the printed claim held in every case. Otherwise the verdict is `broken`: FALSE for a claim that needs
    another formula, AS_CORRECTED for one that leaves out a hypothesis or a reading. FAILS in three situations:
    a case violates the corrected claim; a case violates the printed claim and no corrected one is given; there
    are no cases.

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
