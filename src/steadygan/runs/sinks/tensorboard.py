"""The logger of tensorboard/: the values of events.jsonl as scalars, and the pictures as images."""

import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steadygan.runs.sinks.jsonl import Images, line_of, whole
from steadygan.runs.sinks.samples import sample_name
from steadygan.training.events import Event

__all__ = ["tensorboard_sink"]

KEPT = ("step", "images", "wall_s")
"""Keys that are no scalars of their own: a TensorBoard event has fields for them, or they follow from its step."""


@contextmanager
def tensorboard_sink(
    folder: Path, events: Path, samples: Path, *, drawn: type, images: Images, first: int, wall_s: float
) -> Iterator[Callable[[Event], None]]:
    """Write TensorBoard files to `folder`. Each member of an ensemble is a TensorBoard run in folder/member-N.

    New files replace old ones and start with what the file `events` and the folder `samples` have up to step `first`.
    So a resumed run has each step once, and TensorBoard files can be added late. A new picture is there at each event
    of the type `drawn`. The picture of an ensemble shows its first members and is in `folder` itself.
    """
    board = _Board(folder, time.time() - wall_s)
    for old in (*folder.glob("events.out.tfevents.*"), *folder.glob("member-*/events.out.tfevents.*")):
        old.unlink()
    before = [line for _, line in whole(events)]
    for line in before:
        board.scalars(line)
    for step in sorted({line["step"] for line in before}):
        if step <= first:
            board.picture(samples / sample_name(step), step)

    def sink(event: Event) -> None:
        line = line_of(event, images)
        if line is not None:
            board.scalars(line)
        if isinstance(event, drawn):
            board.picture(samples / sample_name(event.step), event.step)
        board.flush()

    try:
        yield sink
    finally:
        board.close()


class _Board:
    """One writer per TensorBoard run, created at first use. The empty name is the run folder itself."""

    def __init__(self, folder: Path, began: float) -> None:
        self.folder, self.began, self.writers = folder, began, dict[str, Any]()

    def scalars(self, line: Mapping[str, Any]) -> None:
        """Write one line of events.jsonl: numbers, lists with one number per member, null for NaN or infinity."""
        if "diverged" in line or "stopped" in line:
            return
        runs: dict[str, dict[str, float]] = {}
        for key, value in line.items():
            if key in KEPT:
                continue
            each = {f"member-{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {"": value}
            for name, number in each.items():
                runs.setdefault(name, {})[key] = float("nan") if number is None else float(number)
        for name, numbers in runs.items():
            values = [{"tag": key, "simple_value": number} for key, number in numbers.items()]
            self._write(name, line["step"], line.get("wall_s"), values)

    def picture(self, path: Path, step: int) -> None:
        """Write a PNG file as it is, if it exists."""
        if path.exists():
            png = path.read_bytes()
            width, height = struct.unpack(">II", png[16:24])  # of its first chunk, IHDR
            image = {"width": width, "height": height, "colorspace": 3, "encoded_image_string": png}
            self._write("", step, None, [{"tag": "samples", "image": image}])

    def _write(self, name: str, step: int, wall_s: float | None, values: list[dict[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if name not in self.writers:
            self.writers[name] = EventFileWriter(str(self.folder / name))
        when = time.time() if wall_s is None else self.began + wall_s
        self.writers[name].add_event(Record(wall_time=when, step=step, summary={"value": values}))

    def flush(self) -> None:
        """Write everything to the disk."""
        for writer in self.writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self.writers.values():
            writer.close()
