"""Twenty steps of every recipe, against the losses they had when the recipe was last changed on purpose.

`python tests/recipes/test_golden.py` writes golden.json beside it anew (with NAME... these recipes only). A change of a
trace is a change of behaviour: the changelog says why.
"""

import json
import sys
from pathlib import Path

import pytest
import torch

from steadygan import config
from steadygan.build import build
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


def trace(raw: dict) -> dict[str, list[float]]:
    """Each player's loss at each step, on one thread, uncompiled, in float32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = config.parse(config.override(raw, ["compile=false", "seed=0", "seeds=1", "device=cpu"]))
        run = build(settings)
        state, losses = run.state, {}
        for number in range(STEPS):
            state, logs = run.step(state, run.draws(number))
            for key in logs:
                if key.startswith("loss/"):
                    losses.setdefault(key, []).append(float(f"{logs[key].item():.7g}"))
        return losses
    finally:
        torch.set_num_threads(threads)


def golden() -> dict[str, dict[str, list[float]]]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_as_it_did(name):
    """To 1e-4: processors round differently, and twenty steps do not let that grow."""
    wanted = golden().get(name)
    assert wanted is not None, f"{name} has no trace yet: run python tests/recipes/test_golden.py {name}"
    found = trace(RECIPES[name])
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert len(values) == STEPS
        assert found[key] == pytest.approx(values, rel=1e-4, abs=1e-5), (
            f"{name} no longer trains as it did; if that is meant, say why in CHANGELOG.md and run "
            f"python tests/recipes/test_golden.py {name}"
        )


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
