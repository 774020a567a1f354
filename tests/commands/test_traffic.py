"""The collectives of a data-parallel step, against bytes that are worked by hand from the networks' sizes."""

import pytest

from steadygan.build import build
from steadygan.commands.step_cost import step_cost
from steadygan.config import parse
from steadygan.config.registry import DYNAMICS
from steadygan.training.scaling import Message

G, D, NUMBER = 8642, 8577, 4
"""Parameters of FARGAN's synthetic networks (its Tables 3 and 4), and bytes of a float32."""

POINTS = {
    "data": "ring8",
    "networks": {"name": "mlp"},
    "optimizer": {"name": "adam", "lr": 0.001},
    "steps": 2,
}


def messages(pool=1, **given):
    settings = parse({"name": "points", **POINTS, "batch": 64, **given})
    products = DYNAMICS[settings.dynamics.name].products
    return step_cost(build(settings), products=products, pool=pool).messages


def total(found: list[Message]) -> float:
    return sum(m.times * m.size for m in found)


@pytest.mark.parametrize(
    ("rule", "critic", "generator"),
    [
        ({"name": "alternating", "n_critic": 5}, 5, 1),
        ("simultaneous", 1, 1),
        ("optimistic", 1, 1),
        ("extragradient", 2, 2),
        ({"name": "extragradient", "past": True}, 1, 1),
        ({"name": "lookahead", "n_critic": 2}, 2, 1),
        ("consensus", 2, 2),
        ("smoothing", 2, 2),
        ("symplectic", 3, 3),
    ],
    ids=str,
)
def test_each_gradient_and_each_product_of_the_jacobian_is_reduced_once(rule, critic, generator):
    found = messages(dynamics=rule)["gradients"]
    assert total(found) == NUMBER * (critic * D + generator * G)
    assert {m.size for m in found} == {NUMBER * D, NUMBER * G}
    assert not any(m.gather for m in found)


def test_float64_is_twice_as_much():
    assert total(messages(precision="float64")["gradients"]) == 2 * NUMBER * (D + G)


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_of_a_batch_are_added_before_they_are_sent(parts):
    assert total(messages(accumulate=parts)["gradients"]) == NUMBER * (D + G)


@pytest.mark.parametrize(("parts", "critic"), [(1, 1), (1, 3), (4, 1)])
def test_fake_as_real_gathers_the_scores_of_all_and_the_selected_points(parts, critic):
    """8 x 16 candidates and 16 points of the plane in each of the critic's updates, whatever the parts."""
    rule = {"name": "alternating", "n_critic": critic}
    found = messages(8, fake_as_real={"count": 16, "pool": 8}, accumulate=parts, dynamics=rule)[
        "fake-as-real"
    ]
    assert total(found) == critic * NUMBER * (8 * 16 + 16 * 2)
    assert all(m.gather and m.times == parts * critic for m in found)


def test_a_batch_norm_sends_two_vectors_a_pass():
    """G has norms of 8 + 4 + 2 + 1 widths. It runs forward in both updates, and backward in its own."""
    found = messages(data="digits", networks={"name": "gn_cnn", "width": 4})["batch norm"]
    assert total(found) == 3 * 2 * NUMBER * (8 + 4 + 2 + 1) * 4
    assert len(found) == 3 * 4


@pytest.mark.parametrize("members", [1, 2])
def test_pull_away_gathers_a_code_of_each_fake(members):
    game = {"name": "ebgan", "margin": 1, "pull_away": 0.1}
    found = messages(game=game, networks={"name": "mlp", "latent": 3}, seeds=members)
    assert found["pull-away"] == [Message(64 * 3 * NUMBER, 1, gather=True)]
    assert "pull-away" not in messages(game={"name": "ebgan", "margin": 1})


def test_logs_are_a_few_numbers_an_update():
    (found,) = messages()["logs"]
    assert found.times == 2
    assert 2 * NUMBER <= found.size <= 16 * NUMBER
