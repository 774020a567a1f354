"""Runs on streams: what is killed and resumed ends with the bits of a run that never stopped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from steadygan.commands.fit import fit
from steadygan.data import stream
from steadygan.errors import DataNote, UsageError
from steadygan.training.checkpoint import checkpoints

POINTS = torch.randn(300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
EVERY = {"log": 2, "score": 20, "checkpoint": 5, "diagnostics": 20}


class Points(IterableDataset):
    """Points in a fixed order, with noise from torch's own generator."""

    def __iter__(self):
        for number, x in enumerate(POINTS):
            yield x + 0.1 * torch.randn(3), number % 4


class Stateful(Points):
    place = 0

    def __iter__(self):
        for number in range(self.place, len(POINTS)):
            self.place = number + 1
            yield POINTS[number], number % 4

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


class Items(Dataset):
    def __len__(self):
        return len(POINTS)

    def __getitem__(self, index):
        return POINTS[index] + 0.1 * torch.randn(3), index % 4


class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)).double()

    def forward(self, z, y=None):
        return self.body(z if y is None else torch.cat([z, torch.eye(4, dtype=z.dtype)[y]], 1))


class D(G):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(7, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Flatten(0)).double()


def trained(data, out: Path, steps: int, **options):
    given = {
        "latent": 4,
        "batch": 32,
        "compile": False,
        "every": EVERY,
        "optimizer": {"name": "sgd", "lr": 0.01},
    }
    given |= {"precision": "float64", "quiet": True, "conditional": True}
    return fit(G, D, data, out=out, steps=steps, **{**given, **options})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


TWICE = {"dynamics": {"name": "alternating", "n_critic": 2}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [(Points, {"seeds": 2}), (Points, TWICE), (Stateful, {}), (Stateful, {"seeds": 2}), (Items, TWICE)],
)
def test_a_stopped_run_resumes_as_one_that_never_stopped(kind, options, tmp_path):
    """20 steps of 32 samples read a source of 300 more than twice. The second part has a dataset of its own."""

    def data():
        return stream(kind(), classes=4, reference=64, shuffle=50)

    trained(data(), tmp_path / "whole", 20, **options)
    trained(data(), tmp_path / "parts", 10, **options)
    trained(data(), tmp_path / "parts", 20, resume=True, **options)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_the_checkpoint_has_the_place_of_a_source_with_a_state(tmp_path):
    trained(stream(Stateful(), classes=4, reference=64, shuffle=50), tmp_path / "run", 10)
    about = json.loads((checkpoints(tmp_path / "run" / "checkpoints")[-1] / "meta.json").read_text())
    assert [place[:4] for place in about["stream"]] == [[300, 1, 300, None]]
    trained(stream(Stateful(), classes=4, reference=64, shuffle=50), tmp_path / "run", 15, resume=True)
    about = json.loads((checkpoints(tmp_path / "run" / "checkpoints")[-1] / "meta.json").read_text())
    assert [place[:4] for place in about["stream"]] == [[450, 1, 300, {"place": 150}]]


def test_a_place_that_cannot_be_read_costs_time_only(tmp_path):
    def data():
        return stream(Stateful(), classes=4, reference=64, shuffle=50)

    trained(data(), tmp_path / "whole", 20)
    trained(data(), tmp_path / "parts", 15)
    file = checkpoints(tmp_path / "parts" / "checkpoints")[-1] / "meta.json"
    about = json.loads(file.read_text())
    [[number, epoch, began, _, seen]] = about["stream"]
    file.write_text(json.dumps({**about, "stream": [[number, epoch, began, {"place": 7}, seen]]}))
    with pytest.warns(DataNote, match="leads to other samples than before"):
        trained(data(), tmp_path / "parts", 18, resume=True)
    file = checkpoints(tmp_path / "parts" / "checkpoints")[-1] / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "stream": "nowhere"}))
    trained(data(), tmp_path / "parts", 20, resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_a_source_that_has_changed_is_told(tmp_path):
    class Others(Points):
        def __iter__(self):
            return ((x + (number > 80), y) for number, (x, y) in enumerate(super().__iter__()))

    trained(stream(Points(), classes=4, reference=64, shuffle=50), tmp_path / "run", 15)
    with pytest.warns(DataNote, match="other samples than before the stop"):
        trained(stream(Others(), classes=4, reference=64, shuffle=50), tmp_path / "run", 20, resume=True)


def test_a_map_style_stream_trains_as_its_rows_in_memory(tmp_path):
    class Plain(Items):
        def __getitem__(self, index):
            return POINTS[index], index % 4

    trained(stream(Plain(), classes=4, reference=64), tmp_path / "stream", 20)
    trained(POINTS, tmp_path / "rows", 20, labels=[n % 4 for n in range(300)])
    assert same(tmp_path / "stream", tmp_path / "rows")


FILE = """
import torch
from torch import nn
from torch.utils.data import IterableDataset

from steadygan.data import stream


class Points(IterableDataset):
    def __iter__(self):
        for number in range(300):
            yield torch.tensor([number / 300, number % 7 / 7]).double() + 0.1 * torch.randn(2)


def data():
    return stream(Points(), reference=64, shuffle=50)


def networks(shape):
    return nn.Linear(4, 2).double(), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
"""


SETTINGS = {"networks": {"name": "own", "latent": 4}, "every": EVERY, "precision": "float64"}
SETTINGS |= {"optimizer": {"name": "sgd", "lr": 0.01}, "compile": False}
SHARED = {
    "rows": {**SETTINGS, "batch": 31, "steps": 10, "critic": {"penalties": ["r1"]}},
    "members": {**SETTINGS, "batch": 30, "steps": 25, "seeds": 3},
}
EACH = """
import sys
from steadygan.cli import main

for name in sys.argv[1:]:
    sys.argv = ["steadygan", "train", f"{name}.yaml", "--use", "mine.py", "--out", name]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, name
"""


@pytest.fixture(scope="module")
def by_two_processes(tmp_path_factory):
    """The folder in which two processes trained all of SHARED."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "mine.py").write_text(FILE)
    (folder / "each.py").write_text(EACH)
    for name, raw in SHARED.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "each.py"]
    done = subprocess.run([*words, *SHARED], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


@pytest.mark.slow
def test_two_processes_and_then_one_train_as_one_process(by_two_processes, command, monkeypatch):
    monkeypatch.chdir(by_two_processes)
    alone = command("train", "rows.yaml", "steps=20", "--use", "mine.py", "--out", "one")
    goes_on = command("resume", "rows", "steps=20", "--use", "mine.py")
    assert (alone.code, goes_on.code) == (0, 0)
    first, second = weights(Path("one")), weights(Path("rows"))
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_checkpoint_of_several_processes_has_the_streams_of_all_members(by_two_processes):
    about = json.loads((by_two_processes / "members/checkpoints/step-00000025/meta.json").read_text())
    assert [place[:3] for place in about["stream"]] == [[700, 2, 600]] * 3


def test_the_classes_of_a_stream_must_be_told(tmp_path):
    with pytest.raises(UsageError, match=r"stream\(dataset, classes=10\)"):
        trained(stream(Points(), reference=64), tmp_path / "run", 5)


def test_a_stream_with_less_than_a_batch_is_refused(tmp_path):
    with pytest.raises(UsageError, match="300 samples, fewer than the 512"):
        trained(stream(Points(), classes=4, reference=64), tmp_path / "run", 5, batch=512)
