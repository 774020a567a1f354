"""Shared by several architectures: how they read the data's shape, the residual blocks, and the first weights."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from steadygan.errors import UsageError, nearest

__all__ = ["INITS", "Down", "Residual", "Same", "base", "initialised", "stages"]

INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": partial(nn.init.normal_, std=0.02),
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
}
"""How weights start: N(0, 0.02^2), Kaiming-normal (fan in, gain of ReLU), or Xavier-uniform."""


def initialised(net: nn.Module, init: str) -> nn.Module:
    """Return the module, with the weights of its layers and embeddings drawn by one of INITS, and biases of 0.

    Raises UsageError for another name.

    >>> initialised(nn.Linear(2, 3), "kaiming").bias.tolist()
    [0.0, 0.0, 0.0]
    """
    if init not in INITS:
        raise UsageError(f"weights cannot start as {init!r}: {nearest(init, INITS)}")
    for part in net.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
            INITS[init](part.weight)
            if not isinstance(part, nn.Embedding) and part.bias is not None:
                nn.init.zeros_(part.bias)
    return net


def stages(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    """Return the channels of square images (channels, 4 x 2^k, 4 x 2^k), and k.

    Raises UsageError, with the network's `name`, on other shapes.

    >>> stages((3, 32, 32), "dcgan")
    (3, 3)
    """
    if len(shape) == 3:
        channels, height, side = shape
        count = (side // 4).bit_length() - 1
        if height == side and count >= 1 and side == 4 << count:
            return channels, count
    raise UsageError(
        f"networks.name={name} takes square images of side 8, 16, 32, 64, ..., not {list(shape)}: "
        "choose networks.name=mlp or other data"
    )


def base(shape: tuple[int, ...], halvings: int, name: str) -> tuple[int, int]:
    """Return the channels of square images, and their side after `halvings` halvings.

    Raises UsageError, with the network's `name`, on other shapes.

    >>> base((3, 48, 48), 3, "gn_cnn")
    (3, 6)
    """
    if len(shape) == 3:
        channels, height, side = shape
        if height == side > 0 and side % (1 << halvings) == 0:
            return channels, side >> halvings
    raise UsageError(
        f"networks.name={name} takes square images whose side is a multiple of {1 << halvings}, not "
        f"{list(shape)}: choose networks.name=mlp or other data"
    )


class Residual(nn.Module):
    """shortcut(x) + 0.1 conv(act(conv(act(x)))): convolutions 3x3 with bias, leaky ReLU 0.2, no normalization.

    Channels go `inputs` -> `hidden` -> `outputs`. The shortcut is the identity, or a 1x1 convolution without
    bias where inputs and outputs differ. Source: Mescheder 2018 (GAN stability), appendix. The 0.1 is also in
    Mescheder 2017's ResNet.

    >>> import torch
    >>> Residual(4, 8, 4)(torch.zeros(1, 4, 2, 2)).shape
    torch.Size([1, 8, 2, 2])
    """

    piecewise_linear = True

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        """Make both convolutions, and the shortcut where it is needed."""
        super().__init__()
        self.body = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(inputs, hidden, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, outputs, 3, 1, 1),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, inputs, H, W] to [N, outputs, H, W]."""
        return self.shortcut(x) + 0.1 * self.body(x)


class Down(nn.Module):
    """pool(shortcut(x)) + pool(conv(relu(conv(relu(x))))): average pooling by 2, a 1x1 shortcut, no factor.

    The `first` block has no ReLU at its beginning, and pools before its shortcut's convolution. Convolutions
    have biases. Channels go `inputs` -> `outputs` -> `outputs`. Source: Miyato 2018 (spectral normalization),
    appendix; Wu 2021.

    >>> import torch
    >>> Down(3, 8, first=True)(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 8, 2, 2])
    """

    piecewise_linear = True

    def __init__(self, inputs: int, outputs: int, first: bool = False) -> None:
        """Make the three convolutions."""
        super().__init__()
        self.body = nn.Sequential(*_body(inputs, outputs)[int(first) :], nn.AvgPool2d(2))
        shortcut = [nn.Conv2d(inputs, outputs, 1), nn.AvgPool2d(2)]
        self.shortcut = nn.Sequential(*(reversed(shortcut) if first else shortcut))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, inputs, H, W] to [N, outputs, H/2, W/2]."""
        return self.shortcut(x) + self.body(x)


class Same(nn.Module):
    """x + conv(relu(conv(relu(x)))), which keeps channels and side: `Down` without pooling.

    >>> import torch
    >>> Same(8)(torch.zeros(1, 8, 2, 2)).shape
    torch.Size([1, 8, 2, 2])
    """

    piecewise_linear = True

    def __init__(self, width: int) -> None:
        """Make the two convolutions."""
        super().__init__()
        self.body = nn.Sequential(*_body(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, width, H, W] to the same shape."""
        return x + self.body(x)


def _body(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ReLU(), nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1)]
