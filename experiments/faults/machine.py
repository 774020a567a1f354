"""Odd machines: little memory, no compiler, read-only, shared or half-written caches, other clocks and places."""

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from ctypes import CDLL, c_uint32
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random

from PIL import Image

from experiments.faults import runs
from experiments.faults.commands import call, fork, judged, real, wait
from experiments.faults.damage import cut, flip, noise
from experiments.faults.kills import Peace, in_peace
from experiments.faults.trials import Outcome

__all__ = ["compiled", "little_memory", "odd", "places", "tiny_files"]

SLOW = 900.0
"""Seconds that a process may take here which loads torch and compiles."""

CAPABILITIES, OVERRIDE, DROP = (0x20080522, 0), 1, 24
"""Linux's numbers: the version of capabilities of this process, to write where one may not, and PR_CAPBSET_DROP."""


def little_memory(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Train with so many MiB more than are taken before the command begins."""
    words = ["train", runs.recipe("single", folder), "networks.width=512", "batch=512"]
    for _ in range(count):
        shutil.rmtree(folder / "run", ignore_errors=True)
        more = int(2 ** chance.uniform(0, 10))
        ended = call([*words, "--out", str(folder / "run")], folder / "log", partial(_limit, more))
        fell = judged(ended, (0, 2))
        yield Outcome(f"{more} MiB: {fell}" if fell else "", ended.seconds)


def _limit(more: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (more << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def odd(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Train with another umask, a clock that goes back, and outputs that are closed: the same bits."""
    peace = in_peace("best", folder)
    for change in islice(cycle(ODD), count):
        yield _same(change, peace, folder)


def _masked(mask: int) -> None:
    os.umask(mask)


def _clock_goes_back() -> None:
    begin = time.time()
    back = iter(range(10**9))
    time.time = lambda: begin - 3600.0 * next(back)


def _no_reader(*numbers: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for number in numbers:
        os.dup2(writer, number)


ODD: tuple[Callable[[], None], ...] = (
    partial(_masked, 0o077),
    partial(_masked, 0o000),
    _clock_goes_back,
    partial(_no_reader, 1),
    partial(_no_reader, 1, 2),
)


def _same(change: Callable[[], None], peace: Peace, folder: Path) -> Outcome:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    ended = call([*peace.words, "--out", str(run)], folder / "log", change)
    fell = judged(ended, (0,)) or runs.differ(peace.held, runs.held(run))
    return Outcome(f"{change}: {fell}" if fell else "", ended.seconds)


PLACES: tuple[Mapping[str, str], ...] = (
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati"},
    {"COLUMNS": "20"},
    {"COLUMNS": "1", "TERM": "dumb", "NO_COLOR": "1"},
)


def places(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Real commands with other locales, encodings and widths, in a folder whose name is not ASCII."""
    recipe, run = runs.recipe("best", folder), folder / "ünï ☃ run"
    commands = [
        ["train", recipe, "--out", str(run)],
        *(
            ["sample", str(run)],
            ["report", str(run), "--out", str(folder / "☃.html")],
            ["diagnose", str(run)],
            ["evaluate", str(run), "-n", "100"],
        ),
        *(["compare", str(run), str(run)], ["list", "config"], ["train", recipe, "steps=☃"]),
    ]
    for environment in islice(PLACES, (count + len(commands) - 1) // len(commands)):
        shutil.rmtree(run, ignore_errors=True)
        for words in commands:
            ended = wait(real(words, folder / "log", environment), SLOW)
            fell = judged(ended, (0, 1, 2), SLOW)
            yield Outcome(f"{words[0]} with {environment}: {fell}" if fell else "", ended.seconds)


def tiny_files(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Train on a folder of 100,000 images of 8 x 8 pixels. One trial, which takes minutes."""
    images = folder / "images"
    images.mkdir()
    for number in range(100_000):
        if number % 1000 == 0:
            first = images / f"{number}.png"
            Image.effect_noise((8, 8), 90).save(first)
        else:
            os.link(first, images / f"{number}.png")
    words = [
        "train",
        "emoji64-fargan",
        "--images",
        str(images),
        "steps=1",
        "compile=false",
        "evaluation.images=100",
    ]
    ended = call([*words, "--out", str(folder / "run")], folder / "log", patience=SLOW)
    yield Outcome(judged(ended, (0, 2), SLOW), ended.seconds)


# ----------------------------------------------------------------------------------- compiled programs


def compiled(chance: Random, count: int, folder: Path) -> Iterator[Outcome]:
    """Compiled runs: no compiler, a read-only cache, two at once with a cold one, and damaged programs in it."""
    words = ["train", runs.recipe("single", folder), "compile=true"]
    yield _compiled(
        "no compiler", words, folder, cache="none", more={"CXX": "/nowhere/c++", "PATH": "/nowhere"}
    )
    yield from _two_at_once(words, folder)
    peace = runs.held(folder / "run-0")
    yield _compiled("a read-only cache", words, folder, cache="shut", first=_shut)
    programs = [path for path in sorted((folder / "both").rglob("*")) if path.is_file()]
    for _ in range(max(0, count - 4)):
        path, damage = chance.choice(programs), chance.choice((cut, flip, noise))
        content = path.read_bytes()
        path.write_bytes(damage(content, chance))
        outcome = _compiled(f"{path.name} damaged", words, folder, cache="both", wanted=peace)
        path.write_bytes(content)
        yield outcome


def _cached(cache: Path, first: Callable[[], None] | None, more: Mapping[str, str]) -> None:
    os.environ |= {"STEADYGAN_CACHE": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"), **more}
    if first:
        first()


def _compiled(
    what: str,
    words: list[str],
    folder: Path,
    *,
    cache: str,
    first: Callable[[], None] | None = None,
    more: Mapping[str, str] = {},
    wanted: dict[str, str] | None = None,
) -> Outcome:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    prepared = partial(_cached, folder / cache, first, more)
    ended = call([*words, "--out", str(run)], folder / "log", prepared, SLOW)
    fell = judged(ended, (0, 2) if wanted is None else (0,), SLOW)
    if wanted and not fell:
        fell = runs.differ(wanted, runs.held(run))
    return Outcome(f"{what}: {fell}" if fell else "", ended.seconds)


def _two_at_once(words: list[str], folder: Path) -> Iterator[Outcome]:
    """Two processes that begin with the same cold cache: both run, and to the same bits."""
    prepared = partial(_cached, folder / "both", None, {})
    pair = [
        fork([*words, "--out", str(folder / f"run-{rank}")], folder / f"log-{rank}", prepared)
        for rank in range(2)
    ]
    for ended in [wait(child, SLOW) for child in pair]:
        fell = judged(ended, (0,), SLOW)
        yield Outcome(f"a cold cache that is shared: {fell}" if fell else "", ended.seconds)
    fell = runs.differ(runs.held(folder / "run-0"), runs.held(folder / "run-1"))
    yield Outcome(f"a cold cache that is shared: {fell}" if fell else "", 0.0, 0)


def _shut() -> None:
    """Go on with a cache folder in which nobody may write, root neither."""
    cache = Path(os.environ["STEADYGAN_CACHE"])
    cache.mkdir(exist_ok=True)
    cache.chmod(0o555)
    libc, head, held = CDLL(None, use_errno=True), (c_uint32 * 2)(*CAPABILITIES), (c_uint32 * 6)()
    libc.prctl(DROP, OVERRIDE, 0, 0, 0)  # of processes that this one starts
    libc.capget(head, held)
    for place in range(3):  # effective, permitted, inherited
        held[place] &= ~(1 << OVERRIDE)
    libc.capset(head, held)
    assert not os.access(cache, os.W_OK, effective_ids=True), "root may still write everywhere"
