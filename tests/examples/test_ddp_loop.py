"""The loop of several processes in `examples/` has the losses of one process, and of a plain loop on whole batches."""

import os
import re
import runpy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from paths import ROOT

FILE = ROOT / "examples" / "ddp_fake_as_real.py"
STEPS = 20
COMMAND = re.search(r"^torchrun (.*)$", (ROOT / "docs" / "parallel.md").read_text(), re.M)


def by_torchrun(*words: str) -> list[list[float]]:
    """The losses that the first process prints."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def networks() -> tuple[nn.Module, nn.Module]:
    nets = [[nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, n)] for n in (2, 1)]
    return nn.Sequential(*nets[0]), nn.Sequential(*nets[1], nn.Flatten(0))


def plain_loop() -> list[list[float]]:
    """The same mathematics in torch alone, on whole batches."""
    example = runpy.run_path(str(FILE))
    G, D = networks()
    step_G, step_D = (torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (G, D))
    found = []
    for step in range(STEPS):
        x_real, z, z_pool, z_next = example["draws"](step)
        with torch.no_grad():
            x_fake, pool = G(z), G(z_pool)
            x = torch.cat([x_real[: -example["COUNT"]], pool[D(pool).argsort()[: example["COUNT"]]]])
        x.requires_grad_()
        logits = D(x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        loss_D = F.softplus(-logits).mean() + F.softplus(D(x_fake)).mean() + slope.square().sum(1).mean()
        step_D.zero_grad()
        loss_D.backward()
        step_D.step()
        loss_G = F.softplus(-D(G(z_next))).mean()
        step_G.zero_grad()
        loss_G.backward()
        step_G.step()
        found.append([loss_D.item(), loss_G.item()])
    return found


@pytest.mark.slow
def test_processes_have_the_losses_of_a_plain_loop_on_whole_batches() -> None:
    """With the command of docs/parallel.md."""
    assert COMMAND
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        wanted = plain_loop()
    finally:
        torch.set_default_dtype(dtype)
    found = by_torchrun(*COMMAND[1].split())
    assert len(found) == STEPS
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-8)


def test_one_process_runs_as_a_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dtype = torch.get_default_dtype()
    monkeypatch.setattr("sys.argv", [str(FILE), "2"])
    try:
        runpy.run_path(str(FILE), run_name="__main__")
    finally:
        torch.set_default_dtype(dtype)
    assert re.fullmatch(r"(\d\.\d{9} \d\.\d{9}\n){2}", capsys.readouterr().out)
