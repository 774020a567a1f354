"""The sentence that says why a run failed."""

from collections.abc import Sequence
from pathlib import Path

from steadygan import config
from steadygan.config.resolve import resolve
from steadygan.runs.folder import read_config
from steadygan.training.events import Diverged, StoppedByDiagnosis

__all__ = ["why"]


def why(ended: Diverged | StoppedByDiagnosis, folder: Path, commands: tuple[str, str]) -> str:
    """Why the run in `folder` failed, and what to do. `commands` diagnose it, and resume it without `stop_on`."""
    who, (diagnose, resume) = _affected(folder, ended.members), commands
    if isinstance(ended, StoppedByDiagnosis):
        return (
            f"stopped early at step {ended.step:,} by stop_on: {ended.verdict.name.replace('_', ' ')} in {who}. For "
            f"details: {diagnose}. To continue anyway: {resume}"
        )
    first = f", first {ended.tensor} at step {ended.began:,}" if ended.began else ""
    return (
        f"diverged: {who} became NaN or infinite between steps {ended.good_step:,} and {ended.step:,}{first}. The last "
        f"good checkpoint is in {folder / 'checkpoints'}. For a remedy: {diagnose}"
    )


def _affected(folder: Path, members: Sequence[int]) -> str:
    """The text for the run, or for these members of an ensemble."""
    if len(resolve(config.parse(read_config(folder))).members) == 1:
        return "the run"
    return f"member{'s' if len(members) > 1 else ''} {', '.join(map(str, members))}"
