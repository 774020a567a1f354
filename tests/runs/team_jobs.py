"""What one of several processes does in the tests of runs on many processes.

    torchrun --nproc-per-node 3 team_jobs.py FOLDER JOB ...

Each job trains in the folder `JOB` of the process's own folder, which for the first process is FOLDER itself. So what
another process writes, or reads from the run folder, is seen.
"""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import torch
import yaml
from rich.console import Console
from torch import distributed as dist
from torch import nn

from steadygan import config
from steadygan.cli import app
from steadygan.commands.fit import fit
from steadygan.errors import UsageError
from steadygan.runs import train
from steadygan.training import cluster

sys.path.insert(0, str(Path(__file__).parents[1]))
from small import RING

RANK = int(os.environ.get("RANK", 0))
EXACT = {**RING, "precision": "float64", "batch": 9}
DEAD = {
    **EXACT,
    "networks": {"name": "mlp", "width": 16, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1000}]},
    "optimizer": {"name": "rmsprop", "lr": 0.01},
    "batch": 16,
    "steps": 240,
    "every": {"log": 20, "score": 40, "checkpoint": 100, "diagnostics": 20},
    "stop_on": ["dead_critic"],
}
DIGITS = {
    **EXACT,
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
    "game": {"name": "gan", "conditional": True},
    "evaluation": {"images": 100},
    "ema": {},
}
RECIPES = {
    "ring": {**EXACT, "every": {**RING["every"], "diagnostics": 3}, "keep": {"last": 3}},
    "members": {**EXACT, "optimizer": {"name": "sgd", "lr": [1e-3, 1e-2, 3e-3, 2e-2]}},
    "members and rows": {**EXACT, "seeds": 2, "ema": {}},
    "digits": DIGITS,
    "a verdict stops it": DEAD,
    "stops": {**EXACT, "stop": {"log": "loss/D", "below": 100.0, "after": 2}},
    "diverges": {**EXACT, "optimizer": {"name": "sgd", "lr": 1e80}},
    "a member diverges": {**EXACT, "optimizer": {"name": "sgd", "lr": [1e-3, 1e-2, 1e80, 2e-2]}},
    "a member and its rows diverge": {**EXACT, "optimizer": {"name": "sgd", "lr": [1e-3, 1e80]}},
}


def quiet() -> Console:
    return Console(file=io.StringIO())


def started(name: str, folder: Path) -> object:
    return train.start(config.parse(RECIPES[name]), folder, quiet())


def forget(folder: Path, step: int) -> None:
    """Remove the checkpoints after a step, as if the run had been killed."""
    for path in folder.glob("checkpoints/step-*"):
        if int(path.name[5:]) > step:
            shutil.rmtree(path)


def fitted(folder: Path, seed: int = 1) -> object:
    """Fit modules whose weights differ between processes until the first one tells the others its own."""
    torch.manual_seed(RANK)
    G = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()
    D = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    data = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    settings = {key: RING[key] for key in ("compile", "every", "steps", "optimizer")}
    run = fit(G, D, data, latent=4, batch=9, precision="float64", out=folder, quiet=True, **settings)
    torch.save([G.state_dict(), D.state_dict()], folder.parent / "modules.pt")
    return run.ended


MISTAKES = {
    "no such recipe": "there is no recipe 'ring9'",
    "a full folder": "is not empty",
    "more processes than rows": "2 processes share batches of 1 rows",
    "an unknown score": "keep.best: a run on ring8 has no score",
}
"""What the command line says of each mistake."""


def mistaken(at: Path) -> dict[str, dict[str, object]]:
    """The exit code and the printed error of each mistake, on the command line."""
    recipe = at / "ring.yaml"
    recipe.write_text(yaml.safe_dump(EXACT))
    called = {
        "no such recipe": ("train", "ring9"),
        "a full folder": ("train", recipe, "--out", at),
        "more processes than rows": ("train", recipe, "batch=1", "--out", at / "small"),
        "an unknown score": ("train", recipe, "keep.best=fid", "--out", at / "small"),
    }
    return {name: command(name, *words) for name, words in called.items()}


def command(name: str, *words: object) -> dict[str, object]:
    sys.argv, sys.stderr, before = ["steadygan", *map(str, words)], io.StringIO(), sys.stderr
    cluster._board = dist.PrefixStore(name, cluster._board)  # a process has one error
    try:
        app.main()
    except SystemExit as end:
        return {"code": end.code, "err": sys.stderr.getvalue()}
    finally:
        sys.stderr = before
    raise AssertionError("a command ends with an exit code")


def job(name: str, at: Path) -> object:
    folder = at / name
    if name in RECIPES:
        return started(name, folder)
    if name.startswith("resume from "):
        forget(at / "resumed", int(name.split()[-1]))
        return train.resume(at / "resumed", [], quiet())
    if name == "other data":
        try:
            return fitted(folder, seed=RANK)
        except UsageError as error:
            return error
    if name == "errors":
        return json.dumps(mistaken(at))
    if name == "fit":
        folder.mkdir()
        return fitted(folder / "run")
    raise AssertionError(name)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    at = root / f"rank{RANK}" if RANK else root
    at.mkdir(parents=True, exist_ok=True)
    ended = {name: str(job(name, at)) for name in sys.argv[2:]}
    (at / "ended.json").write_text(json.dumps(ended))
