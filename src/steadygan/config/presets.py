"""Presets that shrink a recipe: `scale: {tiny: {networks.width: 8, steps: 200}}`, chosen by `train --scale tiny`."""

from collections.abc import Iterator
from typing import Any

from steadygan.config.overrides import assigned
from steadygan.config.schema import Config, parse
from steadygan.errors import UsageError, nearest

__all__ = ["scaled", "tiny"]

STEPS, BATCH, ROWS, SIDE, LEAST_WIDTH, NARROWER = 200, 8, 1000, 64, 8, 8
"""Limits of the derived preset: steps, batch, images, their side, the least width, and what widths are divided by."""


def scaled(raw: dict[str, Any], name: str | None, source: str = "the recipe") -> dict[str, Any]:
    """`raw` with the changes of its preset `name`. The result is a recipe without presets and published numbers.

    Every recipe has the preset `tiny`: its own, or what the function `tiny` derives. Raises UsageError for any other
    name that the recipe does not have.
    """
    if name is None:
        return raw
    settings = parse(raw, source)
    known = dict.fromkeys(["tiny", *settings.scale])
    if name not in known:
        raise UsageError(f"{source} has no scale {name!r}: {nearest(name, known)}")
    changes = settings.scale[name] if name in settings.scale else tiny(settings)
    whole = {key: part for key, part in raw.items() if key != "scale"}
    if settings.paper:
        whole["paper"] = {
            "source": settings.paper.source,
            "row": f"{settings.paper.row}, at the scale {name}",
        }
    if settings.name != "custom":
        whole["name"] = f"{settings.name}-{name}"
    return assigned(whole, changes.items())


def tiny(config: Config) -> dict[str, Any]:
    """Changes, derived from a recipe, that let it run in minutes on a laptop.

    At most 200 steps with batches of 8, on 1,000 images of side 64. Image networks have an eighth of their width (8 or
    more). Evaluation takes 100 images, and no Inception network. Whatever is counted in steps, rows or images shrinks
    with these, so that each thing happens in the same part of the run. So does the memory of the average. One seed,
    float32, not compiled.
    """
    steps, batch = min(config.steps, STEPS), min(config.batch, BATCH)
    shorter, smaller = steps / config.steps, batch / config.batch
    tree = config.model_dump(mode="json", exclude={"paper", "scale"})
    changes: dict[str, Any] = {"steps": steps, "batch": batch, "accumulate": 1, "seeds": 1, "compile": False}
    changes |= {"every.log": "5%", "every.score": "50%", "every.checkpoint": "50%", "evaluation.images": 100}
    if config.evaluation.extractor == "inception":  # its weights need not be there
        changes |= {"evaluation.extractor": "pixels8"}
        changes |= {"keep.best": "kd_pixels8"} if config.keep.best else {}
    if config.precision in ("bfloat16", "auto"):
        changes["precision"] = "float32"
    if tree["game"].get("batch_G"):
        changes["game.batch_G"] = max(1, round(tree["game"]["batch_G"] * smaller))
    if tree["augment"]["name"] == "ada":
        changes["augment.over"] = tree["augment"]["over"] * shorter * smaller
    changes["fake_as_real.count"] = _fewer(tree["fake_as_real"]["count"], smaller)
    changes |= dict(_shorter(tree, shorter))
    if tree["ema"] and isinstance(tree["ema"]["decay"], float):
        changes["ema.decay"] = round(max(0.0, 1 - (1 - tree["ema"]["decay"]) / shorter), 6)
    changes |= dict(_narrower(tree["networks"])) | dict(_less(tree["data"]))
    return {path: new for path, new in changes.items() if _found(tree, path) != new}


def _found(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[int(key) if isinstance(tree, list) else key]
    return tree


def _fewer(count: Any, smaller: float) -> Any:
    """Fake-as-real's count for a smaller batch: the same share of it, at least 1 where it was not 0."""
    if isinstance(count, list):
        return [_fewer(one, smaller) for one in count]
    if isinstance(count, dict):
        return {k: _fewer(v, smaller) if k in ("start", "stop", "value") else v for k, v in count.items()}
    return max(1, round(count * smaller)) if count > 0 else count


def _shorter(tree: Any, share: float, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every whole number of steps in a configuration, except `every` and `steps`, times `share`."""
    if isinstance(tree, list):
        for index, part in enumerate(tree):
            yield from _shorter(part, share, f"{path}{index}.")
    if not isinstance(tree, dict):
        return
    spans = (
        ("over", "begin") if "schedule" in tree else {"ema.": ("start",), "stop.": ("after",)}.get(path, ())
    )
    for key, part in tree.items():
        if key in spans and isinstance(part, int):
            yield path + key, max(round(part * share), int(key == "over"))
        else:
            yield from _shorter(part, share, f"{path}{key}.")


def _narrower(networks: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if networks["name"] == "mlp":
        return
    for key in ("width", "hidden"):
        if networks.get(key):
            yield f"networks.{key}", min(networks[key], max(LEAST_WIDTH, networks[key] // NARROWER))
    if "group" in networks:
        yield "networks.group", max(1, networks["group"] // NARROWER)


def _less(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "limit" in data:
        yield "data.limit", min(data["limit"] or ROWS, ROWS)
    if "filter" in data and data.get("size"):  # the side of images, and not how many there are
        yield "data.size", min(data["size"], SIDE)
