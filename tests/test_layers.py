"""Imports point down the layers of the design: a piece can be taken without what is built on it.

Level 0 is usable in anybody's training loop and needs torch only; heavy packages are imported inside the functions
that need them; and help answers without torch.
"""

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import steadygan

PACKAGE = Path(steadygan.__file__).parent

FOLDERS = [
    "",  # the ideas: modules at the package's root
    "game games networks data",
    "dynamics spectrum theory diagnostics metrics plots",
    "training",
    "config build recipes",
    "runs",
    "commands report cli __main__",
]
LEVEL = {folder: level for level, names in enumerate(FOLDERS) for folder in names.split()}
"""The level of each folder. Modules at the package's root are at level 0."""

# The public face names what stands on higher layers, and loads it when it is asked for.
LAZY = PACKAGE / "__init__.py"

HEAVY = {
    "matplotlib",
    "torchmetrics",
    "sklearn",
    "scipy",
    "tensorboard",
    "wandb",
    "mlflow",
    "trackio",
    "huggingface_hub",
    "torch_fidelity",
    "torchvision",
    "ray",
    "datasets",
    "webdataset",
}

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text()) for file in FILES}


def level(file: Path) -> int:
    """The level of a file of the package, from the folder it lies in."""
    folder = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if (PACKAGE / folder).is_dir():
        assert folder in LEVEL, f"the folder {folder} has no level: list it in FOLDERS of {__file__}"
    return LEVEL.get(folder, 0)


def file_of(name: str) -> Path:
    """The file that defines the dotted name `steadygan.a.b`, b being a module or something inside one."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    for place in (path, *path.parents):
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.exists():
                return file
    raise AssertionError(name)


def imports(tree: ast.AST, *, top: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import, `from a import b` as a.b; with `top`, those that run on import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)
        elif not (top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield from imports(node, top=top)


def every_import(*, top: bool = False) -> Iterator[tuple[Path, str, str]]:
    """File, place and dotted name of each import of the package."""
    for file, tree in TREES.items():
        for line, name in imports(tree, top=top):
            yield file, f"{file.relative_to(PACKAGE.parent.parent)}:{line} imports {name}", name


def test_imports_point_down():
    wrong = [
        f"{place}, which is at level {level(file_of(name))}, above its own {level(file)}"
        for file, place, name in every_import()
        if name.split(".")[0] == "steadygan" and file != LAZY and level(file_of(name)) > level(file)
    ]
    assert wrong == []


def test_level_0_imports_torch_and_nothing_heavier():
    """Level 0 has torch and the standard library."""
    allowed = {"torch", "steadygan", *sys.stdlib_module_names}
    found = every_import()
    assert [
        place for file, place, name in found if level(file) == 0 and name.split(".")[0] not in allowed
    ] == []


def test_heavy_packages_are_imported_inside_functions():
    wrong = [
        place
        for _, place, name in every_import(top=True)
        if name.split(".")[0] in HEAVY or name.startswith("torch.utils.tensorboard")
    ]
    assert wrong == []


def test_no_circle_of_folders():
    """Two folders of one level may import each other's modules in one direction only."""
    arrows = {
        (file.relative_to(PACKAGE).parts[0], file_of(name).relative_to(PACKAGE).parts[0])
        for file, _, name in every_import()
        if name.startswith("steadygan.") and file != LAZY
    }
    folders = {(a, b) for a, b in arrows if a != b and a in LEVEL and b in LEVEL}
    assert sorted((a, b) for a, b in folders if (b, a) in folders and a < b) == []


def test_the_root_stays_small():
    modules = [file.name for file in PACKAGE.glob("*.py")]
    assert len(modules) <= 20, f"{len(modules)} modules at the package's root: is there no folder for one?"


def test_no_module_is_hidden_by_a_name_in_its_package():
    """`import steadygan.dynamics.alternating` and `from steadygan.dynamics import alternating` never differ."""
    hidden = []
    for found in pkgutil.walk_packages(steadygan.__path__, "steadygan."):
        parent, _, name = found.name.rpartition(".")
        if name != "__main__":
            module = importlib.import_module(found.name)
            if getattr(importlib.import_module(parent), name) is not module:
                hidden.append(found.name)
    assert hidden == []


FORKS = """
import json, os, sys, torch
for line in sys.stdin:
    if not os.fork():
        exec(json.loads(line))
        print(*sys.modules, flush=True)
        os._exit(0)
    if os.wait()[1]:
        print(flush=True)
"""


@pytest.fixture(scope="module")
def after() -> Iterator[Callable[[str], set[str]]]:
    """`after(code)`: the modules that an interpreter has loaded after torch and `code`.

    Torch takes seconds to load, so one process loads it and each question is put to a copy of that process.
    """
    if not hasattr(os, "fork"):
        pytest.skip("copies a process, which this system does not")
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(code: str) -> set[str]:
            print(json.dumps(code), file=process.stdin, flush=True)
            found = set(process.stdout.readline().split())
            assert found, f"this failed, see stderr: {code}"
            return found

        yield ask


def loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    show = "; import sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def roots(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


def test_the_face_offers_what_is_taught_and_loads_it_when_it_is_asked_for(after):
    code = "import steadygan as sg; shown = {name for name in dir(sg) if not name.startswith('_')}\n"
    code += "assert shown | {'__version__'} == set(sg.__all__)"
    assert roots(loaded(code)).isdisjoint(HEAVY | {"torch", "numpy"})
    assert after("import steadygan as sg; assert all(getattr(sg, name) is not None for name in sg.__all__)")
    found = roots(after("from steadygan import Monitor, penalties"))
    assert found.isdisjoint(HEAVY | {"PIL", "pydantic", "yaml", "rich", "typer", "jinja2", "safetensors"})
    with pytest.raises(AttributeError, match="no attribute 'Moniter'"):
        steadygan.Moniter  # noqa: B018


@pytest.mark.parametrize(
    ("module", "strange"),
    [
        ("training.loop", ["games", "networks", "metrics", "diagnostics", "config", "data.cifar"]),
        ("diagnostics", ["game", "games", "training", "metrics"]),
        ("diagnostics.monitor", ["games", "training", "config", "metrics.evaluation", "data.cifar"]),
        ("metrics.kernel", ["metrics.extractors", "game", "data.cifar"]),
    ],
)
def test_a_module_loads_what_it_needs(module, strange, after):
    found = after(f"import steadygan.{module}")
    assert f"steadygan.{module}" in found
    assert found.isdisjoint(f"steadygan.{name}" for name in strange)


def test_level_0_loads_torch_only(after):
    every = [file.stem for file in PACKAGE.glob("*.py") if not file.stem.startswith("__")]
    found = roots(after(f"from steadygan import {', '.join(every)}"))
    assert found.isdisjoint(HEAVY | {"pydantic", "yaml", "rich", "typer", "PIL", "safetensors", "jinja2"})


def test_help_does_not_wait_for_torch():
    code = "import sys; sys.argv = ['steadygan', '--help']; from steadygan.cli import main\n"
    code += "try: main()\nexcept SystemExit as done: assert not done.code\npass"
    found = roots(loaded(code))
    assert "steadygan" in found
    assert found.isdisjoint(HEAVY | {"torch", "numpy", "pydantic"})
