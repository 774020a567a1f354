"""The questions of docs/results.md, the papers' claims that answer them, and the verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.table2.choice import difference, ratio, read
from experiments.table2.tables import LATE_TABLE

__all__ = [
    "ALL",
    "CIFAR",
    "ELSEWHERE",
    "OPPOSITE",
    "QUESTIONS",
    "SUPPORTED",
    "UNDECIDED",
    "UNTESTABLE",
    "Claim",
    "Question",
    "Verdict",
    "verdict",
]

ALL, CIFAR, FEW = "fashion-mnist-all-dcgan", "cifar10-all-dcgan", str(LATE_TABLE)
SUPPORTED, UNDECIDED = "supported here", "not supported here: undecided"
OPPOSITE, UNTESTABLE = "not supported here: the opposite", "not testable here"
WORDS = {"lower": SUPPORTED, "undecided": UNDECIDED, "higher": OPPOSITE}


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


class Question(NamedTuple):
    """A section of the page: its picture's name, the methods that it compares, what to know, and the claims."""

    title: str
    slug: str
    methods: Sequence[str]
    told: str
    claims: Sequence[Claim]


LATE = (
    ("FARGAN, Table 2, Fig. 10", "fake-as-real with f = 8 is better than 0GP alone", "fargan", "0gp"),
    ("FARGAN, Fig. 7", "f = 8 is better than f = 1", "fargan", "fargan-f1"),
)
"""Claims on few images, whose effect is shown with all of them too."""

UNFIT = (
    "0GP's critic hardly knows its images there: its gap is at most 0.1 spreads, against 2 with 100 images"
)
EARLY = (
    "The paper expects f = 8 to be slower at first. But it is no nearer at the end than after a quarter of the steps. "
    "0GP still improves at the end: its late collapse, which the claim is about, is not reached. And this score does "
    "not punish copies"
)
FITTED = "Critics do not overfit here, which is PGN's condition"
UNNORMED = "The paper's D has batch norm too, and here none has"
GAMMA = (
    "Runs here have Adam in place of RMSProp, and gamma = 0.1. The paper's Fig. 6, 7 and 11 have networks of four "
    "layers. Where it names gamma (Fig. 13), that is 10 for four layers, and 0.1 for three, as here."
)

QUESTIONS = (
    Question(
        "Does fake-as-real help?",
        "fake-as-real",
        ("0gp", "fargan", "fargan-f1", "fargan-n75"),
        "FARGAN's claims are about late training, when the critic has overfitted. With 100 images 0GP's critic tells "
        "them from others, as the section on few images shows. With all of them it does not. That such claims are *not "
        "testable here* was decided after the first figures, which were against f = 8. Those of f = 1 came later, and "
        "for them the paper expects no clear gain over 0GP. At equal steps the mean of f = 8 is below that of f = 1 in "
        "all six tables with 1,000 images or more, and below that of 0GP in four. At equal seconds no interval lies "
        "below 0. By fd at equal steps f = 8 is better than 0GP in two of them, and worse in one.",
        (
            *(Claim(*each, limits=EARLY, table=FEW) for each in LATE),
            *(Claim(*each, unmet=UNFIT) for each in LATE),
            Claim(
                "FARGAN, Fig. 7",
                "too large an N0 is worse",
                "fargan",
                "fargan-n75",
                "The paper reports a collapse, with CIFAR-10, and none is here. It also expects a large N0 to slow the "
                "start, which would do for Fashion-MNIST. On CIFAR-10 N0 = 3/4 has the lowest mean of all methods, in "
                "each of its three tables",
            ),
        ),
    ),
    Question(
        "Do normalized critics help?",
        "normalized",
        ("sn", "gn", "pgn", "pgn-proof", "pgn-scalar"),
        "All have the hinge loss, and none has consistency here. In PGN's Table II its Inception score is above GN's. "
        "Its FID is lower on the CNN, and higher on ResNet. PGN's text allows several readings and compares none: the "
        "last two claims are ours. *PGN* in the first two is the elementwise reading. The proof's has a lower mean in "
        "five of the six tables that have both. With it the first two claims would be *the opposite*. This reading is "
        "GN of 1 - f, so an output bias is all that it changes of GN.",
        (
            Claim("PGN, Table II", "PGN is better than GN", "pgn", "gn"),
            Claim("PGN, Table II", "PGN is better than SN", "pgn", "sn"),
            Claim("GN; PGN, Table II", "GN is better than SN", "gn", "sn"),
            Claim("ours", "PGN's elementwise reading is better than the proof's", "pgn", "pgn-proof"),
            Claim("ours", "PGN's elementwise reading is better than the scalar one", "pgn", "pgn-scalar"),
        ),
    ),
    Question(
        "Does consistency help?",
        "consistency",
        ("sn", "sn-cr", "gn", "gn-cr", "pgn", "pgn-cr"),
        "Consistency (CR) asks the critic for the same logit on an image and on its copy, mirrored and shifted by "
        "up to a fifth of the side. Its weight is 10 with SN, as in Zhang 2020, and 5 with GN and PGN. In PGN's "
        "Table II (CIFAR-10) it raises the Inception score in all six pairs, and lowers the FID of GN and PGN but "
        "for PGN's CNN. In Table IV (STL-10) it lowers the Inception score in three of six pairs, and the FID in "
        "all. PGN's text sees a remedy against overfitting in it, and critics do not overfit here: the gaps of SN "
        "and GN without it are below 0.1. So this is its effect on the speed of a short training, and *not testable "
        "here*. That was decided after the figures, which were against it. Only Fashion-MNIST has these runs.",
        (
            Claim("Zhang 2020; PGN, Table II", "SN is better with consistency", "sn-cr", "sn", unmet=FITTED),
            Claim("GN; PGN, Table II", "GN is better with consistency", "gn-cr", "gn", unmet=FITTED),
            Claim("PGN, Table II", "PGN is better with consistency", "pgn-cr", "pgn", unmet=FITTED),
            Claim(
                "PGN, Table II",
                "PGN is better than GN, both with consistency",
                "pgn-cr",
                "gn-cr",
                "The paper's FID is better on ResNet and worse on the CNN",
            ),
        ),
    ),
    Question(
        "Does consensus help?",
        "consensus",
        ("nsgan", "nsgan-nobn", "consensus", "consensus-bn"),
        GAMMA,
        (
            Claim(
                "Numerics, Fig. 6 and 7",
                "without batch norm, consensus is better than alternating updates",
                "consensus",
                "nsgan-nobn",
                "On all images of CIFAR-10 every seed without consensus is worse than untrained generators, and no "
                "seed with it. The interval includes 0 because failed runs differ much",
            ),
            Claim(
                "Numerics, Fig. 11",
                "consensus without batch norm is better than alternating updates with it",
                "consensus",
                "nsgan",
                unmet=f"{UNNORMED}. It speaks of end results",
            ),
            Claim(
                "Numerics, Fig. 6 and 7",
                "with batch norm, consensus is worse than alternating updates",
                "nsgan",
                "consensus-bn",
                unmet=UNNORMED,
            ),
        ),
    ),
    Question(
        "Does another loss help?",
        "losses",
        ("nsgan", "0gp", "r3gan", "wgan-gp"),
        "The survey's slides show samples of WGAN with clipping beside GAN's. The difference is clear without batch "
        "norm, and with it both train. Here G has it.",
        (
            Claim(
                "ours, after the survey's slides",
                "WGAN-GP is better than NSGAN",
                "wgan-gp",
                "nsgan",
                "At equal steps its critic has five times as many updates. At equal seconds its mean is higher in "
                "every table; on CIFAR-10 with GN's CNN the interval includes 0",
            ),
            Claim(
                "R3GAN",
                "the relativistic loss with R1 and R2 is better than R1 with the classic loss",
                "r3gan",
                "0gp",
                unmet="Weights differ 20-fold (gamma = 1 against 20), so the loss alone is not compared. Its aims are "
                "stability and modes",
            ),
        ),
    ),
)

ELSEWHERE = (
    (
        "Survey",
        "an encoder helps against missing modes",
        f"{SUPPORTED} for MDGAN, undecided for Reg-GAN",
        "Stacked digits, three seeds, equal steps: of 1,000 modes the plain game covers 399, MDGAN 987, Reg-GAN 556, "
        "and R1 without an encoder 980 ([games](games.md))",
    ),
    (
        "Survey",
        "instance noise helps",
        UNDECIDED,
        "Modes of a ring, eight seeds with and without: [survey](survey.md)",
    ),
)
"""Claims that need other runs: the paper, the claim, the verdict and why."""


class Verdict(NamedTuple):
    """The verdict of a claim, and in words its effect, a difference of means, and the ratio of geometric means."""

    word: str
    effect: str = ""
    ratio: str = ""


def verdict(claim: Claim, scores: Mapping[str, Sequence[float]]) -> Verdict:
    """The verdict of a claim, from each method's scores over seeds.

    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 1.2], "b": [4.0, 4.2]})
    Verdict(word='supported here', effect='-3.00 [-3.61, -2.39]', ratio='0.27 [0.11, 0.66]')
    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 4.0], "b": [2.0, 4.2]})[0]
    'not supported here: undecided'
    >>> verdict(Claim("P", "a beats b", "a", "b", unmet="long runs"), {"a": [1.0, 4.0], "b": [2.0, 4.2]})[0]
    'not testable here'
    >>> verdict(Claim("P", "a beats b", "a", "b"), {"a": [1.0, 1.2]})
    Verdict(word='not run yet', effect='', ratio='')
    """
    first, second = scores.get(claim.first, ()), scores.get(claim.second, ())
    if not first or not second:
        return Verdict("not run yet")
    found, times = difference(first, second), ratio(first, second)
    if math.isnan(found.low):
        return Verdict(UNTESTABLE, "fewer than two seeds have a score")
    word = UNTESTABLE if claim.unmet else WORDS[read(found)]
    told = "" if math.isnan(times.low) else f"{times.value:.2f} [{times.low:.2f}, {times.high:.2f}]"
    return Verdict(word, f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]", told)
