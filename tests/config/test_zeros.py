"""What has come to rest is found in time, from the plain formula of its schedule."""

import pytest

from steadygan import config
from steadygan.config import zeros
from steadygan.config.resolve import scheduled
from steadygan.errors import UsageError

BASE = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 20}


def line(start=1.0, stop=0.0, over=10, begin=0):
    return {"schedule": "linear", "start": start, "stop": stop, "over": over, "begin": begin}


def made(**changes):
    return config.parse({**BASE, **changes})


def at_zero(settings, step):
    return zeros.at_zero(scheduled(settings), step, settings.steps)


def check_moves(settings, step):
    zeros.check_moves(at_zero(settings, step), settings.optimizer, step)


def sgd(lr):
    return {"name": "sgd", "lr": lr}


@pytest.mark.parametrize(
    ("rate", "since", "remedy"),
    [
        (line(), 10, "optimizer.lr.over=20"),  # 1 - step/10 is 0 from step 10 on
        (line(begin=6), 16, "optimizer.lr.over=14"),
        ({**line(), "schedule": "cosine"}, 10, "optimizer.lr.over=20"),
        ({"schedule": "warmup", "value": line(begin=2), "over": 5}, 12, "optimizer.lr.value.over=18"),
        (line(start=0.0), 0, "optimizer.lr=NUMBER"),
        ({"schedule": "constant", "value": 0.0}, 0, "optimizer.lr=NUMBER"),
    ],
)
def test_a_rate_at_zero_is_found(rate, since, remedy):
    (found,) = at_zero(made(optimizer=sgd(rate)), 0)
    assert (found.path, found.since, found.remedy) == ("optimizer.lr", since, remedy)
    if "over" in remedy:  # the remedy keeps the rate above 0 to the last step
        again = config.override(made(optimizer=sgd(rate)).model_dump(mode="json"), [remedy])
        assert at_zero(config.parse(again), 0) == []


@pytest.mark.parametrize(
    "rate", [0.0, 0.1, line(stop=0.1), line(over=20), line(over=19), line(over=40), line(start=0.0, stop=1.0)]
)
def test_a_rate_that_moves_or_is_a_number_is_not(rate):
    """A rate that is 0 in the last step alone is a share that was rounded."""
    assert at_zero(made(optimizer=sgd(rate)), 0) == []


def test_any_key_and_player():
    found = at_zero(
        made(
            optimizer={"G": sgd(line()), "D": sgd(0.1)},
            critic={"penalties": [{"name": "r1", "weight": line(over=3)}]},
            ema={"decay": line(start=0.5, over=4)},
            noise={"instance": line(over=5)},
            fake_as_real={"count": line(start=2, over=6)},
            game={"name": "reg_gan", "weight_mode": line(over=7)},
        ),
        8,
    )
    assert {one.path: one.since for one in found} == {
        "game.weight_mode": 8,
        "critic.penalties.0.weight": 8,
        "noise.instance": 8,
        "fake_as_real.count": 8,
        "optimizer.G.lr": 10,
        "ema.decay": 8,
    }


def test_a_run_in_which_nobody_moves_is_refused():
    both = {"G": sgd(line()), "D": sgd(line())}
    with pytest.raises(UsageError, match=r"optimizer.G.lr and optimizer.D.lr are 0 from step 10 on.*over=20"):
        check_moves(made(optimizer=both), 10)
    with pytest.raises(
        UsageError, match=r"such as optimizer.G.lr.over=20 \(to go on without moving: optimizer.G.lr=0"
    ):
        check_moves(made(optimizer={"G": sgd(line()), "D": sgd(0)}), 10)
    check_moves(made(optimizer=both), 9)
    check_moves(made(optimizer={"G": sgd(line()), "D": sgd(0.1)}), 10)
    check_moves(made(optimizer=sgd(0)), 10)


def test_a_second_rate_that_moves_a_part_of_the_parameters_counts():
    muon = {"name": "muon", "lr": line(), "adamw_lr": 0.1}
    check_moves(made(optimizer=muon), 10)
    with pytest.raises(UsageError, match=r"optimizer.lr and optimizer.adamw_lr are 0 from step 10 on"):
        check_moves(made(optimizer={**muon, "adamw_lr": line()}), 10)
