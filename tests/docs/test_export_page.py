"""The commands of the page on fine-tuning start from a run and train on a folder of images."""

import io
import re
import shlex

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from paths import ROOT
from steadygan import config
from steadygan.cli import app
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import train

TEXT = (ROOT / "docs" / "export.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]
SMALL = ["networks.width=4", "batch=8", "steps=1", "fake_as_real.count=0", "compile=false"]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """A folder of images, and a run on it."""
    images, run = (tmp_path_factory.mktemp("fine-tuning") / name for name in ("images", "run"))
    images.mkdir()
    for number in range(80):
        Image.effect_noise((40, 36), 90).convert("RGB").save(images / f"{number}.png")
    raw = config.override(find_recipe("cifar10-dcgan-fargan")[1], SMALL)
    raw["data"] = {"name": "images", "path": str(images), "size": 32}
    raw["every"] = {"log": 1, "score": 1, "checkpoint": 1}
    train.start(
        config.parse(config.override(raw, ["evaluation.images=100"])), run, Console(file=io.StringIO())
    )
    return {"DIR": str(images), "RUN": str(run)}


@pytest.mark.parametrize("command", COMMANDS)
def test_fine_tuning_commands_are_valid(command, places):
    words = [
        re.sub(r"\b(DIR|RUN)\b", lambda found: places[found[0]], word) for word in shlex.split(command)[1:]
    ]
    result = CliRunner().invoke(app.app, [*words, *SMALL, "--dry-run"])
    assert result.exit_code == 0, result.exception
    assert "# parameters: D " in result.output


def test_a_network_of_another_width_does_not_fit(places):
    words = shlex.split(COMMANDS[0].replace("DIR", places["DIR"]).replace("RUN", places["RUN"]))[1:]
    result = CliRunner().invoke(app.app, [*words, *SMALL, "networks.width=8", "--dry-run"])
    assert "does not fit: G's 0.weight" in str(result.exception)
