"""Compiled or vectorised, a step computes what it computes alone; and where it does not, the run is refused."""

import shutil
import sys
from itertools import chain, repeat
from threading import Event
from typing import Any

import pytest
import torch

from steadygan.build import Run, build
from steadygan.config import parse, registry
from steadygan.game import State
from steadygan.training.compile import compiled_step
from steadygan.training.compile.compiled_step import ON_CPU, CompiledStepDiffers, compiled, vectorised
from steadygan.training.compile.passes import rewrite
from steadygan.training.compile.passes.rewrite import Rewrite

OPTIMIZERS = {name: part.make for name, part in registry.OPTIMIZERS.items()}


STEPS = 20
FARGAN: dict[str, Any] = {
    "data": {"name": "ring8", "scale": 2.0},
    "networks": {"name": "mlp", "width": 32, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1}]},
    "fake_as_real": {"count": 8, "pool": 4},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "batch": 32,
    "steps": 100,
}


def made(**changes: Any) -> Run:
    return build(parse({**FARGAN, **changes}))


def states(step: Any, run: Run, count: int = STEPS) -> list[State]:
    state, found = run.state, []
    for number in range(count):
        state, _ = step(state, run.draws(number))
        found.append(state)
    return found


def assert_close(found: State, wanted: State, tolerance: float = 1e-5) -> None:
    """Equal to `tolerance` of the largest parameter."""
    for name, vector in wanted.params.items():
        assert (found.params[name] - vector).abs().max() <= tolerance * vector.abs().max(), name


def moved(run: Run, state: State) -> float:
    return min(
        ((state.params[name] - start).norm() / start.norm()).item()
        for name, start in run.state.params.items()
    )


def never(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("this must not be called")


@pytest.fixture(scope="module")
def single() -> tuple[Run, list[State], list[State]]:
    """A run, its states under the compiled step, and under the eager one."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    run = made()
    with pytest.MonkeyPatch.context() as patch:
        passes: list[None] = []
        patch.setattr(
            Rewrite, "uuid", lambda self: passes.append(None)
        )  # asked for each graph; None: kept by none
        fast = states(compiled(run.step, pytest.fail), run)
    assert passes, "the passes are asked for"
    return run, fast, states(run.step, run)


@pytest.mark.slow
def test_the_compiled_step_is_the_eager_step(single):
    run, fast, eager = single
    assert moved(run, eager[-1]) > 0.01, "far enough for a difference to show"
    assert int(fast[-1].scalars["step"]) == STEPS
    for found, wanted in zip(fast, eager, strict=True):
        assert_close(found, wanted)


@pytest.mark.slow
def test_a_compiled_step_leaves_the_state_it_was_given(single):
    """Buffers that a graph reuses would show here: each state is still what it was when it was returned."""
    run, fast, _ = single
    assert len({float(state.params["G"].double().sum()) for state in fast}) == STEPS
    assert int(run.state.scalars["step"]) == 0
    assert [int(state.scalars["step"]) for state in fast] == list(range(1, STEPS + 1))


def counting(state: State, batch: Any) -> tuple[State, dict]:
    """A step whose program depends on which fields, rows and moments there are, by 1, 10 and 100 each."""
    (draw,) = batch
    total = len(draw["z"]) + 10 * ("due/2" in draw) + 100 * len(state.moments["D"])
    return state._replace(params={"D": state.params["D"] + total * draw["z"].mean()}), {}


@pytest.mark.slow
def test_a_program_is_used_for_its_own_kind_of_arguments_only():
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    step = compiled(counting, pytest.fail, "float64")
    start = State({"D": torch.ones(3)}, {}, {}, {}, {})
    due, few, many = {"due/2": torch.zeros(())}, {"z": torch.ones(2)}, {"z": torch.ones(4)}
    more = {"velocity": torch.zeros(3)}
    cases = [(few, {}, 2), ({**few, **due}, {}, 12), (many, {}, 4), (few, more, 102), (few, {}, 2)]
    for draw, moments, wanted in cases:
        state, _ = step(start._replace(moments={"D": moments}), [draw])
        assert state.params["D"].tolist() == [1 + wanted] * 3


def kept(state: State, batch: Any) -> tuple[State, dict]:
    return state._replace(params={**state.params}), {}


def holding(*vectors: torch.Tensor) -> State:
    params = dict(zip("DE", vectors))
    return State(params, {}, {name: {} for name in params}, {}, {})


def let_torch_give(monkeypatch: Any, compile_: Any) -> None:
    """Let the compiler give `compile_(step, options)`, which is not kept."""

    def program(step: Any, options: dict, state: State, batch: Any, *wait: Any) -> Any:
        return compile_(step, options), never

    monkeypatch.setattr(compiled_step, "_program", program)
    monkeypatch.setattr(compiled_step.shutil, "which", lambda name: "/usr/bin/g++")


def programs_of(monkeypatch, function: Any = kept) -> list[State]:
    """Let the compiler give `function`; the states that programs were made for, in order."""
    made: list[State] = []

    def compile_(step: Any, options: dict) -> Any:
        def fast(state: State, batch: Any) -> Any:
            if number == len(made):
                made.append(state)
            return function(state, batch)

        number = len(made)
        return fast

    let_torch_give(monkeypatch, compile_)
    return made


def as_columns(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape[::-1]).t()


PASS = "post_grad_custom_post_pass"
ONE = torch.ones(3)
KINDS: dict[str, tuple[State, list[dict[str, torch.Tensor]]]] = {
    "a vector": (holding(ONE), [{"x": torch.zeros(2, 3)}]),
    "longer": (holding(torch.ones(4)), [{"x": torch.zeros(2, 3)}]),
    "of another type": (holding(ONE.double()), [{"x": torch.zeros(2, 3)}]),
    "lies otherwise": (holding(torch.ones(6)[::2]), [{"x": torch.zeros(2, 3)}]),
    "two vectors": (holding(ONE, ONE.clone()), [{"x": torch.zeros(2, 3)}]),
    "a draw of other rows": (holding(ONE), [{"x": torch.zeros(1, 3)}]),
    "a draw of another type": (holding(ONE), [{"x": torch.zeros(2, 3).int()}]),
    "a draw that lies otherwise": (holding(ONE), [{"x": as_columns(2, 3)}]),
    "two draws": (holding(ONE), [{"x": torch.zeros(2, 3)}, {"z": torch.zeros(2, 3)}]),
    "both in one": (holding(ONE), [{"x": torch.zeros(2, 3), "z": torch.zeros(2, 3)}]),
}


def test_each_kind_of_arguments_has_a_program_of_its_own(monkeypatch):
    made = programs_of(monkeypatch)
    step = compiled(kept, pytest.fail)
    for _ in range(2):
        for state, batch in KINDS.values():
            step(state, batch)
    torch.testing.assert_close(made, [state for state, _ in KINDS.values()], check_stride=True)


def test_one_vector_twice_has_the_program_of_two_vectors(monkeypatch):
    """An average of batch norm's counter is the counter itself: a second program would take as long to compile."""
    made = programs_of(monkeypatch)
    step = compiled(kept, pytest.fail)
    for state in (holding(ONE, ONE), holding(ONE, ONE.clone())):
        step(state, [])
    assert len(made) == 1


@pytest.mark.slow
def test_a_program_made_for_one_vector_twice_reads_both_of_two_vectors():
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")

    def weighted(state: State, batch: Any) -> tuple[State, dict]:
        D, E = state.params["D"], state.params["E"]
        return holding(D + 10 * E, E), {}

    step = compiled(weighted, pytest.fail, "float64")
    for state, wanted in ((holding(ONE, ONE), 11), (holding(ONE, 2 * ONE), 21), (holding(ONE, ONE), 11)):
        assert step(state, [])[0].params["D"].tolist() == [wanted] * 3


def test_a_state_that_its_own_step_returned_is_of_the_kind_that_it_has(monkeypatch):
    def wider(state: State, batch: Any) -> tuple[State, dict]:
        return holding(state.params["D"].double()), {}

    made = programs_of(monkeypatch, wider)
    state, step = holding(ONE), compiled(wider, pytest.fail)
    for _ in range(2):
        for _ in range(3):
            state, _ = step(state, [])
        state = holding(ONE)
    assert [state.params["D"].dtype for state in made] == [torch.float32, torch.float64]


def test_a_call_that_does_not_return_leaves_nothing_for_the_next_one(monkeypatch):
    """The state of before is still of its own kind."""
    used: list[torch.dtype] = []

    def interrupted(state: State, batch: Any) -> tuple[State, dict]:
        if batch:
            raise KeyboardInterrupt
        return kept(state, batch)

    def compile_(step: Any, options: dict) -> Any:
        first: list[torch.dtype] = []

        def fast(state: State, batch: Any) -> Any:
            first.append(state.params["D"].dtype)
            used.append(first[0])
            return interrupted(state, batch)

        return fast

    let_torch_give(monkeypatch, compile_)
    step = compiled(kept, pytest.fail)
    state, _ = step(holding(ONE), [])
    step(holding(ONE.double()), [])
    state, _ = step(state, [])
    with pytest.raises(KeyboardInterrupt):
        step(holding(ONE.double()), [{"x": ONE}])
    step(state, [])
    assert used == [torch.float32, torch.float64, torch.float32, torch.float64, torch.float32]


def test_where_compiling_fails_the_step_runs_as_it_is_and_says_so_once(monkeypatch):
    tried, notes = [], []

    def fails(*args: Any) -> Any:
        tried.append(1)
        raise RuntimeError("no such file\nand more")

    monkeypatch.setattr(compiled_step.inductor, "build", fails)
    monkeypatch.setattr(compiled_step.shutil, "which", lambda name: "/usr/bin/g++")
    step = compiled(kept, notes.append)
    for state, batch in KINDS.values():
        after, _ = step(state, batch)
        assert after.params == state.params
    assert len(tried) == 2
    assert notes == [
        "the step could not be compiled with passes and is now compiled without (no such file)",
        "the step could not be compiled and runs uncompiled, only slower (no such file)",
    ]


@pytest.mark.parametrize("error", [AssertionError("expected size 2==2"), RuntimeError("no kernel")])
def test_a_program_that_cannot_run_costs_speed_and_not_the_run(error, monkeypatch):
    def fails(state: State, batch: Any) -> Any:
        raise error

    let_torch_give(monkeypatch, lambda step, options: fails)
    notes: list[str] = []
    step = compiled(kept, notes.append)
    for state, batch in KINDS.values():
        assert step(state, batch)[0].params == state.params
    assert notes == [f"the step could not be compiled and runs uncompiled, only slower ({error})"]


@pytest.mark.parametrize(("networks", "data", "checks"), [("mlp", "ring8", False), ("dcgan", "digits", True)])
def test_strides_are_checked_where_a_step_convolves(networks, data, checks, monkeypatch):
    """Of some functions of images torch foresees other strides than they have, and without a check reads them wrong."""
    given: list[bool] = []

    def build_(graph: Any, inputs: Any, outputs: Any, options: dict, wait: Any) -> Any:
        given.append(options["size_asserts"])
        raise RuntimeError("not now")

    monkeypatch.setattr(compiled_step.inductor, "build", build_)
    monkeypatch.setattr(compiled_step.shutil, "which", lambda name: "/usr/bin/g++")
    run = made(data=data, networks={"name": networks, "width": 4})
    compiled(run.step, lambda note: None, passes=False)(run.state, run.draws(0))
    assert given == [checks]


def test_an_empty_buffer_does_not_differ():
    state = holding(ONE)._replace(buffers={"D": {"D/none": torch.zeros(0, 3)}})
    compiled_step.compare(kept, state, [], kept(state, [])[0], "float32")


def test_where_the_compiler_may_write_no_cache_the_step_runs_as_it_is_and_says_so(monkeypatch):
    """torch makes its cache folder while it is loaded, here for the first time."""

    def refused(*, kernels: bool) -> Any:
        raise PermissionError("no cache")

    monkeypatch.setattr(rewrite, "rewrite", refused)
    monkeypatch.setattr(compiled_step.kernels, "wanted", lambda: False)
    notes: list[str] = []
    programs_of(monkeypatch, kept)
    state = holding(ONE)
    after, _ = compiled(kept, notes.append)(state, [])
    assert after.params == state.params
    assert notes == ["the step could not be compiled and runs uncompiled, only slower (no cache)"]


def test_the_kernels_are_compiled_while_the_program_is_made(monkeypatch):
    """One after the other, the kernels would wait here for a program that waits for them."""
    begun = Event()

    def program(step: Any, options: dict, state: State, batch: Any, wait: Any) -> Any:
        assert options[PASS].kernels, "the kernels waited for the program"
        begun.set()
        wait()
        return kept, never

    monkeypatch.setattr(compiled_step.kernels, "wanted", lambda: True)
    monkeypatch.setattr(compiled_step.kernels, "load", lambda note: begun.wait(60))
    monkeypatch.setattr(compiled_step, "_program", program)
    compiled(kept, pytest.fail)(holding(ONE), [])


def test_where_the_kernels_fail_the_step_is_compiled_again_without_them(monkeypatch):
    given: list[bool] = []

    def program(step: Any, options: dict, state: State, batch: Any, wait: Any) -> Any:
        given.append(options[PASS].kernels)
        wait()
        return kept, never

    def load(note: Any) -> bool:
        note("no kernels")
        return False

    monkeypatch.setattr(compiled_step.kernels, "wanted", lambda: True)
    monkeypatch.setattr(compiled_step.kernels, "load", load)
    monkeypatch.setattr(compiled_step, "_program", program)
    notes: list[str] = []
    step = compiled(kept, notes.append)
    for state, batch in KINDS.values():
        step(state, batch)
    assert given == [True] + [False] * len(KINDS)
    assert notes == ["no kernels"]


def test_where_only_the_passes_fail_the_step_is_compiled_without_them(monkeypatch):
    """Torch's graphs are no public interface: another version may have other ones."""
    given: list[bool] = []

    def compile_(step: Any, options: dict) -> Any:
        given.append(PASS in options)
        if given[-1]:
            raise compiled_step.NotCompiled("val")
        return kept

    let_torch_give(monkeypatch, compile_)
    notes: list[str] = []
    step = compiled(kept, notes.append)
    for state, batch in KINDS.values():
        step(state, batch)
    assert given == [True] + [False] * len(KINDS)
    assert notes == ["the step could not be compiled with passes and is now compiled without (val)"]


def test_a_torch_without_what_the_passes_stand_on_compiles_without_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "steadygan.training.compile.passes.rewrite", None)
    notes: list[str] = []
    programs_of(monkeypatch, kept)
    compiled(kept, notes.append)(holding(ONE), [])
    assert len(notes) == 1
    assert notes[0].startswith("the step is compiled without passes, only slower: torch")


def test_kernels_that_cannot_be_made_are_tried_once(monkeypatch):
    """Their compiler takes seconds, and a step may have several programs."""
    tried: list[int] = []

    def fails(note: Any) -> bool:
        tried.append(1)
        note("no kernels")
        return False

    monkeypatch.setattr(compiled_step.kernels, "load", fails)
    monkeypatch.setattr(compiled_step.kernels, "wanted", lambda: True)
    programs_of(monkeypatch, kept)
    notes: list[str] = []
    step = compiled(kept, notes.append)
    for state, batch in KINDS.values():
        step(state, batch)
    assert len(tried) == 1
    assert notes == ["no kernels"]


def test_without_passes_torch_gets_none(monkeypatch):
    given: list[dict] = []
    let_torch_give(monkeypatch, lambda step, options: given.append(options) or kept)
    compiled(kept, pytest.fail, passes=False)(holding(ONE), [])
    assert given == [ON_CPU]


def members(run: Run, state: State, index: int) -> State:
    return State(
        params={n: p[index] for n, p in state.params.items()}, buffers={}, moments={}, average={}, scalars={}
    )


SWEPT = {"optimizer": {"name": "sgd", "lr": [0.05, 0.01]}, "seeds": 2, "seed": 4}


@pytest.fixture(scope="module")
def ensemble() -> Run:
    return made(**SWEPT)


def assert_members(run: Run, found: list[State]) -> None:
    assert len(run.members) == 4
    for index, member in enumerate(run.members):
        alone = made(seed=int(member["seed"]), optimizer={"name": "sgd", "lr": member["optimizer.lr"]})
        for state, wanted in zip(found, states(alone.step, alone), strict=True):
            assert_close(members(run, state, index), wanted)


def test_a_member_of_an_ensemble_is_the_single_run_with_its_seed_and_rate(ensemble):
    assert_members(ensemble, states(vectorised(ensemble.step), ensemble))


@pytest.mark.slow
def test_a_compiled_ensemble_is_its_single_runs(ensemble):
    assert_members(ensemble, states(compiled(vectorised(ensemble.step), pytest.fail), ensemble))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {
            "data": "digits",
            "networks": {"name": "dcgan", "latent": 8, "width": 8, "batch_norm": True},
            "ema": {"decay": 0.9},
            "optimizer": {"name": "sgd", "lr": 0.02},
        },
        {
            "optimizer": {"name": "muon", "lr": 0.01},
            "ema": {"decay": 0.9, "start": 5},
            "precision": "float64",
        },
    ],
    ids=["batch norm and average", "muon and average"],
)
def test_other_compiled_steps_are_the_eager_steps(changes):
    run = made(**changes)
    fast, eager = states(compiled(run.step, pytest.fail), run)[-1], states(run.step, run)[-1]
    assert_close(fast, eager)
    for key, tensor in eager.average["G"].items():
        torch.testing.assert_close(fast.average["G"][key], tensor, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------ wrong compiled code


def compile_to(monkeypatch, change: Any) -> list[int]:
    """Let the compiler return a step whose result went through `change`; count its calls."""
    calls: list[int] = []

    def compile_(step: Any, options: dict) -> Any:
        def fast(state: State, batch: Any) -> Any:
            calls.append(1)
            after, logs = step(state, batch)
            return change(state, after), logs

        return fast

    let_torch_give(monkeypatch, compile_)
    return calls


def scaled(player: str, factor: float) -> Any:
    """As if `player` had been moved `factor` times as far."""

    def change(before: State, after: State) -> State:
        update = after.params[player] - before.params[player]
        return after._replace(params={**after.params, player: before.params[player] + factor * update})

    return change


def one_weight(before: State, after: State) -> State:
    """As if the largest of all the updates had been lost."""
    update = after.params["D"] - before.params["D"]
    vector = after.params["D"].clone()
    vector[update.abs().argmax()] = before.params["D"][update.abs().argmax()]
    return after._replace(params={**after.params, "D": vector})


def not_a_number(before: State, after: State) -> State:
    return after._replace(params={**after.params, "G": after.params["G"] * torch.nan})


def remembered(factor: float) -> Any:
    """As if D's gradient had been `factor` times as large, which Adam's first update does not show."""

    def change(before: State, after: State) -> State:
        mean = {**after.moments["D"], "mean": factor * after.moments["D"]["mean"]}
        return after._replace(moments={**after.moments, "D": mean})

    return change


def averaged(before: State, after: State) -> State:
    lost = {name: value * torch.nan for name, value in after.average["G"].items()}
    return after._replace(average={"G": lost})


WRONG = {
    "D moves a little too far": scaled("D", 1.05),
    "G stands still": scaled("G", 0.0),
    "G moves the wrong way": scaled("G", -1.0),
    "D moves twice": scaled("D", 2.0),
    "one weight is forgotten": one_weight,
    "not a number": not_a_number,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_compiled_step_that_is_wrong_is_refused_at_the_first_step(name, monkeypatch):
    run = made()
    compile_to(monkeypatch, WRONG[name])
    step = compiled(run.step, pytest.fail)
    with pytest.raises(CompiledStepDiffers, match="compile=false") as caught:
        step(run.state, run.draws(0))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("change", [remembered(1.05), remembered(0.0), averaged])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_what_only_later_steps_would_show_is_refused(change, precision, monkeypatch):
    run = made(optimizer={"name": "adam", "lr": 1e-3}, ema={"decay": 0.9}, precision=precision)
    compile_to(monkeypatch, change)
    with pytest.raises(CompiledStepDiffers):
        compiled(run.step, pytest.fail, precision)(run.state, run.draws(0))


def test_rounding_is_not_refused(monkeypatch):
    run = made()
    calls = compile_to(monkeypatch, scaled("D", 1 + 1e-4))
    step = compiled(run.step, pytest.fail)
    states(step, run, 3)
    assert len(calls) == 3


def test_in_float64_far_less_passes_as_rounding(monkeypatch):
    run = made(precision="float64")
    compile_to(monkeypatch, scaled("D", 1 + 1e-4))
    with pytest.raises(CompiledStepDiffers):
        compiled(run.step, pytest.fail, "float64")(run.state, run.draws(0))


def test_on_a_gpu_a_step_that_differs_costs_speed_and_not_the_run(monkeypatch):
    run, notes = made(), []
    compile_to(monkeypatch, scaled("D", 0.7))
    step = compiled(run.step, notes.append, device=torch.device("cuda"))
    for found, wanted in zip(states(step, run, 2), states(run.step, run, 2), strict=True):
        assert_close(found, wanted, 0.0)
    assert len(notes) == 1
    assert notes[0].startswith("the step runs uncompiled, because the compiled step moves D by")


HALF = {
    "data": "digits",
    "networks": {"name": "dcgan", "latent": 8, "width": 8},
    "game": {"name": "gan", "loss": "wasserstein"},
    "critic": {"penalties": [{"name": "one_centered", "weight": 10}]},
    "fake_as_real": {"count": 0},
    "dynamics": {"name": "alternating", "n_critic": 5},
    "optimizer": {"name": "adam", "lr": 1e-3, "betas": [0, 0.9]},
}
"""A run that in bfloat16 gives its generator a first update of which .15 is rounding."""


def test_where_rounding_decides_a_step_its_exact_result_is_not_refused(monkeypatch):
    """Signs of small gradients turn in bfloat16, and Adam makes a full step of each: float32 is no wrong code."""
    run, exact = made(**HALF, precision="bfloat16"), made(**HALF)
    monkeypatch.setitem(compiled_step.TOLERANCE, "bfloat16", 0.1)
    draws = run.draws(0)
    calls = compile_to(monkeypatch, lambda before, after: exact.step(before, draws)[0])
    after, _ = compiled(run.step, pytest.fail, "bfloat16")(run.state, draws)
    assert len(calls) == 1
    update = run.step(run.state, draws)[0].params["G"] - run.state.params["G"]
    away = after.params["G"] - run.state.params["G"] - update
    assert away.norm() > 0.1 * update.norm(), "nothing is to be forgiven"


def swaying(amplified: float) -> tuple[Any, State]:
    """A step along a gradient that changes by `amplified` times what its parameters change by."""

    def step(state: State, batch: Any) -> tuple[State, dict[str, torch.Tensor]]:
        x = state.params["D"]
        return state._replace(params={"D": x - 0.1 * (1 + amplified * (x - 1))}), {}

    return step, State({"D": torch.ones(1000)}, {}, {"D": {}}, {}, {})


def test_a_difference_that_rounding_makes_is_not_refused_however_large(monkeypatch):
    """As after five updates of a critic: numbers that differ by 1e-7 give updates that differ by a fiftieth."""
    step, state = swaying(1e5)
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(4))
    rounded = step(state._replace(params={"D": 1 + 2e-7 * noise}), [])[0]
    gap = (rounded.params["D"] - 0.9).norm() / (0.1 * torch.ones(1000)).norm()
    assert gap > compiled_step.TOLERANCE["float32"], "nothing is to be forgiven"
    compile_to(monkeypatch, lambda before, after: rounded)
    compiled(step, pytest.fail)(state, [])


def test_a_leap_that_few_changes_make_is_found(monkeypatch):
    """A unit at 0 turns with one change in two, so one change alone would refuse every other such step."""
    turned: list[bool] = []

    def step(state: State, batch: Any) -> tuple[State, dict[str, torch.Tensor]]:
        x = state.params["D"]
        turned.append(bool(x[1] > 1))
        return state._replace(params={"D": x - 0.1 * (1.02 if turned[-1] else 1.0)}), {}

    _, state = swaying(0)
    compile_to(monkeypatch, scaled("D", 1.02))
    compiled(step, pytest.fail)(state, [])
    assert turned[2:] == [False, True], "the first change turns it, and nothing is shown"


@pytest.mark.parametrize("amplified", [0.0, 1e3])
def test_the_same_difference_is_refused_where_rounding_cannot_make_it(amplified, monkeypatch):
    step, state = swaying(amplified)
    compile_to(monkeypatch, scaled("D", 1.02))
    with pytest.raises(CompiledStepDiffers):
        compiled(step, pytest.fail)(state, [])


@pytest.mark.parametrize("change", [scaled("G", 0.7), scaled("D", 0.7), scaled("G", -1.0), not_a_number])
def test_where_rounding_decides_a_step_wrong_code_is_still_refused(change, monkeypatch):
    run = made(**HALF, precision="bfloat16")
    compile_to(monkeypatch, change)
    with pytest.raises(CompiledStepDiffers):
        compiled(run.step, pytest.fail, "bfloat16")(run.state, run.draws(0))


def signs(gradient: torch.Tensor, found: torch.Tensor) -> tuple[Any, State]:
    """A step of Adam along `gradient` [P], compiled to one along `found`; and the state that it begins with."""
    adam = OPTIMIZERS["adam"](lr=1e-3, betas=(0.0, 0.9))
    start = torch.full_like(gradient, 0.1)
    given = chain([found], repeat(gradient))  # the compiled step is taken first

    def step(state: State, batch: Any) -> tuple[State, dict[str, torch.Tensor]]:
        params, moments = adam.update(next(given), state.moments["D"], state.params["D"], {})
        return state._replace(params={"D": params}, moments={"D": moments}), {}

    return step, State({"D": start}, {}, {"D": adam.init(start)}, {}, {})


def look_at(step: Any, state: State, monkeypatch: Any) -> None:
    compile_to(monkeypatch, lambda before, after: after)
    compiled(step, pytest.fail)(state, [])


def spread(count: int = 10_000) -> torch.Tensor:
    """Gradients of either sign and of sizes 1e-9 to 1."""
    generator = torch.Generator().manual_seed(1)
    sizes = 10 ** (-9 * torch.rand(count, generator=generator))
    return sizes * (torch.randint(0, 2, (count,), generator=generator) * 2 - 1)


def test_a_gradient_that_is_off_by_rounding_is_not_refused_though_adam_makes_a_full_step_of_each(monkeypatch):
    gradient = spread()
    found = gradient + 3e-5 * torch.randn(len(gradient), generator=torch.Generator().manual_seed(2))
    assert (found.sign() != gradient.sign()).float().mean() > 0.1, "a tenth of the steps go the other way"
    look_at(*signs(gradient, found), monkeypatch)


@pytest.mark.parametrize("typical", [1.0, 0.1, 0.01])
def test_a_twentieth_of_the_parameters_whose_gradient_is_wrong_is_refused_though_it_is_small(
    typical, monkeypatch
):
    """A layer of which backward forgets the sign, where gradients are `typical` of those of the other layers."""
    gradient = torch.randn(10_000, generator=torch.Generator().manual_seed(3))
    gradient[:500] *= typical
    found = torch.cat([-gradient[:500], gradient[500:]])
    with pytest.raises(CompiledStepDiffers):
        look_at(*signs(gradient, found), monkeypatch)


def test_one_large_gradient_does_not_hide_wrong_ones(monkeypatch):
    gradient = torch.randn(10_000, generator=torch.Generator().manual_seed(3))
    gradient[-1] = 1e4
    found = torch.cat([-gradient[:500], gradient[500:]])
    with pytest.raises(CompiledStepDiffers):
        look_at(*signs(gradient, found), monkeypatch)


def test_one_enormous_wrong_gradient_does_not_hide_the_others(monkeypatch):
    gradient = torch.randn(10_000, generator=torch.Generator().manual_seed(3))
    found = torch.cat([torch.full((1,), 1e10) * gradient[0].sign(), -gradient[1:]])
    step, state = signs(gradient, found)
    with pytest.raises(CompiledStepDiffers, match="moves D"):
        look_at(step, state, monkeypatch)


def test_a_gradient_where_there_is_none_is_refused(monkeypatch):
    gradient = torch.randn(10_000, generator=torch.Generator().manual_seed(3))
    gradient[:500] = 0
    found = torch.cat([torch.ones(500), gradient[500:]])
    with pytest.raises(CompiledStepDiffers):
        look_at(*signs(gradient, found), monkeypatch)


def test_a_player_that_stands_still_is_not_to_move(monkeypatch):
    step, state = signs(torch.zeros(10), torch.zeros(10))
    look_at(step, state, monkeypatch)
    with pytest.raises(CompiledStepDiffers):
        look_at(*signs(torch.zeros(10), torch.ones(10)), monkeypatch)


def test_wrong_code_in_one_member_is_not_hidden_by_another_that_moves_far(monkeypatch):
    """One member at a large rate makes the update of all of them large: each is to be held to its own."""
    run = made(optimizer={"name": "sgd", "lr": [1.0, 1e-5]})

    def second_stands_still(before: State, after: State) -> State:
        vectors = torch.stack([after.params["D"][0], before.params["D"][1]])
        return after._replace(params={**after.params, "D": vectors})

    compile_to(monkeypatch, second_stands_still)
    with pytest.raises(CompiledStepDiffers):
        compiled(vectorised(run.step), pytest.fail)(run.state, run.draws(0))


def test_a_member_that_diverges_does_not_end_the_look_at_the_others(monkeypatch):
    run = made(optimizer={"name": "sgd", "lr": [0.05, 0.05]})
    broken = torch.stack([run.state.params["D"][0] * torch.nan, run.state.params["D"][1]])
    state = run.state._replace(params={**run.state.params, "D": broken})
    compile_to(monkeypatch, scaled("D", 1.5))
    step = compiled(vectorised(run.step), pytest.fail)
    with pytest.raises(CompiledStepDiffers):
        step(state, run.draws(0))


def test_only_the_first_step_is_done_twice(monkeypatch):
    run = made()
    eager: list[int] = []

    def counted(state: State, batch: Any) -> Any:
        eager.append(1)
        return run.step(state, batch)

    calls = compile_to(monkeypatch, lambda before, after: after)
    states(compiled(counted, pytest.fail), run, 5)
    assert len(calls) == 5
    assert len(eager) == 5 + 1, "five of them inside the compiled step's stand-in"


def test_each_graph_is_compared_once(monkeypatch):
    """With a penalty every second step there are two: the first step's, and one without the penalty."""
    run = made(critic={"penalties": [{"name": "r1", "weight": 1, "interval": 2}]})

    def wrong_at_odd_steps(before: State, after: State) -> State:
        return scaled("D", 1.5)(before, after) if int(before.scalars["step"]) % 2 else after

    compile_to(monkeypatch, wrong_at_odd_steps)
    with pytest.raises(CompiledStepDiffers):
        states(compiled(run.step, pytest.fail), run, 2)


def test_a_first_step_that_diverges_is_the_trainers_to_report(monkeypatch):
    run = made()
    compile_to(monkeypatch, lambda before, after: after)
    broken = run.state._replace(params={**run.state.params, "G": run.state.params["G"] * torch.nan})
    _, logs = compiled(run.step, pytest.fail)(broken, run.draws(0))
    assert logs["finite"].item() == 0


# ---------------------------------------------------------------------------------------- no C++ compiler


def test_without_a_compiler_the_step_runs_as_it_is_and_says_so(monkeypatch):
    monkeypatch.setattr(compiled_step, "_program", never)
    monkeypatch.setattr(compiled_step.shutil, "which", lambda name: None)
    notes: list[str] = []
    step = made().step
    assert compiled(step, notes.append) is step
    assert len(notes) == 1
    assert len(notes[0].splitlines()) == 1
    assert "C++ compiler" in notes[0]


def test_the_device_of_the_run_decides_how_it_is_compiled(monkeypatch):
    """On a machine with a GPU a run on the CPU is compiled for the CPU, and the other way round."""
    given: list[dict] = []
    let_torch_give(monkeypatch, lambda step, options: given.append(options) or step)
    for has_gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=has_gpu: answer)
        for device in ("cpu", "cuda"):
            start = State({"D": torch.ones(3)}, {}, {"D": {}}, {}, {})
            compiled(counting, pytest.fail, device=torch.device(device))(start, [{"z": torch.ones(2)}])
    assert [ON_CPU.keys() <= options.keys() for options in given] == [True, False, True, False]


def test_the_compiler_is_the_one_that_cxx_names(monkeypatch):
    monkeypatch.setattr(compiled_step, "_program", never)
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    notes: list[str] = []
    step = made().step
    assert compiled(step, notes.append) is step
    assert "CXX" in notes[0]
