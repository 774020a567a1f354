"""The conditional residual networks of BigGAN at 32x32, as GN-GAN and PGN-GAN train them."""

from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.networks.blocks import Down, Same, base, initialised
from steadygan.networks.conditional import ClassBatchNorm, Labelled, Projection
from steadygan.normalization import spectral_normalized

__all__ = ["biggan32"]


def biggan32(
    shape: tuple[int, ...], latent: int = 128, width: int = 256, classes: int = 0, init: str = "xavier"
) -> tuple[nn.Module, nn.Module]:
    """Return G(z, y) and D(x, y) for labelled square images whose side is a multiple of 8, of constant `width`.

    G: linear to side/8, three times `Up`, batch norm, ReLU, convolution 3x3, tanh. Every linear and
    convolutional weight is divided by its spectral norm (eps 1e-6), but not the embeddings of its batch norm.
    D: a `Down` that starts with the image itself, a second one, and two blocks that keep the side. Then ReLU,
    a sum over all pixels, and a `Projection`. D has no spectral norm.

    Biases start at 0, weights and embeddings Xavier-uniform as in the released code of GN-GAN and PGN-GAN. With
    `init` "kaiming" they start Kaiming-normal (fan in, gain of ReLU), as PGN's text says. Raises UsageError for other
    shapes and without classes. Source: Wu 2021 (GN-GAN), appendix and code: (3, 32, 32) and 10 classes for CIFAR-10.

    >>> G, D = biggan32((3, 32, 32), classes=10)
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [4304387, 4207361]
    """
    if classes < 1:
        raise UsageError(
            "networks.name=biggan32 needs labelled samples: choose game.conditional=true, or other networks"
        )
    channels, side = base(shape, 3, "biggan32")
    G = Labelled(
        [
            nn.Linear(latent, width * side**2),
            nn.Unflatten(1, (width, side, side)),
            *(Up(width, classes) for _ in range(3)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, 1, 1),
            nn.Tanh(),
        ]
    )
    blocks = [Down(channels, width, first=True), Down(width, width), Same(width), Same(width)]
    D = Projection(nn.Sequential(*blocks, nn.ReLU(), SumPool()), width, classes)
    return spectral_normalized(initialised(G, init), eps=1e-6), initialised(D, init)


class Up(nn.Module):
    """conv(up(x)) + conv(relu(cbn(conv(up(relu(cbn(x))))))): `width` channels, the side doubled (nearest).

    cbn is `ClassBatchNorm`. The convolution of the shortcut is 1x1, the others are 3x3.
    """

    takes_labels = True

    def __init__(self, width: int, classes: int) -> None:
        """Make the three convolutions and the two norms."""
        super().__init__()
        self.body = Labelled(
            [
                ClassBatchNorm(width, classes),
                nn.ReLU(),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(width, width, 3, 1, 1),
                ClassBatchNorm(width, classes),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, 1, 1),
            ]
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [N, width, H, W] and y [N] to [N, width, 2H, 2W]."""
        return self.shortcut(x) + self.body(x, y)


class SumPool(nn.Module):
    """The sum over all pixels of an image: [N, C, H, W] to [N, C]."""

    piecewise_linear = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums of x."""
        return x.sum((2, 3))
