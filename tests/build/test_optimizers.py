"""What `build` tells an optimizer of a player: the shapes of the parameters that training changes."""

import pytest
import torch
from torch import nn

from steadygan import config
from steadygan.build import Run, build
from steadygan.game.contracts import unflatten
from steadygan.game.vector_field import field

DCGAN = {
    "data": "digits",
    "networks": {"name": "dcgan", "width": 4, "latent": 8, "batch_norm": True},
    "dynamics": "simultaneous",
    "optimizer": {"name": "muon", "lr": 0.02, "weight_decay": 0.5},
    "precision": "float64",
    "compile": False,
    "device": "cpu",
    "batch": 8,
    "steps": 1,
}


def made(**changes) -> Run:
    return build(config.parse({**DCGAN, **changes}))


def matrices(module: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of linear layers and of convolutions, found by the kind of layer; not a critic's last, of one row."""
    layers = {name: layer for name, layer in module.named_modules() if hasattr(layer, "weight")}
    return {
        f"{name}.weight": layer.weight
        for name, layer in layers.items()
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.weight.shape[0] > 1
    }


@pytest.mark.parametrize("player", ["G", "D"])
@pytest.mark.parametrize("freeze", [{}, {"G": 1}])
def test_a_built_step_orthogonalizes_every_kernel_and_nothing_else(player, freeze, monkeypatch):
    # shapes in another order, of the other player, or of frozen layers too would take the vector apart elsewhere
    run = made(freeze=freeze)
    module = run.game.players[player].network.module
    batch = run.draws(0)
    gradients = field(run.game, tuple(run.game.players), run.state, batch[0])[0]
    g, before = unflatten(module, gradients[player]), unflatten(module, run.state.params[player])
    after = unflatten(module, run.step(run.state, batch)[0].params[player])
    hidden = {name for name in matrices(module) if name in before}
    assert set() < hidden < set(before)
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda t: t.clone())
    for name, start in before.items():
        flat = start.flatten(1) if name in hidden else start
        weight = nn.Parameter(flat.clone())
        weight.grad = g[name].view_as(flat)
        kind, lr = (torch.optim.Muon, 0.02) if name in hidden else (torch.optim.AdamW, 3e-4)
        kind([weight], lr=lr, weight_decay=0.5).step()
        torch.testing.assert_close(after[name], weight.detach().view_as(start), rtol=1e-9, atol=1e-9)


def test_players_may_have_optimizers_of_both_kinds():
    both = {"G": {"name": "adam", "lr": 0.001}, "D": {"name": "muon", "lr": 0.02}}
    run = made(optimizer=both)
    assert ("momentum" in run.state.moments["G"], "momentum" in run.state.moments["D"]) == (False, True)
    count = sum(weight.numel() for weight in matrices(run.game.players["D"].network.module).values())
    assert run.state.moments["D"]["momentum"].shape == (count,)
