"""What the tests share: one thread, one compiler cache, and the command line as a function."""

import gc
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

if TYPE_CHECKING:
    from rich.console import Console


def pytest_configure(config: pytest.Config) -> None:
    """Keep what torch.compile makes from one session to the next: a compile takes half a minute, a hit seconds.

    Tests run on the CPU, whatever the machine has, except those that `-m gpu` asks for. Nothing heavy is imported here:
    the process that hands tests to workers would load it before they begin.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    for variable, name in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("STEADYGAN_CACHE", "steadygan")):
        os.environ.setdefault(variable, str(config.rootpath / ".pytest_cache" / name))


def pytest_collection(session: pytest.Session) -> None:
    """Examples are the same in every session. Set before the test modules take their own settings from these."""
    from hypothesis import settings

    settings.register_profile("steadygan", deadline=None, derandomize=True)
    settings.load_profile("steadygan")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is loaded by now stays. To search it for garbage again and again is a fifth of the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread():
    """Bits depend on the number of threads, and cores on this machine are shared."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def quiet() -> "Console":
    """A console that nobody reads."""
    from rich.console import Console

    return Console(file=io.StringIO())


class Outcome(NamedTuple):
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., Outcome]:
    """`command("train", "digits-fargan", ...)`: the command line, called as a function."""
    from steadygan.cli import app

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["steadygan", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            app.main()
        printed = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def known(monkeypatch) -> Callable[..., None]:
    """`known("stl10", counts={"train": 2})`: a named data set with other facts than the published ones."""

    def change(name: str, **facts: object) -> None:
        from steadygan.commands import data
        from steadygan.config import registry

        part = registry.DATA[name]
        record = part.known._replace(**facts)
        monkeypatch.setattr(sys.modules[record.load.__module__], name.upper(), record)
        monkeypatch.setitem(registry.DATA, name, part._replace(known=record))
        monkeypatch.setitem(data.SETS, name, record)

    return change
