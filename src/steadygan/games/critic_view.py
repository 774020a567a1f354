"""What lies between samples and a critic: instance noise, augmentation, normalization."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from steadygan import augment, noise
from steadygan.critic_outputs import Reduction
from steadygan.errors import UsageError
from steadygan.game import Draw, Field
from steadygan.normalization import tangent
from steadygan.penalties import Critic
from steadygan.schedules import Number, at

__all__ = ["PLAIN", "Augmentation", "View", "adaptive", "differentiable"]

Scalars = Mapping[str, Tensor]
SIDES = ("real", "fake")


@dataclass(frozen=True)
class Augmentation:
    """A random change of samples: `apply(x, u, scalars)` with `numbers` uniform numbers u for each sample.

    `scalars` are the values that it keeps in the state, at their start. `adapt(scalars, logs, repeats,
    batch)` returns the next ones after a step that showed the critic `repeats` batches.
    """

    numbers: int
    apply: Callable[[Tensor, Tensor, Scalars], Tensor]
    scalars: Mapping[str, float] = field(default_factory=dict)
    adapt: Callable[..., dict[str, Tensor]] | None = None


def differentiable(policy: tuple[str, ...] = ("color", "translation", "cutout")) -> Augmentation:
    """DiffAugment: every sample is changed, once for each name in `policy`.

    Raises UsageError on an empty policy, and on unknown or repeated names. Source: Zhao 2020.

    >>> differentiable(("color", "cutout")).numbers
    7
    """
    augment.check_policy(policy)
    if not policy:
        raise UsageError("DiffAugment's policy is empty: name a change in it, or choose augment=none")
    return Augmentation(
        augment.DIFFAUGMENT_NUMBERS, lambda x, u, scalars: augment.diffaugment(x, u, policy=tuple(policy))
    )


def adaptive(target: float = 0.6, over: float = 500_000) -> Augmentation:
    """ADA, adaptive discriminator augmentation: each change has a probability p, adapted to how sure the critic is.

    p moves by (images shown) / `over` a step: up while mean sign D(x_real) is above `target`, down below it.
    Source: Karras 2020.

    >>> adaptive().scalars
    {'augment/p': 0.0}
    """
    return Augmentation(
        augment.ADA_NUMBERS,
        lambda x, u, scalars: augment.ada(x, scalars["augment/p"], u),
        {"augment/p": 0.0},
        lambda scalars, logs, repeats, batch: {
            "augment/p": augment.adapt(scalars["augment/p"], logs["sign/real"], repeats * batch, target, over)
        },
    )


@dataclass(frozen=True)
class View:
    """How the critic sees samples: noise of deviation `noise` on them, then `augment`, and `normalize` on the critic.

    The gradient of a penalty or a normalization is that of the whole, with respect to the noisy samples. With
    several logits for each sample it is that of their sum or mean: `reduce` says which.
    """

    normalize: Callable[[Critic], Critic] | None = None
    augment: Augmentation | None = None
    noise: Number | None = None
    reduce: Reduction | None = None

    def fields(self, shape: tuple[int, ...], batch: int) -> dict[str, Field]:
        """Return the fields of a draw that it needs."""
        found = {}
        for side in SIDES:
            if self.noise is not None:
                found[f"instance/{side}"] = Field("normal", (batch, *shape))
            if self.augment is not None:
                found[f"augment/{side}"] = Field("uniform", (batch, self.augment.numbers))
        return found

    def samples(self, x: Tensor, side: str, draw: Draw, scalars: Scalars) -> Tensor:
        """Return x with this draw's instance noise."""
        if self.noise is None:
            return x
        return noise.instance(x, draw[f"instance/{side}"], at(self.noise, scalars))

    def critic(self, D: Critic, side: str, draw: Draw, scalars: Scalars, *, cheap: bool = False) -> Critic:
        """Return the critic of one side's samples; `cheap` takes its tangent plane, for a generator's step."""
        seen = D
        if self.augment is not None:
            seen = partial(_changed, D, self.augment, draw[f"augment/{side}"], scalars)
        if cheap:
            seen = tangent(seen, reduce=self.reduce)
        return self.normalize(seen) if self.normalize else seen


PLAIN = View()
"""The critic itself, of the samples themselves."""


def _changed(D: Critic, change: Augmentation, u: Tensor, scalars: Scalars, x: Tensor) -> Tensor:
    if len(x) != len(u):  # several samples of each row, end to end, are changed alike
        u = u.repeat(len(x) // len(u), 1)
    return D(change.apply(x, u, scalars))
