"""How fast this machine multiplies matrices, measured once: for the times that `steadygan list recipes` shows."""

import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from steadygan.files import cache_folder, read_json, write_whole

__all__ = ["kept", "measured", "product_speed"]

SIZE = 256
"""The side of the matrices: a product takes a millisecond, so that other work on the machine does not interrupt all."""

BUDGET = 0.1
"""Seconds that are spent on products."""

ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"], "1"
)


def product_speed() -> float:
    """Float32 FLOPs a second that this machine's processor reaches in matrix products at most, all cores together.

    Measured at first use and kept in the cache folder for each host.
    """
    cores = os.cpu_count() or 1
    host = f"{platform.node()}, {cores} cores"
    known = _read(kept())
    if host not in known:
        known[host] = cores * _one_core()
        with suppress(OSError):  # without a cache the next list measures again
            kept().parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept(), json.dumps(known, indent=1) + "\n")
    return known[host]


def kept() -> Path:
    """The file that keeps what was measured. Without it, the next list measures again."""
    return cache_folder() / "product-speed.json"


def measured() -> float:
    """FLOPs a second of this process's fastest product in a tenth of a second.

    numpy's products are as fast as torch's, and numpy loads in a tenth of torch's time.
    """
    import numpy

    a = numpy.ones((SIZE, SIZE), numpy.float32)
    end, fastest = time.perf_counter() + BUDGET, float("inf")
    while (began := time.perf_counter()) < end:
        a @ a
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * SIZE**3 / fastest


def _one_core() -> float:
    # Numpy counts its threads when it is imported, so one thread takes a process of its own. More threads wait
    # for each other on a busy machine, and show a hundredth of its speed.
    call = [sys.executable, "-m", "steadygan.recipes.speed"]
    return float(subprocess.check_output(call, env={**os.environ, **ONE_THREAD}, text=True))


def _read(file: Path) -> dict[str, float]:
    """What the file keeps; nothing where it is missing or damaged."""
    try:
        found: dict[str, Any] = read_json(file, {})
    except ValueError:
        return {}
    return {host: speed for host, speed in found.items() if isinstance(speed, float) and speed > 0}


if __name__ == "__main__":
    print(measured())
