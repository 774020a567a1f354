"""The loops that benchmarks compare with do the same work: their first gradients are those of the game, by autograd."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from benchmarks import gpu, images
from benchmarks.constraints import CONSTRAINTS, difference, pair
from benchmarks.naive import twin_d, twin_g
from steadygan import config
from steadygan.build import Own, Run, build
from steadygan.data import Data
from steadygan.game.vector_field import field

CPU = torch.device("cpu")
TASKS = {
    **images.tasks(4),
    **{task.title: task for task in gpu.tasks(tiny=True) if "bfloat16" not in task.title},
}


def shortened(task: gpu.Task) -> gpu.Task:
    far = {"fake_as_real": {"count": 2, "pool": 8}} if "fake_as_real" in task.settings else {}
    return task._replace(
        settings={**task.settings, **far, "batch": 4, "precision": "float32", "channels_last": False}
    )


def game_of(task: gpu.Task) -> Run:
    own = Own(data=Data("random", task.shape, rows=gpu.images(task.shape))) if task.shape else Own()
    return build(config.parse(task.settings), own)


@pytest.mark.parametrize("name", TASKS)
def test_a_naive_loop_has_the_gradients_of_the_game(name):
    task = shortened(TASKS[name])
    run = game_of(task)
    batch = run.draws(0)
    nets: dict[str, nn.Module] = {}
    for who, player in run.game.players.items():
        nets[who] = deepcopy(player.network.module)
        nn.utils.vector_to_parameters(run.state.params[who], nets[who].parameters())
    for who, draw, twin in (("D", batch[0], twin_d), ("G", batch[-1], twin_g)):
        twin(task.twin, nets["G"], nets["D"], draw)
        found = torch.cat([p.grad.flatten() for p in nets[who].parameters()])
        wanted = field(run.game, [who], run.state, draw)[0][who]
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize("name", TASKS)
def test_a_naive_loop_draws_what_its_penalty_needs(name):
    task = shortened(TASKS[name])
    loop = gpu.naive(task, CPU, compiles=False)
    loop.iteration()
    wanted = game_of(task).draws(0)[0]
    assert {key: t.shape for key, t in loop.draw().items()} == {key: t.shape for key, t in wanted.items()}


ALIKE = [name for name, each in CONSTRAINTS.items() if not each.spectral and not each.scoring]


@pytest.mark.parametrize("name", ALIKE)
def test_each_constraint_is_timed_against_the_same_gradients(name):
    both = pair(name, "mlp", batch=16, compiled=False)
    assert [difference(both, player) for player in "DG"] == pytest.approx([0, 0], abs=1e-4)
