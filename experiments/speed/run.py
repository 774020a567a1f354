"""What a compiled training step costs by its size: members of an ensemble, batch, width, and side of the images.

    python -m experiments.speed.run

Each point is a compiled step on one thread, as `train` takes it: the median CPU time of some series. The points of a
panel take turns, so that load hits all alike. Figures go to figures.jsonl, a line for each point. The part of
docs/speed.md between its marks is made of them, and the picture docs/speed-curves.png. A point that has a line is not
measured again: delete lines that look wrong. On another processor or torch all is measured anew. Some 6 minutes on two
cores, most of them compiling.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import script
from benchmarks.gpu import images
from benchmarks.step import FASHION, RING, STRETCH, Candidate, interleaved, ours, peak_gflops
from experiments import records
from experiments.pages import DOCS, replaced
from experiments.speed.page import draw, text
from steadygan import config
from steadygan.build import NOTHING, Own, build
from steadygan.commands.step_cost import step_cost
from steadygan.data import Data
from steadygan.training.advance import TOGETHER

FIGURES = Path(__file__).parent / "figures.jsonl"
PAGE, PICTURE = DOCS / "speed.md", DOCS / "speed-curves.png"
MARK = "python -m experiments.speed.run"

SERIES = 5
WORK = 2e10
"""FLOPs of a series, unless that is less than the panel's least number of steps: about .3 s."""

DCGAN = {
    **{key: value for key, value in FASHION.items() if key != "fake_as_real"},
    "data": "own",
    "networks": {"name": "dcgan", "width": 16},
    "precision": "float32",
    "channels_last": True,
}


class Panel(NamedTuple):
    """A game, the sizes at which its step is measured, and what a size changes.

    `together` members are one block, and a series has at least `steps` steps.
    """

    settings: Mapping[str, Any]
    sizes: Sequence[int]
    changes: Callable[[int], dict[str, Any]]
    together: int | None = TOGETHER
    steps: int = STRETCH


PANELS = {
    "members": Panel(RING, (1, 2, 4, 8, 16, 64, 256), lambda n: {"seeds": n}),
    "one block": Panel(RING, (16, 64, 256), lambda n: {"seeds": n}, together=None),
    "batch": Panel(
        RING,
        (16, 32, 64, 128, 256, 512, 1024),
        lambda n: {"batch": n, "fake_as_real": {"count": n // 4, "pool": 8}},
    ),
    "width": Panel(RING, (16, 32, 64, 128, 256, 512), lambda n: {"networks": {"name": "mlp", "width": n}}),
    "side": Panel(DCGAN, (8, 16, 32, 64), lambda n: {}, steps=8),
}


def machine() -> records.Record:
    """What the times depend on: the processor, its vector units and caches, and torch."""
    return {
        "processor": processor(Path("/proc/cpuinfo")),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "caches": caches(Path("/sys/devices/system/cpu/cpu0/cache")),
        "torch": torch.__version__,
    }


def processor(file: Path) -> str:
    """The name of the model, with the numbers of family and model where Linux tells them."""
    if not file.exists():
        return platform.processor() or platform.machine()
    lines = [line.split(":", 1) for line in file.read_text().split("\n\n")[0].splitlines() if ":" in line]
    found = {key.strip(): value.strip() for key, value in lines}
    name = found.get("model name", platform.machine())
    if "cpu family" not in found:
        return name
    return f"{name} (family {found['cpu family']}, model {found['model']})"


def caches(folder: Path) -> dict[str, int]:
    """KiB of each cache that holds data, by its level; none where Linux does not tell."""
    found = {}
    for cache in sorted(folder.glob("index*")):
        if (cache / "type").read_text().strip() != "Instruction":
            size = (cache / "size").read_text().strip()
            found[f"L{(cache / 'level').read_text().strip()}"] = int(size.removesuffix("K"))
    return found


def prepared(panel: Panel, size: int) -> tuple[Candidate, records.Record]:
    """What is timed at a size, and what its step costs on paper: FLOPs of a run, bytes of all members of a block."""
    shape, settings, changes = (1, size, size), dict(panel.settings), panel.changes(size)
    own = Own(data=Data("random", shape, rows=images(shape))) if panel.settings is DCGAN else NOTHING
    run = build(config.parse({**settings, **changes}), own)
    cost, members = step_cost(run), len(run.members)
    steps = max(panel.steps, int(WORK / (cost.flops * members)))
    candidate, _, seconds = ours(settings, steps, own, panel.together, **changes)
    print(f"size {size}: {seconds:.0f} s to compile", flush=True)
    block = min(members, panel.together or members)
    return candidate, {"flops": cost.flops, "members": members, "block": block, "bytes": block * cost.memory}


def measure(name: str, file: Path) -> None:
    """Measure the sizes of a panel that have no line in the file yet."""
    panel, known = PANELS[name], records.read(file)
    missing = [size for size in panel.sizes if f"{name} {size}" not in known]
    each = {f"{name} {size}": prepared(panel, size) for size in missing}
    times = interleaved({point: candidate for point, (candidate, _) in each.items()}, SERIES)
    for point, (_, cost) in each.items():
        print(f"{point}: {times[point]:.3f} ms a step and run", flush=True)
        record = {"panel": name, "size": int(point.split()[-1]), "ms": round(times[point], 4), **cost}
        records.put(file, point, record)


def begun(file: Path) -> None:
    """Forget figures of another machine, and keep what this one is with the fastest product that it reaches."""
    known = records.read(file).get("machine", {})
    if {key: value for key, value in known.items() if key != "peak"} != machine():
        peak = max(peak_gflops() for _ in range(5))
        records.write(file, {"machine": {**machine(), "peak": round(peak, 1)}})


def main() -> None:
    script.parser(__doc__).parse_args()
    torch.set_num_threads(1)
    begun(FIGURES)
    for name in PANELS:
        measure(name, FIGURES)
    figures = records.read(FIGURES)
    draw(figures, PICTURE)
    PAGE.write_text(replaced(PAGE.read_text(), MARK, text(figures)))


if __name__ == "__main__":
    script.run(main)
