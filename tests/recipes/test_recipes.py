"""Every packaged recipe: what its header says, what it costs, and that it runs, at full size and tiny.

The images need not be here: random ones of their shapes stand in. `python tests/recipes/test_recipes.py` counts anew
what recipes cost and writes src/steadygan/recipes/costs.json; with --tiny it takes 50 steps of every recipe at that
scale, with --whole it runs each for three as the command line does, with --full three steps of batch 4 of every
architecture. NAME... after it stands for these recipes only.
"""

import io
import itertools
import json
import re
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from torch.utils._pytree import tree_leaves

from steadygan import config
from steadygan.build import Run, build
from steadygan.commands.dry_run import cost
from steadygan.config import registry
from steadygan.config.presets import scaled
from steadygan.data import Data
from steadygan.errors import UsageError
from steadygan.game import State
from steadygan.recipes import listing, speed
from steadygan.recipes.catalogue import (
    COSTS,
    find_recipe,
    overrides,
    paper_of,
    recipe_files,
    recipe_names,
    spelled_out,
)
from steadygan.recipes.listing import SOURCES, START, WIDTH, listed
from steadygan.runs import train as run
from steadygan.training import checkpoint
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.flop_meter import Meter

NAMES = sorted(recipe_files())
ALL = recipe_names()
"""The names of files, and with them those that stand for an override of one."""

SIDES = {
    "cifar10": 32,
    "cifar100": 32,
    "stl10": 48,
    "imagenet64": 64,
    "emoji": 64,
    "celeba_hq": 128,
    "lsun": 256,
    "images": 64,
}
SHAPES = {name: (3, side, side) for name, side in SIDES.items()} | {"fashion_mnist": (1, 32, 32)}


def stand_in(name: str, count: int = 1200) -> Any:
    """What makes random images, labelled with ten classes, of the shape that the set of this name has."""

    def make(size: int | None = None, **_: Any) -> Data:
        channels, *sides = SHAPES[name]
        shape = (channels, size, size) if size else (channels, *sides)
        g = torch.Generator().manual_seed(0)
        rows = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=g)
        return Data(name, shape, rows, labels=torch.arange(count) % 10, classes=10)

    return make


def stand_ins(count: int = 1200) -> dict[str, Any]:
    return {name: registry.DATA[name]._replace(make=stand_in(name, count)) for name in SHAPES}


def raw(name: str) -> dict[str, Any]:
    return {"name": name, **find_recipe(name)[1]}


@cache
def settings(name: str) -> config.Config:
    return config.parse(raw(name), name)


def counted(name: str) -> dict[str, Any]:
    """What costs.json says of a recipe."""
    found = cost(settings(name))
    return {"parameters": found.parameters, "flops": found.flops}


# --------------------------------------------------------------------------------- what papers publish

FARGAN = """
    cifar10-far-resnet          6.26 0.09   6.81 0.03  24.22 0.72  17.82 0.33
    cifar10-far-resnet-wgan     6.15 0.06   6.83 0.04  24.72 0.41  18.12 0.23
    cifar10-far-resnet-hinge    6.19 0.08   6.88 0.07  24.55 0.31  16.99 0.18
    cifar10-far-resnet-lsgan    5.90 0.05   6.63 0.02  26.41 0.12  19.97 0.38
    cifar10-far-conventional    6.94 0.03   7.63 0.05  16.66 0.14  12.80 0.31
    cifar100-far-resnet         6.27 0.04   7.03 0.06  28.46 0.28  21.95 0.35
    cifar100-far-conventional   6.92 0.08   7.84 0.04  22.28 0.45  17.69 0.24
    imagenet64-far-resnet      10.66 0.11  11.44 0.05  44.57 0.34  39.69 0.57
"""
"""Table 2: inception score of 0GP and of FAR, FID of 0GP and of FAR, each with its spread."""

PGN = """
    cifar10-gn-cnn-sn           7.58 .12      -
    cifar10-gn-cnn-sn-cr        7.93 -        -
    cifar10-gn-cnn-gn           7.71 .14      19.31 .76
    cifar10-gn-cnn-gn-cr        8.04 .19      18.59 1.5
    cifar10-gn-cnn-pgn          7.83 .081     18.675 -
    cifar10-gn-cnn-pgn-cr       8.12 .062     18.938 -
    cifar10-gn-resnet-wgan-gp   7.86 .08      -
    cifar10-gn-resnet-sn        8.22 .05      -
    cifar10-gn-resnet-sn-cr     8.40 -        -
    cifar10-gn-resnet-gn        8.49 .11      11.13 .18
    cifar10-gn-resnet-gn-cr     8.72 .11      9.55 .47
    cifar10-gn-resnet-pgn       8.506 .126    11.597 -
    cifar10-gn-resnet-pgn-cr    8.909 .123    9.079 -
    stl10-gn-cnn-sn             8.79 .14      43.20 -
    stl10-gn-cnn-sn-cr          8.69 .08      34.14 -
    stl10-gn-cnn-gn             9.00 .15      32.41 .73
    stl10-gn-cnn-gn-cr          9.00 .14      27.61 .69
    stl10-gn-cnn-pgn            9.340 .178    27.378 -
    stl10-gn-cnn-pgn-cr         9.207 .107    26.758 -
    stl10-gn-resnet-sn          9.10 .04      40.10 .50
    stl10-gn-resnet-sn-cr       9.38 .07      28.4 -
    stl10-gn-resnet-gn          9.60 .14      26.14 .7
    stl10-gn-resnet-gn-cr       9.74 .15      23.62 .89
    stl10-gn-resnet-pgn         9.895 .114    23.588 -
    stl10-gn-resnet-pgn-cr      9.800 .117    21.803 -
    cifar10-biggan-sn           9.22 -        -
    cifar10-biggan-gn-cr        9.35 .14      4.86 .07
    cifar10-biggan-pgn-cr       9.471 .119    5.495 -
    celebahq128-gn-resnet-pgn   -             14.66 -
    celebahq128-gn-resnet-gn    -             14.78 -
    celebahq128-gn-resnet-sn    -             25.95 -
    celebahq256-gn-resnet-pgn   -             6.186 -
    celebahq256-gn-resnet-gn    -             7.67 -
    celebahq256-gn-resnet-sn    -             14.45 -
"""
"""Tables II, IV, V and VI: inception score and FID, each alone or with what stands after it."""


def number(value: str, spread: str) -> Any:
    return float(value) if spread == "-" else (float(value), float(spread))


def published() -> dict[str, tuple[Any, Any]]:
    """Inception score and FID by recipe, as the tables above have them."""
    found: dict[str, tuple[Any, Any]] = {}
    for line in FARGAN.split("\n")[1:-1]:
        name, *v = line.split()
        found[f"{name}-0gp"] = number(*v[0:2]), number(*v[4:6])
        found[f"{name}-fargan"] = number(*v[2:4]), number(*v[6:8])
    for line in PGN.split("\n")[1:-1]:
        name, *v = line.split()
        score = None if v[0] == "-" else number(*v[:2])
        rest = v[1:] if v[0] == "-" else v[2:]
        found[name] = score, None if rest == ["-"] else number(*rest)
    return found


PUBLISHED = published()
PAPERS = [name for name in NAMES if paper_of(recipe_files()[name].read_text())]
each_paper = pytest.mark.parametrize("name", PAPERS)


def header(name: str) -> dict[str, str]:
    """The parts of a recipe's header by their names: Command, Source, Expected, Time."""
    lines = [line for line in recipe_files()[name].read_text().splitlines() if line.startswith("#")]
    text = " ".join(line.lstrip("# ") for line in lines[1:])
    parts = re.split(r"\b(Command|Source|Expected|Time): ", text)
    return dict(zip(parts[1::2], parts[2::2]))


def test_the_numbers_of_recipes_are_those_that_papers_publish():
    """Typed from the papers' tables, row by row; no other recipe claims a number."""
    for name in NAMES:
        paper = settings(name).paper
        wanted = PUBLISHED.get(name, (None, None))
        assert ((paper.inception_score, paper.fid) if paper else (None, None)) == wanted, name


@each_paper
def test_a_header_says_what_the_recipes_paper_says(name):
    """Paper and row as its source, and the very same numbers as published."""
    paper, said = settings(name).paper, header(name)
    assert said["Command"].split()[:3] == ["steadygan", "train", name]
    assert paper.source in said["Source"]
    row = paper.row.split(", ")[0] if paper.row[:3] in ("Tab", "Fig") else paper.row
    assert row in said["Source"]
    numbers = re.findall(
        r"(inception score|FID)[^\d,;]*([\d.]+)(?: \+- ([\d.]+))?(?=[ ,;)])", said["Expected"]
    )
    claims = said["Expected"].startswith("published: ")
    found = (
        {key: number(v.rstrip("."), spread or "-") for key, v, spread in reversed(numbers)} if claims else {}
    )
    assert found == {k: v for k, v in (("inception score", paper.inception_score), ("FID", paper.fid)) if v}


@pytest.fixture
def at_100_gigaflops(tmp_path, monkeypatch):
    """A processor of known speed."""
    monkeypatch.setattr(listing, "product_speed", lambda: 100e9)


def rows(*words: str) -> dict[str, str]:
    """The line of each recipe that is listed, by its name, with single spaces."""
    lines = [" ".join(line.removeprefix("  + ").split()) for line in listed("recipes", words)]
    return {name: line for line in lines if (name := line.split(" ")[0].rstrip(":")) in ALL}


def test_the_list_shows_published_numbers_in_the_digits_of_the_papers(at_100_gigaflops):
    lines = rows()
    assert lines["stl10-gn-cnn-pgn"].endswith("9.340 ± 0.178 27.378 Table IV")
    assert lines["stl10-gn-cnn-gn"].endswith("9.00 ± 0.15 32.41 ± 0.73 Table IV")
    assert lines["cifar10-gn-cnn-gn-cr"].endswith("8.04 ± 0.19 18.59 ± 1.5 Table II")
    assert lines["celebahq256-gn-resnet-pgn"].endswith("81 M 6.186 Table VI")
    assert not [name for name in set(NAMES) - set(PUBLISHED) if re.search(r"\d ± \d|Table", lines[name])]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_numbers_have_their_protocol(name):
    """Sections 6.2 and 6.3 of FARGAN; GN-GAN's configurations, whose evaluation PGN-GAN took over; or who is quoted."""
    said = settings(name).paper.protocol
    if settings(name).paper.source == "FARGAN":
        assert said == "3 runs; FID of 10,000 samples, against images that are not named"
    elif name.startswith("celebahq"):
        large = (
            "10,000 samples against all 30,000" if "256" in name else "3,000 samples against the last 3,000"
        )
        assert f"FID of {large} images" in said
    elif "pgn" in name:
        assert said == "the best checkpoint by FID, which is against the training images"
    else:
        assert said.startswith("quoted from ")


@each_paper
def test_a_header_owns_up_to_another_precision_than_the_papers(name):
    """None of the papers trains in bfloat16."""
    assert (settings(name).precision == "auto") == ("bfloat16 is ours" in header(name)["Source"])


@each_paper
def test_the_list_finds_a_recipes_paper_without_reading_all_of_it(name):
    text = recipe_files()[name].read_text()
    assert paper_of(text) == yaml.safe_load(text)["paper"]


def test_a_row_that_recipes_shrink_from_keeps_no_numbers():
    small = config.parse(scaled(raw("cifar10-far-resnet-fargan"), "tiny"))
    assert small.paper.row == "Table 2, CIFAR-10, ResNet NSGAN, FAR, at the scale tiny"
    assert (small.paper.inception_score, small.paper.fid, small.paper.protocol) == (None, None, None)


# ---------------------------------------------------------------------------- overrides, and what is a file


@cache
def plain(name: str) -> dict[str, Any]:
    """A recipe's settings but for its name and its paper's row."""
    return settings(name).model_dump(mode="json", exclude={"name", "paper", "scale"})


def changed(a: Any, b: Any, path: str = "") -> list[str]:
    """The keys that an override must assign to make `b` of `a`. A part by another name is assigned whole."""
    if a == b:
        return []
    parts = isinstance(a, dict) and isinstance(b, dict) and (not path or a.get("name") == b.get("name"))
    if not parts:
        return [path]
    keys = sorted(a.keys() | b.keys())
    return [key for k in keys for key in changed(a.get(k), b.get(k), f"{path}.{k}".lstrip("."))]


@pytest.mark.parametrize("name", overrides())
def test_an_override_is_a_file_with_a_key_changed(name):
    """One key, or a sibling among the overrides has one change less."""
    found = overrides()[name]
    assert found.recipe in NAMES
    assert name not in NAMES
    fewer = [set(other.assignments) for other in overrides().values() if other.recipe == found.recipe]
    assert len(found.assignments) == 1 or any(len(set(found.assignments) - one) == 1 for one in fewer)
    assert config.parse(config.override(raw(found.recipe), found.assignments)).steps == settings(name).steps
    assert "paper" not in raw(name), "an override is not the paper's row"
    assert changed(plain(found.recipe), plain(name)), "it changes nothing"


EXAMPLES = {
    "ring8-0gp": "Mescheder 2018",
    "ring8-0gp-interpolation": "Thanh-Tung 2019",
    "ring8-dragan": "Kodali 2017",
    "ring8-max-gradient": "Zhou 2019",
    "ring8-cr": "Zhang 2020",
    "ring8-bcr": "Zhao 2021",
    "ring8-conditional": "Mirza 2014",
    "ring8-gn": "Wu 2021",
    "ring8-pgn": "Xia 2023",
    "ring8-sn": "Miyato 2018",
    "ring8-wgan-gp": "Gulrajani 2017",
    "ring8-wgan-lp": "Petzka 2018",
    "fashion-mnist-0gp": "FARGAN",
    "fashion-mnist-fargan": "FARGAN",
}
"""The first example of a paper's method is a file, though it is one key from another file. So are the twins on
Fashion-MNIST, of which one is a recipe to start with."""


def test_the_examples_are_of_the_papers_that_they_name():
    for name, work in EXAMPLES.items():
        assert work in header(name)["Source"], name


def test_a_recipe_one_key_from_another_is_an_override():
    """But for papers' rows, examples, games of two numbers, and recipes with other networks or another game."""
    trees = {name: plain(name) for name in NAMES if not settings(name).paper}
    kept = EXAMPLES.keys() | {name for name in NAMES if recipe_files()[name].parent.name == "toy"}
    near = {
        (a, b): keys[0]
        for a, b in itertools.combinations(trees, 2)
        if not {a, b} <= kept and len(keys := changed(trees[a], trees[b])) == 1
    }
    same = {pair: key for pair, key in near.items() if key not in ("networks", "game")}
    assert same == {}, "move one of each pair to overrides.yaml"


def test_a_name_that_is_an_override_says_what_to_write():
    assert spelled_out("ring8-r2") == "ring8-0gp 'critic.penalties=[{name: r2, weight: 0.1}]'"
    assert spelled_out("ring8-0gp") is None
    assert spelled_out("no such recipe") is None


def test_a_folder_or_zip_that_is_no_run_is_told_how_to_train_on_its_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("my photos.zip").touch()
    for name, place in (("photos", "photos"), ("my photos.zip", "'my photos.zip'")):
        with pytest.raises(UsageError, match=f"write steadygan train --images {place} where"):
            find_recipe(name)
    with pytest.raises(UsageError, match=r"there is no recipe 'none\.zip'"):
        find_recipe("none.zip")


def test_a_folder_of_runs_is_told_the_name_of_one(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "config.yaml").touch()
    with pytest.raises(UsageError) as told:
        find_recipe(str(tmp_path))
    assert str(told.value).endswith(f": name a run folder in it, such as {tmp_path / 'ring'}")


# ------------------------------------------------------------------------------------------------- the list


def test_a_list_opens_with_what_to_start_with_and_fits_the_screen(at_100_gigaflops):
    lines = list(listed("recipes"))
    assert max(map(len, lines)) <= WIDTH
    assert [line.split()[0] for line in lines[1 : 1 + len(START)]] == list(START)
    assert 3 <= len(START) <= 5
    assert START.keys() <= set(NAMES)


def test_a_list_has_every_recipe_below_its_source(at_100_gigaflops):
    """Each folder has a heading, and each override stands below the recipe that it changes."""
    assert {file.parent.name for file in recipe_files().values()} == set(SOURCES)
    source = recipe = None
    seen = []
    for line in itertools.dropwhile(lambda line: not line.startswith("["), listed("recipes")):
        name = line.removeprefix("  + ").split(" ")[0].rstrip(":")
        if line.startswith("["):
            source = name.strip("[]")
        elif name in NAMES:
            assert recipe_files()[name].parent.name == source
            recipe = name
            seen.append(name)
        elif name in ALL:
            assert overrides()[name].recipe == recipe
            seen.append(name)
    assert sorted(seen) == ALL


def test_a_list_estimates_the_time_from_the_cost(at_100_gigaflops):
    """1.5e11 FLOP at 1e11 FLOP/s: two seconds; 4.4e17: 51 days. Of two numbers nothing is counted."""
    flops = json.loads(COSTS.read_text())
    assert flops["digits-fargan"]["flops"] == pytest.approx(1.49e11, rel=0.01)
    assert rows("digits-fargan")["digits-fargan"].startswith("digits-fargan 149 G 1 s 18 k")
    assert rows("cifar10-far-resnet-fargan")["cifar10-far-resnet-fargan"].startswith(
        "cifar10-far-resnet-fargan 439 P 51 d 6.1 M"
    )
    assert rows("dirac-r1")["dirac-r1"].startswith("dirac-r1 - - 2 ")


def test_a_list_shows_what_matches_every_word(at_100_gigaflops):
    """Names, sources, descriptions and overrides are searched, whatever the case and the hyphens."""
    found = rows("cifar10", "fargan")
    assert set(found) == {n for n in NAMES if n.startswith(("cifar10-far-", "cifar10-dcgan-"))}
    assert {n.split("-")[0] for n in rows("celebahq")} == {"celebahq128", "celebahq256"}, (
        "a part, if no whole word"
    )
    assert set(rows("Fashion_MNIST", "dragan")) == {"fashion-mnist-0gp", "fashion-mnist-dragan"}
    assert set(rows("table", "vi", "pgn-gan")) == {f"celebahq{side}-gn-resnet-pgn" for side in (128, 256)}
    assert "Start with" not in next(iter(listed("recipes", ["dirac"])))


def named(tree: Any) -> set[str]:
    """Every `name` in a configuration."""
    if isinstance(tree, list):
        return set().union(*map(named, tree))
    if not isinstance(tree, dict):
        return set()
    return {tree["name"]}.union(*map(named, tree.values())) if "name" in tree else named([*tree.values()])


def test_every_method_has_a_recipe():
    tables = (
        "PENALTIES",
        "LOGIT_PENALTIES",
        "NORMALIZATIONS",
        "CONSISTENCY",
        "AUGMENTATIONS",
        "DYNAMICS",
        "GAMES",
    )
    used = set().union(*(named(plain(name)) for name in ALL))
    assert {table: set(getattr(registry, table)) - used for table in tables} == {key: set() for key in tables}


def test_the_speed_of_the_processor_is_measured_once(tmp_path, monkeypatch):
    """Two products of a known time; then from the file, until that is damaged."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    calls = []
    monkeypatch.setattr(speed, "_one_core", lambda: calls.append(1) or 3e9)
    monkeypatch.setattr(speed.os, "cpu_count", lambda: 4)
    assert [speed.product_speed(), speed.product_speed(), len(calls)] == [12e9, 12e9, 1]
    for damaged in ("{", "[1]", '{"a": "fast"}'):
        speed.kept().write_text(damaged)
        assert speed.product_speed() == 12e9
    assert len(calls) == 4


def test_the_measured_speed_is_that_of_products():
    """No product of this size on this thread is much faster."""
    a = torch.ones(256, 256)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    assert 0.1 < speed.measured() * min(times) / (2 * 256**3) < 10


# ------------------------------------------------------------------------------- what papers prescribe


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "-far-" in n or n.startswith(("cifar100-dcgan", "cifar10-dcgan"))]
)
def test_settings_of_fargan(name):
    """Its section 6.2 and 6.3: k = 10, N = M = 64, f = 8 and N0 = 32 but where an ablation names others."""
    made = settings(name)
    ablated = re.search(r"-(f|n)(\d+)$", name)
    f, n0 = 8, 32 if "-fargan" in name else 0
    if ablated:
        f, n0 = (int(ablated[2]), 32) if ablated[1] == "f" else (8, int(ablated[2]))
    assert (made.fake_as_real.count, made.fake_as_real.pool if n0 else f) == (n0, f)
    assert [(p.name, p.weight, p.interval) for p in made.critic.penalties] == [("r1", 10, 1)]
    losses = {"wgan": "wasserstein", "hinge": "hinge", "lsgan": "least_squares"}
    assert made.game.loss.name == next((v for k, v in losses.items() if f"-{k}-" in name), "non_saturating")
    far = name.startswith("imagenet64")
    assert (made.steps, made.batch, made.dynamics.n_critic) == (600_000 if far else 500_000, 64, 1)
    assert (made.optimizer.name, made.optimizer.lr) == ("adam" if far else "rmsprop", 1e-4)
    assert made.optimizer.betas == (0, 0.9) if far else made.optimizer.alpha == 0.99
    assert (made.networks.latent, made.networks.width, made.ema, made.data.flip) == (
        256 if far else 128,
        64,
        None,
        True,
    )


@pytest.mark.parametrize("name", [n for n in ALL if "-gn-" in n.replace("biggan-gn", "")])
def test_settings_of_gradient_normalization(name):
    """GN-GAN's configurations and what PGN-GAN's text changes: hinge for its CNN, 500k steps for its STL-10."""
    made = settings(name)
    data, _, method = name.partition("-gn-")
    net, _, norm = method.partition("-")
    norm, cr = norm.removesuffix("-cr"), norm.endswith("-cr")
    large = data in ("celebahq128", "celebahq256", "church256")
    kinds = {"gn": "gradient_normalized", "pgn": "penalty_gradient_normalized", "sn": "spectral_normalized"}
    assert made.critic.normalization.name == kinds.get(norm, "none")
    assert [(c.name, c.weight) for c in made.critic.consistency] == ([("cr", 5)] if cr else [])
    assert made.networks.name == f"gn_{net}"
    wanted = (
        "wasserstein" if norm == "wgan-gp" else "non_saturating" if (norm, net) == ("gn", "cnn") else "hinge"
    )
    assert made.game.loss.name == wanted
    assert made.steps == (100_000 if large else 500_000 if (data, norm) == ("stl10", "pgn") else 200_000)
    assert (made.batch, made.game.batch_G, made.dynamics.n_critic) == (64, 128, 1 if net == "cnn" else 5)
    each = made.optimizer if isinstance(made.optimizer, dict) else dict.fromkeys("DG", made.optimizer)
    assert {part.betas for part in each.values()} == {(0, 0.9)}
    falls = net == "resnet" and not large
    rates = {k: (part.lr.start, part.lr.stop) if falls else part.lr for k, part in each.items()}
    top = 2e-4 if large or net == "cnn" or norm == "wgan-gp" else 4e-4
    assert rates == ({"D": (top, 0), "G": (2e-4, 0)} if falls else {"D": top, "G": 2e-4})
    # The code averages from step 10,000 on, counted from 1: after 9,999 steps.
    start = {"celebahq128": 9999, "celebahq256": 9999, "church256": 19_999}.get(data, 0)
    assert (made.ema.decay, made.ema.start, made.data.flip) == (0.9999, start, True)
    assert getattr(made.critic.normalization, "reading", "elementwise") == "elementwise"
    penalty = [("one_centered", 10, 1)] if norm == "wgan-gp" else []
    assert [(p.name, p.weight, p.interval) for p in made.critic.penalties] == penalty
    assert (made.networks.latent, made.networks.width) == (128, 64)
    shown = {
        "stl10": ("unlabeled", 48),
        "celebahq128": ("train", 128),
        "celebahq256": ("all", 256),
        "church256": ("church_outdoor_train", 256),
    }
    found = getattr(made.data, "split", "train"), getattr(made.data, "size", None)
    assert found == shown.get(data, ("train", None))
    assert getattr(made.data, "filter", None) == (
        None if data == "cifar10" else "bilinear" if data == "stl10" else "lanczos"
    )
    assert made.data.name == {
        "celebahq128": "celeba_hq",
        "celebahq256": "celeba_hq",
        "church256": "lsun",
    }.get(data, data)


@pytest.mark.parametrize("name", [n for n in ALL if n.startswith("cifar10-biggan")])
def test_settings_of_biggan(name):
    made = settings(name)
    kinds = {"gn": "gradient_normalized", "pgn": "penalty_gradient_normalized", "sn": "spectral_normalized"}
    assert made.critic.normalization.name == kinds[name.split("-")[2]]
    assert [c.weight for c in made.critic.consistency] == ([5] if name.endswith("-cr") else [])
    assert (made.steps, made.batch, made.game.batch_G, made.dynamics.n_critic) == (125_000, 50, None, 4)
    assert {k: (p.lr, p.betas) for k, p in made.optimizer.items()} == {
        "D": (2e-4, (0, 0.999)),
        "G": (1e-4, (0, 0.999)),
    }
    assert (made.ema.decay, made.ema.start, made.game.loss.name) == (0.9999, 999, "hinge")
    assert getattr(made.critic.normalization, "reading", "elementwise") == "elementwise"
    assert (made.networks.latent, made.networks.width, list(made.critic.penalties)) == (128, 256, [])
    assert (made.game.conditional, made.data.name, made.data.flip) == (True, "cifar10", True)


def test_the_numerics_sweeps():
    """Figures 12 to 14: which rule, which gamma, which rate; figure 10 on faces, 128 a step."""
    lrs, gammas = settings("cifar10-numerics-dcgan3-nobn-lr"), settings("cifar10-numerics-dcgan4-nobn-gamma")
    assert (lrs.dynamics.name, lrs.dynamics.gamma, 1e-4 in lrs.optimizer.lr.root) == ("consensus", 0.1, True)
    assert settings("cifar10-numerics-dcgan4-nobn-lr").dynamics.gamma == 10
    assert (gammas.optimizer.lr, {0.1, 10} < set(gammas.dynamics.gamma.root)) == (2e-4, True)
    assert settings("cifar10-numerics-dcgan4-lr-alternating").dynamics.name == "alternating"
    faces = settings("celeba64-numerics-resnet-standard")
    assert (faces.batch, faces.dynamics.gamma, faces.networks.width, faces.data.size) == (128, 10, 128, 64)


def test_pgn_reports_its_best_checkpoint_by_fid_against_all_training_images():
    """Tables II, IV and V. At the scale tiny it needs no weights."""
    rows = [
        name
        for name in ALL
        if raw(name).get("paper", {}).get("protocol", "").startswith("the best checkpoint")
    ]
    assert len(rows) == 9
    for name in rows:
        made, small = settings(name), config.parse(scaled(raw(name), "tiny"))
        assert (made.keep.best, small.keep.best) == ("fid", "kd_pixels8")
        assert (made.evaluation.extractor, small.evaluation.extractor) == ("inception", "pixels8")
        assert (made.evaluation.images, made.evaluation.reference) == (50_000, "train")


def test_fig_9_has_the_paper_s_settings_beside_ours():
    for data in ("grid25", "swissroll"):
        ours, paper = settings(f"{data}-fargan"), settings(f"{data}-fargan-paper")
        assert (paper.data, paper.networks) == (ours.data, ours.networks)
        assert [(p.name, p.weight) for p in paper.critic.penalties] == [("r1", 10)]
        assert (paper.fake_as_real.count, paper.fake_as_real.pool, paper.batch) == (16, 8, 64)
        assert (paper.optimizer.name, paper.optimizer.lr, paper.ema) == ("sgd", 0.003, None)


def test_twins_differ_in_what_their_names_say_alone():
    def differing(one: str, other: str) -> set[str]:
        a, b = raw(one), raw(other)
        return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)} - {"paper", "name"}

    for name in ALL:
        if "-far-" in name and name.endswith("-fargan"):
            assert differing(name, name.replace("-fargan", "-0gp")) == {"fake_as_real"}
        if "-gn-resnet-gn" in name or "-biggan-gn" in name:
            for norm in ("pgn", "sn"):
                twin = re.sub(r"-gn(-cr)?$", rf"-{norm}\1", name)
                protocol = {"evaluation", "keep"} if norm == "pgn" else set()
                if twin in ALL:
                    assert differing(name, twin) - protocol <= {"critic"} | (
                        {"steps"} if "stl10" in name else set()
                    )


# -------------------------------------------------------------------------------------- what they cost

F9 = {
    ("dcgan", 32): (1_187_011, 662_977),
    ("far_resnet", 32): (3_627_715, 2_505_793),
    ("far_conventional", 32): (8_945_731, 7_053_377),
    ("far_resnet_deep", 64): (58_332_611, 54_139_329),
    ("gn_cnn", 32): (3_813_379, 5_860_865),
    ("gn_cnn", 48): (5_134_339, 5_871_105),
    ("gn_resnet", 32): (4_276_739, 1_053_825),
    ("gn_resnet", 48): (4_878_083, 4_859_073),
    ("gn_resnet", 128): (32_150_787, 38_419_137),
    ("gn_resnet", 256): (37_135_107, 43_401_409),
    ("biggan32", 32): (4_304_387, 4_207_361),
    ("numerics_resnet", 64): (2_208_067, 1_979_073),
}
"""Parameters of G and D, counted from the papers' layers by hand."""


def test_costs_are_known_of_every_recipe_and_of_nothing_else():
    assert sorted(json.loads(COSTS.read_text())) == NAMES, (
        "run python tests/recipes/test_recipes.py NAME... of what is new"
    )


def test_costs_have_the_papers_networks():
    costs, met = json.loads(COSTS.read_text()), set()
    for name in NAMES:
        made = settings(name)
        key = (made.networks.name, getattr(made.data, "size", None) or SIDES.get(made.data.name))
        if made.game.name == "gan" and key in F9:
            met.add(key)
            assert costs[name]["parameters"] == dict(zip("GD", F9[key])), name
    assert met == F9.keys()


COUNTED = [
    "cifar10-dcgan-fargan",
    "digits-infogan",
    "digits-cr",
    "cifar10-gn-cnn-sn",
    "cifar10-biggan-sn",
]
COUNTED += [
    "cifar10-numerics-dcgan3-nobn-gamma",
    "dirac-consensus",
    "stacked-digits-mdgan",
    "cifar100-far-resnet-fargan",
]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if "biggan" in n else ()) for n in COUNTED]
)
def test_costs_are_counted_anew(name, stood_in):
    found = json.loads(COSTS.read_text())[name]
    assert counted(name) == found, f"if that is meant, run python tests/recipes/test_recipes.py {name}"


def test_a_cost_is_that_of_real_steps(stood_in):
    """Against a step with numbers in it, for a penalty that is due at each fourth step."""
    text = ["critic.penalties=[{name: r1, weight: 1, interval: 4}]", "steps=1000", "fake_as_real.count=0"]
    made = config.parse(config.override(raw("digits-fargan"), text))
    run = build(made)
    with Meter() as with_penalty:
        run.step(run.state, run.draws(0))
    with Meter() as without:
        run.step(run.state, run.draws(1))
    assert with_penalty.flops > without.flops
    assert cost(made).flops == 250 * (with_penalty.flops + 3 * without.flops)


def test_lookahead_costs_its_inner_steps_alone():
    """Going back averages weights, which takes no gradient: five alternating steps cost what they cost."""
    assert cost(settings("ring8-lookahead")) == cost(settings("ring8-alternating"))


# --------------------------------------------------------------------------------------- that they run


@pytest.fixture
def stood_in(monkeypatch):
    for name, part in stand_ins().items():
        monkeypatch.setitem(registry.DATA, name, part)


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_shrinks_to_a_recipe(name):
    small = scaled(raw(name), "tiny", name)
    made, large = config.parse(small, name), settings(name)
    assert config.parse(yaml.safe_load(config.dump(config.in_steps(made)))) == config.in_steps(made)
    assert made.name == f"{name}-tiny"
    assert made.scale == {}
    assert (made.steps, made.batch) == (min(large.steps, 200), min(large.batch, 8))
    assert getattr(made.networks, "width", 0) <= getattr(large.networks, "width", 0)
    assert getattr(made.data, "limit", 1000) == 1000
    assert made.game.name == large.game.name
    assert made.dynamics == large.dynamics
    assert config.parse(scaled(small, "tiny", name)).steps == made.steps


TINY = [
    "cifar10-far-resnet-fargan",
    "cifar10-far-resnet-wgan-0gp",
    "cifar10-far-resnet-fargan-n48",
    "cifar100-far-conventional-fargan",
    "cifar100-dcgan-fargan",
    "imagenet64-far-resnet-fargan",
    "cifar10-gn-cnn-pgn-cr",
    "stl10-gn-cnn-sn",
    "cifar10-gn-resnet-wgan-gp",
    "stl10-gn-resnet-gn",
    "cifar10-biggan-sn",
    "celeba64-numerics-resnet-standard",
    "cifar10-numerics-dcgan3-nobn-gamma",
    "cifar10-numerics-dcgan4-lr-alternating",
    "fashion-mnist-ada",
    "digits-mdgan",
    "digits-infogan",
    "digits-began",
    "digits-zcr",
    "stacked-digits-dcgan-fargan",
    "ring8-conditional",
    "grid25-reg-gan",
    "gaussian-fargan",
    "dirac-r1",
]
"""One for each family; `python tests/recipes/test_recipes.py --tiny` runs them all."""


def trained(name: str, folder: Path | None = None, steps: int = 50) -> tuple[State, State | None]:
    """A recipe's state after `steps` at the scale tiny, and that of one begun half way, from a checkpoint."""
    made = config.parse(config.override(scaled(raw(name), "tiny", name), ["device=cpu"]), name)

    def gone_on(run: Run, state: State, first: int) -> State:
        step = vectorised(run.step) if run.ensemble else run.step
        for number in range(first, steps):
            if folder and not first and number == steps // 2:
                checkpoint.save(folder, state, {"members": run.members})
            state, logs = step(state, run.draws(number))
            assert logs["finite"].all(), f"{name} is not finite after {number + 1} steps"
            assert all(v.isfinite().all() for k, v in logs.items() if k.startswith("loss/")), (name, number)
        assert (state.scalars["step"] == steps).all()
        return state

    run = build(made)
    whole = gone_on(run, run.state, 0)
    if not folder:
        return whole, None
    run = build(made)
    return whole, gone_on(run, checkpoint.load_newest(folder, run.state, pytest.fail), steps // 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_recipe_trains_and_resumes_at_the_scale_tiny(name, stood_in, tmp_path):
    """Four steps: finite all the way, and bit for bit the same when they are stopped, saved and gone on with."""
    whole, resumed = trained(name, tmp_path, 4)
    for a, b in zip(tree_leaves(tuple(whole)), tree_leaves(tuple(resumed)), strict=True):
        assert torch.equal(a, b)


def run_whole(name: str, folder: Path, steps: int = 3) -> list[dict[str, Any]]:
    """The events of a run at the scale tiny, as the command line makes it: with looks, pictures, examinations."""
    made = config.parse(
        config.override(scaled(raw(name), "tiny", name), ["device=cpu", f"steps={steps}"]), name
    )
    assert run.start(made, folder, Console(file=io.StringIO())) is None, "it ended early"
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY[::2])
def test_a_recipe_runs_whole_at_the_scale_tiny(name, stood_in, tmp_path):
    events = run_whole(name, tmp_path / "run")
    assert any("field/cosine" in line and line["step"] == 3 for line in events), "it has not been examined"
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints")


FULL = {
    "cifar10-dcgan-fargan": 4,
    "cifar10-far-resnet-fargan": 4,
    "cifar10-far-conventional-fargan": 4,
    "imagenet64-far-resnet-fargan": 2,
    "cifar10-gn-cnn-pgn-cr": 4,
    "stl10-gn-cnn-gn": 4,
    "cifar10-gn-resnet-pgn": 4,
    "stl10-gn-resnet-sn": 4,
    "celebahq256-gn-resnet-pgn": 1,
    "cifar10-biggan-pgn-cr": 4,
    "celeba64-numerics-resnet-standard": 4,
    "cifar10-numerics-dcgan4-standard": 4,
    "cifar10-numerics-conv3-standard": 4,
}
"""A recipe for each architecture at each side, and the batch that a test has time for."""


def stepped(name: str, batch: int, steps: int = 3, *changes: str) -> State:
    """A recipe's state after steps with its own networks and so small a batch."""
    text = [f"batch={batch}", "compile=false", "device=cpu", *changes]
    if settings(name).fake_as_real.count:
        text += [f"fake_as_real.count={max(1, batch // 2)}"]
    if getattr(settings(name).game, "batch_G", None):
        text += [f"game.batch_G={2 * batch}"]
    run = build(config.parse(config.override(raw(name), text), name))
    assert {k: len(v) for k, v in run.state.params.items()} == json.loads(COSTS.read_text())[name][
        "parameters"
    ]
    state = run.state
    for number in range(steps):
        state, logs = run.step(state, run.draws(number))
        assert logs["finite"] == 1, f"{name} is not finite after {number + 1} steps"
        assert all(logs[f"loss/{player}"].isfinite() for player in "DG")
    return state


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_recipe_takes_a_step_at_full_size(name, stood_in):
    """With one critic step where the recipe has several, which are taken at the scale tiny."""
    several = getattr(settings(name).dynamics, "n_critic", 1) > 1
    state = stepped(name, FULL[name], 1, *(["dynamics.n_critic=1"] if several else []))
    assert state.scalars["step"] == 1


COMPILED = ["stacked-digits-dcgan-fargan"]
"""Images of 8 x 8: a DCGAN for 32 x 32 compiles in a minute, and one of residual blocks in three."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_recipe_is_compiled_whole_and_its_first_step_is_not_refused(name, stood_in):
    """The compiled step raises where it is not the eager one; `pytest.fail` would be told that it is not compiled."""
    if shutil.which("g++") is None and not torch.cuda.is_available():
        pytest.skip("needs a C++ compiler")
    changes = ["compile=true", "device=cpu", "batch=16"]
    run = build(config.parse(config.override(scaled(raw(name), "tiny", name), changes), name))
    state, logs = compiled(run.step, pytest.fail)(run.state, run.draws(0))
    assert logs["finite"] == 1
    assert state.scalars["step"] == 1


# ----------------------------------------------------------------------------------------- as a script


def write(names: list[str]) -> None:
    """Count what recipes cost, all or those named."""
    kept = json.loads(COSTS.read_text()) if COSTS.exists() and names else {}
    for name in names or NAMES:
        kept[name] = counted(name)
        print(name, kept[name], flush=True)
    lines = [f"  {json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept) if name in NAMES]
    COSTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def run_tiny(names: list[str]) -> None:
    """Fifty steps at the scale tiny, of all or those named."""
    for name in names or NAMES:
        began = time.process_time()
        trained(name)
        print(f"{name}: 50 steps in {time.process_time() - began:.1f} s", flush=True)


def run_each(names: list[str]) -> None:
    """Three steps of a whole run at the scale tiny, of all or those named."""
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {len(run_whole(name, Path(folder) / 'run'))} events", flush=True)


def run_full(names: list[str]) -> None:
    """Three steps of batch 4 as the recipe has them, of one for each architecture at each side or those named."""
    for name in names or FULL:
        began = time.process_time()
        stepped(name, 4)
        print(f"{name}: 3 steps in {time.process_time() - began:.1f} s", flush=True)


if __name__ == "__main__":
    registry.DATA.update(stand_ins())
    action = {"--tiny": run_tiny, "--whole": run_each, "--full": run_full}.get(
        sys.argv[1] if len(sys.argv) > 1 else "", write
    )
    action([word for word in sys.argv[1:] if not word.startswith("--")])
