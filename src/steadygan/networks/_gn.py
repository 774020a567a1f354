"""The convolutional and residual networks of gradient normalization (GN-GAN and PGN-GAN)."""

from itertools import pairwise

from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.networks.blocks import Down, Same, base, initialised

__all__ = ["gn_cnn", "gn_resnet"]


def gn_cnn(
    shape: tuple[int, ...], latent: int = 128, width: int = 64, init: str = "normal"
) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator for square images whose side is a multiple of 8: three stages of stride 2.

    - G: linear to side/8 with 8 `width` channels. Then three transposed convolutions (kernel 4, stride 2,
      padding 1), which halve the channels. Batch norm and ReLU stand before each and after the last. Then a
      transposed convolution of kernel 3 to the image, and tanh.
    - D: convolutions 3x3 and (4x4, stride 2) in turn, which double the channels from `width`. Leaky ReLU 0.1
      follows each. Then linear to one logit. No batch norm.

    Biases start at 0, weights at N(0, 0.02^2) as in the released code of GN-GAN and PGN-GAN. With `init` "kaiming" they
    start Kaiming-normal (fan in, gain of ReLU), as PGN's text says. Raises UsageError for any other shape. Source: Wu
    2021 (GN-GAN), appendix: (3, 32, 32) for CIFAR-10, (3, 48, 48) for STL-10; Xia 2023.

    >>> G, D = gn_cnn((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [3813379, 5860865]
    """
    channels, side = base(shape, 3, "gn_cnn")
    widths = [width << k for k in range(4)]
    top = widths[-1]

    G: list[nn.Module] = [nn.Linear(latent, top * side**2), nn.Unflatten(1, (top, side, side))]
    for i, o in pairwise(reversed(widths)):
        G += [nn.BatchNorm2d(i), nn.ReLU(), nn.ConvTranspose2d(i, o, 4, 2, 1)]
    G += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, channels, 3, 1, 1), nn.Tanh()]

    D: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.1)]
    for i, o in pairwise(widths):
        D += [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(o, o, 3, 1, 1), nn.LeakyReLU(0.1)]
    D += [nn.Flatten(1), nn.Linear(top * side**2, 1), nn.Flatten(0)]
    return initialised(nn.Sequential(*G), init), initialised(nn.Sequential(*D), init)


def gn_resnet(shape: tuple[int, ...], latent: int = 128, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """Return residual networks for square images of side 4 x 2^k or 6 x 2^k, k from 1 to 6.

    G: linear to 4x4 or 6x6, k times `Up`, batch norm, ReLU, convolution 3x3, tanh. D: `Down` with the image
    itself, then `Down` and `Same`, ReLU, the mean over all pixels, linear to one logit. D has no
    normalization. The table has the channels over `width`: G's from its linear layer on, D's from its first
    block on.

        sides 8, 16, 32       G: 4 throughout, D: 2, 2, then 2, 2 at the same side
        k <= 4 (48, 64, ...)  G: 2^k, ..., 4, 2, 1; D: the reverse, and each block halves the side
        k = 5 (128, 192)      G: 16, 16, 8, 4, 2, 1; D: the reverse, and all but the last block halve
        k = 6 (256, 384)      G: 16, 16, 8, 8, 4, 2, 1; D: the reverse, and all but the last block halve

    Weights start Kaiming-normal (fan in, gain of ReLU), biases at 0. Raises UsageError for any other shape.
    Source: Wu 2021 (GN-GAN), appendix and code, at 32 (CIFAR-10), 48 (STL-10), 128 and 256 (CelebA-HQ, LSUN).
    The other sides follow the pattern of these.

    >>> G, D = gn_resnet((3, 32, 32))
    >>> [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    [4276739, 1053825]
    """
    channels, start, rising, falling, halvings = _plan(shape)
    rising, falling = [width * m for m in rising], [width * m for m in falling]

    G: list[nn.Module] = [
        nn.Linear(latent, rising[0] * start**2),
        nn.Unflatten(1, (rising[0], start, start)),
        *(Up(i, o) for i, o in pairwise(rising)),
        nn.BatchNorm2d(rising[-1]),
        nn.ReLU(),
        nn.Conv2d(rising[-1], channels, 3, 1, 1),
        nn.Tanh(),
    ]
    D: list[nn.Module] = [
        Down(channels, falling[0], first=True),
        *(Down(i, o) for i, o in pairwise(falling[:halvings])),
        *(Same(kept) for kept in falling[halvings:]),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
        nn.Linear(falling[-1], 1),
        nn.Flatten(0),
    ]
    return initialised(nn.Sequential(*G), "kaiming"), initialised(nn.Sequential(*D), "kaiming")


def _plan(shape: tuple[int, ...]) -> tuple[int, int, list[int], list[int], int]:
    """Channels, G's first side, both networks' channels over `width`, and how many blocks of D halve the side."""
    channels, height, side = shape if len(shape) == 3 else (0, 0, 1)
    start = 6 if side % 3 == 0 else 4
    count = (side // start).bit_length() - 1
    if height != side or not 1 <= count <= 6 or side != start << count:
        raise UsageError(
            "networks.name=gn_resnet takes square images of side 8, 16, 32, 64, 128, 256 or 12, 24, 48, 96, 192, "
            f"384, not {list(shape)}: choose networks.name=mlp or other data"
        )
    if start == 4 and count <= 3:
        return channels, start, [4] * (count + 1), [2] * 4, 2
    longer = {5: [16, 16, 8, 4, 2, 1], 6: [16, 16, 8, 8, 4, 2, 1]}
    rising = longer.get(count, [1 << k for k in reversed(range(count + 1))])
    return channels, start, rising, rising[::-1], len(rising) - (count in longer)


class Up(nn.Module):
    """conv(up(x)) + conv(relu(bn(conv(up(relu(bn(x))))))): the side doubled (nearest), the shortcut's kernel 1x1.

    Convolutions have biases. Channels go `inputs` -> `outputs` -> `outputs`. Source: Miyato 2018, appendix;
    Wu 2021.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Make the three convolutions and the two norms."""
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, 1, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, inputs, H, W] to [N, outputs, 2H, 2W]."""
        return self.shortcut(x) + self.body(x)
