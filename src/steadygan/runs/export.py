"""Export a generator to files that run without steadygan, and check them by running them."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from steadygan.build import Own
from steadygan.errors import UsageError, nearest, printable, said
from steadygan.files import user_path
from steadygan.runs.formats import fresh_process, graphs, python_file
from steadygan.runs.formats.plain import copied, plain
from steadygan.runs.formats.tree import missed
from steadygan.runs.load import Generator, load

__all__ = ["FORMATS", "Exported", "check_format", "export"]

FORMATS = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
"""The formats and the suffixes of their files."""

SAMPLES, TOLERANCE = 64, 1e-5


class Exported(NamedTuple):
    """The files of an export, and the largest difference between 64 of their samples and the original's."""

    files: list[Path]
    difference: float


def export(
    source: str | Path | nn.Module,
    to: str = "safetensors",
    out: str | Path | None = None,
    *,
    latent: int | None = None,
    classes: int = 0,
    member: int = 0,
    average: bool = True,
    use: str | Path | Own | None = None,
) -> Exported:
    """Write a generator to a file, run that file in a new process, and compare 64 samples with the original's.

    `source` is a run folder (`member`, `average` and `use` as in `load`), what `load` returns, or a module that maps
    z [N, latent] to samples; with `classes`, (z, y). `to` is safetensors (a .py file beside it has the source, and
    needs torch alone), torch-export or onnx. `out` defaults to G in the run folder.

    Raises UsageError for an unknown format, and if the file does not run or a sample differs by more than 1e-5 (times
    the largest sample, where that is above 1). Then nothing is written.
    """
    check_format(to)
    G, title = _generator(source, latent, classes, member, average, use)
    target = _target(out if out is not None else _default(source), FORMATS[to])
    inputs = _inputs(G)
    net = plain(G.net)
    wanted, draws = _samples(G, net, inputs)
    if draws and to == "onnx":
        raise UsageError(
            "this network draws random numbers in its forward, and ONNX Runtime draws others, so the file could not be "
            "checked: choose --to safetensors or torch-export"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            written = Path(folder) / target.name
            _write(to, G, net, written, inputs, title)
            difference = compared(wanted, _run(to, net, written, inputs))
            made = sorted(Path(folder).iterdir(), key=lambda path: path.name != target.name)
            for path in made:
                _check_own(target.parent / path.name)
            for path in made:
                if path.is_file():
                    os.replace(path, target.parent / path.name)
    except OSError as error:
        raise UsageError(f"cannot write {target} ({error.strerror}): choose another --out") from None
    return Exported([target.parent / path.name for path in made if path.suffix], difference)


def _check_own(place: Path) -> None:
    """Raise UsageError for a file that no export has written, such as the run's own networks or a checkpoint."""
    source = place.with_suffix(".py") if place.suffix == ".safetensors" else place
    marked = source.exists() and python_file.MARK in source.read_text(errors="replace")
    if place.suffix in (".py", ".safetensors") and place.exists() and not marked:
        raise UsageError(
            f"{place} is there already, and no export wrote it: choose another --out, or move it away"
        )


def check_format(to: str) -> None:
    """Raise UsageError for an unknown format, or one whose packages are missing."""
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}: {nearest(to, FORMATS)}")
    if to == "onnx":
        graphs.check_onnx()


def compared(wanted: Tensor, found: Tensor) -> float:
    """The largest difference of two sets of samples. Raises UsageError if it is too large, or not finite."""
    if found.shape != wanted.shape:
        raise UsageError(
            f"the exported file makes samples {list(found.shape)} instead of {list(wanted.shape)}, so nothing was "
            "written: choose another --to"
        )
    difference = float((wanted - found).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):  # not `>`: NaN must not pass
        raise UsageError(
            f"the exported file's samples differ by {difference:.1g} from the original's, so nothing was written: "
            "choose another --to, or --raw if the average is not finite"
        )
    return difference


def _generator(
    source: str | Path | nn.Module,
    latent: int | None,
    classes: int,
    member: int,
    average: bool,
    use: str | Path | Own | None,
) -> tuple[Generator, str]:
    """The generator of a source, and a title for it."""
    if isinstance(source, str | Path):
        return load(
            user_path(source), member=member, average=average, use=use
        ), f"The generator of {user_path(source).resolve().name}."
    if isinstance(source, Generator):
        return source, "A generator."
    if latent is None:
        raise UsageError("export of a module needs the length of its latents: give latent=N")
    if not isinstance(latent, int):
        raise UsageError(
            f"export of a module needs latents [N, latent]: latent is a whole number, not {latent!r}"
        )
    net = copied(source).eval()  # the caller's module keeps its mode
    z, y = torch.randn(2, latent), torch.zeros(2, dtype=torch.int64)
    try:
        with torch.no_grad():
            x = net(z, y) if classes else net(z)
    except Exception as error:  # whatever the caller's forward raises
        given = "z [N, latent] and labels y [N]" if classes else "z [N, latent]; with labels give classes=N"
        raise UsageError(f"the module fails ({said(error)}): it is called with {given}") from error
    return Generator(net, latent, tuple(x.shape[1:]), classes), f"The generator {type(source).__name__}."


def _default(source: str | Path | nn.Module) -> Path:
    if isinstance(source, nn.Module):
        raise UsageError("export of a module needs a file to write: give out=PATH")
    return user_path(source) / "G"


def _target(out: str | Path, suffix: str) -> Path:
    path = user_path(out)
    if not path.name or path.is_dir():
        raise UsageError(f"{str(path)!r} names no file: choose another --out, such as {path / 'G'}")
    other = next((to for to, end in FORMATS.items() if path.suffix == end != suffix), None)
    if other:
        raise UsageError(f"{path} has the suffix of {other}: add --to {other}, or choose another --out")
    return path if path.suffix == suffix else path.with_name(path.name + suffix)


def _inputs(G: Generator) -> tuple[Tensor, ...]:
    """64 latents, and labels of all classes in turn."""
    z = G.latents(SAMPLES)
    return (z, torch.arange(SAMPLES) % G.classes) if G.classes else (z,)


@torch.no_grad()
def _samples(G: Generator, net: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, bool]:
    """The samples of G, and whether its network draws noise of its own: then those of `net`, with the seed SEED."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fresh_process.SEED)
        before = torch.random.get_rng_state()
        found = net(*inputs)
        draws = not torch.equal(before, torch.random.get_rng_state())
    return (found if draws else G(*inputs)), draws


def _write(to: str, G: Generator, net: nn.Module, file: Path, inputs: tuple[Tensor, ...], title: str) -> None:
    try:
        if to == "safetensors":
            python_file.write(net, file, _facts(G, file, title))
        else:
            {"torch-export": graphs.write_program, "onnx": graphs.write_onnx}[to](net, file, inputs)
    except (OSError, UsageError):
        raise
    except Exception as error:  # whatever torch, or the reader of sources, finds in a network of the user's
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        sized = "write x.shape[0] for len(x) in its forward, or " if "specialized" in str(error) else ""
        instead = "--to torch-export" if to == "safetensors" else "another --to"
        raise UsageError(
            f"this network cannot be written as {to} ({reason}): {sized}choose {instead}"
        ) from error


def _run(to: str, net: nn.Module, file: Path, inputs: tuple[Tensor, ...]) -> Tensor:
    """The samples of the file in a new process. An attribute that could not be written is named."""
    try:
        return fresh_process.samples(to, file, inputs)
    except UsageError as error:
        if to == "safetensors" and (sentence := missed(net, str(error))):
            raise UsageError(sentence) from None
        raise


def _quoted(name: str) -> str:
    """A name within a text of Python in quotes."""
    return printable(name).replace("\\", "\\\\").replace('"', '\\"')


def _facts(G: Generator, file: Path, title: str) -> dict[str, object]:
    """What the head of the .py file says."""
    labels = f" and labels y [N] of 0 to {G.classes - 1}" if G.classes else ""
    call = "torch.randn(64, LATENT)" + (", torch.arange(64) % CLASSES" if G.classes else "")
    names = {"title": title, "weights": file.name, "module": file.stem}
    return {
        **{key: _quoted(name) for key, name in names.items()},
        "names": "CLASSES, LATENT, load" if G.classes else "LATENT, load",
        "call": call,
        "latent": G.latent,
        "labels": labels,
        "sides": "".join(f", {side}" for side in G.shape),
        "classes": G.classes,
        "shape": G.shape,
    }
