"""The claims of the papers that docs/results.md judges, and the sentences of its verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.table2.choice import difference, read
from experiments.table2.tables import LATE_TABLE

__all__ = ["ALL", "CLAIMS", "ELSEWHERE", "OPPOSITE", "SUPPORTED", "UNDECIDED", "Claim", "verdict"]

ALL, FEW = "fashion-mnist-all-dcgan", str(LATE_TABLE)
SUPPORTED, UNDECIDED = "**supported here**", "not supported here: undecided"
OPPOSITE = "not supported here: the opposite"


class Claim(NamedTuple):
    """A claim that one method has a lower kernel distance than another; `limits` of what is tested here.

    `unmet` is the condition of the claim that no run here meets: then the effect is shown, and not judged. The runs are
    those of `table`.
    """

    paper: str
    text: str
    first: str
    second: str
    limits: str = ""
    unmet: str = ""
    table: str = ALL


FRESH = (
    "With all images. It needs a critic that knows its images, and here the gap of 0GP's critic is near 0. This rule "
    "was applied after the first figures, which were against the claim"
)
WEAK = "The paper reports a collapse, and no run here collapses. It also expects a large N0 to slow the start"

LATE = "FARGAN, Table 2 and Fig. 7"
KNOWN = (
    "100 images, which 0GP's critic tells from held-out ones. 0GP still becomes better at the end, so there is no "
    "collapse yet that fake-as-real could prevent"
)

NO_CR = "Without consistency (CR). In the table PGN's IS is higher; its FID is lower on the CNN, and higher on ResNet"
OURS = "The paper's text allows several readings, and compares none"
GAMMA = "Adam in place of RMSProp; gamma = 0.1, which the paper has for three layers, and 10 for four"

CLAIMS = (
    Claim(LATE, "fake-as-real with f = 8 is better than 0GP alone", "fargan", "0gp", KNOWN, table=FEW),
    Claim(LATE, "f = 8 is better than f = 1", "fargan", "fargan-f1", KNOWN, table=FEW),
    Claim("FARGAN, Table 2", "fake-as-real is better than 0GP alone", "fargan", "0gp", unmet=FRESH),
    Claim("FARGAN, Fig. 7", "f = 8 is better than f = 1", "fargan", "fargan-f1", unmet=FRESH),
    Claim("FARGAN, Fig. 7", "too large an N0 is worse", "fargan", "fargan-n75", unmet=WEAK),
    Claim("PGN, Table II", "PGN is better than GN", "pgn", "gn", NO_CR),
    Claim("PGN, Table II", "PGN is better than SN", "pgn", "sn", NO_CR),
    Claim("GN; PGN, Table II", "GN is better than SN", "gn", "sn", "Without consistency (CR)"),
    Claim("ours, of PGN", "the elementwise reading is better than the proof's", "pgn", "pgn-proof", OURS),
    Claim("ours, of PGN", "the elementwise reading is better than the scalar one", "pgn", "pgn-scalar", OURS),
    Claim(
        "Numerics, Fig. 7",
        "without batch norm, consensus is better than alternating updates",
        "consensus",
        "nsgan-nobn",
        GAMMA,
    ),
    Claim(
        "Numerics, Fig. 7",
        "with batch norm, consensus is worse than alternating updates",
        "nsgan",
        "consensus-bn",
        unmet="The paper's D has batch norm too, and here none has",
    ),
    Claim(
        "Numerics, Fig. 11",
        "consensus without batch norm is better than alternating updates with it",
        "consensus",
        "nsgan",
        f"Batch norm in G alone. {GAMMA}",
    ),
    Claim(
        "Survey",
        "WGAN (here WGAN-GP) is better than GAN",
        "wgan-gp",
        "nsgan",
        "The slides show samples of WGAN with clipping, most clearly without batch norm. Here G has it, and D takes "
        "five updates a step",
    ),
    Claim(
        "R3GAN",
        "the relativistic loss with R1 and R2 is better than R1 with the classic loss",
        "r3gan",
        "0gp",
        unmet="Weights differ 20-fold (gamma = 1 against 20), so the loss alone is not compared. R3GAN's loss is meant "
        "for stability and modes",
    ),
)

ELSEWHERE = (
    (
        "PGN, with CR",
        "consistency improves SN, GN and PGN",
        "not testable here",
        "No run here has consistency, which adds up to a third to a step. `--paper` has these rows",
    ),
    (
        "Survey",
        "an encoder helps against missing modes",
        f"{SUPPORTED} for MDGAN; undecided for Reg-GAN",
        "Modes of stacked digits: [games](games.md)",
    ),
    (
        "Survey",
        "instance noise helps",
        UNDECIDED,
        "Modes of a ring, eight seeds with and without: [survey](survey.md)",
    ),
)
"""Claims that need other runs: the paper, the claim, the verdict and why."""


def verdict(claim: Claim, scores: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """The verdict of a claim and its effect in words, from each method's scores over seeds.

    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 1.2], "b": [4.0, 4.2]})
    ('**supported here**', '-3.00 [-3.61, -2.39], -73 %')
    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 4.0], "b": [2.0, 4.2]})[0]
    'not supported here: undecided'
    >>> verdict(Claim("P", "a beats b", "a", "b", unmet="long runs"), {"a": [1.0, 4.0], "b": [2.0, 4.2]})[0]
    'not testable here'
    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 1.2]})
    ('not run yet', '')
    """
    first, second = scores.get(claim.first, ()), scores.get(claim.second, ())
    if not first or not second:
        return "not run yet", ""
    found = difference(first, second)
    if math.isnan(found.low):
        return "not testable here", "fewer than two seeds have a score"
    share = found.value / (sum(second) / len(second))
    effect = f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}], {share:+.0%}".replace("%", " %")
    if claim.unmet:
        return "not testable here", effect
    return {"lower": SUPPORTED, "undecided": UNDECIDED, "higher": OPPOSITE}[read(found)], effect
