"""Generators that are published and loaded again, through a stand-in for the Hub: no network, and no code of others."""

import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

import steadygan
from paths import ROOT
from runs.hub.stand_in import TOKEN, served
from steadygan import config
from steadygan.errors import UsageError
from steadygan.metrics import Card
from steadygan.metrics.extractors.base import Score
from steadygan.runs import score_cards, train
from steadygan.runs.folder import read_config
from steadygan.runs.formats import fresh_process
from steadygan.runs.formats.plain import plain, tensors
from steadygan.runs.hub import client, publish, published
from steadygan.runs.hub.card import card
from steadygan.runs.load import Generator

SMALL = {
    "batch": 8,
    "compile": False,
    "steps": 3,
    "every": {"log": 3, "score": 3, "checkpoint": 3, "diagnostics": 3},
    "optimizer": {"name": "adam", "lr": 5e-2},
    "evaluation": {"images": 100},
    "seed": 5,
}
MLP = {"name": "mlp", "width": 8, "depth": 2, "latent": 3}
RUNS = {
    "points": {"data": "ring8", "networks": MLP, "noise": {"G": 0.5}},
    "labels, an average, members": {
        "data": "ring8",
        "networks": MLP,
        "game": {"name": "gan", "conditional": True},
        "ema": {"decay": 0.5},
        "seeds": 2,
    },
    "labels, spectral norm, batch norm": {
        "data": "digits",
        "networks": {"name": "biggan32", "latent": 4, "width": 4},
        "game": {"name": "gan", "conditional": True},
    },
    "codes, float64": {
        "data": "ring8",
        "networks": {**MLP, "latent": 7},
        "game": {"name": "infogan", "categorical": [3], "continuous": 1},
        "precision": "float64",
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(name)`: the folder of a run of `RUNS`, trained once."""
    folders: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("hub") / "run"
            train.start(config.parse({**SMALL, **RUNS[name]}), folders[name], Console(file=io.StringIO()))
        return folders[name]

    return run


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in, which huggingface_hub takes for the Hub, with a token; exports run in this process."""
    import huggingface_hub.constants as constants

    def here(kind, file, inputs):
        with torch.no_grad():
            return runpy.run_path(str(file.with_suffix(".py")))["load"]()(*inputs)

    monkeypatch.setattr(fresh_process, "samples", here)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its storage has a protocol of its own
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with served() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield found


def samples(G: Generator) -> torch.Tensor:
    labels = [torch.arange(16) % G.classes] if G.classes else []
    with torch.no_grad():
        return G(G.latents(16), *labels)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(n, marks=[SLOW] * ("spectral" in n)) for n in RUNS])
def test_what_is_loaded_makes_the_samples_of_the_run(name, trained, hub):
    """A wrong order of codes, a normalized weight that is normalized again, or noise left in would change them."""
    folder, member = trained(name), int("seeds" in RUNS[name])
    assert steadygan.push(folder, "ann/gan", member=member) == f"{hub.url}/ann/gan"
    G, original = steadygan.load("ann/gan"), steadygan.load(folder, member=member)
    torch.testing.assert_close(samples(G), samples(original), rtol=0, atol=1e-5)
    assert (G.latent, G.shape, G.classes, G.seed) == (
        original.latent,
        original.shape,
        original.classes,
        original.seed,
    )
    assert not any("G.py" in line for line in hub.asked)  # the source is not even downloaded


def test_a_repository_holds_what_was_promised(trained, hub, tmp_path):
    folder = trained("points")
    protocol = {"extractor": "pixels8", "generated": 500, "weights": "raw"}
    made = Card({"run": "run", "step": 3, "member": 0}, protocol, {"modes": Score(7.5, 0.25)})
    score_cards.add(folder, made)
    steadygan.push(folder, "ann/gan", private=True, message="the first")
    (folder / "scores.json").unlink()
    files = hub.repositories["ann/gan"]
    assert files.keys() == {
        "G.safetensors",
        "G.py",
        "config.yaml",
        "generator.json",
        "samples.png",
        "README.md",
    }
    assert hub.private == {"ann/gan"}
    assert hub.messages == {"ann/gan": ["the first"]}
    assert config.parse(yaml.safe_load(files["config.yaml"])).seed == 5
    assert Image.open(io.BytesIO(files["samples.png"])).size[0] > 100
    _, header, text = files["README.md"].decode().split("---\n", 2)
    known = yaml.safe_load(header)
    assert known["library_name"] == "steadygan"
    (result,) = known["model-index"][0]["results"]
    assert [(m["type"], m["value"]) for m in result["metrics"]] == [("modes", 7.5)]
    assert "| modes | 7.5 | 0.25 |" in text
    assert "| generated | 500 |" in text
    assert 'steadygan.load("ann/gan")' in text


def test_without_an_evaluation_the_card_has_the_scores_of_training(trained):
    text = card(
        trained("points"),
        read_config(trained("points")),
        Generator(torch.nn.Identity(), 3, (2,)),
        "ann/gan",
        0,
        "raw",
    )
    assert "| mode_kl | " in text
    assert "| weights | raw |" in text


def test_of_the_evaluations_of_the_latest_step_the_newest_counts(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained("points"), folder)
    for step, seed, value in ((9, 0, 1.0), (9, 1, 2.0), (3, 2, 3.0)):
        kept = {"weights": "raw", "seed": seed}
        score_cards.add(folder, Card({"step": step, "member": 0}, kept, {"modes": Score(value, 0.5)}))
    text = card(folder, read_config(folder), Generator(torch.nn.Identity(), 3, (2,)), "ann/gan", 0, "raw")
    assert "| modes | 2 | 0.5 |" in text


def test_folders_of_this_machine_stay_here(trained, hub, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in trained("points").iterdir():
        (folder / path.name).symlink_to(path)
    raw = yaml.safe_load((folder / "config.yaml").read_text())
    raw["data"] = {"name": "images", "path": str(tmp_path / "private" / "faces"), "size": 32}
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    steadygan.push(folder, "ann/gan")
    assert not any(str(tmp_path).encode() in data for data in hub.repositories["ann/gan"].values())
    assert yaml.safe_load(hub.repositories["ann/gan"]["config.yaml"])["data"]["path"] == "faces"


OWN = """
from torch import nn


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 2)

    def forward(self, z):
        return self.net(z)


def networks(shape):
    return Mine(), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
"""


def test_code_of_an_author_runs_only_where_it_is_trusted(hub, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    small = ["steps=2", "batch=8", "compile=false", "networks.latent=4", "fake_as_real.count=0"]
    assert command("train", "ring8-fargan", *small, "--use", "mine.py", "--out", "run").code == 0
    assert command("push", "run", "ann/own").code == 2  # the file has to be named
    done = command("push", "run", "ann/own", "--use", "mine.py")
    assert done.code == 0, done.err
    assert f"published: {hub.url}/ann/own" in done.out
    (tmp_path / "ran").unlink(missing_ok=True)
    source = hub.repositories["ann/own"]["G.py"]
    hub.repositories["ann/own"]["G.py"] = source + b"\nPath('ran').touch()\n"
    with pytest.raises(UsageError, match="trust_code=True"):
        steadygan.load("ann/own")
    assert not Path("ran").exists()
    G = steadygan.load("ann/own", trust_code=True)
    assert Path("ran").exists()
    original = steadygan.load("run", use="mine.py")
    torch.testing.assert_close(samples(G), samples(original), rtol=0, atol=1e-6)


def test_weights_that_do_not_fit_are_refused(trained, hub, tmp_path):
    steadygan.push(trained("points"), "ann/gan")
    files = hub.repositories["ann/gan"]
    (tmp_path / "G.safetensors").write_bytes(files["G.safetensors"])
    found = load_file(tmp_path / "G.safetensors")
    key = next(iter(found))
    save_file({**found, key: found[key][:1].clone()}, tmp_path / "G.safetensors")
    hub.repositories["ann/gan"] = {**files, "G.safetensors": (tmp_path / "G.safetensors").read_bytes()}
    with pytest.raises(UsageError, match=f"do not fit its configuration \\(at {key}\\)"):
        steadygan.load("ann/gan")
    facts = json.loads(files["generator.json"])
    for wrong, words in (({**facts, "format": 9}, "another format"), ({"format": 1}, "damaged")):
        hub.repositories["ann/gan"] = {**files, "generator.json": json.dumps(wrong).encode()}
        with pytest.raises(UsageError, match=words):
            steadygan.load("ann/gan")


@pytest.fixture
def copy(trained, tmp_path):
    """`copy({"latent": -1}, {"width": 9}, "...")`: a generator's files with other facts, networks and source."""
    place = tmp_path / "copy"
    place.mkdir()
    G = steadygan.load(trained("points"))
    raw = read_config(trained("points"))
    save_file(tensors(plain(G.net)), place / "G.safetensors")

    def changed(facts: dict, networks: dict, source: str = "") -> Path:
        published.write_facts(place, G, raw)
        known = json.loads((place / "generator.json").read_text())
        (place / "generator.json").write_text(json.dumps({**known, **facts}))
        made = {**raw, "networks": {**raw["networks"], **networks}}
        (place / "config.yaml").write_text(yaml.safe_dump(made))
        (place / "G.py").write_text(source)
        return place

    return changed


DAMAGED = "generator.json is damaged: publish the generator again"


@pytest.mark.parametrize(
    ("facts", "networks", "words"),
    [
        ({"shape": []}, {}, DAMAGED),
        ({"shape": [-1]}, {}, DAMAGED),
        ({"shape": [0]}, {}, DAMAGED),
        ({"shape": [10**9, 10**9]}, {}, DAMAGED),
        ({"classes": -3}, {}, DAMAGED),
        ({"classes": 10**12}, {}, DAMAGED),
        ({"latent": -1}, {}, DAMAGED),
        ({"latent": 10**12}, {}, DAMAGED),
        ({"latent": 4}, {}, "the latent and the classes of generator.json do not fit the configuration"),
        ({"classes": 5}, {}, "the latent and the classes of generator.json do not fit the configuration"),
        ({}, {"width": 2**31 - 1, "latent": 2**31 - 1}, "cannot be built"),
    ],
)
def test_a_hostile_generator_is_refused_in_a_sentence(facts, networks, words, copy):
    with pytest.raises(UsageError, match=words):
        steadygan.load(copy(facts, networks))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise SystemExit", "fails \\(SystemExit\\)"),
        ("load = lambda: 3", "returns no module but int"),
    ],
)
def test_a_source_that_makes_no_network_is_told_of(source, words, copy):
    with pytest.raises(UsageError, match=words):
        steadygan.load(copy({"own": True}, {}, source), trust_code=True)


@pytest.mark.parametrize("kind", ["pipe", "large", "text"])
def test_weights_that_are_none_are_refused_before_they_are_read(kind, copy):
    """A pipe keeps its reader waiting, and a file of any size would fill the memory."""
    place = copy({}, {})
    weights = place / "G.safetensors"
    if kind == "large":
        with weights.open("ab") as file:
            file.truncate(2**40)
    else:
        weights.unlink()
        os.mkfifo(weights) if kind == "pipe" else weights.write_text("no weights")
    words = {"pipe": "is not a file", "large": "has more than", "text": "SafetensorError"}[kind]
    with pytest.raises(
        UsageError, match=rf"G\.safetensors cannot be read \(.*{words}.*publish the generator again"
    ):
        steadygan.load(place)


def test_weights_far_larger_than_the_network_are_not_downloaded(copy, hub):
    files = {file.name: file.read_bytes() for file in copy({}, {}).iterdir()}
    hub.repositories["ann/gan"] = {**files, "G.safetensors": bytes(2**21)}
    with pytest.raises(UsageError, match="have 2,097,152 bytes, and its network"):
        steadygan.load("ann/gan")
    assert not any("GET" in line and "G.safetensors" in line for line in hub.asked)
    hub.repositories["ann/gan"] = files
    assert steadygan.load("ann/gan").latent == 3


def test_a_folder_that_is_mistyped_is_not_looked_for_on_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="the folder runs/typo does not exist"):
        steadygan.load("runs/typo")
    assert hub.asked == []


def test_a_repository_that_was_loaded_once_needs_no_network(trained, hub, tmp_path):
    steadygan.push(trained("points"), "ann/gan")
    first = samples(steadygan.load("ann/gan"))
    (tmp_path / "copy").mkdir()
    for name, data in hub.repositories["ann/gan"].items():
        (tmp_path / "copy" / name).write_bytes(data)
    hub.shutdown()
    hub.server_close()
    torch.testing.assert_close(samples(steadygan.load(tmp_path / "copy")), first, rtol=0, atol=0)
    torch.testing.assert_close(samples(steadygan.load("ann/gan")), first, rtol=0, atol=0)


def test_wrong_turns_of_a_load_are_sentences(trained, hub, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no folder ann/none, and there is no repository"):
        steadygan.load("ann/none")
    hub.repositories["ann/other"] = {"README.md": b"hello"}
    with pytest.raises(UsageError, match=r"holds no generator of steadygan \(no generator.json\)"):
        steadygan.load("ann/other")
    with pytest.raises(UsageError, match="not a run folder"):
        steadygan.load(Path("ann/none"))  # a path is never a repository
    with pytest.raises(UsageError, match="leave out member"):
        steadygan.load("ann/gan", member=1)
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"no folder ann/none.*pip install 'steadygan\[hub\]'"):
        steadygan.load("ann/none")


@pytest.mark.parametrize(
    "name",
    [
        *("gan", "ann/my/gan", "ann/", "../gan", "ann/g an", "ann/a..b", "ann/gan.", "a/" + "b" * 99),
        *("a--b/c", "ann/gän", "ann/gan.git"),
    ],
)
def test_a_name_that_is_none_is_told_of_first(name, command, hub):
    done = command("push", "no-such-folder", name)
    assert done.code == 2
    assert "write USER/NAME" in done.err
    assert hub.asked == []


def test_wrong_turns_of_a_push_are_sentences(trained, command, hub, tmp_path, monkeypatch):
    def refused(*words: object) -> str:
        done = command("push", *words)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        return done.err

    assert "is not a run folder" in refused(tmp_path / "none", "ann/gan")
    assert "the token may not do this" in refused(trained("points"), "somebody/gan")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "status 401" in refused(trained("points"), "ann/gan")
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(trained("points"), "ann/gan")
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    assert "pip install 'steadygan[hub]'" in refused(trained("points"), "ann/gan")
    assert hub.repositories == {}


def test_the_page_s_command_and_code_do_what_they_say(trained, hub, command, tmp_path):
    """Those for a network of one's own are in the test of trust."""
    page = (ROOT / "docs" / "hub.md").read_text()
    (words,) = re.findall(r"^steadygan (push runs/ring8-fargan .*?)(?: +#.*)?$", page, re.M)
    done = command(*shlex.split(words.replace("runs/ring8-fargan", str(trained("points")))))
    assert done.code == 0, done.err
    names: dict = {}
    exec(re.findall(r"```py\n(.*?)```", page, re.S)[0], names)
    assert names["x"].shape == (64, 2)


END_TO_END = """
import sys, steadygan, torch
folder, name = sys.argv[1:]
print(steadygan.push(folder, name))
G, original = steadygan.load(name), steadygan.load(folder)
z = G.latents(8)
print(float((G(z) - original(z)).abs().max()))
"""


@pytest.mark.slow
def test_in_a_process_of_its_own_with_hf_endpoint(trained, tmp_path):
    """As a user has it: the address from the environment, and the export checked in a new process."""
    with served() as found:
        settings = {
            "HF_ENDPOINT": found.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", END_TO_END, str(trained("points")), "ann/gan"],
            env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        address, difference = done.stdout.split()
        assert address == f"{found.url}/ann/gan"
        assert float(difference) <= 1e-5
        assert "G.safetensors" in found.repositories["ann/gan"]


@pytest.mark.parametrize(
    ("ema", "average", "said"),
    [(None, True, "raw"), ({"decay": 0.9}, True, "EMA"), ({"decay": 0.9}, False, "raw")],
)
def test_the_model_card_calls_the_weights_what_they_are(ema, average, said, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(publish, "read_config", lambda folder: {"ema": ema})
    for name in ("load", "export", "write_facts", "save", "_grid"):
        monkeypatch.setattr(publish, name, lambda *_, **__: None)
    monkeypatch.setattr(publish, "card", lambda *given: told.append(given[-1]) or "")
    publish.prepare(tmp_path, tmp_path, "me/it", 0, average, None)
    assert told == [said]
