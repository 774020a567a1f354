"""Accumulated gradients: a batch taken in parts is the whole batch where every row counts for itself."""

import pytest
import torch

from steadygan.build import build
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game.vector_field import field

RAW = {
    "data": {"name": "ring8"},
    "networks": {"name": "mlp", "width": 16},
    "critic": {"penalties": [{"name": "r1", "weight": 0.3}]},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "steps": 10,
    "batch": 12,
    "precision": "float64",
    "compile": False,
}


def fields(**settings):
    """The field of both players on the first draw, at the same weights."""
    run = build(parse({**RAW, **settings}))
    draw = run.draws(0)[0]
    return field(run.game, ("D", "G"), run.state, {**draw, **run.draws(0)[1]})


@pytest.mark.parametrize("parts", [2, 3, 12])
@pytest.mark.parametrize("penalty", ["r1", "r2", "zero_centered", "one_centered"])
def test_parts_add_up_to_the_batch_to_rounding(parts, penalty):
    critic = {"penalties": [{"name": penalty, "weight": 0.3}]}
    whole, _, logs = fields(critic=critic)
    summed, _, in_parts = fields(critic=critic, accumulate=parts)
    for name in "DG":
        torch.testing.assert_close(summed[name], whole[name], rtol=1e-12, atol=1e-14)
    for key, value in logs.items():
        torch.testing.assert_close(in_parts[key], value, rtol=1e-12, atol=1e-14)


def test_parts_see_different_rows():
    # were every part shown the first rows, the field would be that of a batch of 4
    four, _, _ = fields(batch=4)
    summed, _, _ = fields(accumulate=3)
    assert not torch.allclose(summed["D"], four["D"], rtol=1e-3)


def test_whole_runs_agree_whatever_the_rule():
    from steadygan.config.registry import DYNAMICS

    for rule in DYNAMICS:
        run, parts = (build(parse({**RAW, "dynamics": rule, "accumulate": n})) for n in (1, 3))
        states = [run.state, parts.state]
        for step in range(3):
            states = [made.step(s, made.draws(step))[0] for made, s in zip((run, parts), states, strict=True)]
        for name in "DG":
            torch.testing.assert_close(states[1].params[name], states[0].params[name], rtol=1e-10, atol=1e-12)


def test_fake_as_real_has_its_share_in_every_part():
    run = build(parse({**RAW, "fake_as_real": {"count": 6, "pool": 2}, "accumulate": 3}))
    # two of four rows a part, of four candidates each: a pool of 3 x 4
    assert run.game.fields["z_pool"].shape == (12, 2)
    _, logs = run.step(run.state, run.draws(0))
    assert logs["loss/D"].isfinite()


def test_batch_norm_goes_from_part_to_part():
    raw = {
        **RAW,
        "data": "digits",
        "networks": {"name": "dcgan", "width": 4, "batch_norm": True, "latent": 8},
    }
    run = build(parse({**raw, "critic": {}, "accumulate": 3, "precision": "float32"}))
    state, _ = run.step(run.state, run.draws(0))
    counted = [v for key, v in state.buffers["G"].items() if key.endswith("num_batches_tracked")]
    assert counted
    # G makes fakes once for each part of D's turn, and once for each of its own
    assert {int(v) for v in counted} == {6}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"accumulate": 5}, "accumulate=5 does not divide batch=12"),
        ({"accumulate": 4, "fake_as_real": {"count": 6}}, "accumulate=4 does not divide the 6 fakes"),
        # the member of 2 would have none, and that of 6 would have 8
        ({"accumulate": 4, "fake_as_real": {"count": [2, 8]}}, "accumulate=4 does not divide the 2 fakes"),
        ({"accumulate": 4, "fake_as_real": {"count": [8, 6]}}, "accumulate=4 does not divide the 6 fakes"),
        ({"fake_as_real": {"count": 0.4}}, "a number of fakes, not 0.4: choose a whole one"),
        ({"accumulate": 0}, "accumulate"),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(parse({**RAW, **settings}))
