"""A step on a device: nothing of it lives on the host, and nothing waits for the host.

The device is torch's `meta`, which has shapes and no numbers: reading a number from it raises, and so does an operation
whose shape depends on numbers. A tensor of the host in an operation of the step is found by watching all operations. On
a GPU torch's own check does the same for real.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from steadygan import config
from steadygan.build import Run, build
from steadygan.config import registry
from steadygan.game import Draws
from steadygan.recipes.catalogue import find_recipe
from steadygan.training.checkpoint import tensors
from steadygan.training.compile.compiled_step import vectorised

SCHEDULE = "{schedule: linear, start: 0.01, stop: 0, over: 10}"
CASES = {
    **{f"{data}-{name}": [] for data in ("ring8",) for name in ("alternating", "simultaneous", "consensus")},
    **{
        f"ring8-{name}": []
        for name in ("smoothing", "extragradient", "optimistic", "symplectic", "lookahead")
    },
    **{
        f"digits-{name}": []
        for name in ("began", "ebgan-pt", "infogan", "mdgan", "reg-gan", "conditional-gn")
    },
    **{
        f"digits-{name}": [] for name in ("ada", "diffaugment", "bcr", "zcr", "instance-noise", "layer-noise")
    },
    **{f"digits-{name}": [] for name in ("dragan", "max-gradient", "sn", "pgn", "wgan", "wgan-lp", "r3gan")},
    **{name: [] for name in ("ring8-conditional", "dirac-r1", "quadratic-consensus", "bilinear-optimistic")},
    "ring8-fargan-paper": [f"optimizer.lr={SCHEDULE}", "optimizer.name=rmsprop"],
    "digits-fargan": ["accumulate=2", f"optimizer.lr={SCHEDULE}", "fake_as_real.count=4"],
    "digits-0gp": ["seeds=2", "critic.penalties.0.interval=2", "ema={decay: 0.99, start: 1}"],
    "grid25-conditional": ["seeds=2", "optimizer.lr=[0.001,0.002]"],
    "ring8-gn": ["optimizer.name=adamw", "seeds=2"],
    "digits-r3gan": ["optimizer.name=muon", "seeds=2"],
    "digits-wgan-gp": ["networks={name: far_resnet, width: 8}", "channels_last=true"],
    "grid25-fargan": [f"optimizer.lr={SCHEDULE}", f"ema.decay={SCHEDULE}"],
}
"""Recipes with what they do not have: schedules, several members, lazy penalties, gradient accumulation, flips."""


def made(name: str, changes: list[str], device: str = "cpu") -> Run:
    raw: dict[str, Any] = find_recipe(name)[1]
    return build(config.parse(config.override(raw, [*changes, "compile=false", f"device={device}"])))


def drawn_on(run: Run, device: str) -> Draws:
    seeds = [int(member["seed"]) for member in run.members]
    draws = run.draws
    return Draws(
        run.game, run.rule.rounds, run.data, seeds, members=run.ensemble, dtype=draws.dtype, device=device
    )


class OnTheHost(TorchDispatchMode):
    """The names of the operations that read or make a tensor of the host.

    With `numbers`, a number may be one, but not be moved: vmap makes such tensors of plain numbers, which an operation
    of a GPU takes as they are.
    """

    def __init__(self, *, numbers: bool = False) -> None:
        super().__init__()
        self.found: list[str] = []
        self.numbers = numbers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        every = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        here = [t for t in every if t.device.type == "cpu"]
        moved = 0 < len(here) < len(every) and "copy" in str(func)
        if moved or any(t.ndim or not self.numbers for t in here):
            self.found.append(str(func))
        return out


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_a_step_is_on_the_host(name):
    run = made(name, CASES[name])
    step = vectorised(run.step) if run.ensemble else run.step
    draws, state = drawn_on(run, "meta"), tree_map(lambda t: t.to("meta"), run.state)
    for number in (0, 1):
        with OnTheHost() as drawing:
            batch = draws(number)
        with OnTheHost(numbers=run.ensemble) as stepping:
            state, logs = step(state, batch)
        assert drawing.found == stepping.found == []
        assert {t.device.type for t in tree_leaves((batch, state, logs))} <= {"meta"}


def test_the_cases_have_every_game_rule_optimizer_and_penalty():
    said = str([config.override(find_recipe(name)[1], changes) for name, changes in CASES.items()])
    for table in (registry.GAMES, registry.DYNAMICS, registry.OPTIMIZERS):
        assert [key for key in table if key not in ("gan", "alternating") and f"'{key}'" not in said] == []


def test_a_number_that_is_read_or_left_on_the_host_is_seen():
    """What the test above rests on."""
    x = torch.ones(3, device="meta")
    for read in (lambda: x.sum().item(), lambda: x[x > 0], lambda: x.cpu(), lambda: bool(x.sum() > 0)):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read()
    for mixed in (lambda: x * torch.tensor(2.0), lambda: torch.where(x > 0, torch.as_tensor(0.9), 0.0)):
        with OnTheHost() as watch:
            mixed()
        assert watch.found
    for moved in (lambda: torch.tensor(2.0).to(x), lambda: x.clone().copy_(torch.tensor(1.0))):
        with OnTheHost(numbers=True) as watch:
            moved()
        assert watch.found
    with OnTheHost() as watch:
        (2.0 * x).clamp(max=1).where(x > 0, 0)
    assert watch.found == []


@contextmanager
def no_synchronization() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_no_step_on_a_gpu_waits_for_it(name, resident, monkeypatch):
    if not resident:
        monkeypatch.setattr("steadygan.game.ahead._free", lambda device: 0)
    run = made(name, CASES[name])
    step = vectorised(run.step) if run.ensemble else run.step
    draws, state = drawn_on(run, "cuda"), tree_map(lambda t: t.cuda(), run.state)
    state, _ = step(state, draws(0))  # libraries are loaded at first use
    with no_synchronization():
        for number in range(1, 140):
            state, _ = step(state, draws(number))
    here, there = run.draws(139), draws(139)
    for a, b in zip(tree_leaves(here), tree_leaves(there), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CASES)
def test_steps_on_a_gpu_are_those_of_a_cpu(name):
    """In float64 rounding is far below what a wrong number, a wrong draw or a lost update would change."""
    runs = [made(name, [*CASES[name], "precision=float64"], device) for device in ("cpu", "cuda")]
    ends = []
    for run in runs:
        step, state = vectorised(run.step) if run.ensemble else run.step, run.state
        for number in range(3):
            state, _ = step(state, run.draws(number))
        ends.append({path: t.cpu().double() for path, t in tensors(state).items()})
    before = tensors(runs[0].state)
    for path, a in ends[0].items():
        moved = (a - before[path].double()).norm() if path in before else 0
        assert (ends[1][path] - a).norm() <= 1e-6 * moved + 1e-12, path
