"""steadygan: generative adversarial networks whose gradients behave.

The ideas are modules of small functions for your own training loop: `losses`, `penalties`, `normalization`,
`consistency`, `augment`, `noise`, `fake_as_real`. `fit` trains networks of your own. `config` and `build` make a run
of a recipe.
"""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan import (
        augment,
        build,
        config,
        consistency,
        data,
        diagnostics,
        dynamics,
        fake_as_real,
        games,
        gamma,
        losses,
        metrics,
        networks,
        noise,
        normalization,
        parallel,
        penalties,
        report,
        schedules,
        spectrum,
        theory,
    )
    from steadygan.commands.fit import fit
    from steadygan.diagnostics.monitor import Monitor
    from steadygan.runs.export import export
    from steadygan.runs.hub import push
    from steadygan.runs.load import load

__all__ = [
    "Monitor",
    "__version__",
    "augment",
    "build",
    "config",
    "consistency",
    "data",
    "diagnostics",
    "dynamics",
    "export",
    "fake_as_real",
    "fit",
    "games",
    "gamma",
    "load",
    "losses",
    "metrics",
    "networks",
    "noise",
    "normalization",
    "parallel",
    "penalties",
    "push",
    "report",
    "schedules",
    "spectrum",
    "theory",
]

__version__ = "0.1.0"

__getattr__, __dir__ = lazy(__name__)
