"""Games: which players there are and what each minimises. None owns a training loop."""

from steadygan.games.agreement import bcr, cr, zcr
from steadygan.games.gan import Clip, FakeAsReal, Term, gan
from steadygan.games.infogan import infogan
from steadygan.games.quadratic import bilinear, quadratic
from steadygan.games.view import View, adaptive, differentiable

__all__ = [
    "Clip",
    "FakeAsReal",
    "Term",
    "View",
    "adaptive",
    "bcr",
    "bilinear",
    "cr",
    "differentiable",
    "gan",
    "infogan",
    "quadratic",
    "zcr",
]
