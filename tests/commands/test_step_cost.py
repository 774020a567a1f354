"""The cost of a step on paper, against torch's allocator and bytes that are worked by hand from the networks' sizes."""

import pytest
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_map

from steadygan.build import NOTHING, Own, build
from steadygan.commands.step_cost import nbytes, state_bytes, step_cost
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game.state import member
from steadygan.parallel import Processes, over
from steadygan.recipes.catalogue import find_recipe
from steadygan.training.flop_meter import on_paper

G, D, NUMBER = 8642, 8577, 4
"""Parameters of FARGAN's synthetic networks (its Tables 3 and 4), and bytes of a float32."""

POINTS = {
    "data": "ring8",
    "networks": {"name": "mlp"},
    "optimizer": {"name": "adam", "lr": 0.001},
    "steps": 2,
}


def points(own: Own = NOTHING, **given):
    return build(parse({"name": "points", **POINTS, "batch": 64, **given}), own)


def recipe(name, **given):
    return build(parse({"name": name, **find_recipe(name)[1], **given}))


# ----------------------------------------------------------------------------------------------- memory


def allocated(work) -> int:
    """The most bytes that torch's allocator had handed out at once since the work began."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    del kept
    return most


@pytest.mark.parametrize(
    "name", ["ring8-fargan", "ring8-consensus", "ring8-sn", "grid25-reg-gan", "digits-fargan"]
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_peak_of_a_step_is_what_the_allocator_hands_out(name, precision):
    """The processor's kernels may need space of their own, of which nobody can know."""
    run = recipe(name, precision=precision)
    state, draws = member(run.state, 0 if run.ensemble else None), run.draws(0)
    draws = tree_map(lambda leaf: leaf[0], draws) if run.ensemble else draws
    peak = step_cost(run).peak
    assert peak <= allocated(lambda: run.step(state, draws)) <= 1.25 * peak


def test_a_state_is_parameters_two_moments_and_the_average_of_g():
    """Adam has two moments and a count of each player. The step counter has 8 bytes."""
    found = state_bytes(recipe("ring8-fargan").state)
    assert found == {
        "parameters": NUMBER * (G + D),
        "moments": NUMBER * (2 * (G + D) + 2),
        "averages": NUMBER * G,
        "buffers": 8,
    }


def test_a_draw_is_its_fields():
    """The critic's update reads points and latents of two numbers, and the generator's its latents."""
    assert step_cost(points(networks={"name": "mlp", "latent": 2})).batch == 3 * 64 * 2 * NUMBER


@pytest.mark.parametrize("name", ["ring8-0gp", "digits-gn", "ring8-consensus"])
@pytest.mark.parametrize("processes", [2, 4])
def test_a_process_needs_the_memory_of_a_run_with_its_rows_and_a_little_for_messages(name, processes):
    shared = step_cost(recipe(name, batch=64), processes=processes)
    alone = step_cost(recipe(name, batch=64 // processes))
    assert (shared.state, shared.batch) == (alone.state, alone.batch)
    assert alone.peak <= shared.peak <= 1.5 * alone.peak


# -------------------------------------------------------------------------------------- several processes


@pytest.mark.parametrize(("processes", "rows"), [(2, 32), (3, 22), (64, 1)])
def test_the_process_with_most_rows_is_counted(processes, rows):
    whole, part = step_cost(points()), step_cost(points(), processes=processes)
    assert part.flops * 64 == whole.flops * rows
    assert part.batch * 64 == whole.batch * rows


def test_a_process_without_rows_is_refused():
    with pytest.raises(UsageError, match="fewer processes"):
        step_cost(points(), processes=65)


def test_logs_do_not_keep_the_gradients_that_they_travelled_with():
    run = points()
    with over(Processes(1, 2, "on paper")):
        _, (_, logs) = on_paper(run.step, run.state, run.draws(0))
    assert max(log.untyped_storage().nbytes() for log in logs.values()) <= NUMBER * (LOGS_D + LOGS_G)


def numbers(processes=2, **given) -> dict[float, int]:
    """How often a process sends as many numbers."""
    return {m.size / NUMBER: m.times for m in step_cost(points(**given), processes=processes).messages}


LOGS_D, LOGS_G = 3, 1
"""The critic logs its loss and two logits, the generator its loss."""


def test_one_process_sends_nothing():
    assert numbers(processes=1) == {}


@pytest.mark.parametrize(
    ("rule", "critic"),
    [
        ({"name": "alternating", "n_critic": 5}, 5),
        ({"name": "lookahead", "n_critic": 2}, 2),
    ],
    ids=str,
)
def test_each_update_sends_one_message_with_its_gradient_and_logs(rule, critic):
    assert numbers(dynamics=rule) == {D + LOGS_D: critic, G + LOGS_G: 1}


@pytest.mark.parametrize(
    ("rule", "times"),
    [
        ("simultaneous", 1),
        ("optimistic", 1),
        ("extragradient", 2),
        ({"name": "extragradient", "past": True}, 1),
    ],
    ids=str,
)
def test_players_that_move_at_once_share_a_message(rule, times):
    assert numbers(dynamics=rule) == {D + G + LOGS_D + LOGS_G: times}


@pytest.mark.parametrize("rule", ["consensus", "smoothing"])
def test_a_product_with_the_jacobian_sends_one_more_vector_of_each_player(rule):
    """The derivative of all gradients in its parameters."""
    assert numbers(dynamics=rule) == {D + G + LOGS_D + LOGS_G: 1, D: 1, G: 1}


def test_the_unbiased_norm_needs_two_messages_for_the_fields_and_one_for_each_slope():
    """Sums of fields with that of their squares; means with the logs, to which each sample adds two norms."""
    rule = {"name": "consensus", "debiased": True}
    assert numbers(dynamics=rule) == {D + G + 1: 1, D + G + LOGS_D + LOGS_G + 2: 1, D: 1, G: 1}


def test_the_largest_gradient_and_the_spread_of_a_batch_are_one_message_each_way():
    """Each process tells its largest gradient, how many have it and their sum; its mean, deviations and count."""
    assert numbers(3, critic={"penalties": ["max_gradient"]})[3 * 3] == 2
    assert numbers(3, critic={"penalties": ["dragan"]})[3 * 3] == 1


def test_float64_is_twice_as_much():
    assert numbers(precision="float64") == {2 * (D + LOGS_D): 1, 2 * (G + LOGS_G): 1}


@pytest.mark.parametrize("processes", [2, 8])
def test_fake_as_real_gathers_the_scores_of_all_and_the_selected_points(processes):
    """8 x 16 candidates and 16 points of the plane, on however many processes."""
    found = numbers(processes, fake_as_real={"count": 16, "pool": 8})
    assert found == {8 * 16: 1, 16 * 2: 1, D + LOGS_D: 1, G + LOGS_G: 1}


@pytest.mark.parametrize("processes", [2, 4])
def test_a_batch_norm_gathers_two_vectors_and_a_count_of_each_process(processes):
    """G has norms of 8, 4, 2 and 1 widths. It runs forward in both updates, and backward in its own."""
    found = numbers(processes, data="digits", networks={"name": "gn_cnn", "width": 4})
    for channels in (32, 16, 8, 4):
        assert found[processes * (2 * channels + 1)] == 3


def test_pull_away_gathers_a_code_of_each_fake_forward_and_backward():
    networks = {"name": "mlp", "latent": 3}
    assert numbers(game={"name": "ebgan", "margin": 1, "pull_away": 0.1}, networks=networks)[64 * 3] == 2
    assert 64 * 3 not in numbers(game={"name": "ebgan", "margin": 1}, networks=networks)


def test_a_member_costs_what_a_single_run_costs():
    one = points()
    found = step_cost(one)
    assert found.memory == nbytes(one.state) + nbytes(one.draws(0)) + found.peak
    assert step_cost(points(seeds=3)) == found
