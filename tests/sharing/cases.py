"""Small runs of every family of methods, from the registries: a new loss, penalty, rule or game is a case at once."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from steadygan.config.records import Options
from steadygan.config.registry import (
    AUGMENTATIONS,
    CONSISTENCY,
    DYNAMICS,
    GAMES,
    LOGIT_PENALTIES,
    LOSSES,
    NORMALIZATIONS,
    PENALTIES,
)

__all__ = ["CASES", "COMPILED", "STEPS"]

Raw = dict[str, Any]

STEPS = 12

POINTS: Raw = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "adam", "lr": 0.01},
    "batch": 7,  # as 3 + 4 rows, or as 2 + 2 + 3
    "steps": STEPS,
    "precision": "float64",
    "compile": False,
}
DIGITS: Raw = {**POINTS, "data": "digits", "networks": {"name": "mlp", "width": 8, "depth": 2, "latent": 14}}
IMAGES: Raw = {**POINTS, "data": "digits", "networks": {"name": "dcgan", "width": 4, "latent": 4}}
NORMED: Raw = {**IMAGES, "networks": {**IMAGES["networks"], "batch_norm": True}}
BARE: Raw = {**POINTS, "data": "none", "networks": {"name": "point", "G": [1.0], "D": [0.5]}}
FAR: Raw = {**POINTS, "fake_as_real": {"count": 3, "pool": 3}}
DELTA = 2.0  # so that about half of the pairs are close
FALLING = {"schedule": "linear", "start": 4, "stop": 0, "over": "90%"}


def options(part: Options) -> Iterator[Raw]:
    """The options that an entry needs, then with each other value of every choice, and of what is off by default."""
    needed = {key: option.example for key, option in part.items() if option.default is ...}
    yield needed
    for key, (kind, default, _, example) in part.items():
        if kind is bool:
            yield {**needed, key: not default}
        elif get_origin(kind) is Literal:
            yield from ({**needed, key: each} for each in get_args(kind) if each != default)
        elif default in (0, None) and example is not None:
            yield {**needed, key: example}


def named(base: Raw, section: str, name: str, part: Options, /, **changes: Any) -> Iterator[tuple[str, Raw]]:
    """A case for each of `options`, with the entry under its dotted `section`; a list there if it ends in []."""
    for chosen in options(part):
        label = " ".join([name, *(f"{key}={value}" for key, value in chosen.items())])
        entry: Any = {"name": name, **chosen, **{k: v for k, v in changes.items() if k in part}}
        outer, _, inner = section.removesuffix("[]").partition(".")
        entry = [entry] if section.endswith("[]") else entry
        yield f"{outer}: {label}", {**base, outer: {inner: entry} if inner else entry}


def registered() -> Iterator[tuple[str, Raw]]:
    """Every loss, penalty, normalization, consistency term, augmentation, update rule and game."""
    for name in (name for name in LOSSES if name != "own"):
        yield f"loss: {name}", {**POINTS, "game": {"name": "gan", "loss": name}}
    for name, part in PENALTIES.items():
        yield from named(POINTS, "critic.penalties[]", name, part.options, weight=0.3, delta=DELTA)
    for name, part in LOGIT_PENALTIES.items():
        yield from named(POINTS, "critic.logit_penalties[]", name, part.options, decay=0.5)
    for name, part in NORMALIZATIONS.items():
        yield from named(POINTS, "critic.normalization", name, part.options)
    for name, part in CONSISTENCY.items():
        yield from named(POINTS, "critic.consistency[]", name, part.options, move="jitter")
        yield from named(IMAGES, "critic.consistency[]", name, {})
    for name, part in AUGMENTATIONS.items():
        changes = {"over": 100.0, "target": 0.1}  # so that p moves within a few steps
        yield from named(NORMED, "augment", name, part.options, **changes)
    for name, part in DYNAMICS.items():
        yield from named(POINTS, "dynamics", name, part.options, gamma=0.1)
    for name, game in GAMES.items():
        yield from named(BARE if game.bare else DIGITS, "game", name, game.options)


def _penalty(name: str, part: Options) -> Raw:
    return {"name": name, "weight": 0.3} | ({"delta": DELTA} if "delta" in part else {})


def combined() -> Iterator[tuple[str, Raw]]:
    """What is no entry of a table, and what meets."""
    yield "weights clipped", {**POINTS, "critic": {"clip": {"bound": 0.1}}}
    yield (
        "gradient that G receives",
        {**POINTS, "critic": {"generator_gradient": {"norm": 0.5, "decay": 0.5}}},
    )
    yield "feature matching", {**NORMED, "critic": {"feature_matching": {"weight": 0.3, "layer": 1}}}
    yield (
        "feature matching, labels, GN, accumulation",
        {
            **DIGITS,
            "game": {"name": "gan", "conditional": True},
            "batch": 14,
            "accumulate": 2,
            "critic": {"feature_matching": {"weight": 0.3}, "normalization": "gradient_normalized"},
        },
    )
    yield "weights clipped before", {**POINTS, "critic": {"clip": {"bound": 0.1, "when": "before"}}}
    yield "fake-as-real", FAR
    yield "fake-as-real, falling", {**FAR, "fake_as_real": {"count": FALLING, "pool": 3}}
    yield (
        "fake-as-real, weighed",
        {**FAR, "fake_as_real": {"count": FALLING, "weight": {**FALLING, "stop": 0.2}}},
    )
    yield "fake-as-real, scored in bfloat16", {**FAR, "fake_as_real": {"count": 3, "scoring": "bfloat16"}}
    yield "fake-as-real, fewer candidates than processes", {**FAR, "fake_as_real": {"count": 1, "pool": 1}}
    yield "fake-as-real, batch norm", {**NORMED, "fake_as_real": {"count": 3, "pool": 3}}
    yield "fake-as-real, GN", {**FAR, "critic": {"normalization": "gradient_normalized"}}
    yield (
        "fake-as-real, ADA",
        {
            **IMAGES,
            "fake_as_real": {"count": FALLING, "pool": 2},
            "augment": {"name": "ada", "over": 100.0},
            "game": {"name": "gan", "loss": "relativistic"},
        },
    )
    yield "fake-as-real, consensus", {**FAR, "dynamics": {"name": "consensus", "gamma": 0.1}}
    yield (
        "fake-as-real, one candidate, consensus",
        {
            **FAR,
            "fake_as_real": {"count": 1, "pool": 1},
            "dynamics": {"name": "consensus", "gamma": 0.1},
        },
    )
    yield "instance noise", {**POINTS, "noise": {"instance": 0.3}}
    yield "instance noise, falling", {**POINTS, "noise": {"instance": {**FALLING, "start": 0.5}}}
    yield (
        "lazy penalties",
        {
            **POINTS,
            "critic": {"penalties": [{"name": "r1", "interval": 3}, {"name": "max_gradient", "interval": 2}]},
        },
    )
    yield (
        "all penalties",
        {
            **POINTS,
            "critic": {"penalties": [*(_penalty(name, part.options) for name, part in PENALTIES.items())]},
        },
    )
    yield (
        "labels, batch norm of classes",
        {
            **NORMED,
            "game": {"name": "gan", "conditional": True},
            "critic": {"normalization": "spectral_normalized", "penalties": ["r1"]},
        },
    )
    yield (
        "labels, fake-as-real",
        {
            **DIGITS,
            "game": {"name": "gan", "conditional": True},
            "fake_as_real": {"count": 3, "pool": 2},
        },
    )
    yield "batch_G", {**POINTS, "game": {"name": "gan", "batch_G": 5}}
    yield "accumulation", {**POINTS, "batch": 14, "accumulate": 2, "critic": {"penalties": ["max_gradient"]}}
    yield (
        "accumulation, fake-as-real, batch norm",
        {
            **NORMED,
            "batch": 14,
            "accumulate": 2,
            "fake_as_real": {"count": 6, "pool": 2},
        },
    )
    yield "average", {**NORMED, "ema": {"decay": 0.9, "start": 5}}
    yield "critics step twice", {**POINTS, "dynamics": {"name": "alternating", "n_critic": 2}}
    yield "G steps twice", {**POINTS, "dynamics": {"name": "alternating", "n_generator": 2}}
    yield "ensemble", {**FAR, "seeds": 2, "critic": {"penalties": [{"name": "r1", "weight": [0.1, 1.0]}]}}
    yield (
        "ensemble, batch norm, largest",
        {
            **NORMED,
            "seeds": 2,
            "critic": {"penalties": ["max_gradient", "dragan"]},
        },
    )
    yield (
        "ensemble, consensus",
        {**POINTS, "seeds": 2, "dynamics": {"name": "consensus", "gamma": [0.1, 1.0]}},
    )
    yield "batch norm, consensus", {**NORMED, "dynamics": {"name": "consensus", "gamma": 0.1}}
    yield "batch norm in both, SGD", {**BOTH_NORMED, "optimizer": {"name": "sgd", "lr": 0.01}}
    yield "batch norm in both, consensus", {**BOTH_NORMED, "dynamics": {"name": "consensus", "gamma": 0.1}}
    yield (
        "pull-away, accumulation",
        {
            **DIGITS,
            "batch": 14,
            "accumulate": 2,
            "game": {"name": "ebgan", "margin": 2.0, "pull_away": 0.3},
        },
    )
    yield "hidden noise", {**POINTS, "batch": 12, "noise": {"D": 0.3, "G": 0.2}}


BOTH_NORMED: Raw = {
    **IMAGES,
    "data": {"name": "digits"},
    "networks": {"name": "numerics_dcgan", "width": 2, "latent": 4, "layers": 3},
}

CASES: dict[str, Raw] = dict([*registered(), *combined()])
"""Runs by a name that says what is in them."""

COMPILED = (
    "ensemble, batch norm, largest",
    "labels, fake-as-real",
)
"""Cases that are compiled too: all kinds of sums over processes, in few operations."""
