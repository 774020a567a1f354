"""Reg-GAN: its bracket by hand, which player each term moves, and the run as any other's.

The comment in a test names the wrong implementation it is there to catch.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan import losses
from steadygan.build import build
from steadygan.config import parse
from steadygan.dynamics import simultaneous
from steadygan.errors import UsageError
from steadygan.game import Game, Network, Player, State, flatten
from steadygan.game.optimizers import sgd
from steadygan.game.state import initial
from steadygan.game.vector_field import field
from steadygan.games import Term, View, reg_gan
from steadygan.networks import dcgan_encoder, mlp, mlp_encoder
from steadygan.normalization import gradient_normalized
from steadygan.penalties import PENALTIES
from steadygan.training.compile.compiled_step import compiled, vectorised
from tracing import as_graph


class Scale(nn.Module):
    """x -> k x, and of a sample's two numbers the sum with `logit`."""

    def __init__(self, k: float, logit: bool = False) -> None:
        super().__init__()
        self.k, self.logit = nn.Parameter(torch.tensor([k])), logit

    def forward(self, x: Tensor) -> Tensor:
        return self.k * (x.sum(1) if self.logit else x)


# By hand. E(x) = 2 x, G(z) = z, D(x) = 0.5 (x_1 + x_2); x = (1, 0), (0, 2), so G(E(x)) = (2, 0), (0, 4).
# |x - G(E(x))|^2 = 1, 4 (mean 2.5); D there: 1, 2; -log sigmoid = log(1 + e^-1), log(1 + e^-2).
# z = (0, 1), (-1, 0): D(G(z)) = 0.5, -0.5; -log sigmoid = log(1 + e^-.5), log(1 + e^.5).
# D's own: D(x) = 0.5, 1: mean of log(1 + e^-.5), log(1 + e^-1), and mean of log(1 + e^.5), log(1 + e^-.5).
G0, D0, E0 = 1.0, 0.5, 2.0
DRAW = {
    "x_real": torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64),
    "z": torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64),
}
DISTANCE = 2.5
MISSED = (math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2
L_G = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(0.5))) / 2
L_D = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-1))) / 2 + L_G


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def made(**options: Any) -> Game:
    nets = {"G": Scale(G0), "D": Scale(D0, logit=True), "E": Scale(E0)}
    options = {"loss": losses.non_saturating, **options}
    return reg_gan(**{n: Network(m) for n, m in nets.items()}, shape=(2,), batch=2, latent=2, **options)


def state(game: Game) -> State:
    modules = {name: player.network.module for name, player in game.players.items()}
    return initial(modules, dict.fromkeys(modules, sgd(0.1)), dtype=torch.float64)


def at_the_point(game: Game) -> tuple[dict[str, float], dict[str, float], dict[str, Tensor]]:
    """Each player's gradient, its loss, and all that is logged, on DRAW."""
    gradients, _, logs = field(game, tuple(game.players), state(game), DRAW)
    return (
        {name: g.item() for name, g in gradients.items()},
        {name: logs[f"loss/{name}"].item() for name in gradients},
        logs,
    )


@pytest.mark.parametrize(("l1", "l2"), [(0.2, 0.4), (0.0, 0.4), (0.3, 0.0)])
@pytest.mark.parametrize("paper_sign", [False, True])
def test_the_value_table(l1, l2, paper_sign):
    """The paper's sign as a default, a mean over dimensions, a root or a 1/2 in the distance, swapped weights."""
    game = made(weight_distance=l1, weight_mode=l2, paper_sign=paper_sign)
    _, found, logs = at_the_point(game)
    bracket = l1 * DISTANCE + (-l2 if paper_sign else l2) * MISSED
    assert found["D"] == pytest.approx(L_D, abs=1e-12)
    assert found["E"] == pytest.approx(bracket, abs=1e-12)
    assert found["G"] == pytest.approx(L_G + bracket, abs=1e-12)
    assert logs["reconstruction"].item() == pytest.approx(DISTANCE, abs=1e-12)


def test_the_weights_are_the_papers_by_default():
    _, found, _ = at_the_point(made())
    assert found["E"] == pytest.approx(0.2 * DISTANCE + 0.4 * MISSED, abs=1e-12)


@pytest.mark.parametrize("paper_sign", [False, True])
def test_the_gradient_of_every_term(paper_sign):
    """A reconstruction detached in G's loss, E's latent detached, D moved by the bracket, the sign.

    With G(E(x)) = g e x: d distance/d(ge) = mean 2 (ge - 1) |x|^2 = 2 (1) (1 + 4) / 2 = 5;
    d -log sigmoid(D(ge x))/d(ge) = mean -sigmoid(-ge s) s, s = 0.5 (x_1 + x_2) = 0.5, 1; then dge = e dg + g de.
    """
    l1, l2 = 0.3, 0.7
    found, _, _ = at_the_point(made(weight_distance=l1, weight_mode=l2, paper_sign=paper_sign))
    missed = (-sigmoid(-1.0) * 0.5 - sigmoid(-2.0) * 1.0) / 2
    bracket = l1 * 5 + (-l2 if paper_sign else l2) * missed
    own_G = (-sigmoid(-0.5) * 0.5 + sigmoid(0.5) * 0.5) / 2  # of -log sigmoid(+-0.5 g)
    # D: d = sum x: real terms -sigmoid(-d s) s with s = 1, 2; fakes sigmoid(d s) s with s = 1, -1.
    own_D = (-sigmoid(-0.5) - 2 * sigmoid(-1.0)) / 2 + (sigmoid(0.5) - sigmoid(-0.5)) / 2
    assert found["E"] == pytest.approx(G0 * bracket, abs=1e-12)
    assert found["G"] == pytest.approx(E0 * bracket + own_G, abs=1e-12)
    assert found["D"] == pytest.approx(own_D, abs=1e-12)


def test_the_sign_asks_for_reconstructions_that_D_takes_for_real():
    """Two public copies minimise + log D: a step then lowers D(G(E(x)))."""

    def after(paper_sign: bool) -> float:
        game = made(weight_distance=0.0, weight_mode=1.0, paper_sign=paper_sign)
        gradients, _, _ = field(game, ("E",), state(game), DRAW)
        e = E0 - 0.1 * gradients["E"].item()
        return sum(D0 * G0 * e * s for s in (1.0, 2.0))

    before = sum(D0 * G0 * E0 * s for s in (1.0, 2.0))
    assert after(paper_sign=False) > before > after(paper_sign=True)


def test_each_term_reaches_whom_it_should():
    """E from E's loss alone, D from D's alone: what a player's loss does not own it may not move."""
    game = made()
    params = {name: p.clone().requires_grad_() for name, p in state(game).params.items()}
    nets = {n: p.network.bound(params[n], {}) for n, p in game.players.items()}

    def reached(name: str) -> set[str]:
        loss, _ = game.players[name].loss(nets, DRAW, {})
        grads = torch.autograd.grad(loss, [*params.values()], allow_unused=True)
        return {n for n, g in zip(params, grads, strict=True) if g is not None and g.abs().max() > 0}

    # The graph itself is whole (consensus differentiates it); that only the owner moves is the rule's doing.
    assert reached("D") == {"D", "G"}
    assert reached("E") == {"D", "G", "E"}
    assert reached("G") == {"D", "G", "E"}
    after, _, _ = field(game, ("E",), state(game), DRAW)
    assert after.keys() == {"E"}


def test_the_bracket_meets_D_through_the_view_of_Gs_loss():
    """A bracket of the bare D beside a G's loss of the normalized one: 5 of gan's arguments would be half used.

    The normalized critic of a linear one is w.x / (|w| + |w.x|), w = (0.5, 0.5).
    """
    view = View(normalize=gradient_normalized)
    _, found, _ = at_the_point(made(view=view, weight_distance=0.0, weight_mode=1.0))
    w = math.sqrt(0.5)
    logits = [1.0 / (w + 1.0), 2.0 / (w + 2.0)]
    assert found["E"] == pytest.approx(sum(math.log1p(math.exp(-t)) for t in logits) / 2, abs=1e-10)
    _, cheap, _ = at_the_point(made(view=view, weight_distance=0.0, weight_mode=1.0, cheap=True))
    assert cheap["E"] == pytest.approx(found["E"], abs=1e-12)


def test_noise_and_augmentation_are_read_by_both():
    """An encoder whose bracket looked for instance noise that its draw has not."""
    game = made(view=View(noise=0.5))
    assert game.players["E"].reads == ("x_real", "instance/fake")
    assert game.players["G"].reads == ("x_real", "z", "instance/fake")
    noise = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    draw = {**DRAW, "instance/fake": noise, "instance/real": torch.zeros_like(noise)}
    _, _, logs = field(game, ("E",), state(game), draw)
    # D(G(E(x)) + 0.5 noise) = 0.5 (2 + .5), 0.5 (4 - .5); the distance is of the clean ones.
    missed = (math.log1p(math.exp(-1.25)) + math.log1p(math.exp(-1.75))) / 2
    assert logs["loss/E"].item() == pytest.approx(0.2 * DISTANCE + 0.4 * missed, abs=1e-12)


def test_Ds_penalties_are_those_of_gan():
    game = made(penalties=[Term(PENALTIES["r1"](), 3.0)])
    _, found, _ = at_the_point(game)
    assert found["D"] == pytest.approx(L_D + 3.0 * 0.5, abs=1e-12)  # |(0.5, 0.5)|^2


@pytest.mark.parametrize("weight", ["weight_distance", "weight_mode"])
def test_a_negative_weight_is_refused(weight):
    for value in (-0.1, math.nan):
        with pytest.raises(UsageError, match=f"{weight} must be at least 0"):
            made(**{weight: value})
    raw = {**POINTS, "game": {"name": "reg_gan", weight: -0.1}}
    with pytest.raises(UsageError, match=f"game.{weight} must be at least 0, not -0.1"):
        parse(raw)


# ------------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize(
    ("net", "shape"),
    [(mlp_encoder((3, 5), latent=4, width=8, depth=2), (3, 5)), (dcgan_encoder((1, 8, 8), 4, 8), (1, 8, 8))],
    ids=["mlp", "dcgan"],
)
def test_an_encoder_ends_linear_in_a_latent_of_its_own_for_each_sample(net, shape):
    """An activation at the end (z is normal, and unbounded) or batch norm inside would show."""
    torch.manual_seed(0)
    x = torch.randn(6, *shape)
    z = net(x)
    assert z.shape == (6, 4)
    torch.testing.assert_close(net(x[:1]), z[:1])
    *_, last = net.modules()
    assert isinstance(last, nn.Linear)
    assert not list(net.buffers())


def test_encoders_have_the_parameters_of_their_formula():
    sizes = [15 * 8 + 8, 8 * 8 + 8, 8 * 4 + 4]
    assert len(flatten(mlp_encoder((3, 5), latent=4, width=8, depth=2))) == sum(sizes)
    convolutions = [16 * 3 * 8 + 8, 16 * 8 * 16 + 16]
    assert len(flatten(dcgan_encoder((3, 16, 16), 5, 8))) == sum(convolutions) + 16 * 16 * 5 + 5


@pytest.mark.parametrize("game", ["reg_gan", "mdgan"])
def test_an_architecture_without_an_encoder_is_refused(game):
    networks = {"name": "gn_cnn", "latent": 4, "width": 4}
    with pytest.raises(UsageError, match=r"the role encoder, .*gn_cnn lacks: choose mlp or dcgan"):
        build(parse({**POINTS, "game": game, "data": "digits", "networks": networks}))


# -------------------------------------------------------------------------------------------------- a run

POINTS: dict[str, Any] = {
    "game": {"name": "reg_gan", "weight_distance": 0.3, "weight_mode": 0.2},
    "data": "ring8",
    "networks": {"name": "mlp", "width": 16, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1}]},
    "optimizer": {"name": "adam", "lr": 0.002, "betas": [0.0, 0.99]},
    "precision": "float64",
    "batch": 16,
    "steps": 20,
    "compile": False,
}


def ended(step: Any, run: Any, start: State, first: int = 0, last: int = 20) -> State:
    now = start
    for number in range(first, last):
        now, _ = step(now, run.draws(number))
    return now


def assert_same(found: State, wanted: State, tolerance: float) -> None:
    for name, vector in wanted.params.items():
        assert (found.params[name] - vector).abs().max() <= tolerance * vector.abs().max(), name


def test_E_moves_after_G_and_each_on_a_draw_of_its_own():
    """A stale D in the bracket, a G that E does not yet see, one draw shared by two turns."""
    run = build(parse({**POINTS, "optimizer": {"name": "sgd", "lr": 0.05}, "critic": {}}))
    batch, now = run.draws(0), run.state
    found, _ = run.step(now, batch)
    assert len({tuple(draw["x_real"].flatten().tolist()) for draw in batch}) == len(batch) == 3
    for name, draw in zip(("D", "G", "E"), batch, strict=True):
        gradients, _, _ = field(run.game, (name,), now, draw)
        now = now._replace(params={**now.params, name: now.params[name] - 0.05 * gradients[name]})
    assert_same(found, now, 1e-12)


def test_everybody_moves_at_once_in_a_simultaneous_step():
    run = build(parse({**POINTS, "dynamics": "simultaneous", "optimizer": {"name": "sgd", "lr": 0.05}}))
    (draw,) = run.draws(0)
    gradients, _, _ = field(run.game, ("D", "G", "E"), run.state, draw)
    found, _ = run.step(run.state, [draw])
    for name, gradient in gradients.items():
        torch.testing.assert_close(found.params[name], run.state.params[name] - 0.05 * gradient)
    assert simultaneous(run.game, {}).rounds == (("D", "G", "E"),)


KINDS: dict[str, dict[str, Any]] = {
    "r1": {},
    "fake-as-real and noise": {"fake_as_real": {"count": 4, "pool": 2}, "noise": {"instance": 0.1}},
    "normalized": {
        "critic": {"normalization": "gradient_normalized"},
        "game": {"name": "reg_gan", "loss": "hinge"},
    },
    "digits": {
        "data": "digits",
        "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
        "critic": {"normalization": "spectral_normalized"},
        "augment": "diffaugment",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_step_is_the_eager_step(kind):
    """Double backward included; all but the first as their graphs alone."""
    run = build(parse({**POINTS, **KINDS[kind]}))
    fast = compiled(run.step, pytest.fail) if kind == "r1" else as_graph(run.step)
    found, slow = ended(fast, run, run.state), ended(run.step, run, run.state)
    assert_same(found, slow, 1e-9)
    assert min((slow.params[n] - p).norm() / p.norm() for n, p in run.state.params.items()) > 1e-3


def test_a_member_of_an_ensemble_is_the_single_run():
    swept = {"name": "reg_gan", "weight_distance": 0.3, "weight_mode": [0.1, 0.4]}
    run = build(parse({**POINTS, "game": swept, "seeds": 2}))
    found = ended(vectorised(run.step), run, run.state)
    for index, member in enumerate(run.members):
        game = {**swept, "weight_mode": member["game.weight_mode"]}
        alone = build(parse({**POINTS, "game": game, "seed": int(member["seed"])}))
        wanted = ended(alone.step, alone, alone.state)
        assert_same(found._replace(params={n: p[index] for n, p in found.params.items()}), wanted, 1e-9)


def test_players_are_game_players():
    assert isinstance(made().players["E"], Player)
    assert [n for n, p in made().players.items() if p.critic] == ["D"]


def test_classes_are_refused_in_a_sentence():
    nets = [Network(net) for net in (*mlp((2,)), mlp_encoder((2,)))]
    with pytest.raises(
        UsageError, match="reg_gan has no classes, because E gives a sample's latent without its label"
    ):
        reg_gan(*nets, losses.non_saturating, shape=(2,), batch=8, latent=2, classes=2)
