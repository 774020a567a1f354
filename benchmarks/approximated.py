"""Approximated R1 against exact R1: how near value and parameter gradient are, and what a step of D costs.

    python -m benchmarks.approximated [--draws 64] [--repeats 7] [--threads 1] [--batch 32] [--only NET]

Three critics: an MLP of points, a DCGAN of 3x32x32 and a small transformer of 4x4 patches (attention). The first two
have ReLU or its leaky form, and each comes again with GELU in its place. Weights are those of initialization.
Exact R1 needs torch's plain attention: the kernel that torch takes otherwise has no second derivative.

- Agreement: the relative error of the penalty's value and of its gradient in D's parameters, of one draw of
  directions and of the mean over all draws. The mean has the bias, O(sigma^2), and what is left of the noise.
- bfloat16: the same under autocast, where a small sigma leaves rounding only.
- Cost: work in forward passes of D on one batch, and user milliseconds of a D step, written as one's own loop.
"""

import argparse
import resource
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import script
from steadygan import penalties
from steadygan.networks import dcgan, mlp
from steadygan.training.flop_meter import Meter

SIGMAS = 1.0, 0.1, 0.01, 0.001
IMAGE = 3, 32, 32


class Attention(nn.Module):
    """Patches of 4x4, a class token's place taken by the mean, two transformer layers of 4 heads."""

    def __init__(self, width: int = 64) -> None:
        """Make the embedding of patches and of places, the layers, and the last map."""
        super().__init__()
        self.patches = nn.Conv2d(IMAGE[0], width, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(64, width))
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True) for _ in "12")
        )
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N] of images [N, 3, 32, 32]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.last(self.layers(tokens).mean(1)).squeeze(1)


def smooth(net: nn.Module) -> nn.Module:
    """The critic with GELU in the place of every kink."""
    for parent in list(net.modules()):
        for name, part in parent.named_children():
            if isinstance(part, nn.ReLU | nn.LeakyReLU):
                setattr(parent, name, nn.GELU())
    return net


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: mlp((2,))[1], (2,)),
    "mlp-gelu": (lambda: smooth(mlp((2,))[1]), (2,)),
    "dcgan": (lambda: dcgan(IMAGE)[1], IMAGE),
    "dcgan-gelu": (lambda: smooth(dcgan(IMAGE)[1]), IMAGE),
    "attention": (Attention, IMAGE),
}

Term = Callable[[nn.Module, Tensor], Tensor]


def value_and_gradient(D: nn.Module, term: Term, x: Tensor) -> tuple[Tensor, Tensor]:
    value = term(D, x)
    found = torch.autograd.grad(value, list(D.parameters()), allow_unused=True, materialize_grads=True)
    return value.detach(), torch.cat([part.flatten() for part in found])


def errors(D: nn.Module, x: Tensor, sigma: float, draws: int, dtype: torch.dtype) -> Iterator[float]:
    """Relative errors: of the value and of the gradient, each for a single draw (median) and for the mean of all."""
    with sdpa_kernel(SDPBackend.MATH):
        exact = value_and_gradient(D, penalties.r1, x)
    found = []
    for _ in range(draws):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            found.append(value_and_gradient(D, partial(penalties.approximated_r1, sigma=sigma), x))
    for every, wanted in zip(zip(*found, strict=True), exact, strict=True):
        yield statistics.median(((one - wanted).norm() / wanted.norm()).item() for one in every)
        yield ((torch.stack(every).mean(0) - wanted).norm() / wanted.norm()).item()


def agreement(name: str, options: argparse.Namespace) -> None:
    make, shape = NETS[name]
    torch.manual_seed(0)
    D, x = make(), 2 * torch.rand(options.batch, *shape) - 1
    print(f"{name}: batch {options.batch}, mean of {options.draws} draws")
    print(f"{'':18}{'value: one draw':>16} {'mean':>8}{'gradient: one draw':>20} {'mean':>8}")
    for dtype, sigmas in ((torch.float32, SIGMAS), (torch.bfloat16, SIGMAS[1:])):
        for sigma in sigmas:
            one, mean, one_g, mean_g = errors(D, x, sigma, options.draws, dtype)
            head = f"{str(dtype).removeprefix('torch.')} {sigma:g}"
            print(f"{head:18}{one:16.3f} {mean:8.3f}{one_g:20.3f} {mean_g:8.3f}", flush=True)


def step(D: nn.Module, terms: dict[str, Term], x: Tensor, y: Tensor) -> None:
    """A D step of one's own loop: forward and backward, with terms at reals and at fakes."""
    D.zero_grad()
    points = {"real": x, "fake": y}
    looked = {s: penalties.value_and(term, D, points[s]) for s, term in terms.items()}
    real, fake = (looked[s][0] if s in looked else D(points[s]) for s in points)
    penalty = sum((value for _, value in looked.values()), torch.zeros(()))
    (F.softplus(-real).mean() + F.softplus(fake).mean() + penalty).backward()


STEPS: dict[str, dict[str, Term]] = {
    "no penalty": {},
    "r1": {"real": penalties.r1},
    "approximated r1": {"real": penalties.approximated_r1},
    "r1 + r2": {"real": penalties.r1, "fake": penalties.r2},
    "approximated r1 + r2": {"real": penalties.approximated_r1, "fake": penalties.approximated_r2},
}


def cost(name: str, options: argparse.Namespace) -> None:
    make, shape = NETS[name]
    torch.manual_seed(0)
    D, (x, y) = make(), (2 * torch.rand(2, options.batch, *shape) - 1)
    calls = {title: partial(step, D, terms, x, y) for title, terms in STEPS.items()}
    for title in ("r1", "r1 + r2"):
        calls[title] = sdpa_kernel(SDPBackend.MATH)(calls[title])
    with Meter() as meter, torch.no_grad():
        D(x)
    one, work = meter.flops, {}
    for title, call in calls.items():
        with Meter() as meter:
            call()
        work[title] = meter.flops / one
    times: dict[str, list[float]] = {title: [] for title in calls}
    count = 50 if name.startswith("mlp") else 1
    for _ in range(options.repeats):
        for title, call in calls.items():
            times[title].append(spent(call, count))
    print(f"\n{name}: a D step, batch {options.batch}, {torch.get_num_threads()} thread(s), float32")
    for title, each in times.items():
        print(f"{title:22} {work[title]:6.2f} forwards {1000 * statistics.median(each):9.2f} ms")
    for exact in ("r1", "r1 + r2"):
        ratios = [a / b for a, b in zip(times[f"approximated {exact}"], times[exact], strict=True)]
        print(f"approximated {exact} over {exact}: {statistics.median(ratios):.2f} of the time", flush=True)


def spent(call: Callable[[], None], count: int) -> float:
    """Seconds of the processor that a call takes, without those of the system."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for _ in range(count):
        call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_utime - began) / count


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--draws", type=script.positive, default=64)
    parser.add_argument("--repeats", type=script.positive, default=7)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--batch", type=script.positive, default=32)
    parser.add_argument("--only", choices=NETS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in [options.only] if options.only else NETS:
        agreement(name, options)
        cost(name, options)
        print()


if __name__ == "__main__":
    script.run(main)
