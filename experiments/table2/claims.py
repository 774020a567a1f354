"""The claims of the papers that docs/results.md judges, and the sentences of its verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.table2.choice import difference, read
from experiments.table2.tables import LATE_TABLE

__all__ = [
    "ALL",
    "CLAIMS",
    "ELSEWHERE",
    "GAP",
    "LOGITS",
    "OPPOSITE",
    "SUPPORTED",
    "UNDECIDED",
    "Claim",
    "verdict",
]

ALL, FEW = "fashion-mnist-all-dcgan", str(LATE_TABLE)
SUPPORTED, UNDECIDED, OPPOSITE = (
    "**supported here**",
    "not supported here",
    "not supported here: the opposite",
)

KD, GAP, LOGITS = "kd_fashion_mnist", "gap", "gap in logits"
"""The score, and two measures of how well a critic knows its images: in spreads of its logits, and in logits."""


class Claim(NamedTuple):
    """A claim that one method has a lower kernel distance than another; `limits` of what is tested here.

    `unmet` is the condition of the claim that no run here meets: then the effect is shown, and not judged. The runs are
    those of `table`, and `measure` is what is compared, not at equal seconds where these were not `timed` well.
    """

    paper: str
    text: str
    first: str
    second: str
    limits: str = ""
    unmet: str = ""
    table: str = ALL
    measure: str = KD
    timed: bool = True


FRESH = (
    "With all images. It needs a critic that knows its images, and here the gap of 0GP's critic is near 0. This rule "
    "was applied after the first figures, which were against the claim"
)

LATE = "FARGAN, late training"
KNOWN = "100 images, which 0GP's critic knows by heart; seconds were those of a busy machine"

CLAIMS = (
    *(
        Claim(LATE, text, first, second, KNOWN, table=FEW, measure=measure, timed=False)
        for text, first, second, measure in (
            ("with f = 8 the gap of D is smaller than with 0GP alone, in spreads", "fargan", "0gp", GAP),
            ("with f = 1 the gap of D is smaller than with 0GP alone, in spreads", "fargan-f1", "0gp", GAP),
            ("with f = 8 the gap of D is smaller than with 0GP alone, in logits", "fargan", "0gp", LOGITS),
            ("with f = 1 the gap of D is smaller than with 0GP alone, in logits", "fargan-f1", "0gp", LOGITS),
            ("fake-as-real with f = 8 is better than 0GP alone", "fargan", "0gp", KD),
            ("fake-as-real with f = 1 is better than 0GP alone", "fargan-f1", "0gp", KD),
            ("f = 8 is better than f = 1", "fargan", "fargan-f1", KD),
        )
    ),
    Claim("FARGAN, Table 2", "fake-as-real is better than 0GP alone", "fargan", "0gp", unmet=FRESH),
    Claim("FARGAN, Fig. 7", "f = 8 is better than f = 1", "fargan", "fargan-f1", unmet=FRESH),
    Claim(
        "FARGAN, Fig. 7",
        "too large an N0 is worse",
        "fargan",
        "fargan-n75",
        "The paper's run at 3/4 collapses",
    ),
    Claim("PGN, Table II", "PGN is better than GN", "pgn", "gn", "Without consistency (CR)"),
    Claim("PGN, Table II", "PGN is better than SN", "pgn", "sn", "Without consistency (CR)"),
    Claim("PGN, Table II", "GN is better than SN", "gn", "sn", "Without consistency (CR)"),
    Claim(
        "PGN",
        "the elementwise reading is better than the proof's",
        "pgn",
        "pgn-proof",
        "The paper has no such claim",
    ),
    Claim("PGN", "the elementwise reading is better than the scalar one", "pgn", "pgn-scalar", "The same"),
    Claim(
        "Numerics, Fig. 7",
        "without batch norm, consensus is better than alternating updates",
        "consensus",
        "nsgan-nobn",
        "Adam in place of RMSProp",
    ),
    Claim(
        "Numerics, Fig. 7",
        "with batch norm in G, consensus is worse than alternating updates",
        "nsgan",
        "consensus-bn",
        "The paper's D has batch norm too",
    ),
    Claim(
        "Survey",
        "WGAN (here WGAN-GP) is better than GAN",
        "wgan-gp",
        "nsgan",
        "One generator that suits both",
    ),
    Claim(
        "R3GAN",
        "the relativistic loss with R1 and R2 is better than R1 with the classic loss",
        "r3gan",
        "0gp",
    ),
)

ELSEWHERE = (
    (
        "PGN, with CR",
        "consistency improves SN, GN and PGN",
        "not testable here",
        "No run here has consistency. `--paper` has these rows.",
    ),
    (
        "Survey",
        "an encoder helps against missing modes",
        "[another page](games.md)",
        "Modes of stacked digits: yes for MDGAN, not clearly for Reg-GAN.",
    ),
    (
        "Survey",
        "instance noise helps",
        "[another page](constraints.md)",
        "Modes of a ring, over eight seeds.",
    ),
)
"""Claims that need other runs: the paper, the claim, the verdict and why."""


def verdict(claim: Claim, scores: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """The verdict of a claim and its effect in words, from each method's scores over seeds.

    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 1.2], "b": [4.0, 4.2]})
    ('**supported here**', '-3.00 [-3.61, -2.39], -73 %')
    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 4.0], "b": [2.0, 4.2]})[0]
    'not supported here'
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
