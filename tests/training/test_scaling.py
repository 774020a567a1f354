"""Data-parallel training on paper, against collectives that are played step by step, and figures worked by hand."""

import pytest

from steadygan.training.scaling import (
    Link,
    Message,
    communication,
    efficiency,
    sent,
    spread,
)

LINK = Link(bandwidth=8.0, latency=0.25)


def halving_and_doubling(size: float, processes: int) -> list[float]:
    """What a process sends in each round: halves, quarters, ... to be summed, and the sums back in the other order."""
    rounds, part = [], size
    while processes > 1:
        processes, part = processes // 2, part / 2
        rounds.append(part)
    return rounds + rounds[::-1]


def ring(size: float, processes: int) -> list[float]:
    """W - 1 rounds that sum one part of W, and W - 1 that hand the sums round."""
    return [size / processes] * (2 * (processes - 1))


@pytest.mark.parametrize("processes", [1, 2, 4, 8, 64])
def test_bytes_and_seconds_are_those_of_halving_and_doubling(processes):
    message = Message(96.0, times=3)
    rounds = 3 * halving_and_doubling(96.0, processes)
    assert sent([message], processes) == pytest.approx(sum(rounds))
    seconds = sum(LINK.latency + part / LINK.bandwidth for part in rounds)
    assert communication([message], processes, LINK) == pytest.approx(seconds)


@pytest.mark.parametrize("processes", [2, 3, 5, 8])
def test_a_ring_sends_as_many_bytes(processes):
    assert sent([Message(30.0)], processes) == pytest.approx(sum(ring(30.0, processes)))


def test_messages_add_up():
    messages = [Message(16.0), Message(32.0, times=2)]
    assert sent(messages, 4) == 1.5 * 80.0
    assert communication(messages, 4, LINK) == 3 * (2 * 2) * 0.25 + 120.0 / 8.0
    assert sent([], 4) == communication([], 4, LINK) == 0


@pytest.mark.parametrize(
    ("members", "processes", "most", "fewest"),
    [(1, 1, 1, 1), (1, 4, 1, 4), (16, 2, 8, 1), (5, 2, 3, 1), (3, 3, 1, 1), (3, 7, 1, 2), (2, 8, 1, 4)],
)
def test_members_are_spread_before_rows(members, processes, most, fewest):
    assert spread(members, processes) == (most, fewest)


def test_efficiency_of_a_worked_case():
    """8 s of arithmetic on 4 processes, uneven by a quarter, and half a second of talk: 8 / (4 x 3)."""
    assert efficiency(8.0, 8.0 * 1.25 / 4 + 0.5, 4) == pytest.approx(2 / 3)
    assert efficiency(8.0, 8.0, 1) == 1
