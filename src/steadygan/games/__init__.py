"""Games: which players there are and what each minimises. None owns a training loop."""

from steadygan.games.agreement import bcr, cr, zcr
from steadygan.games.began import began
from steadygan.games.ebgan import ebgan
from steadygan.games.gan import Clip, FakeAsReal, Term, gan
from steadygan.games.infogan import infogan
from steadygan.games.mdgan import mdgan
from steadygan.games.quadratic import bilinear, quadratic
from steadygan.games.reg_gan import reg_gan
from steadygan.games.view import View, adaptive, differentiable

__all__ = [
    "Clip",
    "FakeAsReal",
    "Term",
    "View",
    "adaptive",
    "bcr",
    "began",
    "bilinear",
    "cr",
    "differentiable",
    "ebgan",
    "gan",
    "infogan",
    "mdgan",
    "quadratic",
    "reg_gan",
    "zcr",
]
