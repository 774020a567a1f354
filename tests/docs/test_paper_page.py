"""The table of docs/paper.md: every recipe, key and study that it names exists, and no row of a paper is left out."""

import importlib
import re

import pytest
import yaml

from experiments import pgn
from experiments.survey import settings as study
from paths import ROOT
from steadygan import config
from steadygan.recipes.catalogue import OVERRIDES, find_recipe, overrides, recipe_files, recipe_names

PAGE = (ROOT / "docs" / "paper.md").read_text()
AUDIT = PAGE.split("## Every item of the sources")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in AUDIT.splitlines()
    if line.startswith("| ") and line.count("|") == 5 and not line.startswith("| item ")
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
        assert bool(STATUS.match(status)) == bool(one), row


STATUS = re.compile(
    r"here: .+|here in part: [\d,]+ of [\d,]+ steps, .+|runs|checked|tested|parameters tested"
)
"""What a status may begin with."""


def recipes_of(command: str) -> list[str]:
    """The recipes that a command of the table trains; those of the survey's study are checked with its page."""
    if found := re.match(r"steadygan train (\S+)", command):
        return [found[1]]
    if found := re.match(r"python -m (experiments\.\w+) (\w+)$", command):
        figure = importlib.import_module(found[1]).FIGURES[found[2]]
        return [line.recipe for panel in figure.panels for line in panel.lines]
    return []


def expected(recipe: str) -> str:
    """What a recipe's header, or the entry of an override, says of its runs."""
    if recipe in recipe_files():
        lines = [line for line in recipe_files()[recipe].read_text().splitlines() if line.startswith("#")]
        text = " ".join(line.lstrip("# ") for line in lines)
        return re.search(r"Expected: (.*?)(?: Time: |$)", text)[1]
    base = overrides()[recipe].recipe
    return yaml.safe_load(OVERRIDES.read_text())[base][recipe].get("expected", "")


def last_step(recipe: str) -> int:
    """The last step of which a recipe's header has figures: all steps unless it names fewer; 0 where it has none."""
    said, whole = expected(recipe), find_recipe(recipe)[1]["steps"]
    if "Not run" in said or not re.search(r"\bseeds?\b|after [\d,]+k? steps", said):
        return 0
    named = re.findall(r"([\d,]+)(k?)(?: of the)? steps", said)
    return max([int(count.replace(",", "")) * (1000 if k else 1) for count, k in named], default=whole)


def test_the_last_step_is_that_of_the_figures():
    assert last_step("ring8-fargan-paper") == 200_000  # "after 200k steps", of 500,000
    assert last_step("ring8-alternating") == 20_000  # "20,000 of the steps", of 50,000
    assert last_step("ring8-pgn") == 10_000  # no number of steps: all
    assert last_step("cifar10-gn-cnn-pgn") == 0  # "Not run at full length yet"
    assert last_step("cifar10-numerics-dcgan4-standard") == 0  # a claim of the paper's, and no seeds


@pytest.mark.parametrize("row", [row for row in ROWS if "here" in row[3]], ids=lambda row: row[0])
def test_what_was_run_here_has_figures_at_the_steps_of_its_status(row):
    """ "Here" means to the end; a header with figures of fewer steps makes it "here in part"."""
    part = re.search(r"here in part: ([\d,]+) of ([\d,]+) steps", row[3])
    made = [name for command in re.findall(r"`([^`]+)`", row[1]) for name in recipes_of(command)]
    for name in made:
        steps = find_recipe(name)[1]["steps"]
        told = [int(count.replace(",", "")) for count in part.groups()] if part else [steps, steps]
        assert [last_step(name), steps] == told, name
    assert made or "(survey.md)" in row[3]


@pytest.mark.parametrize("row", [row for row in ROWS if row[3].startswith("runs")], ids=lambda row: row[0])
def test_what_was_not_run_to_its_end_has_no_figures_there(row):
    """Of the settings that a row trains: an override of the command's makes another run."""
    plain = [command for command in re.findall(r"`([^`]+)`", row[1]) if "=" not in command]
    made = [name for command in plain for name in recipes_of(command)]
    assert not made or any(last_step(name) < find_recipe(name)[1]["steps"] for name in made)


def test_the_survey_page_has_the_steps_of_its_recipes():
    page = (ROOT / "docs" / "survey.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \| \d+ \|", page, re.MULTILINE)
    assert {name: int(steps.replace(",", "")) for name, steps in rows} == {
        name: find_recipe(name)[1]["steps"] for name, _ in rows
    }
    assert {name for name, _ in rows} == {*study.recipes("digits"), *study.recipes("fashion-mnist")}
    ring = re.search(r"at steps 0 to ([\d,]+), D or G in the inner loop", page)[1].replace(",", "")
    assert {int(ring)} == {find_recipe(name)[1]["steps"] for name in study.recipes("ring8")}


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
    tables = [pgn.FIGURES[name] for name in ("table2", "table4", "table5")]
    assert all("keep.best=fid" in table.scored for table in tables), (
        "a table gives the others the same protocol"
    )


def test_the_second_command_has_the_protocol_of_the_published_figures():
    """The protocols of the recipes were typed from the papers; `-n` is the number of samples."""
    told = {
        row.split(" | ")[0].strip("| "): row for row in AUDIT.splitlines() if "--extractor inception" in row
    }
    wanted = {
        "FARGAN, figures and Table 2": ("cifar10-far-resnet-fargan", "10,000 samples", "-n 10000`"),
        "PGN-GAN, Table VI at 128": (
            "celebahq128-gn-resnet-pgn",
            "3,000 samples against the last 3,000 images",
            "-n 3000 --split test`",
        ),
        "PGN-GAN, Table VI at 256": (
            "celebahq256-gn-resnet-pgn",
            "10,000 samples against all 30,000 images",
            "-n 10000`",
        ),
        "PGN-GAN, Tables II, IV and V": (
            "cifar10-gn-cnn-pgn",
            "the best checkpoint by FID",
            "--checkpoint best --extractor inception -n 50000`",
        ),
    }
    for rows, (recipe, protocol, command) in wanted.items():
        assert protocol in find_recipe(recipe)[1]["paper"]["protocol"]
        assert protocol in told[rows]
        assert command in told[rows]


def test_all_other_commands_are_the_check_of_statements():
    others = {c for c in COMMANDS if c.startswith("steadygan ") and not c.startswith("steadygan train ")}
    assert others == {"steadygan verify"}
    assert hasattr(importlib.import_module("steadygan.theory"), "verify")
