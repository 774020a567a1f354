"""Publish the generator of a run: weights, source, configuration, sample grid and model card in one commit."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from steadygan.build import Own
from steadygan.config.overrides import as_yaml
from steadygan.files import user_path
from steadygan.plots.any_shape import picture
from steadygan.plots.samples import save
from steadygan.runs.export import export
from steadygan.runs.folder import read_config
from steadygan.runs.generator import Generator
from steadygan.runs.hub.card import card
from steadygan.runs.hub.client import check_hub, check_name, check_token, hub_errors
from steadygan.runs.hub.published import CONFIG, write_facts
from steadygan.runs.load import load
from steadygan.training import sampling

__all__ = ["prepare", "push"]

SAMPLES = 64


def push(
    folder: str | Path,
    name: str,
    *,
    private: bool = False,
    message: str | None = None,
    member: int = 0,
    average: bool = True,
    use: str | Path | Own | None = None,
) -> str:
    """Publish a run's generator in the repository USER/NAME of the Hugging Face Hub, and return its address.

    The repository is made where there is none, public unless `private`. It holds the plain export (`G.safetensors` and
    `G.py`), the configuration without paths of this machine, 64 samples, and a model card with the scores and their
    protocol. `steadygan.load(name)` loads it. `message` is that of the commit; `member`, `average` and `use` are those
    of `load`.

    Raises UsageError for a name that is none, without a token, and for a folder that is no run. Then nothing is sent.
    """
    check_name(name)
    folder = user_path(folder)
    read_config(folder)
    check_hub("steadygan push")
    check_token()
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="steadygan")
    with tempfile.TemporaryDirectory() as place:
        prepare(folder, Path(place), name, member, average, use)
        files = [CommitOperationAdd(file.name, file) for file in sorted(Path(place).iterdir())]
        with hub_errors(name):
            made = api.create_repo(name, private=private or None, exist_ok=True)
            api.create_commit(
                name, files, commit_message=message or f"Generator of the run {folder.resolve().name}"
            )
    return str(made)


def prepare(
    folder: Path, place: Path, name: str, member: int, average: bool, use: str | Path | Own | None
) -> None:
    """Write the files of a repository to the folder `place`."""
    raw = read_config(folder)
    G = load(folder, member=member, average=average, use=use)
    export(folder, "safetensors", place / "G", member=member, average=average, use=use)
    write_facts(place, G, raw)
    (place / CONFIG).write_text(as_yaml(_elsewhere(raw)), encoding="utf-8")
    save(_grid(G), place / "samples.png")
    weights = "EMA" if average and raw.get("ema") else "raw"
    (place / "README.md").write_text(card(folder, raw, G, name, member, weights), encoding="utf-8")


def _elsewhere(raw: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the folders of this machine: of the data's path, its last part is kept."""
    data = raw.get("data")
    if not isinstance(data, dict):
        return raw
    kept = {key: value for key, value in data.items() if key != "root"}
    if isinstance(kept.get("path"), str):
        kept["path"] = Path(kept["path"]).name
    return {**raw, "data": kept}


@torch.no_grad()
def _grid(G: Generator) -> Any:
    """64 samples in a picture, a class a row where there are classes."""
    columns = sampling.columns(SAMPLES, G.classes)
    labels = [torch.arange(SAMPLES) // columns % G.classes] if columns else []
    return picture(G(G.latents(SAMPLES), *labels), None, "samples", columns)
