"""Starts several processes of one script, as torchrun does, and ends them."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from paths import ROOT

__all__ = ["free_port", "started"]


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def started(script: Path, size: int, folder: Path, *words: str, seconds: float) -> list[str]:
    """Run `size` processes of a script at once; return what each printed. None of them outlives this call.

    Fails with all that they printed where one fails, or where they take more than `seconds`.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(ROOT / "src"), str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        ),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
    }
    logs = [folder / f"{size}-{rank}.log" for rank in range(size)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for rank, log in enumerate(logs):
            own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            with log.open("wb") as file:
                running.append(
                    subprocess.Popen(
                        [sys.executable, str(script), *words], env=own, stdout=file, stderr=subprocess.STDOUT
                    )
                )
        _wait(running, seconds)
    finally:
        for each in running:
            each.kill()
        codes = [each.wait() for each in running]
    printed = [log.read_text() for log in logs]
    assert codes == [0] * size, "\n".join(printed)
    return printed


def _wait(running: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Until all have ended, one has failed, or the time is over."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        codes = [each.poll() for each in running]
        if None not in codes or any(codes):
            return
        time.sleep(0.05)
