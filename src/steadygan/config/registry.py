"""The one place where names become objects: the tables of all that a recipe may name, with their options."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from steadygan import augment, dynamics, losses, networks, normalization, penalties, schedules
from steadygan.config.field_types import (
    Classes,
    Count,
    Natural,
    NonNegative,
    Positive,
    Real,
    Share,
    choice,
    value,
)
from steadygan.config.records import DataPart, GamePart, NetworkPart, Options, Part, RulePart
from steadygan.data import synthetic
from steadygan.data.cifar import CIFAR10, CIFAR100
from steadygan.data.decoding import CROPS, FILTERS
from steadygan.data.emoji_sheet import EMOJI
from steadygan.data.fashion_files import FASHION_MNIST
from steadygan.data.folders import CELEBA_HQ, LSUN, image_folder
from steadygan.data.imagenet import IMAGENET64
from steadygan.data.sklearn_digits import DIGITS, stacked_digits
from steadygan.data.sources import DataSet
from steadygan.data.stl import STL10
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
    "CRITICS",
    "DATA",
    "DYNAMICS",
    "GAMES",
    "LOSSES",
    "NETWORKS",
    "NORMALIZATIONS",
    "OPTIMIZERS",
    "PENALTIES",
    "SCHEDULES",
]

_seed: dict[str, tuple[Any, Any]] = {"seed": (Natural, 0)}
_points = {"scale": (Positive, 2.0), "size": (Count | None, None), **_seed}
_flip: dict[str, tuple[Any, Any]] = {"flip": (bool, False)}
_limit: dict[str, tuple[Any, Any]] = {"limit": (Count | None, None), "limit_seed": (Natural, 0)}
_root: dict[str, tuple[Any, Any]] = {"root": (str | None, None)}
_filter = {"filter": (Literal[*FILTERS], "lanczos")}
_fit: dict[str, tuple[Any, Any]] = {**_filter, "crop": (Literal[*CROPS], "center")}
_below: dict[str, tuple[Any, Any]] = {"split": (str | None, None)}
_flipped = {**_root, "flip": (bool, True)}


def _split(known: DataSet, default: str) -> dict[str, tuple[Any, Any]]:
    return {"split": (Literal[*known.counts], default)}


def _images(known: DataSet, options: Options) -> DataPart:
    """A named set of images, which may be cut to `limit` of them, drawn by `limit_seed`; `build` does it."""
    return DataPart(known.load, {**options, **_limit}, known)


DATA: dict[str, DataPart] = {
    "ring8": DataPart(synthetic.ring, {**_points, "std": (Positive, 0.02), "stratified": (bool, False)}),
    "grid25": DataPart(synthetic.grid, {**_points, "std": (Positive, 0.05), "size": (Count, 100_000)}),
    "gaussian": DataPart(synthetic.gaussian, {**_points, "scale": (Positive, 1.0), "size": (Count, 100)}),
    "swissroll": DataPart(synthetic.swissroll, {**_points, "noise": (NonNegative, 0.25)}),
    "dirac": DataPart(synthetic.dirac),
    "none": DataPart(synthetic.nothing),
    "digits": _images(DIGITS, {}),
    "stacked_digits": DataPart(stacked_digits, {"size": (Count, 51_200), **_seed, **_limit}),
    "fashion_mnist": _images(FASHION_MNIST, {**_root, **_flip}),
    "cifar10": _images(CIFAR10, _flipped),
    "cifar100": _images(CIFAR100, _flipped),
    "stl10": _images(STL10, {**_flipped, **_split(STL10, "unlabeled"), "size": (Count, 48), **_filter}),
    "celeba_hq": _images(CELEBA_HQ, {**_flipped, **_split(CELEBA_HQ, "all"), "size": (Count, 128), **_fit}),
    "imagenet64": _images(IMAGENET64, _flipped),
    "emoji": _images(EMOJI, {**_root, **_flip, "size": (Count, 64), **_filter}),
    "lsun": _images(LSUN, {**_flipped, **_below, "size": (Count, 256), **_fit}),
    "images": DataPart(
        image_folder, {"path": (str, ...), "size": (Count | None, None), **_flip, **_below, **_fit, **_limit}
    ),
}

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


def _code_roles(pair: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The networks that share the critic's layers with InfoGAN's code head."""
    return {
        "informed critic": partial(networks.informed_critic, pair),
        "code head": partial(networks.code_head, pair),
    }


NETWORKS: dict[str, NetworkPart] = {
    "mlp": NetworkPart(
        networks.mlp,
        {"latent": (Count, 2), "width": (Count, 64), "depth": (Count, 3)},
        {
            "encoder": networks.mlp_encoder,
            "autoencoder": networks.mlp_autoencoder,
            **_code_roles(networks.mlp),
        },
        conditional=True,
    ),
    "dcgan": NetworkPart(
        networks.dcgan,
        {**_sizes, "batch_norm": (bool, False)},
        {
            "encoder": networks.dcgan_encoder,
            "autoencoder": networks.dcgan_autoencoder,
            **_code_roles(networks.dcgan),
        },
        conditional=True,
    ),
    "far_conventional": NetworkPart(
        networks.far_conventional, {**_sizes, "image_kernel": (Literal[1, 3], 3)}
    ),
    "far_resnet": NetworkPart(networks.far_resnet, _sizes),
    "far_resnet_deep": NetworkPart(networks.far_resnet_deep, {**_sizes, "latent": (Count, 256)}),
    "gn_cnn": NetworkPart(networks.gn_cnn, _sizes),
    "gn_resnet": NetworkPart(networks.gn_resnet, _sizes),
    "numerics_dcgan": NetworkPart(
        networks.numerics_dcgan,
        {
            **_numerics,
            "layers": (Literal[3, 4], 4),
            "batch_norm": (bool, True),
            "constant_filters": (bool, False),
        },
    ),
    "numerics_conv": NetworkPart(
        networks.numerics_conv, {**_numerics, "layers": (Literal[3, 4], 3), "hidden": (Count, 512)}
    ),
    "numerics_resnet": NetworkPart(networks.numerics_resnet, {**_numerics, "width": (Count, 128)}),
    "biggan32": NetworkPart(
        networks.biggan32, {"latent": (Count, 128), "width": (Count, 256)}, conditional=True
    ),
    "r3gan": NetworkPart(
        networks.r3gan,
        {
            "latent": (Count, 64),
            "width": (Count, 768),
            "depth": (Count, 2),
            "group": (Count, 16),
            "widest": (Literal[4, 8, 16, 32, 64, 128, 256], 32),
        },
    ),
    "dirac": NetworkPart(networks.dirac, {"theta": (Real, 1.0), "psi": (Real, 1.0)}),
    "point": NetworkPart(networks.point, dict.fromkeys(("G", "D"), (tuple[Real, ...], (1.0,)))),
}

_gamma = {"gamma": (value(low=0), 10.0)}


def _lookahead(game: Game, optimizers: Any, inner: str, n_critic: int, **given: Any) -> Rule:
    if inner == "simultaneous" and n_critic > 1:
        raise UsageError("dynamics.n_critic is for alternating steps: choose dynamics.inner=alternating")
    rule = partial(dynamics.alternating, n_critic=n_critic)
    chosen = rule if inner == "alternating" else dynamics.simultaneous
    return dynamics.lookahead(game, optimizers, inner=chosen, **given)


DYNAMICS: dict[str, RulePart] = {
    "alternating": RulePart(dynamics.alternating, {"n_critic": (Count, 1)}),
    "simultaneous": RulePart(dynamics.simultaneous),
    "consensus": RulePart(dynamics.consensus, {**_gamma, "debiased": (bool, False)}, second_order=True),
    "smoothing": RulePart(
        dynamics.smoothing, {**_gamma, "reading": (Literal[*READINGS], "generator")}, second_order=True
    ),
    "extragradient": RulePart(dynamics.extragradient, {"past": (bool, False)}),
    "optimistic": RulePart(dynamics.optimistic),
    "symplectic": RulePart(
        dynamics.symplectic, {"weight": (value(low=0), 1.0), "align": (bool, True)}, second_order=True
    ),
    "lookahead": RulePart(
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

_codes = ("categorical", "continuous")
_autoencoded = {"G": "generator", "D": "autoencoder"}

GAMES: dict[str, GamePart] = {
    "gan": GamePart(
        gan,
        {**_loss, "conditional": (bool, False), "batch_G": (Count | None, None)},
        constrained=True,
    ),
    "infogan": GamePart(
        infogan,
        {
            **_loss,
            "categorical": (tuple[Classes, ...], (10,)),
            "continuous": (Natural, 2),
            "weight": (value(low=0), 1.0),
        },
        {"G": "generator", "D": "informed critic", "Q": "code head"},
        constrained=True,
        latent_law=networks.Codes,
        given={"generator": _codes, "code head": _codes},
    ),
    "bilinear": GamePart(bilinear, bare=True),
    "quadratic": GamePart(
        lambda eigenvalues, skew, **nets: quadratic(**nets, matrix=blocks(eigenvalues, skew)),
        {"eigenvalues": (tuple[tuple[Real, Real], ...], ((-1.0, 3.0),)), "skew": (Positive, 1.0)},
        bare=True,
    ),
    "reg_gan": GamePart(
        reg_gan,
        {
            **_loss,
            "weight_distance": (value(low=0), 0.2),
            "weight_mode": (value(low=0), 0.4),
            "paper_sign": (bool, False),
        },
        {"G": "generator", "D": "critic", "E": "encoder"},
        constrained=True,
    ),
    "mdgan": GamePart(
        mdgan,
        {"weight_mode": (value(low=0), 0.01)},
        {"D1": "critic", "G": "generator", "E": "encoder", "D2": "critic"},
    ),
    "ebgan": GamePart(
        ebgan, {"margin": (value(above=0), ...), "pull_away": (value(low=0), 0.0)}, _autoencoded
    ),
    "began": GamePart(
        began,
        {"gamma": (value(low=0, high=1), 0.5), "rate": (value(low=0), 0.001), "eta": (value(low=1), 1.0)},
        _autoencoded,
        latent_law=networks.Uniform,
    ),
}
"""bilinear and quadratic are of bare vectors (networks.name=point) and read no data."""

SCHEDULES = dict.fromkeys(schedules.SCHEDULES, Part(dict))

CRITICS = {"critic", "informed critic"}
"""The roles whose networks answer with logits: they take noise in their hidden layers and normalized weights."""
