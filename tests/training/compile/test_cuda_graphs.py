"""Replayed steps are the steps: a stand-in for a CUDA graph reads and writes one memory, as a graph does."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from steadygan.build import Run, build
from steadygan.config import override, parse
from steadygan.game import State, Step
from steadygan.recipes.catalogue import find_recipe
from steadygan.training.compile import compiled_step, cuda_graphs
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.compile.cuda_graphs import on_gpu, possible, replayed

RING: dict[str, Any] = {
    "data": {"name": "ring8", "scale": 2.0},
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1}]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "ema": {"decay": {"schedule": "linear", "start": 0.0, "stop": 0.9}},
    "batch": 16,
    "steps": 100,
    "precision": "float64",
}


def made(**changes: Any) -> Run:
    return build(parse({**RING, **changes}))


class Graph:
    """Records like a GPU: a replay computes in the memory of the first result, but for what is `fixed` there."""

    def __init__(self, fixed: Callable[[Tensor], bool] = lambda t: False) -> None:
        self.fixed, self.recorded, self.replays = fixed, 0, 0

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        made = tree_map(Tensor.clone, run())

        def replay() -> None:
            self.replays += 1
            for kept, fresh in zip(tree_leaves(made), tree_leaves(run()), strict=True):
                if not self.fixed(kept):
                    kept.copy_(fresh)

        return made, replay


def states(step: Step, run: Run, count: int = 8) -> list[State]:
    state, found = run.state, []
    for number in range(count):
        state, _ = step(state, run.draws(number))
        found.append(state)
    return found


def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler gives the step itself."""
    monkeypatch.setattr(compiled_step, "_program", lambda step, *arguments: (step, lambda name: None))
    monkeypatch.setattr(compiled_step.shutil, "which", lambda name: "/usr/bin/g++")


def same(found: list[State], wanted: list[State]) -> None:
    for one, other in zip(found, wanted, strict=True):
        for x, y in zip(tree_leaves(one), tree_leaves(other), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)


KINDS = {
    "single": {},
    "ensemble": {"seeds": 2, "optimizer": {"name": "adam", "lr": [0.01, 0.1]}},
    "a penalty every second step": {"critic": {"penalties": [{"name": "r1", "weight": 1, "interval": 2}]}},
    "a game with a scalar of its own": {
        "game": "began",
        "networks": {"name": "mlp", "width": 8},
        "critic": {},
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_replayed_states_are_those_of_the_step_and_stay_what_they_are(kind, monkeypatch):
    """All states are kept to the end: one that lay in a graph's memory would have the last one's numbers."""
    run = made(**KINDS[kind])
    plain = vectorised(run.step) if run.ensemble else run.step
    programs(monkeypatch)
    graph = Graph()
    step = compiled(plain, pytest.fail, "float64", replayed=replayed(pytest.fail, "float64", graph))
    same(states(step, run), states(plain, run))
    graphs = 2 if "every second" in kind else 1
    assert (graph.recorded, graph.replays) == (graphs, 8 - 2 * graphs)


def test_logs_are_kept_too(monkeypatch):
    run = made()
    programs(monkeypatch)
    step = compiled(run.step, pytest.fail, "float64", replayed=replayed(pytest.fail, "float64", Graph()))
    state, kept, wanted = run.state, [], []
    for number in range(6):
        wanted.append(run.step(state, run.draws(number))[1])
        state, logs = step(state, run.draws(number))
        kept.append(logs)
    for logs, others in zip(kept, wanted, strict=True):
        torch.testing.assert_close(logs, others)


def test_an_older_state_may_come_again(monkeypatch):
    """As it does when the origin of a divergence is looked for."""
    run = made()
    programs(monkeypatch)
    step = compiled(run.step, pytest.fail, "float64", replayed=replayed(pytest.fail, "float64", Graph()))
    first = states(step, run)
    state = first[3]
    for number in range(4, 8):
        state, _ = step(state, run.draws(number))
    same([state], [first[-1]])


@pytest.mark.parametrize(
    "fixed", [lambda t: True, lambda t: t.dtype == torch.int64 and t.ndim == 0], ids=["all", "step counter"]
)
def test_what_a_graph_does_not_compute_anew_is_found_and_the_graph_not_used(fixed, monkeypatch):
    """A number that the CPU reads while recording stays in the graph. Nothing else here depends on the counter."""
    run, notes, graph = made(ema=None), [], Graph(fixed)
    programs(monkeypatch)
    step = compiled(run.step, pytest.fail, "float64", replayed=replayed(notes.append, "float64", graph))
    same(states(step, run), states(run.step, run))
    assert notes == ["the step runs without CUDA graphs, only slower (its replay gives other numbers)"]
    assert graph.replays == 1


def test_a_step_that_cannot_be_recorded_runs_as_it_is_and_says_so_once(monkeypatch):
    def refuses(run: Callable[[], Any]) -> Any:
        run()
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    run, notes = made(**KINDS["a penalty every second step"]), []
    programs(monkeypatch)
    step = compiled(run.step, pytest.fail, "float64", replayed=replayed(notes.append, "float64", refuses))
    same(states(step, run), states(run.step, run))
    assert notes == [
        "the step runs without CUDA graphs, only slower (operation not permitted when stream is capturing)"
    ]


def test_arguments_that_share_memory_with_themselves_are_not_recorded(monkeypatch):
    """An expanded tensor has no memory of its own layout: a program would read a copy of it wrongly."""
    notes: list[str] = []
    graph = Graph()
    step = replayed(notes.append, "float64", graph)(lambda state, batch: (state, {}))
    expanded = State({"D": torch.zeros(1).expand(3)}, {}, {"D": {}}, {}, {})
    assert step(expanded, [])[0] is expanded
    assert len(notes) == 1
    assert graph.recorded == 0


@pytest.mark.parametrize(
    "words",
    [[name] for name in ("ada", "diffaugment", "infogan", "conditional-gn", "bcr", "layer-noise")]
    + [["r3gan", "networks={name: r3gan, width: 16}"]],
    ids=lambda words: words[0],
)
def test_no_step_makes_a_constant_of_a_list(words, monkeypatch):
    """On a GPU it would be copied from the CPU at every step: the step waits, and it cannot be recorded."""
    name, *changes = words
    raw = override(find_recipe(f"digits-{name}")[1], ["device=cpu", "compile=false", *changes])
    run = build(parse(raw))
    batch = run.draws(0)

    def copied(*args: Any, **options: Any) -> Any:
        raise AssertionError("a list would be copied to the device")

    monkeypatch.setattr(torch, "tensor", copied)
    monkeypatch.setattr(Tensor, "new_tensor", copied)
    run.step(run.state, batch)


class Calls:
    """What a recorder asks of torch.cuda, in order, on a stream that is current."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.current: list[str] = ["main"]
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "device", lambda device: self.inside(f"device {device}"))
        monkeypatch.setattr(cuda, "graph_pool_handle", lambda: "pool")
        monkeypatch.setattr(cuda, "Stream", lambda: self.stream("side"))
        monkeypatch.setattr(cuda, "current_stream", lambda: self.stream(self.current[-1]))
        monkeypatch.setattr(cuda, "stream", lambda stream: self.inside("warm", stream.name))
        monkeypatch.setattr(
            cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: self.order.append("replay"))
        )
        monkeypatch.setattr(cuda, "graph", self.graph)

    def stream(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, wait_stream=lambda other: self.order.append(f"{name} waits for {other.name}")
        )

    def graph(self, graph: Any, *, pool: str, stream: Any, capture_error_mode: str) -> Any:
        return self.inside(f"record {pool} {capture_error_mode}", stream.name)

    @contextmanager
    def inside(self, what: str, stream: str | None = None) -> Iterator[None]:
        self.order.append(what)
        self.current.append(stream or self.current[-1])
        yield
        self.current.pop()
        self.order.append("end")


def test_a_gpu_is_warmed_up_and_recorded_on_one_stream(monkeypatch):
    """Work on another stream has to wait for the arguments' copies, and the main stream for it."""
    calls = Calls(monkeypatch)
    record = on_gpu(torch.device("cuda:1"))
    for _ in range(2):
        calls.order.clear()
        made, replay = record(lambda: calls.order.append(f"run on {calls.current[-1]}") or "made")
        replay()
        assert made == "made"
        waits = ["side waits for main", "warm", "run on side", "end", "main waits for side"]
        recorded = ["record pool thread_local", "run on side", "end"]
        assert calls.order == ["device cuda:1", *waits, *recorded, "end", "replay"]


def test_only_a_run_of_one_process_on_a_gpu_has_graphs(monkeypatch):
    assert possible(torch.device("cuda:0"))
    assert not possible(torch.device("cpu"))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert not possible(torch.device("cuda:0"))


@pytest.mark.slow
def test_a_run_under_graphs_ends_with_the_bits_of_one_without(tmp_path, command, monkeypatch):
    programs(monkeypatch)
    graph, ends = Graph(), []
    monkeypatch.setattr(cuda_graphs, "possible", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "on_gpu", lambda device: graph)
    for chosen in ("true", "false"):
        words = ["steps=12", "compile=true", "networks.width=8", f"gpu.graphs={chosen}"]
        assert command("train", "ring8-fargan", *words, "--out", tmp_path / chosen).code == 0
        ends.append(tmp_path / chosen / "checkpoints" / "step-00000012" / "state.safetensors")
    assert ends[0].read_bytes() == ends[1].read_bytes()
    assert graph.replays == 10


def test_a_run_on_a_cpu_never_asks_for_a_graph_and_says_nothing(tmp_path, command, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "on_gpu", lambda device: pytest.fail("asked"))
    words = ["steps=2", "compile=false", "gpu={tf32: true, autotune: true}", "--out", tmp_path / "run"]
    told = command("train", "ring8-fargan", *words)
    assert told.code == 0
    assert not any(word in told.out.lower() for word in ("tf32", "cudnn", "gpu", "graph"))


@pytest.mark.slow
def test_a_compiled_program_takes_the_copies_of_its_arguments():
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    run, graph = made(precision="float32"), Graph()
    fast = states(compiled(run.step, pytest.fail, replayed=replayed(pytest.fail, "float32", graph)), run)
    assert graph.replays == 6
    for one, other in zip(fast, states(run.step, run), strict=True):
        for name, vector in other.params.items():
            assert (one.params[name] - vector).abs().max() <= 1e-4 * vector.abs().max()
