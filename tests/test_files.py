"""Files that several processes make: one at a time makes them, and the others find them."""

import errno
import os
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from steadygan.files import LARGEST, alone, lines, partial_of, read_json, read_whole, write_whole
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


@pytest.mark.parametrize("place", ["write_bytes", "replace"])
def test_a_disk_that_is_full_leaves_the_file_as_it_was_and_nothing_else(place, tmp_path, monkeypatch):
    write_whole(tmp_path / "file", "before")

    def full(*args: object) -> None:
        if place == "write_bytes":
            partial_of(tmp_path / "file").touch()
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(Path if place == "write_bytes" else os, place, full)
    with pytest.raises(OSError, match="no room"):
        write_whole(tmp_path / "file", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_end(tmp_path, monkeypatch):
    """Else a power loss may leave an empty file under the name, or the old one after the call."""
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (done.append(os.path.realpath(f"/proc/self/fd/{file}")), sync(file))
    )
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("renamed"), replace(old, new)))
    write_whole(tmp_path / "file", "text")
    assert done == [str(partial_of(tmp_path / "file")), "renamed", str(tmp_path)]


def written_often(path: Path) -> None:
    mine = str(os.getpid()) * 20_000
    for _ in range(40):
        write_whole(path, mine)
        text = path.read_text()
        assert text == text[: len(text) // 20_000] * 20_000


def test_several_processes_may_write_a_file_and_each_reader_sees_it_whole(tmp_path):
    together(written_often, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_written_to_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """Its names cannot be forced to the disk there; for another file that is an error."""
    opened = os.open

    def forbidden(path, *given):
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, "no")
        return opened(path, *given)

    monkeypatch.setattr(os, "open", forbidden)
    write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b"[" * 65 + b"]" * 65, "nested too deep"),
        (b'{"step": "\xff"}', "not JSON"),
        (b'{"step": ' + b"9" * 10_000 + b"}", "damaged"),
        (b'{"step": 1e999}', "damaged"),
        (b'{"step": NaN}', "damaged"),
        (b'{"step": true}', "damaged"),
        (b'["step"]', "damaged"),
        (b"{}", "damaged"),
        (b" " * (LARGEST + 1), "more than 16,777,216 bytes"),
    ],
    ids=["deep", "65 deep", "bytes", "digits", "infinite", "nan", "true", "list", "no field", "large"],
)
def test_what_is_not_the_json_that_was_written_is_a_value_error(content, words, tmp_path):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "file.json", {"step": int})


def test_json_at_its_bounds_is_read(tmp_path):
    """The largest seed has 19 digits; 64 levels are the most."""
    seed, deep = 2**63 - 1, "[" * 63 + "]" * 63
    (tmp_path / "file.json").write_text(f'{{"seed": {seed}, "deep": {deep}, "more": "\\ud800"}}')
    assert read_json(tmp_path / "file.json", {"seed": int})["seed"] == seed


def test_a_pipe_does_not_keep_its_reader_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        read_whole(tmp_path / "pipe")
    assert list(lines(tmp_path / "pipe")) == []


def test_lines_end_at_one_that_no_run_writes(tmp_path):
    whole = b"a" * (LARGEST - 2) + b"\n"
    (tmp_path / "file").write_bytes(whole + b"b\n" + b"c" * LARGEST + b"\nd\n")
    assert [len(line) for line in lines(tmp_path / "file")] == [LARGEST - 1, 2]


def test_a_name_that_no_file_can_have_is_a_value_error(tmp_path):
    for path in (tmp_path / "none", tmp_path / ("x" * 300), tmp_path):
        with pytest.raises(ValueError, match=r"cannot be read|not a file"):
            read_whole(path)
