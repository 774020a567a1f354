"""The pure step against ordinary modules, `.backward()` and torch.optim, and against what theory says of it.

The comment in a test names the wrong implementation it is there to catch. Update rules, losses and penalties
are taken from their tables: a new rule without an oracle here fails with a KeyError under its name.
"""

import cmath
import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import small
from steadygan import dynamics, losses
from steadygan.build import build
from steadygan.config import parse, registry
from steadygan.dynamics import alternating, simultaneous
from steadygan.errors import UsageError
from steadygan.game import Game, Network, Rule, State, flatten, unflatten
from steadygan.game import optimizers as optim
from steadygan.game.state import complete, initial, member, stack
from steadygan.game.vector_field import field
from steadygan.games import FakeAsReal, Term, gan
from steadygan.losses import LOSSES, Loss
from steadygan.networks import mlp
from steadygan.noise import noisy_layers
from steadygan.penalties import PENALTIES
from steadygan.schedules import Number
from steadygan.training.sampling import samples, standing_statistics

DYNAMICS = {name: getattr(dynamics, name) for name in registry.DYNAMICS}


BATCH, LATENT = 12, 3
FAR = FakeAsReal(4, 4, 3)
WEIGHT = 0.7

Draw = dict[str, Tensor]
Nets = dict[str, nn.Module]

each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
each_far = pytest.mark.parametrize("far", [None, FAR], ids=["plain", "fake_as_real"])
each_rule = pytest.mark.parametrize("name", DYNAMICS)


def networks(kind: str = "mlp", seed: int = 0) -> Nets:
    """G and D in float64, smooth; "norm" has batch norm in G and spectral norm in D."""
    torch.manual_seed(seed)
    if kind == "mlp":
        G = nn.Sequential(nn.Linear(LATENT, 8), nn.Tanh(), nn.Linear(8, 2))
        D = nn.Sequential(
            nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)
        )
    else:
        G = nn.Sequential(
            nn.Linear(LATENT, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2), nn.BatchNorm1d(2)
        )
        D = nn.Sequential(
            spectral_norm(nn.Linear(2, 8)), nn.Tanh(), spectral_norm(nn.Linear(8, 1)), nn.Flatten(0)
        )
    return {"G": G.double(), "D": D.double()}


def penalised(names: Sequence[str]) -> list[Term]:
    return [Term(PENALTIES[name](), WEIGHT) for name in names]


def game(
    nets: Nets,
    loss: Loss = losses.non_saturating,
    names: Sequence[str] = ("r1",),
    far: FakeAsReal | None = None,
) -> Game:
    wrapped = {name: Network(net) for name, net in nets.items()}
    options = {"shape": (2,), "batch": BATCH, "latent": LATENT, "penalties": penalised(names), "far": far}
    return gan(**wrapped, loss=loss, **options)


def draw(seed: int = 0) -> Draw:
    g = torch.Generator().manual_seed(seed)
    shapes = {"x_real": (BATCH, 2), "z": (BATCH, LATENT), "z_pool": (FAR.pool * FAR.most, LATENT)}
    made = {name: torch.randn(*shape, generator=g, dtype=torch.float64) for name, shape in shapes.items()}
    for name in ("direction/real", "direction/fake"):
        made[name] = torch.randn(BATCH, 2, generator=g, dtype=torch.float64)
    uniform = {"alpha": (BATCH,), "noise": (BATCH, 2)}
    return made | {
        name: torch.rand(*shape, generator=g, dtype=torch.float64) for name, shape in uniform.items()
    }


def start(
    nets: Nets, optimizer: optim.Optimizer | None = None, averaged: Sequence[str] = (), **scalars
) -> State:
    optimizers = dict.fromkeys(nets, optimizer or optim.sgd(0.1))
    return initial(nets, optimizers, averaged, scalars, dtype=torch.float64)


# -------------------------------------------------------------------------------------- an independent loop


LOOKS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "r1": ("real", lambda slope: slope.square().mean()),
    "r2": ("fake", lambda slope: slope.square().mean()),
    "zero_centered": ("between", lambda slope: slope.square().mean()),
    "one_centered": ("between", lambda slope: (slope - 1).square().mean()),
    "one_sided": ("between", lambda slope: (slope - 1).clamp_min(0).square().mean()),
    "dragan": ("around", lambda slope: (slope - 1).square().mean()),
    "max_gradient": ("between", lambda slope: slope.max().square()),
    "approximated_r1": ("along real", lambda slope: slope.square().mean()),
    "approximated_r2": ("along fake", lambda slope: slope.square().mean()),
}
"""Where each penalty looks, and what it makes of the slopes |grad| [N] there, or of those along the directions."""


def plain_discriminator(
    nets: Nets, given: Draw, loss: Loss, names: Sequence[str], far: FakeAsReal | None
) -> Tensor:
    """D's loss with ordinary modules: one pass over the candidates, then reals, fakes, and points between."""
    G, D, x = nets["G"], nets["D"], given["x_real"]
    with torch.no_grad():
        whole = G(torch.cat([given["z"], given["z_pool"]]) if far else given["z"])
        y, candidates = whole[:BATCH], whole[BATCH:]
        if far:  # in order, which matters to losses and penalties that pair rows
            lowest = D(candidates).argsort()[: far.most]
            x = torch.cat([x[: BATCH - far.most], candidates[lowest]])
    where = {name: LOOKS[name][0] for name in names}
    places = {"real": x, "fake": y}
    if "between" in where.values():
        alpha = given["alpha"][:, None]
        places["between"] = alpha * x + (1 - alpha) * y
    if "around" in where.values():
        places["around"] = x + 0.5 * x.std(correction=0) * given["alpha"][:, None] * given["noise"]
    logits, slopes = {}, {}
    for place, point in places.items():
        point.requires_grad_()
        logits[place] = D(point)
        if place in where.values():
            (gradient,) = torch.autograd.grad(logits[place].sum(), point, create_graph=True)
            slopes[place] = gradient.norm(dim=1)
        if f"along {place}" in where.values():
            near = D(point + 0.01 * given[f"direction/{place}"])
            slopes[f"along {place}"] = (near - logits[place]) / 0.01
    total = loss.discriminator(logits["real"], logits["fake"])
    return total + sum(WEIGHT * LOOKS[name][1](slopes[where[name]]) for name in names)


def plain_generator(nets: Nets, given: Draw, loss: Loss) -> Tensor:
    fake_logits = nets["D"](nets["G"](given["z"]))
    return loss.generator(fake_logits, nets["D"](given["x_real"]) if loss.pairs else None)


def plain_gradient(nets: Nets, name: str, value: Tensor) -> Tensor:
    parts = torch.autograd.grad(value, list(nets[name].parameters()))
    return torch.cat([part.flatten() for part in parts])


def fresh(given: Draw) -> Draw:
    return {name: value.clone() for name, value in given.items()}


# ----------------------------------------------------------------------------------------- the vector field


@each_loss
@each_far
@pytest.mark.parametrize("names", [[], *([name] for name in PENALTIES), list(PENALTIES)], ids="+".join)
def test_the_field_is_each_players_gradient_of_its_own_loss(loss, far, names):
    # another player's loss or parameters, a penalty without its second derivative, a gradient through the
    # selection or from D's loss into G
    nets = networks()
    made = game(nets, loss, names, far)
    gradients, _, logs = field(made, ("D", "G"), start(nets), draw())
    for name, value in (
        ("D", plain_discriminator(nets, fresh(draw()), loss, names, far)),
        ("G", plain_generator(nets, fresh(draw()), loss)),
    ):
        expected = plain_gradient(nets, name, value)
        torch.testing.assert_close(gradients[name], expected, rtol=1e-11, atol=1e-14)
        torch.testing.assert_close(logs[f"loss/{name}"], value.detach(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(logs[f"gradient/{name}"], expected.norm(), rtol=1e-11, atol=1e-14)


def test_weights_and_counts_may_follow_the_step():
    nets = networks()
    D = nets["D"]
    made = gan(
        **{name: Network(net) for name, net in nets.items()},
        loss=losses.hinge,
        shape=(2,),
        batch=BATCH,
        latent=LATENT,
        penalties=[Term(PENALTIES["r1"](), lambda scalars: 0.125 * scalars["step"])],
        far=FakeAsReal(lambda scalars: scalars["step"].float(), 4, 3),
    )
    for step in range(5):
        state = start(nets)
        state = state._replace(scalars={"step": torch.tensor(step)})
        _, _, logs = field(made, ("D",), state, draw())
        candidates = nets["G"](draw()["z_pool"][: 3 * step]).detach()  # f = 3 for each that is taken
        chosen = candidates[D(candidates).argsort()[:step]]
        x = torch.cat([draw()["x_real"][: BATCH - step], chosen]).requires_grad_()
        (gradient,) = torch.autograd.grad(D(x).sum(), x)
        expected = losses.hinge.discriminator(D(x), D(nets["G"](draw()["z"])))
        expected = expected + 0.125 * step * gradient.square().sum(1).mean()
        torch.testing.assert_close(logs["loss/D"], expected.detach(), rtol=1e-12, atol=1e-14)


def test_flat_parameters_keep_names_order_and_values():
    net = networks()["D"]
    back = unflatten(net, flatten(net))
    assert list(back) == [name for name, _ in net.named_parameters()]
    for name, p in net.named_parameters():
        assert torch.equal(back[name], p)


def test_shared_parameters_are_one():
    """Weight tying: a parameter that two layers share is in the vector once and moves both."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    vector = flatten(net)
    assert len(vector) == 4 + 2 + 2
    out = Network(net)(2 * vector, {}, torch.ones(1, 2))
    W = 2 * first.weight
    expected = (torch.ones(1, 2) @ W.T + 2 * first.bias) @ W.T + 2 * second.bias
    torch.testing.assert_close(out, expected)


def test_a_penalty_on_a_critic_with_batch_norm_is_refused():
    D = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Flatten(0))
    nets = {"G": networks()["G"], "D": D}
    with pytest.raises(UsageError, match="batch norm"):
        game(nets)
    game(nets, names=[])


# --------------------------------------------------------------------------------------------- update rules


def plain_rule(
    nets: Nets, batches: list[list[Draw]], name: str, n_critic: int = 1, n_generator: int = 1
) -> None:
    """Update rules with torch.optim.SGD: D's steps then G's against the new D, or both from one point.

    With n_generator > 1, G's steps come first and then D's one against the new G.
    """
    order = "G" * n_generator + "D" if n_generator > 1 else "D" * n_critic + "G"
    optimizers = {player: torch.optim.SGD(net.parameters(), 0.1) for player, net in nets.items()}

    def gradients(player: str, given: Draw) -> None:
        if player == "D":
            value = plain_discriminator(nets, fresh(given), losses.non_saturating, ["r1"], FAR)
        else:
            value = plain_generator(nets, fresh(given), losses.non_saturating)
        params = list(nets[player].parameters())
        for p, gradient in zip(params, torch.autograd.grad(value, params), strict=True):
            p.grad = gradient

    for batch in batches:
        if name == "simultaneous":
            gradients("D", batch[0])
            gradients("G", batch[0])
            optimizers["D"].step()
            optimizers["G"].step()
        else:
            for player, given in zip(order, batch, strict=True):
                gradients(player, given)
                optimizers[player].step()


def run(rule: Rule, state: State, batches: list[list[Draw]]) -> State:
    for batch in batches:
        state, _ = rule.step(state, batch)
    return state


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "alternating": [{}, {"n_critic": 3}, {"n_generator": 3}],
    "simultaneous": [{}],
}
"""What `plain_rule` knows to do, a rule at a time; the others' loops are in test_dynamics.py."""


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["mlp", "norm"])
def test_a_rule_is_its_plain_loop(name, kind):
    # G's gradient from before D moved, or one draw for several critic steps; buffers of batch norm and of
    # power iteration follow too: each forward pass of a player's loss moves them
    for options in OPTIONS[name]:
        nets = networks(kind)
        optimizers = dict.fromkeys(nets, optim.sgd(0.1))
        rule = DYNAMICS[name](game(nets, far=FAR), optimizers, **options)
        batches = [[draw(10 * step + turn) for turn in range(len(rule.rounds))] for step in range(6)]
        state = run(rule, start(nets), batches)
        plain_rule(nets, batches, name, **options)
        for player, net in nets.items():
            torch.testing.assert_close(state.params[player], flatten(net), rtol=0, atol=1e-11)
            assert state.buffers[player].keys() == dict(net.named_buffers()).keys()
            for key, buffer in net.named_buffers():
                torch.testing.assert_close(state.buffers[player][key], buffer, rtol=0, atol=1e-11)


def test_alternating_shows_the_generator_the_new_critic():
    """G's step must differ from the one against the old critic, which simultaneous takes on the same draw."""
    nets, given = networks(), draw()
    optimizers = dict.fromkeys(nets, optim.sgd(0.1))
    new, _ = alternating(game(nets), optimizers).step(start(nets), [given, given])
    old, _ = simultaneous(game(nets), optimizers).step(start(nets), [given])
    assert torch.equal(new.params["D"], old.params["D"])
    assert (new.params["G"] - old.params["G"]).norm() > 1e-4
    D = copy.deepcopy(nets["D"])
    nn.utils.vector_to_parameters(new.params["D"], D.parameters())
    for critic, state in ((D, new), (nets["D"], old)):
        value = plain_generator({"G": nets["G"], "D": critic}, given, losses.non_saturating)
        expected = flatten(nets["G"]) - 0.1 * plain_gradient(nets, "G", value)
        torch.testing.assert_close(state.params["G"], expected, rtol=0, atol=1e-13)


def test_rounds_give_every_critic_step_a_draw_of_its_own():
    optimizers = dict.fromkeys("GD", optim.sgd(0.1))
    made = game(networks())
    assert alternating(made, optimizers, n_critic=3).rounds == (("D",), ("D",), ("D",), ("G",))
    assert alternating(made, optimizers, n_generator=3).rounds == (("G",), ("G",), ("G",), ("D",))
    assert simultaneous(made, optimizers).rounds == (("D", "G"),)
    with pytest.raises(ValueError):
        alternating(made, optimizers, n_critic=3).step(start(networks()), [draw(), draw()])


def test_only_one_side_is_in_the_inner_loop():
    with pytest.raises(UsageError, match="n_critic=2 and n_generator=3"):
        alternating(game(networks()), dict.fromkeys("GD", optim.sgd(0.1)), n_critic=2, n_generator=3)


def test_each_player_has_its_own_optimizer_and_moments():
    nets = networks()
    optimizers = {"D": optim.adam(0.01), "G": optim.rmsprop(0.003)}
    rule = alternating(game(nets), optimizers)
    state = initial(nets, optimizers, dtype=torch.float64)
    batches = [[draw(2 * step), draw(2 * step + 1)] for step in range(5)]
    state = run(rule, state, batches)
    plain = {
        "D": torch.optim.Adam(nets["D"].parameters(), 0.01),
        "G": torch.optim.RMSprop(nets["G"].parameters(), 0.003),
    }
    for batch in batches:
        for player, given in zip("DG", batch):
            plain[player].zero_grad()
            nets[player].zero_grad()
            if player == "D":
                plain_discriminator(nets, fresh(given), losses.non_saturating, ["r1"], None).backward()
            else:
                plain_generator(nets, given, losses.non_saturating).backward()
            plain[player].step()
    for player, net in nets.items():
        torch.testing.assert_close(state.params[player], flatten(net), rtol=0, atol=1e-11)


@each_rule
@pytest.mark.parametrize("kind", ["mlp", "norm"])
def test_a_step_changes_nothing_but_what_it_returns(name, kind):
    # in-place batch norm or power iteration: the state one keeps would move, and a step repeated would differ
    nets = networks(kind)
    skeleton = {key: v.clone() for net in nets.values() for key, v in net.state_dict(keep_vars=False).items()}
    optimizers = dict.fromkeys(nets, optim.adam(0.1))
    rule = DYNAMICS[name](game(nets, far=FAR), optimizers)
    step = complete(rule, game(nets), decay=0.5)
    batch = [draw(turn) for turn in range(len(rule.rounds))]
    state = initial(nets, optimizers, ("G", "D"), dtype=torch.float64, rule=rule)
    state, _ = step(state, batch)
    leaves = torch.utils._pytree.tree_leaves(state)
    kept, given = [leaf.clone() for leaf in leaves], [fresh(each) for each in batch]
    once, again = step(state, batch)[0], step(state, batch)[0]
    assert all(torch.equal(a, b) for a, b in zip(leaves, kept, strict=True))
    assert all(torch.equal(a[key], b[key]) for a, b in zip(batch, given) for key in a)
    leaves = zip(torch.utils._pytree.tree_leaves(once), torch.utils._pytree.tree_leaves(again), strict=True)
    assert all(torch.equal(a, b) for a, b in leaves)
    after = {key: v for net in nets.values() for key, v in net.state_dict().items()}
    assert all(torch.equal(after[key], v) for key, v in skeleton.items())
    assert all(p.grad is None for net in nets.values() for p in net.parameters())


@each_rule
def test_a_member_of_an_ensemble_steps_as_it_would_alone(name):
    """Under vmap, each with its own weights, draws and learning rate."""
    nets = networks()
    optimizers = dict.fromkeys(nets, optim.adam(lambda scalars: scalars["lr"]))
    rule = DYNAMICS[name](game(nets, names=list(PENALTIES), far=FAR), optimizers)
    step = complete(rule, game(nets), decay=0.5)
    alone = [
        initial(networks(seed=i), optimizers, ("G",), {"lr": lr}, torch.float64, rule)
        for i, lr in enumerate((0.1, 0.01))
    ]
    together = stack(alone)
    for number in range(3):
        batches = [[draw(100 * i + 10 * number + turn) for turn in range(len(rule.rounds))] for i in range(2)]
        pairs = zip(*batches, strict=True)
        joint = [{key: torch.stack([each[key] for each in turn]) for key in turn[0]} for turn in pairs]
        together, _ = torch.vmap(step)(together, joint)
        alone = [step(state, batch)[0] for state, batch in zip(alone, batches, strict=True)]
    for i, state in enumerate(alone):
        leaves = (torch.utils._pytree.tree_leaves(each) for each in (member(together, i), state))
        for a, b in zip(*leaves, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


# ----------------------------------------------------------------------------------- games with known rates


class Scalar(nn.Module):
    """One number, repeated for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), 1)


@pytest.mark.parametrize("k", [0.0, 0.1, 0.5, 1.0])
def test_r1_on_the_dirac_gan_has_the_papers_eigenvalues(k):
    """Spec C5: D = psi x, real 0, fake theta: (-r +- sqrt(r^2 - 1)) / 2 with r = 2k, as k has no 1/2."""

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.psi = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.psi * x[:, 0]

    nets = {"G": Scalar(), "D": Slope()}
    options = {"shape": (1,), "batch": 4, "latent": 1, "penalties": [Term(PENALTIES["r1"](), k)]}
    made = gan(Network(nets["G"]), Network(nets["D"]), losses.non_saturating, **options)
    given = {"x_real": torch.zeros(4, 1).double(), "z": torch.zeros(4, 1).double()}

    def velocity(at: Tensor) -> Tensor:
        state = start(nets)._replace(params={"D": at[:1], "G": at[1:]})
        gradients, _, _ = field(made, ("D", "G"), state, given)
        return -torch.cat([gradients["D"], gradients["G"]])

    jacobian = torch.func.jacrev(velocity)(torch.zeros(2, dtype=torch.float64))
    found = sorted(torch.linalg.eigvals(jacobian).tolist(), key=lambda v: (v.real, v.imag))
    root, r = cmath.sqrt((2 * k) ** 2 - 1), 2 * k
    expected = sorted([(-r - root) / 2, (-r + root) / 2], key=lambda v: (v.real, v.imag))
    assert found == pytest.approx(expected, abs=1e-7)


# ------------------------------------------------------------------------------------ networks as skeletons


def test_a_buffer_that_a_module_replaces_is_carried_along():
    """`self.seen = self.seen + 1` makes a new tensor; only in-place changes would be seen without care."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.seen + len(x)
            return self.scale * x

    module, buffers = Counter(), {"seen": torch.zeros(())}
    Network(module)(flatten(module), buffers, torch.ones(3, 1))
    Network(module)(flatten(module), buffers, torch.ones(4, 1))
    assert buffers["seen"].item() == 7
    assert module.seen.item() == 0


def test_autocast_and_channels_last_change_rounding_only():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(1), nn.Linear(8 * 36, 1), nn.Flatten(0))
    params, x = flatten(net), torch.randn(4, 3, 8, 8)
    exact = Network(net)(params, {}, x)
    torch.testing.assert_close(Network(net, channels_last=True)(params, {}, x), exact, rtol=1e-5, atol=1e-6)
    rough = Network(net, torch.bfloat16)(params, {}, x)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 1e-2


@pytest.mark.parametrize("kind", ["mlp", "norm"])
def test_a_run_in_float64_may_start_from_float32_networks(kind):
    # parameters are cast and running statistics or singular vectors are not: the first step fails
    nets = {name: net.float() for name, net in networks(kind).items()}
    optimizers = dict.fromkeys(nets, optim.sgd(0.1))
    state = initial(nets, optimizers, ("G",), dtype=torch.float64)
    rule = alternating(game(nets), optimizers)
    state, _ = complete(rule, game(nets), 0.5)(state, [draw(0), draw(1)])
    tensors = torch.utils._pytree.tree_leaves(state._replace(scalars={}))
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}


# ------------------------------------------------------------------------------------------ around the step


def trajectory(kind: str, decay: Number, begin: int, steps: int = 6) -> tuple[list[State], Nets]:
    nets = networks(kind)
    optimizers = dict.fromkeys(nets, optim.sgd(0.1))
    step = complete(alternating(game(nets), optimizers), game(nets), decay, begin)
    states = [initial(nets, optimizers, ("G", "D"), dtype=torch.float64)]
    for number in range(steps):
        states.append(step(states[-1], [draw(2 * number), draw(2 * number + 1)])[0])
    return states, nets


def tensors(state: State, player: str) -> dict[str, Tensor]:
    return {"params": state.params[player], **state.buffers[player]}


AVERAGED = {"params", "1.running_mean", "1.running_var", "4.running_mean", "4.running_var"}


@pytest.mark.parametrize("kind", ["mlp", "norm"])
@pytest.mark.parametrize("begin", [0, 3])
def test_the_average_in_closed_form(kind, begin):
    """a_n = d^(n-s) x_s + (1 - d) sum_k d^(n-k) x_k over s < k <= n, and a_n = x_n up to the start s.

    Parameters and running statistics are blended; counters, and the vectors of a power iteration, whose
    average is no singular vector, are copied.
    """
    decay = 0.75  # exact in float32
    states, _ = trajectory(kind, decay, begin)
    for player in ("G", "D"):
        assert states[-1].average[player].keys() == tensors(states[-1], player).keys()
        for n, state in enumerate(states):
            for key, found in state.average[player].items():
                raw = [tensors(each, player)[key] for each in states]
                if key not in AVERAGED or n <= begin:
                    assert torch.equal(found, raw[n]), key
                    continue
                expected = decay ** (n - begin) * raw[begin] + (1 - decay) * sum(
                    decay ** (n - k) * raw[k] for k in range(begin + 1, n + 1)
                )
                torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)
    if kind == "norm":
        passes = states[-1].average["G"]["1.num_batches_tracked"].item()
        assert passes == 2 * 6  # one for D and one for G in each step
        assert not torch.equal(
            states[-1].average["G"]["1.running_mean"], states[-1].buffers["G"]["1.running_mean"]
        )


def test_a_decay_of_zero_is_the_player_and_a_schedule_is_followed():
    states, _ = trajectory("mlp", 0.0, 0)
    assert all(torch.equal(state.average["G"]["params"], state.params["G"]) for state in states)
    decay = {0: 0.5, 1: 0.25, 2: 0.0, 3: 0.5}
    states, _ = trajectory(
        "mlp", lambda scalars: torch.tensor(list(decay.values()))[scalars["step"]], 0, steps=4
    )
    expected = states[0].params["G"]
    for n, state in enumerate(states[1:]):
        expected = decay[n] * expected + (1 - decay[n]) * state.params["G"]
        torch.testing.assert_close(state.average["G"]["params"], expected, rtol=1e-13, atol=1e-15)


def test_only_the_players_asked_for_are_averaged_and_the_counter_counts():
    nets = networks()
    optimizers = dict.fromkeys(nets, optim.sgd(0.1))
    step = complete(alternating(game(nets), optimizers), game(nets), 0.5)
    state = initial(nets, optimizers, ("G",), dtype=torch.float64)
    for number in range(3):
        assert state.scalars["step"].item() == number
        assert state.scalars["step"].dtype == torch.int64
        state, _ = step(state, [draw(0), draw(1)])
    assert state.average.keys() == {"G"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("player", ["G", "D"])
def test_finite_turns_zero_where_a_parameter_does(bad, player):
    # a check of the loss instead: D's parameters can be NaN a step before any loss is
    nets = networks()
    optimizers = dict.fromkeys(nets, optim.sgd(0.1))
    step = complete(alternating(game(nets), optimizers), game(nets))
    state, logs = step(start(nets), [draw(0), draw(1)])
    assert logs["finite"].item() == 1
    poisoned = state.params[player].clone()
    poisoned[3] = bad
    _, logs = step(state._replace(params={**state.params, player: poisoned}), [draw(0), draw(1)])
    assert logs["finite"].item() == 0
    lr = {name: optim.sgd(bad if name == player else 0.1) for name in nets}
    _, logs = complete(alternating(game(nets), lr), game(nets))(state, [draw(0), draw(1)])
    assert logs["finite"].item() == 0
    assert logs["loss/D"].isfinite()


# -------------------------------------------------------------------------------------- standing statistics


def statistics(weights: list[Tensor], batches: Tensor) -> list[Tensor]:
    """Mean over batches of each batch's mean and unbiased variance, before both batch norms of `networks`."""
    W, b, gain, shift, V, c, *_ = weights
    means, variances = [], []
    for z in batches:
        first = z @ W.T + b
        normal = (first - first.mean(0)) / (first.var(0, unbiased=False) + 1e-5).sqrt()
        second = torch.tanh(gain * normal + shift) @ V.T + c
        means.append([first.mean(0), second.mean(0)])
        variances.append([first.var(0), second.var(0)])
    return [torch.stack(column).mean(0) for table in (means, variances) for column in zip(*table)]


def test_standing_statistics_are_plain_means_over_batches():
    # running averages left over from training, or a momentum that weighs late batches more
    states, nets = trajectory("norm", 0.75, 0)
    batches = torch.randn(5, 20, LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for params, buffers in (
        (states[-1].params["G"], states[-1].buffers["G"]),
        (states[-1].average["G"]["params"], states[0].buffers["G"]),
    ):
        kept = {key: v.clone() for key, v in buffers.items()}
        found = standing_statistics(Network(nets["G"]), params, buffers, batches)
        expected = statistics(list(unflatten(nets["G"], params).values()), batches)
        names = ["1.running_mean", "4.running_mean", "1.running_var", "4.running_var"]
        for key, value in zip(names, expected, strict=True):
            torch.testing.assert_close(found[key], value, rtol=1e-11, atol=1e-13)
        assert all(torch.equal(buffers[key], v) for key, v in kept.items())
    assert nets["G"][1].momentum == 0.1  # the skeleton itself goes on training


def test_standing_statistics_are_those_of_a_generator_without_hidden_noise():
    # samples have no noise, so statistics widened by it would not be theirs
    torch.manual_seed(0)
    quiet = nn.Sequential(nn.Linear(LATENT, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2)).double()
    noisy = noisy_layers(copy.deepcopy(quiet), 5.0)
    z = torch.randn(3, 20, LATENT, dtype=torch.float64)
    params, found = flatten(quiet), []
    for net in (quiet, noisy):
        buffers = {key: b.clone() for key, b in net.named_buffers()}
        found.append(standing_statistics(Network(net), params, buffers, z)["2.running_var"])
    assert torch.equal(*found)


def test_standing_statistics_are_those_of_a_generator_whose_spectral_norms_rest():
    """In training mode each batch would take a step of the power iteration, and drop inputs. Samples do neither."""
    torch.manual_seed(0)
    first = nn.utils.parametrizations.spectral_norm(nn.Linear(LATENT, 6))
    net = nn.Sequential(nn.Dropout(0.5), first, nn.BatchNorm1d(6), nn.Linear(6, 2)).double()
    part = first.parametrizations.weight[0]
    with torch.no_grad():
        part._u.copy_(nn.functional.normalize(torch.randn(6), dim=0))  # far from converged
    buffers = {key: b.clone() for key, b in net.named_buffers()}
    z = torch.randn(3, 20, LATENT, dtype=torch.float64)
    found = standing_statistics(Network(net), flatten(net), buffers, z)
    W = first.parametrizations.weight.original.detach()
    h = z @ (W / (part._u @ W @ part._v)).T + first.bias.detach()
    torch.testing.assert_close(found["2.running_mean"], h.mean((0, 1)), rtol=1e-10, atol=1e-12)


def test_standing_statistics_do_not_touch_a_network_without_batch_norm():
    nets = networks("norm")
    state = start(nets)
    assert (
        standing_statistics(Network(nets["D"]), state.params["D"], state.buffers["D"], draw()["x_real"][None])
        == (state.buffers["D"])
    )


@pytest.mark.parametrize("average", [True, False])
def test_samples_are_of_the_wanted_weights_each_apart_from_the_others(average):
    # batch norm left in training mode: a sample would depend on which others are asked for with it
    states, nets = trajectory("norm", 0.75, 0)
    z = torch.randn(7, LATENT, dtype=torch.float64)
    network = Network(nets["G"])
    found = samples(network, states[-1], z, average=average)
    alone = torch.cat([samples(network, states[-1], row[None], average=average) for row in z])
    torch.testing.assert_close(found, alone)
    bare = states[-1]._replace(average={})
    if average:
        params = states[-1].average["G"]["params"]
        bare = bare._replace(params={**bare.params, "G": params})
    torch.testing.assert_close(samples(network, bare, z), found)
    assert nets["G"].training


def test_samples_of_a_network_without_buffers_are_its_output():
    states, nets = trajectory("mlp", 0.75, 0)
    z = draw()["z"]
    for average in (True, False):
        params = states[-1].average["G"]["params"] if average else states[-1].params["G"]
        net = copy.deepcopy(nets["G"])
        nn.utils.vector_to_parameters(params, net.parameters())
        torch.testing.assert_close(samples(Network(net), states[-1], z, average=average), net(z).float())


def test_networks_of_the_recipes_work_as_players():
    G, D = (net.double() for net in mlp((2,), latent=LATENT, width=8, depth=2))
    nets = {"G": G, "D": D}
    gradients, _, _ = field(game(nets), ("D", "G"), start(nets), draw())
    value = plain_discriminator(nets, fresh(draw()), losses.non_saturating, ["r1"], None)
    torch.testing.assert_close(gradients["D"], plain_gradient(nets, "D", value), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("dynamics", "updates"),
    [
        ({"name": "alternating", "n_critic": 3}, 3),
        ({"name": "alternating", "n_critic": 1}, 1),
        ("simultaneous", 1),
        ({"name": "alternating", "n_generator": 2}, 1),
    ],
    ids=str,
)
def test_a_game_is_told_how_often_its_critics_moved(dynamics, updates):
    run, told = build(parse({"name": "it", **small.RING, "dynamics": dynamics})), []
    game = run.game._replace(adapt=lambda scalars, logs, repeats: told.append(repeats) or {})
    complete(run.rule, game)(run.state, run.draws(0))
    assert told == [updates]
    assert told[0] is not True


def test_a_term_of_every_fourth_step_is_due_from_the_first_on():
    """At steps 0, 4 and 8, as its first step has it, and in no other draw."""
    raw = {"name": "it", **small.RING, "critic": {"penalties": [{"name": "r1", "interval": 4}]}}
    run = build(parse(raw))
    lazy = [name for name, field in run.game.fields.items() if field.every == 4]
    assert lazy
    due = [step for step in range(9) if any(lazy[0] in draw for draw in run.draws(step))]
    assert due == [0, 4, 8]
