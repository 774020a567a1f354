"""The one place where names become objects: the tables of all that a recipe may name, with their options."""

from functools import partial
from typing import Any, Literal

from steadygan import augment, dynamics, losses, networks, normalization, penalties, schedules
from steadygan.config.field_types import (
    Classes,
    Count,
    Natural,
    NonNegative,
    Part,
    Positive,
    Real,
    Share,
    choice,
    value,
)
from steadygan.data import images, synthetic
from steadygan.data import images as stacked
from steadygan.data.decoding import CROPS, FILTERS
from steadygan.data.known_sets import KNOWN
from steadygan.dynamics._smoothing import READINGS
from steadygan.errors import UsageError
from steadygan.game import Game, Rule
from steadygan.game import optimizers as optim
from steadygan.games import (
    adaptive,
    bcr,
    began,
    bilinear,
    cr,
    differentiable,
    ebgan,
    gan,
    infogan,
    mdgan,
    quadratic,
    reg_gan,
    zcr,
)
from steadygan.games._quadratic import blocks
from steadygan.games.consistency_terms import MOVES

__all__ = [
    "AUGMENTATIONS",
    "CONSISTENCY",
    "CONSTRAINED",
    "CRITICS",
    "DATA",
    "DYNAMICS",
    "GAMES",
    "GIVEN",
    "LATENTS",
    "LOSSES",
    "NETWORKS",
    "NORMALIZATIONS",
    "OPTIMIZERS",
    "PENALTIES",
    "PLAYERS",
    "SCHEDULES",
]

_seed: dict[str, tuple[Any, Any]] = {"seed": (Natural, 0)}
_points = {"scale": (Positive, 2.0), "size": (Count | None, None), **_seed}
_images: dict[str, tuple[Any, Any]] = {"flip": (bool, False)}
_root: dict[str, tuple[Any, Any]] = {"root": (str | None, None)}
_filter = {"filter": (Literal[*FILTERS], "lanczos")}
_fit: dict[str, tuple[Any, Any]] = {**_filter, "crop": (Literal[*CROPS], "center")}
_below: dict[str, tuple[Any, Any]] = {"split": (str | None, None)}
_flipped = {**_root, "flip": (bool, True)}


def _split(name: str, default: str) -> dict[str, tuple[Any, Any]]:
    return {"split": (Literal[*KNOWN[name].counts], default)}


DATA = {
    "ring8": Part(synthetic.ring, {**_points, "std": (Positive, 0.02), "stratified": (bool, False)}),
    "grid25": Part(synthetic.grid, {**_points, "std": (Positive, 0.05), "size": (Count, 100_000)}),
    "gaussian": Part(synthetic.gaussian, {**_points, "scale": (Positive, 1.0), "size": (Count, 100)}),
    "swissroll": Part(synthetic.swissroll, {**_points, "noise": (NonNegative, 0.25)}),
    "dirac": Part(synthetic.dirac),
    "none": Part(synthetic.nothing),
    "digits": Part(images.digits),
    "stacked-digits": Part(stacked.stacked_digits, {"size": (Count, 51_200), **_seed}),
    "fashion-mnist": Part(images.fashion_mnist, {**_root, **_images}),
    "cifar10": Part(images.cifar10, _flipped),
    "cifar100": Part(images.cifar100, _flipped),
    "stl10": Part(images.stl10, {**_flipped, **_split("stl10", "unlabeled"), "size": (Count, 48), **_filter}),
    "celeba_hq": Part(
        images.celeba_hq, {**_flipped, **_split("celeba_hq", "all"), "size": (Count, 128), **_fit}
    ),
    "imagenet64": Part(images.imagenet64, _flipped),
    "emoji": Part(images.emoji, {**_root, **_images, "size": (Count, 64), **_filter}),
    "lsun": Part(images.lsun, {**_flipped, **_below, "size": (Count, 256), **_fit}),
    "images": Part(
        images.image_folder, {"path": (str, ...), "size": (Count | None, None), **_images, **_below, **_fit}
    ),
}

_limit: dict[str, tuple[Any, Any]] = {"limit": (Count | None, None), "limit_seed": (Natural, 0)}
DATA |= {
    name: part._replace(options={**part.options, **_limit})
    for name, part in DATA.items()
    if "flip" in part.options or name in ("digits", "stacked-digits")
}
"""Images may be cut to `limit` of them, drawn by `limit_seed`; `build` does it."""

LOSSES = {name: Part(lambda loss=loss: loss) for name, loss in losses.LOSSES.items()}
LOSSES["least_squares"] = Part(
    lambda scale: losses.Loss(
        partial(losses.least_squares.discriminator, scale=scale),
        partial(losses.least_squares.generator, scale=scale),
    ),
    {"scale": (Positive, 0.5)},
)

_penalty = {"weight": (value(low=0), 10.0), "interval": (Count, 1)}
_squared = {**_penalty, "of": (Literal[*penalties.SQUARED], "logit")}

PENALTIES = {
    name: Part(make, _squared if name in ("r1", "r2", "zero_centered") else _penalty)
    for name, make in penalties.PENALTIES.items()
}

_eps = {"eps": (NonNegative, normalization.EPS)}

NORMALIZATIONS = {
    "none": Part(lambda: None),
    "gradient_normalized": Part(lambda eps: partial(normalization.gradient_normalized, eps=eps), _eps),
    "penalty_gradient_normalized": Part(
        lambda reading, eps: partial(normalization.penalty_gradient_normalized, reading=reading, eps=eps),
        {"reading": (Literal[*normalization.READINGS], "elementwise"), **_eps},
    ),
    "spectral_normalized": Part(lambda: normalization.spectral_normalized),
}
"""The first kinds wrap the critic's output, the last one its module."""

_weight = (value(low=0), 10.0)
_move = {"move": (Literal[*MOVES], "flip_and_shift")}

CONSISTENCY = {
    "cr": Part(cr, {"weight": _weight, **_move}),
    "bcr": Part(bcr, {"weight": _weight, "weight_fake": _weight, **_move}),
    "zcr": Part(
        zcr, {"weight": (value(low=0), 5.0), "weight_G": (value(low=0), 0.5), "sigma": (Positive, 0.03)}
    ),
}

AUGMENTATIONS = {
    "none": Part(lambda: None),
    "diffaugment": Part(
        differentiable,
        {"policy": (tuple[Literal["color", "translation", "cutout"], ...], tuple(augment.DIFFAUGMENT))},
    ),
    "ada": Part(adaptive, {"target": (Share, 0.6), "over": (Positive, 500_000.0)}),
}

_sizes: dict[str, tuple[Any, Any]] = {"latent": (Count, 128), "width": (Count, 64)}
_numerics: dict[str, tuple[Any, Any]] = {"latent": (Count, 256), "width": (Count, 64)}

NETWORKS = {
    "mlp": Part(networks.mlp, {"latent": (Count, 2), "width": (Count, 64), "depth": (Count, 3)}),
    "dcgan": Part(networks.dcgan, {**_sizes, "batch_norm": (bool, False)}),
    "far_conventional": Part(networks.far_conventional, {**_sizes, "image_kernel": (Literal[1, 3], 3)}),
    "far_resnet": Part(networks.far_resnet, _sizes),
    "far_resnet_deep": Part(networks.far_resnet_deep, {**_sizes, "latent": (Count, 256)}),
    "gn_cnn": Part(networks.gn_cnn, _sizes),
    "gn_resnet": Part(networks.gn_resnet, _sizes),
    "numerics_dcgan": Part(
        networks.numerics_dcgan,
        {
            **_numerics,
            "layers": (Literal[3, 4], 4),
            "batch_norm": (bool, True),
            "constant_filters": (bool, False),
        },
    ),
    "numerics_conv": Part(
        networks.numerics_conv, {**_numerics, "layers": (Literal[3, 4], 3), "hidden": (Count, 512)}
    ),
    "numerics_resnet": Part(networks.numerics_resnet, {**_numerics, "width": (Count, 128)}),
    "biggan32": Part(networks.biggan32, {"latent": (Count, 128), "width": (Count, 256)}),
    "r3gan": Part(
        networks.r3gan,
        {
            "latent": (Count, 64),
            "width": (Count, 768),
            "depth": (Count, 2),
            "group": (Count, 16),
            "widest": (Literal[4, 8, 16, 32, 64, 128, 256], 32),
        },
    ),
    "dirac": Part(networks.dirac, {"theta": (Real, 1.0), "psi": (Real, 1.0)}),
    "point": Part(networks.point, dict.fromkeys(("G", "D"), (tuple[Real, ...], (1.0,)))),
}

_gamma = {"gamma": (value(low=0), 10.0)}


def _lookahead(game: Game, optimizers: Any, inner: str, n_critic: int, **given: Any) -> Rule:
    if inner == "simultaneous" and n_critic > 1:
        raise UsageError("dynamics.n_critic is for alternating steps: choose dynamics.inner=alternating")
    rule = partial(dynamics.alternating, n_critic=n_critic)
    chosen = rule if inner == "alternating" else dynamics.simultaneous
    return dynamics.lookahead(game, optimizers, inner=chosen, **given)


DYNAMICS = {
    "alternating": Part(dynamics.alternating, {"n_critic": (Count, 1)}),
    "simultaneous": Part(dynamics.simultaneous),
    "consensus": Part(dynamics.consensus, {**_gamma, "debiased": (bool, False)}),
    "smoothing": Part(dynamics.smoothing, {**_gamma, "reading": (Literal[*READINGS], "generator")}),
    "extragradient": Part(dynamics.extragradient, {"past": (bool, False)}),
    "optimistic": Part(dynamics.optimistic),
    "symplectic": Part(dynamics.symplectic, {"weight": (value(low=0), 1.0), "align": (bool, True)}),
    "lookahead": Part(
        _lookahead,
        {
            "steps": (Count, 5),
            "alpha": (value(low=0, high=1), 0.5),
            "inner": (Literal["alternating", "simultaneous"], "alternating"),
            "n_critic": (Count, 1),
        },
    ),
}

_lr: dict[str, tuple[Any, Any]] = {"lr": (value(low=0), ...)}

OPTIMIZERS = {
    "sgd": Part(optim.sgd, {**_lr, "momentum": (Share, 0.0)}),
    "rmsprop": Part(optim.rmsprop, {**_lr, "alpha": (Share, 0.99), "eps": (Positive, 1e-8)}),
    "tf_rmsprop": Part(optim.tf_rmsprop, {**_lr, "decay": (Share, 0.9), "eps": (Positive, 1e-10)}),
    "adam": Part(optim.adam, {**_lr, "betas": (tuple[Share, Share], (0.9, 0.999)), "eps": (Positive, 1e-8)}),
}

_loss: dict[str, tuple[Any, Any]] = {"loss": (choice(LOSSES, default="non_saturating"), "non_saturating")}

GAMES = {
    "gan": Part(gan, {**_loss, "conditional": (bool, False), "batch_G": (Count | None, None)}),
    "infogan": Part(
        infogan,
        {
            **_loss,
            "categorical": (tuple[Classes, ...], (10,)),
            "continuous": (Natural, 2),
            "weight": (value(low=0), 1.0),
        },
    ),
    "bilinear": Part(bilinear),
    "quadratic": Part(
        lambda eigenvalues, skew, **nets: quadratic(**nets, matrix=blocks(eigenvalues, skew)),
        {"eigenvalues": (tuple[tuple[Real, Real], ...], ((-1.0, 3.0),)), "skew": (Positive, 1.0)},
    ),
    "reg_gan": Part(
        reg_gan,
        {
            **_loss,
            "weight_distance": (value(low=0), 0.2),
            "weight_mode": (value(low=0), 0.4),
            "paper_sign": (bool, False),
        },
    ),
    "mdgan": Part(mdgan, {"weight_mode": (value(low=0), 0.01)}),
    "ebgan": Part(ebgan, {"margin": (value(above=0), ...), "pull_away": (value(low=0), 0.0)}),
    "began": Part(
        began,
        {"gamma": (value(low=0, high=1), 0.5), "rate": (value(low=0), 0.001), "eta": (value(low=1), 1.0)},
    ),
}
"""bilinear and quadratic are of bare vectors (networks.name=point) and read no data."""

SCHEDULES = dict.fromkeys(schedules.SCHEDULES, Part(dict))

PLAYERS = {name: {"G": "generator", "D": "critic"} for name in GAMES}
PLAYERS["reg_gan"] = {"G": "generator", "D": "critic", "E": "encoder"}
PLAYERS["mdgan"] = {"D1": "critic", "G": "generator", "E": "encoder", "D2": "critic"}
PLAYERS["ebgan"] = {"G": "generator", "D": "autoencoder"}
PLAYERS["began"] = {"G": "generator", "D": "autoencoder"}
PLAYERS["infogan"] = {"G": "generator", "D": "informed critic", "Q": "code head"}
"""Every game's players, and the role whose network each of them has."""

CRITICS = {"critic", "informed critic"}
"""The roles whose networks answer with logits: they take noise in their hidden layers and normalized weights."""

CONSTRAINED = {"gan", "reg_gan", "infogan"}
"""The games whose critic takes penalties, normalization, consistency, augmentation, noise and fake-as-real."""

LATENTS = {"infogan": networks.Codes, "began": networks.Uniform}
"""What a game's generator begins with, where its latents have another law than N(0, I)."""

_codes = ("categorical", "continuous")
GIVEN = {("infogan", "generator"): _codes, ("infogan", "code head"): _codes}
"""By game and role, the game's options that a network is given too (the generator: what it begins with)."""
