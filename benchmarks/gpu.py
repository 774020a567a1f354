"""How fast a training step is on a GPU: naive loops, ours, ours as CUDA graphs, ensembles, half precision.

    python -m benchmarks.gpu [--budget 440] [--out FILE] [--tiny]

Each row is one iteration (the critic's updates, then one of G), per run of an ensemble. `kernels` is the share of the
time in which a kernel runs, `waits` how often the CPU waits for the GPU, `draw` the time of drawing a batch alone, and
`MiB` the most memory in use. `--budget` is the number of seconds after which nothing more is measured: rows that are
left out are named at the end. `--tiny` takes very small networks and compiles nothing: do all rows run, on a CPU too?

The naive loops are what one writes by hand: modules, `.backward()`, `torch.optim`, all on the GPU. Compiled, they have
torch.compile on G, and on D where its gradient is not differentiated again, which torch.compile cannot do. Images are
random. float32 is full float32 on both sides, unless the task says TF32.
"""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import gpu_clock, script
from benchmarks.naive import INTERPOLATED, POOL, Draw, twin_d, twin_g
from benchmarks.step import FASHION, RING
from experiments.out_of_time import OutOfTime, ending
from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.config.registry import NETWORKS
from steadygan.config.resolve import device_of
from steadygan.data import Data
from steadygan.game import Step
from steadygan.training.compile import cuda_graphs, gpu
from steadygan.training.compile.compiled_step import compiled, vectorised

MEMBERS = 16
SECONDS = 1.5
"""What the timing of a row takes. Compiling takes far longer."""

RESNET = {
    "data": "own",
    "networks": {"name": "far_resnet", "width": 64},
    "critic": {"penalties": [{"name": "r1", "weight": 10}]},
    "optimizer": {"name": "rmsprop", "lr": 1e-4},
    "channels_last": True,
    "steps": 100_000,
}
GN = {
    "data": "own",
    "networks": {"name": "gn_cnn", "width": 64},
    "critic": {"normalization": "gradient_normalized"},
    "dynamics": {"name": "alternating", "n_critic": 5},
    "optimizer": {"name": "adam", "lr": 2e-4, "betas": [0.0, 0.9]},
    "precision": "bfloat16",
    "channels_last": True,
    "steps": 100_000,
}
OPTIMIZERS: dict[str, Callable] = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
}


class Task(NamedTuple):
    """A game, the name of its naive twin in `naive.py`, its images (None: points), and the rows that it has."""

    title: str
    settings: dict[str, Any]
    twin: str
    shape: tuple[int, ...] | None
    hows: tuple[str, ...]
    tf32: bool = False


class Work(NamedTuple):
    """What is timed: an iteration, the drawing of its batch alone, how many runs it is, and seconds of compiling.

    `notes` are what the trainer would say of it: that it is not compiled, or has no CUDA graphs.
    """

    iteration: Callable[[], Any]
    draw: Callable[[], Any]
    members: int = 1
    compiling: float | None = None
    notes: Sequence[str] = ()


class Prepared(NamedTuple):
    """A run, its step, and the seconds that compiling took."""

    run: Run
    step: Step
    compiling: float | None
    notes: list[str]


Row = dict[str, Any]
COLUMNS = ("task", "how", "ms", "times", "kernels", "waits", "draw_ms", "compile_s", "MiB")


def tasks(tiny: bool) -> list[Task]:
    """The tasks, those of most interest first."""
    three, one = (3, 32, 32), (1, 32, 32)
    every = ("naive eager", "naive compiled", "ours eager", "ours compiled", "ours, graphs")
    some = ("naive eager", "naive compiled", "ours, graphs")
    many = f"ours, graphs, {2 if tiny else MEMBERS} members"
    points = {**RING, "precision": "float32"}
    images = {**FASHION, "data": "own", "channels_last": True}
    found = [
        Task(
            "ring MLP, FARGAN",
            points,
            "far + r1",
            None,
            ("naive eager", "ours compiled", "ours, graphs", many),
        ),
        Task("DCGAN, FARGAN", images, "far + r1", one, ("naive eager", "ours, graphs", many)),
        Task("ResNet + R1, float32", RESNET, "r1", three, every),
        Task("GN's CNN, 5 D + 1 G, bfloat16, batch 64", GN, "gn", three, some),
        Task(
            "ResNet + R1, TF32",
            RESNET,
            "r1",
            three,
            ("naive eager", "ours, graphs", "ours, graphs, autotune"),
            tf32=True,
        ),
        Task("GN's CNN, 5 D + 1 G, bfloat16, batch 512", {**GN, "batch": 512}, "gn", three, some),
    ]
    return [task._replace(settings=_small(task.settings)) for task in found] if tiny else found


def _small(settings: dict[str, Any]) -> dict[str, Any]:
    """The same game with narrow networks, on few samples."""
    networks = settings["networks"]
    networks = {"name": networks} if isinstance(networks, str) else networks
    far = {"fake_as_real": {"count": 2, "pool": POOL}} if "fake_as_real" in settings else {}
    return {**settings, **far, "networks": {**networks, "width": 2}, "batch": settings.get("batch", 64) // 16}


# ------------------------------------------------------------------------------------------------------------- naive


def naive(task: Task, device: torch.device, *, compiles: bool) -> Work:
    """The loop that one writes by hand, on the GPU."""
    chosen = config.parse(task.settings)
    made = NETWORKS[chosen.networks.name].make
    G, D = made(task.shape or (2,), **chosen.networks.model_dump(exclude={"name"}))
    layout = torch.channels_last if chosen.channels_last else torch.contiguous_format
    G, D = (net.to(device=device, memory_format=layout) for net in (G, D))
    options = task.settings["optimizer"]
    new = partial(OPTIMIZERS[options["name"]], **{k: v for k, v in options.items() if k != "name"})
    optimizers = {"G": new(G.parameters()), "D": new(D.parameters())}
    fast = {"made": torch.compile(G), "plain": torch.compile(D)} if compiles else {"made": G, "plain": D}
    latents = partial(torch.randn, device=device)
    draw = partial(_draw, task, chosen.batch, chosen.networks.latent, _real(task, device), device)
    half = torch.bfloat16 if chosen.precision == "bfloat16" else None
    n_critic = task.settings.get("dynamics", {}).get("n_critic", 1)

    def iteration() -> None:
        with torch.autocast(device.type, half, enabled=half is not None):
            for _ in range(n_critic):
                twin_d(task.twin, fast["made"], D, draw(), fast["plain"])
                optimizers["D"].step()
            twin_g(task.twin, G, D, {"z": latents(chosen.batch, chosen.networks.latent)}, **fast)
            optimizers["G"].step()

    return Work(iteration, draw)


def _real(task: Task, device: torch.device) -> Callable[[int], Tensor]:
    """Real samples: points of the ring, or random images from memory of the device."""
    if task.shape is None:
        angles = torch.arange(8, device=device) * (torch.pi / 4)
        centres = 10 * torch.stack([angles.cos(), angles.sin()], 1)
        noise = partial(torch.randn, device=device)
        return lambda n: (centres[torch.randint(8, (n,), device=device)] + 0.02 * noise(n, 2)) / 1.414
    rows = images(task.shape).to(device)
    return lambda n: rows[torch.randint(len(rows), (n,), device=device)].float() / 127.5 - 1


def _draw(task: Task, batch: int, latent: int, real: Callable[[int], Tensor], device: torch.device) -> Draw:
    found = {"x_real": real(batch), "z": torch.randn(batch, latent, device=device)}
    if task.twin in INTERPOLATED:
        found["alpha"] = torch.rand(batch, device=device)
    far = task.settings.get("fake_as_real")
    return found | ({"z_pool": torch.randn(far["count"] * POOL, latent, device=device)} if far else {})


def images(shape: tuple[int, ...], number: int = 4096) -> Tensor:
    return torch.randint(
        0, 256, (number, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


# -------------------------------------------------------------------------------------------------------------- ours


def works(task: Task, device: torch.device, *, tiny: bool) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Each row of a task, and the function that makes it ready. Rows of one program compile it once."""
    ready = cache(partial(prepared, task, device))
    for how in task.hows:
        if how.startswith("naive"):
            yield how, partial(naive, task, device, compiles=how.endswith("compiled") and not tiny)
        else:
            members = int(how.split()[-2]) if how.endswith("members") else 1
            compiles = "eager" not in how and not tiny
            yield how, partial(_ours, task, partial(ready, members, compiles), graphs="graphs" in how)


def prepared(task: Task, device: torch.device, members: int, compiles: bool) -> Prepared:
    """A run and its step, compiled as the trainer compiles it."""
    data = Own(data=Data("random", task.shape, rows=images(task.shape))) if task.shape else NOTHING
    run = build(config.parse({**task.settings, "seeds": members, "device": str(device)}), data)
    step, notes = vectorised(run.step) if run.ensemble else run.step, list[str]()
    if not compiles:
        return Prepared(run, step, None, notes)
    began = time.perf_counter()
    step = compiled(step, notes.append, _rounding(task, device), device=device)
    step(run.state, run.draws(0))
    return Prepared(run, step, time.perf_counter() - began, notes)


def _rounding(task: Task, device: torch.device) -> str:
    return gpu.rounding(task.settings.get("precision", "float32"), device, tf32=task.tf32)


def _ours(task: Task, ready: Callable[[], Prepared], *, graphs: bool) -> Work:
    """Our iteration with its draws, as the trainer runs it."""
    run, step, compiling, notes = ready()
    if graphs and cuda_graphs.possible(run.device):
        record = cuda_graphs.on_gpu(run.device)
        step = cuda_graphs.replayed(notes.append, _rounding(task, run.device), record)(step)
    state, done, drawn = run.state, count(), count()

    def iteration() -> None:
        nonlocal state
        state, _ = step(state, run.draws(next(done)))

    return Work(iteration, lambda: run.draws(next(drawn)), len(run.members), compiling, notes)


# ------------------------------------------------------------------------------------------------------------- table


def measured(work: Work, device: torch.device, seconds: float) -> Row:
    """The figures of one row, those of an ensemble per run."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    each = gpu_clock.milliseconds(work.iteration, device, seconds)
    busy = gpu_clock.kernel_milliseconds(work.iteration, device)
    return {
        "ms": each / work.members,
        "kernels": None if busy is None else busy / each,
        "waits": gpu_clock.waits(work.iteration, device),
        "draw_ms": gpu_clock.milliseconds(work.draw, device, seconds / 5) / work.members,
        "compile_s": work.compiling,
        "MiB": torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
        "notes": list(work.notes),
    }


def table(
    device: torch.device, budget: float, seconds: float, *, tiny: bool
) -> tuple[list[Row], dict[str, str]]:
    """All rows that the budget allows, printed as they come; and why each other one is left out, by its name."""
    rows: list[Row] = []
    left = {f"{task.title}: {how}": "no time was left" for task in tasks(tiny) for how in task.hows}
    with suppress(OutOfTime), ending(budget / 60):
        for task in tasks(tiny):
            base = None
            for how, make in works(task, device, tiny=tiny):
                name = f"{task.title}: {how}"
                try:
                    with gpu.options(device, tf32=task.tf32, autotune=how.endswith("autotune")):
                        found = measured(make(), device, seconds)
                except (
                    RuntimeError
                ) as error:  # too little memory, or what torch cannot compile: on with the next
                    left[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
                    continue
                base = base or found["ms"]
                rows.append({"task": task.title, "how": how, "times": base / found["ms"], **found})
                del left[name]
                print(line(rows[-1]), *(f"  note: {note}" for note in found["notes"]), sep="\n", flush=True)
    return rows, left


def line(row: Row) -> str:
    """One row of the table; what cannot be measured here is a dash."""
    forms = dict(
        zip(COLUMNS, ("42", "28", "9.3f", "6.2f", "8.0%", "6.1f", "8.3f", "10.0f", "8.0f"), strict=True)
    )
    cells = []
    for name, form in forms.items():
        width = form.partition(".")[0]
        cells.append(f"{'-':>{width}}" if row[name] is None else f"{row[name]:{form}}")
    return " ".join(cells)


def head() -> str:
    return (
        f"{'task':42} {'how':28} {'ms':>9} {'times':>6} {'kernels':>8} {'waits':>6} {'draw ms':>8} {'compile s':>10} "
        f"{'MiB':>8}"
    )


def machine(device: torch.device) -> dict[str, str]:
    """The card, its driver, and the versions of torch and CUDA."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"
    return {
        "card": card,
        "driver": _driver(device),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
    }


def _driver(device: torch.device) -> str:
    if device.type != "cuda":
        return "none"
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(ask, text=True).split("\n")[0].strip()
    return "unknown"


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--budget", type=float, default=440, help="seconds after which no row is measured")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--tiny", action="store_true", help="very small, uncompiled: do all rows run?")
    options = parser.parse_args()
    began, device = time.perf_counter(), device_of("auto")
    where = machine(device)
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    print(head())
    rows, left = table(
        device,
        options.budget - (time.perf_counter() - began),
        0.02 if options.tiny else SECONDS,
        tiny=options.tiny,
    )
    spent = time.perf_counter() - began
    print(f"\n{len(rows)} rows in {spent:.0f} s")
    for name, why in left.items():
        print(f"left out: {name} ({why})")
    if options.out:
        found = {**where, "seconds": spent, "rows": rows, "left_out": left}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    script.run(main)
