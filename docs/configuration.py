"""Writes the tables of docs/configuration.md anew, between the markers of the page, from the schema itself.

    python -m docs.configuration

The text around the tables is written by hand. The list of keys that the command line completes is written too.
"""

from collections.abc import Iterator, Sequence

from experiments.pages import DOCS, replaced
from steadygan.config.reference import Key, alike, override_paths, reference, schedules
from steadygan.recipes.catalogue import KEYS

PAGE = DOCS / "configuration.md"


def page(text: str) -> str:
    """The page with its tables made anew."""
    for mark, lines in (("schedules", _named(schedules())), ("keys", _keys())):
        text = replaced(text, mark, "\n".join(lines))
    return text


def key_list() -> str:
    """The file of the keys, one a line."""
    return "\n".join(override_paths()) + "\n"


def _keys() -> Iterator[str]:
    """A table of the keys that stand alone, then a part for each section and each key that takes a name."""
    alone = [key for key in reference() if not key.below]
    yield from ("### Keys of the run", "", *_table(alone))
    for key in reference():
        if key.below:
            yield from _part(key, 3)


def _part(key: Key, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} {key.path}", "", _plain(key.meaning))
    if key.default:
        yield from ("", f"Type: {key.type}. Default: {_default(key)}. Example: `{key.example}`.")
    if key.named:
        yield from ("", *_named(key))
    else:
        yield from ("", *_table([below for below in key.below if not below.below]))
        for below in key.below:
            if below.below:
                yield from _part(below, level + 1)


def _named(key: Key) -> Iterator[str]:
    """The names that a key takes, and the options of each; options that are alike stand in one line."""
    yield from _rows(["name", "meaning"], [[f"`{name.name}`", _plain(name.meaning)] for name in key.below])
    options = alike([option for name in key.below for option in name.below])
    if options:
        rows = [[f"`{same[0].name}`", ", ".join(map(_owner, same)), *_cells(same[0])] for same in options]
        yield from ("", *_rows(["option", "of", "type", "default", "meaning", "example"], rows))
    for same in options:
        if same[0].named:
            yield from ("", f"Names that `{same[0].name}` takes:", "", *_named(same[0]))


def _owner(option: Key) -> str:
    """The name that an option is of."""
    return f"`{option.path.split('.')[-2]}`"


def _table(keys: Sequence[Key]) -> Iterator[str]:
    rows = [[f"`{key.path}`", *_cells(key)] for key in keys]
    yield from _rows(["key", "type", "default", "meaning", "example"], rows)


def _default(key: Key) -> str:
    return key.default if key.default == "required" else f"`{key.default}`"


def _cells(key: Key) -> list[str]:
    return [
        _plain(key.type),
        _default(key),
        _plain(key.meaning),
        f"`{key.example}`",
    ]


def _rows(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    for row in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(row)} |"


def _plain(text: str) -> str:
    """Text as it may stand in a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    KEYS.write_text(key_list())
