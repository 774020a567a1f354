"""Data sets of Hugging Face that lie on this machine."""

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit
from steadygan.data.items import LABELS, sample
from steadygan.data.own_streams import chosen
from steadygan.data.stream_data import REFERENCE, SHUFFLE, streamed
from steadygan.data.streams import Stream, permuted
from steadygan.errors import UsageError, nearest, said
from steadygan.files import user_path

__all__ = ["hugging_face"]


def hugging_face(
    path: str,
    split: str | None = None,
    size: int | None = None,
    filter: str = "lanczos",
    crop: str = "center",
    colour: str | None = None,
    reference: int = REFERENCE,
) -> Data:
    """The images of a Hugging Face data set on this machine, which are read while training goes on.

    `path` is a folder that save_to_disk has written, or one that holds .parquet files. `split` names a part of the
    former. The images are the column of that type, the labels the column of classes, if there is one. `size`,
    `filter`, `crop` and `colour` are those of `image_folder`. `reference` samples, chosen at random, stand for the data
    set in scores and pictures.

    Every epoch has a new random order of all samples, a function of (seed, epoch). A process reads and decodes its own
    samples alone. Raises UsageError for a folder that has no such data set.
    """
    how = Fit(size, filter, crop, colour).check()
    place = user_path(path)
    table = _split(_opened(place), split, place)
    image, label, classes = _columns(table)
    from datasets import Image

    rows = table.select_columns([image, *([label] if label else [])]).cast_column(image, Image(decode=False))

    def parts(index: int) -> tuple[Any, ...]:
        row = rows[index]
        return sample(_bytes(row[image]), how), *([row[label]] if label else [])

    source = Stream(partial(permuted, len(rows)), parts, block=SHUFFLE)
    return streamed(
        place.name, source, parts, chosen(len(rows), reference), classes=classes, reference=reference
    )


def _opened(place: Path) -> Any:
    """The data set in a folder. Raises UsageError if there is none, or the package is missing."""
    if importlib.util.find_spec("datasets") is None:
        raise UsageError("data sets of Hugging Face are read by datasets: pip install 'steadygan[streams]'")
    import datasets

    files = sorted(str(file) for file in place.glob("*.parquet"))
    try:
        return datasets.Dataset.from_parquet(files) if files else datasets.load_from_disk(str(place))
    except Exception as error:  # datasets and pyarrow raise a dozen types
        raise UsageError(
            f"{place} is no data set of Hugging Face ({said(error)}): name a folder that save_to_disk has written, or "
            "one of .parquet files"
        ) from error


def _split(found: Any, name: str | None, place: Path) -> Any:
    """The named part of a data set, or its only one."""
    if not isinstance(found, dict):
        if name is not None:
            raise UsageError(f"{place} has no splits: leave out data.split")
        return found
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise UsageError(f"{place} has the splits {', '.join(found)}: {_which(name, list(found))}")
    return found[name]


def _which(name: str | None, names: list[str]) -> str:
    return nearest(name, names) if name else f"choose one, such as data.split={names[0]}"


def _columns(table: Any) -> tuple[str, str | None, int]:
    """The column of images, that of labels, and the number of classes. Raises UsageError where these are not clear."""
    import datasets

    images = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
    if len(images) != 1:
        raise UsageError(
            f"the data set has {len(images) or 'no'} columns of images among {', '.join(table.features)}: keep one of "
            "the type datasets.Image"
        )
    label = next((name for name in LABELS if name in labels), labels[0] if labels else None)
    return images[0], label, table.features[label].num_classes if label else 0


def _bytes(cell: dict[str, Any] | None) -> bytes:
    """The encoded image of a cell, which may name a file instead. Raises UsageError where there is none."""
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise UsageError("the data set has a row without an image: leave such rows out, with Dataset.filter")
    try:
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{cell['path']}, which the data set names, cannot be read ({error.strerror})"
        ) from None
