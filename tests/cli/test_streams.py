"""Output that nobody reads, and names that it cannot encode: a command goes on to its end."""

import io
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

import small
from steadygan.cli.streams import unbroken
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
