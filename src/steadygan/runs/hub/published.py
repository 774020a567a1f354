"""A published generator: weights, sizes and the configuration, read back without running code of its author."""

import json
import math
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from steadygan import config
from steadygan.errors import UsageError, said
from steadygan.files import read_json, read_whole, write_whole
from steadygan.runs.formats.plain import plain, tensors
from steadygan.runs.generator import Generator, of_labels, without_data
from steadygan.runs.hub.client import check_hub, hub_errors

__all__ = ["FACTS", "WEIGHTS", "is_published", "pulled", "read", "write_facts"]

FACTS, CONFIG, WEIGHTS, SOURCE = "generator.json", "config.yaml", "G.safetensors", "G.py"
FORMAT = 1
SHAPE = {
    **{"format": int, "shape": [int], "latent": int, "classes": int, "seed": int},
    **{"drawn": str, "own": bool},
}
LARGEST = 2**30
"""Numbers in the largest samples, one of each class, that a generator may make."""

WIDEST = 2**20
"""Numbers in the largest latent."""

SLACK = 2**20
"""Bytes that a file of weights may have beside its tensors."""


def write_facts(folder: Path, G: Generator, raw: Mapping[str, Any]) -> None:
    """Write what a generator is, beside its weights: its sizes, its latents, and whether its network has own code."""
    facts = {
        "format": FORMAT,
        "shape": list(G.shape),
        "latent": G.latent,
        "classes": G.classes,
        "seed": G.seed,
        "drawn": str(G.drawn).removeprefix("torch."),
        "own": _name(raw["networks"]) == "own",
    }
    write_whole(folder / FACTS, json.dumps(facts, indent=1) + "\n")


def is_published(folder: Path) -> bool:
    """Whether a folder holds a published generator, rather than a run."""
    return (folder / FACTS).is_file()


def pulled(name: str, trust_code: bool) -> Generator:
    """Download a repository's generator and load it, or take it from the Hub's cache without a network.

    Only data is downloaded, and the source file only where `trust_code` says so. Weights come last, where their size
    fits the network.
    """
    before = f"there is no folder {name}, and "
    check_hub(f"{before}to load it from the Hugging Face Hub")
    from huggingface_hub import snapshot_download

    wanted = [FACTS, CONFIG, *([SOURCE, WEIGHTS] if trust_code else [])]
    with hub_errors(name, before):
        folder = Path(snapshot_download(name, allow_patterns=wanted, library_name="steadygan"))
    if not is_published(folder):
        raise UsageError(
            f"the repository {name} holds no generator of steadygan (no {FACTS}): name one that steadygan push has made"
        )
    return read(folder, trust_code, name, lambda size: _fetch(folder, name, before, size))


def _fetch(folder: Path, name: str, before: str, size: int) -> None:
    """Download the weights of a network of `size` bytes to their place in the Hub's cache, unless they are there."""
    if (folder / WEIGHTS).exists():
        return
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    with hub_errors(name, before):
        found = get_hf_file_metadata(hf_hub_url(name, WEIGHTS, revision=folder.name)).size or 0
        if found > size + SLACK:
            raise UsageError(
                f"the weights of {name} have {found:,} bytes, and its network {size:,}: publish the generator again"
            )
        hf_hub_download(name, WEIGHTS, revision=folder.name, library_name="steadygan")


def read(
    folder: Path, trust_code: bool, name: str, fetch: Callable[[int], None] = lambda size: None
) -> Generator:
    """The generator in a folder.

    A network of steadygan is built from the configuration, and its weights are read: no code of the folder runs.
    `fetch` is called with the network's bytes before that.
    Raises UsageError for a network of its author's own code without `trust_code`, and for damaged files.
    """
    try:
        facts = read_json(folder / FACTS, SHAPE)
    except ValueError as error:
        raise UsageError(f"{error}: publish the generator again") from None
    if facts["format"] != FORMAT:
        raise UsageError(f"{name} has another format version: load it with a newer steadygan")
    if not _sound(facts):
        raise UsageError(f"{name}: {FACTS} is damaged: publish the generator again")
    if facts["own"]:
        net = _trusted(folder, trust_code, name)
    else:
        net = _built(folder, facts, name)
        found = tensors(net)
        size = sum(tensor.nbytes for tensor in found.values())
        fetch(size)
        _fill(found, _tensors(folder / WEIGHTS, size), name)
    drawn = torch.float64 if facts["drawn"] == "float64" else torch.float32
    return Generator(net, facts["latent"], tuple(facts["shape"]), facts["classes"], facts["seed"], drawn)


def _sound(facts: Mapping[str, Any]) -> bool:
    """Whether a generator can have these sizes."""
    shape, classes = facts["shape"], facts["classes"]
    return (
        min(shape, default=0) > 0
        and classes >= 0
        and math.prod(shape) * max(classes, 1) <= LARGEST
        and 0 < facts["latent"] <= WIDEST
    )


def _trusted(folder: Path, trust_code: bool, name: str) -> nn.Module:
    """The network that the source file makes, which is run."""
    if not trust_code:
        raise UsageError(
            f"the network of {name} is code of its author, which would be run: read its {SOURCE}, and then load it "
            "with trust_code=True"
        )
    try:
        found = runpy.run_path(str(folder / SOURCE))["load"]()
    except (Exception, SystemExit) as error:  # whatever the author's file raises
        raise UsageError(f"{SOURCE} of {name} fails ({said(error)}): ask its author") from error
    if not isinstance(found, nn.Module):
        raise UsageError(
            f"load() in {SOURCE} of {name} returns no module but {type(found).__name__}: ask its author"
        )
    return found


def _built(folder: Path, facts: Mapping[str, Any], name: str) -> nn.Module:
    """The network that the configuration names, before it has its weights."""
    raw = _safe(config.of_a_run(config.load(folder / CONFIG)))
    try:
        run = without_data(raw, tuple(facts["shape"]), facts["classes"], f"{name}: {CONFIG}")
        if "G" not in run.game.players:
            raise UsageError(
                f"the configuration of {name} has no generator: publish a run on points or images"
            )
        if (facts["latent"], facts["classes"]) != (run.latent - run.classes, run.classes):
            raise UsageError(
                f"the latent and the classes of {FACTS} do not fit the configuration of {name}: publish the generator "
                "again"
            )
        return plain(of_labels(run.game.players["G"].network.module, run)).float().cpu()
    except (RuntimeError, MemoryError, ArithmeticError) as error:  # such as sizes that no memory holds
        raise UsageError(
            f"the network of {name} cannot be built ({said(error)}): publish the generator again"
        ) from error


def _safe(raw: dict[str, Any]) -> dict[str, Any]:
    """A configuration for its generator alone: one member on the CPU, and a loss that needs no code."""
    game = raw.get("game", "gan")
    if isinstance(game, dict) and _name(game.get("loss", "")) == "own":
        game = {key: value for key, value in game.items() if key != "loss"}
    return {**raw, "game": game, "device": "cpu", "seeds": 1}


def _name(part: Any) -> str:
    return str(part.get("name")) if isinstance(part, Mapping) else str(part)


def _tensors(file: Path, size: int) -> dict[str, Tensor]:
    """The tensors of a network of `size` bytes."""
    try:
        return load(read_whole(file, size + SLACK))
    except (ValueError, SafetensorError) as error:
        raise UsageError(f"{file.name} cannot be read ({said(error)}): publish the generator again") from None


@torch.no_grad()
def _fill(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> None:
    """Copy tensors of the same names and shapes. Raises UsageError where they do not fit."""
    for key in {**wanted, **found}:
        if key not in wanted or key not in found or wanted[key].shape != found[key].shape:
            raise UsageError(
                f"the weights of {name} do not fit its configuration (at {key}): it was published by another version "
                "of steadygan, or changed since"
            )
        wanted[key].copy_(found[key])
