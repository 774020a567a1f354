"""Evaluation: samples of a generator against real ones, by a protocol that goes onto the score card."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from steadygan.data import Data, as_seen
from steadygan.errors import UsageError
from steadygan.files import cache_folder, write_whole
from steadygan.metrics.extractors.base import Extractor, Score, check_images, in_bytes
from steadygan.metrics.extractors.registry import extractor, score_name
from steadygan.metrics.feature_scores import Summary, scores
from steadygan.metrics.kernel import pooled_pixels
from steadygan.metrics.neighbours import memorisation
from steadygan.metrics.points import EXACT, points_scores
from steadygan.metrics.score_card import Card
from steadygan.rng import generator

__all__ = ["Generate", "Progress", "Protocol", "describe", "evaluate", "real_summary", "summarised"]

Generate = Callable[[int], Tensor]
"""Makes so many samples, [n, C, H, W] images in [-1, 1] or [n, d] points."""

Progress = Callable[[str, int, int], None]
"""Told what is being read, how many of it are done, and of how many."""

FORMAT = 1
"""Raise it when statistics come to be made differently, so that kept ones are not used."""

IMAGES, POINTS = 10_000, 2_000
"""How many are generated where nobody says; the exact transport between points is cubic in their number."""

MEMORISED = 10_000
"""How many generated images, the first ones, are looked for among the training images."""


@dataclass(frozen=True)
class Protocol:
    """How a generator is scored; all of it stands on the card, with hashes of the data and of the extractor.

    `extractor` is a name of `metrics.EXTRACTORS` or an `Extractor` (points need none). `generated` samples (10,000
    images or 2,000 points where nobody says) are compared with `real` real ones (None: all) of the data's `split`.
    The generator's random numbers start at `seed`. `weights` and `batch_norm` say which weights these are, raw or
    an average, and what batch norm's statistics are.
    """

    extractor: str | Extractor = "lite0"
    generated: int | None = None
    real: int | None = None
    split: str = "train"
    seed: int = 0
    weights: str = "as given"
    batch_norm: str = "as given"

    def samples(self, data: Data) -> int:
        """How many are generated."""
        return (IMAGES if len(data.shape) == 3 else POINTS) if self.generated is None else self.generated


def evaluate(
    generate: Generate,
    data: Data | Tensor,
    protocol: Protocol = Protocol(),
    *,
    subject: Mapping[str, Any] | None = None,
    batch: int = 500,
    progress: Progress | None = None,
) -> Card:
    """Score `protocol.generated` samples of `generate(count)`, `batch` at a time, against real ones.

    Of images: fd, kd, precision, recall, density, coverage (and is, where the extractor is a classifier) under the
    extractor's name; with held-out images in the data also `memorised_pixels8`. Of points: those of
    `metrics.points_scores`. `data` are a set, or real images [n, C, H, W], uint8 or in [-1, 1]; all images are rounded
    to 8 bits. Neither `batch` nor the number of threads changes a score beyond rounding, unless the generator itself
    makes other samples when it is asked for fewer at once. torch's own random numbers are as before afterwards.
    Raises UsageError for samples of the wrong shape, number or kind, for ones that are not finite, and for too few.
    """
    data = data if isinstance(data, Data) else Data("tensor", tuple(data.shape[1:]), rows=data)
    if len(data.shape) == 3 and data.rows is not None and data.rows.is_floating_point():
        data = data._replace(rows=in_bytes(check_images(data.rows)))
    if protocol.samples(data) < 2 or batch < 1 or (protocol.real is not None and protocol.real < 2):
        raise UsageError("a score compares 2 samples or more on either side, made 1 or more at a time")
    made = _made(generate, data, protocol, batch, progress)
    described = describe(protocol, data)
    if len(data.shape) != 3:
        points = torch.cat(list(made))
        found = points_scores(points, _points(data, len(points)), data.modes)
        return Card(dict(subject or {}), described, found)
    look = _extractor(protocol, data)
    real = real_summary(data, protocol.real, look, batch, progress)
    fake = Summary(look.size)
    pooled: list[Tensor] = []
    for x in made:
        fake.add(*look.read(x))
        pooled.append(pooled_pixels(x)[: max(0, MEMORISED - batch * len(pooled))])
    found = {score_name(name, look.name): score for name, score in scores(fake, real).items()}
    if data.held is not None and protocol.split == "train":
        found["memorised_pixels8"] = _memorised(torch.cat(pooled), data, batch)
    return Card(dict(subject or {}), described, found)


def describe(protocol: Protocol, data: Data) -> dict[str, Any]:
    """What a card says of its protocol: that itself, what the data are, and what they are looked at through."""
    rows = _real_rows(data, protocol.real) if len(data.shape) == 3 else _points(data, protocol.samples(data))
    described = {
        "format": FORMAT,
        "weights": protocol.weights,
        "batch_norm": protocol.batch_norm,
        "data": data.name,
        "data_sha256": _digest(rows),
        "split": protocol.split,
        "shape": list(data.shape),
        "real": len(rows),
        "generated": protocol.samples(data),
        "seed": protocol.seed,
    }
    if len(data.shape) != 3:
        return {**described, "exact": min(EXACT, protocol.samples(data))}
    return {**described, "depth": "8 bits", **_looked_through(_extractor(protocol, data))}


def _extractor(protocol: Protocol, data: Data) -> Extractor:
    look = protocol.extractor
    return extractor(look, channels=data.shape[0]) if isinstance(look, str) else look


def _looked_through(look: Extractor) -> dict[str, str]:
    return {
        "extractor": look.name,
        "extractor_sha256": look.sha256,
        "preprocessing": look.preprocessing,
    }


# ------------------------------------------------------------------------------------------------------- generated


def _made(
    generate: Generate, data: Data, protocol: Protocol, batch: int, progress: Progress | None
) -> Iterator[Tensor]:
    """The generated samples, a checked batch at a time, with torch's random numbers from the protocol's seed."""
    done, count = 0, protocol.samples(data)
    with torch.random.fork_rng():
        torch.manual_seed(protocol.seed)
        while done < count:
            wanted = min(batch, count - done)
            x = _checked(generate(wanted), wanted, data.shape)
            done += wanted
            state = torch.random.get_rng_state()
            yield x
            torch.random.set_rng_state(state)  # whatever was drawn in between
            if progress:
                progress("generated", done, count)


def _checked(x: Tensor, wanted: int, shape: tuple[int, ...]) -> Tensor:
    """The samples if they are what was asked for; images rounded to bytes, as they are when saved."""
    x = x.detach().cpu()
    if x.shape != (wanted, *shape):
        raise UsageError(
            f"the generator was asked for {wanted} samples of shape {list(shape)}, as the real ones have, and made "
            f"{list(x.shape)}: resize, pad or convert them to that"
        )
    if not x.is_floating_point():
        raise UsageError(f"generated samples are floating point, images in [-1, 1], not {x.dtype}")
    if bad := int((~x.flatten(1).isfinite()).any(1).sum()):
        raise UsageError(
            f"{bad} of {wanted} generated samples are not finite: the generator has diverged, so evaluate an "
            "earlier checkpoint"
        )
    return as_seen(in_bytes(check_images(x))) if x.ndim == 4 else x.float()


# ------------------------------------------------------------------------------------------------------------ real


def real_summary(
    data: Data, count: int | None, look: Extractor, batch: int = 500, progress: Progress | None = None
) -> Summary:
    """What scores need of `count` real images (None: all).

    Kept in the user's cache folder under a hash of the images, the extractor and its preprocessing.
    """
    rows = _real_rows(data, count)
    parts = [FORMAT, _digest(rows), *_looked_through(look).values()]
    file = (
        cache_folder()
        / "statistics"
        / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.safetensors"
    )
    kept = _read(file)
    if kept is None:
        kept = summarised(rows, look, batch, progress)
        _write(file, kept)
    return kept


def summarised(
    images: Tensor, look: Extractor, batch: int = 500, progress: Progress | None = None, blocks: int = 1
) -> Summary:
    """What scores need of images [n, C, H, W], bytes or in [-1, 1], read `batch` at a time; 10 `blocks` of fakes."""
    summary = Summary(look.size, blocks=blocks)
    for part in images.split(batch):
        summary.add(*look.read(as_seen(part)))
        if progress:
            progress("real", summary.count, len(images))
    return summary


def _real_rows(data: Data, count: int | None) -> Tensor:
    """The real images of a protocol: all, or `count` that are always the same."""
    assert data.rows is not None
    if count is None or count == len(data.rows):
        return data.rows
    if count > len(data.rows):
        raise UsageError(f"{data.name} has {len(data.rows):,} images, fewer than the {count:,} asked for")
    order = torch.randperm(len(data.rows), generator=generator("real", data.name))
    return data.rows[order[:count].sort().values]


def _points(data: Data, count: int) -> Tensor:
    """Real points, always the same ones, as many as are generated."""
    g = generator("real", data.name)
    if data.rows is not None:
        return as_seen(data.rows[torch.randint(len(data.rows), (count,), generator=g)])
    assert data.draw is not None
    return data.draw(g, count)


def _digest(rows: Tensor) -> str:
    digest = hashlib.sha256(json.dumps([str(rows.dtype), list(rows.shape)]).encode())
    for part in rows.split(10_000):
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def _read(file: Path) -> Summary | None:
    """What was kept, or None where it is not there, cut short or altered: the images are then read again."""
    try:
        raw = file.read_bytes()
        if hashlib.sha256(raw).hexdigest() != file.with_suffix(".sha256").read_text():
            return None
        return Summary.of_tensors(load(raw))
    except (OSError, SafetensorError, KeyError):
        return None


def _write(file: Path, summary: Summary) -> None:
    """Keep it for the next time, where the folder can be written; its checksum goes last."""
    raw = save(summary.tensors())
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, raw)
        file.with_suffix(".sha256").write_text(hashlib.sha256(raw).hexdigest())


def _memorised(pooled: Tensor, data: Data, batch: int) -> Score:
    """How much nearer samples lie to training images than held-out images do, by 8x8-pooled pixels."""
    assert data.rows is not None
    assert data.held is not None
    train, held = (
        torch.cat([pooled_pixels(as_seen(part)) for part in rows.split(batch)])
        for rows in (data.rows, data.held())
    )
    return memorisation(pooled, train, held)
