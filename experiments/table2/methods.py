"""The methods of experiments.table2.run, as configurations."""

import argparse
from typing import Any

PENALTY = {"penalties": [{"name": "r1", "weight": 10}]}
HINGE = {"game": {"name": "gan", "loss": "hinge"}}


def normalized(name: str, **given: Any) -> dict[str, Any]:
    return {**HINGE, "critic": {"normalization": {"name": name, **given}}}


METHODS: dict[str, dict[str, Any]] = {
    "nsgan": {},
    "0gp": {"critic": PENALTY},
    "fargan": {"critic": PENALTY, "fake_as_real": {"pool": 8}},
    "fargan-f1": {"critic": PENALTY, "fake_as_real": {"pool": 1}},
    "gn": normalized("gradient_normalized"),
    "pgn": normalized("penalty_gradient_normalized", reading="elementwise"),
    "pgn-proof": normalized("penalty_gradient_normalized", reading="proof"),
    "sn": normalized("spectral_normalized"),
    "wgan-gp": {
        "game": {"name": "gan", "loss": "wasserstein"},
        "critic": {"penalties": [{"name": "one_centered", "weight": 10}]},
        "dynamics": {"name": "alternating", "n_critic": 5},
    },
    "r3gan": {
        "game": {"name": "gan", "loss": "relativistic"},
        "critic": {"penalties": [{"name": "r1", "weight": 0.5}, {"name": "r2", "weight": 0.5}]},
    },
}
"""What each adds to `common` and, for fake-as-real, half a batch; the first sets the seconds."""

GENTLE, GENTLY = ("gn", "pgn", "pgn-proof"), 1e-3
"""What no faster rate is for: at .002 GN collapsed on 1,000 images of CIFAR-10 within 750 steps."""

FALLING = ("pgn", "pgn-proof")  # whose f is low on real images: f^ has 1 - f above


def configured(method: str, options: argparse.Namespace, batch: int, rate: float) -> dict[str, Any]:
    """A method's configuration, but for its data, its seed and how long it lasts."""
    made = {**common(options, batch, min(rate, GENTLY) if method in GENTLE else rate), **METHODS[method]}
    if "fake_as_real" in made:
        made["fake_as_real"] = {"count": batch // 2, **made["fake_as_real"]}
    return made


def common(options: argparse.Namespace, batch: int, rate: float) -> dict[str, Any]:
    """What all methods share: networks, optimizer, and the fastest settings."""
    return {
        "networks": {"name": "dcgan", "latent": 128, "width": options.width},
        "optimizer": {"name": "adam", "lr": rate, "betas": [0.0, 0.9]},
        "ema": {"decay": 0.995},
        "batch": batch,
        "precision": "bfloat16",
        "channels_last": True,
        "compile": options.compile,
        "threads": options.threads,
    }
