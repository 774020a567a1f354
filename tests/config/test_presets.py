"""Presets that shrink a recipe, images cut to some of them, and a generator's batch of its own."""

import pytest
import torch
import yaml

from steadygan import config
from steadygan.build import build
from steadygan.config import parse, registry
from steadygan.config.overrides import assigned
from steadygan.config.presets import scaled, tiny
from steadygan.data import Data, digits, ring, subset
from steadygan.errors import UsageError
from steadygan.game.vector_field import field
from steadygan.recipes.catalogue import find_recipe

BASE = {
    "name": "mine",
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 4, "width": 96},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "steps": 10_000,
    "batch": 64,
    "compile": False,
}

COSINE = {"schedule": "cosine", "start": 1, "stop": 0}


def shrunk(**changes) -> config.Config:
    return config.parse(scaled({**BASE, **changes}, "tiny"))


# ------------------------------------------------------------------------------------- the derived one


def test_tiny_takes_an_eighth_of_the_width_and_few_steps_rows_and_images():
    made = shrunk()
    assert (made.steps, made.batch, made.networks.width, made.data.limit) == (200, 8, 12, 1000)
    assert (made.networks.latent, made.optimizer.lr) == (4, 0.1)


@pytest.mark.parametrize(("limit", "left"), [(None, 1000), (20_000, 1000), (300, 300)])
def test_tiny_leaves_a_thousand_images_at_most(limit, left):
    assert shrunk(data={"name": "fashion-mnist", "limit": limit}).data.limit == left


@pytest.mark.parametrize(
    ("data", "size"),
    [
        ({"name": "webdataset", "path": "shards/*.tar", "size": 256}, 64),
        ({"name": "webdataset", "path": "shards/*.tar", "size": 32}, 32),
        ({"name": "ring8", "size": 5000}, 5000),  # so many points
        ({"name": "stacked_digits", "size": 51_200}, 51_200),  # so many images
    ],
    ids=lambda data: data["name"] if isinstance(data, dict) else str(data),
)
def test_tiny_makes_images_smaller_and_not_fewer_by_their_side(data, size):
    assert (
        shrunk(data=data, networks="mlp" if data["name"] == "ring8" else BASE["networks"]).data.size == size
    )


def test_tiny_keeps_a_best_checkpoint_where_one_was_asked_for():
    kept = [
        shrunk(evaluation={"extractor": "inception"}, keep={"best": best}).keep.best for best in (None, "fid")
    ]
    assert kept == [None, "kd_pixels8"]


def test_what_is_counted_shrinks_with_what_it_is_counted_in():
    """A 50th of the steps and an eighth of the rows: by hand."""
    made = shrunk(
        fake_as_real={"count": {"schedule": "linear", "start": 48, "stop": 0, "over": 5000, "begin": 100}},
        ema={"decay": 0.999, "start": 1000},
        augment={"name": "ada", "over": 200_000},
        game={"name": "gan", "batch_G": 128},
        seeds=3,
        precision="bfloat16",
        accumulate=4,
        stop={"log": "loss/D", "below": 0.1, "after": 500},
        optimizer={"D": {"name": "sgd", "lr": 1}, "G": {"name": "sgd", "lr": {**COSINE, "over": 40}}},
    )
    count = made.fake_as_real.count
    assert (count.start, count.stop, count.over, count.begin) == (6, 0, 100, 2)
    assert (made.ema.decay, made.ema.start) == (pytest.approx(0.95), 20)
    assert made.augment.over == 200_000 / 50 / 8
    assert made.game.batch_G == 16
    assert (made.seeds, made.precision, made.accumulate, made.compile.when) == (1, "float32", 1, False)
    assert made.stop.after == 10
    assert made.optimizer["G"].lr.over == 1


def test_shares_of_the_run_stay_shares():
    made = shrunk(
        optimizer={"name": "sgd", "lr": {"schedule": "linear", "start": 1, "stop": 0, "begin": "50%"}}
    )
    assert made.optimizer.lr.begin == "50%"


def test_what_is_small_stays_as_it_is():
    small = {
        "steps": 50,
        "batch": 8,
        "networks": {"name": "dcgan", "width": 8},
        "data": {"name": "digits", "limit": 30},
    }
    made = shrunk(**small, ema={"decay": 0.9, "start": 7})
    assert (made.steps, made.batch, made.networks.width, made.data.limit) == (50, 8, 8, 30)
    assert (made.ema.decay, made.ema.start) == (0.9, 7)
    assert {"steps", "batch", "networks.width", "data.limit", "ema.decay"}.isdisjoint(
        tiny(config.parse({**BASE, **small}))
    )


def test_a_fake_taken_as_real_stays_one():
    assert shrunk(fake_as_real={"count": 1}).fake_as_real.count == 1
    assert shrunk(fake_as_real={"count": 0}).fake_as_real.count == 0


def test_points_and_their_networks_keep_their_size():
    made = shrunk(data={"name": "gaussian", "size": 100}, networks={"name": "mlp", "width": 64})
    assert (made.data.size, made.networks.width, made.steps) == (100, 64, 200)


def test_the_hidden_layers_of_an_image_network_are_narrower_too():
    made = shrunk(networks={"name": "mlp_dcgan", "hidden": 512, "width": 96})
    assert (made.networks.hidden, made.networks.width) == (64, 12)


def test_groups_divide_the_width_that_is_left():
    made = shrunk(networks={"name": "r3gan", "width": 768, "group": 16})
    assert (made.networks.width, made.networks.group) == (96, 2)


# --------------------------------------------------------------------------------- a recipe's own ones

OWN = {
    "small": {"networks.width": 32, "steps": 500},
    "tiny": {"steps": 5, "critic.penalties": [{"name": "r1"}]},
}


def test_a_recipes_own_preset_is_its_changes_and_nothing_else():
    made = config.parse(scaled({**BASE, "scale": OWN}, "small"))
    assert made == config.parse(
        {**BASE, "name": "mine-small", "networks": {**BASE["networks"], "width": 32}, "steps": 500}
    )


def test_a_recipes_own_tiny_goes_before_the_derived_one():
    made = config.parse(scaled({**BASE, "scale": OWN}, "tiny"))
    assert (made.steps, made.batch, [p.name for p in made.critic.penalties]) == (5, 64, ["r1"])


def test_presets_stay_in_a_configuration_until_one_is_chosen():
    made = config.parse({**BASE, "scale": {"small": {"every.log": "7%"}}})
    kept = config.parse(yaml.safe_load(config.dump(config.in_steps(made))))
    assert kept.scale == {"small": {"every.log": "7%"}}


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="mine has no scale 'smal': did you mean 'small'"):
        scaled({**BASE, "scale": OWN}, "smal", "mine")


def test_a_presets_unknown_key_is_told_as_any_other():
    made = scaled({**BASE, "scale": {"odd": {"networks.wdth": 3}}}, "odd")
    with pytest.raises(UsageError, match=r"networks.wdth is not a key here: did you mean 'width'"):
        config.parse(made)


def test_a_path_through_nothing_is_told():
    with pytest.raises(UsageError, match="steps has no keys"):
        assigned(BASE, [("steps.more", 3)])


def test_no_preset_leaves_a_recipe_alone():
    assert scaled(BASE, None) is BASE


def test_the_command_keeps_the_numbers_and_overrides_go_last(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("train", "digits-fargan", "steps=3", "--scale", "tiny")
    assert done.code == 0, done.err
    kept = config.load(tmp_path / "runs" / "digits-fargan-tiny" / "config.yaml")
    assert (kept["steps"], kept["batch"], kept["networks"]["width"], kept["data"]["limit"]) == (
        3,
        8,
        8,
        1000,
    )
    assert kept["name"] == "digits-fargan-tiny"
    assert config.dump(config.in_steps(config.parse(kept))) == config.dump(config.parse(kept))


def test_the_command_tells_an_unknown_preset(command):
    done = command("train", "digits-fargan", "--scale", "tinny")
    assert (done.code, done.err.strip()) == (
        2,
        "error: digits-fargan has no scale 'tinny': did you mean 'tiny'?",
    )


# ---------------------------------------------------------------------------------- images cut to some


def small_set(count: int = 100) -> Data:
    rows = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    held = torch.full((7, 1, 8, 8), 255, dtype=torch.uint8)
    return Data("small", (1, 8, 8), rows, labels=torch.arange(count) % 10, classes=10, held=lambda: held)


def numbers(data: Data) -> list[int]:
    return data.rows[:, 0, 0, 0].tolist()


def test_a_subset_is_some_rows_with_their_labels_and_all_that_is_held_out():
    part = subset(small_set(), 30)
    assert len(set(numbers(part))) == len(part.rows) == 30
    assert numbers(part) == sorted(numbers(part)) != list(range(30))
    assert part.labels.tolist() == [n % 10 for n in numbers(part)]
    assert (len(part.held()), part.classes) == (7, 10)


def test_a_subset_is_not_taken_for_the_file_that_it_is_of(tmp_path):
    """Whoever looks a mapped file's manifest up would find the whole set's count."""
    whole = small_set()._replace(mapped=tmp_path / "small.npy")
    assert subset(whole, 30).mapped is None
    assert subset(whole, None).mapped == tmp_path / "small.npy"


def test_a_subset_is_the_same_each_time_and_another_by_another_seed():
    assert numbers(subset(small_set(), 30)) == numbers(subset(small_set(), 30))
    assert numbers(subset(small_set(), 30)) != numbers(subset(small_set(), 30, seed=1))
    assert set(numbers(subset(small_set(), 10))) < set(numbers(subset(small_set(), 30)))


def test_a_subset_of_more_than_there_is_is_all():
    whole = small_set()
    assert subset(whole, 100) is whole
    assert subset(whole, 10**6) is whole
    assert subset(whole, None) is whole


def test_every_row_is_as_likely_to_be_chosen():
    """300 seeds of 30 in 100: each row about 90 times, sd 7.9; a prefix, or a constant draw, would have 0 and 300."""
    times = torch.zeros(100)
    for seed in range(300):
        times[numbers(subset(small_set(), 30, seed))] += 1
    assert 60 < times.min() <= times.max() < 120


def test_a_stream_has_no_subset():
    with pytest.raises(UsageError, match=r"leave out data.limit"):
        subset(ring(), 5)


def test_every_set_of_images_has_a_limit():
    points = {"ring8", "grid25", "gaussian", "swissroll", "dirac", "none", "own"}
    streams = {"webdataset", "hugging_face"}
    assert {
        name for name, part in registry.DATA.items() if "limit" in part.options
    } == registry.DATA.keys() - points - streams


def test_a_run_trains_on_the_rows_that_are_left():
    """Two epochs of the draws show these 40 digits and no others."""
    run = build(config.parse({**BASE, "batch": 8, "data": {"name": "digits", "limit": 40}}))
    kept = subset(digits(), 40)
    assert torch.equal(run.data.rows, kept.rows)
    seen = torch.cat([draw["x_real"] for n in range(10) for draw in run.draws(n) if "x_real" in draw])
    shown = {tuple(((x + 1) * 127.5).round().int().flatten().tolist()) for x in seen}
    assert shown == {tuple(x.flatten().tolist()) for x in kept.rows.int()}


# --------------------------------------------------------------------------------------- a batch for G


def gan(**game) -> config.Config:
    networks, data = {"name": "dcgan", "latent": 5, "width": 2}, {"name": "digits", "limit": 50}
    small = {**BASE, "networks": networks, "data": data, "batch": 4, "precision": "float64"}
    return config.parse({**small, "game": {"name": "gan", **game}})


def test_a_generators_own_batch_is_the_mean_over_its_own_latents():
    """Against the loss written out: softplus(-D(G(z))) over 12 latents, where the critic has 4."""
    run = build(gan(batch_G=12))
    draws = run.draws(0)
    (z_G,) = [draw["z_G"] for draw in draws if "z_G" in draw]
    assert z_G.shape == (12, 5)
    assert {name: len(draw["z"]) for draw in draws for name in draw if name == "z"} == {"z": 4}
    G, D = (run.game.players[name].network for name in "GD")

    def loss(params: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(-D(run.state.params["D"], {}, G(params, {}, z_G))).mean()

    both = {key: value for draw in draws for key, value in draw.items()}
    gradients, _, logs = field(run.game, ["G"], run.state, both)
    torch.testing.assert_close(logs["loss/G"], loss(run.state.params["G"]).detach())
    torch.testing.assert_close(gradients["G"], torch.func.grad(loss)(run.state.params["G"]))


def test_the_critic_does_not_see_a_generators_own_batch():
    """D's step is that of the same game without it, to the bit."""
    with_, without = build(gan(batch_G=12)), build(gan())
    a, b = (run.step(run.state, run.draws(0))[0].params["D"] for run in (with_, without))
    assert torch.equal(a, b)


def test_a_generators_own_batch_is_taken_in_parts():
    """Means over halves are the mean: the gradient of 12 latents, 6 at a time."""
    whole, parts = (build(config.parse({**gan(batch_G=12).model_dump(), "accumulate": n})) for n in (1, 2))
    assert [run.game.fields["z_G"].shape for run in (whole, parts)] == [(12, 5), (12, 5)]
    a, b = (run.step(run.state, run.draws(0))[0].params["G"] for run in (whole, parts))
    torch.testing.assert_close(a, b)
    with pytest.raises(UsageError, match=r"does not divide game.batch_G=9"):
        build(config.parse({**gan(batch_G=9).model_dump(), "accumulate": 2}))


@pytest.mark.parametrize(
    "change",
    [
        {"game": {"name": "gan", "batch_G": 8, "loss": "relativistic"}},
        {"noise": {"instance": 0.1}},
        {"augment": "diffaugment"},
        {"critic": {"consistency": ["zcr"]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_generators_own_batch_is_for_its_samples_alone(change):
    with pytest.raises(UsageError, match=r"game.batch_G needs"):
        build(config.parse({**gan(batch_G=8).model_dump(), **change}))


def test_a_conditional_generators_own_batch_has_its_own_labels():
    run = build(gan(batch_G=8, conditional=True))
    state, logs = run.step(run.state, run.draws(0))
    assert logs["finite"] == 1
    assert not torch.equal(state.params["G"], run.state.params["G"])


def test_the_papers_generators_have_twice_the_critics_batch():
    _, raw = find_recipe("cifar10-gn-cnn-gn")
    assert (raw["batch"], raw["game"]["batch_G"]) == (64, 128)


def test_another_limit_seed_trains_on_other_rows():
    raw = {
        "name": "it",
        "networks": {"name": "dcgan", "width": 4, "latent": 4},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 1,
        "batch": 4,
    }
    rows = [
        build(parse({**raw, "data": {"name": "digits", "limit": 20, "limit_seed": seed}})).data.rows
        for seed in (0, 1)
    ]
    assert len(rows[0]) == len(rows[1]) == 20
    assert not torch.equal(*rows)
