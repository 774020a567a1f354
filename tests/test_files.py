"""Files that several processes make: one at a time makes them, and the others find them."""

import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from steadygan.files import alone
from steadygan.runs import classifiers


def made_once(place: Path) -> None:
    with alone(place):
        if not place.exists():
            time.sleep(0.1)
            place.write_text("made")
            with place.with_name("times").open("a") as file:
                file.write("x")


def loaded(folder: Path) -> None:
    classifiers.load_or_train("digits", lambda text: None)


def together(job, given: Path) -> None:
    several = [get_context("fork").Process(target=job, args=(given,)) for _ in range(3)]
    for one in several:
        one.start()
    for one in several:
        one.join(60)
    assert [one.exitcode for one in several] == [0, 0, 0]


def test_several_processes_make_a_file_once(tmp_path):
    together(made_once, tmp_path / "made.npy")
    assert (tmp_path / "times").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.npy", "times"]


def test_several_processes_train_a_classifier_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path))
    make = classifiers.make

    def counted(name: str, folder: Path) -> None:
        with (tmp_path / "times").open("a") as file:
            file.write("x")
        make(name, folder, steps=1)

    monkeypatch.setattr(classifiers, "make", counted)
    together(loaded, tmp_path)
    assert (tmp_path / "times").read_text() == "x"


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="broken"), alone(tmp_path / "made"):
        raise ValueError("broken")
    with alone(tmp_path / "made"):
        pass
