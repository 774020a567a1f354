"""Feature matching in G's loss: the pure step against a loop with hooks, values by hand, and what must not change.

The comment in a test names the wrong implementation it is there to catch.
"""

import pytest
import torch
from torch import Tensor, nn

from steadygan import losses
from steadygan.build import build
from steadygan.config import parse
from steadygan.game import flatten
from steadygan.normalization import gradient_normalized
from steadygan.training.compile.compiled_step import vectorised

STEPS, WEIGHT = 4, 0.3
RAW = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 3},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": 7,
    "steps": STEPS,
    "precision": "float64",
    "compile": False,
}


def raw(layer: int | None = None, critic: dict | None = None, **changes) -> dict:
    return {
        **RAW,
        "critic": {"feature_matching": {"weight": WEIGHT, "layer": layer}, **(critic or {})},
        **changes,
    }


def trained(settings: dict) -> tuple:
    run = build(parse(settings))
    step, state, logs = vectorised(run.step) if run.ensemble else run.step, run.state, []
    for number in range(STEPS):
        state, log = step(state, run.draws(number))
        logs.append(log)
    return state, logs


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
    state, logs = trained(raw(layer, critic, **settings))
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
        for_D, for_G = (
            begun.draws(number) if loss == "relativistic" else build(parse(raw(**settings))).draws(number)
        )
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
