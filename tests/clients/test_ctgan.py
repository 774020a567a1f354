"""Inside CTGAN: our penalty equals its own, and fake-as-real shows its packed critic the packs that theory says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import steadygan
from steadygan import fake_as_real, penalties
from steadygan.errors import UsageError

pytest.importorskip("ctgan")
from ctgan.synthesizers import ctgan

pytestmark = pytest.mark.slow

PAC, BATCH, SELECTED, STEPS = 5, 40, 2, 20


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


FORWARD, PENALTY = ctgan.Discriminator.forward, ctgan.Discriminator.calc_gradient_penalty


def packs(rows: Tensor) -> Tensor:
    return rows.view(-1, PAC, rows.shape[1])


class Own:
    """What CTGAN's critic does, in float64: its loop hands over reals of float32."""

    D: nn.Module
    model: Any

    def forward(self, D: Any, rows: Tensor) -> Tensor:
        self.D = D
        return FORWARD(D, rows.double())

    def penalty(self, D: Any, real: Tensor, fake: Tensor, device: str, pac: int) -> Tensor:
        return PENALTY(D, real, fake, device, pac)


class Ours(Own):
    """The same with the penalty of this package: packs are its samples."""

    def penalty(self, D: Any, real: Tensor, fake: Tensor, device: str, pac: int) -> Tensor:
        real = real.double()  # the type of the draws
        return 10 * penalties.one_centered(lambda x: D(x.flatten(0, 1)), packs(real), packs(fake))


class Seen(NamedTuple):
    """A step of D: its weights, the reals, the candidates, and the rows that D was shown as real."""

    weights: dict[str, Tensor]
    real: Tensor
    candidates: Tensor
    shown: Tensor


class FakeAsReal(Own):
    """The same with fake-as-real: the last packs of the reals are those of other fakes with the lowest logits."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def forward(self, D: Any, rows: Tensor) -> Tensor:
        if not rows.requires_grad:  # the reals, for CTGAN's fakes have their graph
            rows = self.with_fakes(D, rows.double())
        return super().forward(D, rows)

    def penalty(self, D: Any, real: Tensor, fake: Tensor, device: str, pac: int) -> Tensor:
        shown = packs(self.seen[-1].shown)
        return 10 * penalties.one_centered(lambda x: FORWARD(D, x.flatten(0, 1)), shown, packs(fake))

    def with_fakes(self, D: Any, rows: Tensor) -> Tensor:
        with torch.no_grad():
            candidates = packs(self.candidates())
        D.eval()  # no dropout in the ranks
        selected = fake_as_real.select(lambda x: FORWARD(D, x.flatten(0, 1)), candidates, SELECTED)
        D.train()
        shown = fake_as_real.mix(packs(rows), selected, SELECTED).flatten(0, 1)
        weights = {name: value.clone() for name, value in D.state_dict().items()}
        self.seen.append(Seen(weights, rows, candidates, shown))
        return shown

    def candidates(self) -> Tensor:
        """Fakes beside their conditional vectors, as CTGAN's critic sees them."""
        condition = torch.from_numpy(self.model._data_sampler.sample_condvec(2 * BATCH)[0]).double()
        z = torch.randn(2 * BATCH, self.model._embedding_dim)
        fakes = self.model._generator(torch.cat([z, condition], 1))
        return torch.cat([self.model._apply_activate(fakes), condition], 1)


def table(rows: int = 200) -> Any:
    import pandas as pd

    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b", "c"], rows)
    return pd.DataFrame(
        {"x": rng.normal(size=rows) + (kind == "b"), "kind": kind, "y": rng.uniform(size=rows)}
    )


def synthesizer() -> Any:
    made = ctgan.CTGAN(
        embedding_dim=4,
        generator_dim=(8,),
        discriminator_dim=(16, 8),
        batch_size=BATCH,
        pac=PAC,
        epochs=STEPS * BATCH // 200,
        enable_gpu=False,
    )
    made.set_random_state(0)
    return made


def trained(how: Own, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The weights of a CTGAN after 20 steps with such a critic."""
    monkeypatch.setattr(ctgan.Discriminator, "forward", lambda D, rows: how.forward(D, rows))
    monkeypatch.setattr(
        ctgan.Discriminator, "calc_gradient_penalty", lambda D, *given: how.penalty(D, *given)
    )
    how.model = synthesizer()
    how.model.fit(table(), ["kind"])
    nets = nn.ModuleDict({"G": how.model._generator, "D": how.D})
    return nets.state_dict()


def gradients(module: nn.Module, penalty: Tensor) -> list[Tensor]:
    weights = list(module.parameters())
    return list(torch.autograd.grad(penalty, weights, retain_graph=True, materialize_grads=True))


@pytest.mark.parametrize("dropout", [True, False])
def test_the_penalty_on_packs_equals_ctgans_own(dropout: bool, float64: None) -> None:
    torch.manual_seed(0)
    D = ctgan.Discriminator(6, (16, 8), pac=PAC).train(dropout)
    real, fake = torch.randn(30, 6), torch.randn(30, 6, requires_grad=True)

    torch.manual_seed(1)
    theirs = D.calc_gradient_penalty(real, fake, pac=PAC)
    torch.manual_seed(1)
    drawn = 10 * penalties.one_centered(lambda x: D(x.flatten(0, 1)), packs(real), packs(fake))
    torch.manual_seed(1)
    alpha = torch.rand(len(real) // PAC, 1, 1).flatten()  # CTGAN's draw; its dropout comes after it
    given = 10 * penalties.one_centered(lambda x: D(x.flatten(0, 1)), packs(real), packs(fake), alpha)

    for ours in (drawn, given):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
        for mine, own in zip(gradients(D, ours), gradients(D, theirs)):
            torch.testing.assert_close(mine, own, rtol=1e-10, atol=1e-12)


def test_rows_instead_of_packs_are_refused_with_the_line_to_write() -> None:
    D, rows = ctgan.Discriminator(6, (16,), pac=PAC), torch.randn(4 * PAC, 6)
    for call in (lambda: penalties.one_centered(D, rows, rows), lambda: fake_as_real.select(D, rows, 1)):
        with pytest.raises(UsageError, match=re.escape("lambda x: D(x.flatten(0, 1))")):
            call()


def test_a_whole_ctgan_with_our_penalty_ends_where_its_own_does(
    float64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = (trained(how, monkeypatch) for how in (Own(), Ours()))
    assert ours["D.seq.0.weight"].dtype == torch.float64
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def numpy_logits(weights: dict[str, Tensor], candidates: Tensor) -> np.ndarray:
    """CTGAN's critic without dropout, written out."""
    hidden = candidates.numpy().reshape(len(candidates), -1)
    for layer in (0, 3):
        hidden = hidden @ weights[f"seq.{layer}.weight"].numpy().T + weights[f"seq.{layer}.bias"].numpy()
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    return (hidden @ weights["seq.6.weight"].numpy().T + weights["seq.6.bias"].numpy())[:, 0]


def test_fake_as_real_in_a_whole_ctgan_shows_the_packs_with_the_lowest_logits(
    float64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = FakeAsReal()
    weights = trained(how, monkeypatch)
    assert len(how.seen) == STEPS
    kept = BATCH - SELECTED * PAC
    for step in how.seen:
        lowest = np.argsort(numpy_logits(step.weights, step.candidates))[:SELECTED]
        expected = step.candidates.numpy()[lowest].reshape(SELECTED * PAC, -1)  # conditional vectors included
        np.testing.assert_array_equal(step.shown[kept:].numpy(), expected)
        np.testing.assert_array_equal(step.shown[:kept].numpy(), step.real[:kept].numpy())
        assert (step.shown[:, -3:].sum(1) == 1).all()  # three kinds, one-hot
    assert all(value.isfinite().all() for value in weights.values())
    assert np.isfinite(how.model.loss_values.drop(columns="Epoch").to_numpy(dtype=float)).all()
    rows = how.model.sample(30)
    assert set(rows["kind"]) <= {"a", "b", "c"}
    assert np.isfinite(rows[["x", "y"]].to_numpy()).all()


def test_conditional_vectors_may_also_go_along_as_y(float64: None) -> None:
    torch.manual_seed(0)
    D = ctgan.Discriminator(6, (16, 8), pac=PAC).eval()
    rows = packs(torch.randn(8 * PAC, 6))
    x, y = fake_as_real.select(
        lambda x, y: D(torch.cat([x, y], 2).flatten(0, 1)), rows[..., :3], 3, y=rows[..., 3:]
    )
    lowest = np.argsort(numpy_logits(D.state_dict(), rows))[:3]
    np.testing.assert_array_equal(torch.cat([x, y], 2).numpy(), rows.numpy()[lowest])


class Packed(nn.Module):
    """A network of rows as one of packs [N, PAC, ...]; a critic answers with a logit for each pack."""

    def __init__(self, net: nn.Module, critic: bool = False) -> None:
        super().__init__()
        self.net, self.critic = net, critic

    def forward(self, x: Tensor) -> Tensor:
        rows = self.net(x.flatten(0, 1))
        return rows if self.critic else rows.unflatten(0, (-1, PAC))


def test_fit_trains_ctgans_networks_on_packs_of_a_table(tmp_path: Path) -> None:
    torch.manual_seed(0)
    G = Packed(ctgan.Generator(4, (8,), 3))
    D = Packed(ctgan.Discriminator(3, (16,), pac=PAC), critic=True)
    before = {name: value.clone() for name, value in [*D.state_dict().items(), *G.state_dict().items()]}
    run = steadygan.fit(
        G,
        D,
        packs(torch.randn(400, 3)),
        latent=(PAC, 4),
        loss="wasserstein",
        penalties=[{"name": "one_centered", "weight": 10}],
        fake_as_real={"count": 2},
        steps=20,
        batch=8,
        compile=False,
        quiet=True,
        out=tmp_path / "run",
    )
    assert run.ended is None
    rows = run.sample(6).flatten(0, 1)
    assert rows.shape == (6 * PAC, 3)
    assert rows.isfinite().all()
    after = {**D.state_dict(), **G.state_dict()}
    assert all(value.isfinite().all() for value in after.values())
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
