"""What the shell completes, and that it does not wait for torch; and the versions."""

import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch

import steadygan
from steadygan.cli import completion
from steadygan.recipes.catalogue import recipe_names


def test_recipes_and_keys_are_completed():
    assert completion.recipes("") == recipe_names()
    assert completion.recipes("no such") == []
    assert {"steps=", "stop=", "stop_on="} <= set(completion.keys("st"))
    assert {"seed=", "seeds="} <= set(completion.recipe_or_key("seed"))


def test_the_versions(command):
    done = command("--version")
    number, _, build = torch.__version__.partition("+")  # PyPI's packages of torch do not name their build
    known = [f"torch {number}", f"torch {number}+{build}"]
    python = platform.python_version()
    assert done.out in [f"steadygan {steadygan.__version__}, {each}, Python {python}\n" for each in known]
    assert (done.code, done.err) == (0, "")


def answered(words: str, *python: str) -> subprocess.CompletedProcess[str]:
    """What the program tells bash for a line whose last word is to be completed."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_STEADYGAN_COMPLETE": "complete_bash"}
    return subprocess.run(
        [sys.executable, *python, "-m", "steadygan"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_program_answers_a_shell_without_torch():
    done = answered("steadygan train ring8-f", "-X", "importtime")
    assert done.stdout.split() == ["ring8-fargan", "ring8-fargan-paper"]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "steadygan.cli.app" in loaded
    assert not {"torch", "numpy", "steadygan.config.schema"} & loaded
    assert answered("steadygan sweep ring8-fargan optimizer.be").stdout.split() == ["optimizer.betas="]
    assert answered("steadygan data ver").stdout.split() == ["verify"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_takes_the_script_that_it_is_given():
    asked = {**os.environ, "_STEADYGAN_COMPLETE": "source_bash"}
    script = subprocess.run(
        [sys.executable, "-m", "steadygan"], env=asked, capture_output=True, text=True
    ).stdout
    done = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p steadygan"], capture_output=True, text=True, check=True
    )
    assert "-F _steadygan_completion steadygan" in done.stdout
