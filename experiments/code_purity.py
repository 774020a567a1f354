"""Whether InfoGAN's classes are the digits': python -m experiments.code_purity RUN_FOLDER...

For each member of each run on scikit-learn's digits: purity of argmax Q(c | x) over the 1,797 real images against
their true classes (0.1 is chance), and the last bound of the mutual information that the run logged, in nats.
"""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks import script
from experiments.trained import events
from steadygan import config, metrics
from steadygan.build import Run, build
from steadygan.game import State
from steadygan.networks.latent_codes import blocks
from steadygan.runs.folder import read_config, restore_member


@torch.no_grad()
def classes(run: Run, state: State, categorical: tuple[int, ...], continuous: int) -> Tensor:
    """What Q takes each real image's first code to be: [n]."""
    nets = {name: run.game.players[name].network for name in ("D", "Q")}
    x = run.data.rows.to(state.params["D"]) / 127.5 - 1
    _, features = nets["D"](state.params["D"], dict(state.buffers["D"]), x)
    answers = nets["Q"](state.params["Q"], dict(state.buffers["Q"]), features)
    return blocks(answers, categorical, continuous)[0].argmax(1)


def main() -> None:
    from sklearn.datasets import load_digits

    parser = script.parser(__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    folders = parser.parse_args().folders
    truth = torch.as_tensor(load_digits().target)
    for folder in folders:
        settings = config.parse(read_config(folder), str(folder))
        run = build(settings)
        lines = events(folder)
        logged = [line["information/categorical"] for line in lines if "information/categorical" in line][-1]
        for member in range(len(run.members)):
            state, seed = restore_member(folder, run, member, print)
            found = classes(run, state, settings.game.categorical, settings.game.continuous)
            pure = metrics.purity(found, truth)
            print(f"{folder} seed {seed}: purity {pure:.3f}, information {logged[member]:.3f}")


if __name__ == "__main__":
    script.run(main)
