"""Progress in a notebook: what a kernel is sent, and that no other program is sent anything."""

import io
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from steadygan import progress
from steadygan.runs.sinks.console import console_sink
from steadygan.training.events import Progress


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """The HTML that a kernel's display shows, in turn; the clock goes on by a second at each look."""
    IPython = pytest.importorskip("IPython")
    from IPython import display as shown

    found: list[str] = []

    def display(html, display_id):
        found.append(html.data)
        return SimpleNamespace(update=lambda other: found.append(other.data))

    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(shown, "display", display)
    seconds = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    progress.in_notebook.cache_clear()
    yield found
    progress.in_notebook.cache_clear()


def test_a_kernel_is_sent_one_bar_that_grows_and_goes(sent):
    for done in (0, 20, 40, 60):
        progress.report("a < b", done, 60, "rows")
    first, second, last = sent
    assert first == 'a &lt; b <progress value="20" max="60"></progress> 20/60 20 rows/s, 0:00:02 left'
    assert 'value="40"' in second
    assert last == ""


def test_training_has_a_bar_in_a_notebook_and_a_quiet_run_has_none(sent):
    for quiet, bars in ((False, 3), (True, 0)):
        sent.clear()
        console = Console(file=io.StringIO(), quiet=quiet)
        with console_sink(console, steps=40, first=0, images_per_step=8) as sink:
            for step in (10, 20, 30, 40):
                sink(Progress(step, 0.0, {}))
        assert len(sent) == bars
        assert not bars or sent[-1] == ""


def test_a_program_that_is_no_kernel_shows_nothing(sent, monkeypatch):
    """IPython in a terminal has a shell without a kernel."""
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace())
    for done in range(5):
        progress.report("rows", done, 9, "rows")
    assert not sent
