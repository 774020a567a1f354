"""Games: which players there are, and which loss each minimises. None has a training loop."""

from steadygan.games._began import began
from steadygan.games._ebgan import ebgan
from steadygan.games._gan import Clip, FakeAsReal, Received, Term, gan
from steadygan.games._infogan import infogan
from steadygan.games._mdgan import mdgan
from steadygan.games._quadratic import bilinear, quadratic
from steadygan.games._reg_gan import reg_gan
from steadygan.games.consistency_terms import bcr, cr, zcr
from steadygan.games.critic_view import View, adaptive, differentiable
from steadygan.games.feature_terms import FeatureMatching, passed
from steadygan.games.logit_terms import LogitTerm, centering, lecam

__all__ = [
    "Clip",
    "FakeAsReal",
    "FeatureMatching",
    "LogitTerm",
    "Received",
    "Term",
    "View",
    "adaptive",
    "bcr",
    "began",
    "bilinear",
    "centering",
    "cr",
    "differentiable",
    "ebgan",
    "gan",
    "infogan",
    "lecam",
    "mdgan",
    "passed",
    "quadratic",
    "reg_gan",
    "zcr",
]
