"""A program with the main public names, and a type for each value that it gets. It is checked, not run."""

from pathlib import Path

import torch
from torch import Tensor, nn

import steadygan
from steadygan import (
    data,
    diagnostics,
    fake_as_real,
    losses,
    metrics,
    normalization,
    penalties,
    schedules,
    theory,
)


def critic(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def ideas(D: nn.Module, x_real: Tensor, x_fake: Tensor) -> Tensor:
    total: Tensor = losses.hinge.discriminator(D(x_real), D(x_fake)) + 10 * penalties.r1(D, x_real)
    total = total + penalties.one_centered(critic, x_real, x_fake)
    logits, gradient = penalties.input_gradient(critic, x_real)
    size: Tensor = gradient.flatten(1).norm(dim=1) + logits
    chosen: Tensor = fake_as_real.select(critic, x_fake, 3)
    normalized: Tensor = normalization.gradient_normalized(critic)(chosen)
    rate: Tensor = schedules.linear(1.0, 0.0, over=100)(torch.tensor(3))
    return rate * (total + losses.non_saturating.generator(D(x_fake)) + size.mean() + normalized.mean())


def trained(G: nn.Module, D: nn.Module, points: Tensor) -> str:
    run = steadygan.fit(G, D, points, latent=4, loss="hinge", steps=10, out=Path("runs/typed"))
    samples: Tensor = run.sample(3)
    page: Path = run.report()
    module: nn.Module = steadygan.load("runs/typed")
    files: list[Path] = list(steadygan.export("runs/typed", "safetensors").files)
    monitor: steadygan.Monitor = steadygan.Monitor(D, G)
    verdict: str = run.resume(steps=20).diagnose()[0].name
    return f"{samples} {page} {module} {files} {monitor} {verdict}"


def measured(images: Tensor) -> float:
    card: metrics.Card = metrics.evaluate(images, images)
    holds: str = theory.check_lemma4(0).verdict
    digits: data.Data = data.digits()
    found: list[diagnostics.Verdict] = diagnostics.diagnose(diagnostics.read(Path("events.jsonl")).history())
    version: str = steadygan.__version__
    print(holds, digits, found, version)
    value: float = next(iter(card.scores.values())).value
    return value
