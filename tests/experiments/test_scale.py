"""Recipes on many GPUs, on paper: the page shows the figures, and the figures are those of the code as it is."""

import json

import pytest

from experiments import records
from experiments.scale import run

FIGURES = records.read(run.FIGURES)


def test_the_page_shows_the_figures_that_were_counted():
    text = run.PAGE.read_text()
    assert run.page(FIGURES, text) == text
    assert all(f"<!-- {name} -->" in text for name in run.RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", run.RECIPES)
def test_figures_are_counted_anew(name):
    found = run.counted(name, {})
    assert records_of(found) == FIGURES[f"{name} 64"]


def records_of(found):
    """The record as a file gives it back: tuples are lists."""
    return json.loads(json.dumps(found))


def test_a_row_is_worked_by_hand(monkeypatch):
    """At 30 and 40 % of 10 FLOP/s, 24 FLOPs take 8 and 6 s. A quarter of that, and 1.5 x 80 bytes at 60 a second."""
    one = {"flops": 24, "state": 2**29, "batch": 0, "peak": 2**30, "messages": []}
    mine = {**one, "flops": 6, "peak": 2**29, "messages": [[40.0, 2]]}
    figure = {"batch": 4, "steps": 3600, "steps_of": {"1": one, "4": mine}}
    monkeypatch.setattr(run, "PEAK", 10.0)
    monkeypatch.setattr(run, "LATENCY", 0.0)
    monkeypatch.setattr(run, "CLUSTERS", [run.Cluster(4, 60.0, "wire")])
    (row,) = run.rows(figure)
    seconds = "1,500.0 to 2,000.0"
    assert row == f"| 4 | 4 | wire | 1.0 | 0 | {seconds} | 2000.0 | 43% to 50% | 3.5 to 4.0 |"
