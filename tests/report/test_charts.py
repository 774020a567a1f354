"""Charts of the report: points are where numbers say, and thinning loses neither an extreme nor a gap."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steadygan.report.axes import Scale, fitting, short, ticks, written
from steadygan.report.charts import BOTTOM, TOP, Curve, Rule, chart
from steadygan.report.downsampling import thin

# Down-sampling


values = st.lists(
    st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan), st.just(math.inf)), min_size=1, max_size=300
)


@given(values, st.integers(1, 12), st.integers(0, 2**31))
def test_thinning_keeps_every_span_s_extremes_and_its_gaps(found, buckets, seed):
    value = torch.tensor(found, dtype=torch.float64)
    jumps = torch.randint(1, 50, (len(value),), generator=torch.Generator().manual_seed(seed))
    steps = jumps.cumsum(0).double()
    few = thin(steps, value, value, value, buckets)
    if len(found) <= 2 * buckets:
        assert few.steps.tolist() == steps.tolist()
        assert few.low is few.middle or few.low.nan_to_num().tolist() == value.nan_to_num().tolist()
        return
    # An independent loop over the spans of steps.
    span, wanted = (steps[-1] - steps[0]).item() or 1.0, []
    for bucket in range(buckets):
        inside = [
            i
            for i in range(len(value))
            if min(int((steps[i] - steps[0]).item() / span * buckets), buckets - 1) == bucket
        ]
        if inside:
            wanted.append([found[i] for i in inside if math.isfinite(found[i])])
    assert len(few.steps) == len(wanted) <= buckets
    assert few.steps.diff().gt(0).all()
    for middle, low, high, inside in zip(few.middle, few.low, few.high, wanted):
        if not inside:
            assert middle.isnan()
            assert low.isnan()
            assert high.isnan()
        else:
            assert (low, high) == (min(inside), max(inside))
            assert middle.item() == pytest.approx(sum(inside) / len(inside), rel=1e-6, abs=1e-6)


def test_bounds_are_thinned_each_by_its_own():
    steps, zero = torch.arange(100.0), torch.zeros(100)
    low, high = zero.clone(), zero.clone()
    low[33], high[66] = -5, 7
    few = thin(steps, zero, low, high, 10)
    assert (few.low.min().item(), few.low.argmin().item()) == (-5, 3)
    assert (few.high.max().item(), few.high.argmax().item()) == (7, 6)


def test_a_spike_of_a_long_series_is_in_its_band_and_not_lost():
    values = torch.zeros(100_000)
    values[12_345] = 50.0
    (line,) = chart("x", [Curve("a", 0, torch.arange(100_000.0), values)], buckets=300).lines
    assert line.thinned
    heights = [float(pair) for pair in re.findall(r"[\d.]+ ([\d.]+)", line.bands[0])]
    assert min(heights) == pytest.approx(TOP + (BOTTOM - TOP) * 0.04 / 1.08, abs=0.1)  # 4 % to spare above
    assert line.numbers["highest"] == "50 at 12,345"


# Axes and charts


def test_a_line_is_drawn_where_its_numbers_are():
    steps = torch.tensor([0.0, 50, 100])
    found = chart(
        "x", [Curve("a", 0, steps, torch.tensor([0.0, 5.0, 10.0]))], buckets=10, rules=[Rule(5.0, "half")]
    )
    (first, middle, last) = [
        tuple(map(float, pair)) for pair in re.findall(r"[ML](\S+) ([\d.]+)", found.lines[0].path)
    ]
    assert (first[0], middle[0], last[0]) == (50, 222, 394)
    assert middle[1] == pytest.approx((TOP + BOTTOM) / 2, abs=0.1)
    assert first[1] > middle[1] > last[1]  # upwards
    assert found.rules == [(middle[1], "half")]
    assert found.lines[0].numbers["highest"] == "10 at 100"
    for at, text in found.up:  # the ticks agree with the line
        assert at == pytest.approx(first[1] + (last[1] - first[1]) * float(text) / 10, abs=0.15)


def test_a_gap_interrupts_the_line_and_is_marked_and_a_lone_point_is_a_diamond():
    steps = torch.arange(5.0)
    found = chart("x", [Curve("a", 0, steps, torch.tensor([1.0, 2.0, math.nan, 1.0, math.nan]))], buckets=9)
    assert found.lines[0].path.count("M") == 2
    assert found.lines[0].path.endswith("z")
    assert [round(sum(span) / 2) for span in found.lines[0].lost] == [222, 394]
    assert found.lines[0].numbers["not finite"] == "2"


def test_bands_hold_every_member_and_end_at_gaps():
    steps, low = torch.arange(4.0), torch.tensor([0.0, 1.0, math.nan, 1.0])
    found = chart("x", [Curve("a", 0, steps, low + 1, low, low + 3)], buckets=9)
    assert [band.count("L") for band in found.lines[0].bands] == [3, 1]


def test_nothing_finite_is_still_a_chart():
    found = chart("x", [Curve("a", 0, torch.tensor([7.0]), torch.tensor([math.nan]))], buckets=9)
    assert (found.lines[0].path, len(found.lines[0].lost)) == ("", 1)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_and_inside(low, span):
    span = max(span, 1e-6 * abs(low))
    scale = fitting(low, low + span, 0, 100)
    found = ticks(scale)
    assert len(set(written(found))) == len(found)
    assert len(found) <= 6
    assert all(scale.low - 1e-6 * span <= t <= scale.high + 1e-6 * span for t in found)


def test_a_logarithmic_axis_is_for_positive_numbers_of_many_sizes():
    assert fitting(1e-4, 1.0, 0, 1, positive=1e-4).log
    assert not fitting(-1e-4, 1.0, 0, 1, positive=-1e-4).log
    scale = Scale(0.01, 100.0, 0.0, 4.0, log=True)
    assert scale(torch.tensor([0.1, 1.0, 10.0])).tolist() == pytest.approx([1, 2, 3])
    assert short(-1200000.0) == "-1.2M"


def test_the_numbers_of_a_curve_have_their_steps():
    values = torch.tensor([3.0, 1.0, math.nan, 8.0, 2.0])
    (line,) = chart("x", [Curve("a", 0, 10 * torch.arange(5.0), values)], buckets=9).lines
    wanted = {"first": "3 at 0", "lowest": "1 at 10", "highest": "8 at 30", "last": "2 at 40"}
    assert line.numbers == {"points": "5", "not finite": "1", **wanted}


def test_a_band_reaches_from_its_lowest_to_its_highest_value():
    steps, zero = torch.arange(2.0), torch.zeros(2)
    (line,) = chart("x", [Curve("a", 0, steps, zero + 5, zero, zero + 10)], buckets=9).lines
    corners = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", line.bands[0])]
    spare = (BOTTOM - TOP) * 0.04 / 1.08
    wanted = [(50, TOP + spare), (394, TOP + spare), (394, BOTTOM - spare), (50, BOTTOM - spare)]
    assert corners == [pytest.approx(corner, abs=0.06) for corner in wanted]
