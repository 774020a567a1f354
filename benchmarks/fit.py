"""What networks and data of one's own cost: the same pair through a recipe's names, and through `steadygan.fit`.

    python -m benchmarks.fit [--repeats 11] [--threads 1]

`fit` hands the same modules and the same rows to the trainer as objects. Both steps are timed side by side, eager and
compiled, and reported as medians over the repeats.
"""

import torch

from benchmarks import script
from benchmarks.step import Candidate, interleaved, ours
from steadygan.build import Own
from steadygan.data import digits
from steadygan.networks import dcgan, mlp

RECIPE = {
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 32, "width": 16},
    "critic": {"penalties": [{"name": "r1", "weight": 10}]},
    "fake_as_real": {"count": 16, "pool": 4},
    "optimizer": {"name": "adam", "lr": 2e-4},
    "steps": 100_000,
}
POINTS = {
    **RECIPE,
    "data": {"name": "gaussian", "size": 1000},
    "networks": {"name": "mlp", "latent": 2, "width": 64},
}


def pair(settings: dict, own: Own) -> dict[str, tuple]:
    """The candidates of one comparison: recipe and fit, eager and compiled."""
    mine = {**settings, "networks": {"name": "own", "latent": settings["networks"]["latent"]}}
    found = {}
    for how, compiles in (("eager", False), ("compiled", True)):
        for path, given, objects in (("recipe", settings, None), ("fit", mine, own)):
            more = {} if objects is None else {"own": objects}
            found[f"{how}, {path}"] = ours(given, 40 if not compiles else 200, compile=compiles, **more)[0]
    return found


def main() -> None:
    """Print both comparisons."""
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for title, settings, networks, data in (
        ("DCGAN on digits", RECIPE, dcgan, digits()),
        ("MLP on points", POINTS, mlp, None),
    ):
        options = {key: value for key, value in settings["networks"].items() if key != "name"}
        own = Own(
            lambda shape, make=networks, options=options: dict(zip("GD", make(shape, **options))), data=data
        )
        settings = {**settings, "data": settings["data"]}
        candidates: dict[str, Candidate] = pair(settings, own)
        times = interleaved(candidates, chosen.repeats)
        print(f"\n{title}, batch 64, {chosen.threads} thread(s)")
        for how in ("eager", "compiled"):
            recipe, fit = (times[f"{how}, {path}"] for path in ("recipe", "fit"))
            print(f"{how:10} recipe {recipe:8.3f} ms   fit {fit:8.3f} ms   fit / recipe {fit / recipe:.3f}")


if __name__ == "__main__":
    script.run(main)
