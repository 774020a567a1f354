"""The contents of a run folder for the report: settings, events, protocol and score cards."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from steadygan import config
from steadygan.config.resolve import schedule_of, scheduled
from steadygan.diagnostics import Events, History
from steadygan.errors import UsageError, left_out
from steadygan.files import lines, read_json
from steadygan.metrics import Card
from steadygan.runs import score_cards as cards
from steadygan.runs.folder import EVALUATION, EVENTS, read_config
from steadygan.runs.live_diagnosis import facts_of

__all__ = ["Reader", "Told", "facts", "names", "rate_fades"]


class Told(NamedTuple):
    """A run so far: `histories` has one per member. A file of a Monitor has no `config`."""

    folder: Path
    config: dict[str, Any]
    histories: list[History]
    diverged: list[dict[str, Any]]
    protocol: dict[str, Any]
    cards: list[Card]

    @property
    def keys(self) -> list[str]:
        """The names of its scalars, in the order in which they were first written."""
        return list(self.histories[0].series)

    @property
    def step(self) -> int:
        """The last step with an event."""
        ends = [int(s.steps.max()) for s in self.histories[0].series.values()]
        return max([*ends, *(line["step"] for line in self.diverged)], default=0)


class Reader:
    """A reader of a run folder or a file of events that grows: each line is read once."""

    def __init__(self, path: Path) -> None:
        """Start with nothing read. Raises UsageError if there is no run."""
        if not path.exists():
            raise UsageError(f"{path} does not exist: name a run folder of steadygan train")
        self.path = path
        self.file = path / EVENTS if path.is_dir() else path
        self.config = read_config(path) if path.is_dir() else {}
        self._again()

    def _again(self) -> None:
        first = self.path / "looks.json"  # as the first version called it
        self.protocol = _protocol(first if first.exists() else self.path / EVALUATION)
        self.events, self.seen = Events(facts(self.config)), 0
        self.inode = self.file.stat().st_ino if self.file.exists() else 0  # of the run with these settings

    def read(self) -> Told:
        """The run as it is now. Raises UsageError if its files cannot be read."""
        try:
            self._grow()
        except OSError as error:
            raise UsageError(
                f"cannot read {self.file} ({error.strerror}): make it readable, or name another run"
            ) from None
        members = [self.events.history(index) for index in range(self.events.members)]
        scored = cards.cards(self.path) if self.path.is_dir() else []
        return Told(self.path, self.config, members, self.events.diverged, self.protocol, scored)

    def _grow(self) -> None:
        """Read the new lines; read all lines if a resumed run has rewritten its file."""
        if not self.file.exists() and self.path.is_dir():
            return self._again()
        found = self.file.stat()
        if found.st_size < self.seen or found.st_ino != self.inode:
            self.config = read_config(self.path) if self.path.is_dir() else {}
            self._again()
        damaged = 0
        for line in lines(self.file, self.seen):
            taken = self.events.take(line)
            if not taken and not line.endswith(b"\n"):  # being written, or torn
                break
            damaged += not taken
            self.seen += len(line)
        if damaged:
            left_out(f"{self.file} (lines: {damaged:,})")
        return None


def facts(raw: dict[str, Any]) -> dict[str, Any]:
    """The facts in a run's settings that diagnostics use; empty if the settings are not valid any more.

    >>> raw = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 9}
    >>> facts(raw)["loss"], facts({})
    ('non_saturating', {})
    """
    try:
        return facts_of(config.parse(raw))
    except UsageError:
        return {}


def rate_fades(raw: dict[str, Any]) -> bool:
    """Whether a learning rate in a run's settings ends below a tenth of its largest value; False if they are not valid.

    >>> raw = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 99}
    >>> rate_fades(raw)
    False
    >>> raw["optimizer"]["lr"] = {"schedule": "linear", "start": 0.1, "stop": 0}
    >>> rate_fades(raw), rate_fades({}), rate_fades({**raw, "steps": 2 * 10**9})
    (True, False, True)
    """
    try:
        settings = config.parse(raw)
    except UsageError:
        return False
    steps = torch.linspace(0, settings.steps - 1, min(settings.steps, 1000), dtype=torch.float64).long()
    rates = [
        schedule_of(model, settings.steps)(steps)
        for path, model in scheduled(settings).items()
        if path.startswith("optimizer.") and path.endswith("lr")
    ]
    return any(bool(rate[-1] < 0.1 * rate.max()) for rate in rates)


def _protocol(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(file, {})
    except ValueError:
        if file.exists():
            left_out(file)
        return {}
    return {key: part for key, part in found.items() if not key.startswith("training_")}  # no part of it


def names(runs: Sequence[Told]) -> list[str]:
    """A name for each run: as many last parts of its path as distinguish it from the others.

    A folder that is given twice has the same name twice.
    """
    paths = [run.folder.resolve() for run in runs]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join(path.parts[-parts:]) for path in paths]
        if max(Counter(found).values()) == max(Counter(paths).values()):
            break
    return found
