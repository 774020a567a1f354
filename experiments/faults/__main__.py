"""Try what a run survives, kind by kind, and print how many trials kept what is promised.

    python -m experiments.faults [--seed 0] [--trials KIND ...] [--scale small|full] [--out FOLDER]

The figures are kept in figures.jsonl of the folder after each block of trials. Trials of this seed and scale that are
there are not made again. The full ones make the table of docs/reliability.md. Exit code 0 when all held.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import script
from experiments import records
from experiments.faults.commands import load
from experiments.faults.kinds import KINDS
from experiments.faults.trials import NONE, Kind, as_record, joined, table
from experiments.pages import DOCS, replaced
from steadygan.errors import UsageError, nearest

FIGURES, PAGE = Path(__file__).with_name("figures.jsonl"), DOCS / "reliability.md"


def main() -> int:
    options = parse()
    figures = (Path(options.out) if options.out else FIGURES.parent) / "figures.jsonl"
    chosen = options.trials or list(KINDS)
    for name in chosen:
        if name not in KINDS:
            raise UsageError(f"--trials {name!r} is no kind of trial: {nearest(name, KINDS)}")
    of = {"seed": options.seed, "scale": options.scale}
    lacking = [name for name in chosen if KINDS[name].lacks(known(name, of, figures)) != 0]
    if lacking:
        with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
            prepare(Path(scratch))
            for name in lacking:
                try_kind(name, of, figures, Path(scratch))
    found = {name: figure for name, figure in records.read(figures).items() if name in chosen}
    print(table(KINDS, found))
    for name, figure in found.items():
        for words, count in figure["fell"].items():
            print(f"{name}: {count} times {words}")
    if figures == FIGURES and options.scale == "full":
        PAGE.write_text(replaced(PAGE.read_text(), "faults", table(KINDS, records.read(figures))))
    return int(any(figure["held"] < figure["trials"] for figure in found.values()))


def parse() -> argparse.Namespace:
    parser = script.parser(__doc__)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments, the damages and the fuzzed words"
    )
    parser.add_argument(
        "--trials", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all when not given"
    )
    parser.add_argument("--scale", choices=("small", "full"), default="full")
    parser.add_argument("--out", help="folder of figures.jsonl; this package when not given")
    return parser.parse_args()


def prepare(scratch: Path) -> None:
    """Load what the commands need, with a cache of this program alone."""
    os.environ["STEADYGAN_CACHE"] = str(scratch / "cache")
    os.environ.pop("WORLD_SIZE", None)
    load(scratch)


def known(name: str, of: dict[str, Any], figures: Path) -> dict[str, Any]:
    """The figures of a kind that are kept, if they are of this seed and scale."""
    found = records.read(figures).get(name, {})
    return found if of.items() <= found.items() else {**of, "blocks": 0, **NONE}


def try_kind(name: str, of: dict[str, Any], figures: Path, scratch: Path) -> None:
    """Make the trials of a kind that its figures lack, block by block."""
    kind, now = KINDS[name], known(name, of, figures)
    while (count := kind.lacks(now)) != 0:
        chance = Random(f"{of['seed']} {name} {now['blocks']}")
        found = tried(kind, chance, count, scratch)
        now = {**of, "blocks": now["blocks"] + 1, **joined(now, found)}
        records.put(figures, name, now)


def tried(kind: Kind, chance: Random, count: int | None, scratch: Path) -> dict:
    """The figures of one kind, tried in an empty folder."""
    folder = scratch / "kind"
    folder.mkdir()
    try:
        return as_record(kind.trials(chance, count, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    script.run(main)
