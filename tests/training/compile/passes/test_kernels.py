"""The kernels are compiled once, kept with their checksum, and done without where they cannot be made."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from steadygan.training.compile.passes import kernels
from steadygan.training.compile.passes.kernels import load

pytestmark = pytest.mark.usefixtures("operators")


@pytest.fixture
def empty(monkeypatch, tmp_path) -> Iterator[Path]:
    """An empty cache folder, and no operator loaded from it."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    kernels._load.cache_clear()
    yield tmp_path
    kernels._load.cache_clear()


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("nm"), reason="needs a linker's tools")
def test_other_libraries_see_its_one_function_and_no_copy_of_cpps_own():
    """A library that is loaded later would take those. Its compiler may be another, and then the process ends."""
    found = subprocess.run(
        ["nm", "-D", "--defined-only", kernels._wanted()[1]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[-1] for line in found] == ["aoti_torch_cpu_product"]


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (None, "compiler"),
        (
            "echo 'warning: so'; echo 'products.cpp:3: error: no such thing'; echo 'note: there' ",
            "no such thing",
        ),
        ("exit 3", "compiler ended with 3"),
        (r"printf 'erreur: d\351faut\n'", "faut"),
    ],
)
def test_where_it_cannot_be_made_there_is_a_note_and_no_kernel(empty, monkeypatch, compiler, reason):
    path = empty / "compiler"
    if compiler:
        path.write_text(f"#!/bin/sh\n({compiler}) >&2\nexit 3\n")
        path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    notes: list[str] = []
    assert not load(notes.append)
    assert reason in notes[0]
    assert "\n" not in notes[0]
    assert not list((empty / "cache").iterdir())


def test_a_folder_that_cannot_be_written_leaves_torchs_own_products(empty, monkeypatch):
    (empty / "file").touch()
    monkeypatch.setenv("STEADYGAN_CACHE", str(empty / "file" / "cache"))
    notes: list[str] = []
    assert not load(notes.append)
    assert "file" in notes[0]


def test_a_processor_without_wide_vectors_keeps_torchs_own_products(empty, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert not load(pytest.fail)
    assert not list(empty.iterdir())


def counting_compiler(place: Path) -> str:
    """A compiler that writes 40,000 bytes to the file after `-o`, and a line to `calls` each time that it is called."""
    compiler = place / "compiler"
    compiler.write_text(
        f"#!/bin/sh\necho made >> {place}/calls\nsleep 0.2\n"
        'while [ "$1" != -o ]; do shift; done; head -c 40000 /dev/zero > "$2"\n'
    )
    compiler.chmod(0o755)
    return str(compiler)


def test_several_first_starts_at_once_make_it_once(empty, monkeypatch):
    """One that was second to rename the checksum went on without kernels, whose steps round differently."""
    monkeypatch.setenv("CXX", counting_compiler(empty))
    monkeypatch.setattr(kernels, "CDLL", lambda path, mode: None)
    with ThreadPoolExecutor(4) as several:  # a lock on a file is one of each opening of it
        assert all(several.map(lambda _: load(pytest.fail), range(4)))
    assert (empty / "calls").read_text() == "made\n"


def test_a_damaged_library_is_made_again(empty, monkeypatch):
    """Loaded, it would end the process: so nothing is loaded here, only what would be is compared."""
    monkeypatch.setenv("CXX", counting_compiler(empty))
    loaded: list[bytes] = []
    monkeypatch.setattr(kernels, "CDLL", lambda path, mode: loaded.append(Path(path).read_bytes()))
    for damage in (lambda path: None, lambda path: path.write_bytes(path.read_bytes()[:20_000]), Path.unlink):
        for path in [*empty.glob("cache/*.so"), *empty.glob("cache/*.sha256")][:1]:
            damage(path)
        kernels._load.cache_clear()
        assert load(pytest.fail)
    assert len(loaded) == 3
    assert {len(each) for each in loaded} == {40_000}
    assert (empty / "calls").read_text() == "made\n" * 3
    assert sorted(path.suffix for path in (empty / "cache").iterdir()) == [".sha256", ".so"]
