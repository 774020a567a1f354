"""Extractors: their names, what they refuse, and what Inception's package is handed (a stand-in for it here)."""

import hashlib
import importlib.util
import sys
from types import ModuleType
from typing import ClassVar
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.metrics import EXTRACTORS, Classifier, of_classifier, pooled_pixels, score_name
from steadygan.metrics.extractors import registry
from steadygan.metrics.extractors.base import check_images, in_bytes
from steadygan.metrics.extractors.classifier import cnn
from steadygan.metrics.extractors.classifier_file import save_classifier
from steadygan.metrics.extractors.registry import extractor, inception, pixels8
from steadygan.runs import classifiers


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


# ------------------------------------------------------------------------------------------------------------ images

BAD = {
    "two channels": (torch.zeros(3, 2, 8, 8), r"images \[n, 1 or 3, H, W\], not \[3, 2, 8, 8\]"),
    "one image": (torch.zeros(3, 8, 8), r"not \[3, 8, 8\]: pass one or more"),
    "no image": (torch.zeros(0, 3, 8, 8), r"not \[0, 3, 8, 8\]: pass one or more"),
    "bytes": (torch.zeros(3, 3, 8, 8, dtype=torch.uint8), r"not torch.uint8: pass x / 127.5 - 1"),
    "NaN": (torch.tensor([0.0, torch.nan, torch.inf]).view(3, 1, 1, 1), r"2 of 3 images are not finite"),
    "0 to 255": (torch.tensor([0.0, 255.0]).view(2, 1, 1, 1), r"from 0.0 to 255.0: pass x / 127.5 - 1"),
}


@pytest.mark.parametrize(("images", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_images_are_told_in_a_sentence(images, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_images(images)


def test_good_images_pass_as_they_are():
    for images in (noise(2, 1, 8, 8), 1.2 * noise(2, 3, 8, 9), torch.ones(1, 3, 8, 8)):
        assert torch.equal(check_images(images), images)
    assert check_images(noise(1, 3, 8, 8).double().requires_grad_()).dtype == torch.float32


def test_all_bytes_come_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(in_bytes(every / 127.5 - 1), every)  # without rounding a few are one less


# ------------------------------------------------------------------------------------------------------------- names


def test_only_inception_has_the_names_of_papers():
    for name in EXTRACTORS:
        names = [score_name(metric, name) for metric in ("fd", "kd", "is", "recall")]
        if name == "inception":
            assert names == ["fid", "kid", "inception_score", "recall_inception"]
        else:
            assert names == [f"fd_{name}", f"kd_{name}", f"is_{name}", f"recall_{name}"]


def test_extractors_are_found_by_name(tmp_path):
    assert extractor("pixels8").size == 192
    with pytest.raises(UsageError, match="only lite0 and inception take a file of weights, not pixels8"):
        extractor("pixels8", weights=tmp_path)
    with pytest.raises(UsageError, match="did you mean 'lite0'"):
        extractor("lite")


def test_a_classifier_is_found_by_the_name_of_its_set_in_either_spelling(tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers, "load_or_train", lambda name, note, device: saved(tmp_path, name))
    for name in ("fashion_mnist", "fashion-mnist"):
        assert classifiers.named_extractor(name, 1, print).name == "fashion_mnist"
    with pytest.raises(UsageError, match="only lite0 and inception take a file of weights, not digits"):
        classifiers.named_extractor("digits", 1, print, weights=tmp_path)
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        classifiers.named_extractor("cifar1", 3, print)


def test_pixels_are_those_of_the_kernel_distance():
    images = noise(3, 1, 16, 16)
    made = pixels8(channels=1)
    read = made.read(images)
    assert torch.equal(read.features, pooled_pixels(images))
    assert read.features.shape == (3, made.size)
    assert read.logits is None
    assert made.sha256 == "none"
    with pytest.raises(UsageError, match="made for images of 1 channels, not 3: make it with channels=3"):
        made.read(noise(3, 3, 16, 16))


# -------------------------------------------------------------------------------------------------------- classifiers


def saved(folder, name: str = "fashion-mnist") -> Classifier:
    torch.manual_seed(0)
    net = cnn((1, 8, 8), 4, width=2).eval().requires_grad_(False)
    made = {"name": "cnn", "shape": [1, 8, 8], "classes": list("abcd"), "width": 2}
    measured = {"split": {"held_out": 2000}, "accuracy": 0.9123, "accuracy_error": 0.003}
    return save_classifier(Classifier(net, {"name": name, "architecture": made, **measured}), folder)


def test_a_classifier_is_an_extractor_that_says_how_good_it_is(tmp_path):
    classifier = saved(tmp_path)
    found = of_classifier(classifier)
    images = noise(5, 1, 8, 8)
    read = found.read(images)
    assert found.name == "fashion_mnist"
    assert found.sha256 == hashlib.sha256((tmp_path / "classifier.safetensors").read_bytes()).hexdigest()
    assert "91.2% ± 0.3% of 2,000 held-out images right" in found.preprocessing
    assert read.features.shape == (5, found.size) == (5, 128)
    assert torch.equal(read.logits, classifier.logits(images))
    assert torch.equal(read.features, classifier.features(images))
    with pytest.raises(UsageError, match="takes images"):
        found.read(noise(5, 3, 8, 8))
    with pytest.raises(UsageError, match="not finite"):
        found.read(images / 0)


@pytest.mark.parametrize("missing", ["sha256", "accuracy"])
def test_a_card_that_does_not_say_enough_is_refused(missing, tmp_path):
    classifier = saved(tmp_path)
    del classifier.card[missing]
    with pytest.raises(UsageError, match=f"has no '{missing}'"):
        of_classifier(classifier)


# ---------------------------------------------------------------------------------------------------------- inception


class StandIn(nn.Module):
    """Torch-fidelity's class as far as it is used: its arguments, uint8 RGB in, a tuple of tensors out."""

    made: ClassVar[list[tuple]] = []
    seen: ClassVar[list[Tensor]] = []

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None
    ):
        super().__init__()
        self.made.append((name, features_list, feature_extractor_weights_path))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        self.seen.append(x.clone())
        flat = x.double().flatten(1).mean(1, keepdim=True)
        return flat.expand(-1, 2048), flat.expand(-1, 1008)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """The stand-in in the package's place, with a weights' file of its own, and an empty cache."""
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(StandIn, "seen", [])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    weights = tmp_path / "inception.pth"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(registry, "SHA256", hashlib.sha256(b"weights").hexdigest())
    return weights


def test_inception_is_handed_bytes_in_three_channels(stand_in):
    found = inception(stand_in)
    assert StandIn.made == [("inception-v3-compat", ["2048", "logits_unbiased"], str(stand_in))]
    images = torch.tensor([-1.5, -1.0, 0.0, 1.0]).view(4, 1, 1, 1).expand(4, 1, 9, 9).repeat(10, 1, 1, 1)
    read = found.read(images)
    assert torch.cat(StandIn.seen)[:4, :, 0, 0].tolist() == [[0] * 3, [0] * 3, [128] * 3, [255] * 3]
    assert read.features.shape == (40, found.size) == (40, 2048)
    assert read.logits.shape == (40, 1008)
    assert read.features.dtype == torch.float32
    assert read.features[:4, 0].tolist() == [0, 0, 128, 255]
    with pytest.raises(UsageError, match="not finite"):
        found.read(images / 0)


def test_inception_computes_on_its_device_and_its_features_come_back_in_one_piece(stand_in, monkeypatch):
    """The meta device stands for a GPU."""
    moved: list[tuple[int, ...]] = []
    monkeypatch.setattr(Tensor, "cpu", lambda t: moved.append(tuple(t.shape)) or t)
    read = inception(stand_in, device="meta").read(torch.zeros(70, 1, 9, 9))
    assert all(part.is_meta for part in StandIn.seen)
    assert [len(part) for part in StandIn.seen] == [32, 32, 6]
    assert read.features.is_meta
    assert moved == [(70, 2048), (70, 1008)]


def test_an_extractor_is_made_on_the_device_that_is_asked_for(monkeypatch, tmp_path):
    asked: dict[str, object] = {}
    for name in ("lite0", "inception"):
        monkeypatch.setattr(registry, name, lambda weights, device, name=name: asked.update({name: device}))
        classifiers.named_extractor(name, 3, print, device="cuda:1")
    monkeypatch.setattr(classifiers, "load_classifier", lambda folder: saved(tmp_path, "digits"))
    monkeypatch.setattr(classifiers, "classifier_folder", lambda name: tmp_path)
    (tmp_path / classifiers.CARD).touch()
    monkeypatch.setattr(classifiers, "accuracy_text", str)
    found = classifiers.load_or_train("digits", lambda text: None, "meta")
    assert asked == {"lite0": "cuda:1", "inception": "cuda:1"}
    assert all(p.is_meta for p in found.module.parameters())


def test_inception_is_fetched_once_by_its_package(stand_in, monkeypatch, tmp_path):
    cached = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"

    def fetched(self, *args, feature_extractor_weights_path=None):
        nn.Module.__init__(self)
        StandIn.made.append(feature_extractor_weights_path)
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(b"weights")

    monkeypatch.setattr(StandIn, "__init__", fetched)
    inception()
    inception()
    assert StandIn.made == [None, str(cached)]


def test_weights_that_are_missing_or_others_are_told_with_the_remedy(stand_in, monkeypatch, tmp_path):
    with pytest.raises(
        UsageError, match=r"none cannot be read .*download https://github.com/toshas.* as weights"
    ):
        inception(tmp_path / "none")
    stand_in.write_bytes(b"others")
    with pytest.raises(UsageError, match=r"are not the expected ones"):
        inception(stand_in)

    def offline(self, *args, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(StandIn, "__init__", offline)
    with pytest.raises(
        UsageError, match=r"cannot be downloaded .*no route to host.*pass the file as weights"
    ):
        inception()


def test_a_missing_package_is_told_with_the_remedy():
    if importlib.util.find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is installed")
    with pytest.raises(
        UsageError, match=r"No module named 'torch_fidelity'\): pip install 'steadygan\[fid\]'"
    ):
        extractor("inception")


def test_a_torchvision_that_does_not_fit_is_told(monkeypatch):
    def broken(name: str) -> ModuleType:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(registry.importlib, "import_module", broken)
    with pytest.raises(UsageError, match=r"torchvision::nms does not exist.*or choose lite0"):
        inception()
