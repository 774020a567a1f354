"""What a player minimises without its further terms: the loss of the game in which those have no weight."""

import pytest
import torch

from steadygan import config
from steadygan.build import build

BASE = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "dynamics": "simultaneous",  # all losses at one point
    "optimizer": {"name": "sgd", "lr": 0.1},
    "precision": "float64",
    "batch": 8,
    "steps": 5,
}
GAMES = {
    "cr": ({"critic": {"consistency": [{"name": "cr", "move": "jitter"}]}}, {"critic": {}}),
    "centering": ({"critic": {"logit_penalties": ["centering"]}}, {"critic": {}}),
    "zcr": ({"critic": {"consistency": ["zcr"]}}, {"critic": {}}),
    "reg_gan": (
        {"game": {"name": "reg_gan"}},
        {"game": {"name": "reg_gan", "weight_distance": 0, "weight_mode": 0}},
    ),
    "infogan": (
        {"game": {"name": "infogan", "weight": 2}, "networks": {**BASE["networks"], "latent": 16}},
        {"game": {"name": "infogan", "weight": 0}, "networks": {**BASE["networks"], "latent": 16}},
    ),
    "ebgan": (
        {"game": {"name": "ebgan", "margin": 1, "pull_away": 0.5}},
        {"game": {"name": "ebgan", "margin": 1, "pull_away": 0}},
    ),
}
PLAYERS = {"cr": "D", "centering": "D", "zcr": "DG", "reg_gan": "G", "infogan": "DG", "ebgan": "G"}


def first_logs(raw):
    run = build(config.parse({**BASE, **raw}))
    return run.step(run.state, run.draws(0))[1]


@pytest.mark.parametrize("name", GAMES)
def test_a_loss_without_further_terms_is_the_loss_of_the_game_without_them(name):
    whole, bare = map(first_logs, GAMES[name])
    assert [key for key in whole if key.startswith("adversarial/")] == [
        f"adversarial/{p}" for p in PLAYERS[name]
    ]
    for player in PLAYERS[name]:
        torch.testing.assert_close(whole[f"adversarial/{player}"], bare[f"loss/{player}"], rtol=1e-12, atol=0)
        assert abs(whole[f"loss/{player}"] - whole[f"adversarial/{player}"]) > 1e-9


def test_the_diffusion_loss_of_mdgan_is_what_g_minimises_beside_what_e_does():
    logs = first_logs({"game": "mdgan"})
    torch.testing.assert_close(logs["adversarial/G"], logs["loss/G"] - logs["loss/E"])
