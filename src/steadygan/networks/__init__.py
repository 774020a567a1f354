"""Architectures, with channels and resolution derived from the data's shape."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.networks._biggan import biggan32
    from steadygan.networks._dcgan import dcgan, dcgan_encoder
    from steadygan.networks._far_conventional import far_conventional
    from steadygan.networks._far_resnet import far_resnet, far_resnet_deep
    from steadygan.networks._gn import gn_cnn, gn_resnet
    from steadygan.networks._mlp import mlp, mlp_encoder
    from steadygan.networks._mlp_dcgan import mlp_dcgan
    from steadygan.networks._numerics import numerics_conv, numerics_dcgan, numerics_resnet
    from steadygan.networks._r3gan import r3gan
    from steadygan.networks._toy import dirac, point
    from steadygan.networks.autoencoder import dcgan_autoencoder, mlp_autoencoder
    from steadygan.networks.code_critic import code_head, informed_critic, logits_of
    from steadygan.networks.conditional import Classed, latent_labels, of_classes
    from steadygan.networks.global_batch_norm import GlobalBatchNorm, globally_normalized
    from steadygan.networks.latent_codes import Codes, Uniform

__all__ = [
    "Classed",
    "Codes",
    "GlobalBatchNorm",
    "Uniform",
    "biggan32",
    "code_head",
    "dcgan",
    "dcgan_autoencoder",
    "dcgan_encoder",
    "dirac",
    "far_conventional",
    "far_resnet",
    "far_resnet_deep",
    "globally_normalized",
    "gn_cnn",
    "gn_resnet",
    "informed_critic",
    "latent_labels",
    "logits_of",
    "mlp",
    "mlp_autoencoder",
    "mlp_dcgan",
    "mlp_encoder",
    "numerics_conv",
    "numerics_dcgan",
    "numerics_resnet",
    "of_classes",
    "point",
    "r3gan",
]

__getattr__, __dir__ = lazy(__name__)
