"""What the exact Jacobian of a game costs: seconds and memory against the number of parameters P.

    python -m benchmarks.jacobian [--widths 4 8 12 16 20] [--batch 512] [--repeats 3] [--threads 1]

The game is that of the recipe ring8-consensus under simultaneous steps, with other widths (16 is the recipe's: 2,003
parameters). Each width is measured in a process of its own, whose peak memory is told apart from what it held before.
Then the slopes fitted to the logarithms of seconds, of memory and of P, and whether the recipe's own Jacobian, on one
batch, keeps within --limit seconds.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from benchmarks import script
from steadygan import config, spectrum
from steadygan.build import build
from steadygan.recipes import catalogue

RECIPE = 2003  # parameters of ring8-consensus as it is


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(width: int, batch: int, repeats: int) -> dict[str, float]:
    name, raw = catalogue.find_recipe("ring8-consensus")
    changes = ["dynamics=simultaneous", f"networks.width={width}", f"batch={batch}"]
    settings = config.override({"name": name, **raw}, changes)
    run = build(config.parse(settings, name))
    draw = run.draws(0)[0]
    spectrum.operator(run.game, run.state, draw).forward(torch.cat([*run.state.params.values()]))  # warm up
    before, seconds, more = peak(), [], []
    for _ in range(repeats):
        began = time.perf_counter()
        J = spectrum.game_jacobian(run.game, run.state, draw)
        between = time.perf_counter()
        spectrum.eigenvalues(J)
        seconds.append(between - began)
        more.append(time.perf_counter() - between)
    return {
        "P": len(J),
        "jacobian_s": statistics.median(seconds),
        "eigenvalues_s": statistics.median(more),
        "peak_MB": max(1.0, peak() - before),
    }


def alone(width: int, options: argparse.Namespace) -> dict[str, float]:
    """`measured` in a process of its own."""
    words = [
        "--one",
        width,
        "--batch",
        options.batch,
        "--repeats",
        options.repeats,
        "--threads",
        options.threads,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.jacobian", *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--widths", type=script.positive, nargs="+", default=[4, 8, 12, 16, 20])
    parser.add_argument("--batch", type=script.positive, default=512)
    parser.add_argument("--repeats", type=script.positive, default=3)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for the recipe's Jacobian")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measured(options.one, options.batch, options.repeats)))
        return
    rows = [alone(width, options) for width in options.widths]
    print("     P  Jacobian s  eigenvalues s  peak MB")
    for row in rows:
        print(
            f"{row['P']:6,}  {row['jacobian_s']:10.2f}  {row['eigenvalues_s']:13.2f}  {row['peak_MB']:7.0f}"
        )
    P = np.log([row["P"] for row in rows])
    named = {"jacobian_s": "Jacobian", "eigenvalues_s": "eigenvalues", "peak_MB": "peak memory"}
    slopes = {what: np.polyfit(P, np.log([row[key] for row in rows]), 1)[0] for key, what in named.items()}
    print("slopes: " + ", ".join(f"{what} P^{slope:.2f}" for what, slope in slopes.items()))
    for row in rows:
        if row["P"] == RECIPE:
            verdict = "held" if row["jacobian_s"] <= options.limit else "missed"
            print(
                f"{RECIPE:,} parameters: {row['jacobian_s']:.2f} s, the limit of {options.limit:g} s {verdict}"
            )


if __name__ == "__main__":
    script.run(main)
