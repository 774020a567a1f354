"""Data-parallel training on paper, against collectives that are played step by step, and figures worked by hand."""

import pytest

from steadygan.training.scaling import (
    Link,
    Message,
    communication,
    device_peak,
    efficiency,
    largest_share,
    sent,
    spread,
)

LINK = Link(bandwidth=8.0, latency=0.25)


def halving_and_doubling(size: float, processes: int, *, gather: bool) -> list[float]:
    """What a process sends in each round: halves, quarters, ... to be summed, and the sums back in the other order."""
    rounds, part = [], size
    while processes > 1:
        processes, part = processes // 2, part / 2
        rounds.append(part)
    return rounds[::-1] if gather else rounds + rounds[::-1]


def ring(size: float, processes: int) -> list[float]:
    """W - 1 rounds that sum one part of W, and W - 1 that hand the sums round."""
    return [size / processes] * (2 * (processes - 1))


@pytest.mark.parametrize("processes", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("gather", [False, True])
def test_bytes_and_seconds_are_those_of_halving_and_doubling(processes, gather):
    message = Message(96.0, times=3, gather=gather)
    rounds = 3 * halving_and_doubling(96.0, processes, gather=gather)
    assert sent([message], processes) == pytest.approx(sum(rounds))
    seconds = sum(LINK.latency + part / LINK.bandwidth for part in rounds)
    assert communication([message], processes, LINK) == pytest.approx(seconds)


@pytest.mark.parametrize("processes", [2, 3, 5, 8])
def test_a_ring_sends_as_many_bytes(processes):
    assert sent([Message(30.0)], processes) == pytest.approx(sum(ring(30.0, processes)))


def test_messages_add_up():
    messages = [Message(16.0), Message(32.0, gather=True)]
    assert sent(messages, 4) == 24.0 + 24.0
    assert communication(messages, 4, LINK) == (2 * 2 + 2) * 0.25 + 48.0 / 8.0
    assert sent([], 4) == communication([], 4, LINK) == 0


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("processes", [1, 2, 3, 64])
def test_the_largest_share_is_that_of_the_rows_as_they_are_dealt(rows, processes):
    """Rank r has the rows from count r // W up to count (r + 1) // W."""
    dealt = [len(range(rows * r // processes, rows * (r + 1) // processes)) for r in range(processes)]
    assert largest_share(rows, processes) == max(dealt) / rows


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


def test_the_peak_of_a_share_lies_above_every_moments_bytes():
    """Each moment needs a + b share bytes, and the peak is the largest of them."""
    moments = [(10.0, 90.0), (60.0, 5.0), (30.0, 30.0)]
    peak, fixed = (max(a + b * share for a, b in moments) for share in (1.0, 0.0))
    for share in (0.01, 0.25, 0.5, 1.0):
        assert device_peak(peak, fixed, share) >= max(a + b * share for a, b in moments)
    assert device_peak(peak, fixed, 1.0) == peak
