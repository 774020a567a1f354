"""What compiling is expected to save: the seconds of an uncompiled run, from a few of its steps."""

from types import SimpleNamespace

import pytest
import torch

from steadygan.training.compile import compile_cost


@pytest.mark.parametrize(("seconds", "steps"), [([0.2, 0.1, 0.3], 3), ([1.5], 1), ([0.4, 0.7], 2)])
def test_a_run_takes_its_quickest_step_times_its_steps(seconds, steps, monkeypatch):
    ticks = iter([at for s in seconds for at in (0.0, s)])
    monkeypatch.setattr(compile_cost, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(compile_cost, "_dispatch_seconds", lambda: 1e-6)
    calls = []

    def step(state, batch):
        calls.append(state)
        return state, {"finite": torch.zeros(2).neg()}

    found = compile_cost.estimate(step, None, [], steps=50)
    assert found.uncompiled == pytest.approx(50 * min(seconds))
    assert len(calls) == 1 + steps  # the first one counts operations
    assert found.compiling >= compile_cost.PER_OPERATION * 1e-6
