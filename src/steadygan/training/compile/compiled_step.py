"""From a pure step to a compiled program: `vmap` for an ensemble, one compiled graph, one check against eager."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException, Unsupported
from torch.utils._pytree import tree_map

from steadygan.errors import UsageError
from steadygan.game import Draw, Logs, State
from steadygan.game.optimizers import Moments
from steadygan.game.state import Step
from steadygan.parallel import processes
from steadygan.training.checkpoint import tensors

__all__ = ["ON_CPU", "CompiledStepDiffers", "compare", "compilable", "compiled", "vectorised"]

TOLERANCE = {"float64": 1e-6, "float32": 1e-2, "tf32": 0.03, "bfloat16": 0.25}
"""Allowed difference of the first compiled step from the eager step, relative to the update itself. It is generous to
rounding: a selection may swap two candidates that are equal up to rounding. Wrong code changes an update by more.
TF32 has three bits more than bfloat16."""

SMALL = 0.3
"""Gradients below this share of their root mean square count less, because rounding can flip their sign: `_weights`."""

ON_CPU: dict[str, Any] = {"cpp_wrapper": True, "layout_optimization": False, "size_asserts": False}
"""Options of torch.compile on a CPU. A step is many small products: calls from C++ instead of Python halve its time.
Without a change of layout around each convolution, a step with a penalty is a sixth faster (GN's CNN with R1: 518 ms
instead of 595; in bfloat16 and channels-last 296 instead of 352). A check of sizes at every call of a function takes a
tenth of a small step. `compiled` checks the layout of the arguments, and all other sizes follow from it."""

PASSES = ("post_grad_custom_post_pass", "aot_inductor.custom_ops_to_c_shims")
"""The options of torch.compile that take our graph passes, and the kernels that they call."""

CPU = torch.device("cpu")


class CompiledStepDiffers(RuntimeError):
    """The compiled step and the eager step gave different results for the same state and batch."""


def vectorised(step: Step) -> Step:
    """One step for all members of an ensemble: `step` mapped over the first dimension of state and batch."""
    return torch.vmap(step)


def compiled(
    step: Step,
    note: Callable[[str], None],
    precision: str = "float32",
    *,
    strict: bool = True,
    device: torch.device = CPU,
    passes: bool = True,
    replayed: Callable[[Step], Step] | None = None,
) -> Step:
    """Compile the whole step, double backward included, and compare its first result with that of the eager step.

    Raises CompiledStepDiffers if they differ by more than rounding: compiled torch.func.grad has been silently
    wrong (pytorch issue #136662). Without `strict` the step then stays uncompiled, and `note` gets that sentence.
    So it does for a step that torch cannot compile, and on a CPU without a C++ compiler. Where processes share the
    rows of a batch, that is a UsageError, since all of them must take the same steps. Each layout of arguments
    has its own program. The `device` of the run decides how it is compiled. `passes` rewrite its graph; if torch cannot
    compile it then, they are left out, with a note. `replayed` may turn each program into one that is recorded and
    replayed (CUDA graphs). The caller must not change a returned state in place, and must not
    change torch's modes (autocast, gradients) between calls.
    """
    if not compilable(device):
        note("no C++ compiler was found, so the step runs uncompiled: install g++ or set CXX to be faster")
        return step
    options: dict[str, Any] = {**ON_CPU} if device.type == "cpu" else {}
    if passes:
        options |= _passes(device, note)
    if hasattr(torch.compiler, "skip_all_guards_unsafe"):  # since torch 2.7
        # torch would check its guards at every call; `kind` in `run` takes their place at less cost.
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
                # Each argument as a tensor of its own: the program then takes a state that holds one tensor twice.
                apart = tree_map(Tensor.detach, (state, batch))
                program = _program(step, options, *apart)
                result = program(*apart)
            except TorchDynamoException as error:  # those of its backends too
                reason = str(error).strip().splitlines()[0]
                rewritten = [options.pop(key, None) for key in PASSES]
                if any(rewritten):
                    note(f"the step could not be compiled with passes and is now compiled without ({reason})")
                    return run(state, batch)
                _check_alone(reason)
                note(f"the step could not be compiled and runs uncompiled, only slower ({reason})")
                programs = None
                return step(state, batch)
            try:
                compare(step, state, batch, result[0], precision)
            except CompiledStepDiffers as error:
                if strict:
                    raise
                _check_alone(str(error))
                note(f"the step runs uncompiled, because {error}")
                programs = None
                return step(state, batch)
            known = _layout(tensors(result[0]))
            programs[kind] = replayed(program) if replayed else program, known
        latest, layout = result[0], known
        return result

    return run


def _passes(device: torch.device, note: Callable[[str], None]) -> dict[str, Any]:
    """The options of the graph passes for a device; none, and a note, where torch lacks what they stand on."""
    try:
        from steadygan.training.compile.passes.rewrite import rewrite

        return rewrite(device, note)
    except (ImportError, AttributeError) as error:
        note(
            f"the step is compiled without passes, only slower: torch {torch.__version__} lacks a part ({error})"
        )
        return {}


def compilable(device: torch.device) -> bool:
    """Whether this machine can compile for a device: a CPU needs a C++ compiler."""
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    return device.type != "cpu" or any(shutil.which(word) for word in compiler[:1])


def _check_alone(reason: str) -> None:
    """Raise UsageError where processes share rows: one that runs uncompiled could send other sums than the others."""
    if processes().size > 1:
        raise UsageError(
            f"the step cannot be compiled ({reason}), and processes that share a batch must all run the same: set "
            "compile=false"
        )


Layout = tuple[Any, ...]


def _layout(held: Draw) -> Layout:
    """What a program assumes of its tensors: names, shapes, strides and types."""
    return tuple([(name, x.shape, x.stride(), x.dtype) for name, x in held.items()])


def _program(step: Step, options: dict[str, Any], state: State, batch: Sequence[Draw]) -> Step:
    """The step compiled for arguments of exactly this layout. The program does not check them.

    The call overhead of torch.compile is a tenth of a small step. `aot_compile` (since torch 2.9) avoids it, for most
    steps: not for Adam in float64, whose step count it takes for a Python number.
    """
    program: Any = torch.compile(_own(step), fullgraph=True, dynamic=False, options=options)
    try:
        return program.aot_compile(((state, batch), {})).fn
    except (BackendCompilerFailed, Unsupported):
        raise
    except (AttributeError, RuntimeError):
        return program


def _own(step: Step) -> Step:
    """The step with its own code object, because torch.compile allows only eight programs per code object."""

    def own(state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
        return step(state, batch)

    own.__code__ = own.__code__.replace()
    return own


def compare(step: Step, before: State, batch: Sequence[Draw], fast: State, precision: str) -> None:
    """Compare updates and optimizer moments with the eager step. Moments show a gradient's size, which Adam hides.

    Buffers and averages only have to be finite: where rounding flips the sign of an update, they differ too. The step
    counter has to be the same.
    """
    eager, tolerance = step(before, batch)[0], TOLERANCE[precision]
    for name, start in before.params.items():
        expected, found = eager.params[name] - start, fast.params[name] - start
        weights = _weights(eager.moments[name], fast.moments[name])
        gap, far, reach = (found - expected) * weights, expected * weights, start * weights
        # One norm per member, so that a small member's error does not hide behind a large member.
        allowed = tolerance * far.norm(dim=-1) + 1e-7 * reach.norm(dim=-1)
        diverged = ~expected.isfinite().all(-1)  # NaN in the first step is reported by the training loop
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
        held = path.startswith(("moments", "scalars/step")) and not (gap <= 2 * tolerance * size + 1e-7).all()
        if size.isfinite().all() and (held or not gap.isfinite().all()):
            raise CompiledStepDiffers(
                f"the compiled step leaves {gap.max():.3g} from the eager step's {path}, of size {size.max():.3g}: "
                "run with compile=false, and report the recipe"
            )


def _weights(eager: Moments, fast: Moments) -> Tensor:
    """The weight of each parameter in the comparison: min(1, s / (.3 r)).

    s is the larger of both steps' root of the squares' average; r is the root mean square of the eager one alone, so
    that one wrong large gradient cannot hide another.

    Adam and RMSProp divide by s. A gradient near zero then makes a full step, whose sign is decided by rounding. Such
    parameters are .02 of a GN critic's first update in float32, .16 of its generator's, and half of it in bfloat16.
    """
    if "square" not in eager:
        return torch.ones(())
    s = torch.maximum(eager["square"], fast["square"]).sqrt()
    typical = eager["square"].mean(-1, keepdim=True).sqrt()
    return torch.where(typical > 0, (s / (SMALL * typical)).clamp(max=1), 1)
