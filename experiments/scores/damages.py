"""Known damage to the images of a data set, and how every score must answer to it.

The undamaged "generator" is the published test set. Images are uint8 rows until they are made; `make` gives floats in
[-1, 1], as generators do.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.data import Data, as_seen
from steadygan.errors import UsageError
from steadygan.metrics import Score
from steadygan.metrics.score_card import NOISE
from steadygan.rng import generator

SCORES = ("fd", "kd", "is", "precision", "recall", "density", "coverage", "memorised")


FEWEST = 2  # classes left

# --------------------------------------------------------------------------------------------------------- damages


class Source(NamedTuple):
    """Bytes [.., C, H, W]: test images in random order with their labels, n training images, and n others of them."""

    test: Tensor
    labels: Tensor
    train: Tensor
    held: Tensor


def source(shown: Data, test: Data, n: int) -> Source:
    """The images of an experiment with n of each kind. Raises UsageError where there are too few."""
    g = generator("score response", shown.name)
    assert shown.rows is not None
    assert test.rows is not None
    assert test.labels is not None
    if (test.labels < FEWEST).sum() < n or len(shown.rows) < 2 * n:
        raise UsageError(f"{shown.name} has too few images for {n} of {FEWEST} classes: take fewer --images")
    order = torch.randperm(len(test.rows), generator=g)
    train, held = shown.rows[torch.randperm(len(shown.rows), generator=g)[: 2 * n]].split(n)
    return Source(test.rows[order], test.labels[order], train, held)


def classes(source: Source, k: float) -> Tensor:
    """As many images [n, ..] as before, drawn from the first k classes.

    They are drawn, and not dealt out to the classes: pairs of a sample with equal shares of classes are less alike
    than pairs of any two images, and the unbiased kernel distance of a perfect one would be below 0.
    """
    return as_seen(source.test[source.labels < k][: len(source.train)])


def untouched(source: Source) -> Tensor:
    return as_seen(source.test[: len(source.train)])


def noise(source: Source, deviation: float) -> Tensor:
    """White noise added, and values beyond [-1, 1] cut off."""
    x = untouched(source)
    return (x + deviation * torch.randn(x.shape, generator=generator("score response noise"))).clamp(-1, 1)


def blur(source: Source, deviation: float) -> Tensor:
    """Gaussian blur over 3 deviations (in pixels) each way; the border is repeated outwards."""
    x = untouched(source)
    reach = int(3 * deviation + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    flat = F.pad(x.flatten(0, 1)[:, None], [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(flat, kernel), kernel.mT).view(x.shape)


def copies(source: Source, share: float) -> Tensor:
    """This share of the images replaced by training images, a different one each, in another order than theirs."""
    x = untouched(source)
    places = torch.randperm(len(x), generator=generator("score response copies"))[: round(share * len(x))]
    x[places] = as_seen(source.train.flip(0)[places])
    return x


class Damage(NamedTuple):
    """A damage: what its levels measure, the levels (the first one leaves the images alone), and what makes it."""

    what: str
    levels: tuple[float, ...]
    make: Callable[[Source, float], Tensor]


DAMAGES = {
    "noise": Damage("white noise, deviation\n(images in [−1, 1])", (0, 0.05, 0.1, 0.2, 0.4), noise),
    "blur": Damage("Gaussian blur,\ndeviation in pixels", (0, 0.5, 1, 2, 4), blur),
    "classes": Damage("classes left\n(as many images)", (10, 8, 6, 4, FEWEST), classes),
    "copies": Damage("share of copies\nof training images", (0, 0.1, 0.3, 0.6, 1), copies),
}


# ---------------------------------------------------------------------------------------------------------- claims

BAD = {"fd": "rises", "kd": "rises", "is": "falls", "precision": "falls", "density": "falls"}
CLAIMS = {
    "noise": {**BAD, "coverage": "falls", "memorised": "never rises"},
    "blur": {**BAD, "coverage": "falls", "memorised": "never rises"},
    "classes": {
        "fd": "rises",
        "kd": "rises",
        "is": "falls",
        "precision": "never falls",
        "recall": "falls",
        "coverage": "falls",
    },
    "copies": {
        "fd": "never rises",
        "kd": "never rises",
        "is": "stays",
        "precision": "never falls",
        "recall": "never falls",
        "density": "never falls",
        "coverage": "never falls",
        "memorised": "rises",
    },
}
"""How each score must answer, said beforehand. Of the others nothing is: recall under noise and blur, for balls of
scattered fakes grow; density and memorisation of a class or two, for theirs need not be those of all."""


def contradiction(claim: str, curve: Sequence[Score]) -> str:
    """What of a curve contradicts its claim by `NOISE` or more errors of the difference; '' where nothing does.

    A curve that `rises` ends above its beginning, and nowhere falls on the way; `falls` is the same downwards. One
    that `never rises` has no level above an earlier one, and one that `stays` none above or below.
    """
    pairs = [(i, j) for j in range(len(curve)) for i in range(j)]
    up, down = (
        max(((sign * _apart(curve[i], curve[j]), i, j) for i, j in pairs), key=lambda each: each[0])
        for sign in (1, -1)
    )
    rise = _apart(curve[0], curve[-1])
    found = {
        "rises": (down, rise),
        "falls": (up, -rise),
        "never rises": (up, NOISE),
        "never falls": (down, NOISE),
        "stays": (max(up, down, key=lambda each: each[0]), NOISE),
    }
    (size, i, j), answer = found[claim]
    if size >= NOISE:
        return f"{curve[i].value:.3g} becomes {curve[j].value:.3g}, {size:.1f} errors apart, from level {i} to {j}"
    if answer < NOISE:
        return (
            f"{curve[0].value:.3g} becomes {curve[-1].value:.3g}, which is noise ({abs(answer):.1f} errors)"
        )
    return ""


def _apart(a: Score, b: Score) -> float:
    """b - a in errors of the difference, as if the two were drawn apart."""
    gap, error = b.value - a.value, (a.error**2 + b.error**2) ** 0.5
    return gap / error if error else gap * float("inf") if gap else 0.0


def exceptions(curves: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The curves that contradict their claim, and how."""
    found = []
    for curve in curves:
        claim = CLAIMS[curve["damage"]].get(curve["score"])
        scores = [Score(*each) for each in zip(curve["values"], curve["errors"], strict=True)]
        if claim and (how := contradiction(claim, scores)):
            names = {key: curve[key] for key in ("damage", "score", "set", "extractor")}
            found.append({**names, "claim": claim, "how": how})
    return sorted(found, key=lambda each: (list(CLAIMS).index(each["damage"]), SCORES.index(each["score"])))
