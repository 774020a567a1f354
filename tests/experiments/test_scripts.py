"""Benchmarks and experiments as programs: their help, missing data in one sentence, and how figures are kept."""

import os
import re
import runpy
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks import step
from experiments import records
from paths import ROOT

SCRIPTS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for folder in ("benchmarks", "experiments")
    for file in (ROOT / folder).rglob("*.py")
    if "__main__" in file.read_text()
)


def called(name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """The exit code of `python -m NAME WORDS...`."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    return stop.value.code


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_how_a_script_is_called(name, monkeypatch, capsys):
    assert called(name, monkeypatch, "--help") == 0
    assert f"python -m {name}" in capsys.readouterr().out


def test_there_are_benchmarks_and_experiments():
    assert {"benchmarks.step", "experiments.table2"} <= set(SCRIPTS)


def test_every_experiment_is_in_the_list_of_experiments():
    text = (ROOT / "experiments" / "README.md").read_text()
    assert [
        name for name in SCRIPTS if name.startswith("experiments") and f"`python -m {name}" not in text
    ] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("benchmarks.images --only foo", "invalid choice: 'foo'"),
        ("benchmarks.report --of nowhere", "--of nowhere is no folder"),
        ("benchmarks.approximated --repeats 0", "takes a whole number of 1 or more, not '0'"),
        ("benchmarks.one_pass --threads x", "takes a whole number of 1 or more, not 'x'"),
        ("experiments.scores.run --images -5", "takes a whole number of 1 or more, not '-5'"),
        ("experiments.table2 --only [", "--only '[' is no regular expression"),
        ("experiments.table2 --steps 10", "give another --figures and --out"),
        ("experiments.constraints.run ring9", "'ring9' is no data set: did you mean 'ring8'?"),
        ("experiments.constraints.run ring8 --only 0pg", "'0pg' is no constraint: did you mean '0gp'?"),
        ("experiments.survey.claims --only ring8-ebgam", "did you mean 'ring8-ebgan'?"),
    ],
)
def test_a_wrong_input_is_one_sentence(words, told, monkeypatch, capsys):
    assert called(*words.split()[:1], monkeypatch, *words.split()[1:]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_missing_data_are_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)
    words = ["--sets", "cifar10", "--data-root", str(tmp_path), "--out", str(tmp_path)]
    assert called("experiments.scores.run", monkeypatch, *words) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("error: CIFAR-10")


def test_the_speed_of_a_step_leaves_out_images_that_are_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(step, "ring_table", lambda repeats: print("the ring's table"))
    monkeypatch.setitem(step.FASHION, "data", {"name": "images", "path": str(tmp_path / "none")})
    monkeypatch.setattr(sys, "argv", ["step.py"])
    step.main()
    assert "the ring's table\n\nThe table of the DCGAN step is left out: " in capsys.readouterr().out


def test_without_jax_its_rows_are_left_out_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(step.jax_step, "installed", lambda: False)
    assert step.jax_candidates() == {}
    assert "JAX" in capsys.readouterr().out


@pytest.mark.slow
def test_the_benchmark_of_processes_times_three_steps():
    words = [sys.executable, "-m", "benchmarks.parallel", "--tiny", "--eager"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert told.returncode == 0, told.stderr
    assert len(re.findall(r"one +[\d.]+ ms +two +[\d.]+ ms +efficiency [\d.]+", told.stdout)) == 3


# ------------------------------------------------------------------------------------------------------------ figures


def test_a_record_is_replaced_in_its_place_or_added_at_the_end(tmp_path):
    file = tmp_path / "new" / "figures.jsonl"
    assert records.read(file) == {}
    records.write(file, {"a": {"x": [0.1, 1e-300]}, "b": {"y": None}})
    records.put(file, "c", {})
    records.put(file, "a", {"x": 2})
    assert file.read_text() == '{"name": "a", "x": 2}\n{"name": "b", "y": null}\n{"name": "c"}\n'
    assert list(records.read(file).items()) == [("a", {"x": 2}), ("b", {"y": None}), ("c", {})]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def put_many(file: Path, who: int) -> None:
    for number in range(40):
        records.put(file, f"{who} {number}", {})


def test_processes_that_add_records_at_once_lose_none(tmp_path):
    file = tmp_path / "figures.jsonl"
    several = [get_context("fork").Process(target=put_many, args=(file, who)) for who in range(3)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert len(records.read(file)) == 120
