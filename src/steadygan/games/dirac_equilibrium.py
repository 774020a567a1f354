"""The Dirac-GAN in closed form: D(x) = psi x, every real sample is 0, every fake is theta."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steadygan.game import Rest

__all__ = ["rest"]

SLOPES = {
    "wasserstein": (1.0, 1.0),
    "indicator": (1.0, 1.0),
    "hinge": (1.0, 1.0),
    "total_variation": (1.0, 1.0),
    "minimax": (0.5, 0.5),
    "non_saturating": (0.5, 0.5),
    "relativistic": (0.5, 0.5),
    "kl": (0.5, 1.0),
}
"""d^2 L_D / dpsi dtheta and -d^2 L_G / dtheta dpsi at 0, for each loss."""

FORCES = {"r1": 2.0, "r2": 2.0, "zero_centered": 2.0, "max_gradient": 2.0, "one_sided": 0.0}
"""F in the force -F k psi of a penalty of the logit with weight k: no penalty here has a 1/2."""


def rest(loss: str, penalties: Sequence[tuple[str, float]]) -> Rest:
    """Return the equilibrium (psi, theta) = 0, and v' = [[-r, -c_D], [c_G, 0]] there, with r = 2 k for R1 of weight k.

    v' is None for a loss or a penalty whose linearisation is not in the tables above. Source: Mescheder 2018,
    section 3.

    >>> rest("wasserstein", [("r1", 0.5)]).velocity
    tensor([[-1., -1.],
            [ 1.,  0.]], dtype=torch.float64)
    """
    velocity: Tensor | None = None
    if loss in SLOPES and all(name in FORCES for name, _ in penalties):
        (d, g), r = SLOPES[loss], sum(FORCES[name] * weight for name, weight in penalties)
        velocity = torch.tensor([[-r, -d], [g, 0.0]], dtype=torch.float64)
    return Rest({"D": torch.zeros(1), "G": torch.zeros(1)}, velocity)
