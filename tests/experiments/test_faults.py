"""The program of trials: its damages, its moments, its judgement, and all of it in small."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.numpy import save

from experiments import records
from experiments.faults import __main__ as faults
from experiments.faults import damage, moments
from experiments.faults.commands import Ended, judged
from experiments.faults.kinds import KINDS
from experiments.faults.results import alike, result
from experiments.faults.trials import Kind, table
from experiments.pages import replaced
from paths import ROOT

CONTENT = bytes(range(256)) * 40


def test_a_flip_is_one_bit():
    for seed in range(50):
        found = damage.flip(CONTENT, Random(seed))
        assert sum((a ^ b).bit_count() for a, b in zip(CONTENT, found, strict=True)) == 1


def test_what_is_damaged_is_other_bytes():
    """A trial of a file that was not damaged would prove nothing."""
    alike = sum(damage.bytes_damaged("x", CONTENT, Random(seed)) == CONTENT for seed in range(300))
    assert alike < 10, "a block of zeros may fall on zeros, and a cut at the end"


def test_altered_json_differs_in_one_field():
    raw = {"a": 1, "b": {"c": [1, 2], "d": "x"}}
    seen = Counter()
    for seed in range(300):
        found = damage.altered(json.dumps(raw).encode(), Random(seed))
        try:
            tree = json.loads(found)
        except (ValueError, RecursionError):
            continue  # the value is none of JSON's
        seen.update([key for key in raw if tree.get(key) != raw[key]])
        assert sum(tree.get(key) != raw[key] for key in raw) <= 1
    assert set(seen) == {"a", "b"}


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (Ended(0, "done\n", "", 1.0), ""),
        (Ended(2, "", "note: x\nerror: no such run\n", 1.0), ""),
        (Ended(2, "", "usage\n", 1.0), "0 sentences"),
        (Ended(2, "", "error: a\nerror: b\n", 1.0), "2 sentences"),
        (Ended(-11, "", "", 1.0), "exit code -11"),
        (Ended(None, "", "", 99.0), "hangs"),
        (Ended(0, "", "", 11.0), "takes 11 s"),
        (Ended(1, "", "Traceback (most recent call last):\nKeyError: 3\n", 1.0), "traceback: KeyError"),
        (Ended(2, "", f"error: {'x' * 301}\n", 1.0), "a sentence of 301"),
    ],
)
def test_a_command_that_does_what_it_must_not_is_named(ended, says):
    found = judged(ended, length=300)
    assert found.startswith(says) if says else found == ""


def test_each_change_of_a_folder_is_a_moment(tmp_path):
    """In a fork, because an audit hook cannot be taken away."""
    counter, folder = moments.Counter(), tmp_path / "run"
    pid = os.fork()
    if not pid:
        try:
            moments.at(folder, 3, lambda: os._exit(3), counter)()
            (tmp_path / "elsewhere").write_text("is no change")
            folder.mkdir()
            (folder / "a").write_text("x")
            (folder / "a").read_text()
            (folder / "a").rename(folder / "b")
            (folder / "b").unlink()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert counter.value == 4
    assert (folder / "b").exists(), "the action comes before the change"


def test_a_run_has_begun_before_its_first_picture_and_after_it_has_tidied_up(tmp_path):
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / ".old.png.partial").write_text("left by a kill")
    pid = os.fork()
    if not pid:
        try:
            moments.begun(folder, lambda: os._exit(len(list(folder.rglob(".*")))))()
            (folder / ".config.yaml.partial").write_text("x")
            (folder / ".config.yaml.partial").rename(folder / "config.yaml")
            (folder / "samples" / ".old.png.partial").unlink()
            (folder / "samples" / ".new.png.partial").write_text("x")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_result_is_what_is_printed_or_written_and_how_it_ended(tmp_path):
    file = tmp_path / "made"
    said = result(Ended(0, "note: one is left out\nfid 3\n", "note: two\n", 1.0))
    assert said.notes == {"note: one is left out", "note: two"}
    assert said.made == result(Ended(0, "fid 3\n", "", 2.0)).made
    assert said.made != result(Ended(1, "fid 3\n", "", 1.0)).made
    assert said.made != result(Ended(0, "fid 4\n", "", 1.0)).made
    written = [result(Ended(0, "in 3 s", "", 1.0), file).made for text in "aba" if file.write_text(text)]
    assert written[0] == written[2] != written[1]


def npy(*values: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(values, np.uint8))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "before", "after", "believed"),
    [
        ("a.json", b'{"a": 1}', b'{"a": 2}', True),
        ("a.json", b'{"a": 1}', b'{"a": 1', False),
        ("a.json", b'{"a": 1}', b"[1]", False),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}\n', b'{"a": 1}\n{"a"', True),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}\n', b'{"a": 1\n{"a": 2}\n', False),
        ("a.npy", npy(1, 2), npy(1, 3), True),
        ("a.npy", npy(1, 2), npy(1, 2, 3), False),
        ("a.npy", npy(1, 2), npy(1, 2)[:-1], False),
        ("a.safetensors", save({"a": np.zeros(2)}), save({"a": np.ones(2)}), True),
        ("a.safetensors", save({"a": np.zeros(2)}), save({"b": np.zeros(2)}), False),
    ],
)
def test_a_damaged_file_is_believed_only_where_it_could_be_whole(name, before, after, believed, tmp_path):
    (tmp_path / name).write_bytes(after)
    assert alike(before, tmp_path / name) == believed


def test_a_kind_without_a_count_makes_all_there_are_at_once():
    kind = Kind("no traceback", 1, None, lambda chance, count, folder: iter(()))
    assert [kind.lacks({"scale": "full", "trials": trials}) for trials in (0, 354)] == [None, 0]
    assert [kind.lacks({"scale": "small", "trials": trials}) for trials in (0, 1)] == [1, 0]


def test_the_page_shows_the_figures():
    text = faults.PAGE.read_text()
    assert replaced(text, "faults", table(KINDS, records.read(faults.FIGURES))) == text


@pytest.mark.slow
def test_all_of_it_in_small(tmp_path, monkeypatch, capsys):
    """In a process of its own, which forks. With the figures kept, a second call tries nothing."""
    words = ["--scale", "small", "--out", str(tmp_path)]
    program = [sys.executable, "-m", "experiments.faults", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    told = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stdout + told.stderr
    found = records.read(Path(tmp_path / "figures.jsonl"))
    assert set(found) == {name for name, kind in KINDS.items() if kind.small}
    monkeypatch.setattr(sys, "argv", ["faults", *words])
    monkeypatch.setattr(faults, "prepare", lambda scratch: pytest.fail("something is tried"))
    assert faults.main() == 0
    assert capsys.readouterr().out == told.stdout
