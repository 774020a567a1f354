"""Whether the training data of a run are those that it was trained on before it stopped."""

import hashlib
from pathlib import Path
from typing import Any

from steadygan.data.dataset import Data, rows_sha256
from steadygan.files import read_json
from steadygan.runs.folder import EVALUATION

__all__ = ["changed", "training_data"]


def training_data(data: Data) -> dict[str, Any]:
    """What a run folder keeps of its training data: the number of rows, and one SHA-256 of rows and labels.

    A stream has no rows, and nothing is kept of it.
    """
    if data.rows is None:
        return {}
    parts = [rows_sha256(part) for part in (data.rows, data.labels) if part is not None]
    return {
        "training_rows": len(data.rows),
        "training_sha256": hashlib.sha256("".join(parts).encode()).hexdigest(),
    }


def changed(folder: Path, found: dict[str, Any]) -> str | None:
    """A sentence if the training data of the run in `folder` were others than those `found` now, else None."""
    try:
        kept = read_json(folder / EVALUATION, {"training_rows": int, "training_sha256": str})
    except ValueError:
        return None  # not known: the run is of an older version
    before = kept["training_rows"], kept["training_sha256"]
    if not found or before == (found["training_rows"], found["training_sha256"]):
        return None
    return (
        f"the training data have changed since this run stopped ({before[0]:,} rows then, {found['training_rows']:,} "
        "now): its scores before and after are not comparable; restore the old data, or start a new run"
    )
