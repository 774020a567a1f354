"""Sweeps: lists of choices and ranges, the points they make, and which points are one ensemble."""

import itertools
import math

import pytest
import torch

from small import RING
from steadygan import config
from steadygan.build import build
from steadygan.config.sweep import Range, as_ensemble, draw, points, read, swept, with_whole
from steadygan.errors import UsageError


def test_a_list_holds_choices_and_a_value_that_is_a_list_stands_in_another():
    found = read(
        ["data=[ring8, grid25]", "critic.penalties=[[r1], []]", "optimizer.betas=[[0, 0.9]]", "steps=9"]
    )
    assert found == {
        "data": ("ring8", "grid25"),
        "critic.penalties": (["r1"], []),
        "optimizer.betas": ([0, 0.9],),
        "steps": (9,),
    }
    assert swept(found) == ["data", "critic.penalties"]


def test_ranges_are_read_with_exponents_and_spaces():
    assert read(["a=log( 1e-4 ,1e-2)"]) == {"a": Range(1e-4, 1e-2, log=True)}
    assert read(["a= uniform(-1, 3)"]) == {"a": Range(-1, 3, log=False)}


def test_lists_alone_make_every_combination_in_order():
    found = points(read(["batch=[8, 16]", "steps=5", "seed=[0, 1, 2]"]), None, 0)
    assert [(p["batch"], p["seed"]) for p in found] == list(itertools.product((8, 16), (0, 1, 2)))
    assert all(p["steps"] == 5 for p in found)


MIXED = ["optimizer.lr=log(1e-4, 1e-2)", "batch=[8, 16, 32]", "critic.penalties.0.weight=uniform(1, 3)"]


def test_a_draw_is_a_function_of_the_seed_and_its_number():
    ten, four = (points(read(MIXED), n, seed=7) for n in (10, 4))
    assert ten[:4] == four
    assert points(read(MIXED), 4, seed=8) != four
    without = points(read([MIXED[2], MIXED[1]]), 4, seed=7)  # a key's numbers do not depend on the other keys
    assert [p["critic.penalties.0.weight"] for p in without] == [p["critic.penalties.0.weight"] for p in four]


def test_draws_take_the_combinations_of_the_lists_in_turn():
    found = points(read([*MIXED, "seed=[0, 1]"]), 13, seed=0)
    grid = list(itertools.product((8, 16, 32), (0, 1)))
    assert [(p["batch"], p["seed"]) for p in found] == [grid[n % 6] for n in range(13)]


@pytest.mark.parametrize(
    ("kind", "quantile"), [("log", lambda q: 1e-2 * 1e4**q), ("uniform", lambda q: 1e-2 + q * 99.99)]
)
def test_draws_have_the_distribution_of_their_range(kind, quantile):
    """The share of draws below a quantile is that quantile, within four standard errors."""
    found = torch.tensor([p["a"] for p in points(read([f"a={kind}(0.01, 100)"]), 4000, seed=0)])
    for q in (0.1, 0.5, 0.9):
        share = (found < quantile(q)).double().mean().item()
        assert abs(share - q) < 4 * math.sqrt(q * (1 - q) / 4000)


def test_whole_numbers_of_a_range_are_equally_likely_and_have_both_ends():
    found = [draw(Range(3, 6, log=False, whole=True), (k + 0.5) / 400) for k in range(400)]
    assert [found.count(k) for k in (3, 4, 5, 6)] == [100] * 4
    assert all(type(each) is int for each in found)


def test_whole_numbers_of_a_logarithmic_range_fall_off_as_its_law_says():
    """k has the share of [k, k + 1) in [low, high + 1) on the logarithmic scale."""
    found = [draw(Range(1, 7, log=True, whole=True), (k + 0.5) / 3000) for k in range(3000)]
    for k in range(1, 8):
        assert found.count(k) == pytest.approx(3000 * math.log2((k + 1) / k) / 3, abs=1.01)


def test_ranges_are_whole_where_the_key_takes_whole_numbers():
    values = read(
        [
            "batch=log(8, 64)",
            "optimizer.lr=log(1e-3, 1)",
            "every.score=uniform(1, 5)",
            "networks.width=uniform(4, 5)",
        ]
    )
    found = with_whole(RING, values, "it")
    assert {path: each.whole for path, each in found.items()} == {
        "batch": True,
        "optimizer.lr": False,
        "every.score": True,
        "networks.width": True,
    }


@pytest.mark.parametrize(
    ("assignments", "samples", "sentence"),
    [
        (["steps"], None, "'steps' is not an override: write key=value"),
        (["steps=9"], None, "nothing is swept: give a key several values"),
        (["batch=[]"], None, r"batch=\[\] lists no value"),
        (["batch=[8, 16]", "batch=32"], None, "batch is given twice"),
        (
            ["a=log(0, 1)"],
            3,
            r"a=log\(0, 1\): the first number of a range is less than the second and above 0",
        ),
        (["a=uniform(2, 1)"], 3, "less than the second$"),
        (["a=log(1, 2, 3)"], 3, r"a range takes two numbers, as in a=uniform\(0.1, 10\)"),
        (["a=uniform(few, many)"], 3, "takes two numbers"),
        (["a=uniform(0, .inf)"], 3, "takes two numbers"),
        (["a=log(1, 2)"], None, "a is a range: say how many draws with --samples"),
        (["a=[1, 2]", "b=[1, 2]"], 5, "lists alone make a grid of 4 runs: leave it out"),
        (["a=[1, 2]", "b=log(1, 2)"], 10_001, "more than 10,000 points"),
    ],
)
def test_what_is_no_sweep_is_said_in_a_sentence(assignments, samples, sentence):
    with pytest.raises(UsageError, match=sentence):
        points(read(assignments), samples, 0)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("optimizer.lr=log(1e-3, 1e-2)", ""),
        ("batch=uniform(-3, 4)", "batch should be greater than or equal to 1, not -3"),
        ("ema.decay=uniform(0.5, 1.5)", "ema.decay must be less than 1, not 1.5"),
        ("optimizer.name=uniform(1, 2)", "optimizer"),
    ],
)
def test_a_key_must_take_both_ends_of_its_range(assignment, sentence):
    if not sentence:
        with_whole(RING, read([assignment]), "it")
        return
    with pytest.raises(UsageError, match=sentence):
        with_whole(RING, read([assignment]), "it")


def test_points_of_numbers_are_the_members_of_one_ensemble():
    values = read(
        [
            "optimizer.lr=log(1e-3, 1)",
            "critic.penalties=[[{name: r1, weight: 1}]]",
            "critic.penalties.0.weight=[1, 10]",
        ]
    )
    found = points(values, 5, seed=0)
    made = as_ensemble(RING, swept(values), found)
    members = build(config.parse(made)).members
    assert [{path: m[path] for path in swept(values)} for m in members] == [
        {path: p[path] for path in swept(values)} for p in found
    ]


@pytest.mark.parametrize(
    "assignment", ["batch=[8, 16]", "seed=[0, 1]", "optimizer=[sgd, adam]", "data=[ring8, grid25]"]
)
def test_other_points_are_no_ensemble(assignment):
    values = read(["optimizer.lr=[0.1]", assignment])
    assert as_ensemble(RING, swept(values), points(values, None, 0)) is None


def test_two_ranges_are_drawn_independently():
    """20 draws of two uniform numbers: a correlation of 0.75 is left once in 10,000 seeds, and one share gives 1."""
    found = points({"a": Range(0, 1, False), "b": Range(0, 1, False)}, 20, 0)
    both = torch.tensor([[point["a"], point["b"]] for point in found]).T
    assert abs(torch.corrcoef(both)[0, 1]) < 0.75


@pytest.mark.parametrize(
    "found", [Range(0.9999, 0.99999, log=False), Range(0.999, 0.9999, log=True)], ids=str
)
def test_draws_of_a_narrow_range_differ(found):
    """With four digits those of a decay of averages would all be its ends."""
    drawn = [draw(found, (number + 0.5) / 50) for number in range(50)]
    assert len(set(drawn)) == 50
    assert all(found.low < each < found.high for each in drawn)
    exact = [
        found.low * (found.high / found.low) ** share
        if found.log
        else found.low + share * (found.high - found.low)
        for share in ((number + 0.5) / 50 for number in range(50))
    ]
    assert drawn == pytest.approx(exact, abs=1e-3 * (found.high - found.low))
    assert draw(Range(1e-4, 1e-2, log=True), 0.3) == 0.0003981  # four digits where they suffice
