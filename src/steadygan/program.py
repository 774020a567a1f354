"""From a pure step to the program that runs: one `vmap` for an ensemble, one compiled graph, checked once."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError

from steadygan.game import Draw, Logs, State
from steadygan.small_products import small_products
from steadygan.state import Step

__all__ = ["ON_CPU", "CompiledStepDiffers", "compiled", "vectorised"]

TOLERANCE = {"float64": 1e-6, "float32": 1e-2, "bfloat16": 0.25}
"""How far, relative to the update itself, rounding may move the first compiled step from the eager one.

Generous to rounding (RMSProp and Adam turn the sign of a gradient near zero into a full step, a selection may
swap two candidates that are equal to rounding), yet below what wrong code does to an update. Where an update is farther
off, it is asked how far rounding moves this very one: see `_swayed`."""

ON_CPU: dict[str, Any] = {"cpp_wrapper": True, "layout_optimization": False}
"""What torch.compile is told on a CPU. A step is many small products, and calling them from C++ rather than from Python
halves its time; and convolutions that are turned to another layout and back, as often as a penalty differentiates them,
cost a sixth of it (GN's CNN with R1: 518 ms for 595; in bfloat16 and channels-last 296 for 352)."""


class CompiledStepDiffers(RuntimeError):
    """The compiled step computed something else than the eager one on the same state and batch."""


def vectorised(step: Step) -> Step:
    """One program for all members of an ensemble: `step` mapped over the leading dimension of state and batch."""
    return torch.vmap(step)


def compiled(step: Step, note: Callable[[str], None], precision: str = "float32") -> Step:
    """Compile the whole step, double backward included, and compare its first result with the eager step's.

    Raises CompiledStepDiffers when they differ by more than rounding (pytorch issue #136662: compiled
    torch.func.grad has been silently wrong). Without a C++ compiler on a CPU, says so in `note` and returns
    the step as it is.
    """
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if not torch.cuda.is_available() and not any(shutil.which(word) for word in compiler[:1]):
        note("no C++ compiler was found, so the step runs uncompiled: install g++ or set CXX to be faster")
        return step
    options: dict[str, Any] = {}
    if not torch.cuda.is_available():
        options = {**ON_CPU, "post_grad_custom_post_pass": small_products(note)}
    if hasattr(torch.compiler, "skip_all_guards_unsafe"):  # came with the filter, after torch 2.6
        options["guard_filter_fn"] = _of_arguments
    program = torch.compile(_own(step), fullgraph=True, dynamic=False, options=options)
    checked = set()  # one program for each set of fields: penalties taken now and then make a few

    def run(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        nonlocal program
        try:
            result = program(state, batch)
        except (BackendCompilerFailed, InductorError) as error:
            reason = str(error).strip().splitlines()[0]
            note(f"the step could not be compiled and runs as it is, only slower ({reason})")
            program = step
            return step(state, batch)
        fields = tuple(tuple(draw) for draw in batch)
        if fields not in checked:
            _compare(step, state, batch, result[0], precision)
            checked.add(fields)
        return result

    return run


def _own(step: Step) -> Step:
    """The step with a code object of its own: torch.compile allows eight programs for each, in the whole process."""

    def own(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        return step(state, batch)

    own.__code__ = own.__code__.replace()
    return own


def _of_arguments(guards: Sequence[Any]) -> list[bool]:
    """Which guards each call looks at: those of state and batch (by name), and of torch's own modes (without one).

    The other thousand are of what the step closes over, which nothing changes, and cost a tenth of a small step.
    """
    return [not guard.name or guard.name.startswith(("state", "batch")) for guard in guards]


def _compare(step: Step, before: State, batch: Sequence[Draw], fast: State, precision: str) -> None:
    eager, swayed = step(before, batch)[0], None
    for name, start in before.params.items():
        expected, found = eager.params[name] - start, fast.params[name] - start
        if not expected.isfinite().all():
            continue  # a run that diverges in its first step is the trainer's to report
        gap = (found - expected).norm(dim=-1)  # of each member, so that none hides behind another
        if (gap <= TOLERANCE[precision] * expected.norm(dim=-1) + 1e-7 * start.norm(dim=-1)).all():
            continue
        swayed = swayed or _swayed(step, before, batch, precision)
        if not (gap <= (swayed[name] - expected).norm(dim=-1)).all():
            raise CompiledStepDiffers(
                f"the compiled step moves {name} by {found.norm():.6g}, the eager step by "
                f"{expected.norm():.6g}, and they differ by {gap.max():.3g}: "
                "run with compile=false, and report the recipe"
            )


def _swayed(step: Step, before: State, batch: Sequence[Draw], precision: str) -> dict[str, Tensor]:
    """The updates of a start whose every parameter is off by the precision's unit roundoff u, up or down.

    A step that this moves far is one of which rounding decides: in bfloat16 (u = 2^-8) Adam turns the signs of so many
    small gradients that a generator's first update is known to .3 of its length, after five steps of its critic to .4.
    """
    generator = torch.Generator().manual_seed(0)
    unit = torch.finfo(getattr(torch, precision)).eps / 2

    def off(vector: Tensor) -> Tensor:
        signs = torch.randint(0, 2, vector.shape, generator=generator) * 2 - 1
        return vector * (1 + unit * signs.to(vector))

    start = {name: off(vector) for name, vector in before.params.items()}
    after = step(before._replace(params=start), batch)[0].params
    return {name: after[name] - vector for name, vector in start.items()}
