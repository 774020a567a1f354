"""The rows of a sweep: from the events of its runs, for single runs and for the members of an ensemble."""

import json

import pytest

from steadygan.errors import UsageError
from steadygan.runs.sweeps.record import Row, Sweep, keep, ranked, read, rows, rows_of

LINES = [
    {"step": 5, "wall_s": 1.0, "fd_lite0": [4.0, 3.0, 9.0, 9.0, None, 9.0]},
    {"step": 7, "diverged": [4], "good_step": 5},
    {"step": 8, "diverged": [2, 3], "good_step": 5},
    {"step": 10, "wall_s": 2.5, "fd_lite0": [2.0, 1.0, None, None, None, 7.0]},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run-000").mkdir()
    (tmp_path / "run-000" / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


def test_a_point_of_an_ensemble_has_the_mean_of_its_members_that_are_left(folder):
    points = [{"optimizer.lr": lr} for lr in (1e-3, 1.0, 1e-2)]  # two seeds each
    found = rows_of(folder, Sweep("it", "fd_lite0", points, [{}]), 0, "done")
    assert found == [
        Row("run-000", [0, 1], points[0], 1.5, "done", 10, 2.5),
        Row("run-000", [2, 3], points[1], None, "diverged", 10, 2.5),
        Row("run-000", [4, 5], points[2], 7.0, "done", 10, 2.5),
    ]


def test_a_failed_run_has_no_score_whatever_it_had_before(folder):
    found = rows_of(
        folder, Sweep("it", "fd_lite0", [{"batch": 8}, {"batch": 9}], [{}, {}]), 0, "failed: disk"
    )
    assert [(row.score, row.state, row.point) for row in found] == [(None, "failed: disk", {"batch": 8})]


def test_a_run_that_wrote_nothing_is_a_row(tmp_path):
    found = rows_of(
        tmp_path, Sweep("it", "fd_lite0", [{"batch": 8}, {"batch": 9}], [{}, {}]), 1, "failed: data"
    )
    assert found == [Row("run-001", [], {"batch": 9}, None, "failed: data", 0, 0.0)]


@pytest.mark.parametrize(
    ("by", "order"), [("fd_lite0", [1.0, 2.0, None]), ("recall_lite0", [2.0, 1.0, None])]
)
def test_the_best_is_first_by_the_direction_of_the_score(by, order):
    found = [Row("", [], {}, score, "done", 1, 1.0) for score in (None, 2.0, 1.0)]
    assert [row.score for row in ranked(found, by)] == order


def test_rows_are_read_as_they_were_kept(tmp_path):
    found = [
        Row("run-001", [], {"data": {"name": "ring8"}}, 2.0, "done", 4, 1.0),
        Row("run-000", [], {"data": {"name": "grid25"}}, None, "failed: a, b", 0, 0.0),
    ]
    keep(tmp_path, "fd_lite0", found[::-1])
    assert rows(tmp_path) == found
    assert rows(tmp_path / "elsewhere") == []
    assert (tmp_path / "table.csv").read_text().splitlines() == [
        "run,members,data,fd_lite0,state,step,seconds",
        "run-001,,{name: ring8},2.0,done,4,1.0",
        'run-000,,{name: grid25},,"failed: a, b",0,0.0',
    ]


def test_a_line_on_divergence_without_members_is_passed_over(folder):
    with (folder / "run-000" / "events.jsonl").open("a") as file:
        file.write(
            "".join(json.dumps({"step": 10, "diverged": odd}) + "\n" for odd in (None, 3, True, [0.5]))
        )
    points = [{"optimizer.lr": lr} for lr in (1e-3, 1.0, 1e-2)]
    found = rows_of(folder, Sweep("it", "fd_lite0", points, [{}]), 0, "done")
    assert [row.score for row in found] == [1.5, None, 7.0]


@pytest.mark.parametrize(
    ("points", "runs"), [([], [{}]), ([{}], []), ([{}], [{}, {}]), ([None], [{}]), ("a", [{}])]
)
def test_a_sweep_with_other_runs_than_points_is_damaged(points, runs, tmp_path):
    raw = {"format": 1, "recipe": "it", "by": "fd_lite0", "points": points, "runs": runs}
    (tmp_path / "sweep.json").write_text(json.dumps(raw))
    with pytest.raises(UsageError, match=r"sweep.json is damaged.*start a new sweep"):
        read(tmp_path)
