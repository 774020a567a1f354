"""All kinds of trials by their names: what each promises, and how many there are of it."""

from functools import partial

from experiments.faults import damaged, disk, kills
from experiments.faults.trials import Kind

__all__ = ["KINDS"]

TAKEN = "refused in one sentence, passed over with a note, or the same result; at most 10 s"
ROOM = "one sentence, and the same bits after a resume with room"
SAME = "the same bits after a resume, nothing left over"

KINDS: dict[str, Kind] = {
    "kills of a run": Kind(SAME, 9, 400, partial(kills.kills, "single")),
    "kills of an ensemble": Kind(SAME, 3, 150, partial(kills.kills, "ensemble")),
    "kills of a run that keeps its best": Kind(SAME, 9, 200, partial(kills.kills, "best")),
    "kills of a run that loses a member": Kind(SAME, 3, 100, partial(kills.kills, "lost")),
    "kills of a run of images": Kind(SAME, 3, 50, partial(kills.kills, "digits")),
    "kills of one of two processes": Kind(SAME, 3, 60, partial(kills.pairs, "ensemble")),
    "kills of real processes": Kind(SAME, 0, 40, partial(kills.processes, "best")),
    "stops of a run": Kind(
        "the same bits after SIGCONT; readers and a second `resume` disturb nothing",
        2,
        100,
        partial(kills.stops, "best"),
    ),
    "damaged checkpoints": Kind(TAKEN, 30, 10_000, damaged.checkpoints),
    "other damaged files": Kind(TAKEN, 30, 5_000, damaged.files),
    "full disk at each change of a run": Kind(ROOM, 6, 1000, partial(disk.full_disk, "best")),
    "full disk at each change of an ensemble": Kind(ROOM, 0, 1000, partial(disk.full_disk, "ensemble")),
}
