"""The reference of configuration keys: complete, true, and the page is what the schema says now."""

import re

import pytest
import yaml

from docs import configuration
from steadygan import config
from steadygan.config import registry
from steadygan.config.field_types import Named
from steadygan.config.reference import NAME, RECIPE, Key, every_key, find
from steadygan.config.schema import Config
from steadygan.recipes.catalogue import KEYS as KEY_FILE
from steadygan.recipes.catalogue import find_recipe

TEXT = configuration.PAGE.read_text()
KEYS = {key.path: key for key in every_key()}
BASE = find_recipe(RECIPE)[1]

TABLES = {
    "game": registry.GAMES,
    "game.gan.loss": registry.LOSSES,
    "data": registry.DATA,
    "networks": registry.NETWORKS,
    "critic.normalization": registry.NORMALIZATIONS,
    "critic.penalties": registry.PENALTIES,
    "critic.logit_penalties": registry.LOGIT_PENALTIES,
    "critic.consistency": registry.CONSISTENCY,
    "augment": registry.AUGMENTATIONS,
    "dynamics": registry.DYNAMICS,
    "optimizer": registry.OPTIMIZERS,
    "schedule": registry.SCHEDULES,
}


def test_the_page_is_what_the_schema_says():
    assert configuration.page(TEXT) == TEXT, "write it anew: python -m docs.configuration"


def test_the_command_lines_keys_are_what_the_schema_says():
    assert KEY_FILE.read_text() == configuration.key_list(), "write them anew: python -m docs.configuration"


def sections(model, path: str = ""):
    """Every key of the schema's own classes, found without the reference."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if (
                isinstance(part, type)
                and issubclass(part, config.schema.Strict)
                and not issubclass(part, Named)
            ):
                yield from sections(part, f"{path}{name}.")


def test_every_key_of_the_schema_has_a_meaning_and_stands_on_the_page():
    found = list(sections(Config))
    assert {"seed", "every.log", "critic.clip.bound", "paper.fid"} <= set(found)
    for path in found:
        assert re.search(r"^[A-Z`\w].+\.$", KEYS[path].meaning), path
        assert f"| `{path}` |" in TEXT or re.search(rf"^###+ {re.escape(path)}$", TEXT, re.M), path


@pytest.mark.parametrize("path", TABLES)
def test_every_name_and_option_has_a_meaning_and_stands_on_the_page(path):
    assert {key.name for key in KEYS[path].below} == TABLES[path].keys()
    for name, part in TABLES[path].items():
        assert re.search(r"^\S.+\.$", part.meaning), name
        assert f"| `{name}` | {part.meaning.replace('|', chr(92) + '|')} |" in TEXT
        assert {key.name for key in KEYS[f"{path}.{name}"].below} == part.options.keys()
        for key, option in part.options.items():
            assert re.search(r"^\S.+\.$", option.meaning), (name, key)
            rows = re.findall(rf"^\| `{key}` \| .*`{name}`.*$", TEXT, re.M)
            assert any(option.meaning.replace("|", "\\|") in row for row in rows), (name, key)


def test_no_table_is_left_out():
    assert {id(getattr(registry, name)) for name in registry.__all__ if name != "CRITICS"} == {
        id(table) for table in TABLES.values()
    }


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.path)
def test_an_example_parses_and_changes_its_key(key):
    made = config.parse(config.override(BASE, [key.example]))
    assert key.example.startswith(("optimizer.lr=", key.path.split(".")[0]))
    if key.type != NAME:  # a name may be that of the recipe
        assert made != config.parse(BASE)
        assert key.below or key.name in key.example


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.S))
def test_yaml_on_the_page_parses(block):
    raw = yaml.safe_load(block)
    config.parse(raw if "steps" in raw else {**BASE, **raw})


TYPES = {
    "fake_as_real.count": "number >= 0, schedule or list",
    "ema.decay": "number >= 0 and < 1, schedule or list",
    "game.ebgan.margin": "number > 0, schedule or list",
    "batch": "whole number >= 1",
    "seed": "whole number >= 0",
    "threads": "whole number >= 1 and <= 1024, or null",
    "optimizer.sgd.momentum": "number >= 0 and < 1",
    "optimizer.adam.betas": "list of 2: number >= 0 and < 1",
    "networks.dirac.theta": "number",
    "data.swissroll.noise": "number >= 0",
    "data.images.path": "text",
    "every.log": "steps >= 1, or a share of the run",
    "schedule.linear.over": "steps >= 1, or a share of the run",
    "compile.when": "true or false, or auto",
    "precision": "one of auto, float32, bfloat16, float64",
    "critic.penalties": "list of: name with options",
    "game.infogan.categorical": "list of: whole number >= 2",
    "stop": "section, or null",
}

DEFAULTS = {
    "fake_as_real.count": "0",
    "ema": "null",
    "every.log": "0.5%",
    "steps": "required",
    "optimizer.adam.betas": "[0.9, 0.999]",
    "critic": "",
    "critic.penalties": "[]",
    "compile.when": "auto",
}


def test_types_and_defaults_are_in_plain_words():
    assert {path: KEYS[path].type for path in TYPES} == TYPES
    assert {path: KEYS[path].default for path in DEFAULTS} == DEFAULTS
    jargon = re.compile(r"Annotated|Literal|Union|NoneType|tuple|<|int\b|float\b|str\b")
    wrong = [key.path for key in KEYS.values() if jargon.search(re.sub(r"<=? \d", "", key.type))]
    assert wrong == []


FOUND = {
    "networks.dcgan": ["networks.dcgan"],
    "networks.width": [
        f"networks.{name}.width" for name, p in registry.NETWORKS.items() if "width" in p.options
    ],
    "n_critic": ["dynamics.alternating.n_critic", "dynamics.lookahead.n_critic"],
    "critic.penalties.0.of": [f"critic.penalties.{name}.of" for name in ("r1", "r2", "zero_centered")],
    "game.loss.scale": [f"game.{name}.loss.least_squares.scale" for name in ("gan", "infogan", "reg_gan")],
    "scale": ["scale"],
}


@pytest.mark.parametrize("path", FOUND)
def test_a_key_is_found_as_it_is_written(path):
    assert [key.path for key in find(path)] == FOUND[path]
    assert all(isinstance(key, Key) for key in find(path))
