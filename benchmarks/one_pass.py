"""What the second forward pass of R1 costs: a critic's step with `penalties.r1`, and with `penalties.value_and`.

    python -m benchmarks.one_pass [--repeats 9] [--threads 1] [--batch 64]

Both steps are a loop of one's own: hinge loss and R1, forward and backward, no optimizer. They are timed side by side,
in one process, and reported as the median over the repeats. In theory the step is 9 forward passes of work for 12.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import script
from benchmarks.step import interleaved, report
from steadygan import losses, penalties
from steadygan.networks import dcgan, mlp


def patch_gan(width: int = 32) -> nn.Module:
    """A critic of 3x32x32 with one logit for each of 8x8 patches."""
    layers = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 2 * width, 4, 2, 1)]
    return nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 3, 1, 1))


CRITICS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp on points": (lambda: mlp((2,))[1], (2,), 100),
    "dcgan on 3x32x32": (lambda: dcgan((3, 32, 32))[1], (3, 32, 32), 1),
    "patches on 3x32x32": (patch_gan, (3, 32, 32), 1),
}


def two_passes(D: nn.Module, x_real: Tensor, x_fake: Tensor) -> Tensor:
    return losses.hinge.discriminator(D(x_real), D(x_fake)) + penalties.r1(D, x_real, reduce="mean")


def one_pass(D: nn.Module, x_real: Tensor, x_fake: Tensor) -> Tensor:
    real_logits, r1 = penalties.value_and(penalties.r1, D, x_real, reduce="mean")
    return losses.hinge.discriminator(real_logits, D(x_fake)) + r1


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--repeats", type=script.positive, default=9)
    parser.add_argument("--threads", type=script.positive, default=1)
    parser.add_argument("--batch", type=script.positive, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, (make, shape, calls) in CRITICS.items():
        torch.manual_seed(0)
        D, pair = make(), torch.randn(2, options.batch, *shape)
        steps = {
            "two passes": (lambda D=D, pair=pair: two_passes(D, *pair).backward(), calls),
            "one pass": (lambda D=D, pair=pair: one_pass(D, *pair).backward(), calls),
        }
        print(f"\n{name}, batch {options.batch}, {options.threads} thread(s), float32")
        report(interleaved(steps, options.repeats), "two passes")


if __name__ == "__main__":
    script.run(main)
