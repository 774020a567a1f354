"""A LightningModule with our pieces inside equals a plain loop that writes them out."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan import Monitor, fake_as_real, losses, penalties

pl = pytest.importorskip("pytorch_lightning")

pytestmark = pytest.mark.slow

STEPS, BATCH, COUNT, LATENT, WEIGHT, RATE = 12, 16, 3, 3, 0.5, 1e-2
BETAS = (0.5, 0.9)


class GAN(pl.LightningModule):
    """Fake-as-real training with R1, of one forward pass for the loss and the penalty, under a Monitor."""

    def __init__(self, G: nn.Module, D: nn.Module, file: Path | None = None, start: int = 0) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.G, self.D = G, D
        facts = {"penalties": ["r1"], "fake_as_real": True}
        self.monitor = Monitor(D, G, loss="non_saturating", every=4, file=file, start=start, **facts)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(net.parameters(), RATE, BETAS) for net in (self.D, self.G)]

    def training_step(self, batch: list[Tensor], index: int) -> None:
        x_real, z, z_pool, z_G = batch
        optimizer_D, optimizer_G = self.optimizers()
        x_fake = self.G(z).detach()
        selected = fake_as_real.select(self.D, self.G(z_pool), COUNT)
        shown = fake_as_real.mix(x_real, selected, COUNT)
        real_logits, r1 = penalties.value_and(penalties.r1, self.D, shown)
        loss_D = losses.non_saturating.discriminator(real_logits, self.D(x_fake)) + WEIGHT * r1
        self.step_of(optimizer_D, loss_D)
        loss_G = losses.non_saturating.generator(self.D(self.G(z_G)))
        self.step_of(optimizer_G, loss_G)
        self.monitor.step(x_real, x_fake, loss_D=loss_D, loss_G=loss_G)

    def step_of(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(LATENT, 8), nn.Tanh(), nn.Linear(8, 2))
    D = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1))
    return G.double(), D.double()


def draws() -> list[list[Tensor]]:
    """For each step the reals, the latents of D's fakes, those of the candidates, and those of G's step."""
    torch.manual_seed(1)
    shapes = ((BATCH, 2), (BATCH, LATENT), (2 * BATCH, LATENT), (BATCH, LATENT))
    return [[torch.randn(shape, dtype=torch.float64) for shape in shapes] for _ in range(STEPS)]


def plain_loop(G: nn.Module, D: nn.Module, epochs: int) -> list[float]:
    """The same mathematics in torch alone. Returns D's losses."""
    found = []
    step_D, step_G = (torch.optim.Adam(net.parameters(), RATE, BETAS) for net in (D, G))
    for x_real, z, z_pool, z_G in epochs * draws():
        with torch.no_grad():
            pool = G(z_pool)
            x = torch.cat([x_real[:-COUNT], pool[D(pool).squeeze(1).argsort()[:COUNT]]])
            x_fake = G(z)
        x.requires_grad_()
        logits = D(x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        penalty = (slope**2).sum(1).mean()
        loss_D = F.softplus(-logits).mean() + F.softplus(D(x_fake)).mean() + WEIGHT * penalty
        found.append(loss_D.item())
        step_D.zero_grad()
        loss_D.backward()
        step_D.step()
        step_G.zero_grad()
        F.softplus(-D(G(z_G))).mean().backward()
        step_G.step()
    return found


def fit(module: Any, epochs: int, checkpoint: Path | None = None) -> Any:
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(draws(), batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader, ckpt_path=checkpoint)
    return trainer


def weights(module: Any) -> dict[str, Tensor]:
    return nn.ModuleDict({"G": module.G, "D": module.D}).state_dict()


def measured(monitor: Monitor) -> dict[str, list[float]]:
    """What a Monitor measured, without the time it took."""
    series = monitor.history().series
    return {name: each.values.tolist() for name, each in series.items() if name != "wall_s"}


def test_a_lightning_module_equals_a_plain_loop() -> None:
    G, D = pair()
    module = GAN(*copy.deepcopy((G, D)))
    fit(module, 2)
    losses_D = plain_loop(G, D, 2)
    torch.testing.assert_close(
        weights(module), nn.ModuleDict({"G": G, "D": D}).state_dict(), rtol=1e-6, atol=1e-6
    )
    assert measured(module.monitor)["loss/D"] == pytest.approx(losses_D[3::4], rel=1e-6)


def test_a_pickled_module_takes_its_monitor_along(tmp_path: Path) -> None:
    whole = GAN(*pair())
    fit(whole, 2)
    first = GAN(*pair())
    fit(first, 1).save_checkpoint(tmp_path / "half.ckpt")  # it has the optimizers
    again = pickle.loads(pickle.dumps(first))
    fit(again, 2, tmp_path / "half.ckpt")
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=0)
    assert measured(again.monitor) == measured(whole.monitor)
    assert len(measured(first.monitor)["loss/D"]) == STEPS // 4


def test_a_module_from_a_lightning_checkpoint_goes_on_with_the_monitors_file(tmp_path: Path) -> None:
    whole = GAN(*pair())
    fit(whole, 2)
    file = tmp_path / "gan.jsonl"
    fit(GAN(*pair(), file=file), 1).save_checkpoint(tmp_path / "half.ckpt")
    again = GAN(*pair(), file=file, start=STEPS)
    fit(again, 2, tmp_path / "half.ckpt")
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=0)
    for name in ("loss/D", "loss/G"):
        assert measured(again.monitor)[name] == pytest.approx(measured(whole.monitor)[name], rel=1e-12)
