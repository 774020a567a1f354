"""scores.json: the score cards of a run folder. They are kept, printed and compared here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from steadygan.data.image_files import shape_text
from steadygan.errors import UsageError, command_line, left_out
from steadygan.files import alone, read_json, write_whole
from steadygan.metrics import Card, compare, read_card

__all__ = ["add", "cards", "compare_runs", "known", "print_card"]

SCORES, FORMAT = "scores.json", 1


def cards(folder: Path) -> list[Card]:
    """Read the score cards of a run folder, without damaged ones. Raises UsageError if their file is damaged."""
    file = folder / SCORES
    if not file.exists():
        return []
    try:
        raw = read_json(file, {"format": int, "cards": list})
    except ValueError as error:
        raise UsageError(f"{error}: remove it and evaluate again") from error
    if raw["format"] != FORMAT:
        raise UsageError(f"{file} has another format version: remove it and evaluate again")
    found = []
    for card in raw["cards"]:
        try:
            found.append(read_card(card))
        except UsageError:
            left_out(f"a score card of {file}")
    return found


def add(folder: Path, card: Card) -> None:
    """Keep a card in the folder. It replaces an older card with the same step, member and protocol."""
    with alone(folder / SCORES):  # another evaluation may add one at the same time
        kept = [*(old for old in cards(folder) if not _replaced(old, card)), card]
        raw = {"format": FORMAT, "cards": [card.plain() for card in kept]}
        write_whole(folder / SCORES, json.dumps(raw, indent=1, allow_nan=False) + "\n")


def known(folder: Path, subject: dict[str, Any], protocol: dict[str, Any]) -> Card | None:
    """The card with this subject and protocol, if the folder has one."""
    same = (card for card in cards(folder) if card.subject == subject and card.protocol == protocol)
    return next(same, None)


def _replaced(old: Card, new: Card) -> bool:
    """Whether a new card has the step, member and protocol of an old one."""
    same = all(old.subject.get(key) == new.subject[key] for key in ("step", "member"))
    return same and old.protocol == new.protocol


def _groups(folder: Path) -> list[list[Card]]:
    """The cards of a folder's newest scored step, one group per protocol: EMA weights first, then the newest."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: name a run folder")
    found = cards(folder)
    if not found:
        raise UsageError(f"{folder} has no score cards: make them with {command_line('evaluate', folder)}")
    last = max(card.subject.get("step", 0) for card in found)
    newest = [card for card in reversed(found) if card.subject.get("step", 0) == last]
    groups: list[list[Card]] = []
    for card in sorted(newest, key=lambda card: card.protocol.get("weights") != "EMA"):
        group = next((group for group in groups if group[0].protocol == card.protocol), None)
        if group is None:
            groups.append([card])
        else:
            group.append(card)
    return groups


def _alike(one: list[list[Card]], other: list[list[Card]]) -> tuple[list[Card], list[Card]]:
    """A group of each run with the same protocol, or the first groups, which then cannot be compared."""
    pairs = ((a, b) for a in one for b in other if a[0].protocol == b[0].protocol)
    return next(pairs, (one[0], other[0]))


def print_card(card: Card, console: Console) -> None:
    """Print a card: its scores with their errors, and then the protocol."""
    subject = ", ".join(f"{key} {value}" for key, value in card.subject.items() if key != "sha256")
    table = Table(title=subject, title_justify="left")
    for name in ("score", "value", "sampling error"):
        table.add_column(name)
    for name, score in card.scores.items():
        table.add_row(name, f"{score.value:.5g}", f"{score.error:.2g}")
    console.print(table)
    _print_protocol(card, console)


def _print_protocol(card: Card, console: Console) -> None:
    shown = {**card.protocol, "shape": shape_text(card.protocol.get("shape", []))}
    shown |= {key: str(value)[:12] for key, value in shown.items() if key.endswith("sha256")}
    text = "; ".join(f"{key} {value}" for key, value in shown.items())
    console.print(f"protocol: {text}", markup=False, highlight=False, soft_wrap=True)


def _number(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"


def compare_runs(folders: Sequence[Path], console: Console) -> None:
    """Compare the newest cards of the first run folder with those of each other one, and print a table.

    Raises UsageError for a folder without cards, and for cards with different protocols.
    """
    (first, groups), *others = [(folder, _groups(folder)) for folder in folders]
    for folder, more in others:
        ours, theirs = _alike(groups, more)
        table = Table(box=None, pad_edge=False)
        for name in ("score", "first", "second", "apart", ""):
            table.add_column(name, no_wrap=True)
        for found in compare(ours, theirs):
            verdict = "exceeds noise" if found.exceeds else "noise"
            values = (_number(score.value, score.error) for score in (found.one, found.other))
            table.add_row(found.name, *values, f"{found.apart:.1f}", verdict)
        for name, where, group in (("first", first, ours), ("second", folder, theirs)):
            step = group[0].subject.get("step", "?")
            text = f"{name}: {where}, step {step}, {len(group)} member{'s' if len(group) > 1 else ''}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        console.print(table)
        _print_protocol(ours[0], console)
        text = "±: error of the mean over members, or of sampling for one member. apart: in standard errors"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        if min(len(ours), len(theirs)) < 2:
            text = "the error of one run does not include how seeds differ: train with --seeds 5"
            console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)
