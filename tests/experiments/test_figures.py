"""The papers' figures as comparisons: which runs they have, what is read of a run, and what a picture shows."""

import argparse
import json
import re
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from benchmarks import script
from experiments import fargan, numerics, pgn, records
from experiments.figures import command, drawing, runs
from experiments.figures.declared import LOSSES, Figure, Frames, Line, Panel, Table
from paths import ROOT
from steadygan import config
from steadygan.build import build
from steadygan.config.resolve import resolve
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe, overrides, paper_of, recipe_files

PAPERS = {"numerics": numerics, "fargan": fargan, "pgn": pgn}
SOURCES = {"numerics": "Mescheder 2017", "fargan": "FARGAN", "pgn": "Xia 2023"}
DECLARED = [(paper, name) for paper, module in PAPERS.items() for name in module.FIGURES]
ROMAN = {"II": 2, "IV": 4, "V": 5, "VI": 6}


def options(**given: object) -> argparse.Namespace:
    known = {"scale": "paper", "seeds": 3, "data": None, "data_root": None, "words": [], "runs": Path("runs")}
    return argparse.Namespace(**{**known, **given})


def lines(figure: Figure) -> list[Line]:
    return [line for panel in figure.panels for line in panel.lines]


# -------------------------------------------------------------------------------------------------- what is declared


def named(row: str) -> set[str]:
    """The figures and the table that a recipe's row names, as the commands call them.

    >>> sorted(named("Fig. 6, 7 and 9")), named("Table IV, Standard CNN, GN-GAN"), named("Fig. 9, 25 Gaussians")
    (['fig6', 'fig7', 'fig9'], {'table4'}, {'fig9'})
    """
    if found := re.match(r"Table (\w+)", row):
        return {f"table{ROMAN.get(found[1], found[1])}"}
    numbers = re.match(r"Fig\. \d+((?:, \d+)* and \d+)?", row)
    return {f"fig{n}" for n in re.findall(r"\d+", numbers[0])} if numbers else set()


@pytest.mark.parametrize("paper", PAPERS)
def test_every_recipe_that_repeats_a_figure_is_a_line_of_it(paper):
    """The recipes' headers are the oracle: they were typed from the papers, row by row."""
    figures, met = PAPERS[paper].FIGURES, set()
    for name, file in recipe_files().items():
        row = paper_of(file.read_text())
        for wanted in named(row.get("row", "")) if row.get("source") == SOURCES[paper] else ():
            met.add(wanted)
            assert name in [line.recipe for line in lines(figures[wanted])], f"{name} is not in {wanted}"
    assert met <= figures.keys()


def test_the_papers_figures_are_all_there():
    """Numerics' supplement begins at Fig. 6. PGN-GAN's Tables I and III have no runs."""
    assert list(numerics.FIGURES) == [f"fig{n}" for n in range(6, 15)]
    assert list(fargan.FIGURES) == [*(f"fig{n}" for n in range(1, 16)), "table2"]
    assert {"table2", "table4", "table5", "table6"} <= pgn.FIGURES.keys()


@pytest.mark.parametrize(("paper", "name"), DECLARED)
def test_every_line_of_a_figure_is_resolved(paper, name):
    """Each line is a recipe of that paper, or another rule, loss or rate on one; no two lines are one run."""
    figure = PAPERS[paper].FIGURES[name]
    for panel in figure.panels:
        made = [runs.described(line, figure, options()) for line in panel.lines]
        assert all(config.parse(raw).seeds == 3 for raw in made)
        assert len({runs.place(raw, Path("runs")) for raw in made}) == len(made)
    for line in lines(figure):
        base = overrides()[line.recipe].recipe if line.recipe in overrides() else line.recipe
        source = re.search(r"# Source: +(.*)", recipe_files()[base].read_text())
        assert SOURCES[paper] in source[1] or paper == "pgn", line


@pytest.mark.parametrize("scale", ["paper", "tiny"])
@pytest.mark.parametrize(
    ("paper", "name"),
    [key for key in DECLARED if not isinstance(PAPERS[key[0]].FIGURES[key[1]].shown, Frames)],
)
def test_the_lines_of_a_column_are_scored_alike(paper, name, scale):
    """Else one axis shows 1,000 images of the end beside 50,000 of the best checkpoint."""
    figure = PAPERS[paper].FIGURES[name]
    made = [config.parse(runs.described(line, figure, options(scale=scale))) for line in lines(figure)]
    assert len({(one.evaluation, one.keep.best) for one in made}) == 1


@pytest.mark.parametrize("name", ["table2", "table4", "table5"])
def test_pgns_tables_score_all_rows_as_its_own_recipes(name):
    figure, own = pgn.FIGURES[name], 0
    for line in lines(figure):
        recipe = {"name": line.recipe, **find_recipe(line.recipe)[1], "seeds": 3}
        made = runs.described(line, figure, options())
        own += made == recipe
        assert ("PGN" in line.label) == (made == recipe), "days of training serve a table and its samples"
        assert (made["evaluation"]["images"], made["keep"]["best"]) == (50_000, "fid")
    assert own == (1 if name == "table5" else 4)


@pytest.mark.parametrize("name", ["fig7", "fig8"])
def test_numerics_columns_are_the_four_rules_on_each_network(name):
    figure = numerics.FIGURES[name]
    assert len(figure.panels) == 4
    for panel in figure.panels:
        made = [config.parse(runs.described(line, figure, options())) for line in panel.lines]
        assert [one.dynamics.name for one in made] == [line.label for line in panel.lines]
        assert {one.dynamics.name for one in made} == {
            "simultaneous",
            "alternating",
            "consensus",
            "smoothing",
        }
        assert len({one.networks for one in made}) == 1
        assert made[0].networks.hidden == (512 if name == "fig8" else None)
        assert (made[0].game.loss.name == "minimax") == ("JS" in panel.title)
        assert made[0].networks.batch_norm == (panel.title == "DCGAN")


def test_the_ablation_has_the_counts_and_the_pools_of_its_labels():
    for panel, fixed in zip(fargan.FIGURES["fig7"].panels, ("N0 = 32", "f = 8"), strict=True):
        for line in panel.lines:
            made = config.parse(runs.described(line, fargan.FIGURES["fig7"], options())).fake_as_real
            wanted = {"N0": int(made.count), "f": made.pool}
            told = dict(one.split(" = ") for one in (line.label, fixed))
            if line.label == "N0 = 0":
                assert made.count == 0
            else:
                assert {key: str(value) for key, value in wanted.items()} == told
        assert "N0 = 0" in [line.label for line in panel.lines]


def test_the_paper_scale_is_the_recipes_own_and_words_come_last():
    line = Line("FAR", "cifar10-far-resnet-fargan")
    figure = Figure("", (Panel("", (line,)),))
    whole = runs.described(line, figure, options())
    assert whole == {"name": line.recipe, **find_recipe(line.recipe)[1], "seeds": 3}
    small = runs.described(line, figure, options(scale="tiny", words=["steps=7"]))
    assert (small["steps"], small["batch"], small["every"]["score"]) == (7, 8, "10%")


def test_points_have_a_tiny_scale_of_their_own():
    """The preset's 200 steps of batch 8 show nothing of a plane; the paper's batch stays."""
    figure = fargan.FIGURES["fig2"]
    made = config.parse(runs.described(figure.panels[0].lines[0], figure, options(scale="tiny")))
    assert (made.batch, made.fake_as_real.count) == (64, 16)
    assert 1000 < made.steps < 100_000
    assert config.in_steps(made).every.score == tuple(
        round(made.steps * share) for share in (0, 0.2, 0.67, 1)
    )


# --------------------------------------------------------------------------------------------------- other images


def test_other_images_are_no_row_of_a_paper_and_points_stay():
    line = Line("", "stl10-gn-cnn-pgn")
    figure = Figure("", (Panel("", (line,)),))
    made = runs.described(line, figure, options(data="fashion_mnist"))
    assert made["data"] == {"name": "fashion_mnist", "flip": True}
    assert "paper" not in made
    point = Line("", "gaussian-fargan")
    assert runs.described(point, figure, options(data="digits"))["data"]["name"] == "gaussian"


def test_missing_images_are_a_sentence_that_offers_others(tmp_path, monkeypatch):
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)
    figure = fargan.FIGURES["fig8"]
    given = options(scale="tiny", runs=tmp_path, data_root=tmp_path)
    with pytest.raises(UsageError, match=r"^imagenet64-far-resnet-0gp-tiny: ImageNet-64 .*--data NAME"):
        command.planned(figure, given)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["ring8", "fashion-mnits"])
def test_other_images_must_be_images(name):
    with pytest.raises(UsageError, match="--data names a set of images"):
        runs.substituted({"data": "cifar10"}, name)


def test_one_run_serves_all_figures_that_have_it(tmp_path):
    """By its settings, not by its name: CIFAR-10's and -100's recipes are one on the same images."""
    figure = fargan.FIGURES["fig3"]
    ten, hundred = (panel.lines[0] for panel in figure.panels)
    given = options(data="digits", scale="tiny")
    first = runs.place(runs.described(ten, figure, given), tmp_path)
    first.mkdir()
    assert runs.place(runs.described(hundred, figure, given), tmp_path) == first
    other = options(data="digits", scale="tiny", words=["steps=30"])
    assert runs.place(runs.described(ten, figure, other), tmp_path) != first


# -------------------------------------------------------------------------------------------- what is checked before


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("evaluation.extractor=inception", "^digits-fargan: .*needs torch-fidelity"),
        ("keep.best=fid", "^digits-fargan: keep.best: .*has no score 'fid'"),
        ("data=cifar10", "^digits-fargan: CIFAR-10 was not found.*--data NAME"),
        ("networks.width=wide", "^digits-fargan: .*networks.width"),
    ],
)
def test_no_run_trains_where_a_later_one_cannot(bad, message, tmp_path, monkeypatch):
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    monkeypatch.setattr(runs.train, "start", lambda *_: pytest.fail("the first run trains"))
    good, late = Line("good", "digits-0gp"), Line("late", "digits-fargan", (bad,))
    figures = {"fig": Figure("", (Panel("", (good, late)),))}
    with pytest.raises(UsageError, match=message):
        command.made("fig", figures, options(runs=tmp_path, data_root=tmp_path))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("words", [["seeds=1"], ["optimizer.lr=[0.1, 0.2]"]])
def test_members_are_the_seeds_of_the_option(words, tmp_path):
    """The first picture of a run of one seed would be cut to a third, as if it had three."""
    with pytest.raises(UsageError, match=r"a member for each seed: .* --seeds N"):
        command.planned(fargan.FIGURES["fig2"], options(scale="tiny", runs=tmp_path, words=words))


def test_another_first_seed_is_no_other_number_of_seeds(tmp_path):
    given = options(scale="tiny", runs=tmp_path, words=["seed=5"], seeds=2)
    ((_, raw),) = command.planned(fargan.FIGURES["fig2"], given).values()
    assert [int(one["seed"]) for one in resolve(config.parse(raw)).members] == [5, 6]


def test_the_command_ends_with_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["fargan", "fig2", "--scale", "tiny", "seeds=1", "--runs", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        script.run(partial(command.main, "", "fargan", fargan.FIGURES))
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert said.startswith("error: ring8-fargan-paper: ")


# ------------------------------------------------------------------------------------------- runs under several names


def test_panels_of_the_same_runs_are_named(tmp_path):
    figure = pgn.FIGURES["table6"]
    small, large = figure.panels
    found = {drawing.named(p, line): record(folder=line.label) for p in figure.panels for line in p.lines}
    assert command.repeated(figure.panels, found) == [f"{large.title}: the same runs as {small.title}"]
    found[drawing.named(large, large.lines[0])] = record(folder="another")
    assert command.repeated(figure.panels, found) == []


@pytest.mark.parametrize(
    ("paper", "name", "others"),
    [
        ("pgn", "fig1", "fig2"),
        ("pgn", "table4", "table2"),
        ("fargan", "fig13", "fig14"),
        ("pgn", "table5", None),
    ],
)
def test_figures_of_the_same_runs_are_named(paper, name, others):
    figures = PAPERS[paper].FIGURES
    given = options(data="digits", scale="tiny")
    told = [f"on digits the same runs are in {others}"] if others else []
    assert command.elsewhere(name, figures, given) == told
    assert command.elsewhere(name, figures, options(scale="tiny")) == []


# ----------------------------------------------------------------------------------------------- what is read of a run


@pytest.fixture
def folder(tmp_path):
    """A run of three members, of which one is lost; G has no penalty."""
    events = [
        {"step": 0, "kd_pixels8": [3.0, 2.0, 4.0]},
        {"step": 5, "loss/D": [9.0, 9.0, 9.0], "adversarial/D": [1.0, 1.5, 2.0], "loss/G": [0.5, 0.6, 0.7]},
        {"step": 6, "diverged": [1], "good_step": 5},
        {"step": 10, "kd_pixels8": [1.0, None, 2.0]},
    ]
    place = tmp_path / "run"
    place.mkdir()
    (place / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return place


def test_curves_have_scores_and_losses_without_penalties(folder):
    assert runs.curves(folder) == {
        "kd_pixels8": [(0, [3.0, 2.0, 4.0]), (10, [1.0, 2.0])],
        "adversarial/D": [(5, [1.0, 1.5, 2.0])],
        "adversarial/G": [(5, [0.5, 0.6, 0.7])],
    }
    assert runs.lost(folder) == {1}


def test_the_scores_of_an_extractor_are_read(tmp_path):
    (tmp_path / "events.jsonl").write_text(json.dumps({"step": 0, "fid": 9.0, "fd_lite0": 2.0}) + "\n")
    assert runs.curves(tmp_path) == {"fid": [(0, [9.0])], "fd_lite0": [(0, [2.0])]}


def test_a_run_is_finished_with_its_last_step_or_its_last_member(folder):
    raw = {"steps": 10, "seeds": 3}
    assert not runs.finished(folder, raw)
    assert runs.finished(folder, {"steps": 10, "seeds": 1})
    (folder / "checkpoints" / "step-00000010").mkdir(parents=True)
    assert runs.finished(folder, raw)


# ---------------------------------------------------------------------------------------------------------- pictures


def record(**given):
    return {"curves": {}, "pictures": [], "seeds": 3, "published": "", "end": 20, **given}


def test_a_table_shows_the_end_or_the_checkpoint_that_a_score_has_chosen():
    rows = [(0, [9.0]), (10, [1.0, 3.0]), (20, [4.0])]
    assert drawing.at_end(record(curves={"fid": rows}), "fid") == [4.0]
    assert drawing.at_end(record(curves={"fid": rows}, end=10), "fid") == [1.0, 3.0]
    assert drawing.at_end(record(), "fid") == []


def test_a_band_goes_from_the_lowest_to_the_highest_seed_around_the_median():
    axis = drawing._pyplot().figure().gca()
    drawing._band(axis, [(0, [1.0, 7.0, 2.0]), (5, []), (10, [4.0])], "#000000")
    (line,), (band,) = axis.lines, axis.collections
    assert line.get_xydata().tolist() == [[0, 2], [10, 4]]
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(0, 1), (0, 7), (10, 4)} <= corners
    drawing._pyplot().close("all")


def stripes(path: Path, *colours: str) -> str:
    """A run's picture of as many members side by side."""
    sheet = Image.new("RGB", (30 * len(colours), 30))
    for index, colour in enumerate(colours):
        sheet.paste(colour, (30 * index, 0, 30 * index + 30, 30))
    sheet.save(path)
    return str(path)


def test_frames_show_the_first_seed_at_each_step(tmp_path):
    one = (
        stripes(tmp_path / "a.png", "red", "green", "blue"),
        stripes(tmp_path / "b.png", "blue", "red", "red"),
    )
    found = {"FARGAN": record(pictures=[(0, one[0]), (7, one[1])])}
    panels = (Panel("", (Line("FARGAN", "ring8-fargan-paper"),)),)
    sheet = drawing._frames(panels, found, "title", "note")
    assert sheet.width > sheet.height, "steps of a single line lie side by side"
    colours = [colour for _, colour in sorted(sheet.getcolors(1 << 20), reverse=True)]
    pure = [colour for colour in colours if colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255))]
    assert set(pure) == {(255, 0, 0), (0, 0, 255)}
    assert [words for (words, _) in drawing._rows(panels[0], found)[1]] == ["FARGAN, step 7"]


def test_a_long_title_keeps_the_size_of_its_letters(tmp_path):
    """A sheet of one cell shrank the title of 110 letters to seven pixels."""
    found = {"FARGAN": record(pictures=[(0, stripes(tmp_path / "a.png", "red", "green", "blue"))])}
    panels = (Panel("", (Line("FARGAN", "ring8-fargan-paper"),)),)
    short, long = (drawing._frames(panels, found, "Hhhhh " * n, "note") for n in (1, 18))
    tall = [ImageOps.invert(one.crop((0, 0, one.width, 34))).getbbox() for one in (short, long)]
    assert (tall[0][1], tall[0][3]) == (tall[1][1], tall[1][3])
    assert long.height > short.height
    assert ImageOps.invert(long.crop((long.width - 12, 0, long.width, long.height))).getbbox() is None


@pytest.mark.parametrize(("at", "shown"), [((), [10]), (("0", "100%"), [0, 10, 20])])
def test_samples_are_those_at_the_figures_steps_or_of_the_checkpoint_that_is_shown(at, shown, tmp_path):
    (tmp_path / "samples").mkdir()
    for step in (0, 10, 20):
        stripes(tmp_path / "samples" / f"step-{step:08d}.png", "red")
    assert [step for step, _ in command.pictures(Figure("", (), Frames(at)), tmp_path, 10)] == shown


def test_samples_of_the_end_are_those_of_the_run_that_a_table_has():
    """A figure of samples asks for no evaluations of its own, so days of training serve both."""
    line = fargan.FIGURES["fig13"].panels[0].lines[0]
    made = [runs.described(line, fargan.FIGURES[name], options()) for name in ("fig13", "fig5", "table2")]
    assert made[0] == made[1] == made[2]


def test_a_run_that_diverged_before_a_step_has_an_empty_cell(tmp_path):
    one = stripes(tmp_path / "a.png", "red", "green", "blue")
    found = {"a": record(pictures=[(0, one), (7, one)]), "b": record(pictures=[(0, one)])}
    rows = drawing._rows(Panel("", (Line("a", "x"), Line("b", "x"))), found)
    assert [words for words, _ in rows[1]] == ["a, step 7", "b, diverged before"]
    assert [
        [words for words, _ in row] for row in drawing._rows(Panel("", (Line("a", "x"),)), {"a": record()})
    ] == [["a, diverged before"]]


def test_a_figure_of_which_nothing_is_there_is_refused(tmp_path):
    figure = Figure("", (Panel("p", (Line("a", "x"),)),), LOSSES)
    with pytest.raises(UsageError, match="none of the runs has adversarial/D, adversarial/G"):
        drawing.draw(figure, {"p: a": record()}, "", "", tmp_path / "a.png")


@pytest.mark.parametrize("shown", [Table(), LOSSES], ids=["table", "losses"])
def test_a_picture_is_drawn_of_each_kind(shown, tmp_path):
    rows = [(0, [3.0, 2.0]), (10, [0.1, 0.2])]
    found = {
        f"{p}: {n}": record(curves={"kd_pixels8": rows, "adversarial/D": rows}) for p in "pq" for n in "ab"
    }
    panels = tuple(Panel(p, (Line("a", "x"), Line("b", "x"))) for p in "pq")
    drawing.draw(Figure("", panels, shown), found, "A title", "a note", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 200


def test_a_title_says_what_is_not_as_in_the_paper():
    given = options(scale="tiny", data="digits", words=["steps=9"])
    assert command._where(given) == ", at the scale tiny, on digits instead of its own images, steps=9"
    assert command._where(options()) == ""


@pytest.mark.parametrize(
    ("name", "seeds", "note"),
    [
        (
            "table2",
            3,
            "dots: median of 3 seeds; bars: from the lowest to the highest; at the best checkpoint by fid",
        ),
        ("table2", 1, "one seed; at the best checkpoint by fid"),
        ("fig3", 2, "the first of 2 seeds; at the best checkpoint by fid"),
    ],
)
def test_a_note_says_how_many_seeds_and_which_checkpoint(name, seeds, note):
    found = {"a": record(lost=0, best="fid"), "b": record(lost=0, best="fid")}
    assert command._note(pgn.FIGURES[name], found, options(seeds=seeds)) == note


# --------------------------------------------------------------------------------------------------------- the command


def called(folder: Path, *words: str) -> argparse.Namespace:
    return command.arguments("", "fargan", fargan.FIGURES).parse_intermixed_args(
        ["fig5", *words, "--runs", str(folder)]
    )


def test_a_figures_name_and_its_overrides_may_stand_anywhere(tmp_path):
    given = called(tmp_path, "--scale", "tiny", "steps=3", "--seeds", "2")
    assert (given.figure, given.words, given.scale, given.seeds) == ("fig5", ["steps=3"], "tiny", 2)


@pytest.mark.parametrize(
    "words", [("--seeds", "0"), ("--seeds", "-1"), ("--threads", "0"), ("--seeds", "two")]
)
def test_counts_are_one_or_more(words, tmp_path, capsys):
    # no seed at all: every run counted as finished, since all of its 0 members were lost
    with pytest.raises(SystemExit):
        called(tmp_path, *words)
    assert "1 or more" in capsys.readouterr().err


def offered(paper: str) -> tuple[str, ...]:
    return getattr(PAPERS[paper], "OTHERS", command.OTHERS)


@pytest.mark.parametrize("paper", PAPERS)
def test_a_command_offers_the_images_that_all_its_networks_take(paper, monkeypatch, capsys):
    """The digits are on every machine. Their 8x8 pixels are too few for networks of four stages."""
    monkeypatch.setattr(sys, "argv", [paper, "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "experiments" / f"{paper}.py"), run_name="__main__")
    said = " ".join(capsys.readouterr().out.split())
    assert f"another set of images for all its runs, as {' or '.join(offered(paper))}" in said
    networks = {}
    for figure in PAPERS[paper].FIGURES.values():
        for line in lines(figure):
            raw = runs.described(line, figure, options(scale="tiny", data="digits", seeds=1))
            networks[json.dumps(raw["networks"], sort_keys=True)] = raw
    refused = [raw for raw in networks.values() if not _builds(raw)]
    assert bool(refused) == ("digits" not in offered(paper))


def _builds(raw) -> bool:
    try:
        return bool(build(config.parse(raw)))
    except UsageError:
        return False


@pytest.mark.parametrize("page", ["docs/paper.md", "experiments/README.md"])
def test_the_commands_of_a_page_name_figures_and_their_overrides_are_known(page):
    text = (ROOT / page).read_text()
    found = re.findall(r"^python -m experiments\.(numerics|fargan|pgn) (.*?)(?: *#.*)?$", text, re.MULTILINE)
    assert {paper for paper, _ in found} == PAPERS.keys()
    for paper, words in found:
        figures = PAPERS[paper].FIGURES
        given = command.arguments("", paper, figures).parse_intermixed_args(words.split())
        line = figures[given.figure].panels[0].lines[0]
        assert config.parse(runs.described(line, figures[given.figure], given)).seeds == 3


@pytest.mark.slow
def test_a_figure_is_trained_once_and_drawn_from_what_is_there(tmp_path, monkeypatch, capsys):
    given = called(tmp_path, "--scale", "tiny", "--data", "digits", "--seeds", "2", "steps=4")
    out = command.made("fig5", fargan.FIGURES, given)
    assert out.name == "fig5-tiny-digits.png"
    kept = records.read(out.with_suffix(".jsonl"))
    assert list(kept) == ["CIFAR-10: NSGAN-0GP", "CIFAR-10: FARGAN"]
    for one in kept.values():
        assert one["curves"].keys() == {"adversarial/D", "adversarial/G", "kd_pixels8"}
        assert [len(values) for _, values in one["curves"]["adversarial/D"]] == [2] * 4
        assert one["curves"]["kd_pixels8"][0][0] == 0
    monkeypatch.setattr(runs.train, "start", lambda *_: pytest.fail("it is trained again"))
    monkeypatch.setattr(runs.train, "resume", lambda *_: pytest.fail("it is resumed"))
    out.unlink()
    assert command.made("fig5", fargan.FIGURES, given).exists()
    assert records.read(out.with_suffix(".jsonl")) == kept
