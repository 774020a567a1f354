"""The table of docs/paper.md: every recipe, key and study that it names exists, and no row of a paper is left out."""

import importlib
import re

import pytest

from paths import ROOT
from steadygan import config
from steadygan.recipes.catalogue import find_recipe, recipe_names

PAGE = (ROOT / "docs" / "paper.md").read_text()
AUDIT = PAGE.split("## Every item of the sources")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in AUDIT.splitlines()
    if line.startswith("| ") and not line.startswith("| item ")
]
COMMANDS = sorted({command for _, cell, *_ in ROWS for command in re.findall(r"`([^`]+)`", cell)})

ITEMS = {
    "FARGAN": {*(f"Fig. {n}" for n in range(1, 16)), "Table 2", "Eqn 6", "Algorithm 1", "Definition 1"},
    "PGN-GAN": {
        *(f"Fig. {n}" for n in range(1, 5)),
        *(f"Table {n}" for n in ("I", "II", "III", "IV", "V", "VI")),
        "Theorem 6",
        "Algorithm 1",
    },
    "The Numerics of GANs": {*(f"Fig. {n}" for n in range(6, 15)), "Algorithm 3", "Eqn 41"},
    "Survey": {"Reg-GAN", "MDGAN", "EBGAN", "BEGAN", "InfoGAN", "WGAN", "max-min"},
}
"""What each source has, counted in its captions."""


def test_every_row_has_its_four_cells_and_a_known_status():
    for row in ROWS:
        _, command, one, status = row
        assert one in ("yes", "two", "")
        assert bool(command) == bool(one), row
        assert status.startswith(("here", "runs", "checked", "parameters tested", "tested")) == bool(one), row


@pytest.mark.parametrize("source", ITEMS)
def test_no_item_of_a_source_is_left_out(source):
    section = AUDIT.split(f"### {source}")[1].split("\n### ")[0]
    items = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    missing = {item for item in ITEMS[source] if not any(re.search(rf"{item}\b", each) for each in items)}
    assert missing == set()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("steadygan train ")])
def test_a_recipe_of_the_table_is_there(command):
    name, *words = command.removeprefix("steadygan train ").split()
    assert name in recipe_names()
    config.parse(config.override(find_recipe(name)[1], words))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m ")])
def test_a_study_of_the_table_is_there(command):
    module, *figure = command.removeprefix("python -m ").split()
    found = importlib.import_module(module)
    assert not figure or figure[0] in found.FIGURES


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(("steadygan ", "python "))])
def test_a_key_of_the_table_is_taken(command):
    raw = find_recipe("cifar10-dcgan-0gp" if command.startswith("networks") else "digits-fargan")[1]
    config.parse(config.override(raw, [command]))


def test_the_rows_that_keep_their_best_checkpoint_by_fid_are_those_that_the_page_names():
    """`steadygan evaluate RUN --checkpoint best` refuses the runs of all others."""
    recipes = {name: find_recipe(name)[1] for name in recipe_names()}
    kept = {name for name, raw in recipes.items() if raw.get("keep", {}).get("best") == "fid"}
    rows = {name: str(raw.get("paper", {}).get("row", "")) for name, raw in recipes.items()}
    own = {name for name, row in rows.items() if re.match(r"Table (II|IV|V), .*PGN-", row)}
    assert len(own) == 9
    assert own <= kept
    assert not any(rows[name] for name in kept - own), "what is derived from them is no item of the table"
    assert "PGN-GAN's own rows of Tables II, IV and V" in AUDIT


def test_all_other_commands_are_the_check_of_statements():
    others = {c for c in COMMANDS if c.startswith("steadygan ") and not c.startswith("steadygan train ")}
    assert others == {"steadygan verify"}
    assert hasattr(importlib.import_module("steadygan.theory"), "verify")
