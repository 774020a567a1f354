"""What `steadygan train --images` does: any recipe on a folder or zip of the user's own images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from steadygan import config
from steadygan.build.sizes import nearest_sizes, takes
from steadygan.config.registry import DATA
from steadygan.config.resolve import Resolved
from steadygan.data.decoding import shapes
from steadygan.data.folders import own_images
from steadygan.data.image_files import folders, shape_text
from steadygan.errors import UsageError
from steadygan.files import user_path
from steadygan.metrics import SCORES, score_name
from steadygan.recipes.catalogue import plain_name

__all__ = ["DEFAULT_SIDE", "OwnImages", "check_images", "on_images"]

DEFAULT_SIDE = 64
"""The side to offer where a recipe is not made for images."""

NAME = 50  # characters of a run's name


class OwnImages(NamedTuple):
    """A recipe for own images, what was left out of it, and the side of the images that it was made for."""

    raw: dict[str, Any]
    left_out: list[str]
    side: int

    def told(self, source: str) -> str:
        """What the user should know of the recipe."""
        left = f", without its {', '.join(self.left_out)}, which are for other data" if self.left_out else ""
        return f"training {source} on {self.raw['data']['path']}{left}"


def on_images(raw: dict[str, Any], source: str, path: Path, size: int | None) -> OwnImages:
    """The recipe `raw` with the images of a folder or zip as its data. The run is named after that.

    A recipe that was made for other data keeps `data.flip`. Its other options of `data`, its published scores, and an
    extractor or a best score that other data do not have are left out.
    """
    raw = config.current(raw)
    settings = config.parse(raw, source)
    old = settings.data.model_dump(mode="json", exclude_unset=True)
    kept = old if old["name"] == "images" else {key: old[key] for key in ("flip",) if key in old}
    left_out = [f"data.{key}" for key in old if key not in kept and key not in ("name", "size", "root")]
    data = {**kept, "name": "images", "path": str(user_path(path).resolve())} | (
        {"size": size} if size else {}
    )
    whole = {**raw, "name": plain_name(path.resolve().stem)[:NAME], "data": data}
    whole, more = _without_scores(whole, settings.evaluation.extractor, settings.keep.best)
    return OwnImages(whole, left_out + more, _side(settings.data))


def _without_scores(
    raw: dict[str, Any], extractor: str, best: str | None
) -> tuple[dict[str, Any], list[str]]:
    """The recipe without published scores, and without an extractor and a best score that are for other data."""
    left_out: list[str] = []
    changed = dict(raw)
    if changed.pop("paper", None):
        left_out.append("paper")
    if extractor == "inception":  # a paper's protocol
        del changed["evaluation"]
        left_out.append("evaluation")
        extractor = "pixels8"
    elif extractor in DATA:  # the classifier of a data set
        changed["evaluation"] = {k: v for k, v in changed["evaluation"].items() if k != "extractor"}
        left_out.append("evaluation.extractor")
        extractor = "pixels8"
    if best and best not in {"kd_pixels8", *(score_name(score, extractor) for score in SCORES)}:
        changed["keep"] = {k: v for k, v in changed["keep"].items() if k != "best"}
        left_out.append("keep.best")
    return changed, left_out


def _side(data: Any) -> int:
    part = DATA[data.name]
    known = part.known.shape if part.known else None
    size = data.size if "filter" in part.options else known[-1] if known else None
    return size or DEFAULT_SIDE


def check_images(parts: Resolved, side: int) -> None:
    """Raise UsageError, with the sizes to choose, unless the networks take the size of the images.

    Without a size all images must have one already. `side` is that of the images that the recipe was made for.
    """
    options = parts.data.options
    if "path" not in options:
        raise UsageError(
            "--images and data() of the file of --use both name the data: remove data() from the file, or leave out "
            "--images"
        )
    listing = own_images(options["path"], options["split"])
    classes = len(set(folders(listing) or ())) if parts.game.options.get("conditional") else 0
    channels = 1 if options["colour"] == "grey" else 3
    size = options["size"]
    found = Counter({(channels, size, size): 1}) if size else shapes(listing)
    kinds = sorted({shape[1:] for shape in found})
    if not kinds or (len(kinds) == 1 and takes(parts.networks, (channels, *kinds[0]), classes)):
        return
    near = size or min(side, int(median(min(shape[1:]) for shape in found.elements())))
    if offered := nearest_sizes(parts.networks, channels, near, classes):
        give = " or ".join(f"--size {one}" for one in offered)
        raise UsageError(
            _unfit(parts.networks.name, kinds, listing.source) + f": give {give}{_colours(found, options)}"
        )


def _unfit(network: str, kinds: Sequence[tuple[int, ...]], source: Path) -> str:
    if len(kinds) == 1:
        return f"networks.name={network} takes no images of {shape_text(kinds[0])}"
    return f"the images in {source} have {len(kinds):,} sizes from {shape_text(kinds[0])} to {shape_text(kinds[-1])}"


def _colours(found: Counter[tuple[int, int, int]], options: dict[str, Any]) -> str:
    """What else to choose where grey and colour are mixed."""
    grey = sum(count for (channels, *_), count in found.items() if channels == 1)
    if options["colour"] or grey in (0, found.total()):
        return ""
    return f", and data.colour=rgb or data.colour=grey, for {grey:,} are grey and {found.total() - grey:,} in colour"
