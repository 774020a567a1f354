"""What networks and data of one's own cost: the same pair through a recipe's names, and through `steadygan.fit`.

    python -m benchmarks.fit [--repeats 11] [--threads 1]

`fit` hands the same modules and the same rows to the trainer as objects. Both steps are timed side by side, eager and
compiled, and reported as medians over the repeats.
"""

import torch

from benchmarks import script
from benchmarks.step import Candidate, interleaved, ours
from steadygan import config
from steadygan.build import Own
from steadygan.config.registry import NETWORKS
from steadygan.data import Data, digits

DIGITS = {
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 32, "width": 16},
    "critic": {"penalties": [{"name": "r1", "weight": 10}]},
    "fake_as_real": {"count": 16, "pool": 4},
    "optimizer": {"name": "adam", "lr": 2e-4},
    "steps": 100_000,
}
POINTS = {
    **DIGITS,
    "data": {"name": "gaussian", "size": 1000},
    "networks": {"name": "mlp", "latent": 2, "width": 64},
}


def candidates(recipe: dict, data: Data | None) -> dict[str, Candidate]:
    """The same pair of networks through the recipe and through fit's door, eager and compiled."""
    networks = config.parse(recipe).networks
    options = networks.model_dump(exclude={"name"})
    make = NETWORKS[networks.name].make
    own = Own(lambda shape: dict(zip("GD", make(shape, **options))), data=data)
    mine = {**recipe, "networks": {"name": "own", "latent": networks.latent}}
    found = {}
    for how, compiles, calls in (("eager", False, 40), ("compiled", True, 200)):
        found[f"{how}, recipe"] = ours(recipe, calls, compile=compiles)[0]
        found[f"{how}, fit"] = ours(mine, calls, own, compile=compiles)[0]
    return found


def main() -> None:
    """Print both comparisons."""
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=11)
    parser.add_argument("--threads", type=script.positive, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for title, recipe, data in (("DCGAN on digits", DIGITS, digits()), ("MLP on points", POINTS, None)):
        times = interleaved(candidates(recipe, data), chosen.repeats)
        print(f"\n{title}, batch 64, {chosen.threads} thread(s)")
        for how in ("eager", "compiled"):
            there, here = (times[f"{how}, {path}"] for path in ("recipe", "fit"))
            print(f"{how:10} recipe {there:8.3f} ms   fit {here:8.3f} ms   fit / recipe {here / there:.3f}")


if __name__ == "__main__":
    script.run(main)
