"""From a pure step to the program that runs: one `vmap` for an ensemble, one compiled graph, checked once."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, Unsupported
from torch._inductor.exc import InductorError

from steadygan.game import Draw, Logs, State
from steadygan.game.optimizers import Moments
from steadygan.game.state import Step
from steadygan.training.checkpoint import tensors
from steadygan.training.compile.small_matmul import small_products

__all__ = ["ON_CPU", "CompiledStepDiffers", "compiled", "vectorised"]

TOLERANCE = {"float64": 1e-6, "float32": 1e-2, "bfloat16": 0.25}
"""How far, relative to the update itself, rounding may move the first compiled step from the eager one: generous to
rounding (a selection may swap two candidates that are equal to it), yet below what wrong code does to an update."""

SMALL = 0.3
"""Gradients below this share of their root mean square count less, as rounding may turn their signs: see `_weights`."""

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
    the step as it is. Each kind of arguments has a program of its own, which relies on the state that it is given not
    having been changed in place since it was returned, and on torch's modes (autocast, gradients) being as at first.
    """
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    if not torch.cuda.is_available() and not any(shutil.which(word) for word in compiler[:1]):
        note("no C++ compiler was found, so the step runs uncompiled: install g++ or set CXX to be faster")
        return step
    options: dict[str, Any] = {}
    if not torch.cuda.is_available():
        options = {**ON_CPU, "post_grad_custom_post_pass": small_products(note)}
    if hasattr(torch.compiler, "skip_all_guards_unsafe"):  # since 2.7; `run` looks at the arguments itself
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    programs: dict[Any, tuple[Step, Layout]] | None = {}
    latest: State | None = None
    layout: Layout = ()

    def run(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        nonlocal programs, latest, layout
        if programs is None:
            return step(state, batch)
        known, latest = layout if state is latest else _layout(tensors(state)), None
        kind = known, *[_layout(draw) for draw in batch]
        if kind in programs:
            program, known = programs[kind]
            result = program(state, batch)
        else:
            try:
                program = _program(step, options, state, batch)
                result = program(state, batch)
            except (BackendCompilerFailed, InductorError) as error:
                reason = str(error).strip().splitlines()[0]
                note(f"the step could not be compiled and runs as it is, only slower ({reason})")
                programs = None
                return step(state, batch)
            _compare(step, state, batch, result[0], precision)
            known = _layout(tensors(result[0]))
            programs[kind] = program, known
        latest, layout = result[0], known
        return result

    return run


Layout = tuple[Any, ...]


def _layout(held: Draw) -> Layout:
    """What a program relies on of tensors: which there are, how each lies in memory, and which are one."""
    first: dict[int, str] = {}
    return tuple(
        [(name, x.shape, x.stride(), x.dtype, first.setdefault(id(x), name)) for name, x in held.items()]
    )


def _program(step: Step, options: dict[str, Any], state: State, batch: Sequence[Draw]) -> Step:
    """The step compiled for arguments of just this kind, which it does not look at.

    torch.compile's own way into a program is a tenth of a small step. It is gone around where torch has another
    (since 2.9), which takes most steps: not Adam's in float64, whose count it takes for a number.
    """
    program: Any = torch.compile(_own(step), fullgraph=True, dynamic=False, options=options)
    try:
        return program.aot_compile(((state, batch), {})).fn
    except (BackendCompilerFailed, InductorError, Unsupported):
        raise
    except (AttributeError, RuntimeError):
        return program


def _own(step: Step) -> Step:
    """The step with a code object of its own: torch.compile allows eight programs for each, in the whole process."""

    def own(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        return step(state, batch)

    own.__code__ = own.__code__.replace()
    return own


def _compare(step: Step, before: State, batch: Sequence[Draw], fast: State, precision: str) -> None:
    """Hold to the eager step what moved, and the optimizers' memory, which shows a gradient's size where Adam hides it.

    Buffers and averages only have to be finite: rounding that turns a step's sign goes on in them.
    """
    eager, tolerance = step(before, batch)[0], TOLERANCE[precision]
    for name, start in before.params.items():
        expected, found = eager.params[name] - start, fast.params[name] - start
        weights = _weights(eager.moments[name], fast.moments[name])
        gap, far, reach = (found - expected) * weights, expected * weights, start * weights
        # Norms are each member's, so that none hides behind another.
        allowed = tolerance * far.norm(dim=-1) + 1e-7 * reach.norm(dim=-1)
        diverged = ~expected.isfinite().all(-1)  # in its first step: the trainer's to report
        if not (diverged | (gap.norm(dim=-1) <= allowed)).all():
            raise CompiledStepDiffers(
                f"the compiled step moves {name} by {found.norm():.6g}, the eager step by "
                f"{expected.norm():.6g}, and where gradients are not small they differ by "
                f"{gap.norm(dim=-1).max():.3g}: run with compile=false, and report the recipe"
            )
    others = tensors(fast)
    for path, tensor in tensors(eager).items():
        wanted, found = tensor.double(), others[path].double()
        size, gap = wanted.norm(dim=-1), (found - wanted).norm(dim=-1)
        held = path.startswith("moments") and not (gap <= 2 * tolerance * size + 1e-7).all()
        if size.isfinite().all() and (held or not gap.isfinite().all()):
            raise CompiledStepDiffers(
                f"the compiled step leaves {gap.max():.3g} from the eager step's {path}, of size {size.max():.3g}: "
                "run with compile=false, and report the recipe"
            )


def _weights(eager: Moments, fast: Moments) -> Tensor:
    """How much each parameter counts in the comparison: min(1, s / (.3 r)), with s the larger root of mean squares.

    r is the eager one's rms, so that a wrong gradient, however large, hides no other.

    Adam and RMSProp divide by s, so that a gradient near zero, whose sign rounding decides, takes a full step like any
    other: of a GN critic's first update in float32 that is .02, of its generator's .16, and in bfloat16 a half.
    """
    if "square" not in eager:
        return torch.ones(())
    s = torch.maximum(eager["square"], fast["square"]).sqrt()
    typical = eager["square"].mean(-1, keepdim=True).sqrt()
    return torch.where(typical > 0, (s / (SMALL * typical)).clamp(max=1), 1)
