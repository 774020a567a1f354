"""Progress bars: what is shown of a loop, when, and that nothing is where nobody can see it."""

import io
import re
import time

import pytest
import torch
from rich.console import Console

from steadygan import progress
from steadygan.cli import bars
from steadygan.metrics import distances, evaluation, feature_scores
from steadygan.metrics.extractors import registry
from steadygan.theory import statements


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The seconds that have passed: a list of one number."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def text(console: Console) -> str:
    return console.file.getvalue()


def test_a_loop_of_seconds_shows_its_speed_and_the_time_left(clock):
    console = terminal()
    with bars.bars(console):
        for done in range(100, 1100, 100):
            progress.report("generated images", done, 1000)
            clock[0] += 0.5
    # At the third report 1 s has passed and 300 are done: 200 since the first, and 700 are left for 3.5 s.
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text(console))
    assert re.search("generated images .* 300/1,000 200 images/s, 0:00:04 left", plain)


def test_a_short_loop_and_one_that_is_done_at_once_show_nothing(clock):
    console = terminal()
    with bars.bars(console):
        for done in range(1, 11):
            progress.report("quick", done, 10)
            clock[0] += 0.05
        progress.report("at once", 5, 5)
    assert text(console) == ""


def test_nothing_is_shown_where_there_is_no_terminal(clock):
    for console in (
        Console(file=io.StringIO()),
        Console(file=io.StringIO(), force_terminal=True, quiet=True),
    ):
        with bars.bars(console):
            for done in range(10):
                progress.report("generated images", done, 1000)
                clock[0] += 1
        assert text(console) == ""


def test_a_loop_that_raises_leaves_no_bar(clock):
    console = terminal()

    def broken():
        with bars.bars(console):
            for done in range(3):
                progress.report("broken", done, 10)
                clock[0] += 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    console.print("after")
    assert text(console).endswith("after\n")
    progress.report("broken", 4, 10)  # nobody shows it any more


def test_what_takes_seconds_reports_to_its_end(monkeypatch):
    seen = []
    monkeypatch.setattr(statements, "STATEMENTS", statements.STATEMENTS[:2])
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    with progress.shown_by(lambda *told: seen.append(told)):
        statements.verify(0)
        evaluation.summarised(images, registry.extractor("pixels8", channels=1), batch=2)
    assert [told for told in seen if told[0] != "distances"] == [
        ("checked statements", 1, 2, "statements"),
        ("checked statements", 2, 2, "statements"),
        ("features of images", 0, 4, "images"),
        ("features of images", 2, 4, "images"),
        ("features of images", 4, 4, "images"),
    ]


def test_scores_report_what_takes_them_seconds(monkeypatch):
    """10,000 features of 1,280 numbers take some 40 s of distances after the last image was read."""
    seen = []
    g = torch.Generator().manual_seed(0)
    fake, real = feature_scores.Summary(3, blocks=10), feature_scores.Summary(3)
    for summary in (fake, real):
        summary.add(torch.randn(30, 3, generator=g))
    monkeypatch.setattr(distances, "BLOCK", 600)
    with progress.shown_by(lambda *told: seen.append(told)):
        feature_scores.scores(fake, real)
    frechet = [("Fréchet distances", done, 10, "distances") for done in range(11)]
    blocks = [("distances", done, 30, "points") for done in (0, 20, 30)]
    assert seen == frechet + 3 * blocks  # reals among themselves, fakes among themselves, fakes to reals
