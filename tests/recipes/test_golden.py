"""Twenty steps of every recipe, against the losses they had when the recipe was last changed on purpose.

`python tests/recipes/test_golden.py` writes golden.json beside it anew (with NAME... these recipes only). A change of a
trace is a change of behaviour: the changelog says why.

All numbers are float64, and are drawn as such, so a trace is the same on every processor. In float32 the last bit
sometimes decides on which side of a ReLU's kink a sample lies, and Adam makes percents of that in a few steps.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from steadygan import config
from steadygan.build import Run, build
from steadygan.recipes.catalogue import find_recipe, recipe_names

FILE = Path(__file__).with_name("golden.json")
STEPS = 20
HERE = {
    "ring8",
    "grid25",
    "gaussian",
    "swissroll",
    "digits",
    "stacked_digits",
    "stacked-digits",
    "dirac",
    "none",
}
"""Data sets that need nothing but the package and scikit-learn."""


def recipes() -> dict[str, dict]:
    """Recipes by name. Those that are an override keep the traces that they had as files of their own."""
    found = {}
    for name in recipe_names():
        _, raw = find_recipe(name)
        data = raw.get("data")
        if (data.get("name") if isinstance(data, dict) else data) in HERE:
            found[name] = raw
    return found


RECIPES = recipes()
CHANGES = ["precision=float64", "compile=false", "seed=0", "seeds=1", "device=cpu"]


@contextmanager
def float64_on_one_thread() -> Iterator[None]:
    """Initial weights and samples are drawn in float64: float32's generators round as the processor does."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def batch(run: Run, number: int) -> list[dict[str, Tensor]]:
    """A step's draws, with images moved off the grid of their bytes.

    A critic with clipped weights adds and subtracts bytes, times one number. Such sums are often zero but for
    rounding, and a ReLU has its kink there.
    """
    draws = run.draws(number)
    if run.data.rows is not None and run.data.rows.dtype == torch.uint8:
        for draw in draws:
            if "x_real" in draw:
                off = torch.arange(draw["x_real"].numel(), dtype=torch.float64).sin() / 1000
                draw["x_real"] = draw["x_real"] + off.view_as(draw["x_real"])
    return draws


def trace(raw: dict) -> dict[str, list[float]]:
    """Each player's loss at each step, on one thread, uncompiled, in float64."""
    with float64_on_one_thread():
        run = build(config.parse(config.override(raw, CHANGES)))
        state, losses = run.state, {}
        for number in range(STEPS):
            state, logs = run.step(state, batch(run, number))
            for key in logs:
                if key.startswith("loss/"):
                    losses.setdefault(key, []).append(logs[key].item())
        return losses


def golden() -> dict[str, dict[str, list[float]]]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n.startswith("stacked") else ()) for n in RECIPES]
)
def test_a_recipe_trains_as_it_did(name):
    """To 1e-9. One unit in the last place of every operation's inputs changes a trace by less than a tenth of that.

    The largest change is that of a Wasserstein critic's offset. Its gradient is zero but for rounding, which Adam and
    RMSprop divide by their epsilon of 1e-8.
    """
    wanted = golden().get(name)
    assert wanted is not None, f"{name} has no trace yet: run python tests/recipes/test_golden.py {name}"
    found = trace(RECIPES[name])
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert len(values) == STEPS
        assert found[key] == pytest.approx(values, rel=1e-9, abs=1e-9), (
            f"{name} no longer trains as it did; if that is meant, say why in CHANGELOG.md and run "
            f"python tests/recipes/test_golden.py {name}"
        )


AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""What makes torch and its libraries leave out the instructions that only some x86-64 processors have."""


@pytest.mark.slow
def test_recipes_train_as_they_did_on_other_processors():
    """In a process of its own, since torch chooses its instructions when it is loaded."""
    traces = ["-m", "", "-k", "trains_as_it_did", __file__]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *traces]
    done = subprocess.run(words, env=os.environ | AVX2, cwd=FILE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_trace_belongs_to_a_recipe():
    assert sorted(golden().keys() - RECIPES.keys()) == [], (
        "run python tests/recipes/test_golden.py, which removes them"
    )


def test_no_two_recipes_have_one_trace():
    """A recipe whose particular key were ignored would train like another."""
    traces = [json.dumps(trace_) for trace_ in golden().values()]
    assert len(set(traces)) == len(traces)


def write(names: list[str]) -> None:
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        sys.exit(
            f"no such recipe, or its data are not here: {', '.join(unknown)}; known are {', '.join(RECIPES)}"
        )
    kept = {name: losses for name, losses in golden().items() if name in RECIPES}
    for name in names or RECIPES:
        kept[name] = trace(RECIPES[name])
        print(f"{name}: {', '.join(f'{key} {losses[-1]:.4g}' for key, losses in kept[name].items())}")
    lines = [f"  {json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept)]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write(sys.argv[1:])
