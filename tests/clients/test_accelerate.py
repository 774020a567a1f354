"""A loop under Accelerate on two processes equals a plain loop on the whole batch, as far as a loss is a mean over it.

Losses and R1 are such means: the mean of the processes' gradients is the gradient of the whole batch. What is relative
to a batch is relative to a process's own rows. Fake-as-real is: each process selects the lowest of its own candidates.
The lowest of all are selected where each process ranks the gathered candidates.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paths import ROOT

pytest.importorskip("accelerate")
from clients.accelerate_loop import BETAS, COUNT, RATE, SELECTIONS, STEPS, WEIGHT, draws, pair, train

pytestmark = pytest.mark.slow

WORLD, SECONDS = 2, 180


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found, by selection. None of them outlives this call."""
    folder = tmp_path_factory.mktemp("processes")
    port, script = free_port(), Path(__file__).with_name("accelerate_loop.py")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": str(WORLD),
        "LOCAL_WORLD_SIZE": str(WORLD),
    }
    files = [folder / f"{rank}.pt" for rank in range(WORLD)]
    logs = [folder / f"{rank}.log" for rank in range(WORLD)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(WORLD):
            own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            words = [sys.executable, str(script), str(files[rank])]
            with logs[rank].open("wb") as log:
                running.append(subprocess.Popen(words, env=own, stdout=log, stderr=subprocess.STDOUT))
        ends = time.monotonic() + SECONDS
        codes = [each.wait(max(0.0, ends - time.monotonic())) for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert codes == [0] * WORLD, "\n".join(log.read_text() for log in logs)
    return [torch.load(file) for file in files]


def lowest(D: nn.Module, pool: Tensor, count: int) -> Tensor:
    return pool[D(pool).squeeze(1).argsort()[:count]]


def shown(D: nn.Module, x_real: Tensor, pool: Tensor, selection: str) -> Tensor:
    """The rows that D is shown as real, of both processes."""
    if selection == "none":
        return x_real
    if selection == "all":
        chosen = lowest(D, pool, COUNT)
    else:
        chosen = torch.cat([lowest(D, pool[rank::WORLD], COUNT // WORLD) for rank in range(WORLD)])
    return torch.cat([x_real[:-COUNT], chosen])


def plain_loop(selection: str) -> dict[str, Tensor]:
    """The same mathematics in torch alone, on the whole batch in one process."""
    G, D = pair()
    step_G, step_D = (torch.optim.Adam(net.parameters(), RATE, BETAS) for net in (G, D))
    for step in range(STEPS):
        x_real, z, z_pool, z_G = draws(step)
        with torch.no_grad():
            x_fake = G(z)
            x = shown(D, x_real, G(z_pool), selection)
        x.requires_grad_()
        logits = D(x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        loss_D = F.softplus(-logits).mean() + F.softplus(D(x_fake)).mean()
        step_D.zero_grad()
        (loss_D + WEIGHT * (slope**2).sum(1).mean()).backward()
        step_D.step()
        step_G.zero_grad()
        F.softplus(-D(G(z_G))).mean().backward()
        step_G.step()
    return nn.ModuleDict({"G": G, "D": D}).state_dict()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_two_processes_equal_a_plain_loop_on_the_whole_batch(
    selection: str, processes: list[dict[str, Any]]
) -> None:
    first, second = (found[selection] for found in processes)
    assert [each["rank"] for each in (first, second)] == [0, 1]
    assert first["kinds"] == ["DistributedDataParallel"] * 2
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    torch.testing.assert_close(first["weights"], plain_loop(selection), rtol=1e-6, atol=1e-6)


def test_the_first_process_alone_may_have_a_monitor(processes: list[dict[str, Any]]) -> None:
    assert [found["none"]["passes"] for found in processes] == [STEPS // 5, 0]


@pytest.mark.parametrize("selection", ["none", "all"])
def test_one_process_equals_a_plain_loop(selection: str) -> None:
    torch.testing.assert_close(train(selection)["weights"], plain_loop(selection), rtol=1e-6, atol=1e-6)


def test_the_two_selections_differ() -> None:
    """Otherwise the tests above could not tell them apart."""
    rank, every = (plain_loop(selection) for selection in ("rank", "all"))
    assert (rank["D.0.weight"] - every["D.0.weight"]).abs().max() > 1e-4
