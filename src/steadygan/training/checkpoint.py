"""Checkpoints: safetensors and JSON, with a checksum.

A checkpoint is complete or absent: it is written under another name, and renamed when it is on disk.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file
from torch import Tensor

import steadygan
from steadygan.errors import UsageError
from steadygan.files import clear_partial, make_folder, read_json, require_file, sync
from steadygan.game import State

__all__ = ["checkpoints", "clear", "load", "load_newest", "meta", "name", "newest", "prune", "read", "save"]

FORMAT = 1

Read = TypeVar("Read")

Check = Callable[[Path, Mapping[str, Any]], None]
"""Gets the path of a checkpoint and the contents of its meta.json. Raises UsageError if it is not to be used."""


def tensors(state: State) -> dict[str, Tensor]:
    """The tensors of a state by path: `params/G`, `moments/D/square`, `scalars/step`, ..."""

    def walk(tree: object, path: str) -> dict[str, Tensor]:
        if isinstance(tree, Tensor):
            return {path: tree}
        assert isinstance(tree, dict)
        return {k: v for name, part in tree.items() for k, v in walk(part, f"{path}/{name}").items()}

    return {k: v for name, part in state._asdict().items() for k, v in walk(part, name).items()}


def save(folder: Path, state: State, facts: dict[str, object]) -> Path:
    """Write `state` to folder/step-XXXXXXXX and return that path. The checkpoint is complete, or absent.

    meta.json gets `facts` (the layout of parameter vectors, the seeds), the step, the versions, and the size and
    SHA-256 of the tensors. Raises OSError when the disk is full; the folder is then unchanged.
    """
    step = int(state.scalars["step"].flatten()[0])
    target = folder / name(step)
    make_folder(folder)
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        file = partial / "state.safetensors"
        # Clones: an average may share a buffer with its player, and safetensors refuses shared memory.
        save_file(
            {
                k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
                for k, v in tensors(state).items()
            },
            file,
        )
        about = {
            "format": FORMAT,
            "steadygan": steadygan.__version__,
            "torch": torch.__version__,
            "step": step,
            "sha256": _digest(file),
            "bytes": file.stat().st_size,
            **facts,
        }
        (partial / "meta.json").write_text(json.dumps(about, indent=1))
        for part in (file, partial / "meta.json", partial):
            sync(part)
        old = _retired(target)
        if target.exists():  # same step again; if the process is killed here, `clear` restores the old one
            target.rename(old)
        partial.rename(target)
        sync(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        _bring_back(folder)
        raise error if isinstance(error, OSError) else OSError(str(error)) from error
    return target


def name(step: int) -> str:
    """The folder name of the checkpoint at `step`.

    >>> name(250)
    'step-00000250'
    """
    return f"step-{step:08d}"


def is_name(text: str) -> bool:
    """Whether this is the folder name of a checkpoint.

    >>> is_name("step-00000250"), is_name("step-²"), is_name("best")
    (True, False, False)
    """
    return re.fullmatch(r"step-[0-9]{8,18}", text) is not None


def meta(path: Path, check: Check | None = None) -> dict[str, Any]:
    """The contents of meta.json of the checkpoint at `path`. Raises UsageError if it is damaged, or as `check` does."""
    try:
        found: dict[str, Any] = read_json(path / "meta.json", {"format": int, "step": int, "sha256": str})
    except ValueError as error:
        raise UsageError(f"checkpoint {path} cannot be read: {error}") from error
    if found["format"] != FORMAT:
        raise UsageError(
            f"checkpoint {path} has format {found['format']}, but this version reads format {FORMAT}"
        )
    if is_name(path.name) and int(path.name[5:]) != found["step"]:
        raise UsageError(
            f"checkpoint {path} holds step {found['step']}, so its folder was copied or renamed: remove it, or give it "
            "back its name"
        )
    if check:
        check(path, found)
    return found


def read(path: Path, check: Check | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The contents of meta.json and the tensors by path of the checkpoint at `path`.

    Raises UsageError if it is truncated or altered, or as `check` does.
    """
    found = meta(path, check)
    try:
        file = path / "state.safetensors"
        require_file(file)
        size = file.stat().st_size
        # The size first, since a checksum reads all of it. Old checkpoints have none.
        if size != found.get("bytes", size):
            raise UsageError(f"checkpoint {path} is truncated or altered: its size does not match")
        if _digest(file) != found["sha256"]:
            raise UsageError(f"checkpoint {path} is truncated or altered: its checksum does not match")
        return found, _load(file)
    except UsageError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"checkpoint {path} cannot be read ({type(error).__name__}: {error})") from error


def load(path: Path, like: State, check: Check | None = None) -> State:
    """Read the checkpoint at `path` into a state with the layout of `like`.

    Raises UsageError if it is truncated or altered or belongs to other networks than `like`, or as `check` does.
    """
    _, found = read(path, check)
    wanted = tensors(like)
    _check_players(path, _players(found), _players(wanted))
    for name, tensor in wanted.items():
        if name not in found:
            raise UsageError(f"checkpoint {path} has no {name}: it belongs to another configuration")
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise UsageError(
                f"checkpoint {path} has {name} as {_kind(found[name])}, this configuration needs "
                f"{_kind(tensor)}: it belongs to another configuration"
            )
    if extra := sorted(found.keys() - wanted.keys()):
        raise UsageError(f"checkpoint {path} also holds {extra[0]}: it belongs to another configuration")

    def fill(tree: object, path: str) -> object:
        if isinstance(tree, Tensor):
            # A clone has the memory alignment of a step's own results: alignment in the file could change rounding.
            return found[path].clone().to(tree.device)
        assert isinstance(tree, dict)
        return {name: fill(part, f"{path}/{name}") for name, part in tree.items()}

    return State(**{name: fill(part, name) for name, part in like._asdict().items()})  # type: ignore[arg-type]


def _players(names: Iterable[str]) -> list[str]:
    return sorted(name.removeprefix("params/") for name in names if name.startswith("params/"))


def _check_players(path: Path, found: list[str], wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing or len(found) > len(wanted):
        odd = missing or [name for name in found if name not in wanted]
        raise UsageError(
            f"checkpoint {path} {'has no' if missing else 'also holds a'} player {' and '.join(odd)}: it was made "
            f"with the players {', '.join(found)}, and game.name in the configuration wants {', '.join(wanted)}"
        )


def checkpoints(folder: Path) -> list[Path]:
    """The paths of the checkpoints in `folder`, oldest first. Nothing is changed there: another process may train."""
    found = [p for p in folder.glob("step-*") if is_name(p.name) and p.is_dir()]
    return sorted(found, key=lambda p: int(p.name[5:]))


def load_newest(folder: Path, like: State, note: Callable[[str], None], check: Check | None = None) -> State:
    """The state of the newest checkpoint that is intact and that `check` allows, as `newest` finds it."""
    return newest(folder, lambda path: load(path, like, check), note)


def newest(folder: Path, read: Callable[[Path], Read], note: Callable[[str], None]) -> Read:
    """What `read` makes of the newest checkpoint that is intact. `note` gets a sentence on each damaged one.

    Raises UsageError if there is none.
    """
    found = checkpoints(folder)
    if not found:
        raise UsageError(f"{folder} holds no checkpoint: train first, or name another run folder")
    reasons = []
    for path in reversed(found):
        try:
            result = read(path)
        except UsageError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            note(f"{reason}; {path.name} is used instead")
        return result
    raise UsageError(
        f"{reasons[0]}; no checkpoint here can be used: restore one of this run, or start a new run elsewhere"
    )


def prune(folder: Path, step: int, last: int, keep: Collection[Path]) -> None:
    """Remove all checkpoints before `step` but the newest `last` up to it, and those in `keep`.

    Later ones stay: if they could be used, the run would not be at `step`.
    """
    for path in [path for path in checkpoints(folder) if int(path.name[5:]) <= step][:-last]:
        if path not in keep:
            gone = path.with_name(f".{path.name}.gone")
            _remove(gone)
            with suppress(OSError):
                path.rename(gone)  # first, so that no process sees half a checkpoint
            _remove(gone)


def clear(folder: Path) -> None:
    """Remove what a killed process left of checkpoints that it wrote or removed, and undo what it had half replaced.

    Only the run's own process may, before it reads them.
    """
    _bring_back(folder)
    clear_partial(folder)
    for left in (*folder.glob(".step-*.partial"), *folder.glob(".step-*.gone")):
        _remove(left)


def _remove(left: Path) -> None:
    """Remove a checkpoint that is no longer wanted. It may be a link, or damage may have made a file of it."""
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def _retired(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _bring_back(folder: Path) -> None:
    """Undo an interrupted replacement: the old checkpoint was set aside and the new one was not yet in its place."""
    for old in folder.glob(".step-*.old"):
        target = folder / old.name.removeprefix(".").removesuffix(".old")
        if target.exists():
            _remove(old)
        else:
            old.rename(target)


def _digest(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _load(file: Path) -> dict[str, Tensor]:
    try:
        str(file).encode()
    except UnicodeEncodeError:  # safetensors opens no such name
        return load_bytes(file.read_bytes())
    return load_file(file)


def _kind(t: Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}"
