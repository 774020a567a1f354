"""How fast a training step is: naive loops, eager and compiled, JAX, our step, ensembles, and the DCGAN step.

    python -m benchmarks.step [--repeats 5] [--threads 1] [--skip-images]

Everything is measured side by side, one after the other, and reported as the median over the repeats. The naive
loops are what one writes by hand: modules, `.backward()`, `torch.optim`. All draw their own data. JAX has rows where it
is installed (the extra `bench`). Without Fashion-MNIST the table of the DCGAN step is left out.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import jax_step, script
from steadygan import config
from steadygan.build import NOTHING, Own, Run, build
from steadygan.errors import UsageError
from steadygan.networks import dcgan, mlp
from steadygan.training.advance import TOGETHER, advancing
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.compile.cpu import LARGE, keep_memory, products, work
from steadygan.training.flop_meter import Meter

RING = {
    "data": {"name": "ring8", "scale": 10.0},
    "networks": "mlp",
    "critic": {"penalties": [{"name": "r1", "weight": 10}]},
    "fake_as_real": {"count": 16, "pool": 8},
    "optimizer": {"name": "sgd", "lr": 0.003},
    "steps": 100_000,
}
FASHION = {
    "data": "fashion_mnist",
    "networks": {"name": "dcgan", "width": 64},
    "critic": {"penalties": [{"name": "r1", "weight": 10}]},
    "fake_as_real": {"count": 32, "pool": 8},
    "optimizer": {"name": "rmsprop", "lr": 1e-4},
    "steps": 100_000,
}


ENSEMBLES = 16, 64, 256
STRETCH = 64


class Candidate(NamedTuple):
    """A function, how often it is called in a repeat, its largest product (0: as torch multiplies), and the steps that
    it takes, those of all runs together.
    """

    iteration: Callable[[], None]
    calls: int
    largest: int = 0
    steps: int = 1


def naive(
    G: nn.Module,
    D: nn.Module,
    optimizer: Callable,
    real: Callable[[int], torch.Tensor],
    latent: int,
    count: int,
    batch: int = 64,
    pool: int = 8,
    k: float = 10.0,
) -> Callable[[], None]:
    """FARGAN's Algorithm 1 as an ordinary eager iteration."""
    optimizer_D, optimizer_G = optimizer(D.parameters()), optimizer(G.parameters())

    def iteration() -> None:
        x_real = real(batch - count)
        with torch.no_grad():
            fakes = G(torch.randn(batch + pool * count, latent))
            x_fake, candidates = fakes[:batch], fakes[batch:]
            selected = candidates[D(candidates).topk(count, largest=False).indices]
        c = torch.cat([x_real, selected]).requires_grad_()
        logits = D(c)
        (gradient,) = torch.autograd.grad(logits.sum(), c, create_graph=True)
        penalty = gradient.square().flatten(1).sum(1).mean()
        loss_D = F.softplus(-logits).mean() + F.softplus(D(x_fake)).mean() + k * penalty
        optimizer_D.zero_grad()
        loss_D.backward()
        optimizer_D.step()

        loss_G = F.softplus(-D(G(torch.randn(batch, latent)))).mean()
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()

    return iteration


def naive_compiled(
    G: nn.Module,
    D: nn.Module,
    real: Callable[[int], torch.Tensor],
    latent: int,
    count: int,
    options: dict[str, Any],
    batch: int = 64,
    pool: int = 8,
    k: float = 10.0,
) -> Callable[[], None]:
    """The same iteration with both losses and their gradients under torch.compile.

    They are functions of the parameters, because torch.compile cannot differentiate a compiled module twice.
    """
    optimizers = {net: torch.optim.SGD(net.parameters(), 0.003) for net in (G, D)}
    call = torch.func.functional_call

    def critic(D_now: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return call(D, D_now, (x,))

    def loss_D(D_now: dict, G_now: dict, x_real: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        fakes = call(G, G_now, (z,))
        x_fake, candidates = fakes[:batch], fakes[batch:]
        selected = candidates[critic(D_now, candidates).detach().topk(count, largest=False).indices]
        c = torch.cat([x_real, selected])
        gradient = torch.func.grad(lambda x: critic(D_now, x).sum())(c)
        penalty = gradient.square().flatten(1).sum(1).mean()
        real_term, fake_term = F.softplus(-critic(D_now, c)).mean(), F.softplus(critic(D_now, x_fake)).mean()
        return real_term + fake_term + k * penalty

    def loss_G(G_now: dict, D_now: dict, z: torch.Tensor) -> torch.Tensor:
        return F.softplus(-critic(D_now, call(G, G_now, (z,)))).mean()

    gradients_D, gradients_G = (
        torch.compile(torch.func.grad(loss), fullgraph=True, options=options) for loss in (loss_D, loss_G)
    )

    def now(net: nn.Module) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in net.named_parameters()}

    def move(net: nn.Module, gradients: dict[str, torch.Tensor]) -> None:
        for name, p in net.named_parameters():
            p.grad = gradients[name]
        optimizers[net].step()

    def iteration() -> None:
        z = torch.randn(batch + pool * count, latent)
        move(D, gradients_D(now(D), now(G), real(batch - count), z))
        move(G, gradients_G(now(G), now(D), torch.randn(batch, latent)))

    iteration()  # compiles
    return iteration


def ours(
    settings: dict, calls: int, own: Own = NOTHING, together: int | None = TOGETHER, **overrides: object
) -> tuple[Candidate, Run, float]:
    """Our step with its own draws, as the trainer takes it `calls` times; also the seconds that compiling took.

    The trainer takes all steps up to the next event at once: here up to `STRETCH`. `together` members of an ensemble
    are one block.
    """
    each = min(calls, STRETCH)
    chosen = config.parse({**settings, **overrides})
    run = build(chosen, own)
    largest = work(run.game, chosen.batch * len(run.members))
    step = vectorised(run.step) if run.ensemble else run.step
    began = time.perf_counter()
    if overrides.get("compile", True):
        step = compiled(step, print, overrides.get("precision", "float32"))
        with products(largest):
            advancing(step, run.draws, together=together)(run.state, 0, 1)
    seconds = time.perf_counter() - began
    advance = advancing(step, run.draws, together=together, stretch=run.draws.stretch)
    state, number = run.state, 0

    def iteration() -> None:
        nonlocal state, number
        _, state, _ = advance(state, number, number + each)
        number += each

    return Candidate(iteration, calls // each, largest, each * len(run.members)), run, seconds


def interleaved(
    candidates: Mapping[str, Candidate | tuple[Callable[[], None], int]], repeats: int
) -> dict[str, float]:
    """Median milliseconds of a step: every repeat times each candidate in turn, so that load hits all alike.

    Ours run as the trainer runs them, in a process that keeps freed memory, and the naive ones, by their names, in one
    that has the C library as it is. Threads do not survive the fork: with more than one all run here, as it is.
    """
    each = {name: Candidate(*given) for name, given in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    with ExitStack() as stack:
        alone = torch.get_num_threads() == 1
        timers = [stack.enter_context(_timer(each, kept)) if alone else None for kept in (False, True)]
        for name, one in each.items():
            _ask(timers, name, one, max(3, one.calls // 20))
        for _ in range(repeats):
            for name, one in each.items():
                times[name].append(_ask(timers, name, one, one.calls))
    return {name: statistics.median(values) for name, values in times.items()}


def _ask(timers: list[Connection | None], name: str, one: Candidate, calls: int) -> float:
    chosen = timers["naive" not in name]
    if chosen is None:
        return _timed(one, calls)
    chosen.send((name, calls))
    return chosen.recv()


@contextmanager
def _timer(each: Mapping[str, Candidate], kept: bool) -> Iterator[Connection]:
    """A forked process that times a candidate whenever it is asked for one."""
    here, there = Pipe()

    def serve() -> None:
        if kept:
            keep_memory()
        for name, calls in iter(there.recv, None):
            there.send(_timed(each[name], calls))

    process = get_context("fork").Process(target=serve, daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.send(None)
        process.join(10)


def _timed(one: Candidate, calls: int) -> float:
    """Milliseconds of a step. With one thread they are the processor's, so that other work does not count."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    with products(one.largest):
        began = clock()
        for _ in range(calls):
            one.iteration()
        return (clock() - began) / calls / one.steps * 1e3


def peak_gflops(size: int = 1024) -> float:
    """Fastest float32 matrix product measured here, by whichever library, in GFLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = 0.0
    for largest in (0, LARGE):
        with products(largest):
            for _ in range(8):
                began = time.perf_counter()
                a @ b
                best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return best


def ring_table(repeats: int) -> None:
    G, D = mlp((2,))
    angles = torch.arange(8) * (torch.pi / 4)
    centres = 10 * torch.stack([angles.cos(), angles.sin()], 1)

    def real(n: int) -> torch.Tensor:
        return (centres[torch.randint(8, (n,))] + 0.02 * torch.randn(n, 2)) / 1.414

    candidates = {
        "naive eager loop": Candidate(naive(G, D, lambda p: torch.optim.SGD(p, 0.003), real, 2, 16), 300),
        "naive loop compiled": Candidate(naive_compiled(*mlp((2,)), real, 2, 16, {}), 300),
        "naive loop compiled, cpp_wrapper": Candidate(
            naive_compiled(*mlp((2,)), real, 2, 16, {"cpp_wrapper": True}), 300
        ),
    }
    candidates["our eager step"], run, _ = ours(RING, 100, compile=False)
    candidates["our compiled step"], _, first = ours(RING, 1000)
    for members in ENSEMBLES:
        name = f"ensemble of {members}, per run"
        candidates[name], _, second = ours(RING, max(STRETCH, 2048 // members), seeds=members)
    candidates |= jax_candidates()
    medians = interleaved(candidates, repeats)
    with Meter() as meter:
        run.step(run.state, run.draws(0))
    peak = peak_gflops()
    roof = meter.flops / peak / 1e6
    print(f"\nFARGAN on a ring, batch 64, one iteration, {torch.get_num_threads()} thread(s)")
    report(medians, "naive eager loop")
    print(
        f"{'floor: FLOPs over measured peak':52} {roof:8.3f} ms   ({meter.flops / 1e6:.1f} MFLOP, {peak:.0f} GFLOP/s)"
    )
    print(f"compiling took {first:.0f} s, the largest ensemble {second:.0f} s")


def jax_candidates(steps: int = 64) -> dict[str, Candidate]:
    """The rows of JAX; none, and why in a sentence, where it is not installed."""
    if not jax_step.installed() or torch.get_num_threads() > 1:
        print("\nThe rows of JAX are left out: they need JAX (the extra `bench`) and one thread.")
        return {}
    scan = f"JAX, lax.scan over {steps} steps"
    return {
        "JAX, jit": Candidate(jax_step.iteration(1), 1000),
        scan: Candidate(jax_step.iteration(steps), 16, steps=steps),
        **{
            f"{scan}, vmap over {members}, per run": Candidate(
                jax_step.iteration(steps, members), max(1, 32 // members), steps=steps * members
            )
            for members in ENSEMBLES
        },
    }


def fashion_images() -> torch.Tensor | None:
    """The training images; None, and why in a sentence, where they are missing."""
    try:
        return build(config.parse({**FASHION, "compile": False})).data.rows
    except UsageError as error:
        print(f"\nThe table of the DCGAN step is left out: {error}")
        return None


def image_table(repeats: int, rows: torch.Tensor) -> None:
    def loop(channels_last: bool) -> Callable[[], None]:
        G, D = dcgan((1, 32, 32))
        layout = torch.channels_last if channels_last else torch.contiguous_format
        G, D = G.to(memory_format=layout), D.to(memory_format=layout)
        return naive(
            G,
            D,
            lambda p: torch.optim.RMSprop(p, 1e-4),
            lambda n: (rows[torch.randint(len(rows), (n,))].float() / 127.5 - 1).contiguous(
                memory_format=layout
            ),
            128,
            32,
        )

    fast = {"precision": "bfloat16", "channels_last": True}
    candidates = {
        "naive eager loop": (loop(False), 5),
        "naive eager loop, channels-last": (loop(True), 5),
        "our eager step": ours(FASHION, 5, compile=False, channels_last=True)[0],
        "our compiled step": ours(FASHION, 5, channels_last=True)[0],
        "our eager step, bfloat16": ours(FASHION, 5, compile=False, **fast)[0],
        "our compiled step, bfloat16": ours(FASHION, 5, **fast)[0],
    }
    print(f"\nFARGAN's DCGAN on 1x32x32, N0 = 32, f = 8, one iteration, {torch.get_num_threads()} thread(s)")
    report(interleaved(candidates, repeats), "naive eager loop")


def report(medians: dict[str, float], baseline: str) -> None:
    for name, value in medians.items():
        print(f"{name:52} {value:8.3f} ms   {medians[baseline] / value:5.2f}x")


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=5)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--skip-images", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ring_table(options.repeats)
    if not options.skip_images and (rows := fashion_images()) is not None:
        image_table(options.repeats, rows)


if __name__ == "__main__":
    script.run(main)
