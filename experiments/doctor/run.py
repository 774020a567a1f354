"""How often is the diagnosis right? Runs that are built to have one problem, their outcomes, and their verdicts.

    python -m experiments.doctor.run [--runs runs/doctor] [--seeds 4] [--only TEXT...] [--part test] [--cost]

Each setting of `calibration.py` and `held_out.py` is trained in its own folder under --runs, with its seeds as one
ensemble. Finished runs are not trained again, so new verdicts take seconds. A run counts if its outcome confirms its
problem (`confirmed.py`). The diagnosis does not see the outcome: modes, ranks, distances and movement are measured
apart from events.jsonl. The confusion matrices go to figures.jsonl and docs/doctor.md. Seeds and settings of the test
part were not used for calibration. --cost measures the seconds of the diagnostics passes (`benchmarks.diagnostics`),
side by side with the same training without them.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import script
from benchmarks.diagnostics import cost
from experiments import records
from experiments.doctor.calibration import CALIBRATION
from experiments.doctor.confirmed import confirmed
from experiments.doctor.held_out import HELD_OUT
from experiments.doctor.settings import Setting
from experiments.doctor.training import histories, trained
from experiments.pages import DOCS, replaced
from steadygan.diagnostics import VERDICTS, WELL, History, Series, diagnose

FIGURES, PAGE = Path(__file__).parent / "figures.jsonl", DOCS / "doctor.md"
PARTS = {"calibration": CALIBRATION, "test": HELD_OUT}


def judged(settings: Iterable[Setting], seeds: int, folder: Path) -> list[dict[str, Any]]:
    """For each run: its label, whether its outcome confirms it, and its verdicts, the main one first."""
    found = []
    for setting in settings:
        print(setting.path, flush=True)
        for member, (history, looks) in enumerate(histories(trained(setting, seeds, folder))):
            found.append(
                {
                    "run": f"{setting.path}.{member}",
                    "label": setting.label,
                    "confirmed": confirmed(setting.label, looks),
                    "verdicts": [verdict.name for verdict in diagnose(history)],
                    "warned": warned(history) if setting.label == "healthy" else [],
                }
            )
    return found


def warned(history: History, looks: int = 20) -> list[str]:
    """The warnings during training: every verdict that two evaluations in a row would give."""
    told: set[str] = set()
    before: set[str] = set()
    for look in range(1, looks + 1):
        upto = _until(history, history.facts["steps"] * look // looks)
        now = {verdict.name for verdict in diagnose(upto)} - set(WELL)
        told, before = told | (now & before), now
    return sorted(told)


def _until(history: History, step: int) -> History:
    seen = {key: each.steps <= step for key, each in history.series.items()}
    kept = {
        key: Series(each.steps[seen[key]], each.values[seen[key]]) for key, each in history.series.items()
    }
    return History(kept, {key: fact for key, fact in history.facts.items() if key != "diverged"})


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The confusion matrix of the confirmed runs, and the counts of right verdicts and of false alarms."""
    kept = [each for each in found if each["confirmed"]]
    matrix = Counter((each["label"], each["verdicts"][0]) for each in kept)
    healthy = [each["verdicts"][0] for each in kept if each["label"] == "healthy"]
    return {
        "runs": len(found),
        "left_out": dict(Counter(each["label"] for each in found if not each["confirmed"])),
        "confirmed": len(kept),
        "right": sum(each["verdicts"][0] == each["label"] for each in kept),
        "named": sum(each["label"] in each["verdicts"] for each in kept),
        "healthy": len(healthy),
        "called_ill": sum(name not in WELL for name in healthy),
        "warned": sum(bool(each["warned"]) for each in kept),
        "matrix": {label: dict(_row(matrix, label)) for label in VERDICTS if _row(matrix, label)},
        "wrong": [each for each in kept if each["verdicts"][0] != each["label"]],
    }


def _row(matrix: Counter[tuple[str, str]], label: str) -> list[tuple[str, int]]:
    return [(said, matrix[label, said]) for said in VERDICTS if matrix[label, said]]


def table(figures: dict[str, Any]) -> str:
    """The confusion matrix as Markdown: a row for each built-in problem, a column for each main verdict."""
    said = [name for name in VERDICTS if any(name in row for row in figures["matrix"].values())]
    lines = [f"| built, and confirmed | {' | '.join(said)} |", "|---" * (len(said) + 1) + "|"]
    for label, row in figures["matrix"].items():
        lines.append(f"| {label} | {' | '.join(str(row.get(name, '')) for name in said)} |")
    return "\n".join(lines)


def words(figures: dict[str, Any]) -> str:
    """The figures in a paragraph."""
    left = ", ".join(f"{count} {label}" for label, count in figures["left_out"].items())
    return (
        f"{figures['right']} of {figures['confirmed']} runs have the right main verdict "
        f"({figures['right'] / max(1, figures['confirmed']):.0%}), and {figures['named']} name the problem in any "
        f"verdict. {figures['called_ill']} of {figures['healthy']} healthy runs are called ill at the end, "
        f"{figures['warned']} during training. Of {figures['runs']} runs "
        f"{figures['runs'] - figures['confirmed']} did not have the intended outcome and are left out"
        f"{f' ({left})' if left else ''}."
    )


def costs(found: dict[str, Any]) -> str:
    """The cost of diagnostics passes: a sentence and a table."""
    rows = [
        f"| `{name}` | {of['with_s']:.1f} s | {of['without_s']:.1f} s | {of['share']:+.1%} | {of['step_ms']:.2f} ms | "
        f"{of['examination_ms']:.0f} ms | {of['quickest_share']:+.1%} |"
        for name, of in found.items()
    ]
    return "\n".join(
        [
            "Processor seconds of the same steps with and without four passes, compiled, one EPYC core, medians:\n",
            "| recipe | with passes | without | difference | quickest step | quickest pass | difference by these |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def page(figures: dict[str, dict[str, Any]], text: str) -> str:
    """The page with new figures between the markers of each part."""
    for part, found in figures.items():
        text = replaced(text, part, costs(found) if part == "cost" else f"{words(found)}\n\n{table(found)}")
    return text


def main() -> None:
    """Train what is missing, diagnose, print, and write the page."""
    parser = script.parser(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/doctor"))
    parser.add_argument("--seeds", type=script.positive, default=4)
    parser.add_argument("--part", choices=list(PARTS), action="append")
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--cost", action="store_true")
    given = parser.parse_args()
    if given.cost:
        found = cost()
        print(json.dumps(found, indent=1))
        records.put(FIGURES, "cost", found)
    for part in [] if given.cost and not given.part else given.part or list(PARTS):
        chosen = [each for each in PARTS[part] if any(text in each.path for text in given.only)]
        found = summary(judged(chosen, given.seeds, given.runs))
        print(f"\n{part}: {words(found)}\n\n{table(found)}\n")
        for each in found["wrong"]:
            print(f"  {each['run']}: {', '.join(each['verdicts'])}")
        if len(chosen) == len(PARTS[part]):
            records.put(FIGURES, part, found)
    PAGE.write_text(page(records.read(FIGURES), PAGE.read_text()))


if __name__ == "__main__":
    script.run(main)
