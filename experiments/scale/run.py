"""Two published recipes on 8 and 64 GPUs, on paper: memory, bytes on the wire and efficiency.

    python -m experiments.scale.run

Nothing is trained, and no images and no GPU are needed. A step of each recipe is counted as `train --dry-run` counts
it, in bfloat16, with its own batch and with one eight times as large. Figures go to figures.jsonl, a line for each
recipe and batch. The tables in docs/scale.md are made of them, with the assumptions below. Some 20 s on one core.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import script
from experiments import records
from experiments.pages import DOCS, replaced
from steadygan import config
from steadygan.build import Own, build
from steadygan.commands.step_cost import parameters, step_cost
from steadygan.data import Data
from steadygan.recipes.catalogue import find_recipe
from steadygan.training.scaling import LATENCY, Link, Message, communication, efficiency, sent

FIGURES = Path(__file__).parent / "figures.jsonl"
PAGE = DOCS / "scale.md"


class Study(NamedTuple):
    """A recipe, the side of its images, their number in the published set, and what eight times its batch changes."""

    side: int
    images: int
    larger: dict[str, Any]


RECIPES = {
    "imagenet64-far-resnet-fargan": Study(
        64, 1_281_167, {"batch": 512, "fake_as_real": {"count": 256, "pool": 8}}
    ),
    "celebahq256-gn-resnet-gn": Study(
        256, 30_000, {"batch": 512, "game": {"name": "gan", "loss": "hinge", "batch_G": 1024}}
    ),
}

PEAK = 989e12
"""FLOPs a second of an H100 SXM in dense bfloat16, as its maker publishes it."""

USES = (0.3, 0.4)
"""The shares of that peak that training reaches: an assumption."""


class Cluster(NamedTuple):
    """GPUs, bytes a second that each of them sends to a neighbour, and what connects them."""

    gpus: int
    bandwidth: float
    words: str


CLUSTERS = (
    Cluster(1, 450e9, ""),
    Cluster(8, 450e9, "NVLink, 450 GB/s"),
    Cluster(64, 400e9, "InfiniBand, 400 GB/s"),
    Cluster(64, 12.5e9, "one card, 12.5 GB/s"),
)

# ------------------------------------------------------------------------------------------------------- counting


def blank(study: Study) -> Data:
    """Black images, as many as the published set has. They take the memory of one."""
    shape = (3, study.side, study.side)
    rows = torch.zeros(1, *shape, dtype=torch.uint8).expand(study.images, *shape)
    return Data("blank", shape, rows)


def counted(name: str, changes: Mapping[str, Any]) -> records.Record:
    """What a step of a recipe costs, with these changes: for each number of GPUs, of the one with most rows."""
    study = RECIPES[name]
    raw = {"name": name, **find_recipe(name)[1], "data": "own", "precision": "bfloat16", **changes}
    settings = config.parse(raw)
    run = build(settings, Own(data=blank(study)))
    each = {gpus: step_cost(run, processes=gpus) for gpus in sorted({cluster.gpus for cluster in CLUSTERS})}
    return {
        "recipe": name,
        "batch": settings.batch,
        "steps": settings.steps * find_recipe(name)[1]["batch"] // settings.batch,
        "parameters": parameters(run),
        "data": study.images * 3 * study.side**2,
        "steps_of": {str(gpus): step._asdict() for gpus, step in each.items()},
    }


# ----------------------------------------------------------------------------------------------------------- page


def between(values: Sequence[float], form: str) -> str:
    """The smallest and the largest of the values, or one of them where they look the same.

    >>> between([0.75, 0.5], ".0%"), between([1.01, 1.02], ".1f")
    ('50% to 75%', '1.0')
    """
    return " to ".join(dict.fromkeys(format(value, form) for value in (min(values), max(values))))


def rows(figure: records.Record) -> Iterator[str]:
    """A row of the table for each cluster."""
    alone = [figure["steps_of"]["1"]["flops"] / (PEAK * use) for use in USES]
    for gpus, bandwidth, words in CLUSTERS:
        mine = figure["steps_of"][str(gpus)]
        messages = [Message(*message) for message in mine["messages"]]
        talk = communication(messages, gpus, Link(bandwidth, LATENCY))
        work = [mine["flops"] / (PEAK * use) for use in USES]
        step = [one + talk for one in work]
        cells = [
            f"{figure['batch']}",
            f"{gpus}",
            words,
            f"{(mine['state'] + mine['batch'] + mine['peak']) / 2**30:.1f}",
            f"{sent(messages, gpus) / 1e6:,.0f}",
            between([1e3 * one for one in work], ",.1f"),
            f"{talk * 1e3:.1f}",
            between([efficiency(one, whole, gpus) for one, whole in zip(alone, step, strict=True)], ".0%"),
            between([one * figure["steps"] / 3600 for one in step], ".1f"),
        ]
        yield f"| {' | '.join(cells)} |"


def table(name: str, figures: Mapping[str, records.Record]) -> str:
    """The table of one recipe."""
    mine = [figure for figure in figures.values() if figure["recipe"] == name]
    first, one, most = mine[0], *(mine[0]["steps_of"][gpus] for gpus in ("1", "64"))
    players = ", ".join(f"{player} {count:,}" for player, count in first["parameters"].items())
    sums, whole = (sum(kind) for kind in zip(*((times, size * times) for size, times in most["messages"])))
    return "\n".join(
        [
            f"**`{name}`**. Parameters: {players}. A step of batch {first['batch']} is "
            f"{one['flops'] / 1e12:,.1f} TFLOP. Its peak is {one['peak'] / 2**30:.1f} GiB beside a state of "
            f"{one['state'] / 2**30:.1f} GiB. On 64 GPUs it needs {sums} sums over processes, of "
            f"{whole / 1e6:,.0f} MB together. The images are {first['data'] / 2**30:.1f} GiB of bytes.",
            "",
            "| batch | GPUs | connected by | memory of a GPU, GiB | sent by each, MB | arithmetic, ms | "
            "communication, ms | efficiency | the recipe's images, hours |",
            "|---" * 9 + "|",
            *(row for figure in mine for row in rows(figure)),
        ]
    )


def page(figures: Mapping[str, records.Record], text: str) -> str:
    """The page with its tables made anew."""
    for name in RECIPES:
        text = replaced(text, name, table(name, figures))
    return text


def main() -> None:
    script.parser(__doc__).parse_args()
    for name, study in RECIPES.items():
        for changes in ({}, study.larger):
            found = counted(name, changes)
            records.put(FIGURES, f"{name} {found['batch']}", found)
    PAGE.write_text(page(records.read(FIGURES), PAGE.read_text()))


if __name__ == "__main__":
    script.run(main)
