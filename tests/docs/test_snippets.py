"""Every snippet of the README and of docs/ runs: Python as it stands, command lines as far as parsing."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from experiments import records
from experiments.constraints import run as constraints
from experiments.pages import DOCS, replaced
from experiments.stacked_digits import run as stacked_digits
from experiments.toy_spectrum import run as toy_spectrum
from paths import ROOT
from steadygan.cli import app
from steadygan.recipes.catalogue import recipe_names
from steadygan.runs.sweeps import record

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(language: str) -> list[str]:
    return [
        code for page in PAGES for code in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)
    ]


def command_lines(languages: str) -> list[str]:
    """The command lines of steadygan in such blocks, each once; with torchrun, what each process runs."""
    lines = [
        re.sub(r"^torchrun .* -m ", "", line.split("#")[0].strip())
        for code in snippets(f"(?:{languages})")
        for line in code.replace("\\\n", " ").splitlines()
    ]
    return list(dict.fromkeys(line for line in lines if line.startswith("steadygan ")))


COMMANDS = command_lines("bash")


TRAINING = ("export", "fit", "streams", "sweep")
"""Pages whose Python trains, or starts processes, for seconds."""


def python_snippets() -> Iterator[Any]:
    for page in PAGES:
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S)):
            marks = pytest.mark.slow if page.stem in TRAINING else ()
            yield pytest.param(code, id=f"{page.stem}-{number}", marks=marks)


@pytest.mark.parametrize("code", list(python_snippets()))
def test_python_snippet_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the run folders
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(code, "snippet", "exec"), names)
    # The own-loop snippet must have moved D, the trainer snippet must have counted a step.
    if "loss" in names:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in names["D"].parameters())
        assert all(p.grad is None for p in names["G"].parameters())
    elif "state" in names:
        assert int(names["state"].scalars["step"]) == 1


def test_readme_shows_python_and_commands() -> None:
    assert len(snippets("python")) >= 2
    assert len(COMMANDS) >= 6


LARGE = ("imagenet64", "biggan", "emoji64", "accumulate=4")
"""Words of commands that take more than a second to check. The README has none."""


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=pytest.mark.slow if any(word in c for word in LARGE) else ())
        for c in COMMANDS
        if "train" in c
    ],
)
def test_train_commands_are_valid(command: str, tmp_path: Path) -> None:
    for number in range(80 if "DIR" in command else 0):  # a folder of the user's images
        Image.effect_noise((40, 36), 90).convert("RGB").save(tmp_path / f"{number}.png")
    arguments = shlex.split(command.replace("DIR", str(tmp_path)))[1:]
    result = CliRunner().invoke(app.app, [*arguments, *([] if "--dry-run" in arguments else ["--dry-run"])])
    if "was not found" in str(result.exception):
        pytest.skip(str(result.exception))
    assert result.exit_code == 0, result.exception
    assert "# parameters: D " in result.output


@pytest.mark.parametrize("line", command_lines("bash|text|sh|console"))
def test_command_lines_name_commands_and_options_that_there_are(line: str) -> None:
    command, words = typer.main.get_command(app.app), shlex.split(line)[1:]
    if words[0] in ("--install-completion", "--version"):
        assert any(words[0] in option.opts for option in command.params)
        return
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)  # raises click.UsageError on options that are not there


def test_modules_that_a_page_runs_exist() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"python -m ((?:steadygan|benchmarks|experiments|docs)[\w.]*)", page.read_text()
        )
    }
    assert len(named) > 20
    assert [name for name in sorted(named) if not find_spec(name)] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("steadygan sweep")])
def test_sweep_commands_make_a_plan(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plans = []

    def train(folder: Path, made: record.Sweep, console: Console) -> list[record.Row]:
        plans.append(made)
        return [record.Row("run-000", [], {}, 1.0, "done", 1, 1.0)]

    monkeypatch.setattr("steadygan.commands.sweep._train", train)
    result = CliRunner().invoke(app.app, shlex.split(command)[1:])
    if "was not found" in str(result.exception):
        pytest.skip(str(result.exception))
    assert result.exit_code == 0, result.exception
    assert len(plans[0].points) > 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_constraints_page_shows_the_figures_that_were_measured() -> None:
    text = constraints.PAGE.read_text()
    figures = records.read(constraints.FIGURES)
    assert constraints.page(figures, text) == text
    for data in constraints.SCORES:
        assert {f"{data}-{c}" for c in constraints.CONSTRAINTS} & set(recipe_names()) == {
            n for n in figures if n.startswith(data)
        }


def test_the_pages_of_games_and_dynamics_show_the_figures_that_were_measured() -> None:
    games, dynamics = ((DOCS / name).read_text() for name in ("games.md", "dynamics.md"))
    assert replaced(games, "stacked", stacked_digits.table(records.read(stacked_digits.FIGURES))) == games
    figures = records.read(toy_spectrum.FIGURES)
    made = toy_spectrum.table(toy_spectrum.by_rule(figures), figures["settings"]["seeds"])
    assert replaced(dynamics, "toy", made) == dynamics
    assert "<!-- stacked -->" in games
    assert "<!-- toy -->" in dynamics
