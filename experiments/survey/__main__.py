"""The survey's pictures (Li 2017) over seeds: the tables and pictures of docs/survey.md.

    python -m experiments.survey [ring8] [digits] [fashion-mnist] [--scale tiny] [--no-compile] [--runs runs/survey]

ring8: D or G in the inner loop. digits, fashion-mnist: WGAN and GAN, each with three generators. The seeds of a recipe
train as one ensemble; a run that is there already and finished is not repeated. Figures go to figures.jsonl, from which
the tables and pictures are drawn anew. --scale tiny takes a hundredth of the steps of ring8 and digits, leaves
fashion-mnist out, and writes beside its runs: a minute or two, to see that all of it works.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import script
from experiments import records
from experiments.pages import DOCS
from experiments.survey import hopping, pictures, quality
from experiments.survey.page import page
from experiments.survey.settings import SCALES, Scale, recipes, trained
from experiments.trained import existing
from steadygan.errors import UsageError, nearest

FIGURES, PAGE = Path(__file__).parent / "figures.jsonl", DOCS / "survey.md"


def studied(data: str, only: Sequence[str], scale: Scale, runs: Path, figures: Path) -> None:
    """Train and measure the recipes of one data set."""
    for name in only or recipes(data):
        if name in recipes(data):
            folder = trained(name, data, scale, runs)
            measure = hopping.measured if data == "ring8" else quality.measured
            records.put(figures, name, {"data": data, **measure(folder)})
            print(name, "done", flush=True)


def chosen(sets: Sequence[str], only: Sequence[str], scale: Scale) -> list[str]:
    """Those of the sets that have one of these recipes. Raises UsageError for an unknown set or recipe.

    >>> chosen(["ring8", "digits"], ["digits-gan-bn"], SCALES["tiny"])
    ['digits']
    """
    for name in sets:
        if name not in scale.seeds:
            raise UsageError(f"there is no {name!r} at this scale: {nearest(name, scale.seeds)}")
    known = [recipe for name in sets for recipe in recipes(name)]
    for recipe in only:
        if recipe not in known:
            raise UsageError(f"--only {recipe!r} is no recipe of {', '.join(sets)}: {nearest(recipe, known)}")
    return [name for name in sets if not only or set(only) & {*recipes(name)}]


def drawn(data: str, runs: Path, found: dict[str, records.Record], out: Path) -> None:
    """The two pictures of one data set, of the recipes that have figures. Raises UsageError where a run is gone."""
    mine = {name: found[name] for name in recipes(data) if name in found}
    folders = {name: runs / name for name in mine}
    existing(folders, data)
    if data == "ring8":
        pictures.draw_ring(folders, out / "survey-ring8.png")
        pictures.draw_modes(mine, out / "survey-modes.png")
    else:
        pictures.draw_images(folders, out / f"survey-{data}.png")
        pictures.draw_curves(mine, out / f"survey-{data}-critic.png")


def main(words: Sequence[str] | None = None) -> None:
    parser = script.parser(__doc__)
    parser.add_argument(
        "data", nargs="*", metavar="SET", help="ring8, digits, fashion-mnist (default: all of the scale)"
    )
    parser.add_argument("--only", nargs="*", default=[], help="these recipes alone")
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    parser.add_argument("--runs", type=Path, default=Path("runs/survey"))
    parser.add_argument("--out", type=Path, default=None, help="where the page and the pictures go")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    given = parser.parse_args(words)
    scale = SCALES[given.scale]._replace(compiled=given.compile and given.scale == "full")
    runs = given.runs if given.scale == "full" else given.runs / given.scale
    sets = chosen(given.data or list(scale.seeds), given.only, scale)
    full = given.scale == "full"
    out, figures = given.out or (DOCS if full else runs), FIGURES if full else runs / "figures.jsonl"
    for data in sets:
        studied(data, given.only, scale, runs, figures)
        found = records.read(figures)
        (out / PAGE.name).write_text(page(found, PAGE.read_text()))
        drawn(data, runs, found, out)


if __name__ == "__main__":
    script.run(main)
