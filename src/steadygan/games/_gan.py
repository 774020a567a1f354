"""The two-player game of generator and discriminator, with penalties and fake-as-real."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from steadygan import losses, parallel
from steadygan.critic_outputs import (
    Differentiated,
    Logits,
    Reduction,
    answer,
    differentiated,
    each_rank,
    slopes,
)
from steadygan.critic_outputs import total as total_of
from steadygan.errors import UsageError
from steadygan.game import Draw, Field, Game, Logs, Nets, Network, Player
from steadygan.game.contracts import alive
from steadygan.games.consistency_terms import Agreement, Seen
from steadygan.games.critic_batch import FakeAsReal, Labels, labelled, same_classes, shown
from steadygan.games.critic_view import PLAIN, View
from steadygan.games.feature_terms import FeatureMatching, inputs_of
from steadygan.games.logit_terms import LogitTerm
from steadygan.losses import Loss
from steadygan.networks import latent_labels
from steadygan.noise import HiddenNoise
from steadygan.normalization import clip_weights, gradient_size, scaled_gradient
from steadygan.penalties import Critic, Paired, Penalty, interpolate, perturb
from steadygan.schedules import Number, at

__all__ = ["Clip", "FakeAsReal", "Received", "Term", "gan"]

SQUARE, RECEIVED = "received/square", "signal/rms"


@dataclass(frozen=True)
class Term:
    """A penalty in the critic's loss: weight * interval * penalty on every `interval`-th step."""

    penalty: Penalty | Paired
    weight: Number
    interval: int = 1


@dataclass(frozen=True)
class Clip:
    """The critic's parameters are clipped to [-bound, bound], `after` each of its steps or `before` it."""

    bound: float
    when: str = "after"


@dataclass(frozen=True)
class Received:
    """The gradient that G receives at its samples, brought to the size `norm`, of which a running mean follows it.

    `decay` is the share of the mean square that a step keeps. Source: Lin 2025 (AFM). Its released code has a decay of
    0.9 and a norm of 1 / sqrt(d) for samples of d numbers.
    """

    norm: Number = 1.0
    decay: Number = 0.99


def gan(
    G: Network,
    D: Network,
    loss: Loss,
    *,
    shape: tuple[int, ...],
    batch: int,
    latent: int,
    penalties: Sequence[Term] = (),
    logit_terms: Sequence[LogitTerm] = (),
    agreements: Sequence[Agreement] = (),
    view: View = PLAIN,
    cheap: bool = False,
    clip: Clip | None = None,
    far: FakeAsReal | None = None,
    classes: int = 0,
    batch_G: int | None = None,
    received: Received | None = None,
    matching: FeatureMatching | None = None,
) -> Game:
    """Build the game: D minimises loss.discriminator + sum of weight * penalty, G minimises loss.generator.

    Samples have `shape`, latents are N(0, I) of size `latent`. With `far` it is FARGAN's Algorithm 1: D sees
    c = N - N0 reals and N0 selected fakes against `batch` other fakes. Those N = `batch` rows are all
    penalised.

    With `classes` every row has a label y, and the critic is D(x, y). A fake's label is that of the first
    `classes` numbers of its latent (`networks.Classed`). A row that is made from others, such as an
    interpolate, has the label of its real one. `batch_G` gives G a batch of latents of its own, of another
    size than the critic's.

    With `received` the gradient of G's loss of D at G's samples is scaled to a size of its own, a constant of the
    step. It takes one more backward pass through D.

    `matching` adds feature matching to G's loss. The features of the fakes are those of the pass that G's loss makes.
    The reals take a pass of their own, unless the loss is relativistic. With an `interval` the steps between are those
    of a game without it.

    Both losses see the critic through `view`. Fake-as-real scores its candidates without noise and
    augmentation. `cheap` lets G's step use the tangent plane of D, which is exact for a piecewise linear one.

    A player whose loss has more terms logs its loss without them as `adversarial/NAME`.
    Raises UsageError for a critic with batch norm where each sample's gradient is taken alone.

    >>> from steadygan.losses import non_saturating
    >>> from steadygan.networks import mlp
    >>> G, D = (Network(net) for net in mlp((2,)))
    >>> game = gan(G, D, non_saturating, shape=(2,), batch=64, latent=2, far=FakeAsReal(16, most=16, pool=8))
    >>> {name: field.shape for name, field in game.fields.items()}
    {'x_real': (64, 2), 'z': (64, 2), 'z_pool': (128, 2)}
    """
    _check(D.module, loss, batch, penalties, view, far, clip, received, matching)
    _check_once(logit_terms)
    if len(shape) != 3 and (view.augment or any(agreement.images for agreement in agreements)):
        raise UsageError(
            "augmentation and flip_and_shift change images, but these data are points: choose augment=none, "
            "and move=jitter for consistency"
        )
    pure = bufferless(D.module)
    joint = pure and view.augment is None and view.normalize is not None
    parts = _Parts(
        loss,
        tuple(penalties),
        tuple(logit_terms),
        tuple(agreements),
        view,
        cheap and pure,
        far,
        joint,
        batch,
        classes,
        received,
        matching,
    )
    fields = _fields(shape, batch, latent, parts)
    if batch_G:
        _check_own_batch(parts)
        fields["z_G"] = Field("normal", (batch_G, latent))
    scalars = _scalars(parts)
    return Game(
        players={
            "D": Player(
                D,
                partial(_discriminator, parts),
                tuple(name for name in fields if name != "z_G"),
                critic=True,
                project=partial(clip_weights, c=clip.bound) if clip else None,
                project_first=bool(clip and clip.when == "before"),
            ),
            "G": Player(G, partial(_generator, parts), _read_by_G(fields, parts)),
        },
        fields=fields,
        scalars=scalars,
        adapt=partial(_adapted, parts) if scalars else None,
        normalize=view.normalize,
    )


@dataclass(frozen=True)
class _Parts:
    """The ingredients of the two losses."""

    loss: Loss
    penalties: tuple[Term, ...]
    logit_terms: tuple[LogitTerm, ...]
    agreements: tuple[Agreement, ...]
    view: View
    cheap: bool
    far: FakeAsReal | None
    joint: bool  # whether D sees real and fake in one pass, as GN-GAN does
    batch: int
    classes: int
    received: Received | None
    matching: FeatureMatching | None

    @property
    def reals_for_G(self) -> bool:
        """Whether G's loss sees real samples, too."""
        return self.loss.pairs or self.matching is not None


def _check(
    critic: nn.Module,
    loss: Loss,
    batch: int,
    penalties: Sequence[Term],
    view: View,
    far: FakeAsReal | None,
    clip: Clip | None,
    received: Received | None,
    matching: FeatureMatching | None,
) -> None:
    if any(term.interval < 1 for term in penalties):
        raise UsageError("a penalty's interval must be at least 1")
    if matching and matching.interval < 1:
        raise UsageError("the interval of feature matching must be at least 1")
    if far and far.most > batch:
        raise UsageError(
            f"fake_as_real.count is {far.most}, more than the {batch} rows of a batch: choose at most {batch}"
        )
    if clip and not clip.bound > 0:
        raise UsageError(f"weights are clipped to [-bound, bound] with a positive bound, not {clip.bound}")
    if far and far.weight != 1:
        _check_weighs(loss)
    mixes = any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and (m.training or m.running_mean is None)
        for m in critic.modules()
    )
    if mixes and (_places(penalties) or _nearby(penalties) or view.normalize or received):
        raise UsageError(
            "penalties and gradient normalization differentiate each sample's logit alone, but batch norm in the "
            "critic mixes samples: use a critic without batch norm, or leave penalties and normalization out"
        )
    noisy = any(isinstance(m, HiddenNoise | nn.modules.dropout._DropoutNd) for m in critic.modules())
    if noisy and _nearby(penalties):
        raise UsageError(
            "approximated penalties compare the critic's logits at two near samples, but noise or dropout in its "
            "layers differs between the two: leave it out, or take r1 and r2 instead"
        )


def _check_once(terms: Sequence[LogitTerm]) -> None:
    """Raise UsageError for two terms of one name: they would share a log, and averages in the state."""
    names = [term.name for term in terms]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"critic.logit_penalties has {name} twice: give it once, with the sum of the weights"
            )


def _check_weighs(loss: Loss) -> None:
    """Raise UsageError where D's loss takes no weights of its real samples, as a function of the caller may not."""
    try:
        loss.discriminator(torch.zeros(1), torch.zeros(1), weights=torch.ones(1))
    except TypeError:
        raise UsageError(
            "fake_as_real.weight needs a loss discriminator(real_logits, fake_logits, weights=None), whose mean over "
            "real samples takes their weights [N]: add that argument, or leave the weight at 1"
        ) from None


def _check_own_batch(parts: _Parts) -> None:
    """Raise UsageError where G's loss needs more of a draw than latents: those fields have the critic's batch."""
    paired = parts.reals_for_G or any(agreement.G for agreement in parts.agreements)
    if paired or parts.view.augment or parts.view.noise is not None:
        raise UsageError(
            "game.batch_G needs a generator's loss of its samples alone: leave it out with a relativistic loss, "
            "feature_matching, zcr, augmentation and instance noise"
        )


def bufferless(module: nn.Module) -> bool:
    """Return whether a forward updates nothing: a tangent plane's vjp would lose updates (spectral norm, noise)."""
    return not any(True for _ in module.buffers())


def _fields(shape: tuple[int, ...], batch: int, latent: int, parts: _Parts) -> dict[str, Field]:
    places = _places(parts.penalties)
    fields = {"x_real": Field("real", (batch, *shape)), "z": Field("normal", (batch, latent))}
    if parts.classes:
        fields["y_real"] = Field("label", (batch,))
    if parts.far:
        fields["z_pool"] = Field("normal", (parts.far.pool * parts.far.most, latent))
    if places & {"between", "around"}:
        fields["alpha"] = Field("uniform", (batch,))
    if "around" in places:
        fields["noise"] = Field("uniform", (batch, *shape))
    near = _nearby(parts.penalties)
    for where, _, _ in near:
        every = math.gcd(*(interval for place, _, interval in near if place == where))
        fields[_direction(where)] = Field("normal", (batch, *shape), every)
    lazy = {term.interval for term in (*parts.penalties, parts.matching) if term}
    for interval in sorted(lazy - {1}):
        fields[_due(interval)] = Field("due", (), every=interval)
    fields |= parts.view.fields(shape, batch)
    for agreement in parts.agreements:
        fields |= agreement.fields(shape, batch, latent)
    return fields


def _read_by_G(fields: Mapping[str, Field], parts: _Parts) -> tuple[str, ...]:
    """The fields of G's loss: fakes, and reals where it sees them, each with its noise and augmentation."""
    sides = ("real", "fake") if parts.reals_for_G else ("fake",)
    wanted = {f"{kind}/{side}" for kind in ("instance", "augment") for side in sides}
    wanted.add("z_G" if "z_G" in fields else "z")
    if parts.reals_for_G:
        wanted |= {"x_real", "y_real"}
    if parts.matching:
        wanted.add(_due(parts.matching.interval))
    if any(agreement.G for agreement in parts.agreements):
        wanted.add("z_step")
    return tuple(name for name in fields if name in wanted)


def _places(terms: Sequence[Term]) -> set[str]:
    """Where the penalties differentiate the critic."""
    return {
        term.penalty.where for term in terms if isinstance(term.penalty, Penalty) and not term.penalty.sigma
    }


def _nearby(terms: Sequence[Term]) -> list[tuple[str, float, int]]:
    """Where the approximated penalties look, how far from there they look again, and every how many steps."""
    found = ((term.penalty, term.interval) for term in terms if isinstance(term.penalty, Penalty))
    return [(penalty.where, penalty.sigma, interval) for penalty, interval in found if penalty.sigma]


def _scalars(parts: _Parts) -> dict[str, float]:
    """What augmentation, terms of the logits and the gradient that G receives keep in the state, at its start."""
    found = {SQUARE: 0.0} if parts.received else {}
    for each in (parts.view.augment, *parts.logit_terms):
        found |= dict(each.scalars) if each else {}
    return found


def _due(interval: int) -> str:
    """The field whose presence in a draw says that terms of this interval are due."""
    return f"due/{interval}"


def _is_due(term: Term | FeatureMatching, draw: Draw) -> bool:
    """Whether this step takes the term."""
    return term.interval == 1 or _due(term.interval) in draw


def _adapted(parts: _Parts, scalars: Mapping[str, Tensor], logs: Logs, repeats: int) -> dict[str, Tensor]:
    """The next values of what augmentation and terms of the logits keep in the state."""
    change = parts.view.augment
    found: dict[str, Tensor] = {}
    if change and change.adapt:
        found |= change.adapt(scalars, logs, repeats, batch=parts.batch)
    for term in parts.logit_terms:
        found |= term.adapt(scalars, logs) if term.adapt else {}
    if parts.received:
        found[SQUARE] = _mean_square(parts.received, scalars, logs[RECEIVED])
    return found


def _mean_square(received: Received, scalars: Mapping[str, Tensor], size: Tensor) -> Tensor:
    """The running mean of size^2 with this step's, started at 0."""
    kept = at(received.decay, scalars)
    return kept * scalars[SQUARE] + (1 - kept) * size.square()


def _direction(where: str) -> str:
    """The field with the directions in which the approximated penalties at this place look."""
    return f"direction/{where}"


def _near(where: str, sigma: float) -> str:
    """The name of the points that lie sigma times their direction from those of this name."""
    return f"{where} + {sigma} e"


def _place(point: str) -> str:
    """The name of the point itself, of one that is near it."""
    return point.partition(" ")[0]


def _discriminator(
    parts: _Parts, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]
) -> tuple[Tensor, Logs]:
    rows = shown(nets, draw, scalars, parts.far, parts.view.normalize, parts.classes, parts.batch)
    critic = partial(_critic, parts, nets, draw, scalars, rows.labels)
    noisy = {
        side: partial(parts.view.samples, side=side, draw=draw, scalars=scalars) for side in ("real", "fake")
    }
    due = [term for term in parts.penalties if _is_due(term, draw)]
    points = _points(noisy["real"](rows.real), noisy["fake"](rows.fake), due, draw)
    seen = _seen(critic, points, _places(due), parts.view.reduce, joint=parts.joint)
    real_logits, fake_logits = seen["real"].raw, seen["fake"].raw

    weights = {} if rows.weights is None else {"weights": rows.weights}
    total = parts.loss.discriminator(real_logits, fake_logits, **weights)
    real_ranks, fake_ranks = (each_rank(raw, len(points["real"])) for raw in (real_logits, fake_logits))
    weighed = real_ranks if rows.weights is None else real_ranks * rows.weights  # by Jensen, the loss's bound
    logs = {"logit/real": weighed.mean(), "logit/fake": fake_ranks.mean()}
    if parts.penalties or parts.logit_terms or parts.agreements:
        logs["adversarial/D"] = total
    if parts.view.augment and parts.view.augment.adapt:
        whole = parallel.whole(len(real_ranks), parts.batch)
        logs["sign/real"] = _sureness(parts.loss, real_ranks, fake_ranks, rows.kept, whole)
    for term in due:
        value = _penalised(term.penalty, seen, points, parts.view.reduce, rows.kept, parts.batch)
        key = f"penalty/{term.penalty.name}"
        logs[key] = logs.get(key, 0.0) + value
        total = total + term.interval * at(term.weight, scalars) * value
    for each in parts.logit_terms:
        value = each.value(real_logits, fake_logits, scalars)
        logs[f"penalty/{each.name}"] = value
        total = total + at(each.weight, scalars) * value
    real = Seen(points["real"], critic("real"), real_logits, noisy["real"])
    fake = Seen(points["fake"], critic("fake"), fake_logits, noisy["fake"])
    for agreement in parts.agreements:
        value = agreement.D(real, fake, same_classes(nets["G"], draw["z"], parts.classes), draw, scalars)
        key = f"consistency/{agreement.name}"
        logs[key] = logs.get(key, 0.0) + value
        total = total + value
    return total, logs


def _points(real: Tensor, fake: Tensor, due: Sequence[Term], draw: Draw) -> dict[str, Tensor]:
    """Where the critic is seen: at both kinds of samples, and wherever else a penalty that is due looks."""
    points, places = {"real": real, "fake": fake}, _places(due)
    if "between" in places:
        points["between"] = interpolate(real, fake, draw["alpha"])
    if "around" in places:
        points["around"] = perturb(real, draw["noise"], draw["alpha"])
    for where, sigma, _ in _nearby(due):
        points[_near(where, sigma)] = points[where] + sigma * draw[_direction(where)]
    return points


def _looked(penalty: Penalty, seen: Mapping[str, Differentiated], reduce: Reduction | None) -> Differentiated:
    """What the penalty is of: logits and gradients where it looks, or the slopes from there to the near points."""
    if not penalty.sigma:
        return seen[penalty.where]
    near = seen[_near(penalty.where, penalty.sigma)]
    return slopes(seen[penalty.where].raw, near.raw, penalty.sigma, reduce)


def _critic(
    parts: _Parts,
    nets: Nets,
    draw: Draw,
    scalars: Mapping[str, Tensor],
    labels: Labels,
    *places: str,
    cheap: bool = False,
) -> Critic:
    """The critic of the points at these places, end to end. All but the fakes are seen, and labelled, as reals."""
    sides = ["fake" if _place(point) == "fake" else "real" for point in places]
    D = labelled(nets["D"], labels, *sides)
    return parts.view.critic(D, "fake" if "real" not in sides else "real", draw, scalars, cheap=cheap)


def _seen(
    critic: Callable[..., Critic],
    points: Mapping[str, Tensor],
    places: set[str],
    reduce: Reduction | None,
    *,
    joint: bool,
) -> dict[str, Differentiated]:
    """Logits at each of `points`, and the critic's gradient there for `places`; with `joint` in one pass each.

    A point and those near it are always seen in one pass: spectral norm changes the weights a little at each.
    """
    seen: dict[str, Differentiated] = {}
    for sloped in (True, False):
        names = [point for point in points if (_place(point) in places) == sloped]
        apart = [
            [near for near in names if _place(near) == point] for point in names if point == _place(point)
        ]
        for group in [names] if joint and names else apart:
            D = critic(*group)
            x = torch.cat([points[name] for name in group]) if len(group) > 1 else points[group[0]]
            found = differentiated(D, x, reduce=reduce) if sloped else Differentiated(answer(D, x), [], [])
            seen |= dict(zip(group, _split(found, [len(points[name]) for name in group]), strict=True))
    return seen


def _split(found: Differentiated, sizes: list[int]) -> list[Differentiated]:
    """What was found for samples end to end, for each group of them."""
    if len(sizes) == 1:
        return [found]
    leaves, layout = tree_flatten(found)
    return [tree_unflatten(list(part), layout) for part in zip(*(leaf.split(sizes) for leaf in leaves))]


def _penalised(
    penalty: Penalty | Paired,
    seen: Mapping[str, Differentiated],
    points: Mapping[str, Tensor],
    reduce: Reduction | None,
    kept: float | Tensor,
    batch: int,
) -> Tensor:
    """A penalty's value: of the gradients where it looks, or of pairs, in which a selected fake is no real sample."""
    if isinstance(penalty, Penalty):
        there = _looked(penalty, seen, reduce)
        return total_of(penalty.reduce(penalty.term(*pair)) for pair in zip(there.logits, there.gradients))
    x = points["real"]
    real = _truly_real(x, kept, parallel.whole(len(x), batch)).view(-1, *[1] * (x.ndim - 1))
    x = torch.where(real, x, torch.inf)  # infinitely far from all fakes
    return penalty.term(x, points["fake"], seen["real"].raw, seen["fake"].raw, total=batch)


def _truly_real(rows: Tensor, kept: float | Tensor, whole: int) -> Tensor:
    """Which of this process's rows [n, ...] of `whole` real ones are among the first `kept`: bool [n]."""
    first = parallel.rows(whole).start
    return torch.arange(first, first + len(rows), device=rows.device) < kept


def _sureness(
    loss: Loss, real_logits: Tensor, fake_logits: Tensor, kept: float | Tensor, whole: int
) -> Tensor:
    """mean sign D(x) over the truly real rows, the first `kept` of `whole`: 1 where D is sure of all of them.

    Of rows that processes share, each one's value weighs as its share, like every log.
    A relativistic loss does not fix D's zero, so there it is measured from the mean of the fakes.
    """
    signs = (real_logits - (parallel.mean(fake_logits) if loss.pairs else 0.0)).sign()
    return (
        torch.where(_truly_real(signs, kept, whole), signs, 0.0).mean()
        * whole
        / (signs.new_zeros(()) + kept).clamp_min(1)
    )


def _generator(parts: _Parts, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Logs]:
    z = draw["z_G"] if "z_G" in draw else draw["z"]
    labels = {"fake": latent_labels(z, parts.classes)} if parts.classes else {}
    if "y_real" in draw:
        labels["real"] = draw["y_real"]
    matching = parts.matching if parts.matching and _is_due(parts.matching, draw) else None
    cheap = parts.cheap and not matching  # a tangent plane has no features

    def logits(x: Tensor, side: str, parts: _Parts = parts) -> Logits:
        critic = _critic(parts, nets, draw, scalars, labels, side, cheap=cheap)
        return answer(critic, parts.view.samples(x, side, draw, scalars))

    def adversarial(x_fake: Tensor) -> Tensor:
        real_logits = logits(draw["x_real"], "real") if parts.loss.pairs else None
        return parts.loss.generator(logits(x_fake, "fake"), real_logits)

    x_fake = nets["G"](z)
    with _features(matching) as features:
        if matching and not parts.loss.pairs:  # for the features alone: nothing has to normalize the logits
            logits(draw["x_real"], "real", replace(parts, view=replace(parts.view, normalize=None)))
        total, logs = _scaled(parts.received, adversarial, x_fake, scalars)
    if parts.matching or any(agreement.G for agreement in parts.agreements):
        logs["adversarial/G"] = total
    if matching:
        real, fake = (alive(part).to(x_fake.dtype) for part in features)
        logs["feature_matching/G"] = value = losses.mean_feature_matching(real, fake)
        total = total + matching.interval * at(matching.weight, scalars) * value
    for agreement in parts.agreements:
        if agreement.G:
            total = total + agreement.G(
                x_fake, same_classes(nets["G"], draw["z"], parts.classes), draw, scalars
            )
    return total, logs


def _features(matching: FeatureMatching | None) -> AbstractContextManager[list[Tensor]]:
    """Inside the block, the list gets the features of every pass through the critic."""
    return inputs_of(matching.layer) if matching else nullcontext([])


def _scaled(
    received: Received | None,
    adversarial: Callable[[Tensor], Tensor],
    x_fake: Tensor,
    scalars: Mapping[str, Tensor],
) -> tuple[Tensor, Logs]:
    """G's loss of D, with its own value, whose gradient at x_fake has the wanted size on the mean of steps."""
    if not received:
        return adversarial(x_fake), {}
    value, pull_back, *_ = torch.func.vjp(adversarial, x_fake)
    (gradient,) = pull_back(torch.ones_like(value))
    size = gradient_size(gradient.detach())
    square = _mean_square(received, scalars, size)
    kept = at(received.decay, scalars)
    started = 1 - kept ** (scalars["step"] + 1).to(size.dtype)  # Adam's correction of a mean that starts at 0
    rms = (square / started).sqrt()
    scale = at(received.norm, scalars) / torch.where(rms == 0, 1.0, rms)
    return scaled_gradient(value, scale.detach()), {RECEIVED: size}
