"""How the English of this repository reads: words and commas a sentence, in the documents and in public docstrings.

    python docs/check.py                 the documents: README, CONTRIBUTING, CHANGELOG's unreleased part, docs/
    python docs/check.py --docstrings    the docstrings of the package's public names, a line a package
    python docs/check.py FILE... --long  these files, and every sentence of more than 32 words

Code, tables, headings and captions of pictures are left out. A list item is a sentence of its own.
"""

import argparse
import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONG = 32


def prose(markdown: str) -> Iterator[str]:
    """The paragraphs and list items of a document, without code, tables, headings and pictures."""
    text = re.sub(r"^(```|~~~).*?^\1", "\n", markdown, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+\.)\s)", text):
        line = re.sub(r"\s+", " ", re.sub(r"^\s*(?:[-*+>]|\d+\.)\s+", "", block)).strip()
        if line and not line.startswith(("|", "#", "![", "[![", "<", "    ")):
            yield re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph.

    >>> sentences("One thought (e.g. this). Another: `a.b = 1`, and 0.5 of it!")
    ['One thought (e.g. this).', 'Another: `a.b = 1`, and 0.5 of it!']
    """
    hidden = re.sub(
        r"`[^`]*`", lambda code: code[0].replace(" ", "\u00a0").replace(". ", ".\u00a0"), paragraph
    )
    hidden = re.sub(r"\b(e\.g|i\.e|al|Eqn|Fig|vs|cf|Alg|No)\. ", "\\1.\u00a0", hidden)
    parts = re.split(r"(?<=[.!?])[\"')*_]*\s+(?=[A-Z`\"'(*\d])", hidden)
    return [part.replace("\u00a0", " ") for part in parts if len(part.split()) > 1]


def docstrings(file: Path) -> Iterator[str]:
    """The prose of the docstrings of a module and of its public names, without doctests."""
    tree = ast.parse(file.read_text())
    for node in (tree, *(n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef))):
        text = ast.get_docstring(node)
        if text and not getattr(node, "name", "").startswith("_"):
            yield from prose(re.sub(r"^ *>>>.*?(?=\n\s*\n|\Z)", "", text, flags=re.S | re.M))


def documents() -> dict[str, list[str]]:
    """The paragraphs of each document."""
    changes = (ROOT / "CHANGELOG.md").read_text()
    unreleased = re.search(r"^## .*?(?=^## |\Z)", changes, re.S | re.M)
    found = {"CHANGELOG.md": list(prose(unreleased[0] if unreleased else ""))}
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        found[str(file.relative_to(ROOT))] = list(prose(file.read_text()))
    return found


def packages() -> dict[str, list[str]]:
    """The paragraphs of the docstrings of each package, and of the modules at the root."""
    root = ROOT / "src" / "steadygan"
    found: dict[str, list[str]] = {}
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).parts
        found.setdefault(parts[0] if len(parts) > 1 else "(root)", []).extend(docstrings(file))
    return found


def measured(paragraphs: list[str]) -> tuple[int, float, float, list[str]]:
    """How many sentences, the median of their words and of their commas and semicolons, and the long ones."""
    every = [sentence for paragraph in paragraphs for sentence in sentences(paragraph)]
    if not every:
        return 0, 0, 0, []
    words = [len(sentence.split()) for sentence in every]
    commas = [sum(sentence.count(mark) for mark in ",;") for sentence in every]
    long = [sentence for sentence, count in zip(every, words, strict=True) if count > LONG]
    return len(every), statistics.median(words), statistics.median(commas), long


def main() -> None:
    """Print a line for each document or package, and one for all."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("files", nargs="*", type=Path)
    asked.add_argument("--docstrings", action="store_true")
    asked.add_argument("--long", action="store_true", help=f"show sentences of more than {LONG} words")
    given = asked.parse_args()
    if given.files:
        found = {
            str(file): list(docstrings(file) if file.suffix == ".py" else prose(file.read_text()))
            for file in given.files
        }
    else:
        found = packages() if given.docstrings else documents()
    found["all"] = [paragraph for paragraphs in found.values() for paragraph in paragraphs]
    print(f"{'':28}sentences  words  commas  over {LONG} words")
    for name, paragraphs in found.items():
        count, words, commas, long = measured(paragraphs)
        print(f"{name:28}{count:9}  {words:5.1f}  {commas:6.1f}  {len(long):5}")
        for sentence in long if given.long and name != "all" else []:
            print(f"    {sentence}")


if __name__ == "__main__":
    main()
