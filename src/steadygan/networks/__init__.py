"""Architectures, with channels and resolution derived from the data's shape."""

from collections.abc import Callable
from functools import partial

from torch import nn

from steadygan.networks._biggan import biggan32
from steadygan.networks._dcgan import dcgan, dcgan_encoder
from steadygan.networks._far_conventional import far_conventional
from steadygan.networks._far_resnet import far_resnet, far_resnet_deep
from steadygan.networks._gn import gn_cnn, gn_resnet
from steadygan.networks._mlp import mlp, mlp_encoder
from steadygan.networks._numerics import numerics_conv, numerics_dcgan, numerics_resnet
from steadygan.networks._r3gan import r3gan
from steadygan.networks._toy import dirac, point
from steadygan.networks.autoencoder import dcgan_autoencoder, mlp_autoencoder
from steadygan.networks.code_critic import code_head, informed_critic, logits_of
from steadygan.networks.conditional import Classed, latent_labels, of_classes
from steadygan.networks.latent_codes import Codes, Uniform

__all__ = [
    "CONDITIONAL",
    "NETWORKS",
    "ROLES",
    "Classed",
    "Codes",
    "Uniform",
    "biggan32",
    "dcgan",
    "dcgan_autoencoder",
    "dcgan_encoder",
    "dirac",
    "far_conventional",
    "far_resnet",
    "far_resnet_deep",
    "gn_cnn",
    "gn_resnet",
    "latent_labels",
    "logits_of",
    "mlp",
    "mlp_autoencoder",
    "mlp_encoder",
    "numerics_conv",
    "numerics_dcgan",
    "numerics_resnet",
    "of_classes",
    "point",
    "r3gan",
]


NETWORKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "mlp": mlp,
    "dcgan": dcgan,
    "far_conventional": far_conventional,
    "far_resnet": far_resnet,
    "far_resnet_deep": far_resnet_deep,
    "gn_cnn": gn_cnn,
    "gn_resnet": gn_resnet,
    "numerics_dcgan": numerics_dcgan,
    "numerics_conv": numerics_conv,
    "numerics_resnet": numerics_resnet,
    "biggan32": biggan32,
    "r3gan": r3gan,
    "dirac": dirac,
    "point": point,
}
"""Every architecture under the name a recipe uses."""

CONDITIONAL = ("mlp", "dcgan", "biggan32")
"""Those that take `classes`, and then make G(z, y) and D(x, y)."""

_pairs = {"mlp": mlp, "dcgan": dcgan}

ROLES: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "encoder": {"mlp": mlp_encoder, "dcgan": dcgan_encoder},
    "autoencoder": {"mlp": mlp_autoencoder, "dcgan": dcgan_autoencoder},
    "informed critic": {name: partial(informed_critic, pair) for name, pair in _pairs.items()},
    "code head": {name: partial(code_head, pair) for name, pair in _pairs.items()},
}
"""Networks of other roles than generator and critic: by role and architecture, each `make(shape, **options)`."""
