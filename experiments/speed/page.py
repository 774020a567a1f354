"""What experiments.speed.run measured, in words for docs/speed.md and as its picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.records import Record

BOUND = 1.2
"""A cost of more than this times the panel's least is off the straight line."""


class Words(NamedTuple):
    """What a panel's axis shows, and of what the cost is compared over its sizes."""

    axis: str
    unit: str


PANELS = {
    "members": Words("members of an ensemble", "run"),
    "batch": Words("batch", "sample"),
    "width": Words("width of the MLPs", "FLOP"),
    "side": Words("side of the images, pixels", "FLOP"),
}

# ---------------------------------------------------------------------------------------------------------- figures


def points(figures: Mapping[str, Record], panel: str) -> list[Record]:
    """The points of a panel, by size."""
    return sorted((one for one in figures.values() if one.get("panel") == panel), key=lambda one: one["size"])


def dearness(line: Sequence[Record]) -> list[float]:
    """Time of a FLOP at each point over the least of them: in batch or members it is also that of a sample or run.

    >>> dearness([{"ms": 3.0, "flops": 1}, {"ms": 4.0, "flops": 2}])
    [1.5, 1.0]
    """
    costs = [one["ms"] / one["flops"] for one in line]
    return [cost / min(costs) for cost in costs]


def straight(line: Sequence[Record]) -> list[Record]:
    """The points about the cheapest one that are within 20 % of its cost."""
    dear = dearness(line)
    first = last = dear.index(1.0)
    while first > 0 and dear[first - 1] <= BOUND:
        first -= 1
    while last < len(line) - 1 and dear[last + 1] <= BOUND:
        last += 1
    return list(line[first : last + 1])


def parts(line: Sequence[Record]) -> tuple[float, float, float]:
    """Milliseconds of a step whatever its size, of each unit of size, and the largest relative error of that line.

    It is the line of least squared relative errors.

    >>> [round(part, 9) for part in parts([{"ms": 5.0, "size": 1, "members": 1}, {"ms": 4.0, "size": 2, "members": 2}])]
    [2.0, 3.0, 0.0]
    """
    sizes = np.array([one["size"] for one in line])
    times = np.array([one["ms"] * one["members"] for one in line])
    each, fixed = np.polyfit(sizes, times, 1, w=1 / times)
    return float(fixed), float(each), float(abs((fixed + each * sizes) / times - 1).max())


def floor(one: Record, peak: float) -> float:
    """Milliseconds that the FLOPs of a point take at the fastest product's rate in GFLOP/s."""
    return one["flops"] / peak / 1e6


# ------------------------------------------------------------------------------------------------------------ words

CAPTION = (
    "CPU time of a compiled step, for each run of an ensemble. Full markers: the cost a run, a sample or a FLOP is "
    "within 20 % of the least in the panel. Dotted: the FLOPs of the step as it is written, at the rate of the fastest "
    "product."
)


def text(figures: Mapping[str, Record]) -> str:
    """The part of the page that the figures make."""
    machine, line = figures["machine"], {name: points(figures, name) for name in (*PANELS, "one block")}
    kept = ", ".join(f"{level} has {kib(each * 2**10)}" for level, each in machine["caches"].items())
    head = (
        f"Measured on one thread of {machine['processor']}, with {machine['vectors']} vectors and torch "
        f"{machine['torch']}, in float32. Its fastest product of matrices reaches "
        f"{machine['peak']:.0f} GFLOP/s. The MLPs are FARGAN's on the ring, in batches of 64. The images have one "
        "channel, and the game on them is DCGAN of width 16 with R1. The same step, measured in several panels, "
        f"differs by at most {percent(repeated(figures))}."
    )
    items = [
        f"- **Members.** {members(line['members'], line['one block'], kept or 'no size is known')}",
        f"- **Batch.** {batch(line['batch'])}",
        f"- **Width.** {width(line['width'], line['batch'])}",
        f"- **Side.** {side(line['side'])}",
    ]
    picture = "![milliseconds of a step over members, batch, width and side](speed-curves.png)"
    return "\n".join(
        [head, "", picture, "", f"*{CAPTION}*", "", "Where the cost leaves a straight line:", "", *items]
    )


def kib(count: float) -> str:
    """A number of bytes.

    >>> kib(48 * 2**10), kib(12 * 2**20)
    ('48 KiB', '12 MiB')
    """
    return f"{count / 2**10:.0f} KiB" if count < 2**20 else f"{count / 2**20:.0f} MiB"


def repeated(figures: Mapping[str, Record]) -> float:
    """The largest relative difference between the times of one step that is a point of several panels.

    >>> step = {"flops": 5, "members": 1, "block": 1}
    >>> repeated({"a 1": {**step, "ms": 2.0}, "b 1": {**step, "ms": 2.5}, "b 2": {**step, "ms": 9, "block": 2}})
    0.25
    """
    same: dict[tuple[int, ...], list[float]] = {}
    for one in figures.values():
        if "ms" in one:
            same.setdefault((one["flops"], one["members"], one["block"]), []).append(one["ms"])
    return max(max(times) / min(times) - 1 for times in same.values())


def within(line: Sequence[Record], unit: str) -> str:
    """Where the cost is within 20 % of the least, and how much dearer the first and the last size are, if they are."""
    near, dear = straight(line), dearness(line)
    first, last = (f"{one['size']:,}" for one in (near[0], near[-1]))
    where = f"From {first} to {last}" if len(near) > 1 else f"At {first} alone"
    found = f"{where} the cost a {unit} is within 20 % of the least."
    far = [
        f"at {one['size']:,} it is {times:.1f} times the least"
        for one, times in ((line[0], dear[0]), (line[-1], dear[-1]))
        if one not in near
    ]
    return f"{found} {' and '.join(far).capitalize()}." if far else found


def percent(share: float) -> str:
    """A share in whole percent, rounded up.

    >>> percent(0.011)
    '2 %'
    """
    return f"{math.ceil(100 * share)} %"


def members(line: Sequence[Record], block: Sequence[Record], caches: str) -> str:
    """An ensemble: members share the fixed cost of a step, and larger blocks leave the caches."""
    single = [one for one in line if one["block"] == one["members"]]
    most = single[-1]["members"]
    fixed, each, error = parts(single)
    dearer = " and ".join(
        f"{one['ms'] / block[0]['ms']:.1f} times as much with {one['size']}" for one in block[1:]
    )
    sizes = ", ".join(f"{kib(one['bytes'])} with {one['size']}" for one in block)
    return (
        f"{within(line, 'run')} A step takes {fixed:.3f} ms whatever its size (calls and Python), and {each:.3f} ms "
        f"for each member. This sum is within {percent(error)} of each point up to {most}. So members share the fixed "
        f"cost. Larger ensembles train in blocks of {most}: a run among {line[-1]['size']} costs "
        f"{line[-1]['ms'] / single[-1]['ms']:.2f} times as much as one among {most}. In one block (dashed) it costs "
        f"{dearer}. As `--dry-run` counts them, the tensors of a step take {sizes}. Of the caches, {caches}. So more "
        "and more of the tensors come from slower levels."
    )


def batch(line: Sequence[Record]) -> str:
    """The batch: a fixed cost and a cost a sample."""
    fixed, each, error = parts(line)
    return (
        f"{within(line, 'sample')} The cause is the fixed cost again, here {fixed:.3f} ms, beside {each * 1e3:.2f} µs "
        f"for each sample. This sum is within {percent(error)} of each point. The tensors of the largest batch take "
        f"{kib(line[-1]['bytes'])}."
    )


def width(line: Sequence[Record], batches: Sequence[Record]) -> str:
    """The width: products grow with its square, all else slower."""
    fixed, _, _ = parts(batches)
    return (
        f"{within(line, 'FLOP')} FLOPs grow with the square of the width, activations with the width, and the fixed "
        f"cost not at all. Of the {line[0]['ms']:.3f} ms at {line[0]['size']}, the fixed cost of {fixed:.3f} ms is "
        "most."
    )


def side(line: Sequence[Record]) -> str:
    """The side of the images: time follows pixels, FLOPs grow faster."""
    first, last = line[0], line[-1]
    pixels = (last["size"] / first["size"]) ** 2
    flops, time = (last[key] / first[key] / pixels for key in ("flops", "ms"))
    return (
        f"{within(line, 'FLOP')} Each doubling of the side adds a stage of more channels. So from {first['size']} to "
        f"{last['size']} the FLOPs a pixel grow {flops:.0f} times, and the time a pixel {time:.1f} times. Layers next "
        "to the image have few channels, and do little arithmetic for each number that they read and write."
    )


# ---------------------------------------------------------------------------------------------------------- picture

MEASURED, BLOCK, FLOOR = "#0072B2", "#D55E00", "#777777"
"""Told apart by every eye."""


def draw(figures: Mapping[str, Record], out: Path) -> None:
    """Four panels: milliseconds of a step and run over the size, and those of its FLOPs at the peak."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(5.6, 5.6), layout="constrained")
    for axis, (name, words) in zip(axes.flat, PANELS.items(), strict=True):
        line = points(figures, name)
        _frame(axis, words.axis, line)
        peak = figures["machine"]["peak"]
        axis.plot(
            *_curve(line, [floor(one, peak) for one in line]),
            ":",
            color=FLOOR,
            label="FLOPs at the peak rate",
        )
        _marked(axis, line, straight(line))
    block = points(figures, "one block")
    axes.flat[0].plot(
        *_curve(block, [one["ms"] for one in block]),
        "--s",
        color=BLOCK,
        ms=4,
        lw=1.3,
        label="all members in one block",
    )
    figure.supylabel("milliseconds a step and run", fontsize=11)
    _legend(figure, axes.flat[0])
    figure.savefig(out, dpi=150)
    pyplot.close(figure)


def _curve(line: Sequence[Record], values: Sequence[float]) -> tuple[list[int], Sequence[float]]:
    return [one["size"] for one in line], values


def _marked(axis: Any, line: Sequence[Record], near: Sequence[Record]) -> None:
    """The measured line, with full markers where the cost is within 20 % of the least, and hollow ones elsewhere."""
    axis.plot(*_curve(line, [one["ms"] for one in line]), color=MEASURED, lw=1.5)
    for chosen, fill, label in (
        (near, MEASURED, "cost within 20 % of the least"),
        ([one for one in line if one not in near], "white", "cost above that"),
    ):
        axis.plot(
            *_curve(chosen, [one["ms"] for one in chosen]), "o", color=MEASURED, mfc=fill, ms=5.5, label=label
        )


def _frame(axis: Any, title: str, line: Sequence[Record]) -> None:
    """Scales, ticks at some of the sizes and at round times, and a title."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    sizes, times = ([one[key] for one in line] for key in ("size", "ms"))
    shown = [each for each in sizes if len(sizes) < 6 or math.log2(each) % 2 == 0]
    subs = (1, 1.5, 2, 3, 5) if max(times) < 10 * min(times) else (1, 2, 5)
    axis.set_xticks(shown, [f"{each:,}" for each in shown])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=subs))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.tick_params(labelsize=10)
    axis.set_title(title, fontsize=11, loc="left")
    axis.grid(alpha=0.3)


def _legend(figure: Any, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=10)
