"""What each update rule costs over the simultaneous step on the ring game, and consensus against a naive twin.

    python -m benchmarks.dynamics [--repeats 7] [--calls 40] [--threads 1] [--batch 512] [--eager]

The game is the toy of The Numerics of GANs: 16 latents, four hidden layers of 16, 512 points a step, TensorFlow's
RMSProp. Steps are timed in turn within every repeat, so that load hits all alike; medians are printed.

Theory counts forward passes of D (d) and of G (g) on one batch. A field is F = 8d + 4g: D's loss takes g + 2d forward
and 4d backward, G's takes g + d forward and d + 2g backward (D's weights need nothing there). J^T u is one backward
pass over all that made the field: 2F more. J u, as the transpose of w -> J^T w, is 3F for that and 2F back; forward
mode would be less, but it does not know every layer. So consensus and smoothing are 3F, the symplectic rule, which has
one product of each kind, is 8F, and extragradient 2F; all others are one F. FLOPs are those of the eager step:
compiled, what is not needed is left out.

The twin is what one writes by hand: modules, `autograd.grad(create_graph=True)` for the field, 1/2 |v|^2, its gradient
in all parameters, `torch.optim.RMSprop`. The largest difference of one step's gradients from ours on the same weights
and draw, relative to the largest entry, is printed as a check that both compute the same.
"""

import argparse
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import script
from benchmarks.step import Candidate, interleaved, ours
from steadygan.build import Run
from steadygan.dynamics import consensus
from steadygan.game import unflatten
from steadygan.game.optimizers import Optimizer
from steadygan.networks import mlp
from steadygan.training.flop_meter import Meter

GAMMA = 10.0
RULES: dict[str, tuple[dict, int, int, float]] = {
    "simultaneous": ({}, 1, 0, 1),
    "alternating": ({}, 1, 0, 1),
    "consensus": ({"gamma": GAMMA}, 1, 1, 3),
    "smoothing": ({"gamma": GAMMA}, 1, 1, 3),
    "extragradient": ({}, 2, 0, 2),
    "extragradient, past": ({"past": True}, 1, 0, 1),
    "optimistic": ({}, 1, 0, 1),
    "symplectic": ({}, 1, 2, 8),
    "lookahead": ({}, 1, 0, 1),
}
"""Each rule's options, the fields and Jacobian products of a step, and its work in F."""


def settings(rule: str, batch: int) -> dict:
    return {
        "data": {"name": "ring8", "scale": 1.414, "std": 0.01414, "stratified": True},
        "networks": {"name": "mlp", "latent": 16, "width": 16, "depth": 4},
        "dynamics": {"name": rule.split(",")[0], **RULES[rule][0]},
        "optimizer": {"name": "tf_rmsprop", "lr": 1e-4},
        "steps": 20_000,
        "batch": batch,
    }


# ------------------------------------------------------------------------------------------------------ the twin


def modified_gradients(G: nn.Module, D: nn.Module, draw: Mapping[str, Tensor]) -> list[Tensor]:
    """g_i + gamma d/dx_i |g|^2 / 2 for every parameter of D, then of G."""
    fake_logits = D(G(draw["z"]))
    loss_D = F.softplus(-D(draw["x_real"])).mean() + F.softplus(fake_logits).mean()
    loss_G = F.softplus(-fake_logits).mean()
    of_D = torch.autograd.grad(loss_D, [*D.parameters()], create_graph=True)
    of_G = torch.autograd.grad(loss_G, [*G.parameters()], create_graph=True)
    everything = [*D.parameters(), *G.parameters()]
    length = sum(g.square().sum() for g in (*of_D, *of_G)) / 2
    slope = torch.autograd.grad(length, everything)
    return [g.detach() + GAMMA * s for g, s in zip((*of_D, *of_G), slope, strict=True)]


def naive(batch: int) -> Callable[[], None]:
    """Consensus optimization as an ordinary eager iteration, which draws its own data."""
    G, D = mlp((2,), latent=16, width=16, depth=4)
    everything = [*D.parameters(), *G.parameters()]
    optimizer = torch.optim.RMSprop(everything, 1e-4, alpha=0.9, eps=1e-10)
    angles = torch.arange(batch) % 8 * (torch.pi / 4)
    centres = torch.stack([angles.cos(), angles.sin()], 1)

    def iteration() -> None:
        draw = {"x_real": centres + 0.01 * torch.randn(batch, 2), "z": torch.randn(batch, 16)}
        for p, gradient in zip(everything, modified_gradients(G, D, draw)):
            p.grad = gradient
        optimizer.step()

    return iteration


def difference(run: Run) -> float:
    """Largest difference of ours and the twin's modified gradients, over the largest entry."""
    seen = Optimizer(lambda p: {}, lambda g, moments, p, scalars: (g, moments))
    rule = consensus(run.game, dict.fromkeys(run.game.players, seen), gamma=GAMMA)
    state = run.state._replace(moments={name: {} for name in run.game.players})
    (draw,) = run.draws(0)
    found = rule.step(state, [draw])[0].params
    nets = dict(zip("GD", mlp((2,), latent=16, width=16, depth=4)))
    for name, net in nets.items():
        net.load_state_dict(unflatten(net, run.state.params[name]))
    wanted = torch.cat([g.flatten() for g in modified_gradients(nets["G"], nets["D"], draw)])
    return ((torch.cat([found["D"], found["G"]]) - wanted).abs().max() / wanted.abs().max()).item()


# -------------------------------------------------------------------------------------------------------- tables


def flops(call: Callable[[], object]) -> float:
    with Meter() as meter:
        call()
    return float(meter.flops)


def in_theory(run: Run, batch: int) -> float:
    """F: the FLOPs of one field."""
    G, D = (run.game.players[name].network.module for name in "GD")
    with torch.no_grad():
        g, d = flops(lambda: G(torch.zeros(batch, 16))), flops(lambda: D(torch.zeros(batch, 2)))
    return 8 * d + 4 * g


def table(options: argparse.Namespace) -> dict[str, bool]:
    """One line a rule; what was to hold, and whether it did."""
    # All rules' steps are one code object to torch.compile, which would give up after eight of them.
    torch._dynamo.config.recompile_limit = 64
    runs: dict[str, Run] = {}
    calls: dict[str, Candidate] = {}
    for rule in RULES:
        calls[f"{rule} eager"], runs[rule], _ = ours(
            settings(rule, options.batch), max(1, options.calls // 4), compile=False
        )
        if not options.eager:
            calls[f"{rule} compiled"], _, seconds = ours(settings(rule, options.batch), options.calls)
            print(f"compiling {rule} took {seconds:.0f} s", flush=True)
    calls["naive consensus"] = Candidate(naive(options.batch), max(1, options.calls // 4))
    medians = interleaved(calls, options.repeats)
    field = in_theory(runs["simultaneous"], options.batch)
    print(
        f"\nring8, mlp 16-16x4, batch {options.batch}, {torch.get_num_threads()} thread(s), milliseconds a step"
    )
    print(f"a field is {field / 1e6:.1f} MFLOP in theory; x is over the simultaneous step")
    heads = "fields products theory, F FLOPs, F"
    print(f"{'rule':20} {heads} {'eager':>8} {'x':>5} {'compiled':>8} {'x':>5}")
    for rule, (_, fields, products, work) in RULES.items():
        run = runs[rule]
        counted = flops(lambda run=run: run.step(run.state, run.draws(0))) / field
        line = f"{rule:20} {fields:6} {products:8} {work:9.0f} {counted:8.2f}"
        for how in ("eager", "compiled"):
            if f"{rule} {how}" in medians:
                own = medians[f"{rule} {how}"]
                line += f" {own:8.3f} {own / medians[f'simultaneous {how}']:5.2f}"
        print(line)
    return bars(medians, difference(runs["consensus"]))


def bars(medians: dict[str, float], gap: float) -> dict[str, bool]:
    twin = medians["naive consensus"]
    print(f"\nnaive consensus {twin:.3f} ms; ours eager {twin / medians['consensus eager']:.2f}x faster")
    held = {f"consensus and its twin have the same gradients, to 1e-5 ({gap:.0e})": gap <= 1e-5}
    if "consensus compiled" in medians:
        ratio = twin / medians["consensus compiled"]
        held[f"consensus compiled at least 2.5x faster than its naive twin ({ratio:.2f}x)"] = ratio >= 2.5
    return held


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=7)
    parser.add_argument(
        "--calls", type=script.positive, default=40, help="steps a repeat; a quarter of it uncompiled"
    )
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--batch", type=script.positive, default=512)
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    held = table(options)
    print()
    for bar, fine in held.items():
        print("held  " if fine else "missed", bar)


if __name__ == "__main__":
    script.run(main)
