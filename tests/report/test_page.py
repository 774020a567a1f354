"""The report: what it reads of a run folder, and what its page then says."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image

from reporting import CONFIG, EVIL, made, seen, write_landscape
from steadygan.errors import UsageError
from steadygan.metrics import Card, Score
from steadygan.plots.samples import grid, save, scatter
from steadygan.progress import shown_by
from steadygan.report import page as pages
from steadygan.report import panels
from steadygan.report.charts import Curve, chart
from steadygan.report.image_sliders import landscapes, samples
from steadygan.report.page import differences, page, report
from steadygan.report.run_summary import Reader, Told, names
from steadygan.report.spectrum import BOX, clouds

# Reading runs


def test_torn_and_foreign_lines_are_passed_over_and_growth_is_read_once(tmp_path):
    folder = made(tmp_path / "run")
    whole = len(Reader(folder).read().histories[0].series["loss/D"].steps)
    reader = Reader(folder)
    with (folder / "events.jsonl").open("a") as file:
        file.write('[1]\nnot json\n{"step": 410, "loss/D": 1.5}\n{"step": 420, "lo')
    assert len(reader.read().histories[0].series["loss/D"].steps) == whole + 1
    with (folder / "events.jsonl").open("a") as file:
        file.write('ss/D": 2.5}\n')
    assert reader.read().histories[0].series["loss/D"].values[-1] == 2.5
    write = folder / "other"
    write.write_text('{"step": 10, "loss/D": 9.0}\n')
    write.replace(folder / "events.jsonl")  # a resumed run rewinds its events
    assert reader.read().histories[0].series["loss/D"].values.tolist() == [9.0]


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    runs = [Reader(made(tmp_path / p / "run", pictures=False)).read() for p in ("a", "b")]
    assert names(runs) == ["a/run", "b/run"]
    assert names(runs[:1]) == ["run"]
    assert names([runs[0], runs[0]]) == ["run", "run"]


def test_reading_and_drawing_are_reported_run_by_run(tmp_path):
    seen = []
    with shown_by(lambda *told: seen.append(told)):
        report(*[made(tmp_path / name, pictures=False) for name in ("a", "b")])
    assert seen == [(f"{what} runs", done, 2, "runs") for what in ("reading", "drawing") for done in (1, 2)]


def test_differences_are_of_settings_by_their_dotted_names():
    one = {"name": "a", "critic": {"penalties": [{"name": "r1", "weight": 1}]}, "seed": 0}
    two = {"name": "b", "critic": {"penalties": []}, "seed": 0}
    assert differences({"a": one, "b": two}) == [
        ("critic.penalties", ["–", "[]"]),
        ("critic.penalties.0.name", ["r1", "–"]),
        ("critic.penalties.0.weight", ["1", "–"]),
    ]
    assert differences({"a": one}) == []


@pytest.mark.parametrize("kind", ["missing", "empty", "no events", "only torn events"])
def test_what_is_no_run_is_one_sentence(kind, tmp_path, command):
    folder = tmp_path / "run"
    if kind != "missing":
        folder.mkdir()
    if "events" in kind:
        (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    if kind == "only torn events":
        (folder / "events.jsonl").write_text('{"step": 10, "lo')
    done = command("report", folder, "--out", tmp_path / "report.html")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert not (tmp_path / "report.html").exists()


def test_a_report_on_nothing_says_what_to_name():
    with pytest.raises(UsageError, match=r"name one or more run folders, as in report\('runs/"):
        report()


@pytest.mark.parametrize("out", ["events.jsonl", "config.yaml", "thesis.html"])
def test_a_page_takes_the_place_of_a_page_alone(out, tmp_path, command):
    folder = made(tmp_path / "run", pictures=False)
    (folder / "config.yaml").write_text("steps: 5\n") if not (folder / "config.yaml").exists() else None
    (folder / "thesis.html").write_text("<!doctype html><html>mine")
    before = (folder / out).read_bytes()
    done = command("report", str(folder), "--out", str(folder / out))
    assert done.code == 2
    assert "is there already, and is no report" in done.err
    assert (folder / out).read_bytes() == before
    for _ in range(2):
        assert command("report", str(folder), "--out", str(tmp_path / "page.html")).code == 0


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path, command):
    (tmp_path / "file").write_text("")
    done = command("report", made(tmp_path / "run"), "--out", tmp_path / "file" / "report.html")
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_the_command_tells_the_size_of_the_page(tmp_path, command):
    done = command("report", made(tmp_path / "run"), "--out", tmp_path / "page.html")
    size = (tmp_path / "page.html").stat().st_size
    assert float(re.search(r"\(([\d.]+) MB,", done.out)[1]) == pytest.approx(size / 1e6, abs=0.051)


def test_damaged_pictures_and_landscapes_are_left_out(tmp_path):
    folder = made(tmp_path / "run")
    (folder / "samples" / "step-00000300.png").write_bytes(b"torn")
    (folder / "samples" / "step-x.png").write_bytes(b"")
    (folder / "landscapes" / "step-00000300.safetensors").write_bytes(b"torn")
    (folder / "spectrum.json").write_text("{")
    assert [frame.step for frame in samples(folder, 9, 10**6)] == [200, 400]
    assert [ground.step for ground in landscapes(folder, 9)] == [200, 400]
    assert "<h2" in page([Reader(folder).read()])


def test_large_pictures_are_shrunk_to_their_share(tmp_path):
    (tmp_path / "samples").mkdir()
    noise = torch.randint(0, 256, (500, 700, 3), generator=torch.Generator().manual_seed(0)).byte()
    Image.fromarray(noise.numpy()).save(tmp_path / "samples" / "step-00000001.png")
    (frame,) = samples(tmp_path, 4, 20_000)
    assert len(frame.source) < 20_000 * 4 / 3 + 40
    assert frame.ratio == pytest.approx(1.4)


def test_what_is_drawn_on_white_is_a_plot_and_a_grid_of_white_images_is_none(tmp_path):
    save(grid(torch.ones(4, 1, 8, 8)), tmp_path / "samples" / "step-00000001.png")
    save(scatter(torch.zeros(3, 2), torch.randn(9, 2)), tmp_path / "samples" / "step-00000002.png")
    assert [frame.plot for frame in samples(tmp_path, 4, 10**6)] == [False, True]


# What the page says


def test_losses_without_penalties_are_drawn_beside_the_total_with_theory_s_lines():
    """Also where several runs have a chart for each scalar."""
    keys = ["loss/D", "adversarial/D", "loss/G"]
    facts = [{"game": "gan", "loss": "non_saturating"}]
    (both,) = panels.panels(keys, apart=False)
    assert both.keys == tuple(keys)
    assert [rule.value for rule in panels.rules(both, facts)] == [2 * math.log(2), math.log(2)]
    apart = [panels.rules(panel, facts) for panel in panels.panels(keys, apart=True)]
    assert [[rule.name for rule in each] for each in apart] == [["2 log 2"], ["2 log 2"], ["log 2"]]


def test_a_page_has_theory_s_lines_scores_and_their_protocol(tmp_path):
    text = page([Reader(made(tmp_path / "run")).read()])
    assert ">2 log 2<" in text
    assert ">log 2<" in text
    assert "weights EMA" in text
    wasserstein = {**CONFIG, "game": {"name": "gan", "loss": "wasserstein"}}
    assert "log 2<" not in page([Reader(made(tmp_path / "w", config=wasserstein)).read()])


def test_scores_of_unlike_protocols_stand_in_tables_of_their_own(tmp_path):
    runs = [made(tmp_path / name, pictures=False) for name in ("a", "b", "c")]
    assert "do not compare" not in page([Reader(run).read() for run in runs])
    (runs[1] / "evaluation.json").write_text(json.dumps({"format": 1, "weights": "raw", "shape": [2]}))
    text = page([Reader(run).read() for run in runs])
    assert "protocols differ" in text
    assert text.count("Scores of the last evaluation, table") == 2


def test_an_ensemble_shows_its_median_and_range(tmp_path):
    text = page([Reader(made(tmp_path / "run", members=3)).read()])
    assert "4.1 (4 to 4.2)" in text
    assert 'class="band f0 b0"' in text
    # of two members it is the middle, and not the lower one
    two = page([Reader(made(tmp_path / "two", members=2)).read()])
    assert re.search(r"4\.\d+ \(4 to 4\.1\)", two)[0] == "4.05 (4 to 4.1)"


@pytest.mark.parametrize("stop", [0.0, 0.002])
def test_the_last_update_ratio_is_explained_where_the_rate_ends_near_zero(tmp_path, stop):
    config = {
        **CONFIG,
        "optimizer": {"name": "sgd", "lr": {"schedule": "linear", "start": 0.003, "stop": stop}},
    }
    folder = made(tmp_path / "run", config=config, pictures=False)
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"step": 400, "update/D": 1e-6}) + "\n")
    assert ("the last point is far below" in page([Reader(folder).read()])) == (stop == 0)


def test_a_download_of_a_thinned_curve_has_its_bounds():
    """Means of 3 and of 2 steps, by hand."""
    values = torch.tensor([0.0, 9.0, 3.0, -7.0, math.nan, 1.0])
    drawn = chart("a", [Curve("loss, D", 0, torch.arange(6.0), values)], buckets=2)
    assert drawn.csv.splitlines() == [
        'step,"loss, D","loss, D lowest","loss, D highest"',
        "1,4,0,9",
        "4,-3,-7,1",
    ]


def test_a_file_of_events_is_a_run_without_settings(tmp_path):
    file = made(tmp_path / "run", pictures=False) / "events.jsonl"
    assert "All settings" not in page([Reader(file).read()])


@pytest.mark.slow
def test_half_a_million_steps_fit_into_five_megabytes(tmp_path):
    keys = ["loss/D", "loss/G", "gradient/D", "gradient/G", "logit/real", "logit/fake", "critic/spread"]
    folder = made(tmp_path / "run", pictures=False)
    reader = Reader(folder)
    reader.read()
    noise = torch.randn(500_000, len(keys), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[123_456, 0] = 99.5
    for step, row in enumerate(noise.tolist()):  # as if read from lines, which takes longer
        reader.events.add({"step": 401 + step, **dict(zip(keys, row))})
    text = page([reader.read()])
    assert len(text.encode()) < 5_000_000
    assert "99.5 at 123,857" in text


def test_the_size_of_the_gradient_that_G_receives_is_beside_the_others_of_its_kind():
    # among the norms of the players' own gradients, whose note says: of their parameters
    own, told = panels.panels(["gradient/G", "signal/mean", "signal/rms"], apart=False)
    assert told.keys == ("signal/mean", "signal/rms")
    assert own.keys == ("gradient/G",)


# In a notebook


class Frames(HTMLParser):
    """The documents of the frames in a text of HTML."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [dict(attributes)["srcdoc"]] if tag == "iframe" else []


def test_a_notebook_shows_the_page_of_a_run_in_a_frame(tmp_path):
    """Whatever the page contains: quotes and tags do not end the attribute that holds it."""
    shown = report(str(made(tmp_path / "run", config={**CONFIG, "name": f"\"'{EVIL}"})))
    assert Frames(shown._repr_html_()).found == [shown]
    assert len(repr(shown)) < 50


def test_scores_in_a_notebook_are_text():
    shown = Card({"weights": EVIL}, {}, {EVIL: Score(1.5, 0.25)})._repr_html_()
    assert "<script" not in shown
    assert "1.5 ± 0.25" in shown


def test_an_eigenvalue_is_drawn_at_its_parts(tmp_path):
    """-1 + i: left of zero and above it, as are the ticks of its axes."""
    raw = {"step": 5, "P": 2, "method": "exact", "simultaneous": {"eigenvalues": [[-1.0, 1.0]], "signs": {}}}
    (tmp_path / "spectrum.json").write_text(json.dumps(raw))
    title, (cloud,) = clouds(tmp_path)
    left, top, right, bottom = BOX
    assert title == "step 5, 2 parameters, exact"
    assert cloud.zero == ((left + right) / 2, (top + bottom) / 2)
    x, y = map(float, re.fullmatch(r"M(\S+) (\S+)h0", cloud.dots).groups())
    assert left < x < cloud.zero[0]
    assert top < y < cloud.zero[1]
    for marks, zero, way in ((cloud.across, cloud.zero[0], 1), (cloud.up, cloud.zero[1], -1)):
        for at, text in marks:
            assert (at - zero) * way * float(text) >= 0
            assert (at == zero) == (float(text) == 0)
    across, up = ({text: at for at, text in marks} for marks in (cloud.across, cloud.up))
    assert (x, y) == (across["-1"], up["1"])
    assert cloud.csv.splitlines() == ["real,imaginary", "-1,1"]


def test_the_range_of_an_ensemble_is_that_of_its_finite_members():
    steps, lost = torch.arange(2.0), torch.tensor([math.nan, math.nan])
    members = [torch.tensor([1.0, 4.0]), torch.tensor([3.0, math.nan]), lost]
    histories = [SimpleNamespace(series={"a": SimpleNamespace(steps=steps, values=v)}) for v in members]
    found = panels.curve("a", 0, histories, "a")
    assert (found.low.tolist(), found.middle.tolist(), found.high.tolist()) == ([1, 4], [2, 4], [3, 4])
    assert panels.curve("a", 0, histories[2:] * 2, "a").low.isnan().all()


def test_theory_s_lines_are_those_of_the_game_s_loss():
    G = panels.Panel(panels.FIRST, "losses", ("loss/G",))
    drawn = {
        (game, loss): [
            (round(rule.value, 3), rule.name) for rule in panels.rules(G, [{"game": game, "loss": loss}])
        ]
        for game in ("gan", "reg_gan")
        for loss in ("minimax", "non_saturating", "hinge")
    }
    assert {which: found for which, found in drawn.items() if found} == {
        ("gan", "minimax"): [(-0.693, "−log 2")],
        ("gan", "non_saturating"): [(0.693, "log 2")],
    }


def test_scores_that_differ_in_the_seed_of_their_evaluation_compare(tmp_path):
    runs = [made(tmp_path / name, pictures=False) for name in ("a", "b")]
    for seed, run in enumerate(runs):
        (run / "evaluation.json").write_text(json.dumps({"weights": "EMA", "seed": seed}))
    assert "protocols differ" not in page([Reader(run).read() for run in runs])


def test_shares_have_a_linear_axis_and_curves_styles_of_their_own(tmp_path):
    folders = [made(tmp_path / name, pictures=False) for name in ("a", "b")]
    for folder in folders:
        with (folder / "events.jsonl").open("a") as file:
            for step, share in ((410, 1e-4), (420, 1.0)):
                file.write(json.dumps({"step": step, "fakes/coverage": share, "signal/mean": share}) + "\n")
    runs = [Reader(folder).read() for folder in folders]
    one = {drawn.title: drawn for each in pages._sections(runs[:1], ["a"]).values() for drawn in each}
    assert (one["coverage"].log, one["norms"].log) == (False, True)
    assert [(line.name, line.style) for line in one["losses"].lines] == [("loss/D", 0), ("loss/G", 1)]
    two = {drawn.title: drawn for each in pages._sections(runs, ["a", "b"]).values() for drawn in each}
    assert [(line.name, line.style) for line in two["loss/D"].lines] == [("a", 0), ("b", 1)]


def test_the_page_says_how_far_a_run_is_and_its_last_scores(tmp_path):
    folder = made(tmp_path / "run", pictures=False)
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"step": 400, "modes": 7}) + "\n")
    run = Reader(folder).read()
    assert dict(pages._facts(run))["real samples seen"] == "25,600"  # 400 steps of 64
    assert pages._scores(run)["modes"] == "7"


def test_a_landscape_says_how_many_fakes_lie_outside(tmp_path):
    shown = seen(5)
    fakes = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, -9.0]])
    write_landscape(tmp_path / "landscapes", shown._replace(fakes=fakes))
    (ground,) = landscapes(tmp_path, 4)
    assert ground.words.endswith("; 2 of 3 fakes outside")


def test_a_run_is_as_far_as_where_it_diverged():
    history = SimpleNamespace(series={"a": SimpleNamespace(steps=torch.tensor([10.0, 20.0]))})
    assert Told(Path("x"), {}, [history], [], {}, []).step == 20
    assert Told(Path("x"), {}, [history], [{"step": 25}], {}, []).step == 25
