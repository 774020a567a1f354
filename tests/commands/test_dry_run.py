"""What a dry run says of many processes, against figures worked by hand."""

import io
import re

import pytest
from rich.console import Console

from steadygan.commands import dry_run
from steadygan.commands.dry_run import Processes
from steadygan.config import parse

G, D, NUMBER = 8642, 8577, 4
"""Parameters of FARGAN's synthetic networks (its Tables 3 and 4), and bytes of a float32."""


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
    # Two sums, two rounds each way.
    talk = 1.5 * NUMBER * (G + D + 3 + 1) / 1e6 + 2 * 2 * 2 * dry_run.LATENCY
    percent, one, work, other = map(
        float,
        re.search(r"efficiency: (\d+)%.* ([\d.]+) ms on one.* ([\d.]+) ms \+ ([\d.]+) ms", out).groups(),
    )
    assert one == pytest.approx(1e3 * alone, abs=0.1)
    assert work == pytest.approx(1e3 * alone / 4, abs=0.1)
    assert other == pytest.approx(1e3 * talk, abs=0.1)
    assert percent == pytest.approx(100 * alone / (4 * (alone / 4 + talk)), abs=1)


def test_members_of_an_ensemble_need_no_messages():
    out = said(Processes(2, 1e6, 1e9), seeds=4)
    assert "# each of 2 processes: 2 of 4 members" in out
    assert "# on the wire: nothing" in out
    assert "efficiency: 100%" in out


def test_a_batch_that_does_not_divide_is_as_slow_as_the_largest_share():
    """64 rows on 3 processes: one of them has 22."""
    out = said(Processes(3, 1e15, 1e6))
    assert "efficiency: 97%" in out  # 64 / (3 x 22)
