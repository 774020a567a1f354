"""All kinds of trials by their names: what each promises, and how many there are of it."""

from functools import partial

from experiments.faults import caches, configurations, damaged, disk, kills, machine
from experiments.faults.trials import Kind

__all__ = ["KINDS"]

TAKEN = "refused in one sentence, passed over with a note, or the same result; at most 10 s"
RUNS = "run, or one sentence"
SENTENCE = "taken, or one sentence of at most 300 characters; at most 10 s"
ROOM = "one sentence, and the same bits after a resume with room"
SAME = "the same bits after a resume, nothing left over"

KINDS: dict[str, Kind] = {
    "kills of a run": Kind(SAME, 0, 400, partial(kills.kills, "single")),
    "kills of an ensemble": Kind(SAME, 0, 150, partial(kills.kills, "ensemble")),
    "kills of a run that keeps its best": Kind(SAME, 1, 200, partial(kills.kills, "best")),
    "kills of a run that loses a member": Kind(SAME, 0, 100, partial(kills.kills, "lost")),
    "kills of a run of images": Kind(SAME, 0, 50, partial(kills.kills, "digits")),
    "kills of one of two processes": Kind(SAME, 0, 60, partial(kills.pairs, "ensemble")),
    "kills of real processes": Kind(SAME, 0, 40, partial(kills.processes, "best")),
    "stops of a run": Kind(
        "the same bits after SIGCONT; readers and a second `resume` disturb nothing",
        1,
        100,
        partial(kills.stops, "best"),
    ),
    "damaged checkpoints": Kind(TAKEN, 3, 10_000, damaged.checkpoints, 250),
    "other damaged files": Kind(TAKEN, 3, 5_000, damaged.files, 250),
    "damaged caches": Kind(TAKEN, 0, 500, caches.caches, 250),
    "full disk at each change of a run": Kind(ROOM, 1, None, partial(disk.full_disk, "best")),
    "full disk at each change of an ensemble": Kind(ROOM, 0, None, partial(disk.full_disk, "ensemble")),
    "overrides": Kind(SENTENCE, 4, 4_000, configurations.overrides),
    "configurations": Kind(SENTENCE, 3, 1_000, configurations.files),
    "little memory": Kind(RUNS, 1, 100, machine.little_memory),
    "another umask, a clock set back, closed outputs": Kind("the same bits", 1, 50, machine.odd),
    "other locales, encodings and widths": Kind(RUNS, 0, 40, machine.places),
    "an image folder of 100,000 files": Kind(RUNS, 0, 1, machine.tiny_files),
    "compiled programs: no compiler, bad caches": Kind(
        "run, or one sentence; a damaged cache gives the same bits", 0, 34, machine.compiled
    ),
}
