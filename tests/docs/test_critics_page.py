"""Each line of docs/critics.md, in float64, against a plain loop over samples that uses none of the package.

A snippet runs as it stands. Its names are then compared with what the loop makes of the same critic and samples.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from paths import ROOT

PAGE = (ROOT / "docs" / "critics.md").read_text()
SECTIONS = [
    (title, code)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    for code in re.findall(r"```python\n(.*?)```", text, re.S)
]

Names = dict[str, Any]
Number = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def squares(number: Number, x: Tensor, *y: Tensor) -> list[float]:
    """|gradient|^2 of number(x_i) for each sample by itself."""
    found = []
    for row in zip(x, *y, strict=True):
        one, *further = (part[None].detach() for part in row)
        one.requires_grad_()
        (gradient,) = torch.autograd.grad(number(one, *further), one)
        found.append(sum(v * v for v in gradient.flatten().tolist()))
    return found


def mean(values: list[float] | Tensor) -> float:
    values = values.flatten().tolist() if isinstance(values, Tensor) else values
    return sum(values) / len(values)


def hinge(real: Tensor, fake: Tensor) -> float:
    return mean([max(0, 1 - v) for v in real.flatten().tolist()]) + mean(
        [max(0, 1 + v) for v in fake.flatten().tolist()]
    )


def patches(n: Names) -> dict[str, float]:
    r1 = mean(squares(lambda x: n["D"](x).mean(), n["x_real"]))
    return {"loss_D": hinge(n["D"](n["x_real"]), n["D"](n["x_fake"])) + r1}


def several(n: Names) -> dict[str, float]:
    value = 0.0
    for scale in n["scales"]:
        real, fake = scale(n["x_real"]), scale(n["x_fake"])
        value += 0.5 * mean((real - 1) ** 2) + 0.5 * mean(fake**2)
        value += mean(squares(lambda x, scale=scale: scale(x).mean(), n["x_real"]))
    return {"loss_D": value}


def features(n: Names) -> dict[str, float]:
    real, fake = n["first"](n["x_real"]).relu(), n["first"](n["x_fake"]).relu()
    r1 = mean(squares(lambda x: n["last"](n["first"](x).relu()).sum(), n["x_real"]))
    return {"penalty": r1, "loss_G": -mean(n["last"](fake)) + 10 * mean((real - fake).abs())}


def between(number: Number, real: Tensor, fake: Tensor, alpha: list[float]) -> float:
    points = torch.stack([a * x + (1 - a) * y for a, x, y in zip(alpha, real, fake, strict=True)])
    return mean([(square**0.5 - 1) ** 2 for square in squares(number, points)])


def packs(n: Names) -> dict[str, float]:
    real, fake = (n[key].reshape(4, 30) for key in ("x_real", "x_fake"))
    penalty = between(lambda x: n["head"](x).sum(), real, fake, [0, 1 / 3, 2 / 3, 1])
    return {"penalty": penalty, "loss_D": mean(n["head"](fake)) - mean(n["head"](real)) + 10 * penalty}


def labels(n: Names) -> dict[str, Any]:
    D, x, y = n["D"], n["x_real"], n["y_real"]
    each = [(D(x[None], y[None]).item(), x, y) for x, y in zip(n["x_fake"], n["y_fake"], strict=True)]
    lowest = sorted(each, key=lambda one: one[0])[:3]
    f, steep = D(x, y), squares(lambda x, y: D(x, y).sum(), x, y)
    return {
        "penalty": mean(steep),
        "x_far": torch.stack([x for _, x, _ in lowest]),
        "y_far": torch.stack([y for _, _, y in lowest]),
        "logits": torch.stack([v / (s**0.5 + v.abs()) for v, s in zip(f, steep, strict=True)]),
    }


def conditions(n: Names) -> dict[str, float]:
    def logits(x: Tensor, y: Tensor) -> Tensor:
        return n["patch"](torch.cat([y, x], 1))

    real, fake = (logits(n[key], n["y"]) for key in ("x_real", "x_fake"))
    r1 = mean(squares(lambda x, y: logits(x, y).sum(), n["x_real"], n["y"]))
    return {"loss_D": mean(softplus(-real)) + mean(softplus(fake)) + r1}


def text(n: Names) -> dict[str, float]:
    embedded = n["embed"](n["tokens"])
    return {"penalty": mean(squares(lambda x, m: n["D"](x, m).sum(), embedded, n["mask"]))}


def tables(n: Names) -> dict[str, float]:
    D, real, fake = n["D"], n["x_real"], n["x_fake"]
    penalty = between(lambda x: D(x).sum(), real, fake, [0.1, 0.4, 0.6, 0.9])
    return {"loss_D": mean(D(fake)) - mean(D(real)) + 10 * penalty}


def one_pass(n: Names) -> dict[str, Any]:
    real = n["D"](n["x_real"])
    r1 = mean(squares(lambda x: n["D"](x).mean(), n["x_real"]))
    return {"r1": r1, "real_logits": real, "loss_D": hinge(real, n["D"](n["x_fake"])) + r1}


def own(n: Names) -> dict[str, Any]:
    steep = squares(lambda x: n["D"](x).sum(), n["x_real"])
    value = mean([max(0, square**0.5 - 0.5) for square in steep])
    real = n["D"](n["x_real"]).flatten()
    return {"own": value, "real_logits": real, "loss_D": hinge(real, n["D"](n["x_fake"])) + value}


def mixed(n: Names) -> dict[str, Any]:
    """Autocast leaves float64 as it is."""
    real, fake = (n["D"](n[key]) for key in ("x_real", "x_fake"))
    r1 = mean(squares(lambda x: n["D"](x).sum(), n["x_real"]))
    return {"r1": r1, "loss_D": mean(softplus(-real)) + mean(softplus(fake)) + 10 * r1}


LOOPS = [patches, several, features, packs, labels, conditions, text, tables, one_pass, own, mixed]


@pytest.mark.parametrize(
    ("section", "loop"), list(zip(SECTIONS, LOOPS, strict=True)), ids=[loop.__name__ for loop in LOOPS]
)
def test_the_line_is_the_plain_loop(section, loop):
    torch.manual_seed(0)
    names: Names = {}
    exec(compile(section[1], section[0], "exec"), names)
    for key, expected in loop(names).items():
        found = names[key].detach()
        expected = torch.as_tensor(expected).to(found.dtype).detach()
        torch.testing.assert_close(
            found, expected, rtol=1e-9, atol=1e-11, msg=lambda m, key=key: f"{key}: {m}"
        )
