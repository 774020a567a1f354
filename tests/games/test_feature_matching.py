"""Feature matching in G's loss: the pure step against a loop with hooks, values by hand, and what must not change.

The comment in a test names the wrong implementation it is there to catch.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from small import FLOAT64, stepped
from steadygan import losses
from steadygan.augment import diffaugment
from steadygan.build import Own, build
from steadygan.commands.step_cost import step_cost
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game import Network, flatten
from steadygan.games import FeatureMatching, gan
from steadygan.games.feature_terms import passed
from steadygan.normalization import gradient_normalized
from tracing import traced

STEPS, WEIGHT = 4, 0.3
RAW = {**FLOAT64, "networks": {"name": "mlp", "width": 8, "depth": 3}, "steps": STEPS}


def raw(layer: int | None = None, critic: dict | None = None, **changes) -> dict:
    return {
        **RAW,
        "critic": {"feature_matching": {"weight": WEIGHT, "layer": layer}, **(critic or {})},
        **changes,
    }


def descend(net: nn.Module, loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), gradients, strict=True):
            p -= 0.1 * g


def squared_distance(real: Tensor, fake: Tensor) -> Tensor:
    means = [sum(row.flatten() for row in rows) / len(rows) for rows in (real, fake)]
    return sum((a - b) ** 2 for a, b in zip(*means, strict=True))


VIEWS = {
    "plain": ({}, lambda D: D),
    "GN": ({"normalization": "gradient_normalized"}, gradient_normalized),
}
"""The critic as the losses see it. Features are those of the critic itself."""


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
@pytest.mark.parametrize("layer", [None, 0, 2])
def test_the_pure_step_is_a_loop_with_hooks(loss, layer, view):
    # the features before the activation, of the layer before or after; a mean over features; a mean of distances in
    # place of the distance of means; on a tangent plane no gradient at all; D's own loss changed
    critic, seen_as = VIEWS[view]
    settings = {"game": {"name": "gan", "loss": loss}}
    matched, state, logs = stepped(raw(layer, critic, **settings))
    begun = build(parse({**RAW, "critic": critic, **settings}))
    nets = {name: player.network.module.double() for name, player in begun.game.players.items()}
    for name, net in nets.items():
        torch.nn.utils.vector_to_parameters(begun.state.params[name], net.parameters())
    G, plain, features = nets["G"], nets["D"], []
    linear = [part for part in plain.modules() if isinstance(part, nn.Linear)]
    linear[-1 if layer is None else layer].register_forward_pre_hook(
        lambda _, given: features.append(given[0])
    )
    D = seen_as(plain)
    for number in range(STEPS):
        for_D, for_G = matched.draws(number)
        descend(plain, losses.LOSSES[loss].discriminator(D(for_D["x_real"]), D(G(for_D["z"]).detach())))
        features.clear()
        reals, fakes = D(for_G["x_real"]), D(G(for_G["z"]))
        value = squared_distance(*features)
        told = losses.LOSSES[loss].generator(fakes, reals if loss == "relativistic" else None)
        descend(G, told + WEIGHT * value)
        torch.testing.assert_close(logs[number]["feature_matching/G"], value.detach())
        torch.testing.assert_close(logs[number]["adversarial/G"], told.detach())
        torch.testing.assert_close(logs[number]["loss/G"], (told + WEIGHT * value).detach())
    for name, net in nets.items():
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-10)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
def test_a_lazy_term_is_a_loop_that_adds_it_every_third_step_with_three_times_the_weight(loss, view):
    # no factor of 3; due one step off, or in the last of G's two steps alone; a tangent plane where the term is due
    critic, seen_as = VIEWS[view]
    settings = {"game": {"name": "gan", "loss": loss}, "dynamics": {"name": "alternating", "n_generator": 2}}
    lazy = {"feature_matching": {"weight": WEIGHT, "interval": 3}}
    matched, state, logs = stepped({**RAW, **settings, "critic": {**critic, **lazy}})
    nets = {name: player.network.module.double() for name, player in matched.game.players.items()}
    for name, net in nets.items():
        torch.nn.utils.vector_to_parameters(matched.state.params[name], net.parameters())
    G, plain, features = nets["G"], nets["D"], []
    last = [part for part in plain.modules() if isinstance(part, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    D, pair = seen_as(plain), losses.LOSSES[loss]
    for number in range(STEPS):
        *for_G, for_D = matched.draws(number)
        for draw in for_G:
            features.clear()
            reals, fakes = D(draw["x_real"]), D(G(draw["z"]))
            total = pair.generator(fakes, reals if loss == "relativistic" else None)
            if number % 3 == 0:
                total = total + 3 * WEIGHT * squared_distance(*features)
            descend(G, total)
        descend(plain, pair.discriminator(D(for_D["x_real"]), D(G(for_D["z"]).detach())))
    for name, net in nets.items():
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-10)
    assert ["feature_matching/G" in log for log in logs] == [number % 3 == 0 for number in range(STEPS)]
    assert all("adversarial/G" in log for log in logs)


@pytest.mark.parametrize("view", VIEWS)
def test_steps_between_those_of_a_lazy_term_cost_what_a_game_without_it_costs(view):
    # a pass of the reals for features that nothing takes; behind GN a double backward, too
    often, lazy, never = (
        build(parse({**RAW, "networks": {"name": "mlp", "width": 64, "depth": 3}, "critic": critic}))
        for critic in (
            {**VIEWS[view][0], "feature_matching": {}},
            {**VIEWS[view][0], "feature_matching": {"interval": 2}},
            VIEWS[view][0],
        )
    )
    assert step_cost(lazy, 0).flops == step_cost(often, 0).flops > step_cost(never, 0).flops
    assert step_cost(lazy, 1).flops == step_cost(never, 1).flops


def test_by_hand_of_a_critic_of_one_layer():
    """f(x) = x, with means (2, 0) and (0, 1): the value is 5, and its gradient in G's bias 2 (E G(z) - E x)."""
    G, D = nn.Linear(2, 2), nn.Linear(2, 1)
    with torch.no_grad():
        G.weight.copy_(torch.eye(2)), G.bias.zero_()
        D.weight.copy_(torch.tensor([[0.5, -1.0]])), D.bias.zero_()
    matching = FeatureMatching(D, weight=3.0)
    game = gan(Network(G), Network(D), losses.wasserstein, shape=(2,), batch=2, latent=2, matching=matching)
    draw = {"x_real": torch.tensor([[1.0, 0.0], [3.0, 0.0]]), "z": torch.tensor([[0.0, 0.0], [0.0, 2.0]])}
    assert game.players["G"].reads == ("x_real", "z")

    def loss(own: Tensor) -> tuple[Tensor, dict]:
        nets = {
            "G": game.players["G"].network.bound(own, {}),
            "D": game.players["D"].network.bound(flatten(D), {}),
        }
        return game.players["G"].loss(nets, draw, {})

    gradient, logs = torch.func.grad(loss, has_aux=True)(flatten(G))
    assert {key: part.item() for key, part in logs.items()} == {
        "adversarial/G": 1.0,
        "feature_matching/G": 5.0,
    }
    assert gradient[-2:].tolist() == [3 * 2 * (0 - 2) - 0.5, 3 * 2 * (1 - 0) + 1.0]


def of_G(settings: dict) -> tuple:
    """G's loss as a function of D's weights, and a module with these weights, on the first draw."""
    run = build(parse(settings))
    players, state, draw = run.game.players, run.state, run.draws(0)[1]
    module = players["D"].network.module.double()
    torch.nn.utils.vector_to_parameters(state.params["D"], module.parameters())

    def loss(weights: Tensor) -> Tensor:
        nets = {
            name: p.network.bound(state.params[name], dict(state.buffers[name]))
            for name, p in players.items()
        }
        nets["D"] = players["D"].network.bound(weights, dict(state.buffers["D"]))
        return players["G"].loss(nets, draw, state.scalars)[0]

    G = players["G"].network.bound(state.params["G"], {})
    return loss, module, G, draw


def test_rules_that_differentiate_the_field_see_that_both_means_depend_on_the_critic():
    # reals that are detached: consensus optimization and the spectrum would get another Jacobian
    loss, D, G, draw = of_G(raw(1))
    seen = []
    [part for part in D.modules() if isinstance(part, nn.Linear)][1].register_forward_pre_hook(
        lambda _, given: seen.append(given[0])
    )
    D(draw["x_real"])
    told = losses.non_saturating.generator(D(G(draw["z"])))
    wanted = torch.autograd.grad(told + WEIGHT * squared_distance(*seen), list(D.parameters()))
    found = torch.func.grad(loss)(flatten(D))
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in wanted]))


def test_features_of_labelled_samples_are_not_the_labels():
    """A projection critic holds the layer of its labels last, which no sample passes."""
    digits = {"data": "digits", "networks": {"name": "dcgan", "width": 2, "latent": 3}}
    _, D, G, draw = of_G(raw(**digits, game={"name": "gan", "conditional": True}))
    assert [name for name, _ in D.named_modules()][-1] == "embed"
    _, _, logs = stepped(raw(**digits, game={"name": "gan", "conditional": True}, dynamics="simultaneous"))
    (draw,) = build(
        parse(raw(**digits, game={"name": "gan", "conditional": True}, dynamics="simultaneous"))
    ).draws(0)
    value = squared_distance(D.body(draw["x_real"]), D.body(G(draw["z"])))
    torch.testing.assert_close(logs[0]["feature_matching/G"], value)


@pytest.mark.parametrize(
    "critic",
    [{}, {"generator_gradient": {"norm": 0.5}}, {"normalization": "gradient_normalized"}],
    ids=["plain", "received", "GN"],
)
def test_members_of_an_ensemble_are_single_runs(critic):
    matching = {"weight": [0.1, 1.0]}
    _, together, logs = stepped({**RAW, "critic": {**critic, "feature_matching": matching}})
    for i, weight in enumerate(matching["weight"]):
        _, alone, log = stepped({**RAW, "critic": {**critic, "feature_matching": {"weight": weight}}})
        torch.testing.assert_close(together.params["G"][i], alone.params["G"], rtol=0, atol=1e-10)
        torch.testing.assert_close(logs[-1]["feature_matching/G"][i], log[-1]["feature_matching/G"])


def test_its_gradient_is_not_that_which_is_normalized():
    """With D's own gradient brought to size 0 almost, G's step is that of feature matching alone."""
    found = []
    for weight in (0.5, 1.0):
        critic = {"generator_gradient": {"norm": 1e-12}, "feature_matching": {"weight": weight}}
        run, *_ = stepped({**RAW, "critic": critic})
        draws = run.draws(0)
        found.append(run.step(run.state, draws)[0].params["G"] - run.state.params["G"])
    torch.testing.assert_close(2 * found[0], found[1], rtol=1e-6, atol=1e-12)


SEEN = {
    "instance noise": {"noise": {"instance": 0.5}},
    "DiffAugment": {
        "data": "digits",
        "networks": {"name": "dcgan", "width": 2, "latent": 3},
        "augment": "diffaugment",
    },
}


@pytest.mark.parametrize("name", SEEN)
def test_the_features_are_those_of_samples_as_the_critic_sees_them(name):
    # reals that are clean where fakes are not
    run, *_ = stepped(raw(0, **SEEN[name]))
    state, (_, draw) = run.state, run.draws(0)
    kind = "instance" if name == "instance noise" else "augment"
    assert {f"{kind}/real", f"{kind}/fake"} <= draw.keys()
    players = run.game.players
    nets = {n: p.network.bound(state.params[n], dict(state.buffers[n])) for n, p in players.items()}
    value = players["G"].loss(nets, draw, state.scalars)[1]["feature_matching/G"]
    samples = {"real": draw["x_real"], "fake": nets["G"](draw["z"])}
    if kind == "instance":
        seen = [x + 0.5 * draw[f"instance/{side}"] for side, x in samples.items()]
    else:
        seen = [diffaugment(x, draw[f"augment/{side}"]) for side, x in samples.items()]
    torch.testing.assert_close(value, squared_distance(*seen))


@pytest.mark.slow
def test_the_traced_step_is_the_eager_one():
    # a hook that a graph has lost
    run = build(parse(raw(critic={"normalization": "gradient_normalized"})))
    leaves, layout = tree_flatten((run.state, run.draws(0)))

    def step(*given: Tensor) -> list[Tensor]:
        return tree_flatten(run.step(*tree_unflatten(list(given), layout)))[0]

    for found, wanted in zip(traced(step, *leaves)(*leaves), step(*leaves), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_in_mixed_precision_means_are_of_the_parameters_precision():
    _, _, logs = stepped(raw(precision="bfloat16"))
    assert logs[-1]["feature_matching/G"].dtype == torch.float32


class Bare(nn.Module):
    """A critic whose layers are used without being called."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.inner.weight.T).flatten()


POINT = {"networks": {"name": "own", "latent": 2}, "data": "ring8"}
REFUSED = {
    "a layer too far": (raw(9), {}, "feature_matching.layer=9 .* choose at most"),
    "no layer": (
        raw(**POINT),
        {"own": Own(networks=lambda shape: {"G": nn.Linear(2, 2), "D": Bare()})},
        "leave it out",
    ),
    "another batch for G": (raw(game={"name": "gan", "batch_G": 9}), {}, "feature_matching"),
    "infogan": (
        raw(game={"name": "infogan"}, networks={"name": "mlp", "latent": 14}),
        {},
        "choose the game gan",
    ),
    "ebgan": (raw(game={"name": "ebgan", "margin": 1}), {}, "does not use critic"),
    "no interval": (raw(critic={"feature_matching": {"interval": 0}}), {}, "feature_matching.interval"),
    "a negative layer": (raw(-1), {}, "critic.feature_matching.layer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_be_is_said(name):
    settings, given, words = REFUSED[name]
    with pytest.raises(UsageError, match=words):
        build(parse(settings), **given)


def test_a_layer_that_is_passed_twice_has_no_features_of_its_own():
    twice, once = nn.Linear(2, 2), nn.Linear(2, 1)
    assert passed(nn.Sequential(twice, twice, once), [twice, once], torch.zeros(1, 2)) == [once]
