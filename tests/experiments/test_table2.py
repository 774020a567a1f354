"""The results page: the rules of its protocol, its runs, and what it makes of figures."""

import math
from pathlib import Path
from statistics import fmean, median
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from experiments import records
from experiments.pages import DOCS
from experiments.table2 import paper
from experiments.table2 import run as table2
from experiments.table2 import scores as scores_of_runs
from experiments.table2.choice import Difference, difference, ranked_rates, ratio
from experiments.table2.claims import ALL
from experiments.table2.figures import (
    CONTROL,
    at,
    diagnosed,
    ended,
    fails,
    finals,
    hours,
    is_worse,
    ranked,
    scores,
    undiagnosed,
    untrained,
)
from experiments.table2.long_tables import long_page
from experiments.table2.methods import FALLING, METHODS, RATES
from experiments.table2.page import page
from experiments.table2.tables import LATE_TABLE, TABLES, Table
from steadygan import config, normalization
from steadygan.config import registry
from steadygan.data import Data
from steadygan.game import Network, flatten
from steadygan.metrics.extractors.registry import extractor
from steadygan.training.events import Progress
from steadygan.training.online_scores import evaluation_samples

FIRST = TABLES[0]


# ---------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ({1e-4: [9.0], 2e-4: [4.0], 5e-4: [5.0], 1e-3: [40.0]}, [2e-4, 5e-4, 1e-4, 1e-3]),
        (
            {1e-4: [4.0], 2e-4: [3.0], 5e-4: [3.0], 1e-3: [3.0]},
            [2e-4, 5e-4, 1e-3, 1e-4],
        ),  # the slowest of equal ones
        (
            {1e-4: [9.0], 2e-4: [None], 5e-4: [math.nan], 1e-3: [math.inf]},
            [1e-4],
        ),  # without a score none wins
        (
            {1e-4: [0.1], 2e-4: [-0.2], 5e-4: [0.0], 1e-3: [1.0]},
            [2e-4, 5e-4, 1e-4, 1e-3],
        ),  # kd may be below 0
        ({1e-4: [None], 2e-4: [None]}, []),
        # means of three seeds are 5, 6 and 34: neither the lowest seed nor the median decides
        ({1e-4: [5.0, 4.0, 6.0], 2e-4: [6.0, 6.0, 6.0], 5e-4: [1.0, 1.0, 100.0]}, [1e-4, 2e-4, 5e-4]),
        ({1e-4: [9.0, 9.0, 9.0], 2e-4: [1.0, None, 1.0]}, [1e-4]),  # nor does a rate that loses a seed
    ],
)
def test_the_first_rate_is_the_one_with_the_lowest_mean_validation_score(scores, order):
    assert ranked_rates(scores) == order


def test_the_choice_reads_the_last_step_of_the_validation_split_and_needs_the_whole_grid():
    curves = {1e-4: [[0, 9.0], [9, 5.0]], 2e-4: [[0, 9.0], [9, 6.0]], 5e-4: [[0, 9.0], [5, 1.0], [9, 7.0]]}
    lines = {f"g{r}": {**LINE, "part": "grid", "rate": r, "curve": curve} for r, curve in curves.items()}
    assert not ranked(lines, ALL, "gn")
    whole = {**lines, "g": {**LINE, "part": "grid", "rate": 1e-3, "curve": [[0, 9.0], [9, None]]}}
    assert ranked(whole, ALL, "gn")[0] == 1e-4  # not 5e-4, whose best was the lowest


def examined(
    method: str, rate: float, values: list[float], verdict: str = "collapse"
) -> dict[str, records.Record]:
    """The figures of a method's runs at a rate, with their diagnoses."""
    made = {"part": "diagnosis", "rate": rate, "verdicts": [verdict]}
    return {
        f"{method}-diagnosis-{rate:g}-{line['seed']}": {**line, **made}
        for line in by_hand(method, values).values()
    }


def grid_of(method: str, scores: dict[float, float | None]) -> dict[str, records.Record]:
    return {
        f"{method}-grid-{rate}": {
            **LINE,
            "method": method,
            "part": "grid",
            "rate": rate,
            "curve": [[9, score]],
        }
        for rate, score in scores.items()
    }


def test_a_method_that_fails_is_diagnosed_at_every_rate_beside_a_control():
    found = {
        **grid_of("gn", {1e-4: 9.0, 2e-4: 8.0, 5e-4: 7.0, 1e-3: None}),
        **grid_of(CONTROL, {1e-4: 9.0, 2e-4: 8.0, 5e-4: 6.0, 1e-3: 7.0}),
        **by_hand(CONTROL, [4.0, 5.0]),
    }
    # untrained generators have 20: of these means the first one is no failure, though one of its seeds is worse
    assert not undiagnosed({**found, **by_hand("gn", [5.0, 34.0])}, ALL)
    found |= by_hand("gn", [5.0, 36.0])
    everything = [("gn", 5e-4), ("gn", 2e-4), ("gn", 1e-4), (CONTROL, 5e-4)]
    assert undiagnosed(found, ALL) == [(method, rate, 1) for method, rate in everything]
    found |= {**examined("gn", 5e-4, [5.0, 36.0]), **examined("gn", 1e-4, [6.0, 7.0], "healthy")}
    assert undiagnosed(found, ALL) == [("gn", 2e-4, 1), (CONTROL, 5e-4, 1)]
    assert undiagnosed({**found, **by_hand("gn", [5.0, 36.0, 30.0])}, ALL)[0] == ("gn", 5e-4, 3)
    found |= examined("gn", 2e-4, [21.0, math.nan], "undecided")
    found |= examined(CONTROL, 5e-4, [4.0, 5.0], "healthy")
    text = page(found)
    assert "untrained generators have 20.00 ± 0.00. Fails: GN (+0.50 [" in text
    assert "| GN | 20.50 ± 21.92 |" in text  # tables keep the chosen rate, though the last one trains
    assert "| GN | Fashion, all | 0.0005 | 20.50 ± 21.92 | 20.50 | 1 of 2 | 2 collapse |" in text
    assert "Fails at every rate of the grid: none. A verdict" in text  # one rate is not tried
    # worse: 36 (collapse), 21 and nan (undecided); better: 5 (collapse), 6 and 7, and the control's 4 and 5
    assert (
        "names a problem in 1 of the 3 runs that are worse than before training, and in 1 of the 5 runs"
        in text
    )


def test_fresh_seeds_at_a_rate_that_is_no_longer_chosen_do_not_count():
    found = {**grid_of("gn", {1e-4: 9.0, 2e-4: 8.0, 5e-4: 6.0, 1e-3: 7.0}), **by_hand("gn", [4.0, 5.0])}
    assert [line["seed"] for line in finals(found, ALL)["gn"]] == [1, 2]
    found |= grid_of("gn", {1e-4: 9.0, 2e-4: 8.0, 5e-4: 6.0, 1e-3: 5.0})
    assert finals(found, ALL) == {}


def test_the_page_names_what_fails_at_every_rate():
    rates = {rate: 9.0 - (rate == 5e-4) for rate in RATES}
    found = {**grid_of("gn", rates), **by_hand("gn", [25.0, 26.0]), **by_hand(CONTROL, [4.0, 5.0])}
    for rate in RATES:
        found |= examined("gn", rate, [25.0, 26.0])
    assert "Fails at every rate of the grid: GN (Fashion, all). " in page(found)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_all_methods_of_a_table_have_the_same_budget(table):
    parts = [(RATES, seeds) for seeds in table.tuning] + [([2e-4], table.seeds)]
    every = [
        [table2.described(table, method, rates, seeds, 500) for method in table.methods]
        for rates, seeds in parts
    ]
    for runs in every:
        assert (
            len({(raw["steps"], raw["batch"], str(raw["optimizer"]), str(raw["ema"])) for raw in runs}) == 1
        )
        assert (
            len({(raw["seed"], raw["seeds"], str(raw["evaluation"]), str(raw["data"])) for raw in runs}) == 1
        )
        assert {config.parse(raw).steps for raw in runs} == {500 * table.longer}
    # no seed of the tuning is scored, and none is tuned with twice
    seeds = [runs[0]["seed"] + i for runs in every for i in range(runs[0]["seeds"])]
    assert len(seeds) == len(set(seeds))


def test_the_generator_has_the_normalization_of_its_source():
    # FARGAN, R1's and R3GAN's networks have none; DCGAN's, WGAN-GP's, SN's, GN's and PGN's generators have it
    without = {"0gp", "fargan", "fargan-f1", "fargan-n75", "r3gan", "nsgan-nobn", "consensus"}
    for method in METHODS:
        raw = table2.described(FIRST, method, RATES, range(1), 500)
        assert raw["networks"]["batch_norm"] is (method not in without)


def test_fake_as_real_takes_its_share_of_the_batch():
    for method, count, pool in (("fargan", 16, 8), ("fargan-f1", 16, 1), ("fargan-n75", 24, 8)):
        made = config.parse(table2.described(FIRST, method, RATES, range(1), 500))
        assert (made.fake_as_real.count, made.fake_as_real.pool, made.batch) == (count, pool, 32)


def test_the_final_score_has_no_image_of_the_validation_split_and_none_of_training():
    pixels = torch.arange(7000).view(-1, 1, 1, 1)
    rows = torch.cat([pixels // 256, pixels % 256], 3).to(torch.uint8)
    data = Data("distinct", (1, 1, 2), rows=rows[:1000], held=lambda: rows[1000:])
    images = table2.described(FIRST, "gn", RATES, range(1), 500)["evaluation"]["images"]
    seen = ((evaluation_samples(data, images) + 1) * 127.5).round().to(torch.uint8)
    if evaluation_samples(data, images).dtype == torch.uint8:
        seen = evaluation_samples(data, images)
    final = scores_of_runs.final_split(data).rows
    assert final is not None
    numbers = [
        {(256 * int(x[0, 0, 0]) + int(x[0, 0, 1])) for x in part} for part in (seen, final, rows[:1000])
    ]
    assert [len(part) for part in numbers] == [1000, 5000, 1000]
    assert not numbers[0] & numbers[1]
    assert not numbers[2] & (numbers[0] | numbers[1])


def test_intervals_are_those_of_welch():
    from scipy.stats import ttest_ind

    first, second = [4.1, 5.0, 4.4, 4.9], [6.0, 9.0, 5.5]
    oracle = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    found = difference(first, second)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), rel=1e-9)
    assert math.isnan(difference([1.0], second).low)
    logs = ttest_ind(np.log(first), np.log(second), equal_var=False).confidence_interval(0.95)
    times = ratio(first, second)
    assert (times.low, times.high) == pytest.approx((math.exp(logs.low), math.exp(logs.high)), rel=1e-9)
    assert times.value == pytest.approx(math.prod(first) ** (1 / 4) / math.prod(second) ** (1 / 3), rel=1e-9)
    assert math.isnan(ratio([1.0, -0.1], second).value)  # kd may be below 0


def test_equal_seconds_never_cost_more_and_meet_a_checkpoint():
    assert table2.scored_at(500, 0.05, 10.0, curve=False) == {"equal steps": 500, "equal seconds": 200}
    assert table2.scored_at(500, 0.01, 10.0, curve=False)["equal seconds"] == 500
    assert table2.scored_at(500, 0.011, math.inf, curve=True)["step 125"] == 125


# -------------------------------------------------------------------------------------------------------------- figures


def critic_of(net: nn.Module) -> tuple[SimpleNamespace, SimpleNamespace]:
    players = {"D": SimpleNamespace(network=Network(net, torch.bfloat16))}
    state = SimpleNamespace(average={}, params={"D": flatten(net)}, buffers={"D": {}})
    return SimpleNamespace(game=SimpleNamespace(players=players)), state


def test_the_critics_gap_by_hand():
    # D(x) = 3 x of one pixel in [-1, 1], whose bytes are 0 and 255, or -1 and 1 of the fakes that come as they are
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))
    nn.init.constant_(net[0].weight, 3.0)
    made, state = critic_of(net)
    rows = {
        "train": torch.tensor([[255], [255], [255], [0]], dtype=torch.uint8),
        "held": torch.tensor([[0], [255]], dtype=torch.uint8),
        "fake": torch.tensor([[-1.0], [-1.0], [-0.5]]),
    }
    gap = scores_of_runs.critic_gap(made, state, rows, falling=False)
    unit = 3 * math.sqrt(2)  # of -3 and 3
    assert gap["spread"] == pytest.approx(unit)
    assert gap["over_held"]["value"] == pytest.approx(1.5 / unit)
    assert gap["over_fake"]["value"] == pytest.approx((1.5 + 2.5) / unit)
    # variances 9 and 18 of the logits, of 4 and of 2
    assert gap["over_held"]["error"] == pytest.approx(math.sqrt(9 / 4 + 18 / 2) / unit)
    low = scores_of_runs.critic_gap(made, state, rows, falling=True)
    assert low["over_fake"]["value"] == pytest.approx(-(1.5 + 2.5) / unit)


def test_critics_that_fall_are_those_whose_raw_output_is_low_on_reals():
    x, shown = torch.tensor([[1.0, 0.0]]), {}
    for method, known in METHODS.items():
        given = dict(known.added.get("critic", {}).get("normalization", {"name": "spectral_normalized"}))
        if given["name"] != "spectral_normalized":
            wrap = getattr(normalization, given.pop("name"))
            # what the loss sees of f(x) = x / 2 + b, which for reals is to be high
            low, high = (wrap(lambda x, b=b: x[:, 0] / 2 + b, **given)(x).item() for b in (-0.5, 0.2))
            shown[method] = high > low
    assert shown["gn"]
    assert {method for method, rises in shown.items() if not rises} == set(FALLING)


def test_seconds_are_the_quickest_stretch_of_the_processor(tmp_path, monkeypatch):
    # the processor's clock at the end of an event and of the logger: the first stretch has no beginning
    readings = iter([0, 90, 100, 104, 150, 158, 200, 203])
    monkeypatch.setattr(scores_of_runs.time, "process_time", lambda: next(readings))
    sink = scores_of_runs.timed(tmp_path / "seconds")
    for step in (0, 2, 2, 4):  # two events at step 2: from 104 to 150 no step was taken
        sink(Progress(step, 0.0, {}))
    # from 90 to 100 two steps, and from 158 to 200 two steps
    assert scores_of_runs.seconds_a_step(tmp_path / "seconds") == 5.0


# ----------------------------------------------------------------------------------------------------------------- runs


def stand_in(root: object = None, limit: int | None = None) -> Data:
    """A set of 80 images 1x8x8 and 200 that are held out, in place of Fashion-MNIST."""
    g = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 256, (280, 1, 8, 8), generator=g, dtype=torch.uint8)
    return Data("fashion_mnist", (1, 8, 8), rows=rows[:80], held=lambda: rows[80:])


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Options for runs of a second, scored on pooled pixels."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    part = registry.DATA["fashion_mnist"]._replace(make=stand_in)
    monkeypatch.setitem(registry.DATA, "fashion_mnist", part)
    monkeypatch.setattr(Table, "score", "kd_pixels8")
    monkeypatch.setattr(
        table2, "TABLES", (FIRST._replace(methods=("nsgan", "sn"), tuning=(range(1), range(11, 13))),)
    )
    monkeypatch.setattr(table2, "evaluated", lambda table: {"images": 100})
    monkeypatch.setattr(scores_of_runs, "VALIDATION", 100)
    monkeypatch.setattr(scores_of_runs, "FINAL", 50)
    monkeypatch.setattr(table2, "extractor", lambda table: extractor("pixels8", channels=1))
    described = table2.described
    monkeypatch.setattr(table2, "described", lambda *given: {**described(*given), "compile": False})
    words = [
        "--steps",
        "4",
        "--images",
        "20",
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "page.md"),
    ]
    return table2.arguments().parse_args([*words, "--figures", str(tmp_path / "figures.jsonl")])


@pytest.mark.slow
def test_runs_are_made_once_with_their_seeds_and_an_interrupted_sitting_goes_on(small, monkeypatch):
    def cut(*given):
        raise table2.OutOfTime

    def only_of_sn(found, table):
        """SN's runs are diagnosed at their own rate, whether they fail after four steps or not."""
        done = [line["seed"] for lines in diagnosed(found, table).get("sn", {}).values() for line in lines]
        left = [seed for line in finals(found, table).get("sn", []) if (seed := line["seed"]) not in done]
        return [("sn", ranked(found, table, "sn")[0], min(left))] if left else []

    monkeypatch.setattr(table2, "undiagnosed", only_of_sn)
    with monkeypatch.context() as patch:
        patch.setattr(table2, "finals", cut)
        assert table2.sitting(small) == [f"{ALL}-nsgan-grid", f"{ALL}-nsgan-grid-from-11"]
    assert table2.sitting(small) == [
        f"{ALL}-nsgan-final",
        f"{ALL}-sn-grid",
        f"{ALL}-sn-grid-from-11",
        f"{ALL}-sn-final",
        f"{ALL}-sn-diagnosis-{ranked(records.read(small.figures), ALL, 'sn')[0]:g}",
        f"{ALL}-real",
    ]
    assert table2.sitting(small) == []
    found = records.read(small.figures)
    # a diagnosis changes nothing in a run, and four steps are too few for one
    [again] = diagnosed(found, ALL)["sn"].values()
    assert [one["curve"] for one in again] == [one["curve"] for one in finals(found, ALL)["sn"]]
    assert {tuple(one["verdicts"]) for one in again} == {("undecided",)}
    lines = [one for one in found.values() if one["part"] == "final" and one["method"] == "sn"]
    assert [line["seed"] for line in lines] == [1, 2, 3, 4, 5]
    assert {line["rate"] for line in lines} == {ranked(found, ALL, "sn")[0]}
    protocol = lines[0]["at"]["equal steps"]["card"]["protocol"]
    assert (protocol["split"], protocol["real"], protocol["generated"]) == ("test", 50, 20)
    assert lines[0]["at"]["equal steps"]["step"] == 4
    assert lines[0]["curve"][0][0] == 0
    # a seed that is wanted later is trained alone, and scored where the first ones were
    last = lines[-1]
    monkeypatch.setattr(table2, "undiagnosed", lambda *given: [])
    kept = {
        name: one
        for name, one in found.items()
        if not name.endswith("final-5") and one["part"] != "diagnosis"
    }
    moved = {"equal steps": {**lines[0]["at"]["equal steps"], "step": 3}}
    records.write(small.figures, {**kept, f"{ALL}-sn-final-1": {**lines[0], "at": moved}})
    assert table2.sitting(small) == [f"{ALL}-nsgan-final", f"{ALL}-sn-final"]
    alone = records.read(small.figures)[f"{ALL}-sn-final-5"]
    assert {name: point["step"] for name, point in alone["at"].items()} == {"equal steps": 3}
    assert [v for _, v in alone["curve"]] == pytest.approx([v for _, v in last["curve"]], rel=1e-3)


@pytest.mark.slow
def test_a_grid_names_its_runs_and_a_new_choice_makes_the_fresh_seeds_anew(small, monkeypatch):
    table2.sitting(small)
    found = records.read(small.figures)
    tuned = [one for one in found.values() if one["part"] == "grid" and one["method"] == "sn"]
    assert {(one["rate"], one["seed"]) for one in tuned} == {(r, s) for r in RATES for s in (0, 11, 12)}
    # a run of the grid is the one that its rate and its seed have alone
    raw = table2.described(FIRST, "sn", [RATES[1]], range(12, 13), small.steps)
    table2.trained(raw, small.runs / "alone")
    [alone] = scores_of_runs.curves(small.runs / "alone", FIRST.score, 1)
    [same] = [one["curve"] for one in tuned if (one["rate"], one["seed"]) == (RATES[1], 12)]
    assert [v for _, v in same] == pytest.approx([v for _, v in alone], rel=1e-3)
    # two of three seeds are made so good that the choice changes
    first = ranked(found, ALL, "sn")[0]
    other = next(rate for rate in RATES if rate != first)
    for one in tuned:
        if one["rate"] == other and one["seed"] != 0:
            one["curve"][-1][1] = -100.0
    before = found[f"{ALL}-sn-final-2"]["seconds_a_step"]
    records.write(small.figures, found)
    assert table2.sitting(small)[0] == f"{ALL}-sn-final"
    lines = finals(records.read(small.figures), ALL)["sn"]
    assert [(line["seed"], line["rate"]) for line in lines] == [(seed, other) for seed in FIRST.seeds]
    assert {line["seconds_a_step"] for line in lines} == {before}
    # back at the first rate: runs that had a diagnosis there are taken, and nothing is trained
    found = records.read(small.figures)
    kept = {"part": "diagnosis", "rate": first, "verdicts": ["healthy"], "seconds_a_step": 0.5}
    for seed in FIRST.seeds:
        found[f"{ALL}-sn-diagnosis-{first:g}-{seed}"] = {**found[f"{ALL}-sn-final-{seed}"], **kept}
    for one in found.values():
        if one["part"] == "grid" and one["method"] == "sn" and one["rate"] == first:
            one["curve"][-1][1] = -200.0
    records.write(small.figures, found)
    monkeypatch.setattr(table2, "trained", None)
    monkeypatch.setattr(table2, "undiagnosed", lambda *given: [])
    assert table2.sitting(small) == [f"{ALL}-sn-final"]
    lines = finals(records.read(small.figures), ALL)["sn"]
    assert {(line["rate"], line["seconds_a_step"]) for line in lines} == {(first, 0.5)}
    assert not any("verdicts" in line for line in lines)


# ----------------------------------------------------------------------------------------------------------------- page

LINE = {"table": ALL, "method": "gn", "steps": 100, "seconds_a_step": 0.01}


def by_hand(
    method: str,
    values: list[float],
    start: float = 20.0,
    table: str = ALL,
    gap: float = 0.1,
    spread: float = 1.0,
) -> dict[str, records.Record]:
    """The figures of a method's fresh seeds."""
    names = [f"{kind}_fashion_mnist" for kind in ("kd", "fd", "precision", "recall", "coverage")]
    card = [{"scores": {name: {"value": value, "error": 0.1} for name in names}} for value in values]
    critic = {"spread": spread, **{key: {"value": gap, "error": 0.1} for key in ("over_held", "over_fake")}}
    return {
        f"{table}-{method}-final-{seed}": {
            **LINE,
            "table": table,
            "part": "final",
            "method": method,
            "rate": 5e-4,
            "seed": seed,
            "curve": [[0, start], [100, value]],
            "at": {
                point: {"step": 100, "card": one, "critic": critic}
                for point in ("equal steps", "equal seconds")
            },
        }
        for seed, (value, one) in enumerate(zip(values, card), 1)
    }


def test_the_page_gives_verdicts_with_intervals_and_says_what_was_not_run():
    text = page(
        {
            **by_hand("pgn", [4.0, 4.2, 4.4]),
            **by_hand("gn", [6.0, 6.2, 6.4]),
            **by_hand("sn", [4.1, 4.3, 4.5]),
        }
    )
    # two standard deviations of 0.2: errors 0.2 sqrt(2 / 3), 4 degrees of freedom, t = 2.776
    wide = 2.776445 * 0.2 * math.sqrt(2 / 3)
    effect = f"-2.00 [{-2 - wide:+.2f}, {-2 + wide:+.2f}]"
    better = "PGN is better than GN. **Supported here**."
    # The third root of 4 * 4.2 * 4.4 / (6 * 6.2 * 6.4); logs have deviations 0.0477 and 0.0323, 3.5 degrees, t = 2.933
    ratio = "ratio 0.68 [0.61, 0.75]"
    assert f"- *PGN, Table II*: {better} Effect {effect}, {ratio}; at equal seconds {effect}.\n" in text
    assert "PGN is better than SN. **Not supported here: undecided**." in text
    assert "GN is better than SN. **Not supported here: the opposite**." in text
    assert (
        "fake-as-real with f = 8 is better than 0GP alone. **Not run yet**, on 100 images. The paper" in text
    )
    assert "| PGN, elementwise | 4.20 ± 0.20 |" in text


def test_the_long_tables_have_every_method_and_say_what_was_not_run():
    text = long_page(by_hand("pgn", [4.0, 4.2, 4.4]))
    assert "| PGN, elementwise | yes | 0.0005 | 4.20 ± 0.20 |" in text
    assert "Every method is better than before training, on the validation split." in text
    assert "| NSGAN | yes | not run yet |" in text


def test_effects_at_equal_seconds_and_verdicts_of_other_tables_stand_beside_a_verdict():
    slow = by_hand("pgn", [4.0, 4.1])
    for line in slow.values():
        line["at"]["equal seconds"]["card"] = {"scores": {"kd_fashion_mnist": {"value": 9.0, "error": 0.1}}}
    other = str(TABLES[2])
    few = {**by_hand("pgn", [6.0, 6.1], table=other), **by_hand("gn", [5.0, 5.1], table=other)}
    text = page({**slow, **by_hand("gn", [6.0, 6.1]), **few})
    [line] = [line for line in text.splitlines() if "PGN is better than GN." in line]
    assert "**Supported here**. Effect -2.00" in line
    assert "at equal seconds +2.95" in line
    assert "Other tables: Fashion, 1,000, the opposite, 1.20 [1.13, 1.27]." in line


def of_cifar(found: dict[str, records.Record]) -> dict[str, records.Record]:
    """Figures made by hand, with the scores' names of CIFAR-10."""
    for line in found.values():
        for point in line["at"].values():
            scores = point["card"]["scores"]
            point["card"] = {
                "scores": {name.replace("fashion_mnist", "cifar10"): v for name, v in scores.items()}
            }
    return found


def test_claims_of_late_training_are_judged_by_the_runs_on_few_images():
    """On all images fake-as-real is worse here, and on few of them it is better, while its critic knows them better."""
    few = str(LATE_TABLE)
    text = page(
        {
            **by_hand("fargan", [9.0, 9.1]),
            **by_hand("0gp", [4.0, 4.1]),
            **by_hand("fargan", [5.0, 5.1], table=few, gap=2.0, spread=0.25),
            **by_hand("0gp", [7.0, 7.1], table=few, gap=1.5),
            **of_cifar(by_hand("fargan", [3.0, 3.1], table="cifar10-all-dcgan")),
            **of_cifar(by_hand("0gp", [4.0, 4.1], table="cifar10-all-dcgan")),
        }
    )
    better = "fake-as-real with f = 8 is better than 0GP alone."
    assert f"{better} **Supported here**, on 100 images. Effect -2.00 " in text
    # 2.0 against 1.5 spreads of 0.25 and 1 logit
    gaps = "+0.50 [+0.50, +0.50] spreads and -1.00 [-1.00, -1.00] logits"
    assert f"- FARGAN, f = 8: its gap minus that of 0GP is {gaps}." in text
    assert f"{better} **Not testable here**. Effect +5.00 " in text
    assert "Other tables: CIFAR, all, -1.00 [" in text  # what is not judged is not hidden
    row = "| fake-as-real with f = 8 is better than 0GP alone{} | FARGAN, Table 2, Fig. 10 | {} |"
    assert row.format(", on 100 images", "supported | ") in text
    assert row.format("", "not testable | not testable") in text
    alone = "By their intervals alone the claims that are not testable would be, on"
    assert f"{alone} Fashion-MNIST: 0 supported, 0 undecided, 1 the opposite." in text
    assert f"{alone} CIFAR-10: 1 supported, 0 undecided, 0 the opposite." in text
    assert "puts its 100 images 1.50 ± 0.00 spreads above held-out ones" in text
    assert "goes from 20.00 to 7.05 in the last quarter" in text


def test_the_pages_name_what_is_no_better_than_before_training():
    found = {**by_hand("gn", [4.0, 4.2]), **by_hand("pgn", [25.0, 26.0])}
    # 5.5 above 20; errors sqrt(.5 / 2), one degree of freedom, t = 12.706
    fails = "PGN, elementwise (+5.50 [-0.85, +11.85])"
    assert f"untrained generators have 20.00 ± 0.00. Fails: {fails}.\n" in page(found)
    text = long_page(found)
    assert "**No better than before training**, on the validation split: PGN, elementwise." in text
    assert (
        "PGN, elementwise, seed 2, with 26.0: its critic puts fakes 0.1 spreads below training images" in text
    )
    single = by_hand("gn", [4.0, 26.0])
    assert "untrained generators have 20.00 ± 0.00. Fails: none.\n" in page(single)
    assert "Single runs that are no better: GN, seed 2, with 26.0" in long_page(single)


def test_a_run_is_compared_with_its_own_generator_before_training():
    """From 4 to 6 and from 30 to 31: each rises, by 1.5 ± 6.35, though both starts have a mean of 17."""
    found = by_hand("gn", [6.0, 31.0])
    for line, start in zip(found.values(), (4.0, 30.0)):
        line["curve"][0][1] = start
    told = long_page(found)
    assert "Single runs that are no better: GN, seed 1, with 6.0: " in told
    assert "; GN, seed 2, with 31.0: " in told
    # changes of 2 and 1, whose error is .5; one degree of freedom, t = 12.706
    assert "Fails: GN (+1.50 [-4.85, +7.85]).\n" in page(found)


def test_a_method_is_compared_with_its_own_generators_on_the_same_images():
    """GN goes from 20 to 19 there, and 0GP, without batch norm, from 10 to 11: means of all begin at 15."""
    gn = by_hand("gn", [19.0, 19.0])
    for line in gn.values():
        line["at"]["equal steps"]["card"] = {"scores": {"kd_fashion_mnist": {"value": 30.0, "error": 0.1}}}
    text = page({**gn, **by_hand("0gp", [11.0, 11.0], start=10.0)})
    start = "20.00 ± 0.00 with batch norm, 10.00 ± 0.00 without batch norm"
    assert f"untrained generators have {start}. Fails: 0GP (R1) (+1.00 [+1.00, +1.00]).\n" in text


def test_the_overview_has_every_verdict():
    text = page({**by_hand("pgn", [4.0, 4.2]), **by_hand("gn", [6.0, 6.2])})
    short = text[text.index("## In short") : text.index("## Does")]
    assert "| PGN is better than GN | PGN, Table II | supported |  |" in short
    assert (
        "| fake-as-real with f = 8 is better than 0GP alone, on 100 images | FARGAN, Table 2, Fig. 10 |  |  |"
        in short
    )
    assert "- Elsewhere: instance noise helps (Survey): not supported here: undecided." in short


def test_hours_are_the_work_over_the_speed_of_finished_runs():
    costs = {
        f"{ALL}-{method}-cost": {"part": "cost", "table": ALL, "method": method, "steps": 100, "flops": flops}
        for method, flops in (("gn", 1e9), ("pgn", 36e9))
    }
    figures = {**costs, **by_hand("gn", [4.0])}
    # 1e9 FLOPs in 0.01 s; 8 members of 100 steps of 36e9 at that speed take 288 s
    assert hours(figures, ALL, ["pgn"], 8) == pytest.approx(288 / 3600)
    assert math.isnan(hours(figures, ALL, ["sn"], 8))


def test_the_page_counts_the_runs_that_are_left():
    costs = {
        f"{ALL}-{method}-cost": {"part": "cost", "table": ALL, "method": method, "steps": 100, "flops": 1e9}
        for method in FIRST.methods
    }
    text = page({**costs, **by_hand("gn", [4.0, 4.2, 4.1])})
    # three of the nine runs of GN are there, and none of the others'
    assert f"| `{FIRST}` | 18 of 18 | {18 * 9 - 3} |" in text
    assert (
        f"| `cifar10-1000-dcgan` | 15 of 15 | {15 * 46} |" in text
    )  # ten fresh seeds, and nine at each rate


def test_the_page_shows_the_figures_that_were_measured():
    figures = records.read(table2.FIGURES)
    assert (DOCS / "results.md").read_text() == page(figures)
    assert (DOCS / "results-tables.md").read_text() == long_page(figures)


# ---------------------------------------------------------------------------------------------------------------- paper


def test_the_sentences_written_by_hand_hold_in_the_figures():
    found = records.read(table2.FIGURES)

    def means(table: Table, point: str = "equal steps") -> dict[str, float]:
        return {m: fmean(each) for m, each in scores(found, str(table), point, table.score).items()}

    both = [each for table in TABLES if {"pgn", "pgn-proof"} <= (each := means(table)).keys()]
    assert [each["pgn-proof"] < each["pgn"] for each in both].count(True) == 5
    assert len(both) == 6
    fashion = scores(found, ALL, "equal steps", TABLES[0].score)
    assert all(difference(fashion["pgn-proof"], fashion[m]).low > 0 for m in ("gn", "sn"))
    later = [
        each for table in TABLES if {"nsgan", "wgan-gp"} <= (each := means(table, "equal seconds")).keys()
    ]
    assert later
    assert all(each["wgan-gp"] > each["nsgan"] for each in later)  # worse in every table
    cifar = [table for table in TABLES if table.data == "cifar10" and table.network == "dcgan"]
    assert len(cifar) == 2
    for table in cifar:  # PGN's scalar reading has seeds that are worse than before training at every rate
        tries = diagnosed(found, str(table))["pgn-scalar"]
        assert len(tries) == len(RATES)
        assert all(any(map(is_worse, runs)) for runs in tries.values())
    (few,) = (table for table in cifar if table.images)
    rate = ranked(found, str(few), "pgn-scalar")[0]
    ran = {
        one["seed"]: one["curve"]
        for one in found.values()
        if (one.get("table"), one.get("method"), one.get("rate")) == (str(few), "pgn-scalar", rate)
    }
    assert len(ran) == 19
    assert fails(finals(found, str(few))["pgn-scalar"])
    assert [round(fmean(curve[i][1] for curve in ran.values()), 1) for i in (0, -1)] == [12.5, 10.1]
    (whole,) = (table for table in cifar if not table.images)
    kept = finals(found, str(whole))
    assert all(map(is_worse, kept["nsgan-nobn"]))
    assert not any(map(is_worse, kept["consensus"]))
    # the best untrained generators of the small DCGAN on CIFAR-10 are below 4, and most methods end below 3.5
    assert all(min(min(each) for each in untrained(found, str(table)).values()) < 4 for table in cifar)
    assert all(median(means(table).values()) < 3.5 for table in cifar)
    (cnn,) = (table for table in TABLES if (table.data, table.network) == ("cifar10", "gn_cnn"))
    starts = untrained(found, str(cnn))[True]
    assert [len(starts), round(min(starts)), round(max(starts))] == [5, 4, 64]
    classes = scores(found, str(cnn), "equal steps", "is_cifar10")
    assert all(1 <= each < 1.15 for each in classes["nsgan"])  # Inception scores of one class
    worst = max(finals(found, str(cnn))["sn"], key=ended)
    assert at(worst, "equal steps", "is_cifar10") < 1.05
    (again,) = (x for x in diagnosed(found, str(cnn))["sn"][worst["rate"]] if x["seed"] == worst["seed"])
    assert again["verdicts"] == ["healthy"]
    costs = {(one["table"], one["method"]): one["flops"] for one in found.values() if one["part"] == "cost"}
    work = [flops / costs[table, "nsgan"] for (table, _), flops in costs.items()]
    assert round(max(work), 1) == 6.6


def test_the_sentences_on_fake_as_real_hold_in_the_figures():
    found = records.read(table2.FIGURES)
    late = str(LATE_TABLE)

    def compared(first: str, second: str, kind: str, point: str) -> list[Difference]:
        """The differences in all tables that have both, that of few images last."""
        names = [str(t) for t in TABLES if t != LATE_TABLE] + [late]
        each = [scores(found, name, point, f"{kind}_{data(name)}") for name in names]
        return [difference(one[first], one[second]) for one in each if {first, second} <= one.keys()]

    def data(name: str) -> str:
        return "cifar10" if name.startswith("cifar10") else "fashion_mnist"

    *to_f1, _ = compared("fargan", "fargan-f1", "kd", "equal steps")
    *to_0gp, _ = compared("fargan", "0gp", "kd", "equal steps")
    assert [len(to_f1), sum(d.value < 0 for d in to_f1)] == [6, 6]
    assert [len(to_0gp), sum(d.value < 0 for d in to_0gp)] == [6, 4]
    for other in ("0gp", "fargan-f1"):
        assert all(d.high > 0 for d in compared("fargan", other, "kd", "equal seconds"))
    *of_fd, _ = compared("fargan", "0gp", "fd", "equal steps")
    assert [sum(d.high < 0 for d in of_fd), sum(d.low > 0 for d in of_fd)] == [2, 1]
    recall, precision = (compared("fargan", "0gp", kind, "equal steps") for kind in ("recall", "precision"))
    assert [len(recall), sum(d.value > 0 for d in recall)] == [7, 6]
    assert [len(precision), sum(d.value < 0 for d in precision)] == [7, 6]
    # f = 8 is no nearer to the others at the end than after a quarter of the steps
    curves = {m: [line["curve"] for line in lines] for m, lines in finals(found, late).items()}
    for other in ("0gp", "fargan-f1"):
        early, last = (
            fmean(c[i][1] for c in curves["fargan"]) - fmean(c[i][1] for c in curves[other]) for i in (1, -1)
        )
        assert last >= early > 0
    for table in (table for table in TABLES if table.data == "cifar10"):
        ends = {m: fmean(v) for m, v in scores(found, str(table), "equal steps", table.score).items()}
        assert min(ends, key=ends.__getitem__) == "fargan-n75"  # the lowest mean of all methods


def test_the_papers_rows_are_those_of_their_tables_and_are_run_once(tmp_path: Path, monkeypatch):
    listed = paper.rows()
    assert len({str(row) for row in listed}) == len(listed)
    assert {"FARGAN, Table 2", "PGN, Table II"} <= {row.table for row in listed}
    for table in paper.TABLES:  # at full size, and all rows scored alike
        made = [config.parse(paper.configuration(row)) for row in listed if row.table == table]
        assert len({str(one.evaluation) + str(one.keep.best) for one in made}) == 1
        assert min(one.steps for one in made) >= 100_000
    options = table2.arguments().parse_args(
        ["--paper", "--only", "Table II:.*PGN-GAN$", "--figures", str(tmp_path / "figures.jsonl")]
    )
    monkeypatch.setattr(paper, "made", lambda row, options: {"part": "paper", "scores": {"fid": 18.0}})
    wanted = [row.line.recipe for row in paper.missing(options)]
    assert set(wanted) == {"cifar10-gn-cnn-pgn", "cifar10-gn-resnet-pgn"}
    paper.sitting(options)
    assert list(paper.missing(options)) == []
    [line] = [x for x in long_page(records.read(options.figures)).splitlines() if "`cifar10-gn-cnn-pgn`" in x]
    assert line.endswith("| fid 18.00 |")
