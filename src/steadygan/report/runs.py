"""What a run folder tells: its settings, its events so far, its protocol, its score cards, what is wrong with it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from steadygan import cards
from steadygan.diagnostics import Events, History
from steadygan.errors import UsageError
from steadygan.folders import EVENTS, LOOKS, read_config
from steadygan.metrics import Card

__all__ = ["Reader", "Told", "facts", "names"]


class Told(NamedTuple):
    """A run as far as it has come: `histories` has one of each member; a file of a Monitor has no `config`."""

    folder: Path
    config: dict[str, Any]
    histories: list[History]
    diverged: list[dict[str, Any]]
    protocol: dict[str, Any]
    cards: list[Card]

    @property
    def keys(self) -> list[str]:
        """The scalars that it has written, in the order in which they came."""
        return list(self.histories[0].series)

    @property
    def step(self) -> int:
        """The last step that it tells of."""
        ends = [int(s.steps.max()) for s in self.histories[0].series.values()]
        return max([*ends, *(line["step"] for line in self.diverged)], default=0)


class Reader:
    """A run folder, or a file of events, that is read again and again while it grows: each line once."""

    def __init__(self, path: Path) -> None:
        """Begin with nothing read. Raises UsageError where there is no run."""
        if not path.exists():
            raise UsageError(f"{path} does not exist: name a run folder that steadygan train made")
        self.path = path
        self.file = path / EVENTS if path.is_dir() else path
        self.config = read_config(path) if path.is_dir() else {}
        self._again()

    def _again(self) -> None:
        self.events, self.seen, self.inode = Events(facts(self.config)), 0, 0

    def read(self) -> Told:
        """The run as it is now. Raises UsageError where its files cannot be read."""
        try:
            self._grow()
        except OSError as error:
            raise UsageError(f"cannot read {self.file} ({error.strerror}): name a run folder") from None
        members = [self.events.history(index) for index in range(self.events.members)]
        folder = self.path if self.path.is_dir() else None
        return Told(
            self.path,
            self.config,
            members,
            self.events.diverged,
            _protocol(self.path / LOOKS) if folder else {},
            cards.cards(self.path) if folder else [],
        )

    def _grow(self) -> None:
        """Take in the lines that are new; all of them where a resumed run has written its file anew."""
        if not self.file.exists() and self.path.is_dir():
            return self._again()
        found = self.file.stat()
        if found.st_size < self.seen or found.st_ino != self.inode:
            self._again()
            self.inode = found.st_ino
            if self.path.is_dir():
                self.config = read_config(self.path)
                self.events.facts = facts(self.config)
        with self.file.open("rb") as file:
            file.seek(self.seen)
            for line in file:
                if not line.endswith(b"\n"):  # being written, or torn
                    break
                self.seen += len(line)
                self._take(line)
        return None

    def _take(self, line: bytes) -> None:
        try:
            found = json.loads(line.decode(errors="replace"))
        except ValueError:
            return
        if isinstance(found, dict) and isinstance(found.get("facts"), dict):
            self.events.facts |= found["facts"]
        elif isinstance(found, dict):
            self.events.add(found)


def facts(raw: dict[str, Any]) -> dict[str, Any]:
    """What a configuration says of a run besides numbers, as `diagnostics.History` has it.

    >>> facts({"game": {"name": "gan", "loss": {"name": "hinge"}}, "steps": 9})["loss"]
    'hinge'
    """
    if not raw:
        return {}
    game, critic = _part(raw.get("game", "gan")), _part(raw.get("critic", {}))
    count = _part(raw.get("fake_as_real", {})).get("count", 0)
    return {
        "game": game.get("name", "gan"),
        "loss": _part(game.get("loss", "non_saturating")).get("name"),
        "fake_as_real": count != 0,
        "penalties": [_part(each).get("name") for each in critic.get("penalties", ())],
        "normalization": _part(critic.get("normalization", "none")).get("name"),
        "steps": raw.get("steps"),
    }


def _part(raw: Any) -> dict[str, Any]:
    """A part of a configuration, which may be given by its name alone."""
    return raw if isinstance(raw, dict) else {"name": raw}


def _protocol(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def names(runs: Sequence[Told]) -> list[str]:
    """Each run's folder, by as many of the last parts of its path as tell it from the others.

    Two mentions of one folder have its name twice.
    """
    paths = [run.folder.resolve() for run in runs]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join(path.parts[-parts:]) for path in paths]
        if max(Counter(found).values()) == max(Counter(paths).values()):
            break
    return found


