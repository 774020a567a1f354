"""Configurations and overrides with wrong words: taken, or refused in one sentence of at most 300 characters."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import yaml

from experiments.faults.commands import call, judged
from experiments.faults.damage import WRONG, altered, bytes_damaged
from experiments.faults.damaged import limited
from experiments.faults.trials import Outcome
from steadygan.config.reference import Key, every_key
from steadygan.recipes.catalogue import find_recipe, recipe_names

__all__ = ["files", "overrides"]

LONGEST = 300
"""Characters of the longest sentence."""

COUNTED = 0.1
"""The share of trials in which the configuration, if it is one, is also built and its cost counted."""

VALUES = (
    *(
        "",
        " ",
        "=",
        "null",
        "true",
        "no",
        "~",
        "-",
        "0",
        "-1",
        "1e400",
        ".inf",
        ".nan",
        "0x10",
        "1_000",
        "9" * 400,
        "0x" + "f" * 4000,
        "1" + ":1" * 4000,
    ),
    *(
        "[",
        "]",
        "{",
        "{}",
        "[]",
        "{a: 1}",
        "[{name: r1}]",
        "[{name: x, weight: 1}]",
        "{name: [1]}",
        "{schedule: cosine}",
    ),
    *(
        "{schedule: linear, start: 1}",
        "200%",
        "-5%",
        "1e-4%",
        "&a [*a]",
        "&a x",
        "*a",
        "!!python/name:os.system",
        "!!bool x",
        "!!timestamp x",
        "!!int ''",
        "!!set [a]",
        "!x 1",
    ),
    *(
        "'",
        '"',
        "|",
        ">",
        "@",
        "`",
        "%",
        "2024-01-01",
        "12:30:00",
        "ü☃",
        "\ud800",
        "\t",
        "a\nb",
        "# no",
        "x" * 5000,
    ),
    *(
        "[" * 500,
        "{a: " * 200,
        "1,2",
        "[1, 2",
        "own",
        "[own]",
        "../..",
        "/dev/zero",
        "r1",
        "adam",
        "digits",
        "mlp",
    ),
)
"""Values that an override may have."""

LINES = (
    *(
        "\t",
        "x",
        "x: ",
        ": x",
        "- x",
        "<<: *a",
        "&a {b: *a}",
        "? x",
        "--- ",
        "...",
        "%YAML 9",
        "\x00",
        "name: [",
        "é: \xff",
    ),
    *(
        "steps: 9",
        "steps: {}",
        "game: {name: gan, name: gan}",
        "critic:\n critic:\n  critic: 1",
        "a: &a [*a, *a]",
    ),
)
"""Lines that a file may have besides its own."""


def overrides(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Override one to three keys of a recipe, keys and values real ones, others' and odd ones."""
    keys, names = list(every_key()), recipe_names()
    for _ in range(count):
        words = [_assignment(keys, chance) for _ in range(chance.choice((1, 1, 2, 3)))]
        yield _tried(chance.choice(names), words, chance, folder)


def _assignment(keys: Sequence[Key], chance: Random) -> str:
    key, other = chance.choices(keys, k=2)
    path = key.path
    if chance.random() < 0.3:
        path = _misspelled(path, chance)
    value = chance.choice(
        (chance.choice(VALUES), chance.choice(WRONG), other.example.partition("=")[2], other.default)
    )
    return f"{path}={value}".replace("\0", "0")


def _misspelled(path: str, chance: Random) -> str:
    place = chance.randrange(len(path) + 1)
    put = chance.choice(
        ("", ".", "..", ".0", ".-1", ".99999999999", ".x", "[0]", "é", " ", "=", "\ud800", "x" * 3000)
    )
    return path[:place] + put + path[place + chance.randrange(3) :]


def files(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Damage the file of a recipe: its bytes, its lines, or one of its values."""
    names, path = recipe_names(), folder / "recipe.yaml"
    for _ in range(count):
        raw = find_recipe(chance.choice(names))[1]
        path.write_bytes(_damaged(raw, chance))
        yield _tried(str(path), [], chance, folder)


def _damaged(raw: dict, chance: Random) -> bytes:
    how = chance.random()
    if how < 0.5:
        return altered(json.dumps(raw).encode(), chance)
    text = yaml.safe_dump(raw, sort_keys=False)
    if how < 0.7:
        return bytes_damaged("recipe.yaml", text.encode(), chance)
    lines = text.splitlines()
    place = chance.randrange(len(lines))
    indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    lines[place : place + chance.randrange(2)] = [indent + line for line in chance.sample(LINES, 2)]
    return "\n".join(lines).encode("latin-1", "replace")


def _tried(recipe: str, words: Sequence[str], chance: Random, folder: Path) -> Outcome:
    """A run with these words begins in a folder where none may, so that what is right ends soon, too."""
    where = ["--dry-run"] if chance.random() < COUNTED else ["--out", str(folder)]
    ended = call(["train", recipe, *words, *where], folder / "log", limited)
    fell = judged(ended, (0, 2), length=LONGEST)
    return Outcome(f"{' '.join(words)[:200] or 'a file'}: {fell}" if fell else "", ended.seconds)
