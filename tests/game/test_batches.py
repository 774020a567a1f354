"""Draws as a function of (seed, step): what exact resume, fair baselines and ensembles rest on.

The comment in a test names the wrong implementation it is there to catch.
"""

import itertools
import math
import re
from collections import Counter

import pytest
import torch
from torch import Tensor

from steadygan import losses
from steadygan.data import Data, ring
from steadygan.errors import UsageError
from steadygan.game import Game, Network
from steadygan.game.batches import BLOCK, LARGEST, Draws
from steadygan.game.batches import TOGETHER as TOGETHER_AT_ONCE
from steadygan.games import FakeAsReal, Term, gan
from steadygan.networks import mlp
from steadygan.penalties import PENALTIES
from steadygan.rng import generator

BATCH, LATENT = 8, 3
STEPS = (0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 3)

ALTERNATING = (("D",), ("G",))
TWICE = (("D",), ("D",), ("G",))
TOGETHER = (("D", "G"),)


def game(
    *, far: bool = True, between: bool = True, loss: str = "non_saturating", batch: int = BATCH, shape=(2,)
) -> Game:
    G, D = (Network(net) for net in mlp(shape, latent=LATENT, width=2, depth=1))
    return gan(
        G,
        D,
        losses.LOSSES[loss],
        shape=shape,
        batch=batch,
        latent=LATENT,
        penalties=[Term(PENALTIES["zero_centered"](), 1.0)] if between else [],
        far=FakeAsReal(2, 2, 3) if far else None,
    )


def numbered(rows: int) -> Data:
    """Points that are their own row's number."""
    return Data("numbered", (2,), rows=torch.arange(rows).float().repeat(2, 1).T.contiguous())


def pictures(rows: int = 50, flip: bool = True) -> Data:
    """Images of random bytes: none is its own mirror image, or another's."""
    g = torch.Generator().manual_seed(5)
    return Data("pictures", (1, 4, 3), torch.randint(256, (rows, 1, 4, 3), generator=g).byte(), flip=flip)


STREAM = ring(size=None)
SETS = {"stream": STREAM, "finite": numbered(50), "pictures": pictures()}
each_set = pytest.mark.parametrize("kind", SETS)


def draws(data: Data, seed: int = 0, rounds=ALTERNATING, made: Game | None = None, **options) -> Draws:
    made = made or game(shape=data.shape)
    return Draws(made, rounds, data, [seed], members=False, **options)


def equal(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]]) -> bool:
    return all(
        x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)
        for x, y in zip(a, b, strict=True)
    )


def values(batch: list[dict[str, Tensor]]) -> list[Tensor]:
    return [value for draw in batch for value in draw.values()]


# ------------------------------------------------------------------------------ a function of seed and step


@each_set
def test_the_steps_of_a_stretch_can_be_taken_again_and_nothing_is_drawn_twice(kind, monkeypatch):
    # a block of the ensemble that draws all over again what the one before it drew
    wide = draws(SETS[kind], made=game(shape=SETS[kind].shape, batch=2**18 if kind == "stream" else BATCH))
    drawn = Counter()
    make = wide._values
    monkeypatch.setattr(wide, "_values", lambda *place: (drawn.update([place]), make(*place))[1])
    for start in (0, wide.stretch):
        for step in 2 * [*range(start, start + min(3, wide.stretch)), start + wide.stretch - 1]:
            wide(step)
    assert set(drawn.values()) == {1}
    assert wide.stretch == (4 if kind == "stream" else BLOCK)


@each_set
def test_a_step_has_the_same_draw_whenever_and_by_whomever_it_is_asked(kind):
    # a generator that runs on: a resumed run, or a look at an old step, would see other samples
    in_order, resumed = draws(SETS[kind]), draws(SETS[kind])
    expected = {step: in_order(step) for step in STEPS}
    for step in (STEPS[4], STEPS[0], STEPS[3], STEPS[2], STEPS[0], STEPS[1]):
        assert equal(resumed(step), expected[step])
    assert equal(draws(SETS[kind])(STEPS[4]), expected[STEPS[4]])


@each_set
def test_the_global_generator_is_neither_read_nor_moved(kind):
    made, state = game(shape=SETS[kind].shape), torch.random.get_rng_state()
    first = draws(SETS[kind], made=made)(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(1)
    assert equal(draws(SETS[kind], made=made)(0), first)


@each_set
def test_steps_rounds_and_seeds_see_different_draws(kind):
    # the same offset of every block, D's latents used again for G, neighbouring seeds that overlap
    seen = [
        value.flatten().tolist()
        for seed in (0, 1)
        for step in STEPS
        for value in values(draws(SETS[kind], seed, TWICE)(step))
        if value.numel()
    ]
    assert all(a != b for a, b in itertools.combinations(seen, 2))


@each_set
def test_a_field_does_not_depend_on_which_others_there_are(kind):
    """Fake-as-real and its baseline, or two penalties, are compared on the very same samples and latents."""
    shape = SETS[kind].shape
    full = draws(SETS[kind], made=game(shape=shape))
    bare = draws(SETS[kind], made=game(shape=shape, far=False, between=False))
    for step in STEPS:
        for with_all, with_none in zip(full(step), bare(step), strict=True):
            assert with_none.keys() <= with_all.keys()
            assert all(torch.equal(with_all[key], value) for key, value in with_none.items())
    assert {"z_pool", "alpha"} <= full(0)[0].keys() - bare(0)[0].keys()


@pytest.mark.parametrize(
    ("rounds", "loss", "expected"),
    [
        (ALTERNATING, "non_saturating", [{"x_real", "z", "z_pool", "alpha"}, {"z"}]),
        (TWICE, "non_saturating", [{"x_real", "z", "z_pool", "alpha"}] * 2 + [{"z"}]),
        (TOGETHER, "non_saturating", [{"x_real", "z", "z_pool", "alpha"}]),
        (ALTERNATING, "relativistic", [{"x_real", "z", "z_pool", "alpha"}, {"x_real", "z"}]),
    ],
)
def test_each_round_holds_what_its_players_read(rounds, loss, expected):
    # data that nobody reads cost time, and a share of the epoch
    batch = draws(numbered(50), rounds=rounds, made=game(loss=loss))(0)
    assert [draw.keys() for draw in batch] == expected


def test_generators_are_told_apart_by_their_whole_key():
    """(1, 23) and (12, 3) must not be one stream, nor the number 1 and the text "1"."""
    keys = [(1, 23), (12, 3), (123,), ("1", 23), (1, "23"), (1, 23, 0)]
    streams = [tuple(torch.rand(4, generator=generator(*key)).tolist()) for key in keys]
    assert len(set(streams)) == len(keys)


# ------------------------------------------------------------------------------------------- distributions


def test_latents_are_normal_and_alphas_uniform():
    source = draws(STREAM)
    batches = [source(step) for step in range(4 * BLOCK)]
    for turn, name in itertools.product((0, 1), ("z", "z_pool", "alpha")):
        if name not in batches[0][turn]:
            continue
        found = torch.stack([batch[turn][name] for batch in batches]).flatten().double().sort().values
        expected = (torch.arange(len(found)) + 0.5) / len(found)
        share = found if name == "alpha" else torch.special.ndtr(found)
        assert (share - expected).abs().max() < 1.95 / math.sqrt(len(found))  # Kolmogorov-Smirnov, p = 0.001


def test_a_stream_is_drawn_from_the_data():
    source = draws(STREAM)
    x = torch.cat([source(step)[0]["x_real"] for step in range(2 * BLOCK)])
    distance, mode = torch.cdist(x, STREAM.modes.centres).min(1)
    assert distance.max() < 6 * STREAM.modes.std
    assert mode.bincount(minlength=8).min() > 0.7 * len(x) / 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_set
def test_draws_have_the_runs_dtype(kind, dtype):
    assert {value.dtype for value in values(draws(SETS[kind], dtype=dtype)(0))} == {dtype}


# -------------------------------------------------------------------------------------------------- epochs


@pytest.mark.parametrize("rows", [50, 64, 2 * BATCH])
@pytest.mark.parametrize(
    ("rounds", "loss", "taken"),
    [
        (ALTERNATING, "non_saturating", BATCH),
        (TWICE, "non_saturating", 2 * BATCH),
        (TOGETHER, "relativistic", BATCH),
        (ALTERNATING, "relativistic", 2 * BATCH),  # G compares with reals too, and takes its share
    ],
)
def test_every_row_is_seen_exactly_once_an_epoch(rows, rounds, loss, taken):
    # sampling with replacement, a dropped rest of the epoch, rounds that see the same rows
    source = draws(numbered(rows), rounds=rounds, made=game(loss=loss))
    steps = 4 * BLOCK
    seen = [
        int(number)
        for step in range(steps)
        for draw in source(step)
        if "x_real" in draw
        for number in draw["x_real"][:, 0]
    ]
    assert len(seen) == steps * taken
    epochs = [seen[start : start + rows] for start in range(0, len(seen) - rows + 1, rows)]
    assert len(epochs) > 5
    for epoch in epochs:
        assert sorted(epoch) == list(range(rows))
    assert all(a != b for a, b in itertools.combinations(epochs, 2))  # each in an order of its own


def test_the_first_place_of_an_epoch_is_any_row():
    """Over many epochs: a permutation that is only rotated or reversed would pass the count."""
    source = draws(numbered(2 * BATCH))
    follower = Counter()
    for step in range(20 * BLOCK):
        a, b = source(step)[0]["x_real"][:2, 0].tolist()
        follower[a, b] += 1
    pairs = 2 * BATCH * (2 * BATCH - 1)
    assert len(follower) > 0.97 * pairs  # 1280 draws of 240 pairs leave out about 0.5 %
    assert max(follower.values()) < 20


def test_bytes_become_minus_one_to_one():
    ramp = torch.arange(256).byte().view(256, 1, 1, 1)
    data = Data("ramp", (1, 1, 1), rows=ramp)
    source = draws(data, dtype=torch.float64, made=game(shape=data.shape))
    found = torch.cat([source(step)[0]["x_real"] for step in range(256 // BATCH)]).flatten().sort().values
    expected = torch.tensor([(2 * v - 255) / 255 for v in range(256)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    assert torch.equal(data.rows, ramp)


def test_flips_are_mirror_images_left_to_right_about_half_the_time():
    # upside down, the channels reversed, the whole batch at once, or the same rows every epoch
    data = pictures()
    mirrored = {tuple(row.flip(-1).flatten().tolist()): n for n, row in enumerate(data.rows)}
    upright = {tuple(row.flatten().tolist()): n for n, row in enumerate(data.rows)}
    source, record = draws(data), {n: [] for n in range(len(data.rows))}
    mixed = 0
    for step in range(4 * BLOCK):
        images = ((source(step)[0]["x_real"] + 1) * 127.5).round().long()
        turned = []
        for image in images.flatten(1).tolist():
            row = tuple(image)
            turned.append(row in mirrored)
            record[mirrored[row] if row in mirrored else upright[row]].append(turned[-1])
        mixed += 0 < sum(turned) < BATCH
    flips = [flip for history in record.values() for flip in history]
    assert abs(sum(flips) / len(flips) - 0.5) < 4 * 0.5 / math.sqrt(len(flips))
    assert mixed > 0.95 * 4 * BLOCK  # all alike has probability 2 / 2^8
    assert all(0 < sum(history) < len(history) for history in record.values())


def test_flips_are_other_ones_in_each_round_and_block():
    data = pictures(2 * BATCH)
    mirrored = {tuple(row.flip(-1).flatten().tolist()) for row in data.rows}
    source = draws(data, rounds=TWICE)

    def flips(block: int, turn: int) -> list[bool]:
        steps = range(block * BLOCK, (block + 1) * BLOCK)
        images = torch.cat([source(step)[turn]["x_real"] for step in steps])
        return [
            tuple(image) in mirrored for image in ((images + 1) * 127.5).round().long().flatten(1).tolist()
        ]

    seen = [flips(block, turn) for block in (0, 1) for turn in (0, 1)]
    assert all(a != b for a, b in itertools.combinations(seen, 2))


def test_without_flip_no_image_is_mirrored():
    data = pictures(flip=False)
    upright = {tuple(row.flatten().tolist()) for row in data.rows}
    source = draws(data)
    for step in range(20):
        images = ((source(step)[0]["x_real"] + 1) * 127.5).round().long()
        assert {tuple(image) for image in images.flatten(1).tolist()} <= upright


def test_flips_leave_the_choice_of_rows_as_it_was():
    with_flips, without = draws(pictures()), draws(pictures(flip=False))
    for step in STEPS:
        a, b = with_flips(step)[0]["x_real"], without(step)[0]["x_real"]
        same = (a == b).flatten(1).all(1) | (a == b.flip(-1)).flatten(1).all(1)
        assert same.all()


# ------------------------------------------------------------------------------------------------ ensembles


@each_set
@pytest.mark.parametrize("rounds", [ALTERNATING, TWICE, TOGETHER])
def test_a_member_sees_what_a_single_run_with_its_seed_sees(kind, rounds):
    seeds, made = (4, 0, 9), game(shape=SETS[kind].shape)
    together = Draws(made, rounds, SETS[kind], seeds, members=True)
    for step in STEPS:
        batch = together(step)
        for i, seed in enumerate(seeds):
            one = [{key: value[i] for key, value in draw.items()} for draw in batch]
            assert equal(one, draws(SETS[kind], seed, rounds, made)(step))


@each_set
@pytest.mark.parametrize("members", [False, True])
def test_blocks_that_a_device_makes_together_hold_the_draws_of_a_cpu(kind, members, monkeypatch):
    """A wrong order of blocks, steps and members would still look random."""
    seeds = [0, 7] if members else [0]
    made = game(shape=SETS[kind].shape)
    alone = Draws(made, TWICE, SETS[kind], seeds, members=members)
    monkeypatch.setattr(
        Draws, "_together", lambda self, name: 3 if self.fields[name].kind in ("normal", "uniform") else 1
    )
    together = Draws(made, TWICE, SETS[kind], seeds, members=members)
    assert set(together.together.values()) == {1, 3}
    for step in (*STEPS, 2 * BLOCK + 1, 3 * BLOCK - 1, 0):
        assert equal(alone(step), together(step))


def test_a_device_makes_small_fields_of_many_steps_together():
    found = draws(SETS["finite"], device="meta").together
    assert found["z"] == TOGETHER_AT_ONCE
    assert found["x_real"] == 1
    large = draws(STREAM, made=game(batch=LARGEST // (BLOCK * LATENT * 4)), device="meta")
    assert 1 <= large.together["z"] * large.sizes["z"] * math.prod(large.fields["z"].shape) <= LARGEST
    assert set(draws(SETS["finite"]).together.values()) == {1}, "a CPU gains nothing"


def test_an_ensemble_of_one_keeps_its_dimension():
    batch = Draws(game(), ALTERNATING, numbered(50), [3], members=True)(0)
    assert all(value.shape[0] == 1 for value in values(batch))
    assert equal([{k: v[0] for k, v in draw.items()} for draw in batch], draws(numbered(50), 3)(0))


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("rounds", "loss", "batches"),
    [(ALTERNATING, "hinge", 1), (TWICE, "hinge", 2), (ALTERNATING, "relativistic", 2)],
)
def test_too_few_rows_are_refused_with_a_batch_that_works(rounds, loss, batches):
    # an epoch shorter than a step would show a row twice in it
    def build(batch: int, rows: int) -> Draws:
        return draws(numbered(rows), rounds=rounds, made=game(loss=loss, batch=batch))

    rows = 21
    build(rows // batches, rows)(0)
    with pytest.raises(UsageError, match=rf"numbered has {rows} samples.*{30 * batches}") as caught:
        build(30, rows)
    advised = int(re.search(r"at most (\d+)", str(caught.value)).group(1))
    build(advised, rows)(0)
    with pytest.raises(UsageError):
        build(advised + 1, rows)
