"""The rewritten step of every method and network, and of recipes, gives the numbers of the step as it was.

Graphs run as they are, without a compiler.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.fx import Graph, GraphModule
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from recipes.test_golden import RECIPES, float64_on_one_thread
from sharing.cases import CASES, DIGITS, IMAGES
from steadygan import config
from steadygan.build import Own, Run, build
from steadygan.config.registry import NETWORKS
from steadygan.data.dataset import Data
from steadygan.rng import generator
from steadygan.training.compile.compiled_step import vectorised
from steadygan.training.compile.passes.chains import BACKWARD
from steadygan.training.compile.passes.kernels import VECTORS, load
from steadygan.training.compile.passes.nodes import PRODUCTS, aten
from steadygan.training.compile.passes.rewrite import Rewrite, share_backward
from tracing import traced

pytestmark = pytest.mark.slow

Raw = dict[str, Any]

SIDE = 32
"""The smallest side that all architectures of images take."""

SMALL = {
    "latent": 6,
    "width": 4,
    "depth": 1,
    "group": 2,
    "hidden": 8,
    "batch_norm": False,
}
SETTINGS = ["device=cpu", "compile=false"]
FIRST = ["precision=float64", "seeds=1", "seed=0"]
CRITICS: dict[str, Raw] = {
    "R1": {"penalties": ["r1"]},
    "GN, R1 and R2": {"normalization": "gradient_normalized", "penalties": ["r1", "r2"]},
}


def networks() -> Iterator[tuple[str, Raw]]:
    """Every architecture of images, with a penalty."""
    for name, part in NETWORKS.items():
        if name not in ("own", "dirac", "point"):
            chosen = {key: value for key, value in SMALL.items() if key in part.options}
            conditional = name == "biggan32"
            yield (
                f"network: {name}",
                {
                    "data": "own",
                    "networks": {"name": name, **chosen},
                    "game": {"name": "gan", "conditional": conditional},
                    "critic": CRITICS["R1"],
                    "optimizer": {"name": "sgd", "lr": 0.01},
                    "batch": 3,
                    "steps": 1,
                    "compile": False,
                },
            )


def of_images() -> Iterator[tuple[str, Raw]]:
    """Small critics of images, alone and as an ensemble."""
    for name, base in (("an MLP", DIGITS), ("a DCGAN", IMAGES)):
        for label, critic in CRITICS.items():
            for seeds in (1, 3):
                raw = {**base, "critic": critic, "seeds": seeds}
                yield f"{name}, {label}, {seeds} members", raw
                yield f"{name}, {label}, {seeds} members, one row", {**raw, "batch": 1}


def recipes() -> Iterator[tuple[str, Raw]]:
    """The first recipe of each network, at its own sizes. What else recipes differ in has a case of its own."""
    found = set()
    for name, raw in RECIPES.items():
        network = config.parse(raw).networks.name
        if network not in found:
            found.add(network)
            yield name, raw


STEPS: dict[str, tuple[Raw, list[str]]] = {
    **{f"recipe: {name}": (raw, FIRST) for name, raw in recipes()},
    **{name: (raw, FIRST[:1]) for name, raw in (*CASES.items(), *networks(), *of_images())},
}


def pictures() -> Data:
    rows = torch.randint(256, (12, 3, SIDE, SIDE), generator=generator("pictures"), dtype=torch.uint8)
    return Data("own", (3, SIDE, SIDE), rows, labels=torch.arange(12) % 4, classes=4)


def graph_of(run: Run) -> tuple[GraphModule, list[Tensor]]:
    """The first step's graph, and its arguments."""
    step = vectorised(run.step) if run.ensemble else run.step
    leaves, layout = tree_flatten((run.state, run.draws(0)))

    def flat(*tensors: Tensor) -> list[Tensor]:
        return tree_leaves(step(*tree_unflatten(list(tensors), layout)))

    with patch.object(torch.compiler, "is_compiling", lambda: True):
        module = traced(flat, *leaves)
    module.graph.eliminate_dead_code()
    return module, leaves


@contextmanager
def step_of(name: str) -> Iterator[tuple[GraphModule, list[Tensor]]]:
    raw, changes = STEPS[name]
    with float64_on_one_thread():
        own = Own(data=pictures()) if raw["data"] == "own" else Own()
        yield graph_of(build(config.parse(config.override(raw, [*SETTINGS, *changes])), own))


def distance(found: Tensor, wanted: Tensor) -> float:
    """The distance of two tensors in norms of the wanted one; they must have NaN and infinity at the same places."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert torch.equal(found.isfinite(), wanted.isfinite())
    found, wanted = (x.double().nan_to_num(0, 0, 0) for x in (found, wanted))
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-300)) if wanted.numel() else 0.0


def work(graph: Graph) -> int:
    """How many products and convolutions a graph has."""
    targets = (*PRODUCTS, aten.addmm.default, aten.baddbmm.default, aten.convolution.default)
    made = sum(len(graph.find_nodes(op="call_function", target=target)) for target in targets)
    layers = graph.find_nodes(op="call_function", target=BACKWARD)
    return made + sum(len({user.args[1] for user in layer.users} - {2}) for layer in layers)


@pytest.mark.parametrize("name", STEPS)
def test_a_rewritten_step_gives_the_numbers_of_the_step(name):
    with step_of(name) as (module, args):
        wanted, before = module(*args), work(module.graph)
        share_backward(module.graph)
        module.graph.lint()
        module.recompile()
        assert max(map(distance, module(*args), wanted), default=0.0) <= 1e-9
        assert work(module.graph) <= before


@pytest.mark.skipif(
    shutil.which("g++") is None or torch.backends.cpu.get_cpu_capability() not in VECTORS,
    reason="needs a C++ compiler, and a processor with AVX2",
)
@pytest.mark.parametrize("name", [name for name in STEPS if name.startswith("network: ")])
def test_so_it_does_with_the_kernels_of_a_cpu(name):
    """In float32, where a sample may come to lie on the other side of a kink."""
    assert load(pytest.fail)
    raw, _ = STEPS[name]
    run = build(config.parse(config.override(raw, SETTINGS)), Own(data=pictures()))
    module, args = graph_of(run)
    wanted = module(*args)
    Rewrite(kernels=True)(module.graph)
    module.graph.lint()
    module.recompile()
    assert max(map(distance, module(*args), wanted)) <= 1e-3
