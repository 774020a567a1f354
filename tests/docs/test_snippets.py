"""Every snippet of the README and of docs/ runs: Python as it stands, command lines as far as parsing."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from paths import ROOT
from steadygan.cli import app

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(language: str) -> list[str]:
    return [
        code for page in PAGES for code in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)
    ]


COMMANDS = [
    line.split("#")[0].strip()
    for block in snippets("bash")
    for line in block.splitlines()
    if line.startswith("steadygan")
]


@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippet_runs(code: str) -> None:
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


@pytest.mark.parametrize("command", [c for c in COMMANDS if "train" in c])
def test_train_commands_are_valid(command: str) -> None:
    arguments = shlex.split(command)[1:]
    result = CliRunner().invoke(app.app, [*arguments, *([] if "--dry-run" in arguments else ["--dry-run"])])
    if "was not found" in str(result.exception):
        pytest.skip(str(result.exception))
    assert result.exit_code == 0, result.exception
    assert "# parameters: D " in result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_constraints_page_shows_the_figures_that_were_measured() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "constraint_runs.py"))
    text = script["PAGE"].read_text()
    figures = json.loads(script["FIGURES"].read_text())
    assert script["page"](figures, text) == text
    recipes = set(script["recipe_files"]())
    for data in script["SCORES"]:
        assert {f"{data}-{c}" for c in script["CONSTRAINTS"]} & recipes == {
            n for n in figures if n.startswith(data)
        }
