"""A generator and a critic of your own, and their data. Change what is below, and train it:

    steadygan train --use my_gan.py networks.latent=16 name=my_gan        # with the default recipe's settings
    steadygan train digits-fargan --use my_gan.py networks.latent=16      # with another recipe's, and this file's data
    python my_gan.py                                                      # as a program, with steadygan.fit

The name in front of --use is a recipe: optimizer, penalties and length come from it, and KEY=VALUE changes them.
"""

import math

import torch
from torch import Tensor, nn

LATENT = 16
"""Dimension of the noise z that the generator takes: the same number as in networks.latent."""


def networks(shape: tuple[int, ...], width: int = 64) -> tuple[nn.Module, nn.Module]:
    """Return G and D for samples of this shape: (2,) for points, (3, 32, 32) for colour images of 32 pixels.

    G turns noise [N, LATENT] into samples [N, *shape]. D turns samples into logits [N, 1]: a high logit means real.
    `width` is an option of yours: networks.options.width=128 sets it from the command line.
    """
    size = math.prod(shape)
    G = nn.Sequential(
        nn.Linear(LATENT, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, size),  # images lie in [-1, 1]: add nn.Tanh() after it
        nn.Unflatten(1, shape),
    )
    D = nn.Sequential(
        nn.Flatten(),
        nn.Linear(size, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )
    return G, D


def data() -> Tensor:
    """Return the samples [n, *shape]: a tensor, an array, or a Dataset of torch. Here: 4,000 points on a spiral.

    Remove this function to train on the recipe's own data, or on a folder of images with --images DIR.
    """
    generator = torch.Generator().manual_seed(0)
    turn = 3 * math.pi * torch.rand(4000, generator=generator).sqrt()
    points = torch.stack([turn.cos(), turn.sin()], 1) * turn[:, None] / (3 * math.pi)
    return points + 0.02 * torch.randn(4000, 2, generator=generator)


# A loss of your own takes the place of the recipe's. Each player minimises its function of the logits.
#
# def loss():
#     def discriminator(real, fake):
#         return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
#
#     def generator(fake):
#         return -fake.mean()
#
#     return discriminator, generator


if __name__ == "__main__":
    import steadygan

    points = data()
    G, D = networks(tuple(points.shape[1:]))
    run = steadygan.fit(
        G,
        D,
        points,
        latent=LATENT,
        loss="non_saturating",
        penalties=[{"name": "r1", "weight": 0.1}],
        optimizer={"name": "adam", "lr": 0.001, "betas": [0.0, 0.99]},
        ema={"decay": 0.999},
        steps=4000,
        out="runs/my_gan",
        resume=True,  # a second start goes on with the run in the folder
    )
    print(f"diagnosis: {run.diagnose()[0].name}")
    print(f"report: {run.report()}")
