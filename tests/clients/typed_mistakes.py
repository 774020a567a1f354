"""Wrong uses that a type checker must report: every line that says so, and no other. It is checked, not run."""

import torch
from torch import nn

import steadygan
from steadygan import losses, penalties


def mistakes() -> None:
    run = steadygan.fit(nn.Linear(4, 2), nn.Linear(2, 1), torch.randn(9, 2), latent=4)
    number: int = run.sample(3)  # wrong
    loss: str = losses.hinge.generator(torch.zeros(3))  # wrong
    penalty: str = penalties.r1(nn.Linear(2, 1), torch.zeros(3, 2))  # wrong
    verdict: int = run.diagnose()[0].name  # wrong
    version: int = steadygan.__version__  # wrong
    print(number, loss, penalty, verdict, version)
    penalties.r3  # wrong  # noqa: B018
