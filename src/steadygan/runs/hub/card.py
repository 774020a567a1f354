"""The model card of a published generator: what it is, how to use it, its scores and their protocol."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.config import as_text
from steadygan.data.image_files import shape_text
from steadygan.diagnostics.history import is_score
from steadygan.files import read_json
from steadygan.runs import score_cards
from steadygan.runs.folder import CHECKPOINTS, EVALUATION, EVENTS
from steadygan.runs.generator import Generator
from steadygan.runs.sinks.jsonl import whole
from steadygan.training import checkpoint

__all__ = ["card"]

TEXT = """
# {title}

A generator trained with steadygan on {data} (game: {game}). It maps latents z [N, {latent}] of N(0, 1){labels} to
samples {shape}.

![64 samples](samples.png)

## Use

```python
import steadygan

G = steadygan.load("{name}"{trust})
x = G(G.latents(64){call})
```

Without steadygan, `G.py` and `G.safetensors` need torch alone: `from G import load; G = load()`.

## Scores

{scores}

## Training

{steps:,} steps of {batch} samples, seed {seed}. Weights: {weights}. `config.yaml` has every setting:
`steadygan train config.yaml` repeats the run.

| setting | value |
|---|---|
{settings}
"""

SHOWN = ("game", "networks", "critic", "fake_as_real", "dynamics", "optimizer", "ema", "augment", "precision")
"""The settings that stand on the card."""


class Scores(NamedTuple):
    """Scores by name with their errors, the step at which they were taken, and the protocol."""

    step: int
    values: Mapping[str, tuple[float, float | None]]
    protocol: Mapping[str, Any]


def card(folder: Path, raw: Mapping[str, Any], G: Generator, name: str, member: int, weights: str) -> str:
    """The text of README.md, with the Hub's header."""
    found = _scores(folder, member, weights)
    last = checkpoint.checkpoints(folder / CHECKPOINTS)[-1]
    parts = {
        "title": name.partition("/")[2],
        "name": name,
        "game": _short(raw.get("game", "gan")),
        "data": _short(raw["data"]),
        "latent": G.latent,
        "labels": f" and labels y [N] of 0 to {G.classes - 1}" if G.classes else "",
        "shape": f"[N, {', '.join(map(str, G.shape))}]",
        "trust": ", trust_code=True" if _short(raw["networks"]) == "own" else "",
        "call": f", torch.arange(64) % {G.classes}" if G.classes else "",
        "scores": _table(found) if found else "None yet.",
        "steps": int(last.name[5:]),
        "batch": raw.get("batch", 64),
        "seed": G.seed,
        "weights": "moving average (EMA)" if weights == "EMA" else "raw",
        "settings": "\n".join(
            f"| {key} | `{as_text(told).replace('|', chr(92) + '|')}` |"
            for key in SHOWN
            if (told := _told(raw.get(key)))
        ),
    }
    return f"---\n{_header(raw, G, name, found)}\n---\n{TEXT.format(**parts)}"


def _header(raw: Mapping[str, Any], G: Generator, name: str, found: Scores | None) -> str:
    """The YAML that the Hub reads: library, task, tags, and the scores."""
    from huggingface_hub import EvalResult, ModelCardData

    images = len(G.shape) == 3
    task = "unconditional-image-generation" if images else "other"
    data = _short(raw["data"])
    results = [
        EvalResult(task_type=task, dataset_type=data, dataset_name=data, metric_type=key, metric_value=value)
        for key, (value, _) in (found.values if found else {}).items()
        if math.isfinite(value)
    ]
    return ModelCardData(
        library_name="steadygan",
        pipeline_tag=task if images else None,
        tags=["gan", "generative-adversarial-network"],
        model_name=name.partition("/")[2],
        eval_results=results or None,
    ).to_yaml()


def _scores(folder: Path, member: int, weights: str) -> Scores | None:
    """The newest score card of the latest step for these weights, else the last evaluation during training."""
    cards = [
        one
        for one in reversed(score_cards.cards(folder))
        if one.subject.get("member", 0) == member and one.protocol.get("weights") == weights
    ]
    if cards:
        newest = max(cards, key=lambda one: one.subject.get("step", 0))
        values = {key: (score.value, score.error) for key, score in newest.scores.items()}
        return Scores(newest.subject.get("step", 0), values, newest.protocol)
    return _during_training(folder, member)


def _during_training(folder: Path, member: int) -> Scores | None:
    """The last evaluation in events.jsonl: a score is a key without a slash."""
    for _, line in reversed(list(whole(folder / EVENTS))):
        values = {
            key: value[member] if isinstance(value, list) else value
            for key, value in line.items()
            if is_score(key)
        }
        if values:
            known = {key: (value, None) for key, value in values.items() if value is not None}
            return Scores(line["step"], known, _protocol(folder / EVALUATION))
    return None


def _protocol(file: Path) -> dict[str, Any]:
    try:
        found = dict(read_json(file, {}))
    except ValueError:
        return {}
    return {key: value for key, value in found.items() if not key.startswith("training_") and key != "format"}


def _table(found: Scores) -> str:
    """The scores and, in a sentence, the protocol."""
    rows = [
        f"| {key} | {value:.5g} | {'' if error is None else f'{error:.2g}'} |"
        for key, (value, error) in found.values.items()
    ]
    shown = {**found.protocol}
    if "shape" in shown:
        shown["shape"] = shape_text(shown["shape"])
    protocol = "\n".join(f"| {key} | {_plain(value)} |" for key, value in shown.items())
    return (
        f"At step {found.step:,}:\n\n| score | value | sampling error |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n\nScores compare under the same protocol only:\n\n| protocol | |\n|---|---|\n"
        + protocol
    )


def _told(part: Any) -> Any:
    """A setting without what is off: null, false, zero, nothing, the name none, or a count of 0.

    >>> _told({"penalties": [], "clip": None, "consistency": {"name": "none"}, "reduce": "mean"})
    {'reduce': 'mean'}
    """
    if not isinstance(part, Mapping):
        return part
    if part.get("name") == "none" or part.get("count", 1) == 0:
        return None
    return {key: found for key, value in part.items() if (found := _told(value))}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(part: Any) -> str:
    """The name of a part of the configuration."""
    return str(part["name"]) if isinstance(part, Mapping) else str(part)
