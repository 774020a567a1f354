"""Points in the plane, [n, 2] float32: the toy data sets of the GAN literature, as streams or as fixed points.

Every function takes `size` and `seed`. A `size` of None gives a stream. A number gives that many fixed points, the
first of the stream that starts from `seed`; other points of the same distribution are held out. Mixture components are
equally likely. The divisors 1.414, 2.828 and 7.5 are those of the published experiments.
"""

import math
from functools import partial

import torch
from torch import Generator, Tensor

from steadygan.data.dataset import Data, Modes
from steadygan.errors import UsageError
from steadygan.rng import generator as seeded

HELD = 1024
"""The number of held-out points of a finite data set."""


def gaussian(size: int | None = 100, scale: float = 1.0, seed: int = 0) -> Data:
    """Make the finite Gaussian: `size` fixed points of scale * N(0, I).

    Raises UsageError for a size below 1 or a scale that is not positive. Source: Tao and Wang 2020 (FARGAN), which does
    not state the number of points.

    >>> gaussian().rows.shape
    torch.Size([100, 2])
    """
    _require_positive(scale=scale)
    return _points("gaussian", partial(_draw_mixture, Modes(torch.zeros(1, 2), scale)), size, seed)


def ring(
    modes: int = 8,
    scale: float = 2.0,
    std: float = 0.02,
    size: int | None = None,
    seed: int = 0,
    stratified: bool = False,
) -> Data:
    """Make Gaussians evenly spaced on a circle: (scale * direction + std * N(0, I)) / 1.414.

    The radius of the circle is scale / 1.414 (7.072 at the published scale 10). The standard deviation of a mode is std
    / 1.414, because the noise is not scaled. With `stratified` the samples take the modes in turn: a batch that is a
    multiple of `modes` has equally many of each. Raises UsageError for an option that is not positive. Source:
    Gulrajani et al. 2017 (WGAN-GP), toy data; Thanh-Tung et al. 2019 (0-GP) for scale 10.

    >>> data = ring(modes=4, scale=1.414)
    >>> data.modes.centres[0], round(data.modes.std, 5)
    (tensor([1., 0.]), 0.01414)
    >>> data.draw(torch.Generator().manual_seed(0), 3).shape
    torch.Size([3, 2])
    """
    _require_whole(modes=modes)
    _require_positive(scale=scale, std=std)
    angles = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    return _mixture(f"ring{modes}", directions * (scale / 1.414), std / 1.414, size, seed, stratified)


def grid(
    side: int = 5, scale: float = 2.0, std: float = 0.05, size: int | None = 100_000, seed: int = 0
) -> Data:
    """Make Gaussians on a square grid: scale * (2 * {-2..2}^2 + std * N(0, I)) / 2.828.

    The spacing is scale / 1.414. The standard deviation of a mode is scale * std / 2.828, because the noise is scaled
    too. Another `side` keeps the spacing and the centre 0. Raises UsageError for an option that is not positive.
    Source: as for `ring`.

    >>> data = grid(size=1000)
    >>> data.name, data.rows.shape, data.modes.centres.shape
    ('grid25', torch.Size([1000, 2]), torch.Size([25, 2]))
    """
    _require_whole(side=side)
    _require_positive(scale=scale, std=std)
    line = 2 * torch.arange(side, dtype=torch.float64) - (side - 1)
    centres = torch.cartesian_prod(line, line) * (scale / 2.828)
    return _mixture(f"grid{side * side}", centres, std * scale / 2.828, size, seed)


def dirac() -> Data:
    """Make the data of the Dirac-GAN: every sample is 0, [n, 1]. Source: Mescheder 2018, Definition 2.1.

    >>> dirac().draw(torch.Generator(), 2)
    tensor([[0.],
            [0.]])
    """
    return Data("dirac", (1,), draw=lambda generator, count: torch.zeros(count, 1, device=generator.device))


def nothing() -> Data:
    """Make empty data, for games without samples."""
    return Data("none", (), draw=lambda generator, count: torch.empty(count, device=generator.device))


def swissroll(scale: float = 2.0, noise: float = 0.25, size: int | None = None, seed: int = 0) -> Data:
    """Make a spiral: scale * ((t cos t, t sin t) + noise * N(0, I)) / 7.5 with t = 1.5 pi (1 + 2 U[0, 1]).

    These are coordinates 0 and 2 of scikit-learn's `make_swiss_roll`. Raises UsageError for a scale that is not
    positive or a negative noise. Source: as for `ring`; Marsland 2014, chapter 6, for the Swiss roll.

    >>> swissroll().draw(torch.Generator().manual_seed(0), 3).shape
    torch.Size([3, 2])
    """
    _require_positive(scale=scale)
    if not 0 <= noise < math.inf:
        raise UsageError(f"noise is {noise}; give 0 or a positive number")
    return _points("swissroll", partial(_draw_swissroll, scale, noise), size, seed)


def _mixture(
    name: str, centres: Tensor, std: float, size: int | None, seed: int, stratified: bool = False
) -> Data:
    modes = Modes(centres.float(), std)
    draw = partial(_draw_mixture, modes, stratified=stratified)
    return _points(name, draw, size, seed)._replace(modes=modes, classes=len(centres))


def _points(name: str, draw: partial[Tensor], size: int | None, seed: int) -> Data:
    if not _drawn(draw, seed, 16).isfinite().all():
        raise UsageError(f"data {name} has points that are too large for float32: give smaller numbers")
    if size is None:
        return Data(name, (2,), draw=draw)
    _require_whole(size=size)
    return Data(name, (2,), rows=_drawn(draw, seed, size), held=partial(_held, draw, seed))


def _held(draw: partial[Tensor], seed: int) -> Tensor:
    """Points of other random numbers than the rows have: torch keeps the lowest 32 bits of a seed alone."""
    return draw(seeded(seed, "held"), HELD)


def _drawn(draw: partial[Tensor], seed: int, count: int) -> Tensor:
    return draw(Generator().manual_seed(seed), count)


def _draw_mixture(modes: Modes, generator: Generator, count: int, stratified: bool = False) -> Tensor:
    device = generator.device
    if stratified:
        which = torch.arange(count, device=device) % len(modes.centres)
    else:
        which = torch.randint(len(modes.centres), (count,), generator=generator, device=device)
    noise = torch.randn(count, 2, generator=generator, device=device)
    return modes.centres.to(device)[which] + modes.std * noise


def _draw_swissroll(scale: float, noise: float, generator: Generator, count: int) -> Tensor:
    t = 1.5 * math.pi * (1 + 2 * torch.rand(count, generator=generator, device=generator.device))
    spiral = torch.stack([t * t.cos(), t * t.sin()], dim=1)
    jitter = torch.randn(count, 2, generator=generator, device=generator.device)
    return (spiral + noise * jitter) * (scale / 7.5)


def _require_positive(**options: float) -> None:
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} is {value}; give a positive number")


def _require_whole(**options: int) -> None:
    for name, value in options.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is {value}; give a whole number, 1 or more")
