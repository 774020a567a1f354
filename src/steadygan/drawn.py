"""The pictures that `steadygan sample` draws of a run's newest checkpoint: samples, reconstructions, a traversal."""

from pathlib import Path

from steadygan import pictures, reconstructed, run, traversal
from steadygan.errors import UsageError
from steadygan.folders import Note
from steadygan.sinks.samples import picture

__all__ = ["draw"]


def draw(
    folder: Path,
    count: int,
    out: Path | None,
    *,
    average: bool,
    member: int,
    note: Note,
    label: int | None = None,
    reconstruct: bool = False,
    traverse: int | None = None,
) -> str:
    """Draw one picture of about `count` samples to `out`, or into the folder, and say in a line what it holds.

    Raises UsageError when more than one of `label`, `reconstruct` and `traverse` is asked for.
    """
    if sum((label is not None, reconstruct, traverse is not None)) > 1:
        raise UsageError(
            "--label, --reconstruct and --traverse are pictures of three kinds: choose one of them"
        )
    if reconstruct:
        name, what = "reconstructions", "reconstructions"
        image, count = reconstructed.picture(folder, count, average=average, member=member, note=note)
    elif traverse is not None:
        name, what = f"traversal-{traverse}", f"samples by code {traverse}"
        image, count = traversal.picture(folder, traverse, count, average=average, member=member, note=note)
    else:
        name, what = "samples", "samples"
        found, real, columns = run.sample(
            folder, count, average=average, member=member, note=note, label=label
        )
        image = pictures.grid(found, columns) if found.ndim == 4 else picture(found, real, folder.name)
    target = out or folder / f"{name}.png"
    pictures.save(image, target)
    return f"{count} {what}: {target}"
