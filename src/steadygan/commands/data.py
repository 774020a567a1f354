"""What `steadygan data` does: find image data sets, verify their files and prepare their arrays."""

import gzip
import hashlib
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from steadygan.config import registry
from steadygan.config.field_types import spelled
from steadygan.data import array_cache
from steadygan.data.archives import Bounded
from steadygan.data.folders import any_sizes, image_folder_source
from steadygan.data.image_files import shape_text
from steadygan.data.sources import Source
from steadygan.errors import UsageError, command_line, nearest
from steadygan.progress import report

__all__ = ["SETS", "checksums", "info", "prepare", "size_text", "sources", "verify"]

LISTED = 100
"""The most image names that are printed, one per line."""

SETS = {name: part.known for name, part in registry.DATA.items() if part.known}
"""The named image data sets."""


def sources(
    which: str, root: Path | None, split: str | None, options: dict[str, Any]
) -> list[tuple[str, Source | UsageError]]:
    """Find the splits of a data set, or the images at a path.

    Returns each split's name with its source, or with the error that says why it is missing. Raises UsageError if
    every split is missing, and for an unknown name, split or option.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if which not in SETS:
        if "/" not in which and not Path(which).exists():
            raise UsageError(f"there is no data set or folder {which!r}: {nearest(which, SETS)}")
        return [(split or "all", image_folder_source(which, split=split, **given))]
    unknown = [key for key in given if key not in registry.DATA[which].options]
    if unknown:
        raise UsageError(f"the data set {which} has no option {unknown[0]}: leave out --{unknown[0]}")
    if not SETS[which].counts:
        return [(split or "all", SETS[which].source(root, split, **given))]
    parts = [split] if split else _parts(which)
    found = [(part, _source_or_error(which, root, part, given)) for part in parts]
    reasons = [reason for _, reason in found if isinstance(reason, UsageError)]
    if len(reasons) == len(found):
        raise reasons[0]
    return found


def _parts(which: str) -> list[str]:
    """The splits of a data set, or "all" where it has such a split."""
    counts = SETS[which].counts
    return ["all"] if "all" in counts else list(counts)


def _source_or_error(which: str, root: Path | None, split: str, given: dict[str, Any]) -> Source | UsageError:
    try:
        return SETS[which].source(root, split=split, **given)
    except UsageError as error:
        return error


# ------------------------------------------------------------------------------------------------------------ info


def info(which: str | None, root: Path | None, split: str | None, console: Console) -> None:
    """The command `steadygan data info`: details of one data set or folder, or one line per known data set."""
    if which is None:
        for name in SETS:
            _print(console, f"{name:14}{_summary(name, root)}")
        return
    which = spelled(which, SETS)
    if which in SETS:
        _print(console, f"{which}: {_described(which)}")
    for part, found in sources(which, root, split, {}):
        if isinstance(found, UsageError):
            _print(console, f"{part}: {found}")
            continue
        classes = f", {found.classes} classes" if found.classes else ""
        text = f"{part}: {found.total:,} images {_shape(found)}{classes} in {found.place}{_size(found)}"
        _print(console, text)
        for told in found.notes:
            _print(console, f"  {told}")
        for line in _arrays(found, which, root):
            _print(console, f"  {line}")


def _summary(name: str, root: Path | None) -> str:
    try:
        found = [
            (part, source) for part, source in sources(name, root, None, {}) if isinstance(source, Source)
        ]
    except UsageError as error:
        return str(error)
    counts = ", ".join(f"{part} {source.total:,}" for part, source in found)
    return f"{counts} in {found[0][1].place}"


def _described(name: str) -> str:
    facts = SETS[name]
    counts = ", ".join(f"{part} {count:,}" for part, count in facts.counts.items())
    classes = f"{facts.classes} classes" if facts.classes else "no classes"
    return "; ".join(part for part in (facts.title, shape_text(facts.shape or ()), classes, counts) if part)


def _shape(source: Source) -> str:
    """The shape of the first images that can be decoded, or the error."""
    try:
        images = next((block.images for block in source.blocks(True) if len(block.images)), None)
    except UsageError as error:
        return f"({error})"
    return "that cannot be decoded" if images is None else shape_text(images.shape[1:])


def _size(source: Source) -> str:
    size = sum(entry.size for entry in source.entries)
    files = f" in {len(source.entries):,} files" if len(source.entries) > 1 else ""
    return f" ({size_text(size)}{files})" if size else ""


def size_text(count: int) -> str:
    """A number of bytes in a readable unit.

    >>> size_text(999), size_text(170_498_071), size_text(2_640_397_119)
    ('999 bytes', '170 MB', '2.6 GB')
    """
    if count < 10**4:
        return f"{count} bytes"
    size = count / 1e6
    return f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.0f} MB" if size >= 10 else f"{size:.2f} MB"


def _arrays(source: Source, which: str, root: Path | None) -> Iterator[str]:
    """A line for each prepared array of a source, or a line that says that there is none."""
    if source.direct:
        yield "read directly from there: it needs no prepared array"
        return
    found = list(array_cache.manifests(source))
    for place, manifest, fresh in found:
        yield f"prepared{'' if fresh else ', out of date'}: {place}: {_made(manifest)}"
    if not found:
        command = command_line("data", "prepare", which, *(("--data-root", root) if root else ()))
        yield f"not prepared: the first run prepares it, or run {command}"


def _made(manifest: dict[str, Any]) -> str:
    """How an array was made, as text."""
    words = [f"{manifest['count']:,} images {shape_text(tuple(manifest['shape']))}"]
    if manifest.get("size"):
        crop = "central square" if manifest.get("crop") == "center" else "no crop"
        words.append(f"resized by {manifest.get('filter')}, {crop}")
    if manifest["skipped"]:
        words.append(f"{len(manifest['skipped']):,} corrupt images left out")
    return ", ".join(words)


# ---------------------------------------------------------------------------------------------------------- verify


def verify(which: str, root: Path | None, split: str | None, console: Console) -> None:
    """The command `steadygan data verify`: read all files of a data set. Raises UsageError if one is wrong.

    Images of a folder may differ in shape: it is enough that each one can be decoded.
    """
    which = spelled(which, SETS)
    wrong, known = [], SETS[which].files if which in SETS else {}
    seen: set[Path] = set()
    for part, source in sources(which, root, split, {}):
        if isinstance(source, UsageError):
            _print(console, f"{part}: {source}")
            wrong.append(f"{part} is missing")
            continue
        for file, matches in checksums(source, known, seen):
            _print(console, f"{file}: checksum {'matches' if matches else 'does NOT match'}")
            wrong += [] if matches else [f"{file.name} differs from the published file"]
        count, shape, corrupt = _read_all(source if which in SETS else any_sizes(which, split))
        shape = f" {shape}" if which in SETS else ""
        _print(console, f"{part}: {count:,} images{shape} decoded in {source.place}")
        _print_each(console, "corrupt", [f"{name} ({why})" for name, why in corrupt])
        if corrupt:
            images = "1 image" if len(corrupt) == 1 else f"{len(corrupt):,} images"
            wrong.append(f"{images} of {part if which in SETS else 'it'} cannot be decoded")
        array_cache.check_count(source, count, len(corrupt))
    if wrong:
        remedy = (
            "copy or download the data set again"
            if which in SETS
            else "training leaves them out; make them anew"
        )
        raise UsageError(f"{which} is not complete: {', '.join(wrong)}; {remedy}")
    if not seen:
        _print(console, "no published checksums are known for these files")


def checksums(source: Source, known: Mapping[str, str], seen: set[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file of a source with a known MD5, once, and whether its MD5, packed or unpacked, matches."""
    for entry in source.entries:
        file = source.place if source.place.is_file() else source.place / entry.name
        names = [name for name in (entry.name, entry.name.removesuffix(".gz")) if name in known]
        if names and file not in seen and file.is_file():
            seen.add(file)
            found = {_md5(file, unpacked=name != entry.name) for name in names}
            yield file, not found.isdisjoint(known[name] for name in names)


def _md5(file: Path, *, unpacked: bool = False) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with _opened(file, unpacked) as opened:
            whole = Bounded(opened, file)  # a few bytes unpack to any number
            while block := whole.read(2**20):
                digest.update(block)
    except (EOFError, zlib.error, OSError) as error:
        raise UsageError(f"{file} cannot be read ({error}); download it again") from error
    return digest.hexdigest()


def _opened(file: Path, unpacked: bool) -> IO[bytes]:
    return gzip.open(file) if unpacked else file.open("rb")  # type: ignore[return-value]


def _read_all(source: Source) -> tuple[int, str, list[tuple[str, str]]]:
    """How many images of a source can be decoded, their shape, and the corrupt images with their reasons."""
    count, shape = 0, ""
    corrupt: list[tuple[str, str]] = []
    for block in source.blocks(True):
        count += len(block.images)
        corrupt += block.corrupt
        shape = shape_text(block.images.shape[1:]) if len(block.images) else shape
        report(f"reading {source.name}", count + len(corrupt), source.total)
    return count, shape, corrupt


# --------------------------------------------------------------------------------------------------------- prepare


def prepare(
    which: str, root: Path | None, split: str | None, options: dict[str, Any], skip: bool, console: Console
) -> None:
    """The command `steadygan data prepare`: make the arrays of a data set's splits and print where they are."""
    for part, source in sources(spelled(which, SETS), root, split, options):
        if isinstance(source, UsageError):
            _print(console, f"{part}: {source}")
        elif source.direct:
            _print(console, f"{part}: {source.place} is read directly: it needs no prepared array")
        else:
            began = time.perf_counter()
            manifest, place = array_cache.prepare(source, skip), array_cache.where(source)
            size, seconds = size_text(place.stat().st_size), time.perf_counter() - began
            _print(console, f"{part}: {_made(manifest)}: {place} ({size}, {seconds:.0f} s)")
            _print_each(console, "left out", manifest["skipped"])


def _print_each(console: Console, what: str, names: list[str]) -> None:
    for name in names[:LISTED]:
        _print(console, f"  {what}: {name}")
    if len(names) > LISTED:
        _print(console, f"  {what}: and {len(names) - LISTED:,} more")


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
