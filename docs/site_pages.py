"""Pages of the documentation site that no one writes by hand, made while mkdocs builds it (`make site`).

The home page is README.md, and the changelog is CHANGELOG.md. The gallery comes from the catalogue of recipes, the
commands from their help, the API reference from the `__all__` of each public module. Links to files that are not on
the site become plain text.
"""

import ast
import inspect
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from steadygan.cli.app import app
from steadygan.recipes.catalogue import COSTS, GPU_SPEED, Override, overrides, recipe_files, recipe_names
from steadygan.recipes.listing import SOURCES, figure, first_sentence, prefixed

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "steadygan"

COPIED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages of the repository's root, and what they are on the site."""

SHOWN = COPIED | {"src/steadygan": "api/index.md", "src/steadygan/recipes": "gallery.md"}
"""The pages of the site that show what lies elsewhere in the repository."""

LISTS = ("api/", "changelog", "gallery", "papers")
"""Pages that name everything, and explain little."""

NO_REFERENCE = {"steadygan.cli"}
"""Packages whose users type commands."""

# ---------------------------------------------------------------------------------------------- the API reference


@cache
def modules() -> dict[str, Path]:
    """The files of the package by their dotted names, without those that begin with `_`.

    >>> modules()["steadygan.penalties"].name, modules()["steadygan.metrics"].name
    ('penalties.py', '__init__.py')
    """
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = ("steadygan", *file.relative_to(PACKAGE).with_suffix("").parts)
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found[".".join(parts)] = file
    return found


def exported(file: Path) -> list[str]:
    """The names of a module's `__all__`; none where it has no such list."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return []


@cache
def public() -> dict[str, list[str]]:
    """The public modules and their names: packages' faces, modules at the root, and what documents import from.

    >>> sorted({"steadygan.losses", "steadygan.metrics", "steadygan.diagnostics.landscape"} - set(public()))
    []
    """
    known, taught = modules(), set(_taught())
    faces = {name for name, file in known.items() if file.name == "__init__.py" or name.count(".") == 1}
    return {
        name: names
        for name, file in known.items()
        if name in faces - NO_REFERENCE | taught and (names := exported(file))
    }


def _taught() -> Iterator[str]:
    """The modules that the documents, and the package's own face, import from."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), PACKAGE / "__init__.py"]
    for page in pages:
        for module, names in re.findall(r"from (steadygan[\w.]*) import (\([^)]*\)|.*)", page.read_text()):
            yield module
            yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))


def reference_page(module: str, names: list[str]) -> str:
    """The page of a module: its docstring, then each of its public names."""
    shown = [name for name in names if f"{module}.{name}" not in modules()]
    return f"::: {module}\n    options:\n      members: {shown}\n"


def reference_index(found: dict[str, list[str]]) -> str:
    """The list of the public modules, each with the first sentence of its docstring."""
    rows = [[f"[{name}]({name}.md)", _summary(modules()[name])] for name in found]
    lines = ["# API reference", "", "Every public name, from its docstring.", ""]
    return "\n".join([*lines, *rows_of(["module", "what is there"], rows)]) + "\n"


def _summary(file: Path) -> str:
    """The first paragraph of a module's docstring."""
    return " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].split())


# ------------------------------------------------------------------------------------------------- the command line


def command_line() -> str:
    """The page of all commands with their arguments and options."""
    commands = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "What `steadygan COMMAND --help` prints. [First steps](start.md) has examples.",
    ]
    return "\n".join([*lines, *_commands("steadygan", commands)]) + "\n"


def _commands(called: str, command: Any) -> Iterator[str]:
    """The parts of a command, or of each command below it."""
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(f"{called} {name}", below)
    if not hasattr(command, "commands"):
        rows = [[_spelled(part), _meaning(part)] for part in command.params if not part.hidden]
        yield from ("", f"## {called}", "", inspect.cleandoc(command.help or ""), "")
        yield from rows_of(["", "meaning"], rows) if rows else ()


def _meaning(part: Any) -> str:
    """The help of an option or an argument, with the default that it does not say itself."""
    plain = part.default is None or part.default is False
    return (part.help or "") + ("" if plain else f" Default: {part.default}.")


def _spelled(part: Any) -> str:
    """How an option or an argument is written."""
    names = part.opts if part.param_type_name == "option" else [part.metavar or part.name.upper()]
    return ", ".join(f"`{name}`" for name in names)


# --------------------------------------------------------------------------------------------- gallery of recipes


def gallery() -> str:
    """The page of all recipes: pictures, then a table for each source."""
    parts = ["# Gallery of recipes", "", INTRODUCTION, "", "## Pictures", "", *_pictures()]
    for source, title in SOURCES.items():
        rows = [row for name in recipe_names() if _folder(name) == source for row in _row(name)]
        parts += ["", f"## {source}", "", title, "", '<div class="recipes" markdown>', ""]
        parts += [*rows_of(HEADS, rows), "", "</div>"]
    return "\n".join(parts) + "\n"


INTRODUCTION = """`steadygan train NAME` trains a recipe, and `steadygan train NAME --scale tiny` tries it in minutes.
`steadygan list recipes WORD` finds one. A name with *of* is the recipe named there with one key changed. The
score is what to expect, or what the paper published. The time is that of the recipe's header. Where it has none, it is
the cost of the whole run in floating-point operations (FLOP), and the time that this takes on a GPU which is assumed to
do 3e13 of them a second."""

HEADS = ["recipe", "what it is", "data, networks", "expected score", "time"]


def _pictures() -> Iterator[str]:
    """The pictures of docs/ that are named after recipes, each with its caption and the page that explains it."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for caption, picture in re.findall(r"!\[([^\]]*)\]\(([\w-]+\.png)\)", page.read_text()):
            if label := _shown(picture, recipe_names()):
                yield from (f"{label}: {caption} ([more]({page.name})).", "", f"![{caption}]({picture})", "")
    if "](docs/ring8-fargan.png)" in (ROOT / "README.md").read_text():
        yield "`ring8-fargan`: eight modes on a plane ([more](index.md)).\n\n![eight modes](ring8-fargan.png)"


def _shown(picture: str, recipes: Sequence[str]) -> str:
    """The recipe that a picture is of, or the group whose names begin like its own, if need be after its page's name.

    >>> _shown("emoji64.png", ["emoji64-fargan"]), _shown("scores.png", ["ring8-fargan"])
    ('`emoji64-fargan`', '')
    >>> _shown("constraints-ring8.png", ["digits-fargan", "ring8-gn", "ring8-sn"])
    'recipes `ring8-…`'
    """
    stem = picture.removesuffix(".png")
    for start in filter(None, (stem, stem.partition("-")[2])):
        named = [name for name in recipes if name == start or name.startswith(f"{start}-")]
        if named:
            return f"`{named[0]}`" if len(named) == 1 or named[0] == start else f"recipes `{start}-…`"
    return ""


def _folder(name: str) -> str:
    return recipe_files()[overrides()[name].recipe if name in overrides() else name].parent.name


def _row(name: str) -> Iterator[list[str]]:
    """The row of a recipe."""
    raw, said = _settings(name), _said(name)
    cells = [_title(name), said.get("what", ""), f"{_chosen(raw['data'])}, {_chosen(raw['networks'])}"]
    yield [*cells, _score(raw["paper"], said.get("Expected", "")), _time(name, said.get("Time", ""))]


def _settings(name: str) -> dict[str, Any]:
    """The recipe's file; of an override with the sections that it names anew, read without loading torch."""
    found = overrides().get(name, Override(name, []))
    raw: dict[str, Any] = yaml.safe_load(recipe_files()[found.recipe].read_text())
    new = dict(assignment.split("=", 1) for assignment in found.assignments)
    paper = {} if new else raw.get("paper", {})
    return {
        **raw,
        "paper": paper,
        **{k: yaml.safe_load(v) for k, v in new.items() if k in ("data", "networks")},
    }


def _title(name: str) -> str:
    return f"`{name}` *of* `{overrides()[name].recipe}`" if name in overrides() else f"`{name}`"


def _chosen(part: Any) -> str:
    """The name of a section that takes a name."""
    return f"`{part if isinstance(part, str) else part['name']}`"


def _said(name: str) -> dict[str, str]:
    """What the header of a recipe's file says; of an override its own words, and the time of its recipe."""
    if name in overrides():
        found = overrides()[name]
        what = found.what or f"`{' '.join(found.assignments)}`"
        return {"what": what, "Time": _said(found.recipe).get("Time", "")}
    lines = [line for line in recipe_files()[name].read_text().splitlines() if line.startswith("#")]
    parts = re.split(
        r"\b(Command|Source|Expected|Time): +", " ".join(line.lstrip("# ") for line in lines[1:])
    )
    return {"what": lines[0].lstrip("# "), **dict(zip(parts[1::2], parts[2::2]))}


def _score(paper: dict[str, Any], expected: str) -> str:
    """The published scores of a paper's row, or the first sentence of what to expect."""
    known = {"IS": paper.get("inception_score"), "FID": paper.get("fid")}
    figures = [f"{name} {figure(value)}" for name, value in known.items() if value is not None]
    return f"published: {', '.join(figures)}" if figures else first_sentence(expected).strip()


def _time(name: str, said: str) -> str:
    """The time that the header says; where it says none, the cost of the whole run."""
    if said and not said.startswith("see"):
        return first_sentence(said).strip()
    cost = json.loads(COSTS.read_text()).get(overrides()[name].recipe if name in overrides() else name, {})
    flops = cost.get("flops")
    return f"{prefixed(flops)}FLOP: {flops / GPU_SPEED / 3600:.2g} h at 30 TFLOP/s" if flops else ""


def rows_of(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    """The lines of a table."""
    for row in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


# ----------------------------------------------------------------------------------------------------------- links

FROM_DISK = """if (location.protocol === "file:") {
  const text = %s;
  const Native = window.Worker;
  window.Worker = class {
    constructor(address, options) {
      return new Native(URL.createObjectURL(new Blob([text], {type: "text/javascript"})), options);
    }
  };
}
"""

LINK = re.compile(r"```.*?```|(!?)\[((?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\(([^)\s]+)\)|`[^`\n]*`", re.S)
"""Code, in which nothing is a link, or a link; its text may hold a picture."""


def relinked(markdown: str, folder: str) -> str:
    """A document with its links as they are on the site; what is not there becomes plain text.

    `folder` is where the document lies in the repository.

    >>> relinked("[a](docs/fit.md), [b](src/steadygan/losses.py), [c](Makefile), [d](https://d.org)", ".")
    '[a](fit.md), [b](api/steadygan.losses.md), c, [d](https://d.org)'
    >>> relinked("[figures](../README.md), [recipes](../src/steadygan/recipes) and [g](games.md#labels)", "docs")
    '[figures](index.md), [recipes](gallery.md) and [g](games.md#labels)'
    """

    def changed(found: re.Match[str]) -> str:
        mark, text, target = found[1], found[2], found[3]
        if target is None or target.startswith(("https://", "#")):
            return found[0]
        on_site = _on_site(posixpath.normpath(posixpath.join(folder, target)))
        text = relinked(text, folder)
        return f"{mark}[{text}]({on_site})" if on_site else text

    return LINK.sub(changed, markdown)


def _on_site(place: str) -> str | None:
    """The page or picture of the site that shows a file or folder of the repository; None where none does."""
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    module = place.removeprefix("src/").removesuffix(".py").replace("/", ".")
    return SHOWN.get(place, f"api/{module}.md" if place.endswith(".py") and module in public() else None)


# ------------------------------------------------------------------------------------------------------- citations

NAME = r"[A-Z][\w-]+"
CITATION = re.compile(rf"\b({NAME})((?:, {NAME})*,? and {NAME}| et al\.)?,? ((?:19|20)\d\d)\b")
"""Surname, further authors, year."""

UNTOUCHED = re.compile(r"<(a|pre|code|h[1-6]|script|style)\b.*?</\1>|<[^>]+>", re.S)
"""What is not the text of a page: tags, and what may hold no further link."""


@cache
def addresses() -> dict[str, str]:
    """The address of each paper of docs/papers.md, by how it is cited; nothing where two papers are cited alike.

    >>> addresses()["Xia 2023"], addresses()["Miyato and Koyama 2018"]
    ('https://arxiv.org/abs/2306.13576', 'https://arxiv.org/abs/1802.05637')
    """
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\)", (ROOT / "docs" / "papers.md").read_text(), re.M)
    found = [(_key(*match.groups()), address) for text, address in rows if (match := CITATION.match(text))]
    alike = Counter(key for key, _ in found)
    return {key: address for key, address in found if alike[key] == 1}


def _key(first: str, others: str | None, year: str) -> str:
    """A citation without further authors, unless it has two.

    >>> _key("Mescheder", ", Nowozin and Geiger", "2017"), _key("Tao", " and Wang", "2020")
    ('Mescheder 2017', 'Tao and Wang 2020')
    """
    return f"{first}{others} {year}" if (others or "").startswith(" and") else f"{first} {year}"


def cited(html: str, known: dict[str, str]) -> str:
    """A page with a link at each citation of a known paper, outside of links, code and headings.

    >>> cited("<p>as in Xia 2023 and <code>Xia 2023</code></p>", {"Xia 2023": "https://x.org"})
    '<p>as in <a href="https://x.org">Xia 2023</a> and <code>Xia 2023</code></p>'
    """

    def linked(found: re.Match[str]) -> str:
        address = known.get(_key(*found.groups()))
        return f'<a href="{address}">{found[0]}</a>' if address else found[0]

    parts, at = [], 0
    for kept in UNTOUCHED.finditer(html):
        parts += [CITATION.sub(linked, html[at : kept.start()]), kept[0]]
        at = kept.end()
    return "".join([*parts, CITATION.sub(linked, html[at:])])


# ------------------------------------------------------------------------------------------------- mkdocs calls these


def on_config(config: MkDocsConfig) -> None:
    """Put the modules of the API reference into the navigation."""
    pages: list[Any] = ["api/index.md", *({name: f"api/{name}.md"} for name in public())]
    reference = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    reference[:] = [{"API": pages} if "API" in part else part for part in reference]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are made."""
    found = public()
    made = {"api/index.md": reference_index(found), "gallery.md": gallery(), "cli.md": command_line()}
    made |= {f"api/{name}.md": reference_page(name, names) for name, names in found.items()}
    made |= {target: relinked((ROOT / source).read_text(), ".") for source, target in COPIED.items()}
    for target, text in made.items():
        files.append(File.generated(config, target, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links of the documents that are written by hand, and rank lists behind explanations in the search."""
    if page.file.src_uri.startswith(LISTS):
        page.meta["search"] = {"boost": 0.1}
    return markdown if page.file.generated_by else relinked(markdown, "docs")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the citations of every page."""
    return cited(html, addresses())


def on_post_build(config: MkDocsConfig) -> None:
    """Put the text of the search engine into a script: a page from the disk may start no other file as a worker."""
    site = Path(config.site_dir)
    (engine,) = site.glob("assets/javascripts/workers/search.*.js")
    (site / "assets" / "iframe-worker.js").write_text(FROM_DISK % json.dumps(engine.read_text()))
