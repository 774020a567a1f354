"""What a constraint on the critic costs: one D step and one G step of ours against a naive eager twin.

    python -m benchmarks.constraints [--repeats 3] [--threads 1] [--batch 64] [--quick] [--compile] [--only NAME]

A step here is forward and backward, no optimizer. The twin is what one writes by hand: modules, `.backward()`,
`autograd.grad(create_graph=True)`, D frozen in G's step. It runs on the same weights and the same draw, and the
largest difference of the gradients, relative to the largest entry, is printed as a check that both compute the same
(spectral normalization starts from random vectors, so there is none). The work is in forwards of D on one batch: in
theory (a forward is 1, its backward 2, or 1 when only the input or only the weights need it), and as measured.

Where the two differ, torch does more than it needs to: at interpolates and perturbed points only the gradient of
the logits matters, yet the double backward of leaky ReLU and of average pooling is a zero, not nothing, and is
carried down through the forward pass (12 for 10); and the naive G step under a normalization is 5 for 4, as a
convolution's double backward does not spare the frozen weights. Ours has the 2 of a plain critic. On small critics
our eager step pays for torch.func's transforms with every operation; `--compile` takes that away. Ours is timed as the
trainer runs it, with freed memory kept (`cpu.keep_memory`): glibc's defaults give pages back and fault them in
again at every step, up to a sixth of the time.
"""

import argparse
import statistics
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks import script
from benchmarks.approximated import spent
from benchmarks.naive import NORMALIZED, POOL, WEIGHT, Draw, twin_d, twin_g
from benchmarks.step import interleaved, report
from steadygan import losses, normalization
from steadygan.game import Game, Network, State, optimizers
from steadygan.game.state import initial
from steadygan.game.vector_field import field
from steadygan.games import FakeAsReal, FeatureMatching, Term, View, gan
from steadygan.networks import far_resnet, gn_cnn, mlp
from steadygan.normalization import gradient_normalized, penalty_gradient_normalized, spectral_normalized
from steadygan.penalties import PENALTIES
from steadygan.training.compile.compiled_step import ON_CPU
from steadygan.training.flop_meter import Meter

NETS: dict[str, tuple[Callable, tuple[int, ...], int]] = {
    "far_resnet": (far_resnet, (3, 32, 32), 128),
    "gn_cnn": (gn_cnn, (3, 32, 32), 128),
    "mlp": (mlp, (2,), 2),
}


class Constraint(NamedTuple):
    """Its parts for our game, and the work of a D step in forwards of D and of G."""

    penalty: str | None = None
    normalize: Callable | None = None
    far: bool = False
    scoring: torch.dtype | None = None  # of its candidates
    spectral: bool = False
    work: tuple[float, float] = (6, 1)


CONSTRAINTS = {
    "none": Constraint(),
    "r1": Constraint("r1", work=(9, 1)),
    "zero_centered": Constraint("zero_centered", work=(10, 1)),
    "one_centered": Constraint("one_centered", work=(10, 1)),
    "dragan": Constraint("dragan", work=(10, 1)),
    "gn": Constraint(normalize=gradient_normalized, work=(12, 1)),
    "pgn": Constraint(normalize=penalty_gradient_normalized, work=(12, 1)),
    "spectral": Constraint(spectral=True),
    "far + r1": Constraint("r1", far=True, work=(9 + POOL / 2, 1 + POOL / 2)),
    "far in bf16 + r1": Constraint(
        "r1", far=True, scoring=torch.bfloat16, work=(9 + POOL / 2, 1.5 + POOL / 2)
    ),
}


# ---------------------------------------------------------------------------------------------------------- ours


def game_of(
    constraint: Constraint,
    G: nn.Module,
    D: nn.Module,
    shape: tuple[int, ...],
    latent: int,
    batch: int,
    matching: FeatureMatching | None = None,
    **how: Any,
) -> Game:
    return gan(
        Network(G, **how),
        Network(D, **how),
        losses.non_saturating,
        shape=shape,
        batch=batch,
        latent=latent,
        penalties=[Term(PENALTIES[constraint.penalty](), WEIGHT)] if constraint.penalty else [],
        view=View(constraint.normalize),
        cheap=constraint.normalize is not None and normalization.is_piecewise_linear(D),
        far=FakeAsReal(batch // 2, batch // 2, POOL, constraint.scoring) if constraint.far else None,
        matching=matching,
    )


def start(G: nn.Module, D: nn.Module) -> State:
    return initial({"G": G, "D": D}, dict.fromkeys("GD", optimizers.sgd(0.0)))


def drawn(game: Game) -> Draw:
    """One draw for everybody: images within [-1, 1], normal latents."""
    make: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
        "real": lambda shape: 2 * torch.rand(shape) - 1,
        "normal": torch.randn,
        "uniform": torch.rand,
        "due": torch.zeros,
    }
    return {name: make[kind](shape) for name, (kind, shape, _) in game.fields.items()}


def gradients(game: Game, player: str, state: State, draw: Draw) -> Tensor:
    return field(game, [player], state, draw)[0][player]


class Pair(NamedTuple):
    """Ours and the twin's D and G steps on the same weights and draw."""

    steps: dict[str, Callable[[], Any]]
    nets: dict[str, nn.Module]  # the twin's
    plain: bool  # whether both start alike


def pair(name: str, net: str, batch: int, compiled: bool) -> Pair:
    make, shape, latent = NETS[net]
    constraint = CONSTRAINTS[name]
    torch.manual_seed(0)
    G, D = make(shape)
    nets = {"G": deepcopy(G), "D": deepcopy(D)}
    if constraint.spectral:
        spectral_normalized(D)
        for part in nets["D"].modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                parametrizations.spectral_norm(part)
    game = game_of(constraint, G, D, shape, latent, batch)
    state, draw = start(G, D), drawn(game)
    steps: dict[str, Callable[[], Any]] = {
        "D naive": partial(twin_d, name, nets["G"], nets["D"], draw),
        "D ours": partial(gradients, game, "D", state, draw),
        "G naive": partial(twin_g, name, nets["G"], nets["D"], draw),
        "G ours": partial(gradients, game, "G", state, draw),
    }
    for player in "DG" if compiled else "":
        steps[f"{player} compiled"] = partial(in_one_graph(partial(gradients, game, player)), state, draw)
    return Pair(steps, nets, not constraint.spectral)


def in_one_graph(step: Callable) -> Callable:
    torch.compiler.reset()
    return torch.compile(step, fullgraph=True, dynamic=False, options=ON_CPU)


def difference(both: Pair, player: str) -> float:
    """Largest difference of the gradients, over the largest entry."""
    mine = both.steps[f"{player} ours"]()
    both.steps[f"{player} naive"]()
    theirs = torch.cat([p.grad.flatten() for p in both.nets[player].parameters()])
    return ((mine - theirs).abs().max() / theirs.abs().max()).item()


# -------------------------------------------------------------------------------------------------------- tables


def flops(call: Callable[[], Any]) -> float:
    with Meter() as meter:
        call()
    return float(meter.flops)


def table(net: str, options: argparse.Namespace) -> dict[str, bool]:
    """One line a constraint; what was to hold, and whether it did."""
    make, shape, latent = NETS[net]
    batch = options.batch
    G, D = make(shape)
    with torch.no_grad():
        one_d = flops(lambda: D(torch.zeros(batch, *shape)))
        one_g = flops(lambda: G(torch.zeros(batch, latent))) / one_d
    print(f"\n{net}, {shape}, batch {batch}, {torch.get_num_threads()} thread(s), float32, milliseconds")
    print(f"a forward of D is {one_d / 1e9:.3f} GFLOP, of G {one_g:.2f} of that")
    print(
        f"{'constraint':14} {'D naive':>8} {'ours':>8} {'x':>5} {'diff':>7} {'theory':>6} {'naive':>6} {'ours':>6}"
        f"   {'G naive':>8} {'ours':>8} {'x':>5} {'diff':>7} {'theory':>6} {'naive':>6} {'ours':>6}"
    )
    held = {}
    for name, constraint in CONSTRAINTS.items():
        both = pair(name, net, batch, options.compile)
        medians = interleaved(
            {key: (call, 50 if net == "mlp" else 1) for key, call in both.steps.items()}, options.repeats
        )
        work = {"D": constraint.work[0] + constraint.work[1] * one_g, "G": 2 + 3 * one_g}
        line = f"{name:14}"
        for player in "DG":
            naive, own = medians[f"{player} naive"], medians[f"{player} ours"]
            gap = difference(both, player) if both.plain else float("nan")
            counted = [flops(both.steps[f"{player} {whose}"]) / one_d for whose in ("naive", "ours")]
            line += f" {naive:8.2f} {own:8.2f} {naive / own:5.2f} {gap:7.0e} {work[player]:6.2f} "
            line += f"{counted[0]:6.2f} {counted[1]:6.2f}  "
            held |= bars(
                f"{net} {name}", player, naive, min(own, medians.get(f"{player} compiled", own)), gap
            )
        print(line + "".join(f" {k} {v:.2f}" for k, v in medians.items() if "compiled" in k), flush=True)
    return held


def bars(title: str, player: str, naive: float, own: float, gap: float) -> dict[str, bool]:
    """What is to hold of one step in float32; `own` is the faster of eager and compiled, where compiled was timed."""
    ratio = naive / own
    if "in bf16" in title:
        return {}
    if player == "D":
        return {f"{title}: D step no slower than naive ({ratio:.2f}x)": ratio >= 1}
    if title.split()[-1] in NORMALIZED:
        return {
            f"{title}: G step at least 1.8x faster ({ratio:.2f}x)": ratio >= 1.8,
            f"{title}: G gradients differ by at most 1e-5 ({gap:.0e})": gap <= 1e-5,
        }
    return {}


def iteration(options: argparse.Namespace, n_critic: int = 5) -> dict[str, bool]:
    """A whole GN iteration: the naive twin in float32 against ours in bfloat16 and channels-last."""
    make, shape, latent = NETS["gn_cnn"]
    naive = pair("gn", "gn_cnn", options.batch, compiled=False).steps
    steps: dict[str, Callable[[], None]] = {"naive, float32": partial(rounds, naive, "naive", n_critic)}
    for title, how in (
        ("ours, float32", {}),
        ("ours, bfloat16", {"autocast": torch.bfloat16}),
        ("ours, bfloat16 channels-last", {"autocast": torch.bfloat16, "channels_last": True}),
    ):
        torch.manual_seed(0)
        G, D = make(shape)
        game = game_of(CONSTRAINTS["gn"], G, D, shape, latent, options.batch, **how)
        state, draw = start(G, D), drawn(game)
        own = {f"{player} ours": partial(gradients, game, player, state, draw) for player in "DG"}
        steps[title] = partial(rounds, own, "ours", n_critic)
    medians = interleaved({title: (call, 1) for title, call in steps.items()}, options.repeats)
    print(f"\nGN on gn_cnn: {n_critic} D steps and one G step, batch {options.batch}")
    report(medians, "naive, float32")
    ratio = medians["naive, float32"] / medians["ours, bfloat16 channels-last"]
    return {f"GN iteration at least 1.8x faster in bfloat16 ({ratio:.2f}x)": ratio >= 1.8}


def rounds(steps: dict[str, Callable[[], Any]], whose: str, n_critic: int) -> None:
    for _ in range(n_critic):
        steps[f"D {whose}"]()
    steps[f"G {whose}"]()


def overhead(options: argparse.Namespace) -> dict[str, bool]:
    """Fake-as-real's D and G step together over those of 0GP alone, at CIFAR's settings f = 8, N0 = N / 2."""
    each = {
        name: pair(name, "far_resnet", options.batch, compiled=False).steps
        for name in ("r1", "far + r1", "far in bf16 + r1")
    }
    medians = interleaved(
        {name: (partial(rounds, steps, "ours", 1), 1) for name, steps in each.items()}, options.repeats
    )
    print(f"\nFAR over 0GP on far_resnet, one D and one G step, f = {POOL}, N0 = {options.batch // 2}")
    report(medians, "r1")
    ratio = medians["far in bf16 + r1"] / medians["r1"]
    return {f"FAR, candidates in bfloat16, costs at most 1.5x of 0GP ({ratio:.2f}x)": ratio <= 1.5}


def lazy(options: argparse.Namespace, interval: int = 4) -> dict[str, bool]:
    """G's step with feature matching on no step, on every step, and on one in four: its mean, in user milliseconds."""
    make, shape, latent = NETS["gn_cnn"]
    held = {}
    print(f"\nFeature matching in G's step on gn_cnn, batch {options.batch}, interval {interval}")
    for name in ("none", "gn"):
        torch.manual_seed(0)
        G, D = make(shape)
        last = [part for part in D.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
        game = game_of(
            CONSTRAINTS[name], G, D, shape, latent, options.batch, FeatureMatching(last, 1.0, interval)
        )
        without = game_of(CONSTRAINTS[name], G, D, shape, latent, options.batch)
        due = drawn(game)
        between = {key: value for key, value in due.items() if not key.startswith("due/")}
        state, one_d = start(G, D), flops(partial(D, due["x_real"]))
        calls = {
            "never": partial(gradients, without, "G", state, between),
            "due": partial(gradients, game, "G", state, due),
            "between": partial(gradients, game, "G", state, between),
        }
        work = {title: flops(call) / one_d for title, call in calls.items()}
        times: dict[str, list[float]] = {title: [] for title in calls}
        for _ in range(options.repeats):
            for title, call in calls.items():
                times[title].append(1000 * spent(call, 1))
        found = {title: (work[title], statistics.median(times[title])) for title in calls}
        found["lazy"] = tuple(
            (a + (interval - 1) * b) / interval for a, b in zip(found["due"], found["between"])
        )
        for title, (forwards, milliseconds) in found.items():
            print(f"{name:6} {title:10} {forwards:6.2f} forwards {milliseconds:8.1f} ms", flush=True)
        held[f"{name}: a step between has the work of a game without the term"] = (
            work["between"] == work["never"]
        )
    return held


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=3)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--batch", type=script.positive, default=64)
    parser.add_argument("--quick", action="store_true", help="batches of 8")
    parser.add_argument("--compile", action="store_true", help="time our compiled steps too")
    parser.add_argument("--only", choices=[*NETS, "iteration", "overhead", "lazy"])
    options = parser.parse_args()
    options.batch = 8 if options.quick else options.batch
    torch.set_num_threads(options.threads)
    parts: dict[str, Callable[[argparse.Namespace], dict[str, bool]]] = {
        **{net: partial(table, net) for net in NETS},
        "iteration": iteration,
        "overhead": overhead,
        "lazy": lazy,
    }
    held: dict[str, bool] = {}
    for name, part in parts.items():
        if options.only in (None, name):
            held |= part(options)
    print()
    for bar, fine in held.items():
        print("held  " if fine else "missed", bar)
    print(f"{statistics.mean(held.values()):.0%} of the bars held")


if __name__ == "__main__":
    script.run(main)
