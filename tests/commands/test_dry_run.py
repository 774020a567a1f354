"""What a dry run says of memory and of many processes, against torch's allocator and figures worked by hand."""

import io
import re

import pytest
from rich.console import Console
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_map

from steadygan.build import build
from steadygan.commands import dry_run
from steadygan.commands.dry_run import Processes
from steadygan.commands.step_cost import device_bytes, state_bytes, step_cost
from steadygan.config import parse
from steadygan.game.state import member
from steadygan.recipes.catalogue import find_recipe

G, D, NUMBER = 8642, 8577, 4
"""Parameters of FARGAN's synthetic networks (its Tables 3 and 4), and bytes of a float32."""


def run(name, **given):
    return build(parse({"name": name, **find_recipe(name)[1], **given}))


def allocated(work) -> int:
    """The most bytes that torch's allocator had handed out at once since the work began."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    del kept
    return most


@pytest.mark.parametrize(
    "name", ["ring8-fargan", "ring8-consensus", "ring8-sn", "grid25-reg-gan", "digits-fargan"]
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_peak_of_a_step_is_what_the_allocator_hands_out(name, precision):
    """The processor's kernels may need space of their own, of which nobody can know."""
    made = run(name, precision=precision)
    one = 0 if made.ensemble else None
    state, draws = member(made.state, one), made.draws(0)
    draws = tree_map(lambda leaf: leaf[0], draws) if made.ensemble else draws
    peak = step_cost(made).peak
    assert peak <= allocated(lambda: made.step(state, draws)) <= 1.25 * peak


def test_a_state_is_parameters_two_moments_and_the_average_of_g():
    """Adam has two moments and a count of each player. The step and no other number is a scalar of 8 bytes."""
    found = state_bytes(run("ring8-fargan").state)
    assert found == {
        "parameters": NUMBER * (G + D),
        "moments": NUMBER * (2 * (G + D) + 2),
        "averages": NUMBER * G,
        "buffers": 8,
    }


@pytest.mark.parametrize("name", ["ring8-fargan", "digits-gn", "ring8-consensus"])
@pytest.mark.parametrize("processes", [2, 4])
def test_the_memory_of_a_process_bounds_that_of_a_run_with_its_rows(name, processes):
    """A run whose batch is the share of one process needs at most what is said, and not much less."""
    whole = run(name, batch=64, accumulate=1, fake_as_real={"count": 0})
    alone = run(name, batch=64 // processes, accumulate=1, fake_as_real={"count": 0})
    said = device_bytes(whole, step_cost(whole).peak, processes)
    needed = device_bytes(alone, step_cost(alone).peak)
    assert needed <= said <= 1.6 * needed


def test_members_on_processes_of_their_own_need_what_one_needs():
    three, one = run("ring8-fargan", seeds=3), run("ring8-fargan")
    assert device_bytes(three, step_cost(three).peak) == 3 * device_bytes(one, step_cost(one).peak)
    assert device_bytes(three, step_cost(three).peak, 3) == device_bytes(one, step_cost(one).peak)


def said(processes, **given) -> str:
    raw = {
        "data": "ring8",
        "networks": {"name": "mlp"},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "batch": 64,
        "steps": 2,
        **given,
    }
    out = io.StringIO()
    dry_run.dry_run(parse({"name": "points", **raw}), Console(file=out, width=500), processes=processes)
    return out.getvalue()


def test_efficiency_is_worked_from_operations_and_bytes():
    """4 processes at 1 GFLOP/s and 1 MB/s: a quarter of the work each, and 1.5 times the gradients' bytes."""
    out = said(Processes(4, 1e6, 1e9))
    alone = float(re.search(r"# a step: ([\d.]+) MFLOP", out)[1]) * 1e6 / 1e9
    logs = 1.5 * NUMBER * 7  # a few numbers more
    talk = 1.5 * NUMBER * (G + D) / 1e6 + (2 + 2) * 2 * 2 * dry_run.LATENCY
    percent, one, work, other = map(
        float,
        re.search(r"efficiency: (\d+)%.* ([\d.]+) ms on one.* ([\d.]+) ms \+ ([\d.]+) ms", out).groups(),
    )
    assert one == pytest.approx(1e3 * alone, abs=0.1)
    assert work == pytest.approx(1e3 * alone / 4, abs=0.1)
    assert other == pytest.approx(1e3 * talk, abs=0.1 + logs / 1e6)
    assert percent == pytest.approx(100 * alone / (4 * (alone / 4 + talk)), abs=1)


def test_members_of_an_ensemble_need_no_messages():
    out = said(Processes(2, 1e6, 1e9), seeds=4)
    assert "# each of 2 processes: 100.0% of the rows of 2 of 4 members" in out
    assert "# on the wire: nothing" in out
    assert "efficiency: 100%" in out


def test_a_batch_that_does_not_divide_is_as_slow_as_the_largest_share():
    """64 rows on 3 processes: one of them has 22."""
    out = said(Processes(3, 1e15, 1e6))
    assert "34.4% of the rows" in out
    assert "efficiency: 97%" in out  # 64 / (3 x 22)
