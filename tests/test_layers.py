"""Imports point down the layers of the design: a piece can be taken without what is built on it.

Level 0 is usable in anybody's loop and needs torch only; heavy packages wait inside the functions that need
them; and help answers without torch.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import steadygan

PACKAGE = Path(__file__).parent.parent / "src" / "steadygan"

LEVELS = {
    0: "__init__ errors files losses information penalties fake_as_real schedules normalization consistency augment "
    "noise gamma energies",
    1: "optim game fields moves draws games networks data",
    2: "dynamics metrics spectrum theory diagnostics",
    3: "state generate program small_products shared_chains in_parts processor scoring examining origin checkpoint "
    "train meter pictures coloured phase portrait ensemble distributed",
    4: "values edits published scale bind tables config solved constrained build recipes",
    5: "sinks attending outlets folders looking run reconstructed drawn preview probe traversal clouds classifiers "
    "cards evaluated diagnosed commands datasets data_command catalogue costs cli __main__ report",
}
LEVEL = {module: level for level, modules in LEVELS.items() for module in modules.split()}

# The one name above level 0 that the package itself has: `steadygan.Monitor` is loaded when it is asked for, inside
# `__getattr__`, and named once more for type checkers. That the import alone stays free of it is tested below.
LAZY = {"steadygan.diagnostics.monitor.Monitor"}

HEAVY = {"matplotlib", "torchmetrics", "sklearn", "scipy", "tensorboard", "torch_fidelity", "torchvision"}

FILES = sorted(PACKAGE.rglob("*.py"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))


def part(file: Path) -> str:
    """The module or folder of the package that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


PARTS = {part(file) for file in FILES}


def level(module: str, seen_in: str) -> int:
    if module not in LEVEL:
        pytest.fail(f"{seen_in}: {module} has no level; list it in LEVELS of tests/test_layers.py")
    return LEVEL[module]


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


@each_file
def test_imports_point_down(file):
    here = file.relative_to(PACKAGE.parent.parent)
    own = level(part(file), str(here))
    for line, name in imports(ast.parse(file.read_text())):
        root, _, rest = name.partition(".")
        if root != "steadygan" or (file == PACKAGE / "__init__.py" and name in LAZY):
            continue
        other = rest.split(".")[0]
        other = other if other in PARTS else "__init__"
        theirs = level(other, f"{here}:{line}")
        assert theirs <= own, (
            f"{here}:{line} imports {name}: {other} is at level {theirs}, above {part(file)} at {own}"
        )


@pytest.mark.parametrize("file", [f for f in FILES if LEVEL.get(part(f)) == 0], ids=lambda file: file.name)
def test_level_0_imports_torch_and_nothing_heavier(file):
    for line, name in imports(ast.parse(file.read_text())):
        root = name.split(".")[0]
        allowed = root in {"torch", "steadygan"} or root in sys.stdlib_module_names
        assert allowed, f"{file.name}:{line} imports {name}: level 0 has torch and the standard library"


@each_file
def test_heavy_packages_are_imported_inside_functions(file):
    for line, name in imports(ast.parse(file.read_text()), top=True):
        heavy = name.split(".")[0] in HEAVY or name.startswith("torch.utils.tensorboard")
        assert not heavy, f"{file.name}:{line} imports {name}: move it into the function that needs it"


def test_the_package_itself_loads_nothing_and_finds_the_monitor_when_asked():
    assert "steadygan" in loaded("import steadygan")
    assert loaded("import steadygan; dir(steadygan)").isdisjoint(HEAVY | {"torch", "numpy"})
    asked = loaded("from steadygan import Monitor; import steadygan; assert 'Monitor' in dir(steadygan)")
    assert "torch" in asked
    assert asked.isdisjoint(HEAVY | {"pydantic", "yaml", "rich", "typer", "jinja2"})
    with pytest.raises(AttributeError, match="no attribute 'Moniter'"):
        steadygan.Moniter  # noqa: B018


def loaded(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after `code`."""
    show = "; import sys; print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_level_0_loads_torch_only():
    every = [module for module in LEVELS[0].split()[1:] if (PACKAGE / f"{module}.py").exists()]
    found = loaded(f"from steadygan import {', '.join(every)}")
    assert "torch" in found
    assert found.isdisjoint(HEAVY | {"pydantic", "yaml", "rich", "typer", "PIL", "safetensors", "jinja2"})


def test_help_does_not_wait_for_torch():
    code = "import sys; sys.argv = ['steadygan', '--help']; from steadygan.cli import main\n"
    code += "try: main()\nexcept SystemExit as done: assert not done.code\npass"
    found = loaded(code)
    assert "steadygan" in found
    assert found.isdisjoint(HEAVY | {"torch", "numpy", "pydantic"})
