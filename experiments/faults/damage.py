"""Damages: of bytes, of JSON, and of a folder of checkpoints, each a function of the chance."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["FOLDERS", "altered", "bytes_damaged", "damage_file", "damage_folder"]

Bytes = Callable[[bytes, Random], bytes]


def flip(content: bytes, chance: Random) -> bytes:
    """One bit is the other one."""
    if not content:
        return b"\0"
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, chance: Random) -> bytes:
    """The end is missing."""
    return content[: chance.randrange(len(content) + 1)]


def grow(content: bytes, chance: Random) -> bytes:
    """There is more at the end."""
    return content + chance.randbytes(chance.choice((1, 8, 4096)))


def zero(content: bytes, chance: Random) -> bytes:
    """A block of zeros, as a disk may have after a power loss."""
    size = chance.choice((1, 16, 512, 4096))
    begin = chance.randrange(len(content) + 1)
    return content[:begin] + bytes(min(size, len(content) - begin)) + content[begin + size :]


def swap(content: bytes, chance: Random) -> bytes:
    """Two halves are the other way round."""
    middle = chance.randrange(len(content) + 1)
    return content[middle:] + content[:middle]


def noise(content: bytes, chance: Random) -> bytes:
    """Other bytes altogether."""
    return chance.randbytes(chance.choice((0, 1, len(content))))


BYTES: tuple[Bytes, ...] = (flip, flip, flip, cut, cut, grow, zero, swap, noise)

WRONG = (
    *("null", "true", "-1", "0", "1e308", "1e999", "-1e999", "NaN", "1" + "0" * 400, "0.5", str(2**63)),
    *('""', '"²"', '"../../x"', '"\\ud800"', '"\\u0000"', '"' + "x" * 100_000 + '"', "[]", "{}", "[[1]]"),
    *('{"a": {"a": 1}}', "[" * 2000 + "]" * 2000, '["a", null]', "[" + "1," * 100_000 + "1]", '"[red]"'),
)
"""Values, as JSON, that no field of ours has."""

MARK = "\x01wrong\x01"


def altered(content: bytes, chance: Random) -> bytes:
    """JSON of which one field has another value, is missing, or has another name."""
    tree = json.loads(content)
    holder, key = chance.choice(list(_fields(tree)) or [(None, None)])
    if holder is None:
        return chance.choice(WRONG).encode()
    how = chance.random()
    if how < 0.1:
        del holder[key]
    elif how < 0.2 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder[key] = MARK
    text = json.dumps(tree, indent=1)
    return text.replace(json.dumps(MARK), chance.choice(WRONG)).encode()


def _fields(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a tree with each of its keys or places."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, part in list(pairs):
        yield tree, key
        yield from _fields(part)


def bytes_damaged(name: str, content: bytes, chance: Random) -> bytes:
    """A file's content, damaged: as what it says where it is JSON, else as bytes."""
    if name.endswith(".json") and content and chance.random() < 0.7:
        return altered(content, chance)
    if name.endswith(".jsonl") and content and chance.random() < 0.7:
        lines = content.splitlines(keepends=True)
        number = chance.randrange(len(lines))
        line = b" ".join(altered(lines[number], chance).split()) + b"\n"
        return b"".join([*lines[:number], line, *lines[number + 1 :]])
    return chance.choice(BYTES)(content, chance)


def damage_file(path: Path, chance: Random) -> str:
    """Damage a file, or put something else in its place. Returns what was done."""
    how = chance.random()
    if how < 0.9:
        path.write_bytes(bytes_damaged(path.name, path.read_bytes(), chance))
        return f"{path.name} damaged"
    path.unlink()
    if how < 0.92:
        return f"{path.name} removed"
    if how < 0.94:
        path.mkdir()
        return f"{path.name} a folder"
    if how < 0.96:
        path.symlink_to(chance.choice((path, path.parent / "nowhere", Path("/dev/null"), Path("/dev/zero"))))
        return f"{path.name} a link"
    if how < 0.98:
        os.mkfifo(path)
        return f"{path.name} a pipe"
    with path.open("wb") as file:
        file.truncate(1 << 34)  # 16 GiB that take no room
    return f"{path.name} huge"


def swap_folders(checkpoints: Path, foreign: Path, chance: Random) -> None:
    """Two checkpoints have each other's names."""
    one, other = chance.sample(sorted(checkpoints.glob("step-*")), 2)
    kept = one.with_name("kept")
    one.rename(kept)
    other.rename(one)
    kept.rename(other)


def rename_folder(checkpoints: Path, foreign: Path, chance: Random) -> None:
    """A checkpoint has the name of another step, or one that is none."""
    one = chance.choice(sorted(checkpoints.glob("step-*")))
    names = ("step-00000099", "step-00000005", "step-99999999", "step-²", "step-6", ".step-00000006.old")
    one.rename(one.with_name(chance.choice(names)))


def take_foreign(checkpoints: Path, foreign: Path, chance: Random) -> None:
    """A checkpoint is that of another run with the same shapes, or one of its files is."""
    theirs = chance.choice(sorted(foreign.glob("step-*")))
    ours = checkpoints / theirs.name
    name = chance.choice(("", "meta.json", "state.safetensors"))
    if not name or not ours.exists():
        shutil.rmtree(ours, ignore_errors=True)
        shutil.copytree(theirs, ours)
    else:
        shutil.copy(theirs / name, ours / name)


def mix_files(checkpoints: Path, foreign: Path, chance: Random) -> None:
    """A file of one checkpoint lies in another."""
    one, other = chance.sample(sorted(checkpoints.glob("step-*")), 2)
    name = chance.choice(("meta.json", "state.safetensors"))
    shutil.copy(one / name, other / name)


def remove_folder(checkpoints: Path, foreign: Path, chance: Random) -> None:
    """A checkpoint is gone, or all are."""
    found = sorted(checkpoints.glob("step-*"))
    for one in chance.choice((found, found[-1:], found[:1])):
        shutil.rmtree(one)


def empty_folder(checkpoints: Path, foreign: Path, chance: Random) -> None:
    """A checkpoint is there and empty, or a file."""
    one = chance.choice(sorted(checkpoints.glob("step-*")))
    shutil.rmtree(one)
    chance.choice((one.mkdir, one.touch))()


FOLDERS = (swap_folders, rename_folder, take_foreign, take_foreign, mix_files, remove_folder, empty_folder)


def damage_folder(checkpoints: Path, foreign: Path, chance: Random) -> str:
    """Damage a folder of checkpoints as a whole, perhaps by parts of a `foreign` run's. Returns what was done."""
    how = chance.choice(FOLDERS)
    how(checkpoints, foreign, chance)
    return how.__name__
