"""Gradient statistics: what is measured of a game's gradients, critic and fakes, as pure functions of tensors.

Each function takes the networks' outputs and returns scalars as tensors under flat names. So an ensemble uses
`vmap`, and nothing waits for a number before it is written. Units are logits, units of the data, or shares.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from steadygan.metrics import pooled_pixels
from steadygan.metrics.distances import WIDE
from steadygan.penalties import norm
from steadygan.rng import generator

__all__ = [
    "SURE",
    "closeness",
    "compared",
    "copies",
    "cosine",
    "critic_measures",
    "directions",
    "fake_measures",
    "features",
    "ranges",
    "signal_measures",
    "spectral_norm",
    "spread",
]

Measures = dict[str, Tensor]

SURE = math.log(99)
"""The logit at which D is 99 % certain: sigmoid(log 99) = .99. There a logistic loss keeps 1 % of its gradient."""


def signal_measures(gradient: Tensor) -> Measures:
    """Statistics of the gradient that G receives at each sample: the norms of `gradient` [N, ...], that of N L_G.

    - `signal/mean`, `signal/max`: over the samples.
    - `signal/median`: the lower middle one of the sorted norms.
    - `signal/top`: the largest norm's share of the sum. It is 1/N when all are equal, 1 when one sample has
      all the gradient, and 0 when there is no gradient.

    For the non-saturating loss a norm is the left side of Eqn 5 of FARGAN (Tao and Wang 2020).

    >>> found = signal_measures(torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 5.0], [0.0, 0.0]]))
    >>> found["signal/mean"].item(), found["signal/max"].item(), found["signal/top"].item()
    (2.5, 5.0, 0.5)
    """
    norms = norm(gradient)
    total = norms.sum()
    top = torch.where(total == 0, 0.0, norms.max() / torch.where(total == 0, 1.0, total))
    return {
        "signal/mean": norms.mean(),
        "signal/median": norms.sort().values[(len(norms) - 1) // 2],
        "signal/max": norms.max(),
        "signal/top": top,
    }


def spread(*logits: Tensor) -> Tensor:
    """The standard deviation (divided by n) of all these logits together: 0 for a critic with one output for all.

    A dead critic and one at the equilibrium have the same losses, 2 log 2 and log 2. The spread distinguishes
    them.

    >>> spread(torch.tensor([1.0, 1.0]), torch.tensor([-1.0, -1.0])).item()
    1.0
    """
    return torch.cat(logits).std(correction=0)


def critic_measures(places: Mapping[str, tuple[Tensor, Tensor]], held: Tensor | None = None) -> Measures:
    """Statistics of the critic at each of `places` (real, fake, between), from logits [N] and input gradients [N, ...].

    - `slope/PLACE`: the mean norm of the gradient there; `slope/max`: the largest over all places.
    - `critic/gap`: the mean logit of reals less that of fakes.
    - `critic/spread`: the `spread` of both.
    - `critic/saturated`: the share of fakes for which D is 99 % certain, either way.
    - `critic/held`, with the logits `held` [M] of held-out samples: (real - held) / (real - fake) of the
      means. It is 0 for a critic that has memorised no sample, and 1 for one that takes new samples for
      fakes.

    Source: Karras 2020 (ADA), Eqn 1, r_v.

    >>> flat = torch.zeros(2, 1)
    >>> found = critic_measures({"real": (torch.ones(2), flat), "fake": (-torch.ones(2), flat + 3)}, torch.zeros(4))
    >>> {key: value.item() for key, value in found.items() if key.startswith("critic")}
    {'critic/gap': 2.0, 'critic/spread': 1.0, 'critic/saturated': 0.0, 'critic/held': 0.5}
    """
    norms = {place: norm(gradient) for place, (_, gradient) in places.items()}
    real, fake = places["real"][0], places["fake"][0]
    gap = real.mean() - fake.mean()
    found = {
        **{f"slope/{place}": each.mean() for place, each in norms.items()},
        "slope/max": torch.cat(list(norms.values())).max(),
        "critic/gap": gap,
        "critic/spread": spread(real, fake),
        "critic/saturated": (fake.abs() > SURE).to(fake).mean(),
    }
    return found if held is None else {**found, "critic/held": (real.mean() - held.mean()) / gap}


def distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j| [n, m] of points [n, d] and [m, d]: from differences, or on a CPU from products if d is large.

    There the matrix product is six times as fast. In float64 and centred at b_0, it is right to 1e-7 of the points'
    distance from b_0, and exactly 0 where all points are one.
    """
    if a.shape[1] < WIDE or a.device.type != "cpu":
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    origin = b[:1].double()
    x, y = a.double() - origin, b.double() - origin
    square = torch.addmm(x.square().sum(1, keepdim=True) + y.square().sum(1), x, y.T, alpha=-2)
    return square.to(a).clamp_min(0).sqrt()


def nearest(a: Tensor, b: Tensor) -> Tensor:
    """The distance [n] from each point of a to the nearest point of b, from their difference: 0 for a copy."""
    return (a - b[distances(a, b).argmin(1)]).norm(dim=1)


def fake_measures(fake: Tensor, real: Tensor, directions: Tensor, k: int = 5) -> Measures:
    """How the fakes [n, d] lie among the reals [m, d].

    - `fakes/diversity`: the mean distance of two fakes over that of two reals; 0 when all fakes are equal.
    - `fakes/coverage`: the share of reals with a fake in their ball, which reaches to the k-th nearest other
      real. It is 0.97 for n = m samples of one distribution and k = 5 (1 - 2^-k).
    - `fakes/at0`, ...: the mean of the fakes less that of the reals along each orthonormal direction of
      `directions` [d, c], over the reals' root mean square distance from their mean. It shows hopping.

    Source: Naeem 2020, section 3 (coverage).

    >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> found = fake_measures(square[:1].expand(4, 2), square, torch.eye(2), k=1)
    >>> found["fakes/diversity"].item(), found["fakes/coverage"].item()  # in its own ball and in those of two corners
    (0.0, 0.75)
    """
    among, n, m = distances(real, real), len(fake), len(real)
    radii = among.topk(k + 1, largest=False).values.amax(1)  # the nearest one of all is the sample itself
    covered = distances(real, fake).amin(1) <= radii
    far = among.sum() / (m * (m - 1))
    mean = real.mean(0)
    size = (real - mean).square().sum(1).mean().sqrt()
    where = (fake.mean(0) - mean) @ directions / size
    return {
        "fakes/diversity": distances(fake, fake).sum() / (n * (n - 1)) / far,
        "fakes/coverage": covered.to(fake).mean(),
        **{f"fakes/at{i}": at for i, at in enumerate(where.unbind())},
    }


def ranges(real: Tensor, fake: Tensor) -> Measures:
    """`data/min`, `data/max`, `fakes/min`, `fakes/max`: the least and the largest entry of reals and of fakes [N, ...].

    Reals in 0..255 beside fakes in -1..1 show that the data were not scaled to what G can produce.

    >>> {key: value.item() for key, value in ranges(torch.tensor([[0.0, 255.0]]), torch.tensor([[-1.0, 1.0]])).items()}
    {'data/min': 0.0, 'data/max': 255.0, 'fakes/min': -1.0, 'fakes/max': 1.0}
    """
    named = {"data": real, "fakes": fake}
    return {f"{name}/{end}": getattr(x, f"a{end}")() for name, x in named.items() for end in ("min", "max")}


def closeness(fake: Tensor, train: Tensor, delta: Tensor | float, signal: Tensor) -> Measures:
    """Close pairs of fakes [n, d] and training samples [m, d], and the gradient that G receives there.

    `close/pairs` is the share of fakes within `delta` of a training sample. `close/signal` is the largest of
    the norms `signal` [n] among these, or 0 if there are none. If both rise, the fakes are thrown back and
    forth: FARGAN's vicious circle. Source: FARGAN (Tao and Wang 2020), Definition 1 and Eqn 5.

    >>> fake, train = torch.tensor([[0.0], [0.5], [1.1]]), torch.tensor([[0.0], [1.0]])
    >>> found = closeness(fake, train, 0.2, torch.tensor([1.0, 9.0, 2.0]))
    >>> round(found["close/pairs"].item(), 3), found["close/signal"].item()
    (0.667, 2.0)
    """
    close = distances(fake, train).amin(1) <= delta
    return {
        "close/pairs": close.to(fake).mean(),
        "close/signal": torch.where(close, signal, 0.0).max(),
    }


def copies(fake: Tensor, held: Tensor, train: Tensor) -> Measures:
    """`fakes/copies` = P(d(fake, train) < d(held, train)), ties counting half: 0.5 is no copying, 1 is all copies.

    d is the distance to the nearest training sample. Fakes are [n, d], held-out samples [h, d] and training
    samples [m, d]. `metrics.memorisation` returns its error too. Source: Meehan 2020.

    >>> train = torch.tensor([[0.0], [10.0]])
    >>> copies(torch.tensor([[0.0], [9.5]]), torch.tensor([[1.0], [8.0]]), train)["fakes/copies"].item()
    1.0
    """
    apart = nearest(held, train)[None] - nearest(fake, train)[:, None]
    return {"fakes/copies": ((apart > 0).to(fake) + (apart == 0).to(fake) / 2).mean()}


def cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    """The cosine between two vector fields, each player's part divided by its norm in `a`; NaN where `a` is 0.

    It is 1 where the field keeps its direction, as on the way down a valley. It is lower where the field
    turns, as on a circle. The players' gradients have very different sizes, so without the division the
    largest would dominate.

    >>> a = {"G": torch.tensor([1.0]), "D": torch.tensor([10.0])}
    >>> round(cosine(a, {"G": torch.tensor([-1.0]), "D": torch.tensor([10.0])}).item(), 6)
    0.0
    """
    sizes = {name: part.norm() for name, part in a.items()}
    one = torch.cat([a[name] / sizes[name] for name in a])
    other = torch.cat([b[name] / sizes[name] for name in a])
    return one @ other / (one.norm() * other.norm())


def spectral_norm(weights: Mapping[str, Tensor]) -> Tensor:
    """The largest singular value of all weights [out, ...], each as a matrix [out, rest]; vectors are left out.

    It is the root of the largest eigenvalue of the smaller Gram matrix, and NaN where a weight is not finite.

    >>> spectral_norm({"weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "bias": torch.full((2,), 9.0)}).item()
    4.0
    """
    found = [_largest(weight.flatten(1)) for weight in weights.values() if weight.ndim > 1]
    return torch.stack(found).max() if found else torch.full((), torch.nan)


def _largest(matrix: Tensor) -> Tensor:
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    whole = gram.isfinite().all()  # the eigenvalues of anything else end the process
    largest = torch.linalg.eigvalsh(torch.where(whole, gram, 0.0))[-1].clamp_min(0).sqrt()
    return torch.where(whole, largest, torch.nan)


def features(x: Tensor) -> Tensor:
    """The features for comparing samples [n, ...]: 8x8-pooled pixels [n, 64 C] of images, other samples as [n, d].

    The result is a copy, in float32 or wider.

    >>> features(torch.zeros(2, 3, 32, 32)).shape, features(torch.zeros(2, 5)).shape
    (torch.Size([2, 192]), torch.Size([2, 5]))
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pooled = x.ndim == 4 and min(x.shape[2:]) >= 8
    return pooled_pixels(wide) if pooled else wide.reshape(len(x), -1).clone()


def directions(dimension: int, count: int = 3) -> Tensor:
    """Orthonormal directions [dimension, up to count]: the axes if they suffice, else always the same random ones.

    >>> directions(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    if dimension <= count:
        return torch.eye(dimension)
    return torch.linalg.qr(torch.randn(dimension, count, generator=generator("directions"))).Q


def compared(train: Tensor | None, dimension: int) -> dict[str, Tensor]:
    """The fixed data of all comparisons: `directions` of features [n, dimension], and `train` and `delta` if given.

    `train` are training samples [m, dimension]. delta is a quarter of the median distance between a training
    sample and its nearest other one. A pair that is closer is a close pair.

    >>> compared(torch.tensor([[0.0], [4.0], [4.0], [8.0]]), 1)["delta"].item()
    1.0
    """
    found = {"directions": directions(dimension)}
    if train is None:
        return found
    apart = torch.cdist(train, train, compute_mode="donot_use_mm_for_euclid_dist")
    near = torch.where(apart > 0, apart, torch.inf).min(1).values  # of distinct ones
    return {**found, "train": train, "delta": near.median() / 4}
