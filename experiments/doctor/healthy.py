"""The healthy runs that nothing was calibrated on: other seeds, from 200, and other settings than calibration's."""

from functools import partial

from experiments.doctor.settings import adam, fading, falling, penalty, rows

__all__ = ["HEALTHY"]

_of = partial(rows, "test")

HEALTHY = [
    *_of(
        "healthy",
        ("ring-r2", "ring", {**penalty("r2", 0.2), "networks.width": 48, "optimizer": falling}),
        (
            "ring-r3gan",
            "ring",
            {
                "game.loss": "relativistic",
                "critic.penalties": [{"name": n, "weight": 0.05} for n in ("r1", "r2")],
                "optimizer": falling,
            },
        ),
        ("ring-dragan", "ring", {**penalty("dragan", 0.1), "data.scale": 1.5, "optimizer": falling}),
        ("ring-hinge", "ring", {**penalty("r1", 0.2), "game.loss": "hinge", "optimizer": falling}),
        (
            "ring-gn",
            "ring",
            {"critic.normalization": "gradient_normalized", "game.loss": "hinge", "optimizer": falling},
        ),
        (
            "grid-between",
            "grid",
            {**penalty("zero_centered", 0.1), "networks.width": 96, "optimizer": falling},
        ),
        (
            "grid-far",
            "grid",
            {
                **penalty("r1", 0.2),
                "data.scale": 3,
                "optimizer": falling,
                "fake_as_real": {"count": {**fading, "start": 8}, "pool": 4},
            },
        ),
        (
            "digits-gp",
            "digits",
            {**penalty("one_sided", 1.0), "game.loss": "wasserstein", "optimizer": {**adam, "lr": 0.0005}},
        ),
        (
            "digits-r3gan",
            "digits",
            {
                "game.loss": "relativistic",
                "critic.penalties": [{"name": n, "weight": 0.5} for n in ("r1", "r2")],
                "networks.width": 24,
            },
        ),
        (
            "dirac-r1",
            "dirac",
            {"game.loss": "non_saturating", **penalty("r1", 0.5), "optimizer": {"name": "sgd", "lr": 0.15}},
        ),
        (
            "bilinear-extra",
            "bare",
            {
                "game": "bilinear",
                "networks": {"name": "point", "G": [1.0], "D": [1.0]},
                "dynamics": "extragradient",
                "optimizer": {"name": "sgd", "lr": 0.2},
            },
        ),
    ),
]
