"""From a pure step to a compiled program: `vmap` for an ensemble, one compiled graph, one check against eager."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.game import Draw, Logs, State
from steadygan.game.optimizers import Moments
from steadygan.game.state import Step
from steadygan.parallel import processes
from steadygan.rng import generator
from steadygan.training.checkpoint import tensors
from steadygan.training.compile import inductor, kept
from steadygan.training.compile.passes import kernels
from steadygan.training.compile.program import as_step, leaves, traced

__all__ = ["ON_CPU", "CompiledStepDiffers", "compare", "compilable", "compiled", "vectorised"]

TOLERANCE = {"float64": 1e-6, "float32": 1e-2, "tf32": 0.03, "bfloat16": 0.25}
"""Allowed difference of the first compiled step from the eager step, relative to the update itself. It is generous to
rounding: a selection may swap two candidates that are equal up to rounding. Wrong code changes an update by more.
TF32 has three bits more than bfloat16."""

SWAY = {"float64": 1e-15, "float32": 1e-6, "tf32": 5e-4, "bfloat16": 2e-3}
"""The share of itself by which rounding may change a number that a few layers compute."""

AMPLIFIED, DRAWS = 3, 4
"""How many times the eager step's own difference after such changes is allowed, and how many changes are tried. A unit
whose input is near 0 changes a gradient by leaps, and only some changes turn it."""

SMALL = 0.3
"""Gradients below this share of their root mean square count less, because rounding can flip their sign: `_weights`."""

ON_CPU: dict[str, Any] = {
    "cpp_wrapper": True,
    "layout_optimization": False,
    "size_asserts": False,
    **inductor.QUICK,
}
"""Options of torch's compiler on a CPU. A step is many small products: calls from C++ instead of Python halve its time.
Without a change of layout around each convolution, a step with a penalty is a sixth faster (GN's CNN with R1: 518 ms
instead of 595; in bfloat16 and channels-last 296 instead of 352). A check of sizes at every call of a function takes a
tenth of a small step. `compiled` checks the layout of the arguments, from which all other sizes follow. Strides do not:
of some functions of images torch foresees others than they have. So steps that convolve have the check."""


CPU = torch.device("cpu")

Layout = tuple[Any, ...]


class CompiledStepDiffers(RuntimeError):
    """The compiled step and the eager step gave different results for the same state and batch."""


class NotCompiled(RuntimeError):
    """torch cannot trace or compile the step, for the reason in the text."""


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
    about: str | None = None,
    working: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Step:
    """Compile the whole step, double backward included, and compare its first result with that of the eager step.

    Raises CompiledStepDiffers if they differ by more than rounding. Without `strict`, and on a GPU, which no CI has,
    the step stays uncompiled then, and `note` gets that sentence. So it does for a step that torch cannot compile, and
    on a CPU without a C++ compiler. Where processes share the rows of a batch, that is a UsageError, since all of them
    must take the same steps. Each layout of arguments has its own program. The `device` of the run decides how it is
    compiled. `passes` rewrite its graph; if torch cannot compile it then, they are left out, with a note. `replayed`
    may turn each program into one that is recorded and replayed (CUDA graphs). `about` is a text that determines the
    step beside its arguments: with it, programs for a CPU are kept in the cache folder. Inside `working` a program is
    made. The caller must not change a returned state in place, and must not change torch's modes (autocast, gradients)
    between calls.
    """
    if not compilable(device):
        note("no C++ compiler was found, so the step runs uncompiled: install g++ or set CXX to be faster")
        return step
    make = _maker(step, note, precision, device, passes=passes, about=about, working=working)
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
                program, result = make(kind, state, batch)
            except (NotCompiled, CompiledStepDiffers) as error:
                if strict and device.type == "cpu" and isinstance(error, CompiledStepDiffers):
                    raise
                _check_alone(str(error))
                note(_why_uncompiled(error))
                programs = None
                return step(state, batch)
            known = _layout(tensors(result[0]))
            programs[kind] = replayed(program) if replayed else program, known
        latest, layout = result[0], known
        return result

    return run


def _why_uncompiled(error: NotCompiled | CompiledStepDiffers) -> str:
    if isinstance(error, NotCompiled):
        return f"the step could not be compiled and runs uncompiled, only slower ({error})"
    return f"the step runs uncompiled, because {error}"


def _maker(
    step: Step,
    note: Callable[[str], None],
    precision: str,
    device: torch.device,
    *,
    passes: bool,
    about: str | None,
    working: Callable[[], AbstractContextManager[None]],
) -> Callable[[Layout, State, Sequence[Draw]], tuple[Step, tuple[State, Logs]]]:
    """The function that gives the program for a layout of arguments, kept or new, and its first result, compared.

    It raises NotCompiled and CompiledStepDiffers.
    """
    on_cpu = device.type == "cpu"
    options = ON_CPU if on_cpu else {}
    wanted = with_kernels = passes and on_cpu and kernels.wanted()
    asked = passes

    @cache  # kernels that cannot be made are tried and noted once
    def ready() -> bool:
        return wanted and kernels.load(note)

    def make(kind: Layout, state: State, batch: Sequence[Draw]) -> tuple[Step, tuple[State, Logs]]:
        name = kept.key(about, kind, asked) if about is not None and on_cpu else None
        if name and (program := kept.found(name, loadable)):
            with suppress(CompiledStepDiffers, NotCompiled):
                result = _called(program, state, batch)
                compare(step, state, batch, result[0], precision)
                return program, result
        with working(), inductor.no_garbage():
            program, keep = fresh(state, batch)
            result = _called(program, state, batch)
        compare(step, state, batch, result[0], precision)
        if name and loadable():
            keep(name)
        return program, result

    def loadable() -> bool:
        """Whether what a kept program may call is there: with passes the kernels, where the processor has them."""
        return not passes or not wanted or ready()

    def fresh(state: State, batch: Sequence[Draw]) -> tuple[Step, Callable[[str], None]]:
        """A new program, without the kernels or the passes from then on where torch cannot have them."""
        nonlocal passes, with_kernels
        with ThreadPoolExecutor(1) as thread:  # the kernels are compiled beside the program that calls them
            loaded = thread.submit(ready).result

            def wait() -> None:
                if with_kernels and not loaded():
                    raise NotCompiled("its kernels cannot be loaded")

            while passes and (rewritten := _passes(note, kernels=with_kernels)):
                try:
                    return _program(step, options | rewritten, state, batch, wait)
                except NotCompiled as error:
                    if with_kernels and not loaded():
                        with_kernels = False
                    else:
                        note(
                            f"the step could not be compiled with passes and is now compiled without ({error})"
                        )
                        passes = False
        passes = False
        return _program(step, options, state, batch)

    return make


def _called(program: Step, state: State, batch: Sequence[Draw]) -> tuple[State, Logs]:
    """The first call of a program. Raises NotCompiled with what it raises, such as for unforeseen strides."""
    try:
        return program(state, batch)
    except (RuntimeError, AssertionError) as error:
        raise NotCompiled(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _passes(note: Callable[[str], None], *, kernels: bool) -> dict[str, Any]:
    """The options of the graph passes; none, and a note, where torch lacks what they stand on."""
    try:  # with torch's compiler, which takes seconds to import
        from steadygan.training.compile.passes.rewrite import rewrite

        return rewrite(kernels=kernels)
    except OSError as error:  # it wants a cache folder when it is loaded
        raise NotCompiled(str(error)) from error
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


def _layout(held: Draw) -> Layout:
    """What a program assumes of its tensors: names, shapes, strides and types."""
    return tuple([(name, x.shape, x.stride(), x.dtype) for name, x in held.items()])


def _program(
    step: Step,
    options: dict[str, Any],
    state: State,
    batch: Sequence[Draw],
    before_loading: Callable[[], None] = lambda: None,
) -> tuple[Step, Callable[[str], None]]:
    """The step compiled for arguments of exactly this layout, and what keeps it under a name.

    The program does not check its arguments. Raises NotCompiled where torch cannot compile the step.
    """
    try:
        graph, form = traced(step, state, batch)
        if "size_asserts" in options and _convolves(graph):
            options = {**options, "size_asserts": True}
        call, library = inductor.build(graph, leaves((*state, *batch)), form.outputs, options, before_loading)
    except UsageError:
        raise
    except Exception as error:  # torch and the caller's own networks raise what they like
        raise NotCompiled(_first_line(error)) from error
    return as_step(call, form), lambda name: kept.keep(name, library, form) if library else None


def _convolves(graph: torch.fx.GraphModule) -> bool:
    return any(node.target is torch.ops.aten.convolution.default for node in graph.graph.nodes)


def compare(step: Step, before: State, batch: Sequence[Draw], fast: State, precision: str) -> None:
    """Compare updates and optimizer moments with the eager step. Moments show a gradient's size, which Adam hides.

    Buffers and averages only have to be finite: where rounding flips the sign of an update, they differ too. The step
    counter has to be the same. Several updates of a critic before one of G amplify rounding. So what is larger than
    allowed is also compared with the eager step's own differences after its parameters are rounded otherwise.
    """
    eager = step(before, batch)[0]
    found = _differences((before, eager), (before, fast), TOLERANCE[precision])
    if all((ratio <= 1).all() for ratio, _ in found.values()):
        return
    most = {path: torch.zeros_like(ratio) for path, (ratio, _) in found.items()}
    for draw in range(DRAWS):
        swayed = _swayed(before, SWAY[precision], draw)
        own = _differences((before, eager), (swayed, step(swayed, batch)[0]), TOLERANCE[precision])
        most = {path: torch.maximum(ratio, own[path][0]) for path, ratio in most.items()}
        more = [s for path, (r, s) in found.items() if not (r <= (AMPLIFIED * most[path]).clamp_min(1)).all()]
        if not more:
            return
    raise CompiledStepDiffers(f"{more[0]}: run with compile=false, and report the recipe")


def _swayed(state: State, size: float, draw: int) -> State:
    """The state with every parameter changed by a random share of itself, up to `size`."""
    chance = generator("sway", draw)
    params = {
        name: p * (1 + size * (2 * torch.rand(p.shape, generator=chance, dtype=p.dtype) - 1).to(p.device))
        for name, p in state.params.items()
    }
    return state._replace(params=params)


def _differences(
    eagerly: tuple[State, State], other: tuple[State, State], tolerance: float
) -> dict[str, tuple[Tensor, str]]:
    """How far another step is from the eager one, in what is allowed, for each member; and the sentence that says so.

    Each step is its states before and after.
    """
    (before, eager), (began, fast) = eagerly, other
    found: dict[str, tuple[Tensor, str]] = {}
    for name, start in before.params.items():
        wanted, moved = eager.params[name] - start, fast.params[name] - began.params[name]
        weights = _weights(eager.moments[name], fast.moments[name], start.shape)
        # One norm per member, so that a small member's error does not hide behind a large member.
        gap, far, reach = (
            each.norm(dim=-1) for each in ((moved - wanted) * weights, wanted * weights, start * weights)
        )
        diverged = ~wanted.isfinite().all(-1)  # NaN in the first step is reported by the training loop
        found[f"params/{name}"] = (
            torch.where(diverged, 0.0, _ratio(gap, tolerance * far + 1e-7 * reach)),
            f"the compiled step moves {name} by {moved.norm():.6g}, the eager step by {wanted.norm():.6g}, and where "
            f"gradients are not small they differ by {gap.max():.3g}",
        )
    others = tensors(fast)
    for path, tensor in tensors(eager).items():
        if not tensor.numel():
            continue
        wanted = tensor.double()
        size, gap = wanted.norm(dim=-1), (others[path].double() - wanted).norm(dim=-1)
        held = path.startswith(("moments", "scalars/step"))
        ratio = (
            _ratio(gap, 2 * tolerance * size + 1e-7) if held else torch.where(gap.isfinite(), 0.0, torch.inf)
        )
        found.setdefault(
            path,
            (
                ratio if size.isfinite().all() else torch.zeros(()),
                f"the compiled step leaves {gap.max():.3g} from the eager step's {path}, of size {size.max():.3g}",
            ),
        )
    return found


def _ratio(gap: Tensor, allowed: Tensor) -> Tensor:
    """gap / allowed: 0 where there is no gap, infinite where it is not a number."""
    return torch.where(gap == 0, 0.0, gap / allowed).nan_to_num(torch.inf)


def _weights(eager: Moments, fast: Moments, shape: torch.Size) -> Tensor:
    """The weight of each parameter in the comparison: min(1, s / (.3 r)).

    s is the larger of both steps' root of the squares' average; r is the root mean square of the eager one alone, so
    that one wrong large gradient cannot hide another.

    Adam and RMSProp divide by s. A gradient near zero then makes a full step, whose sign is decided by rounding. Such
    parameters are .02 of a GN critic's first update in float32, .16 of its generator's, and half of it in bfloat16.
    Muon divides so for its vectors only, a small part of an update, and has the weight 1 for all.
    """
    if "square" not in eager or eager["square"].shape != shape:
        return torch.ones(())
    s = torch.maximum(eager["square"], fast["square"]).sqrt()
    typical = eager["square"].mean(-1, keepdim=True).sqrt()
    return torch.where(typical > 0, (s / (SMALL * typical)).clamp(max=1), 1)
