"""WebDataset shards: tar files whose members of one name are a sample, such as 0001.jpg and 0001.cls."""

import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from steadygan.data.archives import shard_files
from steadygan.data.dataset import Data
from steadygan.data.decoding import Fit
from steadygan.data.items import sample, split
from steadygan.data.stream_data import REFERENCE, SHUFFLE, streamed
from steadygan.data.streams import Opened, Stream
from steadygan.errors import UsageError, said
from steadygan.files import user_path
from steadygan.rng import generator

__all__ = ["webdataset"]


def webdataset(
    path: str,
    size: int | None = None,
    filter: str = "lanczos",
    crop: str = "center",
    colour: str | None = None,
    classes: int = 0,
    reference: int = REFERENCE,
    shuffle: int = SHUFFLE,
) -> Data:
    """The images of WebDataset shards on this machine, which are read while training goes on.

    `path` names tar files, such as shards/{000..127}.tar, or the folder that holds them. A sample is an image file
    (.jpg, .png, .webp, ...) and, where `classes` says how many there are, its class as a number in .cls. `size`,
    `filter`, `crop` and `colour` are those of `image_folder`. The first `reference` samples stand for the stream in
    scores and pictures.

    Every epoch takes the shards in a new order, and shuffles `shuffle` samples at a time. Both are functions of (seed,
    epoch). A process decodes its own samples alone. Raises UsageError for shards that are missing or cannot be read.

    >>> webdataset("/no/such/{0..3}.tar")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    steadygan.errors.UsageError: /no/such/0.tar does not exist; ...
    """
    how = Fit(size, filter, crop, colour).check()
    shards = _shards(path)
    source = Stream(
        partial(_start, shards), lambda item: _parts(item, how), block=shuffle, shuffled=shuffle > 1
    )
    first = (item for shard in shards for item in _samples(shard))
    found = streamed(shards[0].stem, source, source.decode, first, classes=classes, reference=reference)
    return found


def _shards(path: str) -> list[Path]:
    """The tar files that a path with braces, or a folder, names. Raises UsageError where one is missing."""
    if importlib.util.find_spec("webdataset") is None:
        raise UsageError("WebDataset shards are read by webdataset: pip install 'steadygan[streams]'")
    from braceexpand import braceexpand

    given = user_path(path)
    found = sorted(given.glob("*.tar")) if given.is_dir() else [Path(one) for one in braceexpand(str(given))]
    if not found:
        raise UsageError(
            f"{given} has no .tar files: name the folder of the shards, or shards/{{000..127}}.tar"
        )
    for shard in found:
        if not shard.is_file():
            raise UsageError(
                f"{shard} does not exist: give the shards of a WebDataset, such as shards/{{000..127}}.tar"
            )
    return [shard.resolve() for shard in found]


def _start(shards: Sequence[Path], seed: int, epoch: int, state: Any) -> Opened:
    """The samples of all shards, undecoded, in this epoch's order of the shards.

    The state is the number of shards that have been read, and that of the samples taken from the next one.
    """
    order = torch.randperm(len(shards), generator=generator(seed, "shards", epoch)).tolist()
    place = list(state or (0, 0))

    def items() -> Iterator[Any]:
        done, taken = place
        for at in range(done, len(shards)):
            for item in islice(_samples(shards[order[at]]), taken, None):
                taken += 1
                place[:] = at, taken
                yield item
            taken = 0

    return Opened(items(), lambda: list(place))


def _samples(shard: Path) -> Iterator[dict[str, Any]]:
    """The samples of a shard: the bytes of their files by suffix. Raises UsageError for a file that is no tar."""
    from webdataset.tariterators import group_by_keys

    files = shard_files(shard)
    url = {"__url__": str(shard)}
    try:
        yield from group_by_keys(
            {"fname": name, "data": data, **url} for name, data in files if not _is_about(name)
        )
    except UsageError:
        raise
    except Exception as error:  # tarfile and webdataset raise a dozen types
        raise UsageError(f"{shard} cannot be read as a tar file ({said(error)}): copy it again") from error


def _is_about(name: str) -> bool:
    """Whether a file of a shard tells of the shard and is no sample: WebDataset writes such names as __this__."""
    return re.match(r"__[^/]*__($|/)", name) is not None


def _parts(item: dict[str, Any], how: Fit) -> tuple[Any, ...]:
    try:
        image, *label = split(item)
        return sample(image, how), *label
    except UsageError as error:
        raise UsageError(f"sample {item['__key__']} of {item['__url__']}: {error}") from error
