"""The methods of benchmarks/results.py, as configurations."""

import argparse
from typing import Any

PENALTY = {"penalties": [{"name": "r1", "weight": 10}]}
HINGE = {"game": {"name": "gan", "loss": "hinge"}}


def normalized(name: str, **given: Any) -> dict[str, Any]:
    return {**HINGE, "critic": {"normalization": {"name": name, **given}}}


METHODS: dict[str, dict[str, Any]] = {
    "nsgan": {},
    "0gp": {"critic": PENALTY},
    "fargan": {"critic": PENALTY, "fake_as_real": {"count": 32, "pool": 8}},
    "fargan-f1": {"critic": PENALTY, "fake_as_real": {"count": 32, "pool": 1}},
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
"""What each adds to `common`; the first sets the seconds."""

FALLING = ("pgn", "pgn-proof")  # whose f is low on real images: f^ has 1 - f above


def common(options: argparse.Namespace) -> dict[str, Any]:
    """What all methods share: networks, optimizer, and the fastest settings."""
    return {
        "networks": {"name": "dcgan", "latent": 128, "width": options.width},
        "optimizer": {"name": "adam", "lr": 1e-3, "betas": [0.0, 0.9]},
        "ema": {"decay": 0.995},
        "batch": options.batch,
        "precision": "bfloat16",
        "channels_last": True,
        "compile": options.compile,
        "threads": options.threads,
    }
