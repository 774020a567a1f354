"""What users install: the oldest torch allowed is a tested one, and the wheel works where only root may write."""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import steadygan
from paths import ROOT

OTHER: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
"""A user who owns nothing. Only root can start its processes: others test as themselves."""

COMMANDS = {
    "steadygan list": "",
    "steadygan train digits-fargan": "steps=10 compile=true",
    "steadygan train digits-0gp": "steps=10 compile=false",
    "steadygan export runs/digits-fargan": "",
    "steadygan diagnose runs/digits-fargan": "",
    "steadygan report runs/digits-fargan runs/digits-0gp": "",
}
"""Commands of the README that read files of the package or write to the cache, with what makes them short."""


def test_ci_takes_the_oldest_torch_that_is_allowed():
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (oldest,) = (name.removeprefix("torch>=") for name in needed if name.startswith("torch"))
    done = subprocess.run(["make", "--dry-run", "oldest"], cwd=ROOT, capture_output=True, text=True)
    (line,) = (
        line for line in done.stdout.splitlines() if line.startswith(f".ci/other-torch {oldest} tests/")
    )
    places = line.split()[2:]
    assert all((ROOT / place).exists() for place in places)
    assert {"tests/training", "tests/games", "tests/dynamics", "tests/test_penalties.py"} <= set(places)
    assert (ROOT / ".ci" / "run").read_text().endswith("make check\nmake oldest\n")


def built(kind: str, source: Path, into: Path) -> Path:
    """The distribution of a source tree."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into], cwd=source, check=True
    )
    (made,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can enter, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.slow
def test_two_builds_have_the_same_bytes_whenever_and_wherever_they_are_made(tmp_path, monkeypatch):
    """The files' times, their modes and the folder's name do not count, and the sdist makes the same wheel."""
    pytest.importorskip("hatchling")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout")
    made: dict[str, set[bytes]] = {"wheel": set(), "sdist": set()}
    for name, time, mode in (("one", 1_500_000_000, 0o644), ("two", 1_700_000_001, 0o600)):
        for file in map(Path, listed.stdout.splitlines()):
            copy = tmp_path / name / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / file).read_bytes())
            copy.chmod(mode)
            os.utime(copy, (time, time))
        for kind, seen in made.items():
            seen.add(built(kind, tmp_path / name, tmp_path / f"dist-{name}").read_bytes())
    with tarfile.open(next((tmp_path / "dist-one").glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    wheel = built("wheel", source, tmp_path / "dist-source")
    made["wheel"].add(wheel.read_bytes())
    assert "steadygan/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert {kind: len(seen) for kind, seen in made.items()} == {"wheel": 1, "sdist": 1}


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/steadygan/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", steadygan.__version__)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(folder: Path) -> Run:
    """`run(program, ...)`: a program as the other user, in a home of its own."""
    home = folder / "home"
    home.mkdir()
    if OTHER:
        os.chown(home, OTHER["user"], OTHER["group"])
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": str(home), "TMPDIR": str(home)}

    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, **OTHER)

    return call


@pytest.fixture
def programs(folder: Path, run: Run) -> Iterator[Path]:
    """The programs of an environment in which pip has installed the wheel that the sdist makes, and nobody may write.

    All that the wheel needs is found in the environment of the tests.
    """
    for needed in ("hatchling", "pip"):
        pytest.importorskip(needed)
    with tarfile.open(built("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if (path / "pyproject.toml").exists())
    place = folder / "environment"
    subprocess.run([_interpreter(run), "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # searched after its own folder
    pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, *options, built("wheel", source, folder)], check=True)
    parts = [path for path in (place, *place.rglob("*")) if not path.is_symlink()]
    for path in parts:
        path.chmod(path.stat().st_mode & 0o555)
    yield place / "bin"
    for path in parts:
        path.chmod(path.stat().st_mode | 0o200)


def _interpreter(run: Run) -> str:
    """An interpreter of this version that the other user can start with torch."""
    script = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r}); import numpy, torch"
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            if run(python, "-c", script).returncode == 0:
                return python
        except OSError:  # in a folder that the other user may not enter
            continue
    pytest.skip("another user can start no interpreter that has torch")


IN_TURN = """
import json, sys
import steadygan
from steadygan.cli import main

ended = []
for words in sys.argv[1:]:
    sys.argv = json.loads(words)
    try:
        main()
    except SystemExit as stop:
        ended.append((words, stop.code or 0))
print(json.dumps([steadygan.__file__, ended]))
"""
"""Calls commands, each a list of words, as its program does; one process, for to load torch takes seconds."""


@pytest.mark.slow
def test_the_readmes_commands_work_for_another_user_where_pip_installed_the_wheel_read_only(run, programs):
    before = sorted(programs.parent.rglob("*"))
    readme = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert re.search(rf"^{re.escape(command)}(  |$)", readme, re.MULTILINE), command
    assert run(programs / "steadygan", "--version").stdout.startswith(f"steadygan {steadygan.__version__}, ")
    called = [shlex.split(f"{command} {short}") for command, short in COMMANDS.items()]
    done = run(programs / "python", "-c", IN_TURN, *map(json.dumps, called))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    file, ended = json.loads(done.stdout.splitlines()[-1])
    assert str(programs.parent) in file
    accepted = [(0, 1) if "diagnose" in words else (0,) for words in called]  # 1: a problem was found
    assert len(ended) == len(called)
    assert [end for end, codes in zip(ended, accepted) if end[1] not in codes] == []
    assert sorted(programs.parent.rglob("*")) == before
