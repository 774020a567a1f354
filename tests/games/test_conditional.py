"""Conditional games: labels go with their rows wherever these go, and networks use them as their papers say.

The comment in a test names the wrong implementation it is there to catch.
"""

import gzip
import math
import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from steadygan import data as sets
from steadygan import losses, metrics
from steadygan.build import Run, build
from steadygan.commands.sample import sample
from steadygan.config import parse, registry
from steadygan.data import Data, as_seen, ring
from steadygan.data import fashion_files as idx_files
from steadygan.data.dataset import check_labels as check_data_labels
from steadygan.errors import UsageError
from steadygan.game import Game, Network, State, flatten
from steadygan.game.batches import BLOCK, Draws
from steadygan.game.state import averaged, member
from steadygan.games import FakeAsReal, Term, View, bcr, gan, zcr
from steadygan.games.critic_batch import shown
from steadygan.networks import Classed, biggan32, dcgan, latent_labels, mlp, of_classes
from steadygan.networks.conditional import ClassBatchNorm, OneHot, Projection, check_labels
from steadygan.normalization import (
    SpectralNorm,
    gradient_normalized,
    is_piecewise_linear,
    penalty_gradient_normalized,
    spectral_normalized,
)
from steadygan.penalties import PENALTIES, r1
from steadygan.runs import train
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.online_scores import evaluation_samples, make_evaluator
from steadygan.training.sampling import columns, in_rows, latents, samples, standing_statistics
from tracing import as_graph

NETWORKS = {name: part.make for name, part in registry.NETWORKS.items()}


ALTERNATING, TOGETHER = (("D",), ("G",)), (("D", "G"),)
LOSSES = losses.LOSSES

# ---------------------------------------------------------------------------------------- labels of latents


def test_every_class_is_as_likely_as_any_other():
    """Chi squared of 10 classes, 20,000 latents: 9 degrees of freedom, p = 0.001 at 27.9."""
    z = torch.randn(20_000, 14, generator=torch.Generator().manual_seed(0))
    counts = latent_labels(z, 10).bincount(minlength=10).double()
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


def test_a_latent_says_its_label_and_the_rest_goes_to_the_generator():
    # the argmax over all numbers, or G fed with those that chose the class
    z = torch.tensor([[0.0, 3.0, 1.0, 9.0, 8.0], [5.0, 3.0, 1.0, 7.0, 6.0]])
    G = Classed(OneHot(nn.Identity(), 3), 3)
    assert G(z).tolist() == [[9, 8, 0, 1, 0], [7, 6, 1, 0, 0]]


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_latents_are_given_a_label_and_keep_the_rest(classes):
    z = torch.randn(20, classes + 3)
    y = torch.arange(20) % classes
    given = of_classes(z, y, classes)
    assert torch.equal(latent_labels(given, classes), y)
    assert torch.equal(given[:, classes:], z[:, classes:])


# -------------------------------------------------------------------------------------- networks, by hand


def test_the_projection_critic_by_hand():
    """h = (1, 2), (3, -1); w = (2, 1), b = 0.5; e_0 = (1, -1), e_1 = (0, 10).

    y = 1: 2 + 2 + 0.5 + <(0, 10), (1, 2)> = 24.5; y = 0: 6 - 1 + 0.5 + <(1, -1), (3, -1)> = 9.5.
    """
    D = Projection(nn.Identity(), 2, 2)
    D.linear.weight.data = torch.tensor([[2.0, 1.0]])
    D.linear.bias.data = torch.tensor([0.5])
    D.embed.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 10.0]])
    h = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    assert D(h, torch.tensor([1, 0])).tolist() == [24.5, 9.5]


def test_class_conditional_batch_norm_by_hand():
    """Values -3, 1 and -1, 3 of mean 0 and variance 5: over both classes together, then gain 1.5 and -1, shift 2, 3."""
    norm = ClassBatchNorm(1, 3)
    norm.gain.weight.data = torch.tensor([[7.0], [0.5], [-2.0]])
    norm.shift.weight.data = torch.tensor([[7.0], [2.0], [3.0]])
    x = torch.tensor([[-3.0, 1.0], [-1.0, 3.0]]).view(2, 1, 1, 2)
    found = norm(x, torch.tensor([1, 2])).flatten().double()
    s = math.sqrt(5 + 1e-5)
    expected = torch.tensor([1.5 * -3 / s + 2, 1.5 / s + 2, 1 / s + 3, -3 / s + 3], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_class_conditional_batch_norm_starts_as_batch_norm():
    x, y = torch.randn(6, 4, 3, 3), torch.arange(6) % 3
    torch.testing.assert_close(ClassBatchNorm(4, 3)(x, y), nn.BatchNorm2d(4)(x))


def test_the_one_hot_row_follows_the_input():
    torch.manual_seed(0)
    G, D = mlp((2,), latent=3, width=5, depth=1, classes=4)
    z, x, y = torch.randn(2, 3), torch.randn(2, 2), torch.tensor([3, 1])
    for net, given, flat in ((G, z, False), (D, x, True)):
        W, b, V, c = net.parameters()
        hot = torch.tensor([[0.0, 0, 0, 1], [0, 1, 0, 0]])
        expected = (torch.cat([given, hot], 1) @ W.T + b).relu() @ V.T + c
        torch.testing.assert_close(net(given, y), expected.flatten() if flat else expected)


SIZE = 8


def block_by_hand(x: Tensor, params: dict[str, Tensor], at: str, places: tuple[int, int]) -> Tensor:
    first, second = (
        (params[f"{at}.body.{place}.weight"], params[f"{at}.body.{place}.bias"]) for place in places
    )
    return F.conv2d(F.conv2d(x, *first, padding=1).relu(), *second, padding=1)


def test_biggans_critic_written_out():
    # a global mean for the sum, a ReLU before the first block, spectral norm, the embedding of another row
    torch.manual_seed(0)
    D = biggan32((3, SIZE, SIZE), latent=4, width=6, classes=5)[1].double()
    params = {name.removeprefix("body."): p for name, p in D.named_parameters()}
    x, y = torch.randn(3, 3, SIZE, SIZE, dtype=torch.float64), torch.tensor([4, 0, 2])

    def short(h: Tensor, at: str, place: int) -> Tensor:
        return F.conv2d(h, params[f"{at}.shortcut.{place}.weight"], params[f"{at}.shortcut.{place}.bias"])

    h = F.avg_pool2d(block_by_hand(x, params, "0", (0, 2)), 2) + short(F.avg_pool2d(x, 2), "0", 1)
    h = F.avg_pool2d(block_by_hand(h.relu(), params, "1", (1, 3)) + short(h, "1", 0), 2)
    for at in ("2", "3"):
        h = h + block_by_hand(h.relu(), params, at, (1, 3))
    h = h.relu().sum((2, 3))
    w, b, e = (params[name] for name in ("linear.weight", "linear.bias", "embed.weight"))
    torch.testing.assert_close(D(x, y), h @ w[0] + b + torch.stack([h[i] @ e[:, y[i]] for i in range(3)]))


def test_biggans_generator_written_out():
    """Every weight over its largest singular value, the embeddings as they are; statistics of the batch."""
    torch.manual_seed(0)
    G = biggan32((3, SIZE, SIZE), latent=4, width=6, classes=5)[0].double()
    z, y = torch.randn(3, 4, dtype=torch.float64), torch.tensor([4, 0, 2])
    for part in G.modules():
        if isinstance(part, parametrize.ParametrizationList):  # the power iteration, settled
            U, _, V = torch.linalg.svd(part.original.flatten(1).detach())
            part[0].u, part[0].v = U[:, 0], V[0]
    params = dict(G.named_parameters())

    def weight(at: str) -> tuple[Tensor, Tensor]:
        W = params[f"{at}.parametrizations.weight.original"]
        return W / torch.linalg.matrix_norm(W.flatten(1), 2), params[f"{at}.bias"]

    def norm(h: Tensor) -> Tensor:
        centred = h - h.mean((0, 2, 3), keepdim=True)
        return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()

    def of_class(h: Tensor, at: str) -> Tensor:
        gain, shift = (params[f"{at}.{name}.weight"][y].view(3, -1, 1, 1) for name in ("gain", "shift"))
        return norm(h) * (gain + 1) + shift

    def up(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = F.linear(z, *weight("parts.0")).view(3, 6, 1, 1)
    for i in (2, 3, 4):
        at = f"parts.{i}.body.parts"
        body = F.conv2d(up(of_class(h, f"{at}.0").relu()), *weight(f"{at}.3"), padding=1)
        body = F.conv2d(of_class(body, f"{at}.4").relu(), *weight(f"{at}.6"), padding=1)
        h = F.conv2d(up(h), *weight(f"parts.{i}.shortcut.1")) + body
    h = norm(h) * params["parts.5.weight"].view(1, -1, 1, 1) + params["parts.5.bias"].view(1, -1, 1, 1)
    expected = torch.tanh(F.conv2d(h.relu(), *weight("parts.7"), padding=1))
    torch.testing.assert_close(G(z, y), expected, rtol=1e-6, atol=1e-8)


def test_biggan32_has_the_papers_parameter_counts():
    """Spec F9: 4,304,387 and 4,207,361."""
    counts = [sum(p.numel() for p in net.parameters()) for net in biggan32((3, 32, 32), classes=10)]
    assert counts == [4_304_387, 4_207_361]


def test_biggan32_normalizes_g_alone_with_the_papers_eps():
    G, D = biggan32((3, 32, 32), classes=10)
    found = [[m.eps for m in net.modules() if isinstance(m, SpectralNorm)] for net in (G, D)]
    assert found == [[1e-6] * 11, []]


def test_biggan32_starts_xavier_uniform():
    """Bounds sqrt(6 / (fan in + fan out)): 9 x 256 each way for the 3x3 convolutions, 10 + 256 for the embeddings."""
    torch.manual_seed(0)
    G, D = biggan32((3, 32, 32), classes=10)
    conv, embed = math.sqrt(6 / (2 * 9 * 256)), math.sqrt(6 / 266)
    assert 0.99 * conv < D.body[2].body[1].weight.abs().max() <= conv
    assert 0.99 * embed < D.embed.weight.abs().max() <= embed
    assert 0.99 * embed < G.parts[2].body.parts[0].gain.weight.abs().max() <= embed
    assert not any(p.any() for name, p in D.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_conditional_dcgans_parameter_counts(batch_norm):
    """One stage, 5 -> 6 x 4 x 4 -> 1 x 8 x 8, and 3 classes.

    G: a gain and a shift for each class and channel, or 3 more columns of the linear layer. D: 3 embeddings of 96.
    """
    G, D = dcgan((1, 8, 8), latent=5, width=6, batch_norm=batch_norm, classes=3)
    counts = [sum(p.numel() for p in net.parameters()) for net in (G, D)]
    labels = 2 * 3 * 6 if batch_norm else 3 * 96
    assert counts == [6 * 96 + 6 * 16 + 1 + labels, 16 * 6 + 6 + 97 + 3 * 96]


CONDITIONAL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mlp": ((2,), {"latent": 3, "width": 8, "depth": 2}),
    "dcgan": ((1, 8, 8), {"latent": 3, "width": 4}),
    "dcgan with batch norm": ((1, 8, 8), {"latent": 3, "width": 4, "batch_norm": True}),
    "biggan32": ((1, 8, 8), {"latent": 3, "width": 4}),
}
each_pair = pytest.mark.parametrize("name", CONDITIONAL)


def pair(name: str, classes: int = 3) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    shape, options = CONDITIONAL[name]
    G, D = NETWORKS[name.split()[0]](shape, **options, classes=classes)
    for net in (G, D):  # norms start at gains 0, which tell no classes apart
        for p in net.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return G.double(), D.double()


@each_pair
def test_the_label_changes_the_sample_and_the_logit(name):
    # labels that are taken and then ignored; a label mixed into other rows
    G, D = pair(name)
    G.eval()
    z, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    other = torch.tensor([0, 2, 2, 0])
    changed = torch.tensor([False, True, False, False])
    for net, given in ((G, z), (D, G(z, y).detach())):
        apart = (net(given, y) - net(given, other)).flatten(1 if net is G else 0).abs()
        apart = apart.amax(1) if net is G else apart
        assert torch.equal(apart > 1e-6, changed), name


@each_pair
def test_rows_and_labels_permuted_together_permute_the_logits(name):
    G, D = pair(name)
    x, y = G(torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % 3).detach(), torch.arange(6) % 3
    order = torch.randperm(6)
    torch.testing.assert_close(D(x[order], y[order]), D(x, y)[order])


@each_pair
def test_critics_are_piecewise_linear_under_spectral_norm_too(name):
    """So that a generator's step may take them on the tangent plane: their Hessian along a line is zero."""
    D = spectral_normalized(pair(name)[1]).eval()
    assert is_piecewise_linear(D)
    x = torch.randn(2, *CONDITIONAL[name][0], dtype=torch.float64)
    d, y = 1e-6 * torch.randn_like(x), torch.tensor([2, 0])
    bend = D(x + d, y) - 2 * D(x, y) + D(x - d, y)
    assert bend.abs().max() < 1e-13 * max(1, D(x, y).abs().max())


def test_spectral_norm_divides_the_projections_embeddings():
    D = spectral_normalized(pair("dcgan")[1])
    for _ in range(50):
        D(torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1]))
    D.eval()
    assert torch.linalg.matrix_norm(D.embed.weight, 2).item() == pytest.approx(1, abs=1e-6)


# ----------------------------------------------------------------------------------- labels of data and draws


def numbered(count: int, classes: int = 3, **options: Any) -> Data:
    """Points that are their own row's number, labelled by a hash of it."""
    rows = torch.arange(count).float().view(-1, 1)
    return Data(
        "numbered", (1,), rows=rows, labels=labels_of(rows[:, 0], classes), classes=classes, **options
    )


def labels_of(numbers: Tensor, classes: int = 3) -> Tensor:
    return (numbers.long() * 7 // 2) % classes


def point_game(loss: str = "non_saturating", batch: int = 8, classes: int = 3, **options: Any) -> Game:
    G, D = mlp((1,), latent=2, width=4, depth=1, classes=classes)
    return gan(
        Network(Classed(G, classes)),
        Network(D),
        LOSSES[loss],
        shape=(1,),
        batch=batch,
        latent=classes + 2,
        classes=classes,
        **options,
    )


@pytest.mark.parametrize("rounds", [ALTERNATING, TOGETHER, (("D",), ("D",), ("G",))])
@pytest.mark.parametrize("members", [False, True])
def test_labels_are_those_of_the_very_rows_through_shuffled_epochs(rounds, members):
    # a permutation of their own, positions of another turn, a cast to float, one seed's labels for all
    game, data = point_game("relativistic"), numbered(50)
    draws = Draws(game, rounds, data, (3, 4) if members else (3,), members=members, dtype=torch.float64)
    turns = 0
    for step in (*range(2 * BLOCK), 5 * BLOCK + 3):
        for draw in draws(step):
            x, y = draw["x_real"], draw["y_real"]
            assert y.dtype == torch.int64
            assert x.dtype == torch.float64
            assert torch.equal(y, labels_of(x[..., 0]))
            turns += 1
    assert turns > 2 * BLOCK


def test_labels_go_by_the_row_and_not_by_its_value():
    """Equal samples may have different labels: every label comes as often in an epoch as the data have it."""
    labels = torch.tensor([0] * 3 + [1] * 5 + [2] * 8)
    data = Data("twins", (1,), rows=torch.zeros(16, 1), labels=labels, classes=3)
    draws = Draws(point_game(), ALTERNATING, data, [0], members=False)
    seen = torch.cat([draws(step)[0]["y_real"] for step in range(6)])
    for epoch in seen.split(16):
        assert Counter(epoch.tolist()) == {0: 3, 1: 5, 2: 8}


def test_mirrored_images_keep_their_labels():
    rows = torch.arange(40).byte().view(40, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    data = Data("flat", (1, 8, 8), rows=rows, flip=True, labels=labels_of(torch.arange(40)), classes=3)
    G, D = dcgan((1, 8, 8), latent=2, width=4, classes=3)
    game = gan(
        Network(Classed(G, 3)),
        Network(D),
        LOSSES["hinge"],
        shape=data.shape,
        batch=8,
        latent=5,
        classes=3,
    )
    draws = Draws(game, ALTERNATING, data, [0], members=False)
    for step in range(10):
        draw = draws(step)[0]
        number = ((draw["x_real"][:, 0, 0, 0] + 1) * 127.5).round()
        assert torch.equal(draw["y_real"], labels_of(number))


@pytest.mark.parametrize("size", [None, 500])
def test_a_mixtures_label_is_the_nearest_mode(size):
    game = gan(
        *(Network(net) for net in mlp((2,), latent=10)),
        LOSSES["hinge"],
        shape=(2,),
        batch=32,
        latent=10,
        classes=8,
    )
    data = ring(std=0.5, size=size)  # broad enough that some are nearer to a neighbour's centre
    draw = Draws(game, ALTERNATING, data, (0, 1), members=True)(5)[0]
    assert data.classes == 8
    for x, y in zip(draw["x_real"].view(-1, 2), draw["y_real"].view(-1), strict=True):
        gaps = [math.dist(x.tolist(), centre.tolist()) for centre in data.modes.centres]
        assert y.item() == gaps.index(min(gaps))


def test_other_fields_are_what_they_are_without_labels():
    """A conditional recipe is compared with its plain neighbour on the same samples."""
    with_labels = Draws(point_game(), ALTERNATING, numbered(50), [0], members=False)(7)[0]
    plain = gan(
        *(Network(net) for net in mlp((1,), latent=5)), LOSSES["hinge"], shape=(1,), batch=8, latent=5
    )
    without = Draws(plain, ALTERNATING, numbered(50), [0], members=False)(7)[0]
    assert with_labels.keys() - without.keys() == {"y_real"}
    assert all(torch.equal(with_labels[name], value) for name, value in without.items())


def test_the_digits_and_fashion_mnists_labels():
    """Mean images of the classes are far apart: labels of other rows would average to one grey."""
    pytest.importorskip("sklearn")
    for found in [sets.digits()] + ([sets.fashion_mnist()] if idx_files.DEBIAN_FASHION.is_dir() else []):
        assert found.classes == 10
        rows, labels = found.rows[:2000].double(), found.labels[:2000]
        means = torch.stack([rows[labels == y].mean(0) for y in range(10)])
        spread = torch.pdist(means.flatten(1)) / rows.std(0).norm()
        assert spread.min() > 0.2
    assert sets.digits().labels[:11].tolist() == [*range(10), 0]


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def fashion(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(idx_files, "DEBIAN_FASHION", tmp_path / "none")
    monkeypatch.delenv("STEADYGAN_DATA", raising=False)
    shades = np.repeat(np.arange(10_000) % 250, 784).astype(np.uint8).reshape(-1, 28, 28)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(shades))
    return tmp_path


@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnists_labels_lie_beside_its_images(fashion, packed):
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    if packed:
        (fashion / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels), 1))
    else:
        (fashion / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    found = sets.fashion_mnist(fashion, "test")
    assert torch.equal(found.labels, torch.arange(10_000) % 10)
    assert found.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(np.zeros(9_999, np.uint8)), "9999 labels.*10000"),
        (idx(np.full(10_000, 10, np.uint8)), "labels up to 10"),
        (idx(np.zeros(10_000, np.uint8))[:-1], "9999 values instead of 10000"),
        (idx(np.zeros((100, 10, 10), np.uint8)), "not an IDX file of labels"),
    ],
    ids=["few", "eleven", "short", "images"],
)
def test_damaged_labels_are_refused(fashion, content, words):
    (fashion / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(UsageError, match=rf"t10k-labels-idx1-ubyte.*{words}"):
        sets.fashion_mnist(fashion, "test")


def test_images_without_a_file_of_labels_are_unlabelled(fashion):
    assert sets.fashion_mnist(fashion, "test").classes == 0
    with pytest.raises(UsageError, match=r"fashion_mnist has none.*label file"):
        check_data_labels(sets.fashion_mnist(fashion, "test"))


def save(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = int(path.stem)
        Image.new("L", (8, 8), shade).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "set"


def shades(found: Data) -> dict[int, int]:
    return dict(zip(found.rows[:, 0, 0, 0].tolist(), found.labels.tolist(), strict=True))


def test_folders_are_classes_in_the_order_of_their_names(folder):
    # the order of creation, or of the files, and a cache whose rows go with another listing's labels
    save(folder, "dog/3.png", "cat/9.png", "ape/5.png", "cat/1.png")
    for _ in range(2):  # decoded, then from the cache
        found = sets.image_folder(folder)
        assert found.classes == 3
        assert shades(found) == {5: 0, 9: 1, 1: 1, 3: 2}
    (folder / "cat/1.png").rename(folder / "ape/1.png")
    assert shades(sets.image_folder(folder)) == {5: 0, 1: 0, 9: 1, 3: 2}
    (folder / "dog").rename(folder / "an ox")  # now the first class
    assert shades(sets.image_folder(folder)) == {3: 0, 5: 1, 1: 1, 9: 2}


@pytest.mark.parametrize(
    "names",
    [["1.png", "2.png"], ["a/1.png", "a/2.png"], ["a/1.png", "b/2.png", "3.png"], ["a/b/1.png", "c/2.png"]],
    ids=str,
)
def test_other_folders_are_no_classes(folder, names):
    save(folder, *names)
    found = sets.image_folder(folder)
    assert (found.classes, found.labels) == (0, None)


def test_folders_below_a_split_are_classes(folder):
    save(folder, "train/a/1.png", "train/b/2.png", "test/c/3.png")
    assert shades(sets.image_folder(folder, split="train")) == {1: 0, 2: 1}


# ------------------------------------------------------------------------ labels go with rows through the game


class Saying(nn.Module):
    """A generator whose sample is its label, but for a tenth of z that no label has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return y[:, None].to(z) + self.scale * z[:, :1]


class Matching(nn.Module):
    """A critic of -w (x - y)^2, which is 0 where the label is the sample's own and below it elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.weight * (x[:, 0] - y.to(x)).square()


VIEWS = {
    "plain": View(),
    "gradient normalized": View(gradient_normalized),
    "penalty gradient normalized": View(penalty_gradient_normalized),
}
EQUAL = {"plain": 0.0, "gradient normalized": 0.0, "penalty gradient normalized": 0.5}
"""The view's answer where the logit and its gradient are 0: g = 1 over |1 - 0| + 1."""

ROWS, CLASSES = 12, 4
FAR = FakeAsReal(5, 5, 3)
FALLING = FakeAsReal(lambda scalars: scalars["count"], 5, 3)


def matching(loss: str = "relativistic", **options: Any) -> Game:
    return gan(
        Network(Classed(Saying(), CLASSES)),
        Network(Matching()),
        LOSSES[loss],
        shape=(1,),
        batch=ROWS,
        latent=CLASSES + 2,
        classes=CLASSES,
        **options,
    )


def played(game: Game, player: str, **scalars: float) -> tuple[Tensor, dict[str, Tensor]]:
    """One player's loss and logs on a draw whose real samples are their labels, in another order than the fakes'."""
    data = Data("labels", (1,), rows=torch.arange(40).view(-1, 1).float() % CLASSES, classes=CLASSES)
    data = data._replace(labels=data.rows[:, 0].long())
    draw = Draws(game, TOGETHER, data, [1], members=False, dtype=torch.float64)(0)[0]
    nets = {name: p.network.bound(flatten(p.network.module).double(), {}) for name, p in game.players.items()}
    values = {key: torch.tensor(value, dtype=torch.float64) for key, value in scalars.items()}
    return game.players[player].loss(nets, draw, values)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("far", "count"),
    [(None, 0.0), (FAR, 0.0), (FALLING, 5.0), (FALLING, 2.0), (FALLING, 0.0)],
    ids=["none", "five", "falling: five", "falling: two", "falling: none"],
)
@pytest.mark.parametrize("penalties", [[], ["r1"], ["zero_centered"]], ids=str)
def test_every_row_is_seen_with_its_own_label(penalties, view, far, count):
    # labels of the plain reals for rows that are fakes, of z for the pool, real and fake in the other order
    # where a normalized critic sees both in one pass
    terms = [Term(PENALTIES[name](), 1.0) for name in penalties]
    game = matching(view=VIEWS[view], far=far, penalties=terms)
    _, logs = played(game, "D", count=count)
    assert logs["logit/real"].item() == pytest.approx(EQUAL[view], abs=1e-9)
    assert logs["logit/fake"].item() == pytest.approx(EQUAL[view], abs=1e-9)
    loss, _ = played(game, "G", count=count)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-9)  # the pairs' logits are equal


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_selected_fakes_bring_their_labels(count):
    game = matching(far=FakeAsReal(lambda scalars: scalars["count"], 5, 3))
    nets = {name: p.network.bound(flatten(p.network.module), {}) for name, p in game.players.items()}
    g = torch.Generator().manual_seed(0)
    draw = {
        "x_real": torch.full((ROWS, 1), 9.0),
        "y_real": torch.full((ROWS,), 9),
        **{key: torch.randn(n, CLASSES + 2, generator=g) for key, n in (("z", ROWS), ("z_pool", 15))},
    }
    scalars = {"count": torch.tensor(float(count))}
    far = FakeAsReal(lambda scalars: scalars["count"], 5, 3)
    rows = shown(nets, draw, scalars, far, None, CLASSES)
    assert torch.equal(rows.real[:, 0].long(), rows.labels["real"])
    assert torch.equal(rows.fake[:, 0].long(), rows.labels["fake"])
    assert int((rows.labels["real"] == 9).sum()) == ROWS - count
    assert rows.labels["real"].dtype == torch.int64


def test_candidates_are_scored_with_their_own_labels():
    """A critic that is low on class 2 alone selects class 2 alone."""

    def D(x: Tensor, y: Tensor) -> Tensor:
        return torch.where(y == 2, -1.0, 1.0)

    z_pool = torch.randn(40, CLASSES + 2, generator=torch.Generator().manual_seed(0))
    draw = {
        "x_real": torch.zeros(ROWS, 1),
        "y_real": torch.zeros(ROWS, dtype=torch.int64),
        "z": torch.randn(ROWS, CLASSES + 2),
        "z_pool": z_pool,
    }
    rows = shown({"G": Classed(Saying(), CLASSES), "D": D}, draw, {}, FakeAsReal(4, 4, 10), None, CLASSES)
    assert rows.labels["real"].tolist() == [0] * 8 + [2] * 4


def test_latents_near_a_latent_keep_its_class():
    """zCR's steps may change which number is largest; D is asked of the same class all the same."""
    _, logs = played(matching("hinge", agreements=[zcr(1.0, 1.0, sigma=50.0)]), "D")
    assert logs["consistency/zcr"].item() == 0


def test_moved_samples_keep_their_class():
    """D answers -(x - y)^2, so a sample x = y moved by s e is answered -(s e)^2: bCR is the mean of (s e)^4."""
    game = matching("hinge", agreements=[bcr(1.0, 1.0, move="jitter")])
    _, logs = played(game, "D")
    data = numbered(40)
    draw = Draws(game, TOGETHER, data, [1], members=False, dtype=torch.float64)(0)[0]
    expected = sum((0.05 * draw[f"move/{side}"]).pow(4).mean() for side in ("real", "fake"))
    torch.testing.assert_close(logs["consistency/bcr"], expected)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("r1", "real"),
        ("r2", "fake"),
        ("zero_centered", "between"),
        ("dragan", "around"),
        ("approximated_r1", "real"),
        ("approximated_r2", "fake"),
    ],
)
@pytest.mark.parametrize("normalize", [None, gradient_normalized])
def test_penalties_are_of_the_critic_with_labels(name, where, normalize):
    """By central differences of D(x, y) in x, interpolates and perturbed reals with the labels of the reals."""
    torch.manual_seed(0)
    G, D = mlp((2,), latent=2, width=9, depth=2, classes=CLASSES)
    G, D = Classed(G.double(), CLASSES), D.double()
    game = gan(
        Network(G),
        Network(D),
        LOSSES["hinge"],
        shape=(2,),
        batch=ROWS,
        latent=CLASSES + 2,
        classes=CLASSES,
        penalties=[Term(PENALTIES[name](), 1.0)],
        view=View(normalize),
    )
    data = ring(modes=CLASSES, std=0.5, scale=1.4)
    draw = Draws(game, TOGETHER, data, [0], members=False, dtype=torch.float64)(0)[0]
    _, logs = game.players["D"].loss({"G": G, "D": D}, draw, {})
    real, fake, alpha = draw["x_real"], G(draw["z"]).detach(), draw.get("alpha", torch.zeros(ROWS))[:, None]
    y = draw["z"][:, :CLASSES].argmax(1) if where == "fake" else draw["y_real"]
    between = alpha * real + (1 - alpha) * fake
    around = real + alpha * real.std(correction=0) / 2 * draw.get("noise", 0.0)
    x = {"real": real, "fake": fake, "between": between, "around": around}[where]
    critic = (lambda x: D(x, y)) if normalize is None else normalize(lambda x: D(x, y))
    steps = 1e-6 * torch.eye(2, dtype=torch.float64)
    slope = torch.stack([(critic(x + s) - critic(x - s)).detach() / 2e-6 for s in steps], 1)
    length = slope.square().sum(1)
    expected = (length.sqrt() - 1).square().mean() if name == "dragan" else length.mean()
    if name.startswith("approximated"):
        steep = (critic(x + 0.01 * draw[f"direction/{where}"]) - critic(x)) / 0.01
        expected = steep.detach().square().mean()
    torch.testing.assert_close(logs[f"penalty/{name}"], expected, rtol=1e-5, atol=1e-7)


def test_r1_of_a_labelled_critic_in_an_own_loop():
    D = mlp((2,), width=8, classes=3)[1].double()
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    r1(lambda x: D(x, y), x).backward()
    assert all(p.grad is not None for p in D.parameters() if p.ndim == 2)
    with pytest.raises(UsageError, match="labels must be 0 to 2"):
        r1(lambda x: D(x, y + 1), x)


# ------------------------------------------------------------------------------------------------ whole runs

ADAM = {"name": "adam", "lr": 2e-3, "betas": [0.5, 0.9]}
RING: dict[str, Any] = {
    "game": {"name": "gan", "conditional": True},
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1}]},
    "optimizer": ADAM,
    "ema": {"decay": 0.9},
    "batch": 8,
    "steps": 6,
    "every": {"log": 2, "score": 3, "checkpoint": 3},
    "compile": False,
}
DIGITS: dict[str, Any] = {
    **RING,
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
}
BIGGAN: dict[str, Any] = {
    **RING,
    "data": "digits",
    "networks": {"name": "biggan32", "latent": 4, "width": 4},
    "game": {"name": "gan", "loss": "hinge", "conditional": True},
    "critic": {"normalization": "gradient_normalized", "consistency": ["cr"]},
}
EVERYTHING: dict[str, Any] = {
    **RING,
    "critic": {
        "normalization": "gradient_normalized",
        "penalties": ["r1", "r2", {"name": "zero_centered", "interval": 2}],
        "consistency": [{"name": "bcr", "move": "jitter"}, "zcr"],
        "clip": 0.5,
    },
    "fake_as_real": {"count": {"schedule": "linear", "start": 4, "stop": 0}, "pool": 2},
    "noise": {"instance": 0.1},
    "game": {"name": "gan", "loss": "relativistic", "conditional": True},
}
RUNS = {
    "ring": RING,
    "digits": DIGITS,
    "biggan": BIGGAN,
    "everything": EVERYTHING,
    "hidden noise": {**RING, "noise": {"G": 0.1, "D": 0.1}},
    "spectral norm": {**DIGITS, "critic": {"normalization": "spectral_normalized"}},
    "augmented": {**DIGITS, "critic": {"normalization": "penalty_gradient_normalized"}, "augment": "ada"},
    "diffaugment": {**DIGITS, "augment": "diffaugment", "critic": {"consistency": ["cr"]}},
    "no batch norm": {**DIGITS, "networks": {"name": "dcgan", "latent": 4, "width": 4}},
    "consensus": {**RING, "dynamics": {"name": "consensus", "gamma": 0.1, "debiased": True}},
    "symplectic": {**DIGITS, "dynamics": "symplectic"},
    "extragradient": {**DIGITS, "dynamics": "extragradient"},
}
each_run = pytest.mark.parametrize("name", RUNS)


def made(name: str, **changes: Any) -> Run:
    return build(parse({**RUNS[name], **changes}))


def after(run_: Run, step: Any = None, count: int = 3) -> State:
    state = run_.state
    for number in range(count):
        state, _ = (step or run_.step)(state, run_.draws(number))
    return state


@each_run
def test_trains_and_every_player_moves(name):
    found = made(name, precision="float64")
    end = after(found)
    for player, start in found.state.params.items():
        assert end.params[player].isfinite().all()
        assert (end.params[player] - start).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["ring", "digits", "biggan", "everything", "spectral norm", "augmented"])
def test_a_member_of_an_ensemble_is_a_single_run(name):
    # labels of one member for all, running statistics shared
    together = made(name, seeds=2, precision="float64")
    end = after(together, vectorised(together.step))
    for index in (0, 1):
        alone = after(made(name, seed=index, precision="float64"))
        one = member(end, index)
        for player, vector in alone.params.items():
            torch.testing.assert_close(one.params[player], vector, rtol=0, atol=1e-8)
            for key, buffer in alone.buffers[player].items():
                torch.testing.assert_close(one.buffers[player][key], buffer, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ring", "everything", "digits", "biggan"])
def test_compiled_equals_eager(name):
    """As one graph: nothing in a step looks at labels' values. One of them also goes through torch's compiler."""
    found = made(name, precision="float64")
    step = compiled(found.step, pytest.fail, "float64") if name == "digits" else as_graph(found.step)
    fast, eager = after(found, step), after(found)
    for player, vector in eager.params.items():
        torch.testing.assert_close(fast.params[player], vector, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["ring", "digits", pytest.param("biggan", marks=pytest.mark.slow)])
def test_resumes_bit_for_bit(name, tmp_path, quiet):
    whole, half = tmp_path / "whole", tmp_path / "half"
    train.start(parse(RUNS[name]), whole, quiet)
    train.start(parse({**RUNS[name], "steps": 3}), half, quiet)
    train.resume(half, ["steps=6"], quiet)
    ends = [next((at / "checkpoints" / "step-00000006").glob("*.safetensors")) for at in (whole, half)]
    a, b = (load_file(end) for end in ends)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert sorted(path.name for path in (half / "samples").glob("*.png"))[-1] == "step-00000006.png"


def test_the_standing_statistics_are_of_all_classes():
    """Running means and variances of each class-conditional norm are re-estimated, and blended by an average."""
    G = Network(Classed(dcgan((1, 8, 8), latent=3, width=4, batch_norm=True, classes=3)[0], 3))
    names = averaged(G.module)
    assert {name.rsplit(".", 1)[1] for name in names} == {"running_mean", "running_var"}
    assert len(names) == 2
    z = torch.randn(4, 64, 6)
    buffers = {key: b.clone() for key, b in G.module.named_buffers()}
    found = standing_statistics(G, flatten(G.module), buffers, z)
    key = next(name for name in names if name.endswith("mean"))
    linear = G.module.G.parts[0]
    expected = linear(z[..., 3:]).view(-1, 4, 16).mean((0, 2))
    torch.testing.assert_close(found[key], expected)


def test_spectral_norms_vectors_are_copied_into_an_average():
    found = made("biggan")
    end = after(found)
    vectors = [key for key in end.buffers["G"] if key.endswith((".u", ".v"))]
    assert vectors
    assert all(torch.equal(end.average["G"][key], end.buffers["G"][key]) for key in vectors)
    assert samples(found.game.players["G"].network, end, torch.randn(5, 14)).shape == (5, 1, 8, 8)


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 9, 10, 11, 25, 63, 64, 100])
def test_rows_of_a_picture_are_classes_in_turn(classes):
    for count in (64, 70, 1000):
        wide = columns(count, classes)
        y = latent_labels(in_rows(torch.randn(count, classes + 1), classes), classes)
        for i, label in enumerate(y.tolist()):
            assert label == i // wide % classes
        assert count < classes or len(y.unique()) == classes
        assert wide <= math.ceil(math.sqrt(count))
    assert in_rows(torch.randn(9, classes + 2), classes, classes - 1)[:, :classes].argmax(
        1
    ).unique().tolist() == [classes - 1]


def test_a_look_pictures_a_class_a_row_and_scores_others():
    data = sets.digits()
    G = Classed(OneHot(nn.Sequential(nn.Linear(12, 64, bias=False), nn.Unflatten(1, (1, 8, 8))), 10), 10)
    weight = torch.zeros(64, 12)
    weight[:, 2:] = torch.arange(10) / 10  # a sample is its label's shade of grey
    G.G.net[0].weight.data = weight
    game = gan(
        Network(G),
        Network(dcgan((1, 8, 8), width=4, classes=10)[1]),
        LOSSES["hinge"],
        shape=data.shape,
        batch=8,
        latent=12,
        classes=10,
    )
    state = State({"G": flatten(G)}, {"G": {}}, {}, {}, {"step": torch.tensor(0)})
    look = make_evaluator(
        game, data, latent=12, seeds=[0], ensemble=False, device=torch.device("cpu"), classes=10
    )
    found = look(state)
    (pictured,) = found.samples
    shade = (pictured[:, 0, 0, 0] * 10).round().long()
    assert shade.tolist() == [i // 6 for i in range(60)]
    real = as_seen(evaluation_samples(data))
    others = G(latents(0, "look", len(real), 12, torch.float32)).detach()
    wanted = metrics.kernel_distance(*(metrics.pooled_pixels(images) for images in (others, real)))
    assert found.scores["kd_pixels8"] == pytest.approx(wanted)


def test_sample_draws_one_label_or_a_class_a_row(tmp_path, quiet, command):
    folder = tmp_path / "run"
    train.start(parse({**DIGITS, "steps": 3}), folder, quiet)
    every, _, wide = sample(folder, 64, average=True, member=0, note=print)
    assert (every.shape, wide) == ((64, 1, 8, 8), 6)
    for label in (0, 9):
        one, _, wide = sample(folder, 8, average=True, member=0, note=print, label=label)
        assert wide is None
        assert one.shape == (8, 1, 8, 8)
    assert not torch.equal(
        *(sample(folder, 8, average=True, member=0, note=print, label=y)[0] for y in (0, 9))
    )
    assert command("sample", folder, "--label", 3, "--out", tmp_path / "three.png").code == 0
    for label in (10, -1):
        told = command("sample", folder, "--label", label)
        assert (told.code, "0 to 9" in told.err) == (2, True)


def test_a_label_for_a_run_without_classes_is_refused(tmp_path, quiet, command):
    folder = tmp_path / "run"
    train.start(parse({**RING, "game": "gan"}), folder, quiet)
    told = command("sample", folder, "--label", 0)
    assert told.code == 2
    assert "not conditional" in told.err


# ------------------------------------------------------------------------------------------ other commands


def test_gamma_is_probed_and_a_dry_run_priced(command):
    small = ["networks.width=8", "networks.depth=1", "batch=8"]
    assert command("probe", "gamma", "ring8-conditional", *small, "--steps", 10).code == 0
    told = command("train", "ring8-conditional", *small, "compile=false", "--dry-run")
    assert told.code == 0
    assert "MFLOP" in told.out


def test_the_spectrum_of_a_conditional_run(tmp_path, quiet, command):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "run"
    train.start(
        parse({**RING, "networks": {"name": "mlp", "width": 4, "depth": 1}, "ema": None}), folder, quiet
    )
    assert command("spectrum", folder, "--batches", 2).code == 0
    assert (folder / "spectrum.png").is_file()


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["data=swissroll"], "data swissroll has none"),
        (["data=gaussian"], "data gaussian has none"),
        (
            ["networks=far_resnet", "data=fashion-mnist"],
            "far_resnet does not take labels.*mlp or dcgan or biggan32",
        ),
        (["networks=biggan32", "game.conditional=false"], "biggan32.*conditional=true"),
        (["networks=biggan32"], "biggan32 takes square images"),
        (["game.conditional=perhaps"], "game.conditional"),
    ],
    ids=lambda part: str(part)[:24],
)
def test_a_conditional_game_that_cannot_be_is_refused_in_one_sentence(command, tmp_path, changes, words):
    if "data=fashion-mnist" in changes and not idx_files.DEBIAN_FASHION.is_dir():
        pytest.skip("needs dataset-fashion-mnist")
    told = command("train", "ring8-conditional", *changes, "--out", tmp_path / "run")
    assert told.code == 2
    assert len(told.err.splitlines()) == 1
    assert re.search(words, told.err), told.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.arange(50), "labels from 0 to 49: number its 3 classes from 0 to 2"),
        (torch.full((50,), -1), "from -1 to -1"),
        (torch.zeros(49, dtype=torch.int64), r"\[49\]"),
        (torch.zeros(50), "float32"),
    ],
    ids=["large", "negative", "few", "float"],
)
def test_labels_that_are_none_are_refused_before_the_first_step(labels, words):
    with pytest.raises(UsageError, match=words):
        Draws(point_game(), ALTERNATING, numbered(50)._replace(labels=labels), [0], members=False)


@each_pair
@pytest.mark.parametrize(
    ("y", "words"),
    [
        (torch.tensor([0, 3]), "labels must be 0 to 2"),
        (torch.tensor([-1, 0]), "labels must be 0 to 2"),
        (torch.tensor([0.0, 1.0]), "int64"),
        (torch.tensor([[0], [1]]), "int64"),
    ],
    ids=["large", "negative", "float", "column"],
)
def test_labels_out_of_range_are_refused_in_an_own_loop(name, y, words):
    G, D = pair(name)
    with pytest.raises(UsageError, match=words):
        G(torch.randn(2, 3, dtype=torch.float64), y)
    with pytest.raises(UsageError, match=words):
        D(torch.randn(2, *CONDITIONAL[name][0], dtype=torch.float64), y)


def test_no_label_is_looked_at_inside_a_transform():
    seen = torch.vmap(lambda y: check_labels(y, 2) or y)(torch.tensor([[0, 5], [1, 1]]))
    assert seen.tolist() == [[0, 5], [1, 1]]
