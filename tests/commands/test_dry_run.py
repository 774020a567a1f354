"""What a dry run says of many processes, against figures worked by hand."""

import io
import re

import pytest
import torch
from rich.console import Console

from small import RING
from steadygan.build import build
from steadygan.commands import dry_run
from steadygan.commands.dry_run import Processes
from steadygan.config import parse
from steadygan.data import Data
from steadygan.data.sources import NotFound
from steadygan.errors import UsageError
from steadygan.runs.team import check_rows, team_of
from steadygan.training.cluster import Cluster

G, D, NUMBER = 8642, 8577, 4
"""Parameters of FARGAN's synthetic networks (its Tables 3 and 4), and bytes of a float32."""


def said(processes, **given) -> str:
    raw = {
        "data": "ring8",
        "networks": {"name": "mlp"},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "batch": 64,
        "steps": 2,
        **given,
    }
    out = io.StringIO()
    dry_run.dry_run(parse({"name": "points", **raw}), Console(file=out, width=500), processes=processes)
    return out.getvalue()


def test_efficiency_is_worked_from_operations_and_bytes():
    """4 processes at 1 GFLOP/s and 1 MB/s: a quarter of the work each, and 1.5 times the gradients' bytes."""
    out = said(Processes(4, 1e6, 1e9))
    alone = float(re.search(r"# a step: ([\d.]+) MFLOP", out)[1]) * 1e6 / 1e9
    # Two sums, two rounds each way.
    talk = 1.5 * NUMBER * (G + D + 3 + 1) / 1e6 + 2 * 2 * 2 * dry_run.LATENCY
    percent, one, work, other = map(
        float,
        re.search(r"efficiency: (\d+)%.* ([\d.]+) ms on one.* ([\d.]+) ms \+ ([\d.]+) ms", out).groups(),
    )
    assert one == pytest.approx(1e3 * alone, abs=0.1)
    assert work == pytest.approx(1e3 * alone / 4, abs=0.1)
    assert other == pytest.approx(1e3 * talk, abs=0.1)
    assert percent == pytest.approx(100 * alone / (4 * (alone / 4 + talk)), abs=1)


def test_members_of_an_ensemble_need_no_messages():
    out = said(Processes(2, 1e6, 1e9), seeds=4)
    assert "# each of 2 processes: 2 of 4 members" in out
    assert "# on the wire: nothing" in out
    assert "efficiency: 100%" in out


def test_a_batch_that_does_not_divide_is_as_slow_as_the_largest_share():
    """64 rows on 3 processes: one of them has 22."""
    out = said(Processes(3, 1e15, 1e6))
    assert "efficiency: 97%" in out  # 64 / (3 x 22)


@pytest.mark.parametrize(
    ("data", "mebibytes"),
    [
        ("cifar10", 50_000 * 3 * 32**2 / 2**20),
        ({"name": "cifar10", "limit": 1000}, 1000 * 3 * 32**2 / 2**20),
        ({"name": "celeba_hq", "split": "train", "size": 32}, 27_000 * 3 * 32**2 / 2**20),
        ("fashion_mnist", None),
    ],
    ids=["all images", "some of them", "resized", "grey"],
)
def test_the_cost_is_known_before_the_data_are_there(data, mebibytes, tmp_path, monkeypatch):
    """A dry run of ImageNet-64 asked for its 13 GB first. The same step on images that are there costs as much."""
    monkeypatch.setenv("STEADYGAN_DATA", str(tmp_path))
    channels = 3 if mebibytes else 1
    game = {"name": "gan", "loss": "non_saturating", "conditional": "celeba" not in str(data)}
    settings = {"networks": {"name": "dcgan", "width": 4, "latent": 8}, "game": game, "batch": 4}
    monkeypatch.setattr("steadygan.data.fashion_files.DEBIAN_FASHION", tmp_path / "debian")
    out = said(None, data=data, **settings)
    rows = torch.randint(256, (40, channels, 32, 32), dtype=torch.uint8)
    here = Data("here", tuple(rows.shape[1:]), rows, labels=torch.arange(40) % 10, classes=10)
    monkeypatch.setattr(dry_run, "build", lambda settings, own: build(settings, own._replace(data=here)))
    there = said(None, data="own", **settings)

    def line(text, name):
        return re.search(rf"# {name}: (.*?)(;|$)", text, re.MULTILINE)[1]

    assert "is not on this machine: its published size is taken" in line(out, "data")
    for name in ("parameters", "a step", "memory"):
        assert line(out, name) == line(there, name)
    if mebibytes:
        assert f"; data {mebibytes:,.1f} MiB more" in out
    assert not [*tmp_path.iterdir()]


def test_a_set_without_a_published_number_has_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="LSUN was not found"):
        said(None, data={"name": "lsun", "size": 32}, networks="dcgan")


def test_all_members_of_an_ensemble_are_counted(monkeypatch):
    monkeypatch.setattr(dry_run, "_size", lambda count: f"{count} B")
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: 3600.0)

    def counted(**given):
        out = said(None, **given)
        return int(re.search(r"# memory: (\d+) B", out)[1]), float(
            re.search(r"# a step: ([\d.]+) MFLOP", out)[1]
        )

    (one, flops), (four, all_flops) = counted(), counted(seeds=4)
    assert four == 4 * one
    assert all_flops == pytest.approx(4 * flops, abs=0.3)


def test_a_process_pays_for_all_of_its_members(monkeypatch):
    """Two of four members on each of two processes: half of the operations and of the memory."""
    monkeypatch.setattr(dry_run, "_size", lambda count: f"{count} B")
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: 1.0)
    out = said(Processes(2, 1e6, 1e9), seeds=4)
    whole, memory = (re.search(rf"# {name}: ([\d.]+)", out)[1] for name in ("a step", "memory"))
    flops, held = re.search(r"2 of 4 members, ([\d.]+) MFLOP a step, (\d+) B of memory", out).groups()
    assert float(flops) == pytest.approx(float(whole) / 2, abs=0.1)
    assert int(held) == int(memory) / 2


def test_processes_share_the_rows_of_a_part_of_the_batch():
    """Eight rows in four parts are two at a time."""
    run = build(parse({"name": "points", **RING, "batch": 8, "accumulate": 4}))
    check_rows(run, 2)
    with pytest.raises(UsageError, match="3 processes share batches of 2 rows"):
        check_rows(run, 3)


def test_members_fit_that_take_half_of_the_memory(monkeypatch):
    run = build(parse({"name": "points", **RING}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(dry_run, "memory", lambda: 2 * 3 * dry_run.step_cost(run).memory)
    assert dry_run.fits(run, 3)
    assert not dry_run.fits(run, 4)


def test_a_run_that_ends_within_a_period_costs_its_share():
    def flops(steps):
        return dry_run.cost(
            parse(
                {
                    "name": "lazy",
                    **RING,
                    "steps": steps,
                    "critic": {"penalties": [{"name": "r1", "weight": 1, "interval": 4}]},
                }
            )
        ).flops

    assert 2 * flops(10) == flops(20) == 5 * flops(4)


def test_a_dry_run_says_the_mean_of_a_period():
    """At each fourth step a penalty is due, and it alone: three quarters of the steps are those of a run without it."""

    def of_a_step(*penalties):
        out = said(None, critic={"penalties": list(penalties)})
        return float(re.search(r"# a step: ([\d.]+) MFLOP( on average)?,", out)[1]), "on average" in out

    (without, never), (always, _) = of_a_step(), of_a_step({"name": "r1", "weight": 1})
    lazy, mean = of_a_step({"name": "r1", "weight": 1, "interval": 4})
    assert (never, mean) == (False, True)
    assert always > 1.1 * without
    assert lazy == pytest.approx((3 * without + always) / 4, abs=0.1)


def test_a_process_has_its_share_of_the_mean():
    out = said(
        Processes(2, 1e10, 1e12), seeds=2, critic={"penalties": [{"name": "r1", "weight": 1, "interval": 4}]}
    )
    whole = float(re.search(r"# a step: ([\d.]+) MFLOP on average", out)[1])
    mine = float(re.search(r"1 of 2 members, ([\d.]+) MFLOP a step", out)[1])
    assert mine == pytest.approx(whole / 2, abs=0.1)


def test_processes_of_which_one_would_have_no_row_are_refused_also_where_others_have_some():
    """Eight processes share three members as 2, 3 and 3: batches of two rows are too small for three."""
    with pytest.raises(UsageError, match="3 processes share batches of 2 rows"):
        said(Processes(8, 1e10, 1e12), seeds=3, batch=2)
    run = build(parse({"name": "points", **RING, "seeds": 3, "batch": 2}))
    for rank in range(8):
        with pytest.raises(UsageError, match="3 processes share batches of 2 rows"):
            team_of(run, Cluster(rank, 8))


def test_durations_are_in_a_unit_that_fits():
    assert [dry_run._duration(x) for x in (119, 120, 7199, 7200)] == ["119 s", "2 min", "120 min", "2.0 h"]
    assert "less when compiled" in dry_run._expected(1, 1.0, 9, True)
    assert "compiled;" not in dry_run._expected(1, 1.0, 9, False)


@pytest.mark.parametrize(("split", "labelled"), [("train", True), ("unlabeled", False)])
def test_images_that_stand_in_have_labels_where_the_set_has(split, labelled, tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_DATA", str(tmp_path))
    data = {"name": "stl10", "split": split}
    settings = parse({"name": "images", **RING, "data": data, "networks": {"name": "dcgan", "width": 4}})
    assert (dry_run.stand_in(settings, NotFound("no")).labels is not None) == labelled
