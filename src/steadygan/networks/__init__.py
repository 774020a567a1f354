"""Architectures, with channels and resolution derived from the data's shape."""

from collections.abc import Callable
from functools import partial

from torch import nn

from steadygan.networks.dcgan import dcgan
from steadygan.networks.gn import gn_cnn
from steadygan.networks.informed import code_head, informed_critic, logits_of
from steadygan.networks.latent import Codes
from steadygan.networks.mlp import mlp
from steadygan.networks.numerics import numerics_conv, numerics_dcgan, numerics_resnet
from steadygan.networks.point import dirac, point
from steadygan.networks.resnet import far_resnet

__all__ = [
    "NETWORKS",
    "ROLES",
    "Codes",
    "dcgan",
    "dirac",
    "far_resnet",
    "gn_cnn",
    "logits_of",
    "mlp",
    "numerics_conv",
    "numerics_dcgan",
    "numerics_resnet",
    "point",
]


NETWORKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "mlp": mlp,
    "dcgan": dcgan,
    "far_resnet": far_resnet,
    "gn_cnn": gn_cnn,
    "numerics_dcgan": numerics_dcgan,
    "numerics_conv": numerics_conv,
    "numerics_resnet": numerics_resnet,
    "dirac": dirac,
    "point": point,
}
"""Every architecture under the name a recipe uses."""

_pairs = {"mlp": mlp, "dcgan": dcgan}

ROLES: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "informed critic": {name: partial(informed_critic, pair) for name, pair in _pairs.items()},
    "code head": {name: partial(code_head, pair) for name, pair in _pairs.items()},
}
"""Networks of other roles than generator and critic: by role and architecture, each `make(shape, **options)`."""
