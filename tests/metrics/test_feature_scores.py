"""A stream's summary against the same scores of all features at once; and the benchmark of scores, in small."""

import math
from argparse import Namespace

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from benchmarks import metrics as benchmark
from steadygan.data import Data
from steadygan.errors import UsageError
from steadygan.metrics import (
    Moments,
    Summary,
    evaluation,
    feature_scores,
    frechet_distance,
    inception_score,
    kernel_distance,
    scores,
)
from steadygan.metrics.extractors.registry import extractor
from steadygan.metrics.feature_scores import frechet, inception, kernel
from steadygan.metrics.hash_sampling import block_of
from steadygan.metrics.neighbours import manifold_scores

SIZE = 6


def normal(n: int, seed: int, size: int = SIZE) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


def of(features: Tensor, logits: Tensor | None = None, chunk: int = 10**9, **how: int) -> Summary:
    made = Summary(features.shape[1], **how)
    for i in range(0, len(features), chunk):
        made.add(features[i : i + chunk], None if logits is None else logits[i : i + chunk])
    return made


def moments(features: Tensor) -> Moments:
    made = Moments(features.shape[1])
    made.add(features)
    return made


# ------------------------------------------------------------------------------------------- streams and subsets


def splitmix64(number: int) -> int:
    """Python's whole numbers, modulo 2^64, as in the paper; signed at the end."""
    z = (number + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    return z - 2**64 if z >= 2**63 else z


@pytest.mark.parametrize("n", [5, 30, 400])
@pytest.mark.parametrize("chunk", [1, 7, 400])
def test_the_kept_rows_have_the_lowest_priorities(n, chunk):
    x = normal(n, seed=0)
    lowest = sorted(range(n), key=splitmix64)[:30]
    assert torch.equal(of(x, chunk=chunk, keep=30).rows, x[lowest])


def test_every_image_is_as_likely_kept():
    # of 20,000 the kept 5,000 are a quarter of every stretch and of every residue
    x = torch.arange(20_000.0)[:, None]
    kept = of(x, keep=5000, blocks=1).rows[:, 0].long()
    for share in (torch.bincount(kept // 2000), torch.bincount(kept % 10)):
        assert (share - 500).abs().max() < 4 * math.sqrt(2000 * 3 / 16)
    half = kept[:2500]  # and their order is random
    assert abs((half < 10_000).double().mean() - 0.5) < 4 * 0.5 / math.sqrt(2500)


def test_blocks_are_even_and_have_labels_in_turn_in_all_of_them():
    which = block_of(torch.arange(1003), 10)
    assert sorted(torch.bincount(which).tolist()) == [100] * 7 + [101] * 3
    labels = torch.arange(1000) % 10
    assert all(len(labels[which[:1000] == j].unique()) > 5 for j in range(10))  # i % 10 has one label a block
    assert torch.equal(block_of(torch.arange(500, 1003), 10), which[500:])


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_parts_of_any_size_give_the_same_scores(chunk):
    fake, real, logits = normal(640, 1), 1.2 * normal(900, 2), normal(640, 3, size=4)
    whole, parts = of(fake, logits, keep=200), of(fake, logits, chunk, keep=200)
    a, b = whole.tensors(), parts.tensors()
    for name in a:
        if name.startswith("classes."):
            torch.testing.assert_close(a[name], b[name], rtol=1e-13, atol=0)
        else:
            assert torch.equal(a[name], b[name]), name
    real = of(real, keep=200, blocks=1)
    found, wanted = scores(parts, real), scores(whole, real)
    for name, score in wanted.items():
        assert found[name] == pytest.approx(score, rel=1e-12), name


def test_a_summary_is_its_tensors():
    x, logits, real = normal(1700, 4), normal(1700, 5, size=3), of(normal(500, 6), blocks=1)
    first = of(x[:1111], logits[:1111], keep=300)
    again = Summary.of_tensors(load(save(first.tensors())))
    assert scores(again, real) == scores(first, real)
    assert (again.count, again.size) == (1111, SIZE)
    first.add(x[1111:], logits[1111:])
    again.add(x[1111:], logits[1111:])
    assert torch.equal(again.rows, first.rows)
    for name, score in scores(first, real).items():
        assert scores(again, real)[name] == pytest.approx(score, rel=1e-12)


def test_a_summary_of_few_images_is_its_tensors():
    few = of(normal(25, 7))
    again = Summary.of_tensors(load(save(few.tensors())))
    assert torch.equal(again.rows, few.rows)
    assert torch.equal(of(normal(25, 7)).rows, few.rows)


def test_memory_does_not_grow_with_the_images():
    def held(images: int) -> int:
        made = of(normal(images, 8), normal(images, 9, size=3), chunk=50, keep=100)
        assert all(sum(map(len, block.waiting)) < 512 for block in made.blocks)
        return sum(t.numel() for t in made.tensors().values())

    assert held(6000) == held(600)


# ------------------------------------------------------------------------------------------------------- scores


def test_scores_are_those_of_all_features():
    fake, real, logits = normal(500, 10), 1.3 * normal(700, 11) + 0.2, normal(500, 12, size=5)
    found = scores(of(fake, logits), of(real))
    assert list(found) == ["fd", "kd", "is", "precision", "recall", "density", "coverage"]
    assert found["fd"].value == pytest.approx(frechet_distance(moments(fake), moments(real)), rel=1e-12)
    assert found["is"] == pytest.approx(inception_score(logits), rel=1e-12)
    order = [sorted(range(n), key=splitmix64) for n in (500, 700)]
    assert {key: found[key] for key in ("precision", "recall", "density", "coverage")} == manifold_scores(
        fake[order[0]], real[order[1]]
    )
    assert "is" not in scores(of(fake), of(real))


def test_frechet_error_is_the_jackknife_over_blocks():
    fake, real = normal(87, 13), 1.1 * normal(300, 14)
    block, theirs = block_of(torch.arange(87), 4), moments(real)
    left = [frechet_distance(moments(fake[block != j]), theirs) for j in range(4)]
    mean = sum(left) / 4
    expected = math.sqrt(3 / 4 * sum((x - mean) ** 2 for x in left))
    assert frechet(of(fake, blocks=4), of(real)).error == pytest.approx(expected, rel=1e-9)


def test_frechet_error_is_the_spread_of_other_fakes():
    real = of(normal(2000, 15), blocks=1)
    each = [frechet(of(1.3 * normal(300, 1000 + i) + 0.3), real) for i in range(60)]
    spread = torch.tensor([score.value for score in each]).std().item()
    assert 0.75 * spread < sum(score.error for score in each) / 60 < 1.33 * spread


def test_kernel_distance_over_disjoint_splits():
    fake, real = of(normal(230, 16)), of(normal(150, 17) + 0.3)
    parts = [(fake.rows[23 * j : 23 * (j + 1)], real.rows[15 * (9 - j) : 15 * (10 - j)]) for j in range(10)]
    each = torch.tensor([kernel_distance(a, b) for a, b in parts], dtype=torch.float64)
    found = kernel(fake, real)
    assert found == pytest.approx((each.mean().item(), each.std().item() / math.sqrt(10)), rel=1e-9)


def test_kernel_distance_is_unbiased_and_its_error_its_spread():
    each = [kernel(of(normal(100, 2000 + i)), of(normal(120, 3000 + i))) for i in range(60)]
    values = torch.tensor([score.value for score in each])
    error = sum(score.error for score in each) / 60
    assert abs(values.mean()) < 4 * error / math.sqrt(60)
    assert 0.75 * values.std() < error < 1.33 * values.std()


def test_kernel_distance_is_torchmetrics_where_both_take_everything():
    from torch import nn
    from torchmetrics.image.kid import KernelInceptionDistance

    fake, real = normal(300, 18), 1.2 * normal(300, 19) + 0.5
    theirs = KernelInceptionDistance(nn.Identity(), subsets=1, subset_size=300)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    assert kernel_distance(fake, real) == pytest.approx(theirs.compute()[0].item(), rel=1e-4)


def test_constant_images_have_scores():
    constant = of(torch.full((40, SIZE), 2.0), torch.ones(40, 3))
    found = scores(constant, of(normal(100, 20)))
    assert all(math.isfinite(number) for score in found.values() for number in score)
    assert found["is"].value == pytest.approx(1)
    both = scores(constant, constant)
    assert (both["fd"].value, both["kd"].value) == (0, pytest.approx(0, abs=1e-9))


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda x: scores(of(x[:19]), of(x)),
            "19 fake and 100 real images means nothing: take 20 or more of each",
        ),
        (lambda x: scores(of(x), of(x[:3])), "100 fake and 3 real"),
        (lambda x: scores(of(x, keep=10), of(x)), "take 20 or more"),
        (lambda x: scores(of(x, blocks=1), of(x)), "2 or more blocks of fakes"),
        (lambda x: scores(of(x[:, :2]), of(x)), "size 2 and 6 cannot be compared: use one extractor"),
        (lambda x: inception(of(x)), "needs logits of 10 or more"),
        (lambda x: of(x).add(x[:, :4]), r"floating point \[n, 6\], not .*\[100, 4\]"),
        (lambda x: of(x, x).add(x), "logits for all or for none"),
        (lambda x: of(x).add(x, x), "logits for all or for none"),
        (lambda x: of(x, x).add(x, x[:, :2]), r"logits must be floating point \[n, 6\]"),
        (lambda x: of(x, x[:7]), "100 images need as many rows of logits, not 7"),
        (lambda x: of(x, x / 0 * 0), "100 of 100 images have logits that are not finite"),
    ],
    ids=[
        "fakes",
        "reals",
        "kept",
        "block",
        "widths",
        "no logits",
        "width",
        "logits once",
        "logits later",
        "classes",
        "rows",
        "nan",
    ],
)
def test_unfit_streams_are_one_sentence(call, words):
    with pytest.raises(UsageError, match=words):
        call(normal(100, 21))


def test_features_that_are_not_finite_are_not_taken_in():
    x, bad = normal(50, 22), normal(30, 23)
    bad[3, 1], bad[29] = math.inf, math.nan
    stream = of(x)
    with pytest.raises(UsageError, match="2 of 30 images have features that are not finite"):
        stream.add(bad)
    assert stream.count == 50
    assert torch.equal(stream.rows, of(x).rows)


# ------------------------------------------------------------------------------------------------------ benchmark


def test_the_benchmark_in_small():
    found = {row: benchmark.measured(row, Namespace(**benchmark.SMALL)) for row in benchmark.ROWS}
    fd = [found[row]["scores"]["fd"] for row in ("fd ours", "fd torchmetrics")]
    assert fd[0] == pytest.approx(fd[1], rel=1e-4)
    assert found["fd ours +-"]["scores"]["fd"].value == pytest.approx(fd[0], rel=1e-9)
    value, error = found["kd ours"]["scores"]["kd"]
    assert found["kd torchmetrics"]["scores"]["kd"] == pytest.approx(value, abs=4 * error)
    assert set(found["all ours"]["scores"]) == {"fd", "kd", "precision", "recall", "density", "coverage"}


def test_a_stored_summary_with_a_damaged_checksum_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path))
    rows = torch.arange(4 * 16 * 16).remainder(251).to(torch.uint8).view(4, 1, 16, 16)
    found = Data("four", (1, 16, 16), rows)
    extract = extractor("pixels8", channels=1)._replace(sha256="of these weights")
    first = evaluation.real_summary(found, None, extract)
    (file,) = (tmp_path / "statistics").glob("*.sha256")
    file.write_bytes(b"\xff\xfe")
    again = evaluation.real_summary(found, None, extract)
    assert all(torch.equal(t, again.tensors()[name]) for name, t in first.tensors().items())


def test_a_split_of_the_kernel_distance_has_as_many_images_as_it_may(monkeypatch):
    monkeypatch.setattr(feature_scores, "SPLIT", 3)
    one, other = Summary(2), Summary(2)
    for seed, summary in enumerate((one, other)):
        summary.add(torch.randn(60, 2, generator=torch.Generator().manual_seed(seed)))
    pairs = zip(one.rows.tensor_split(10), reversed(other.rows.tensor_split(10)), strict=True)
    wanted = [kernel_distance(x[:3], y[:3]) for x, y in pairs]
    assert kernel(one, other).value == pytest.approx(sum(wanted) / 10)
