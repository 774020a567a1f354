"""What `steadygan list config [KEY]...` prints: the keys of a configuration, or a part of them whole."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from steadygan.config.reference import NAME, RECIPE, Key, alike, find, reference
from steadygan.recipes.listing import WIDTH, first_sentence

__all__ = ["listed_keys"]

WIDEST = (30, 24, 14)
"""Columns of a key, its type and its default, at most."""

HELP = (
    "Override any key: steadygan train RECIPE KEY=VALUE. One part whole, with an example: steadygan list config KEY, "
    "where KEY is e.g. networks.dcgan, optimizer, n_critic or schedule."
)

Row = tuple[str, ...]
"""The cells of a line: key, type, default and meaning; or a key and its meaning."""


def listed_keys(paths: Sequence[str]) -> Iterator[str]:
    """The lines: an overview, or each of `paths` whole. Raises UsageError for a path that is no key."""
    if not paths:
        yield from textwrap.wrap(HELP, WIDTH)
        yield ""
        heads = ("key", "type", "default", "meaning")
        yield from _columns([heads, *(row for key in reference() for row in _overview(key))])
    for number, keys in enumerate(keys for path in paths for keys in alike(find(path))):
        yield from [""] * bool(number)
        yield from _whole(keys)


def _overview(key: Key) -> Iterator[Row]:
    """A key and those of its section, each with the first sentence of its meaning."""
    yield _row(key, key.path, first_sentence(key.meaning))
    if not key.named:
        for below in key.below:
            yield from _overview(below)


def _whole(keys: Sequence[Key]) -> Iterator[str]:
    """Keys that are alike, with all that is below the first of them."""
    key = keys[0]
    yield from textwrap.wrap(", ".join(other.path for other in keys), WIDTH)
    yield from textwrap.wrap(key.meaning, WIDTH)
    if key.type != NAME:
        yield f"type: {key.type}" + (f"; default: {key.default}" if key.default else "")
    yield f'example: steadygan train {RECIPE} "{key.example}"'
    if key.below:
        seen: set[Row] = set()
        yield ""
        yield from _columns([row for below in key.below for row in _tree(below, 0, seen)])


def _tree(key: Key, depth: int, seen: set[Row]) -> Iterator[Row]:
    """A key and all below it, indented. An option that was shown before, under another name, is not explained again."""
    shown, what = "  " * depth + key.name, (key.name, key.type, key.default, key.meaning)
    if what in seen:
        yield (shown, "", key.default, "as above")
        return
    seen.add(what)
    yield _row(key, shown, key.meaning)
    for below in key.below:
        yield from _tree(below, depth + 1, seen)


def _row(key: Key, shown: str, meaning: str) -> Row:
    plain = key.type == NAME or (key.below and not key.named)
    return (shown, meaning) if plain else (shown, key.type, key.default, meaning)


def _columns(rows: Sequence[Row]) -> Iterator[str]:
    """The rows in columns, every cell wrapped; the meaning takes the place of cells that are not there."""
    widths = [
        min(most, max((len(row[column]) for row in rows if len(row) > 2 or not column), default=0))
        for column, most in enumerate(WIDEST)
    ]
    for row in rows:
        taken = widths[: len(row) - 1]
        wide = [*taken, WIDTH - sum(taken) - 2 * len(taken)]
        cells = [textwrap.wrap(cell, width) for cell, width in zip(row, wide, strict=True)]
        cells[0] = [row[0]]
        for line in zip_longest(*cells, fillvalue=""):
            yield "  ".join(f"{text:{width}}" for text, width in zip(line, wide, strict=True)).rstrip()
