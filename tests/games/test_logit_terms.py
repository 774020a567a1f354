"""Centering and LeCam in the game: the pure step against the training written out, in ensembles and after a restart.

The comment in a test names the wrong implementation it is there to catch.
"""

import pytest
import torch
from torch import Tensor, nn

from small import FLOAT64, stepped
from steadygan import losses
from steadygan.build import build
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game import Network, flatten
from steadygan.games import gan, lecam, logit_terms

STEPS, WEIGHT, DECAY = 6, 0.3, 0.5
RAW = {**FLOAT64, "steps": STEPS}
TERMS = {
    "centering": {"name": "centering", "weight": WEIGHT},
    "lecam": {"name": "lecam", "weight": WEIGHT, "decay": DECAY},
}


def raw(*names: str, **changes) -> dict:
    return {**RAW, "critic": {"logit_penalties": [TERMS[name] for name in names]}, **changes}


def value(name: str, r: Tensor, f: Tensor, means: list[float]) -> Tensor:
    if name == "centering":
        return sum((a + b) ** 2 for a, b in zip(r, f, strict=True)) / len(r)
    return ((r - means[1]) ** 2).sum() / len(r) + ((f - means[0]) ** 2).sum() / len(f)


@pytest.mark.parametrize("names", [("centering",), ("lecam",), ("lecam", "centering")], ids="+".join)
@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
def test_the_pure_step_is_the_training_written_out(names, loss):
    # averages that are learned through, swapped, moved before the step, of the sums; a term in G's loss
    settings = raw(*names, game={"name": "gan", "loss": loss})
    _, state, logs = stepped(settings)
    begun = build(parse(settings))
    nets = {name: player.network.module.double() for name, player in begun.game.players.items()}
    for name, net in nets.items():
        torch.nn.utils.vector_to_parameters(begun.state.params[name], net.parameters())
    G, D, means = nets["G"], nets["D"], [0.0, 0.0]
    for number in range(STEPS):
        for_D, for_G = begun.draws(number)
        r, f = D(for_D["x_real"]), D(G(for_D["z"]).detach())
        terms = {name: value(name, r, f, means) for name in names}
        total = losses.LOSSES[loss].discriminator(r, f) + sum(WEIGHT * term for term in terms.values())
        descend(D, total)
        fake = D(G(for_G["z"]))
        descend(
            G, losses.LOSSES[loss].generator(fake, D(for_G["x_real"]) if loss == "relativistic" else None)
        )
        for name, term in terms.items():
            torch.testing.assert_close(logs[number][f"penalty/{name}"], term.detach())
        means = [
            DECAY * a + (1 - DECAY) * logit.mean().item() for a, logit in zip(means, (r, f), strict=True)
        ]
    for name, net in nets.items():
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-10)
    if "lecam" in names:
        found = [state.scalars[f"lecam/{side}"].item() for side in ("real", "fake")]
        assert found == pytest.approx(means, abs=1e-10)


def descend(net: nn.Module, loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), gradients, strict=True):
            p -= 0.1 * g


def test_members_of_an_ensemble_have_averages_of_their_own():
    """Weights may be swept; a member is the run of its seed and weight alone."""
    swept = [{**TERMS["lecam"], "weight": [0.1, 1.0]}]
    _, together, _ = stepped({**RAW, "critic": {"logit_penalties": swept}})
    for i, weight in enumerate((0.1, 1.0)):
        _, alone, _ = stepped({**RAW, "critic": {"logit_penalties": [{**TERMS["lecam"], "weight": weight}]}})
        torch.testing.assert_close(together.params["D"][i], alone.params["D"], rtol=0, atol=1e-11)
        torch.testing.assert_close(together.scalars["lecam/real"][i], alone.scalars["lecam/real"])


def test_a_schedule_may_give_the_weight():
    falling = {"schedule": "linear", "start": 1.0, "stop": 0.0, "over": 2}
    _, _, logs = stepped({**RAW, "critic": {"logit_penalties": [{**TERMS["centering"], "weight": falling}]}})
    _, _, plain = stepped(RAW)
    assert logs[0]["loss/D"] - plain[0]["loss/D"] == pytest.approx(logs[0]["penalty/centering"].item())


def test_lecam_beside_adaptive_augmentation_moves_both():
    images = {"data": "digits", "networks": {"name": "dcgan", "width": 4, "latent": 4}}
    _, state, _ = stepped(raw("lecam", **images, augment={"name": "ada", "target": 0.0, "over": 70.0}))
    assert state.scalars["augment/p"] > 0
    assert state.scalars["lecam/real"] != 0


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_given_once(name):
    # LeCam's averages would follow the decay of the last one alone, and the log would have one of the two
    with pytest.raises(UsageError, match=rf"{name} twice.*sum of the weights"):
        build(parse({**RAW, "critic": {"logit_penalties": [TERMS[name], {**TERMS[name], "weight": 1.0}]}}))


def test_several_critics_are_refused_with_what_to_do():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [x @ self.w, 2 * x @ self.w]

    G = Network(nn.Linear(2, 2))
    game = gan(G, Network(Two()), losses.hinge, shape=(2,), batch=4, latent=2, logit_terms=[lecam()])
    nets = {"G": G.module, "D": Two()}
    draw = {"x_real": torch.randn(4, 2), "z": torch.randn(4, 2)}
    with pytest.raises(UsageError, match=r"averages of one critic.*losses\.lecam"):
        game.players["D"].loss(nets, draw, {key: torch.zeros(()) for key in game.scalars})


def test_a_decay_that_follows_a_schedule_leaves_the_averages_types(monkeypatch):
    """A schedule is float64, and the state's averages became so: a checkpoint of them could not be loaded."""
    kept = logit_terms.at
    monkeypatch.setattr(
        logit_terms, "at", lambda decay, scalars: kept(decay, scalars) + torch.zeros(1).double()[0]
    )
    run = build(parse({**raw("lecam"), "precision": "float32"}))
    state, _ = run.step(run.state, run.draws(0))
    assert {key: t.dtype for key, t in state.scalars.items()} == {
        key: t.dtype for key, t in run.state.scalars.items()
    }
