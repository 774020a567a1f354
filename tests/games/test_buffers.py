"""Buffers of critics that are differentiated several times, and buffers that two layers share."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.build import Own, Run, build
from steadygan.config import parse
from steadygan.game import Network, State, flatten
from steadygan.game.contracts import carried
from steadygan.training.sampling import samples

BASE: dict[str, Any] = {
    "data": "ring8",
    "networks": {"name": "own", "latent": 4},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "batch": 8,
    "steps": 4,
    "precision": "float64",
}


class Scaled(nn.Module):
    """A critic whose input is scaled by 2, which is a buffer or a plain number."""

    def __init__(self, as_buffer: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
        if as_buffer:
            self.register_buffer("scale", torch.tensor(2.0))
        else:
            self.scale = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.scale * x)


def run_of(as_buffer: bool, **options: Any) -> Run:
    def networks(shape: tuple[int, ...]) -> dict[str, nn.Module]:
        return {"G": nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), "D": Scaled(as_buffer)}

    return build(parse({**BASE, **options}), Own(networks=networks))


def after(run: Run, steps: int = 3) -> State:
    step = torch.vmap(run.step) if run.ensemble else run.step
    state = run.state
    for number in range(steps):
        state, _ = step(state, run.draws(number))
    return state


TWICE: dict[str, dict[str, Any]] = {
    "GN and R1": {"critic": {"normalization": "gradient_normalized", "penalties": ["r1"]}},
    "PGN and R1": {"critic": {"normalization": "penalty_gradient_normalized", "penalties": ["r1"]}},
    "GN and a normalized gradient of G": {
        "critic": {"normalization": "gradient_normalized", "generator_gradient": {}}
    },
    "GN, features and a normalized gradient of G": {
        "critic": {
            "normalization": "gradient_normalized",
            "generator_gradient": {},
            "feature_matching": {},
        }
    },
}


@pytest.mark.parametrize("how", [{"seeds": 2}, {"dynamics": "consensus"}], ids=["ensemble", "consensus"])
@pytest.mark.parametrize("name", TWICE)
def test_a_constant_buffer_changes_nothing(name, how):
    """After two nested derivatives its wrappers were of two levels that had ended, and torch ended the run."""
    buffered, plain = (after(run_of(each, **TWICE[name], **how)) for each in (True, False))
    for player, vector in plain.params.items():
        torch.testing.assert_close(buffered.params[player], vector, rtol=1e-12, atol=1e-14)
        assert vector.isfinite().all()
    assert buffered.buffers["D"]["scale"].eq(2).all()


@pytest.mark.parametrize("name", TWICE)
def test_members_with_random_layers_are_the_single_runs(name):
    options = {
        **TWICE[name],
        "networks": {"name": "mlp", "width": 8, "depth": 2},
        "noise": {"D": 0.1},
    }
    both = after(build(parse({**BASE, **options, "seeds": 2})))
    for index in range(2):
        single = after(build(parse({**BASE, **options, "seed": index})))
        for player, vector in single.params.items():
            torch.testing.assert_close(both.params[player][index], vector, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------------------------- shared buffers


def twins() -> nn.Sequential:
    """Two batch norms with one pair of running statistics, and one kernel in two places."""
    net = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[3].running_mean, net[3].running_var = net[1].running_mean, net[1].running_var
    return net


def test_a_network_with_a_shared_buffer_is_a_function_of_its_state():
    net = twins()
    before = net[1].running_mean.clone()
    state = {name: t.clone() for name, t in carried(net).items()}
    found = {name: t.clone() for name, t in state.items()}
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    Network(net)(flatten(net), found, x)
    assert torch.equal(net[1].running_mean, before)
    assert torch.equal(net[3].running_mean, before)
    plain = twins()
    plain.load_state_dict(net.state_dict())
    plain(x)  # the module itself moves the one pair twice
    torch.testing.assert_close(found["1.running_mean"], plain[3].running_mean)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_with_a_shared_buffer_trains_and_samples(seeds):
    class Blurred(nn.Module):
        def __init__(self, kernel: Tensor) -> None:
            super().__init__()
            self.register_buffer("kernel", kernel)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.kernel

    def networks(shape: tuple[int, ...]) -> dict[str, nn.Module]:
        kernel = torch.eye(2)
        D = nn.Sequential(Blurred(kernel), nn.Linear(2, 2), nn.Tanh(), Blurred(kernel), nn.Linear(2, 1))
        return {"G": twins(), "D": D}

    run = build(parse({**BASE, "seeds": seeds, "ema": {"decay": 0.9}}), Own(networks=networks))
    state = after(run)
    one = torch.utils._pytree.tree_map(lambda t: t[0], state) if run.ensemble else state
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert samples(run.game.players["G"].network, one, z, seed=0).isfinite().all()
