"""`py.typed`: type checkers read this package's types in the programs of users, strict ones included."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLIENT, MISTAKES = "typed_client.py", "typed_mistakes.py"


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with both programs, outside this project and its settings."""
    for name in (CLIENT, MISTAKES):
        shutil.copy(HERE / name, tmp_path)
    return tmp_path


def checked(*words: str, place: Path) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=place, capture_output=True, text=True)
    return done.stdout + done.stderr


def assert_reported(printed: str) -> None:
    """The wrong lines are reported, and nothing else."""
    lines = (HERE / MISTAKES).read_text().splitlines()
    wrong = {(MISTAKES, number) for number, line in enumerate(lines, 1) if "# wrong" in line}
    found = re.findall(r"(\w+\.py):(\d+)(?::\d+)?(?: -|:) error", printed)
    assert {(name, int(number)) for name, number in found} == wrong, printed


@pytest.mark.slow
def test_mypy_strict(place, pytestconfig):
    pytest.importorskip("mypy")
    cache = f"--cache-dir={pytestconfig.rootpath / '.pytest_cache' / 'mypy'}"
    assert_reported(checked("mypy", "--strict", cache, CLIENT, MISTAKES, place=place))


@pytest.mark.slow
def test_pyright(place):
    pytest.importorskip("pyright")
    if not re.search(r"^pyright \d", checked("pyright", "--version", place=place), re.M):
        pytest.skip("pyright has no node here, or its own package is not there")
    assert_reported(checked("pyright", "--pythonpath", sys.executable, CLIENT, MISTAKES, place=place))
