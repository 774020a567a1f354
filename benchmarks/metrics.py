"""What scores on features cost: seconds and memory of ours and of torchmetrics on the same stream of features.

    python -m benchmarks.metrics [--real 60000] [--fake 10000] [--size 1280] [--batch 250] [--threads 1] [--small]

Each row is a process of its own, whose peak memory is told apart from what it held before its first feature, and
whose seconds are the processor's (with one thread those of the clock on a quiet machine). Features come batch by
batch and are not held by the script; making them is not timed. The rows:

    fd torchmetrics   FrechetInceptionDistance
    fd ours           Moments and frechet_distance: the same number
    fd ours +-        Summary (blocks for the fakes, one for the reals) and the distance with its jackknife error
    kd torchmetrics   KernelInceptionDistance as it is by default: 100 draws of 1,000, in float32; it keeps all features
    kd ours           Summary and 10 disjoint splits of 1,000, in float64: a tenth of the work. An image is used
                      once, so the mean's error is known; a mean of 100 draws that overlap varies less, but the
                      spread of the draws does not say how much
    all ours          Summary and every score, neighbours among 10,000 of each included

Then whether ours is not slower, whether the distances agree to 1e-4, and all of ours again with a third of the reals:
the others must not cost a tenth of what their features would take. For these two glibc gives back at once what is
above 1 MB, lest holes in the heap count.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import script
from steadygan.errors import UsageError
from steadygan.metrics import Moments, Summary, frechet_distance, scores
from steadygan.metrics.feature_scores import frechet, kernel

SMALL = {"real": 600, "fake": 400, "size": 24, "batch": 50}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stream(images: int, size: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Features in float32, correlated, far from 0 and of falling variances; another mean and scale for each seed."""
    mix = torch.randn(size // 8, size, generator=torch.Generator().manual_seed(0)) / 4
    scales = (1 + 0.1 * seed) / torch.arange(1, size + 1).sqrt()
    g = torch.Generator().manual_seed(1 + seed)
    for start in range(0, images, batch):
        n = min(batch, images - start)
        own = torch.randn(n, size, generator=g) * scales
        yield 2 + 0.01 * seed + own + torch.randn(n, len(mix), generator=g) @ mix


class Given(nn.Identity):
    """The extractor that torchmetrics wants: features go through it as they are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size


Add = Callable[[Tensor, bool], Any]


def torchmetrics_fd(o: argparse.Namespace) -> tuple[Add, Callable]:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Given(o.size), input_img_size=(1,))
    return lambda x, real: metric.update(x, real=real), lambda: {"fd": metric.compute().item()}


def torchmetrics_kd(o: argparse.Namespace) -> tuple[Add, Callable]:
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(Given(o.size), subset_size=min(1000, o.fake // 2, o.real // 2))
    return lambda x, real: metric.update(x, real=real), lambda: {"kd": metric.compute()[0].item()}


def ours_fd(o: argparse.Namespace) -> tuple[Add, Callable]:
    sides = {True: Moments(o.size), False: Moments(o.size)}
    return lambda x, real: sides[real].add(x), lambda: {"fd": frechet_distance(sides[False], sides[True])}


def ours_summary(o: argparse.Namespace, score: Callable[[Summary, Summary], dict]) -> tuple[Add, Callable]:
    sides = {True: Summary(o.size, blocks=1), False: Summary(o.size)}
    return lambda x, real: sides[real].add(x), lambda: score(sides[False], sides[True])


ROWS: dict[str, Callable[[argparse.Namespace], tuple[Add, Callable]]] = {
    "fd torchmetrics": torchmetrics_fd,
    "fd ours": ours_fd,
    "fd ours +-": lambda o: ours_summary(o, lambda a, b: {"fd": frechet(a, b)}),
    "kd torchmetrics": torchmetrics_kd,
    "kd ours": lambda o: ours_summary(o, lambda a, b: {"kd": kernel(a, b)}),
    "all ours": lambda o: ours_summary(o, scores),
}


def measured(row: str, o: argparse.Namespace) -> dict[str, Any]:
    """Seconds to take features in and to compute, peak memory beyond what was held, and the scores."""
    add, compute = ROWS[row](o)
    before, taken = peak(), 0.0
    for real in (True, False):
        for x in stream(o.real if real else o.fake, o.size, o.batch, seed=0 if real else 1):
            began = time.process_time()
            add(x, real)
            taken += time.process_time() - began
    began = time.process_time()
    found = compute()
    return {
        "add_s": taken,
        "compute_s": time.process_time() - began,
        "peak_MB": peak() - before,
        "scores": found,
    }


def alone(row: str, o: argparse.Namespace, **other: int) -> dict[str, Any]:
    """`measured` in a process of its own, printed as a line of the table."""
    given = {name: getattr(o, name) for name in (*SMALL, "threads")} | other
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    env = {**os.environ, **({"MALLOC_MMAP_THRESHOLD_": str(2**20)} if row == "all ours" else {})}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.metrics", "--one", row, *words],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    values = {
        name: score if isinstance(score, float) else score[0] for name, score in found["scores"].items()
    }
    print(
        f"{row:16}  {given['real']:6,}  {found['add_s']:6.1f}  {found['compute_s']:9.1f}  {found['peak_MB']:7.0f}  "
        + "  ".join(f"{name} {value:.5g}" for name, value in values.items()),
        flush=True,
    )
    held = given["real"] * given["size"] * 4 / 2**20
    return found | {"values": values, "reals_MB": held, "total": found["add_s"] + found["compute_s"]}


def verdicts(found: dict[str, dict[str, Any]], fewer: dict[str, Any]) -> Iterator[str]:
    for ours, theirs in (("fd ours", "fd torchmetrics"), ("kd ours", "kd torchmetrics")):
        mine, other = found[ours]["total"], found[theirs]["total"]
        word = "held" if mine <= other else "missed"
        yield f"{ours}: {mine:.1f} s, torchmetrics {other:.1f} s; not slower: {word}"
    more = found["fd ours +-"]["total"] - found["fd ours"]["total"]
    yield f"the Fréchet distance's error, which torchmetrics does not have, takes {more:.1f} s more"
    a, b = (found[row]["values"]["fd"] for row in ("fd ours", "fd torchmetrics"))
    yield f"the Fréchet distances differ by {abs(a / b - 1):.1e}; 1e-4: {'held' if abs(a / b - 1) < 1e-4 else 'missed'}"
    value, error = found["kd ours"]["scores"]["kd"]
    off = abs(found["kd torchmetrics"]["values"]["kd"] - value) / error
    yield f"the kernel distances differ by {off:.1f} of ours' standard errors"
    most, less = found["all ours"], fewer
    grown, held = most["peak_MB"] - less["peak_MB"], most["reals_MB"] - less["reals_MB"]
    word = "held" if grown < held / 10 else "missed"
    yield f"memory grows by {grown:.0f} MB with further reals, whose features take {held:.0f} MB; under a tenth: {word}"


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--real", type=script.positive, default=60_000)
    parser.add_argument("--fake", type=script.positive, default=10_000)
    parser.add_argument("--size", type=script.positive, default=1280)
    parser.add_argument("--batch", type=script.positive, default=250)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--small", action="store_true", help=f"a quick look: {SMALL}")
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.small:
        vars(o).update(SMALL)
    torch.set_num_threads(o.threads)
    if o.one:
        print(json.dumps(measured(o.one, o)))
        return
    if find_spec("torchmetrics") is None:
        raise UsageError("there is nothing to compare with: pip install torchmetrics")
    print(f"{o.fake:,} fakes, {o.size:,} features, {o.threads} thread(s)")
    print("row                reals   add s  compute s  peak MB")
    found = {row: alone(row, o) for row in ROWS}
    fewer = alone("all ours", o, real=o.real // 3)
    for line in verdicts(found, fewer):
        print(line)


if __name__ == "__main__":
    script.run(main)
