"""Evaluation: score the samples of a generator against real samples. The protocol is written to the score card."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from steadygan.data import Data, as_seen
from steadygan.data.dataset import rows_sha256
from steadygan.errors import UsageError, said
from steadygan.files import BINARY, cache_folder, read_whole, write_whole
from steadygan.metrics.extractors.base import Extractor, Score, check_images, in_bytes, read_by
from steadygan.metrics.extractors.registry import extractor, score_name
from steadygan.metrics.feature_scores import Summary, scores
from steadygan.metrics.hash_sampling import chosen
from steadygan.metrics.image_sets import as_tensor, black_and_white, in_range, looks_like_units, next_ones
from steadygan.metrics.kernel import pooled_pixels
from steadygan.metrics.neighbours import memorisation
from steadygan.metrics.points import EXACT, points_scores
from steadygan.metrics.score_card import Card
from steadygan.parallel import ALONE, Processes, by_rows
from steadygan.progress import report
from steadygan.rng import generator

__all__ = ["Generate", "Protocol", "describe", "evaluate", "real_summary", "summarised"]

Generate = Callable[[int], Tensor]
"""Makes the given number of samples: images [n, C, H, W] in [-1, 1], or points [n, d]."""

FORMAT = 1
"""Version of the stored statistics. Raise it when their computation changes, so that old files are not used."""

IMAGES, POINTS = 10_000, 2_000
"""Samples to generate by default. The exact transport between points is cubic in their number."""

MEMORISED = 10_000
"""The most generated images that are compared with the training images."""

FEWEST = 20
"""The fewest images that have a score."""


@dataclass(frozen=True)
class Protocol:
    """How a generator is scored. A card has all these fields, with hashes of the data and of the extractor.

    `extractor` is a name of `metrics.EXTRACTORS` or an `Extractor`. Points need none. `generated` is the
    number of samples: by default 10,000 images or 2,000 points. They are compared with `real` real images (None:
    all), or with as many real points as there are samples. The `split` test takes the held-out images of a data
    set that has some; train, and any other name, takes its rows. `seed` starts the generator's random numbers.
    `weights` says whether the weights are raw or averaged. `batch_norm` says which statistics batch norm uses.
    """

    extractor: str | Extractor = "lite0"
    generated: int | None = None
    real: int | None = None
    split: str = "train"
    seed: int = 0
    weights: str = "as given"
    batch_norm: str = "as given"

    def __post_init__(self) -> None:
        """Make the counts and the seed plain ints. Raises UsageError for other numbers."""
        for name, bits in (("generated", 31), ("real", 31), ("seed", 63)):
            value = getattr(self, name)
            if value is None and name != "seed":
                continue
            whole = index(value) if isinstance(value, SupportsIndex) and not isinstance(value, bool) else -1
            if not 0 <= whole < 2**bits:
                raise UsageError(f"{name} is {value!r}: give a whole number from 0 to 2^{bits} - 1")
            object.__setattr__(self, name, whole)  # a numpy integer is none that JSON can hold

    def samples(self, data: Data) -> int:
        """The number of generated samples."""
        return (IMAGES if data.images else POINTS) if self.generated is None else self.generated


def evaluate(
    generate: Generate | Any,
    data: Data | Any,
    protocol: Protocol = Protocol(),
    *,
    value_range: tuple[float, float] | None = None,
    subject: Mapping[str, Any] | None = None,
    batch: int = 500,
    sharing: Processes = ALONE,
) -> Card:
    """Score `protocol.generated` samples of `generate(count)` against real samples; return a score card.

    `data` is a data set, or real images. Either side may be a tensor [n, C, H, W], an array, a list of arrays or of
    Pillow's images, or a DataLoader or dataset of torch (`as_tensor`). All generated images of a set are scored by
    default. Images are uint8 or floating point in [-1, 1], and are rounded to 8 bits. Samples are generated `batch` at
    a time.

    `value_range` is the range of floating-point images on both sides, such as (0, 1). Without it, a set of images that
    lies in [0, 1] is refused if the real images have darker values (`looks_like_units`).

    Images are scored by fd, kd, precision, recall, density and coverage, named after the extractor. A
    classifier as extractor adds `is`. Data with held-out images add `memorised_pixels8`. Points are scored by
    `metrics.points_scores`.

    Processes that are `sharing` the evaluation each read the features of their rows; `generate` returns all samples
    on each of them.

    `batch` and the number of threads change a score only by rounding. An exception is a generator whose
    samples depend on the batch size. The state of torch's random numbers is restored afterwards. Raises
    UsageError on samples of the wrong shape, number or type, on samples that are not finite, and on too few
    samples.
    """
    _check_asked(protocol, batch)
    batch = index(batch)
    value_range = None if value_range is None else black_and_white(value_range)
    as_tensors = not isinstance(data, Data)
    data = _asked_rows(_real(data, value_range), protocol)
    if value_range not in (None, (-1, 1)) and len(data.shape) != 3:
        raise UsageError(
            f"value_range is the range of images, and samples of shape {list(data.shape)} are none: leave it out"
        )
    if not callable(generate):
        rows = as_tensor(generate)
        protocol = _of_set(protocol, len(rows))
        generate = next_ones(rows)
    _check_suits(protocol, data, as_tensors)
    made = _made(generate, data, protocol, batch, value_range)
    described = describe(protocol, data)
    if not data.images:
        points = torch.cat(list(made)).flatten(1)
        found = points_scores(points, _points(data, len(points)).flatten(1), data.modes)
        return Card(dict(subject or {}), described, found)
    extract = _extractor(protocol, data)
    real = real_summary(data, protocol.real, extract, batch)
    fake = Summary(extract.size)
    looked_for = chosen(protocol.samples(data), MEMORISED)
    pooled: list[Tensor] = []
    for x in made:
        pooled.append(pooled_pixels(x)[looked_for[fake.count : fake.count + len(x)]])
        fake.add(*by_rows(partial(read_by, extract), x, sharing))
    found = {score_name(name, extract.name): score for name, score in scores(fake, real).items()}
    if data.held is not None and protocol.split == "train" and len(held := data.held()) > 1:
        found["memorised_pixels8"] = _memorised(torch.cat(pooled), data, held, batch)
    return Card(dict(subject or {}), described, found)


def _check_asked(protocol: Protocol, batch: int) -> None:
    """Raise UsageError for arguments of another kind."""
    if not isinstance(protocol, Protocol):
        raise UsageError(f"the protocol is a metrics.Protocol, not {protocol!r}: write Protocol('pixels8')")
    if not isinstance(protocol.extractor, str | Extractor):
        raise UsageError(
            f"an extractor is a name or a metrics.Extractor, not {protocol.extractor!r}: choose lite0 or pixels8"
        )
    if not isinstance(batch, SupportsIndex) or index(batch) < 1:
        raise UsageError(f"samples are generated in batches of 1 or more, not {batch!r}")


def _check_suits(protocol: Protocol, data: Data, as_tensors: bool) -> None:
    """Raise UsageError where the samples are too few, or not of the kind that the protocol asks for.

    The samples of a data set are what they are. Those that were given `as_tensors` may be images without channels.
    """
    if protocol.samples(data) < 2 or (protocol.real is not None and protocol.real < 2):
        raise UsageError("a score needs 2 samples or more on each side")
    if data.images:
        if data.rows is None:
            raise UsageError(f"data {data.name} has no rows: give a set of images to compare with")
        fewer = min(protocol.samples(data), protocol.real or len(data.rows))
        if fewer < FEWEST:
            raise UsageError(f"a score of {fewer} images means nothing: take {FEWEST} or more on each side")
        return
    if protocol.real is not None:
        raise UsageError("points are compared with as many real ones as there are samples: leave out real")
    if as_tensors and len(data.shape) > 1 and protocol.extractor != Protocol().extractor:
        raise UsageError(
            f"an extractor reads images [n, 1 or 3, H, W] with sides of 8 or more, not samples of shape "
            f"{list(data.shape)}: add the axis of channels, or leave the extractor out to score them as points"
        )


def _asked_rows(data: Data, protocol: Protocol) -> Data:
    """The held-out samples of a data set that has some, where the protocol asks for the split `test`."""
    if protocol.split != "test" or data.held is None:
        return data
    return data._replace(rows=data.held(), held=None, labels=None, mapped=None)


def describe(protocol: Protocol, data: Data) -> dict[str, Any]:
    """The protocol as written on a card: the settings, the data and the extractor, with hashes."""
    data = _asked_rows(data, protocol)
    rows = _real_rows(data, protocol.real) if data.images else _points(data, protocol.samples(data))
    described = {
        "format": FORMAT,
        "weights": protocol.weights,
        "batch_norm": protocol.batch_norm,
        "data": data.name,
        "data_sha256": rows_sha256(rows),
        "split": protocol.split,
        "shape": list(data.shape),
        "real": len(rows),
        "generated": protocol.samples(data),
        "seed": protocol.seed,
    }
    count = protocol.samples(data)
    if not data.images:
        return {**described, "exact": count if count <= EXACT else f"{EXACT} at random"}
    if count > MEMORISED and data.held is not None:
        described["memorised"] = f"{MEMORISED} at random"
    return {**described, "depth": "8 bits", **_extraction_protocol(_extractor(protocol, data))}


def _extractor(protocol: Protocol, data: Data) -> Extractor:
    extract = protocol.extractor
    return extractor(extract, channels=data.shape[0]) if isinstance(extract, str) else extract


def _extraction_protocol(extract: Extractor) -> dict[str, str]:
    return {
        "extractor": extract.name,
        "extractor_sha256": extract.sha256,
        "preprocessing": extract.preprocessing,
    }


# ------------------------------------------------------------------------------------------------------- generated


def _made(
    generate: Generate,
    data: Data,
    protocol: Protocol,
    batch: int,
    value_range: tuple[float, float] | None,
) -> Iterator[Tensor]:
    """Yield the generated samples batch by batch, checked. The protocol's seed starts torch's random numbers.

    After the last one, their range is checked.
    """
    done, count, ranges = 0, protocol.samples(data), []
    kind = "images" if data.images else "samples"
    report(f"generated {kind}", 0, count, kind)
    with torch.random.fork_rng():
        torch.manual_seed(protocol.seed)
        while done < count:
            wanted = min(batch, count - done)
            x = in_range(as_tensor(_generated(generate, wanted)).detach(), value_range or (-1, 1))
            if data.images and x.is_floating_point() and x.numel() and bool(x.isfinite().all()):
                ranges.append(x.aminmax())
                _check_reach("generated", x, value_range)
            x = _checked(x, wanted, data)
            done += wanted
            state = torch.random.get_rng_state()
            yield x
            torch.random.set_rng_state(state)  # whatever was drawn in between
            report(f"generated {kind}", done, count, kind)
    if ranges and value_range is None and not _all_bright(data):
        lows, highs = zip(*ranges)
        _check_units("generated", torch.stack(lows).min().item(), torch.stack(highs).max().item())


def _generated(generate: Generate, count: int) -> Any:
    try:
        return generate(count)
    except (TypeError, AttributeError) as error:  # as of a layer, or of a view, that gets a number
        if not isinstance(generate, torch.nn.Module):
            raise
        raise UsageError(
            "samples come from a function of their number, and a generator takes latents: pass "
            f"lambda n: G(torch.randn(n, latent)), with latent=G.latent of a loaded one ({said(error)})"
        ) from error


def _of_set(protocol: Protocol, count: int) -> Protocol:
    """The protocol for a set of `count` generated samples, of which it takes all unless it says how many."""
    wanted = count if protocol.generated is None else protocol.generated
    if wanted > count:
        raise UsageError(f"there are only {count:,} generated samples, not {wanted:,}: ask for fewer")
    return replace(protocol, generated=wanted)


def _all_bright(data: Data) -> bool:
    """Whether the real images have no value that is clearly darker than mid-grey."""
    assert data.rows is not None
    return looks_like_units(*(v.item() / 127.5 - 1 for v in data.rows.aminmax()))


def _check_reach(which: str, images: Tensor, value_range: tuple[float, float] | None) -> None:
    """Raise UsageError if many values of images, brought from their range to [-1, 1], lie far outside of it."""
    if value_range == (-1, 1) or (images.abs() > FAR).double().mean() <= 0.01:
        return
    raise UsageError(
        f"the {which} images lie far outside of value_range={value_range}: give their values of black and white"
        if value_range
        else f"the {which} images lie far outside of [-1, 1]: scale them, or give value_range=(black, white); "
        "value_range=(-1, 1) cuts them to that range and scores them"
    )


FAR = 2
"""The largest magnitude of most values in [-1, 1]: networks without a tanh exceed 1, though not by that much."""


def _check_units(which: str, low: float, high: float) -> None:
    """Raise UsageError if images seem to be in [0, 1]."""
    if looks_like_units(low, high):
        raise UsageError(
            f"the {which} images lie in [{low:.3g}, {high:.3g}], as if 0 were black, but floating-point images are "
            f"expected in [-1, 1]: pass 2 * x - 1, or value_range=(0, {1 if high < 1.5 else 2}) if it holds on both "
            "sides; value_range=(-1, 1) scores them as they are"
        )


def _checked(x: Tensor, wanted: int, data: Data) -> Tensor:
    """Check the samples' shape and values; round images to 8 bits, as they are when saved."""
    if x.shape != (wanted, *data.shape):
        raise UsageError(
            f"the generator was asked for {wanted} samples of shape {list(data.shape)}, that of the real samples, but "
            f"returned {list(x.shape)}: resize, pad or convert them"
        )
    if data.images and x.dtype == torch.uint8:
        return as_seen(x)
    if not x.is_floating_point():
        small = (
            ""
            if data.images
            else f"; samples of shape {list(data.shape)} are no images (1 or 3 channels, 8x8)"
        )
        raise UsageError(
            f"generated samples must be floating point, images uint8 or in [-1, 1], not {x.dtype}{small}: convert them"
        )
    if bad := int((~x.flatten(1).isfinite()).any(1).sum()):
        raise UsageError(
            f"{bad} of {wanted} generated samples are not finite: the generator has diverged; evaluate an "
            "earlier checkpoint"
        )
    return as_seen(in_bytes(check_images(x))) if data.images else x.float()


# ------------------------------------------------------------------------------------------------------------ real


def _real(data: Data | Any, value_range: tuple[float, float] | None) -> Data:
    """The real samples as a data set, images as bytes."""
    if not isinstance(data, Data):
        given = as_tensor(data)
        if given.ndim < 2:
            raise UsageError(
                f"real samples are images [n, C, H, W] or points [n, d], not {list(given.shape)}"
            )
        data = Data("tensor", tuple(given.shape[1:]), rows=given)
    rows = data.rows
    if len(data.shape) != 3 or rows is None or rows.dtype == torch.uint8:
        return data
    if not rows.is_floating_point():
        raise UsageError(f"real images are uint8 or floating point, not {rows.dtype}: convert them")
    if rows.numel() and bool(rows.isfinite().all()):
        low, high = in_range(torch.stack(rows.aminmax()), value_range or (-1, 1)).tolist()
        _check_reach("real", in_range(rows[:1000], value_range or (-1, 1)), value_range)
        if value_range is None:
            _check_units("real", low, high)
        elif value_range != (-1, 1) and high - low < 0.2:
            raise UsageError(
                f"the real images fill less than a tenth of value_range={value_range}: give their values of black and "
                "white, such as (0, 1), or the images as bytes"
            )
    rounded = partial(_rounded, value_range=value_range or (-1, 1))
    held = data.held
    return data._replace(rows=rounded(rows), held=held and (lambda: rounded(held())))


def _rounded(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Floating-point images of a range as bytes."""
    return in_bytes(check_images(in_range(images, value_range))) if images.is_floating_point() else images


def real_summary(data: Data, count: int | None, extract: Extractor, batch: int = 500) -> Summary:
    """The summary of `count` real images (None: all) that the scores need.

    It is kept in the user's cache folder where the extractor has a SHA-256. The file name is a hash of the images, the
    extractor and its preprocessing.
    """
    rows = _real_rows(data, count)
    if extract.sha256 in ("", "none"):  # another network may have this name tomorrow
        return summarised(rows, extract, batch)
    parts = [FORMAT, rows_sha256(rows), *_extraction_protocol(extract).values()]
    file = (
        cache_folder()
        / "statistics"
        / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.safetensors"
    )
    kept = _read(file)
    if kept is None:
        kept = summarised(rows, extract, batch)
        _write(file, kept)
    return kept


def summarised(images: Tensor, extract: Extractor, batch: int = 500, blocks: int = 1) -> Summary:
    """The summary of images [n, C, H, W] that the scores need.

    Images are uint8 or in [-1, 1], and are read `batch` at a time. Use 10 `blocks` for fakes, whose errors
    need them.
    """
    summary = Summary(extract.size, blocks=blocks)
    report("features of images", 0, len(images))
    for part in images.split(batch):
        summary.add(*read_by(extract, as_seen(part)))
        report("features of images", summary.count, len(images))
    return summary


def _real_rows(data: Data, count: int | None) -> Tensor:
    """The real images of a protocol: all of them, or `count` images that are always the same."""
    assert data.rows is not None
    if count is None or count == len(data.rows):
        return data.rows
    if count > len(data.rows):
        raise UsageError(
            f"{data.name} has only {len(data.rows):,} images, not {count:,}: ask for fewer real ones"
        )
    order = torch.randperm(len(data.rows), generator=generator("real", data.name))
    return data.rows[order[:count].sort().values]


def _points(data: Data, count: int) -> Tensor:
    """As many real points as are generated; always the same points, each once where there are enough."""
    g = generator("real", data.name)
    if data.rows is not None:
        size = len(data.rows)
        enough = count <= size
        chosen = (
            torch.randperm(size, generator=g)[:count]
            if enough
            else torch.randint(size, (count,), generator=g)
        )
        return as_seen(data.rows[chosen])
    assert data.draw is not None
    return data.draw(g, count)


def _read(file: Path) -> Summary | None:
    """The stored summary, or None if it is missing, truncated or changed. The images are then read again."""
    try:
        raw = read_whole(file, BINARY)
        if hashlib.sha256(raw).hexdigest().encode() != read_whole(file.with_suffix(".sha256")):
            return None
        return Summary.of_tensors(load(raw))
    except (ValueError, SafetensorError, KeyError):
        return None


def _write(file: Path, summary: Summary) -> None:
    """Store the summary if the folder can be written. The checksum is written last."""
    raw = save(summary.tensors())
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, raw)
        write_whole(file.with_suffix(".sha256"), hashlib.sha256(raw).hexdigest())


def _memorised(pooled: Tensor, data: Data, held: Tensor, batch: int) -> Score:
    """`memorisation` on 8x8-pooled pixels: how often a fake is nearer to the training images than a held-out image."""
    assert data.rows is not None
    train, others = (
        torch.cat([pooled_pixels(as_seen(part)) for part in rows.split(batch)]) for rows in (data.rows, held)
    )
    return memorisation(pooled, train, others)
