"""Whether reading images holds training up: the loader's images a second against the fastest step's, and its memory.

    python -m benchmarks.data [--images 50000] [--repeats 5] [--skip-step IMAGES_A_SECOND]

The set is noise, 3x32x32, prepared as every set is: an array on disk that is mapped into memory. Batches are drawn as
the trainer draws them, all that a step needs of them (shuffled rows mirrored at random and brought to -1..1, latents),
on one thread. The step is the fastest that the project has on a CPU: a DCGAN of width 32 without penalty, bfloat16,
channels-last, compiled, its batch given. --skip-step takes a figure instead of measuring it. Exit code 1 when the
loader gives less than 20 times what the step takes, or when a second and third epoch add to the process's memory.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import script
from steadygan import config
from steadygan.build import Run, build
from steadygan.data import Data, array_cache
from steadygan.data.sources import BLOCK, Block, Source
from steadygan.game.batches import Draws
from steadygan.training.compile.compiled_step import compiled
from steadygan.training.compile.cpu import products, work

SHAPE = (3, 32, 32)
BATCH = 64
TIMES = 20  # what the loader must give for each image that the step takes
ROOM = 16.0  # MB that allocators may take meanwhile; the set has 154


def main() -> int:
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STEADYGAN_CACHE"] = folder
        data = noise(options.images)
        run = training(Path(folder))
        draws = Draws(run.game, run.rule.rounds, data, [0], members=False, dtype=torch.float32)
        print(f"{options.images:,} images 3x32x32 in {data.mapped.name}, batch {BATCH}, one thread")
        given = loader(draws, options.images, options.repeats)
        print(f"{'the loader gives':32}{given:12,.0f} images/s")
        grown = memory(draws, options.images)
        taken = options.skip_step or consumed(run, draws, options.repeats)
    how = "(as stated)" if options.skip_step else "(measured)"
    print(f"{'the fastest step takes':32}{taken:12,.0f} images/s {how}")
    print(f"{'ratio':32}{given / taken:12.0f}   (wanted: {TIMES} or more)")
    print(f"{'own memory after the first epoch':32}{grown:+12.1f} MB (wanted: {ROOM:.0f} or less)")
    return int(given / taken < TIMES or grown > ROOM)


def parse() -> argparse.Namespace:
    parser = script.parser(__doc__)
    parser.add_argument("--images", type=script.positive, default=50_000, help="in the set, 64 or more")
    parser.add_argument("--repeats", type=script.positive, default=5)
    parser.add_argument("--skip-step", type=float, metavar="IMAGES_A_SECOND", help="what a step consumes")
    return parser.parse_args()


def noise(count: int) -> Data:
    """A prepared set of random bytes."""

    def blocks(skip: bool) -> Iterator[Block]:
        chance = np.random.default_rng(0)
        for start in range(0, count, BLOCK):
            yield Block(chance.integers(0, 256, (min(BLOCK, count - start), *SHAPE), dtype=np.uint8))

    return array_cache.load(Source("noise", Path("noise"), [], count, blocks, {}))._replace(flip=True)


def training(folder: Path) -> Run:
    """A run of the fastest step, of images of this shape."""
    for index in range(BATCH):
        Image.new("RGB", SHAPE[1:]).save(folder / f"{index}.png")
    settings = {
        "data": {"name": "images", "path": str(folder)},
        "networks": {"name": "dcgan", "width": 32},
        "optimizer": {"name": "adam", "lr": 2e-4},
        "steps": 1000,
        "batch": BATCH,
        "precision": "bfloat16",
        "channels_last": True,
    }
    return build(config.parse(settings))


def loader(draws: Draws, count: int, repeats: int) -> float:
    """Images a second over an epoch, the median; the first epoch is not counted, for the file may have to be read."""
    steps, step, speeds = max(1, count // BATCH), 0, []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        for _ in range(steps):
            draws(step)
            step += 1
        speeds.append(steps * BATCH / (time.perf_counter() - began))
    return statistics.median(speeds[1:])


def memory(draws: Draws, count: int) -> float:
    """MB by which the process's own memory grows in two epochs after one; the mapped file is everybody's."""
    steps = max(1, count // BATCH)
    marks = []
    for epoch in range(3):
        for step in range(epoch * steps, (epoch + 1) * steps):
            draws(step)
        own, mapped = resident()
        marks.append(own)
        print(f"{f'memory after epoch {epoch + 1}':32}{own:12,.1f} MB, and {mapped:,.1f} MB of mapped files")
    return max(marks[1:]) - marks[0]


def resident() -> tuple[float, float]:
    """MB of this process in memory: its own, and pages of files that it maps (Linux says them apart)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def consumed(run: Run, draws: Draws, repeats: int, steps: int = 50) -> float:
    """Real images a second that the compiled step takes when it waits for nothing, the fastest repeat."""
    step, batch, state = compiled(run.step, print, "bfloat16"), draws(0), run.state
    real = sum(len(draw["x_real"]) for draw in batch if "x_real" in draw)
    seconds = []
    with products(work(run.game, BATCH)):
        for repeat in range(repeats + 1):
            began = time.perf_counter()
            for _ in range(steps):
                state, _ = step(state, batch)
            if repeat:  # the first compiles
                seconds.append((time.perf_counter() - began) / steps)
    return real / min(seconds)


if __name__ == "__main__":
    script.run(main)
