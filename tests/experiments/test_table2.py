"""Our own tables: which runs there are, what is measured of them, sittings, and what the page makes of figures."""

import math
import signal
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from experiments import records
from experiments.table2 import run as table2
from experiments.table2 import scores as scores_of_runs
from steadygan import config, normalization
from steadygan.config import registry
from steadygan.data import Data
from steadygan.errors import UsageError
from steadygan.game import Network, flatten
from steadygan.metrics.extractors.registry import extractor
from steadygan.runs import train as run
from steadygan.training.events import Snapshot
from steadygan.training.loop import train


def stand_in(root: object = None) -> Data:
    """A set of 120 images 1x8x8 and 60 that are held out, in place of Fashion-MNIST."""
    g = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 256, (180, 1, 8, 8), generator=g, dtype=torch.uint8)
    return Data("fashion_mnist", (1, 8, 8), rows=rows[:120], held=lambda: rows[120:])


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Options for runs of a second, and what is looked through."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(
        registry.DATA, "fashion_mnist", registry.DATA["fashion_mnist"]._replace(make=stand_in)
    )
    monkeypatch.setattr(table2, "CHECKPOINT", 2)
    for regime in ("few", "late"):
        monkeypatch.setitem(table2.REGIMES, regime, table2.Regime(40, 6000, 32, 1e-3, False))
    monkeypatch.setattr(
        table2, "extractors", lambda data, channels: [extractor("pixels8", channels=channels)]
    )

    def options(folder: Path, *words: str):
        given = [
            "--steps",
            "6",
            "--width",
            "4",
            "--batch",
            "8",
            "--no-compile",
            "--images",
            "40",
            "--seeds",
            "1",
        ]
        given += ["--runs", str(folder / "runs"), "--figures", str(folder / "figures.jsonl")]
        made = table2.arguments().parse_args([*given, *words])
        costs = {f"seconds-fashion-mnist-{m}-8": 2.0 for m in table2.METHODS}
        costs["seconds-fashion-mnist-nsgan-8"] = 1.0
        records.write(made.figures, {name: {"seconds_a_step": cost} for name, cost in costs.items()})
        return made

    return options


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_part_of_the_runs_is_fair():
    listed = table2.jobs(3)
    assert len(set(listed)) == len(listed) == 3 * 2 * 3 * 10
    assert [job.seed for job in listed] == sorted(job.seed for job in listed)
    first = listed[:60]
    assert [job.regime for job in first] == ["full"] * 20 + ["few"] * 20 + ["late"] * 20
    assert {(job.data, job.method) for job in first[:20]} == {
        (data, method) for data in table2.SETS for method in table2.METHODS
    }


def test_every_run_is_a_configuration_of_this_program():
    options = table2.arguments().parse_args([])
    for job in table2.jobs(1):
        made = config.parse(table2.described(job, options, 250))
        assert made.steps == table2.REGIMES[job.regime].steps
        assert made.precision == "bfloat16"
        assert made.channels_last
        assert made.compile
    for regime, count in (("full", 32), ("few", 32), ("late", 16)):
        far = config.parse(table2.described(table2.Job(regime, "cifar10", "fargan", 1), options, 250))
        assert (far.fake_as_real.count, far.fake_as_real.pool, far.seed) == (count, 8, 1)
        assert far.batch == 2 * count


def test_equal_seconds_never_cost_more_and_meet_a_checkpoint():
    for each in (0.03, 0.05, 0.0777, 0.1, 0.31):
        steps, every = table2.fitting(2500, 0.05, each, 250)
        assert steps % every == 0
        assert steps <= 2500
        assert steps * each <= 2500 * 0.05 * (1 + 1e-9)
        assert steps == 2500 or (steps + math.ceil(steps / 250) + 1) * each > 2500 * 0.05  # and are no fewer


def test_seconds_are_the_quickest_stretch_of_the_processor_without_the_first(tiny, tmp_path, monkeypatch):
    # the clock of the processor at the beginning and end of each stretch of two steps
    readings = iter([0, 90, 100, 104, 200, 203, 300, 308])
    monkeypatch.setattr(scores_of_runs.time, "process_time", lambda: next(readings))
    raw = table2.described(table2.Job("full", "fashion-mnist", "nsgan", 0), tiny(tmp_path), 2)
    assert scores_of_runs.seconds_a_step(raw, stretches=3, each=2) == 1.5


# ------------------------------------------------------------------------------------------------------------ figures


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
    for method, added in table2.METHODS.items():
        given = dict(added.get("critic", {}).get("normalization", {"name": "spectral_normalized"}))
        if given["name"] != "spectral_normalized":
            wrap = getattr(normalization, given.pop("name"))
            # what the loss sees of f(x) = x / 2 + b, which for reals is to be high
            low, high = (wrap(lambda x, b=b: x[:, 0] / 2 + b, **given)(x).item() for b in (-0.5, 0.2))
            shown[method] = high > low
    assert shown == {"gn": True, "pgn": False, "pgn-proof": False}
    assert {method for method, rises in shown.items() if not rises} == set(table2.FALLING)


def test_runs_are_measured_once_and_cost_what_they_may(tiny, tmp_path):
    options = tiny(tmp_path, "--only", "(full|few)-fashion-mnist-(nsgan|fargan-f1)-s0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table2.METHODS["fargan-f1"], "fake_as_real", {"count": 4, "pool": 1})
        done = table2.sitting(options, table2.extractors)
    assert [str(job) for job in done] == [
        f"{regime}-fashion-mnist-{method}-s0"
        for regime in ("full", "few")
        for method in ("nsgan", "fargan-f1")
    ]
    assert table2.sitting(options, table2.extractors) == []  # all have their figures
    read = records.read(options.figures)
    full, few = read["full-fashion-mnist-fargan-f1-s0"], read["few-fashion-mnist-fargan-f1-s0"]
    assert (full["images"], few["images"]) == (120, 40)
    assert {at: found["steps"] for at, found in full["at"].items()} == {"equal steps": 6, "equal seconds": 2}
    assert few["at"].keys() == {"end"}
    [card] = few["at"]["end"]["cards"]
    assert (card["protocol"]["split"], card["protocol"]["real"], card["protocol"]["generated"]) == (
        "test",
        60,
        40,
    )
    assert card["scores"].keys() >= {"kd_pixels8", "fd_pixels8"}
    assert few["curve"][-1][0] == 6
    first = read["full-fashion-mnist-nsgan-s0"]["at"]
    assert first["equal seconds"] == first["equal steps"]


def test_an_interrupted_run_ends_with_the_same_figures(tiny, tmp_path, monkeypatch):
    whole, parts = (
        tiny(tmp_path / name, "--only", "few-fashion-mnist-0gp-s0") for name in ("whole", "parts")
    )
    table2.sitting(whole, table2.extractors)

    def cut(*given, **options):
        for event in train(*given, **options):
            yield event
            if isinstance(event, Snapshot) and event.step == 4:
                raise table2.OutOfTime

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", cut)
        assert table2.sitting(parts, table2.extractors) == []
    name = "few-fashion-mnist-0gp-s0"
    assert name not in records.read(parts.figures)
    went_on = []
    monkeypatch.setattr(run, "resume", lambda *given, old=run.resume: (went_on.append(1), old(*given))[1])
    table2.sitting(parts, table2.extractors)
    assert went_on
    assert records.read(parts.figures)[name] == records.read(whole.figures)[name]


def test_a_run_is_done_when_it_has_its_steps_and_else_goes_on(tiny, tmp_path):
    options = tiny(tmp_path, "--only", "(full|few)-fashion-mnist-sn-s0")
    table2.sitting(options, table2.extractors)
    options.steps = 9
    begun = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            run, "start", lambda *given, old=run.start: (begun.append(given[1].name), old(*given))[1]
        )
        assert len(table2.sitting(options, table2.extractors)) == 2
    # equal seconds are now at step 4, of which there is no checkpoint, so that one is begun again
    assert begun == ["full-fashion-mnist-sn-s0"]
    found = records.read(options.figures)
    full, few = (found[f"{regime}-fashion-mnist-sn-s0"] for regime in ("full", "few"))
    assert {at: scored["steps"] for at, scored in full["at"].items()} == {
        "equal steps": 9,
        "equal seconds": 4,
    }
    assert few["at"]["end"]["steps"] == 9
    assert [step for step, _ in few["curve"]] == [0, 6, 9]


def test_a_run_that_diverges_has_figures_without_scores(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(table2.METHODS, "nsgan", {"optimizer": {"name": "sgd", "lr": 1e30}})
    options = tiny(tmp_path, "--only", "full-fashion-mnist-nsgan-s0")
    table2.sitting(options, table2.extractors)
    found = records.read(options.figures)["full-fashion-mnist-nsgan-s0"]
    assert found["diverged"] > 0
    assert found["at"] == {}


def test_a_run_that_fails_does_not_keep_the_others(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(table2.METHODS, "nsgan", {"critic": {"penalties": [{"name": "r3"}]}})
    options = tiny(tmp_path, "--only", "few-fashion-mnist-(nsgan|sn)-s0")
    assert [job.method for job in table2.sitting(options, table2.extractors)] == ["sn"]
    assert "few-fashion-mnist-nsgan-s0 failed, UsageError" in capsys.readouterr().out
    assert "few-fashion-mnist-nsgan-s0" not in records.read(options.figures)


def test_a_sitting_ends_after_its_minutes_and_leaves_signals_as_they_were(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(table2, "finish", lambda *given: time.sleep(60))
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM)
    assert table2.sitting(tiny(tmp_path, "--minutes", "0.001"), table2.extractors) == []
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM)) == before


# --------------------------------------------------------------------------------------------------------------- page


def by_hand(regime: str, method: str, kds: list[float], at: str, **more: object) -> dict[str, records.Record]:
    """The figures of a method's seeds."""
    made = {}
    for seed, kd in enumerate(kds):
        protocol = {"extractor": "lite0", "extractor_sha256": "ab" * 32, "preprocessing": "none"}
        protocol |= {"generated": 2500, "real": 10_000, "split": "test"} | more.get("protocol", {})
        card = {"subject": {}, "protocol": protocol, "scores": {"kd_lite0": {"value": kd, "error": 0.001}}}
        critic = {"spread": 1.0, **{k: {"value": kd, "error": 0.1} for k in ("over_held", "over_fake")}}
        found = {"steps": 100, "cards": [card], "critic": critic}
        found["memorised_pixels8"] = {"value": 0.5, "error": 0.01}
        lost = more.get("lost")
        figures = {
            "seconds_a_step": 0.5,
            "diverged": lost,
            "curve": more.get("curve", [[100, 1.0]]),
            **({"own_curve": more["own_curve"]} if "own_curve" in more else {}),
            "at": {} if lost else {at: found},
        }
        made[f"{regime}-cifar10-{method}-s{seed}"] = figures
    return made


@pytest.fixture
def paged():
    def make(methods: dict[str, list[float]], regime="full", at="equal steps", **more: dict) -> str:
        figures: dict[str, records.Record] = {}
        for method, kds in methods.items():
            figures |= by_hand(regime, method, kds, at, **more.get(method.replace("-", "_"), {}))
        return table2.page(figures, ["cifar10"], list(table2.METHODS), 3)

    return make


def test_the_page_has_means_and_deviations_over_the_seeds_that_are_there(paged):
    text = paged({"0gp": [0.020, 0.022, 0.024], "nsgan": [0.05]})
    assert statistics.stdev([20, 22, 24]) == 2
    assert "| 0GP-sample | 100 | 50 | 22.0 ± 2.0 |" in text
    assert "| NSGAN | 100 | 50 | 50.0 |" in text
    assert "| WGAN-GP | not run yet |" in text
    assert "| `lite0` | none | abababababab | 2,500 | 10,000 of the split test |" in text


def test_the_page_says_when_fargan_loses(paged):
    text = paged(
        {"fargan": [0.030, 0.032, 0.034], "0gp": [0.020, 0.021, 0.022], "fargan-f1": [0.040, 0.042, 0.044]}
    )
    # errors 2 and 1 over sqrt 3: 11 / sqrt(5 / 3), with Welch's 2.9 degrees of freedom
    assert (
        "**FARGAN (f = 8) does not win**: its kd_lite0 (x 1000) is 32.0. 0GP-sample has the lowest, 21.0"
        in text
    )
    assert f"({11 / math.sqrt(5 / 3):.1f} standard errors apart, more than the noise)" in text
    assert "32.0 is lower than the 42.0 of FARGAN, f = 1" in text
    assert "wins**" not in text
    assert "PGN (elementwise) has not been run yet." in text


def test_the_page_says_when_a_method_wins_and_whether_that_is_noise(paged):
    text = paged({"pgn": [0.0200, 0.0240], "gn": [0.0210, 0.0250], "sn": [0.05, 0.06]})
    assert "**PGN (elementwise) wins**: its kd_lite0 (x 1000) of 22.0 is the lowest of 3 methods." in text
    # errors 2 and 2: 1 / sqrt(8)
    assert "GN is next with 23.0 (0.4 standard errors apart, within the noise)." in text
    assert "22.0 is lower than the 55.0 of SN" in text


def test_the_page_tells_of_runs_that_became_nan(paged):
    text = paged({"fargan": [0.03], "0gp": [0.02]}, fargan={"lost": 7})
    assert "FARGAN (f = 8) has no score, because it diverged." in text
    assert "| FARGAN (f = 8) |  |" in text
    assert "| 1 | 1 |" in text


def test_the_page_of_the_docs_is_that_of_the_figures():
    options = table2.arguments().parse_args([])
    made = table2.page(records.read(options.figures), list(table2.SETS), list(table2.METHODS), options.seeds)
    assert options.out.read_text() == made


def test_unlike_protocols_are_refused(paged):
    with pytest.raises(UsageError, match="generated"):
        paged({"fargan": [0.03], "0gp": [0.02]}, fargan={"protocol": {"generated": 1000}})


DOWN = [[250 * k, 1 / k] for k in range(1, 13)]
UP = [[250 * k, 0.1 + abs(k - 5) / 10] for k in range(1, 13)]


def test_the_page_says_whether_the_penalty_alone_has_turned(paged):
    few = {"regime": "few", "at": "end"}
    text = paged({"0gp": [0.1]}, **few, **{"0gp": {"curve": DOWN}})
    assert (
        "0GP-sample got worse after its best on 0 of 1 seeds. By `kd_pixels8` (x 1000) it did on 0. Best and last of "
        "each seed: 83.3 at step" in text
    )
    text = paged({"0gp": [0.1]}, **few, **{"0gp": {"curve": UP}})
    assert (
        "0GP-sample got worse after its best on 1 of 1 seeds. By `kd_pixels8` (x 1000) it did on 1. Best and last of "
        "each seed: 100.0 at step" in text
    )
    assert "1,250, then 800.0." in text
    assert "classifier" not in text.partition("- 0GP-sample got worse")[2].partition("\n")[0]


def test_the_page_says_by_which_score_it_has(paged):
    late = {"regime": "late", "at": "end"}
    text = paged({"0gp": [0.1, 0.1]}, **late, **{"0gp": {"curve": DOWN, "own_curve": UP}})
    assert (
        "0GP-sample got worse after its best on 2 of 2 seeds. By `kd_pixels8` (x 1000) it did on 0." in text
    )
    assert (
        "By the distance through the set's classifier it did on 2. Best and last of each seed: 0.1 at step "
        "1,250, then 0.8" in text
    )


@pytest.mark.parametrize(
    ("gap", "word", "knows"),
    [
        (0.19, "as much, within the noise, as", False),
        (0.21, "as much, within the noise, as", True),
        (0.34, "less than", True),
        (-0.24, "more than", False),
    ],
)
def test_the_page_says_which_critic_knows_its_images(gap, word, knows, paged):
    """One run each, whose gaps have an error of .1, so that they differ by more than noise from .2 sqrt(2) on."""
    text = paged({"0gp": [gap], "fargan": [0.05]}, regime="few", at="end")
    assert f"held-out images {word} that of 0GP-sample: 0.05 against {gap} standard deviations." in text
    assert ("The critic of 0GP-sample has not memorised the training images" in text) is not knows
