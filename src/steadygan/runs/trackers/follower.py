"""The process that follows a run folder for one tracker: `python -m steadygan.runs.trackers.follower NAME FOLDER`.

Its messages come as JSON, one a line: first what the run is, then {"line": step} and {"picture": step} where there is
something new in the folder, and {"verdicts": ...}. The record trackers/NAME.json says what the tracker has, so that a
resumed run adds nothing twice. Nothing here imports torch.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from steadygan.config.overrides import LONGEST, read_yaml
from steadygan.errors import UsageError, said
from steadygan.files import fits, lines, parse_json, read_json, read_text, write_whole
from steadygan.runs.trackers.services import SERVICES, About, Tracker

__all__ = ["PATIENCE", "Record", "follow", "record_of"]

PATIENCE = 60.0
"""Seconds that a tracker has for what is left when training ends."""

KEPT = ("step", "images", "wall_s")
"""Keys of a line that are no scalars."""

Record = dict[str, Any]
"""What a tracker has: `ids` of its runs, the last `step` with its `keys`, the last `picture`, the marks of `cards`; and
where to look."""

SHAPE = {
    "ids": [str],
    "place": str,
    "step": int,
    "keys": [str],
    "picture": int,
    "cards": [str],
    "failed": str,
}

CARDS = {"cards": [{"subject": {"member": int, "step": int}, "protocol": dict, "scores": dict}]}


def record_of(folder: Path, name: str) -> Record:
    """The record of a tracker in a run folder, or that of one which has nothing."""
    try:
        found = {
            "cards": [],
            **read_json(folder / "trackers" / f"{name}.json", dict),
        }  # older ones have no cards
    except ValueError:
        found = {}
    if fits(found, SHAPE):
        return found
    return {"ids": [], "place": "", "step": -1, "keys": [], "picture": -1, "cards": [], "failed": ""}


def follow(name: str, folder: Path, messages: Iterator[dict[str, Any]]) -> None:
    """Send what a run folder has, and what comes, to a tracker, until the messages end. A failure is recorded."""
    record = {**record_of(folder, name), "failed": ""}
    try:
        about = next(messages)
        following = _Following(name, folder, about, record)
        ended = False
        for message in messages:
            following.take(message)
            ended = ended or "ended" in message
        following.close(ended)
    except Exception as error:  # whatever the tracker raises
        record["failed"] = said(error)
        raise
    finally:
        _write(folder, name, record)


class _Following:
    """A tracker's runs, one for each member, and the place in the folder up to which they have it."""

    def __init__(self, name: str, folder: Path, about: Mapping[str, Any], record: Record) -> None:
        self.name, self.folder, self.record = name, folder, record
        self.offset, self.said = 0, set[str]()
        known = record["ids"] or [None] * len(about["members"])
        self.runs = [SERVICES[name](one, id) for one, id in zip(_each(folder, about), known)]
        record["ids"], record["place"] = [run.id for run in self.runs], self.runs[0].place
        self._write()
        self._send(self._new(), self._pictures(about["first"]))

    def take(self, message: Mapping[str, Any]) -> None:
        """Send what a message tells of."""
        self._send(self._new(), self._pictures(message.get("picture", -1)))
        for run, found in zip(self.runs, message.get("verdicts", ())):
            self._verdicts(run, message["step"], found)

    def close(self, ended: bool) -> None:
        """Send what is left, and the score cards of `steadygan evaluate`, and close the runs."""
        self._send(self._new(), [])
        self._cards()
        for run in self.runs:
            run.close(ended)

    def _new(self) -> list[dict[str, Any]]:
        """The lines of events.jsonl that are complete and have not been read."""
        found = []
        for line in lines(self.folder / "events.jsonl", self.offset):
            if not line.endswith(b"\n"):
                break
            self.offset += len(line)
            found.append(parse_json(line))
        return found

    def _pictures(self, until: int) -> list[tuple[int, Path]]:
        """The pictures up to a step that have not been sent."""
        found = ((int(path.stem[5:]), path) for path in (self.folder / "samples").glob("step-*.png"))
        return sorted(pair for pair in found if self.record["picture"] < pair[0] <= until)

    def _send(self, new: list[dict[str, Any]], pictures: list[tuple[int, Path]]) -> None:
        """Send lines and pictures in the order of their steps: a tracker may refuse earlier ones."""
        work = [(line["step"], partial(self._line, line["step"], line)) for line in new]
        work += [(step, partial(self._picture, step, path)) for step, path in pictures]
        for _, send in sorted(work, key=lambda each: each[0]):
            send()
        if work:
            self._write()

    def _line(self, step: int, line: dict[str, Any]) -> None:
        last = self.record["step"]
        have = self.record["keys"] if step == last else []
        lost = "diverged" in line
        found = {f"diverged/{index}": index for index in line["diverged"]} if lost else line
        new = {key: value for key, value in found.items() if key not in (*KEPT, *have)}
        if step < last or "stopped" in line or not new:
            return
        if lost:
            for index in new.values():
                self.runs[index].text(step, "verdict", _lost(line["good_step"]))
        else:
            for index, run in enumerate(self.runs):
                run.scalars(step, {key: _number(value, index) for key, value in new.items()})
        self.record["keys"], self.record["step"] = [*have, *new], step

    def _picture(self, step: int, path: Path) -> None:
        self.runs[0].picture(step, path)
        self.record["picture"] = step

    def _cards(self) -> None:
        """Send the score cards of the folder that have not been sent, each to the run of its member."""
        try:
            found = read_json(self.folder / "scores.json", CARDS)["cards"]
        except ValueError:  # there is none, or it is damaged, which `evaluate` says
            return
        for card in found:
            mark = hashlib.sha256(json.dumps(card).encode()).hexdigest()[:16]
            subject = card["subject"]
            if mark in self.record["cards"] or not 0 <= subject["member"] < len(self.runs):
                continue
            name = f"score card, step {subject['step']}, {card['protocol'].get('weights')}"
            words = json.dumps({"scores": card["scores"], "protocol": card["protocol"]})
            self.runs[subject["member"]].text(max(self.record["step"], 0), name, words)
            self.record["cards"].append(mark)
        self._write()

    def _verdicts(self, run: Tracker, step: int, found: list[list[str]]) -> None:
        """The names of the verdicts as scalars, 1 where one holds, and all of them in words."""
        names = [name for name, _ in found]
        self.said.update(names)
        run.scalars(step, {f"verdict/{name}": float(name in names) for name in sorted(self.said)})
        run.text(step, "verdict", "; ".join(words for _, words in found) or "undecided")

    def _write(self) -> None:
        _write(self.folder, self.name, self.record)


def _write(folder: Path, name: str, record: Record) -> None:
    write_whole(folder / "trackers" / f"{name}.json", json.dumps(record) + "\n")


def _each(folder: Path, about: Mapping[str, Any]) -> Iterator[About]:
    """What a tracker is told of each member: the run's configuration and the protocol of its scores."""
    config = read_yaml(read_text(folder / "config.yaml", LONGEST), str(folder / "config.yaml"))
    if not isinstance(config, dict):
        raise UsageError(f"{folder / 'config.yaml'} is damaged: it holds no keys")
    protocol = folder / "evaluation.json"
    if protocol.exists():
        config["protocol"] = read_json(protocol)
    name, several = about["name"], len(about["members"]) > 1
    for index, member in enumerate(about["members"]):
        one = f"{name}-member-{index}" if several else name
        yield About(
            one, name if several else None, folder, {**config, **({"member": member} if several else {})}
        )


def _number(value: Any, member: int) -> float:
    one = value[member] if isinstance(value, list) else value
    return float("nan") if one is None else float(one)


def _lost(good: int | None) -> str:
    return "diverged" if good is None else f"diverged after step {good:,}"


def _messages() -> Iterator[dict[str, Any]]:
    """What comes on the standard input. A thread reads it, so that whoever trains never waits.

    After its end the process has PATIENCE seconds more, whatever its tracker does.
    """
    queue: SimpleQueue[bytes | None] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            queue.put(line)
        queue.put(None)
        last = threading.Timer(PATIENCE + 5, os._exit, [1])  # whoever trains has killed it by then
        last.daemon = True
        last.start()

    threading.Thread(target=read, daemon=True).start()
    while (line := queue.get()) is not None:
        yield json.loads(line)


if __name__ == "__main__":
    os.nice(10)  # where processors are short, training comes first
    follow(sys.argv[1], Path(sys.argv[2]), _messages())
