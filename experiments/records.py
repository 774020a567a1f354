"""A study's figures: one JSON object a line, in figures.jsonl beside the script that writes its page.

Each line has a `name` that no other line of the file has. A file is always written whole.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steadygan.files import write_whole

Record = dict[str, Any]


def read(file: Path) -> dict[str, Record]:
    """The records of a file by their names, which are not in them; none where there is no file."""
    lines = file.read_text().splitlines() if file.exists() else []
    records = [json.loads(line) for line in lines]
    return {record.pop("name"): record for record in records}


def write(file: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Make these the records of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"name": name, **record}) + "\n" for name, record in records.items()]
    write_whole(file, "".join(lines))


def put(file: Path, name: str, record: Mapping[str, Any]) -> None:
    """Replace the record of this name, or add it at the end; several processes may do so at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file.parent):
        write(file, {**read(file), name: record})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process holds the folder, and hold it: a lock on the file would end when it is replaced."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
