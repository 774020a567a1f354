"""Cost curves: the page shows the figures, straight lines and fixed costs worked by hand, and the study in small."""

import pytest

from experiments import records
from experiments.pages import replaced
from experiments.speed import page
from experiments.speed import run as study


def line(times):
    """Points at the sizes of `times`, whose FLOPs are their sizes."""
    return [
        {"panel": "batch", "size": n, "ms": ms, "flops": n, "members": 1, "block": 1, "bytes": n}
        for n, ms in times.items()
    ]


def test_the_page_shows_the_figures_that_were_measured():
    figures, text = records.read(study.FIGURES), study.PAGE.read_text()
    assert f"<!-- {study.MARK} -->" in text
    assert replaced(text, study.MARK, page.text(figures)) == text
    assert study.PICTURE.name in text
    assert study.PICTURE.exists()


def test_every_point_of_the_study_has_a_figure():
    named = {f"{name} {size}" for name, panel in study.PANELS.items() for size in panel.sizes}
    assert set(records.read(study.FIGURES)) == named | {"machine"}


def test_a_fixed_cost_is_off_the_line_below_where_it_is_a_fifth_of_the_rest():
    """The time of a unit is 1 + 3 / n, whose least is 1.001 at 3,000: 1.214 at 14, and 1.188 at 16."""
    near = page.straight(line({n: 3.0 + n for n in (1, 4, 14, 16, 100, 3000)}))
    assert [one["size"] for one in near] == [16, 100, 3000]


def test_a_cost_that_rises_again_leaves_the_line_at_both_ends():
    near = page.straight(line({1: 2.0, 2: 2.2, 4: 4.0, 8: 9.5, 16: 24.0, 32: 32.0}))
    assert [one["size"] for one in near] == [2, 4, 8]


def test_fixed_cost_and_cost_of_a_unit_are_those_that_made_the_times():
    assert page.parts(line({n: 0.5 + 0.25 * n for n in (1, 2, 8, 64)})) == pytest.approx((0.5, 0.25, 0))
    *_, error = page.parts(line({1: 1.0, 2: 2.0, 3: 4.0}))
    assert 0.05 < error < 0.2


def test_sizes_that_are_dearer_are_named_with_how_much():
    text = page.within(line({1: 3.0, 1024: 1024.0, 4096: 8192.0}), "sample")
    assert text == (
        "At 1,024 alone the cost a sample is within 20 % of the least. "
        "At 1 it is 3.0 times the least and at 4,096 it is 2.0 times the least."
    )


def test_flops_at_the_peak_take_their_time():
    """2 GFLOP at 100 GFLOP/s take 20 ms."""
    assert page.floor({"flops": 2e9}, 100.0) == pytest.approx(20)


def test_the_processor_and_its_caches_are_read_where_linux_tells_them(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\ncpu family\t: 6\nmodel\t\t: 85\n\nmodel name\t: another\n")
    assert study.processor(info) == "Some CPU (family 6, model 85)"
    info.write_text("model name\t: Some CPU\n")
    assert study.processor(info) == "Some CPU"
    assert study.processor(tmp_path / "none") != ""
    for index, (level, kind, size) in enumerate(
        [(1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "1024K")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    assert study.caches(tmp_path) == {"L1": 48, "L2": 1024}
    assert study.caches(tmp_path / "none") == {}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The study at two small sizes a panel, with nothing compiled: its files, and a function that runs it."""
    ring = {**study.RING, "networks": {"name": "mlp", "width": 2}}
    images = {**study.DCGAN, "networks": {"name": "dcgan", "width": 2}, "batch": 2}

    def eager(panel, sizes):
        return panel._replace(
            settings=images if panel.settings is study.DCGAN else ring,
            sizes=sizes,
            changes=lambda n: {**panel.changes(n), "compile": False},
            steps=2,
        )

    sizes = [(1, 3), (2, 3), (16, 32), (2, 3), (8, 16)]
    panels = {name: eager(panel, two) for (name, panel), two in zip(study.PANELS.items(), sizes, strict=True)}
    text = tmp_path / "speed.md"
    text.write_text(f"by hand\n<!-- {study.MARK} -->\n<!-- end -->\n")
    for name, value in (
        ("PANELS", panels),
        ("DCGAN", images),
        ("WORK", 0.0),
        ("FIGURES", tmp_path / "figures.jsonl"),
        ("PAGE", text),
        ("PICTURE", tmp_path / "speed-curves.png"),
    ):
        monkeypatch.setattr(study, name, value)
    monkeypatch.setattr(study, "peak_gflops", lambda: 100.0)
    monkeypatch.setattr("sys.argv", ["run.py"])
    return tmp_path


@pytest.mark.slow
def test_the_study_in_small_measures_only_what_is_missing(small, monkeypatch):
    study.main()
    figures = records.read(study.FIGURES)
    assert len(figures) == 11
    assert all(one["ms"] > 0 for name, one in figures.items() if name != "machine")
    assert figures["one block 3"]["block"] == 3
    assert figures["members 3"]["flops"] == figures["members 1"]["flops"]
    assert study.PAGE.read_text().startswith("by hand\n")
    assert "**Side.**" in study.PAGE.read_text()
    assert study.PICTURE.stat().st_size > 0

    records.write(study.FIGURES, {name: one for name, one in figures.items() if name != "batch 32"})
    measured = []
    timed = study.interleaved
    monkeypatch.setattr(study, "interleaved", lambda each, n: measured.extend(each) or timed(each, n))
    study.main()
    assert measured == ["batch 32"]
    again = records.read(study.FIGURES)
    assert {name: again[name] for name in figures if name != "batch 32"} == {
        name: one for name, one in figures.items() if name != "batch 32"
    }

    monkeypatch.setattr(
        study, "machine", lambda: {"processor": "another", "vectors": "", "caches": {}, "torch": ""}
    )
    measured.clear()
    study.main()
    assert len(measured) == 10
