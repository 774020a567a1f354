"""The gradient that G receives, normalized: the pure step against a loop with a hook, and what must not change.

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
from steadygan.game import flatten
from steadygan.normalization import gradient_size, scaled_gradient

STEPS, NORM, DECAY = 5, 0.5, 0.8
RAW = {**FLOAT64, "batch": 6, "steps": STEPS}
CRITIC = {"generator_gradient": {"norm": NORM, "decay": DECAY}}


def descend(net: nn.Module, loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), gradients, strict=True):
            p -= 0.1 * g


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
def test_the_pure_step_is_a_loop_with_a_hook(loss):
    # the size of the batch's gradient (which falls with N), a mean of sizes and not of squares, no correction of
    # the start, D's own step scaled too, a scale that is learned through
    settings = {**RAW, "game": {"name": "gan", "loss": loss}}
    _, state, logs = stepped({**settings, "critic": CRITIC})
    begun = build(parse(settings))
    nets = {name: player.network.module.double() for name, player in begun.game.players.items()}
    for name, net in nets.items():
        torch.nn.utils.vector_to_parameters(begun.state.params[name], net.parameters())
    G, D, square = nets["G"], nets["D"], 0.0
    for number in range(STEPS):
        for_D, for_G = begun.draws(number)
        descend(D, losses.LOSSES[loss].discriminator(D(for_D["x_real"]), D(G(for_D["z"]).detach())))
        reals = D(for_G["x_real"]) if loss == "relativistic" else None
        x = G(for_G["z"]).detach().requires_grad_()
        (g,) = torch.autograd.grad(losses.LOSSES[loss].generator(D(x), reals), x)
        sizes = [sum((6 * v) ** 2 for v in row) for row in g.tolist()]
        square = DECAY * square + (1 - DECAY) * sum(sizes) / 6
        scale = NORM / (square / (1 - DECAY ** (number + 1))) ** 0.5
        y = G(for_G["z"])
        y.register_hook(lambda slope, scale=scale: scale * slope)
        value = losses.LOSSES[loss].generator(D(y), reals)
        descend(G, value)
        torch.testing.assert_close(logs[number]["loss/G"], value.detach())
        assert logs[number]["signal/rms"].item() == pytest.approx((sum(sizes) / 6) ** 0.5)
    for name, net in nets.items():
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-10)
    assert state.scalars["received/square"].item() == pytest.approx(square, rel=1e-9)


def first_gradient(factor: float) -> Tensor:
    """G's gradient of WGAN's loss at the first step, with D's last layer `factor` times as large."""
    run = build(parse({**RAW, "game": {"name": "gan", "loss": "wasserstein"}, "critic": CRITIC}))
    players, weights, (_, draw) = run.game.players, run.state.params["D"].clone(), run.draws(0)
    last = list(players["D"].network.module.parameters())[-2:]
    weights[-sum(p.numel() for p in last) :] *= factor

    def loss(own: Tensor) -> Tensor:
        nets = {"D": players["D"].network.bound(weights, {}), "G": players["G"].network.bound(own, {})}
        return players["G"].loss(nets, draw, run.state.scalars)[0]

    return torch.func.grad(loss)(run.state.params["G"])


def test_a_step_of_G_does_not_follow_how_steep_its_loss_is():
    torch.testing.assert_close(first_gradient(1.0), first_gradient(10.0), rtol=1e-10, atol=1e-13)


def test_members_of_an_ensemble_have_means_of_their_own():
    _, together, _ = stepped({**RAW, "critic": {"generator_gradient": {"norm": [0.5, 2.0], "decay": DECAY}}})
    for i, norm in enumerate((0.5, 2.0)):
        _, alone, _ = stepped({**RAW, "critic": {"generator_gradient": {"norm": norm, "decay": DECAY}}})
        torch.testing.assert_close(together.params["G"][i], alone.params["G"], rtol=0, atol=1e-10)
        torch.testing.assert_close(together.scalars["received/square"][i], alone.scalars["received/square"])


def test_spectral_norm_keeps_its_vectors_and_batch_norm_is_refused():
    _, state, _ = stepped({**RAW, "critic": {**CRITIC, "normalization": "spectral_normalized"}})
    assert all(b.isfinite().all() for b in state.buffers["D"].values())
    normed = {"name": "numerics_dcgan", "width": 2, "latent": 4, "layers": 3}
    with pytest.raises(UsageError, match="batch norm"):
        build(parse({**RAW, "data": "digits", "networks": normed, "critic": CRITIC}))


def test_in_an_own_loop_the_gradient_is_scaled_and_nothing_else():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = scaled_gradient(x, 0.25)
    assert torch.equal(y, x)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 0.25 * 2 * x.detach())


def test_the_size_of_a_gradient_does_not_depend_on_the_batch():
    x = torch.randn(4, 3, dtype=torch.float64)
    for rows in (x, torch.cat([x, x, x])):
        leaf = rows.clone().requires_grad_()
        (g,) = torch.autograd.grad((leaf**2).sum(1).mean(), leaf)
        assert gradient_size(g).item() == pytest.approx(2 * x.square().sum(1).mean().sqrt().item())
