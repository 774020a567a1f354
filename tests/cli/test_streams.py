"""Output that nobody reads, and names that it cannot encode or would obey: a command goes on to its end."""

import io
import os
import pty
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from rich.table import Table

import small
from steadygan.cli import app
from steadygan.cli.bars import Bars
from steadygan.cli.streams import Screen, unbroken
from steadygan.training.checkpoint import checkpoints

RING = {**small.RING, "every": {"log": 1, "score": 2, "checkpoint": 2}}


def test_text_arrives_as_it_was_written():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as file:
        stream = unbroken(file)
        stream.write("ünï\n")
        stream.flush()
    with os.fdopen(reader, "rb") as file:
        assert file.read() == rb"\xfcn\xef" + b"\n"


def test_what_nobody_reads_is_discarded():
    """POSIX: a write to a pipe without a reader fails with EPIPE if SIGPIPE is ignored, as Python does."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        stream = unbroken(file)
        for _ in range(3):
            stream.write("lost\n" * 10_000)
            stream.flush()


def test_a_terminal_that_is_closed_is_no_error():
    """Linux: a write to it fails with EIO, as after `steadygan train & disown; exit`."""
    mine, other = pty.openpty()
    os.close(mine)
    with os.fdopen(other, "w") as file:
        stream = unbroken(file)
        stream.write("lost")
        stream.flush()


def test_a_pipe_that_does_not_wait_is_waited_for():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with ThreadPoolExecutor(1) as other, os.fdopen(reader, "rb") as file:
        read = other.submit(file.read)
        with os.fdopen(writer, "w") as pipe:
            stream = unbroken(pipe)
            stream.write("a" * 1_000_000)
            stream.flush()
        assert read.result() == b"a" * 1_000_000


def test_a_stream_in_memory_stays_as_it_is():
    stream = io.StringIO()
    assert unbroken(stream) is stream


# Colour, a bell, a line end, a title of the terminal, an erased line, the direction of writing, a tag, a byte, markup.
ODD = "r\x1b[31med\x07\n\x1b]0;t\x1b\\\x9b2K\u202e\U000e0041\udcff[/x]:smile:"
SHOWN = r"r\x1b[31med\x07\n\x1b]0;t\x1b" + "\\" + r"\x9b2K\u202e\U000e0041\udcff[/x]:smile:"


def plain(printed: str) -> str:
    """What is printed without rich's own colours: it resets each that it sets."""
    return re.sub("\x1b\\[[0-9;]*m", "", printed)


@contextmanager
def terminal() -> Iterator[io.StringIO]:
    """What rich takes for a terminal with colours, in place of both outputs."""
    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
    with pytest.MonkeyPatch.context() as patched, io.StringIO() as file:
        for name, value in colours.items():
            patched.setenv(name, value)
        with redirect_stdout(file), redirect_stderr(file):
            yield file


@pytest.mark.parametrize("stderr", [False, True])
def test_a_terminal_is_told_nothing_by_a_name(stderr):
    """The name stands there as it can be typed in; colours are those that were asked for."""
    with terminal() as file:
        Screen(stderr=stderr).print(f"done: {ODD}", style="yellow", soft_wrap=True, highlight=False)
        assert file.getvalue() == f"\x1b[33mdone: {SHOWN}\x1b[0m\n"


def assert_shown(printed: str, times: int) -> None:
    text = plain(printed)
    assert text.count("r\\x1b[31med\\x07") == text.count("\\u202e") == times
    assert all(c.isprintable() for c in text.replace("\n", ""))


def test_nor_by_one_in_a_table():
    table = Table(title=ODD, title_justify="left")
    table.add_column(ODD)
    table.add_row(ODD)
    with terminal() as file:
        Screen().print(table)
        assert_shown(file.getvalue(), 3)


def test_nor_by_one_in_a_bar():
    with terminal() as file:
        bar = Bars(Screen())
        bar.draw(ODD, 1, 2, ODD)
        bar.live.stop()
        assert set(re.findall("r.*?smile:", file.getvalue())) == {SHOWN}


def test_nor_by_a_note_or_a_traceback(monkeypatch):
    """The command line's own ways: warnings become notes, and mistakes of ours tracebacks."""

    def fails(**options: object) -> None:
        print(warnings.formatwarning(f"odd {ODD}", UserWarning, "", 1), end="")
        raise RuntimeError(f"broken {ODD}")

    monkeypatch.setattr(app, "app", fails)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with terminal() as file:
        with pytest.raises(RuntimeError) as caught:
            app.main()
        sys.excepthook(caught.type, caught.value, caught.tb)
        assert "in fails" in file.getvalue()
        assert_shown(file.getvalue(), 2)


@pytest.mark.slow
def test_commands_show_a_run_folder_of_an_odd_name(command, tmp_path, monkeypatch):
    """Errors, notes, tables, results and the report, of a folder that can be made."""
    monkeypatch.chdir(tmp_path)
    name = ODD.replace("/", "")
    Path("ring.yaml").write_text(yaml.safe_dump(RING))
    (Path(name) / "not a run").mkdir(parents=True)
    shown = SHOWN.replace("/", "")
    done = command("train", "ring.yaml", "--out", f"{name}/run")
    assert f"done in 0 s: {shown}/run" in re.sub("in [0-9]+ s", "in 0 s", done.out)
    for words in (
        ("sample", f"{name}/run", "--out", f"{name}/run/{name}.png"),
        ("diagnose", f"{name}/run"),
        ("evaluate", f"{name}/run"),
        ("report", f"{name}/run", "--out", f"{name}/x.html"),
        ("runs", name),
        ("resume", name),
        ("evaluate", "--images", name),
    ):
        done = command(*words)
        assert all(c.isprintable() for c in (done.out + done.err).replace("\n", "")), words
    os.rename(f"{name}/run", f"{name}/{name}")
    assert command("report", f"{name}/{name}", "--out", f"{name}/x.html").code == 0
    page = Path(name, "x.html").read_text()
    assert all(c.isprintable() for c in page.replace("\n", ""))
    assert f"<title>steadygan: {shown}</title>" in page
    events = Path(name, name, "events.jsonl").read_text()
    assert all(c.isprintable() for c in events.replace("\n", ""))


@pytest.mark.slow
def test_a_run_whose_reader_leaves_trains_to_its_end(tmp_path):
    """As in `steadygan train ... | head -n 1`, with the notes in the same pipe."""
    (tmp_path / "ring.yaml").write_text(yaml.safe_dump(RING))
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "steadygan", "train", "ring.yaml", "--out", "run"]
    done = subprocess.run(words, cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-00000006"


@pytest.mark.slow
def test_help_without_a_reader_is_no_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "steadygan", "train", "--help"], stdout=writer)
    os.close(writer)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path):
    (tmp_path / "ring.yaml").write_text(yaml.safe_dump(RING))
    words = [sys.executable, "-m", "steadygan", "train", "ring.yaml", "--out", "ünï ☃ \udcff"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\xfcn\xef \u2603 \udcff" in done.stdout
