"""Pairs of networks as people write them elsewhere: none of them knows this package."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class Stranger(NamedTuple):
    """Makers of G and D, the data, and the options of `fit` that they need."""

    G: Any
    D: Any
    data: Tensor
    options: dict[str, Any]


# ------------------------------------------------------------------- StyleGAN: mapping network, noise, modulation


class Modulated(nn.Module):
    def __init__(self, inside: int, outside: int, style: int, up: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, 3, 3) / math.sqrt(9 * inside))
        self.affine = nn.Linear(style, inside)
        self.strength = nn.Parameter(torch.full((1,), 0.1))
        self.up = up

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2) if self.up else x
        style = self.affine(w) + 1
        size = ((self.weight[None] * style[:, None, :, None, None]) ** 2).sum((2, 3, 4)) + 1e-8
        x = F.conv2d(x * style[:, :, None, None], self.weight, padding=1) * size.rsqrt()[:, :, None, None]
        noise = torch.randn(len(x), 1, *x.shape[2:], device=x.device, dtype=x.dtype)
        return F.leaky_relu(x + self.strength * noise, 0.2)


class StyleGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.mapping = nn.Sequential(
            nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.LeakyReLU(0.2)
        )
        self.start = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.layers = nn.ModuleList(
            [Modulated(8, 8, 16, False), Modulated(8, 8, 16, True), Modulated(8, 8, 16, True)]
        )
        self.rgb = nn.Conv2d(8, 3, 1)
        self.register_buffer("mean_w", torch.zeros(16))

    def forward(self, z: Tensor) -> Tensor:
        w = self.mapping(F.normalize(z))
        if self.training:
            self.mean_w.lerp_(w.detach().mean(0).to(self.mean_w), 0.01)
        x = self.start.expand(len(z), -1, -1, -1)
        for layer in self.layers:
            x = layer(x, w)
        return self.rgb(x).tanh()


def plain_critic() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(256, 1),
    )  # logits [N, 1]


# --------------------------------------------------------------------------- U-Net critic: one logit, and a map


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)])
        self.up = nn.ModuleList([nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(16, 8, 3, 1, 1)])
        self.whole, self.pixel = nn.Linear(8, 1), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = F.leaky_relu(self.down[0](x), 0.2)
        b = F.leaky_relu(self.down[1](a), 0.2)
        c = F.leaky_relu(self.up[0](F.interpolate(b, scale_factor=2)), 0.2)
        d = F.leaky_relu(self.up[1](F.interpolate(torch.cat([a, c], 1), scale_factor=2)), 0.2)
        return self.whole(b.mean((2, 3))), self.pixel(d)


class ConvGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(16, 16, 4), nn.BatchNorm2d(16), nn.ReLU(True),
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True),
            nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)  # latents [N, 16, 1, 1]


# ---------------------------------------------------------------------- a transformer on embeddings of tokens


def encoder(width: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True)  # its dropout is 0.1
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


class TokenGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.body = (
            nn.Linear(16, 6 * 8),
            nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8)),
        )
        self.place = nn.Parameter(0.1 * torch.randn(1, 6, 8))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.first(z).view(-1, 6, 8) + self.place)


class TokenCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.last = encoder(8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).mean(1)).squeeze(1)


# --------------------------------------------------------------------------------------- an MLP for a table


def table_generator() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 7))


def table_critic() -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, 32), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Dropout(0.5),
        nn.Linear(32, 1),
    )  # fmt: skip


# ------------------------------------------------------------------------------------ waveforms: 1-D, and periods


class WaveGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 8 * 16)
        self.net = nn.Sequential(
            nn.LeakyReLU(0.1), weight_norm(nn.ConvTranspose1d(8, 8, 4, 2, 1)), nn.LeakyReLU(0.1),
            weight_norm(nn.ConvTranspose1d(8, 4, 4, 2, 1)), nn.LeakyReLU(0.1),
            weight_norm(nn.Conv1d(4, 1, 7, 1, 3)), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.net(self.first(z).view(-1, 8, 16))


def wave_critic() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv1d(1, 8, 5, 2, 2)), nn.LeakyReLU(0.1),
        nn.utils.parametrizations.spectral_norm(nn.Conv1d(8, 8, 5, 2, 2)), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(8 * 16, 1), nn.Flatten(0),
    )  # fmt: skip


class Period(nn.Module):
    def __init__(self, period: int):
        super().__init__()
        self.period = period
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(1, 4, (5, 1), (3, 1), (2, 0))),
                weight_norm(nn.Conv2d(4, 4, (5, 1), 1, (2, 0))),
            ]
        )
        self.last = weight_norm(nn.Conv2d(4, 1, (3, 1), 1, (1, 0)))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        n, c, t = x.shape
        if t % self.period:
            x = F.pad(x, (0, self.period - t % self.period), "reflect")
        x, features = x.view(n, c, -1, self.period), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.last(x).flatten(1), features


class Periods(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([Period(2), Period(3), Period(5)])

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        found = [part(x) for part in self.parts]
        return [logits for logits, _ in found], [features for _, features in found]


# --------------------------------------------------------------------------------------------------- their data


def images() -> Tensor:
    g = torch.Generator().manual_seed(0)
    return (torch.rand(300, 3, 1, 1, generator=g) * torch.ones(1, 1, 16, 16) * 255).byte()


def waves() -> Tensor:
    phase = torch.linspace(0, 6, 300)[:, None, None]
    return torch.sin(torch.linspace(0, 12, 64) + phase)


def tokens() -> Tensor:
    return torch.randn(300, 6, 8, generator=torch.Generator().manual_seed(1))


def table() -> Tensor:
    x = torch.randn(300, 7, generator=torch.Generator().manual_seed(2))
    return torch.cat([x[:, :3], x[:, :4] ** 2], 1)


R1 = {"name": "r1", "weight": 0.5}

STRANGERS = {
    "stylegan": Stranger(StyleGenerator, plain_critic, images(), {"penalties": [R1], "ema": 0.99}),
    "unet": Stranger(
        ConvGenerator,
        UNet,
        images(),
        {"latent": (16, 1, 1), "logits": list, "reduce": "mean", "penalties": [R1], "loss": "hinge"},
    ),
    "transformer": Stranger(
        TokenGenerator, TokenCritic, tokens(), {"loss": "relativistic", "penalties": [R1]}
    ),
    "table": Stranger(
        table_generator,
        table_critic,
        table(),
        {"loss": "wasserstein", "penalties": [{"name": "one_centered"}], "ema": 0.9},
    ),
    "wave": Stranger(
        WaveGenerator, wave_critic, waves(), {"loss": "hinge", "fake_as_real": {"count": 4, "pool": 2}}
    ),
    "periods": Stranger(
        WaveGenerator,
        Periods,
        waves(),
        {
            "logits": lambda out: out[0],
            "reduce": "mean",
            "loss": "least_squares",
            "penalties": [R1],
            "fake_as_real": {"count": 4, "pool": 2},
        },
    ),
}
