"""The command `steadygan diagnose`: verdicts on a run folder or on the file of a Monitor."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from steadygan import config
from steadygan.diagnostics import VERDICTS, WELL, Events, Verdict, diagnose, read, said
from steadygan.errors import command_line
from steadygan.runs.folder import CONFIG, EVENTS, read_config
from steadygan.runs.live_diagnosis import facts_of

__all__ = ["events_of", "print_diagnosis"]


def events_of(path: Path) -> Events:
    """Read the events of a run folder, with the facts of its configuration, or those of a Monitor's file.

    Raises UsageError if `path` is neither.
    """
    if not path.is_dir():
        return read(path)
    settings = config.parse(read_config(path), str(path / CONFIG))
    return read(path / EVENTS, facts_of(settings))


def print_diagnosis(path: Path, member: int | None, console: Console) -> bool:
    """Print every verdict with its evidence and remedy. Returns True if anything is wrong.

    An ensemble gets one line per member, unless one `member` is asked for.
    """
    events = events_of(path)
    if member is None and events.members > 1:
        found = [diagnose(events.history(index)) for index in range(events.members)]
        lines = [*(_line(i, verdicts) for i, verdicts in enumerate(found)), _counted(found, path)]
    else:
        found = [diagnose(events.history(member or 0))]
        lines = said(found[0]).splitlines()
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return any(verdict.name not in WELL for verdicts in found for verdict in verdicts)


def _line(index: int, verdicts: list[Verdict]) -> str:
    names = [f"{v.name} since step {v.since:,}" if v.since else v.name for v in verdicts]
    return f"member {index}: {', '.join(names)}"


def _counted(found: Sequence[list[Verdict]], path: Path) -> str:
    """How many members have each main verdict, and the command that shows the first one with a problem."""
    counts = Counter(verdicts[0].name for verdicts in found)
    parts = [f"{counts[name]} {name}" for name in VERDICTS if name in counts]
    ill = next((i for i, verdicts in enumerate(found) if verdicts[0].name not in WELL), None)
    more = "" if ill is None else f". For details: {command_line('diagnose', path, '--member', ill)}"
    return f"{len(found)} members: {', '.join(parts)}{more}"
