"""Checkpoints: what is read back is what was written, bit for bit, or it is refused in a sentence."""

import errno
import json
import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game import State
from steadygan.training import checkpoint

FACTS = {"members": [{"seed": 0}]}


def state(step: int = 7, width: int = 5, seed: int = 0) -> State:
    """A state with all that a state may hold: several types, scalars, integers, nothing, NaN, views."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(width, 6, generator=g)
    odd = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 3e38])
    return State(
        params={"G": base.t(), "D": base[:, 1]},  # not contiguous, and in the same memory
        buffers={
            "G": {"count": torch.tensor(3), "half": base.bfloat16(), "empty": torch.zeros(0, 3)},
            "D": {},
        },
        moments={"G": {"square": base.double(), "count": torch.tensor(2.5)}, "D": {"velocity": odd}},
        average={"G": {"params": base.t() / 2, "count": torch.tensor(4)}},
        scalars={"step": torch.tensor(step), "optimizer.lr": torch.tensor(0.1, dtype=torch.float64)},
    )


def leaves(tree: object, path: str = "") -> dict[str, torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return {path: tree}
    items = tree._asdict().items() if isinstance(tree, tuple) else tree.items()
    return {key: leaf for name, part in items for key, leaf in leaves(part, f"{path}/{name}").items()}


def assert_same(found: State, wanted: State) -> None:
    """Equal type, shape and bits, NaN and the sign of zero included."""
    a, b = leaves(found), leaves(wanted)
    assert a.keys() == b.keys()
    for key, tensor in a.items():
        assert (tensor.dtype, tensor.shape) == (b[key].dtype, b[key].shape), key
        bits = [t.detach().contiguous().view(-1).view(torch.uint8) for t in (tensor, b[key])]
        assert torch.equal(*bits), key


def hidden(folder: Path) -> list[str]:
    """What is left over of a checkpoint that was not finished."""
    return [p.name for p in folder.rglob("*") if p.name.startswith(".")]


def copy(path: Path, to: Path) -> Path:
    shutil.copytree(path, to)
    return to


# ------------------------------------------------------------------------------------------ save and load


def test_a_state_comes_back_bit_for_bit(tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    assert path == tmp_path / "step-00000007"
    assert_same(checkpoint.load(path, state(seed=1)), state())


def test_one_tensor_in_two_places_comes_back_in_both(tmp_path):
    """An average takes over a network's counters as they are."""
    twice = state()
    twice.average["G"]["count"] = twice.buffers["G"]["count"]
    assert_same(checkpoint.load(checkpoint.save(tmp_path, twice, FACTS), state()), twice)


def test_the_first_state_of_a_run_with_batch_norm_and_an_average_comes_back(tmp_path):
    """Its average starts as the network itself, statistics and counters included: the same tensors twice."""
    from steadygan.build import build

    raw = {
        "data": "digits",
        "networks": {"name": "dcgan", "latent": 2, "width": 2, "batch_norm": True},
        "optimizer": {"name": "adam", "lr": 0.1},
        "ema": {"decay": 0.9},
        "batch": 4,
        "steps": 3,
    }
    run = build(parse(raw))
    assert_same(checkpoint.load(checkpoint.save(tmp_path, run.state, FACTS), run.state), run.state)
    after, _ = run.step(run.state, run.draws(0))
    assert_same(checkpoint.load(checkpoint.save(tmp_path, after, FACTS), run.state), after)


def test_the_files_are_plain_safetensors_and_json(tmp_path):
    """Another program can read them: names are paths into the state."""
    path = checkpoint.save(tmp_path, state(), FACTS)
    assert sorted(p.name for p in path.iterdir()) == ["meta.json", "state.safetensors"]
    tensors = load_file(path / "state.safetensors")
    assert torch.equal(tensors["buffers/G/half"], state().buffers["G"]["half"])
    meta = json.loads((path / "meta.json").read_text())
    assert meta["step"] == 7
    assert meta["members"] == FACTS["members"]
    assert meta["torch"] == torch.__version__


def test_an_ensembles_step_is_any_members(tmp_path):
    both = state()._replace(scalars={"step": torch.tensor([9, 9])})
    assert checkpoint.save(tmp_path, both, FACTS).name == "step-00000009"


def test_saving_changes_nothing_in_the_state(tmp_path):
    before, used = state(), state()
    checkpoint.save(tmp_path, used, FACTS)
    assert_same(used, before)


def test_what_is_read_lies_in_memory_as_what_a_step_makes(tmp_path):
    """Products round by how their operands are aligned; in the file, tensors lie at odd addresses."""
    fresh = torch.zeros(9).data_ptr()
    alignment = fresh & -fresh if fresh % 64 else 64
    found = checkpoint.load(checkpoint.save(tmp_path, state(), FACTS), state())
    assert [key for key, leaf in leaves(found).items() if leaf.numel() and leaf.data_ptr() % alignment] == []


def test_the_same_step_again_replaces_what_was_there(tmp_path):
    checkpoint.save(tmp_path, state(seed=1), FACTS)
    path = checkpoint.save(tmp_path, state(seed=2), FACTS)
    assert_same(checkpoint.load(path, state()), state(seed=2))
    assert hidden(tmp_path) == []


# --------------------------------------------------------------------------------------------- refusals


def refused(path: Path, like: State | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        checkpoint.load(path, state() if like is None else like)
    sentence = str(caught.value)
    assert sentence.splitlines() == [sentence]
    assert path.name in sentence
    return sentence


def resign(path: Path) -> None:
    """Make size and checksum fit again: what is left to find the damage is the format itself."""
    meta = json.loads((path / "meta.json").read_text())
    meta["sha256"] = checkpoint._digest(path / "state.safetensors")
    meta["bytes"] = (path / "state.safetensors").stat().st_size
    (path / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("signed", [False, True], ids=["", "with a fitting checksum"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_refused(tmp_path, part, signed):
    path = checkpoint.save(tmp_path, state(), FACTS)
    content = (path / "state.safetensors").read_bytes()
    (path / "state.safetensors").write_bytes(content[: int(part * len(content))])
    if signed:
        resign(path)
    refused(path)


def test_a_file_of_another_size_is_refused_before_it_is_read(tmp_path):
    """To read a TiB, of nothing here, would take a quarter of an hour."""
    path = checkpoint.save(tmp_path, state(), FACTS)
    with (path / "state.safetensors").open("r+b") as file:
        file.truncate(2**40)
    assert "size" in refused(path)


def test_a_checkpoint_from_before_sizes_were_kept_is_loaded(tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    meta = json.loads((path / "meta.json").read_text())
    del meta["bytes"]
    (path / "meta.json").write_text(json.dumps(meta))
    assert_same(checkpoint.load(path, state()), state())


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    file = path / "state.safetensors"
    content = bytearray(file.read_bytes())
    for place in [0, 7, 8, *random.Random(0).sample(range(len(content)), 40), len(content) - 1]:
        for bit in (1, 128):
            content[place] ^= bit
            file.write_bytes(content)
            refused(path)
            content[place] ^= bit
    file.write_bytes(content)
    assert_same(checkpoint.load(path, state()), state())


def test_damaged_meta_data_is_refused_or_harmless(tmp_path):
    """Each byte replaced in turn: never another error than a sentence, never another state."""
    path = checkpoint.save(tmp_path, state(), FACTS)
    whole = (path / "meta.json").read_bytes()
    for place in range(len(whole)):
        for new in (b"\xff", b"}", b"0"):
            (path / "meta.json").write_bytes(whole[:place] + new + whole[place + 1 :])
            try:
                found = checkpoint.load(path, state())
            except UsageError as error:
                assert str(error).splitlines() == [str(error)]
            else:
                assert_same(found, state())


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", "{}", '{"format": 1}', '{"format": 1, "sha256": 3}', "[" * 10**5],
    ids=lambda c: c[:12],
)
def test_meta_data_of_another_kind_are_refused(tmp_path, content):
    path = checkpoint.save(tmp_path, state(), FACTS)
    (path / "meta.json").write_text(content)
    refused(path)


@pytest.mark.parametrize("name", ["meta.json", "state.safetensors"])
def test_a_missing_file_is_refused(tmp_path, name):
    path = checkpoint.save(tmp_path, state(), FACTS)
    (path / name).unlink()
    refused(path)
    (path / name).mkdir()
    refused(path)


def test_a_later_format_is_refused_by_its_number(tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    assert "99" in refused(path)


def test_a_checkpoint_of_other_networks_is_refused_and_says_how_it_differs(tmp_path):
    path = checkpoint.save(tmp_path, state(width=5), FACTS)
    sentence = refused(path, state(width=9))
    assert "6, 5" in sentence
    assert "6, 9" in sentence


def test_another_type_of_number_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    wide = state()
    wide.params["G"] = wide.params["G"].double()
    assert "float64" in refused(path, wide)


def test_a_missing_and_a_surplus_tensor_are_refused_by_name(tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    more = state()
    more.moments["D"]["square"] = torch.zeros(2)
    assert "moments/D/square" in refused(path, more)
    fewer = state()
    del fewer.moments["D"]["velocity"]
    assert "moments/D/velocity" in refused(path, fewer)


@pytest.mark.parametrize(
    ("name", "words"), [("params/X", "also holds a player X"), ("scalars/x", "also holds scalars/x")]
)
def test_a_tensor_that_was_put_in_by_hand_is_refused(name, words, tmp_path):
    path = checkpoint.save(tmp_path, state(), FACTS)
    tensors = load_file(path / "state.safetensors")
    save_file({**tensors, name: torch.zeros(1)}, path / "state.safetensors")
    resign(path)
    assert words in refused(path)


# ------------------------------------------------------------------------------------- the newest whole one


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    """More than eight digits included: names sort as text, steps do not."""
    for step in (99_999_999, 100_000_000, 5, 200):
        checkpoint.save(tmp_path, state(step), FACTS)
    steps = [int(path.name.removeprefix("step-")) for path in checkpoint.checkpoints(tmp_path)]
    assert steps == [5, 200, 99_999_999, 100_000_000]


def test_the_newest_is_taken_without_a_word(tmp_path):
    for step in (3, 6, 9):
        checkpoint.save(tmp_path, state(step, seed=step), FACTS)
    notes: list[str] = []
    assert_same(checkpoint.load_newest(tmp_path, state(), notes.append), state(9, seed=9))
    assert notes == []


def test_a_damaged_one_is_passed_over_with_a_sentence(tmp_path):
    for step in (3, 6, 9):
        checkpoint.save(tmp_path, state(step, seed=step), FACTS)
    (tmp_path / "step-00000009" / "meta.json").unlink()
    file = tmp_path / "step-00000006" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    notes: list[str] = []
    assert_same(checkpoint.load_newest(tmp_path, state(), notes.append), state(3, seed=3))
    assert len(notes) == 2
    assert all("step-00000003" in note for note in notes), "each says what is used instead"
    assert "step-00000009" in notes[0]
    assert "step-00000006" in notes[1]


def test_none_whole_and_none_at_all_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint"):
        checkpoint.load_newest(tmp_path, state(), lambda note: None)
    for step in (3, 6):
        path = checkpoint.save(tmp_path, state(step), FACTS)
        (path / "state.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"step-00000006.*; no checkpoint here can be used: restore"):
        checkpoint.load_newest(tmp_path, state(), lambda note: None)


def test_a_folder_whose_name_is_no_text(tmp_path):
    """safetensors writes to such a path, and opens none."""
    path = checkpoint.save(tmp_path / "run \udcff", state(3, seed=3), FACTS)
    assert_same(checkpoint.load(path, state()), state(3, seed=3))


def test_an_unfinished_checkpoint_is_none(tmp_path):
    checkpoint.save(tmp_path, state(3, seed=3), FACTS)
    copy(tmp_path / "step-00000003", tmp_path / ".step-00000006.partial")
    (tmp_path / ".step-00000006.partial" / "meta.json").unlink()
    (tmp_path / "step-00000007").write_text("not a folder")
    notes: list[str] = []
    assert_same(checkpoint.load_newest(tmp_path, state(), notes.append), state(3, seed=3))
    assert notes == []
    checkpoint.save(tmp_path, state(6, seed=6), FACTS)
    assert hidden(tmp_path) == [], "and it is in nobody's way later"


def test_a_reader_changes_nothing_while_another_process_writes(tmp_path):
    """What is set aside while a checkpoint is replaced belongs to the process that replaces it."""
    checkpoint.save(tmp_path, state(3), FACTS)
    checkpoint.save(tmp_path, state(6), FACTS).rename(tmp_path / ".step-00000006.old")
    copy(tmp_path / "step-00000003", tmp_path / ".step-00000009.partial")
    before = sorted(tmp_path.rglob("*"))
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-00000003"]
    checkpoint.load_newest(tmp_path, state(), print)
    assert sorted(tmp_path.rglob("*")) == before
    checkpoint.clear(tmp_path)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-00000003", "step-00000006"]
    assert hidden(tmp_path) == []


def test_pruning_keeps_the_last_ones_and_the_best(tmp_path):
    paths = {step: checkpoint.save(tmp_path, state(step), FACTS) for step in (10, 20, 30, 40, 50)}
    checkpoint.prune(tmp_path, 50, 2, [paths[20]])
    assert checkpoint.checkpoints(tmp_path) == [paths[20], paths[40], paths[50]]
    checkpoint.prune(tmp_path, 50, 2, [paths[50]])
    assert checkpoint.checkpoints(tmp_path) == [paths[40], paths[50]]
    checkpoint.prune(tmp_path, 50, 9, [])
    assert checkpoint.checkpoints(tmp_path) == [paths[40], paths[50]]
    checkpoint.prune(tmp_path, 50, 1, [])
    assert checkpoint.checkpoints(tmp_path) == [paths[50]]


def test_pruning_leaves_checkpoints_after_the_present_step(tmp_path):
    """One of another run may lie there; it must not push out the run's own."""
    paths = {step: checkpoint.save(tmp_path, state(step), FACTS) for step in (10, 20, 99)}
    checkpoint.prune(tmp_path, 20, 1, [])
    assert checkpoint.checkpoints(tmp_path) == [paths[20], paths[99]]


def test_a_checkpoint_under_another_step_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, state(7), FACTS)
    later = copy(path, tmp_path / "step-00000099")
    with pytest.raises(UsageError, match=r"step-00000099 holds step 7, so its folder was copied or renamed"):
        checkpoint.load(later, state())
    notes: list[str] = []
    assert_same(checkpoint.load_newest(tmp_path, state(), notes.append), state(7))
    assert len(notes) == 1


def test_a_checkpoint_that_is_not_to_be_used_is_passed_over_before_its_tensors_are_read(tmp_path):
    older = checkpoint.save(tmp_path, state(7), {**FACTS, "run": "a"})
    newer = checkpoint.save(tmp_path, state(9), {**FACTS, "run": "b"})
    (newer / "state.safetensors").unlink()
    asked: list[Path] = []

    def own(path: Path, meta: Mapping[str, object]) -> None:
        asked.append(path)
        if meta["run"] != "a":
            raise UsageError("foreign")

    notes: list[str] = []
    assert_same(checkpoint.load_newest(tmp_path, state(), notes.append, own), state(7))
    assert (asked, notes) == ([newer, older], [f"foreign; {older.name} is used instead"])
    for use in (checkpoint.meta, checkpoint.read, partial(checkpoint.load, like=state())):
        with pytest.raises(UsageError, match="foreign"):
            use(newer, check=own)


def test_a_checkpoint_that_is_half_removed_is_none(tmp_path, monkeypatch):
    """A kill at any moment of its removal leaves the whole checkpoint or none."""
    checkpoint.save(tmp_path, state(3), FACTS)
    checkpoint.save(tmp_path, state(6), FACTS)

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            (path / "state.safetensors").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.prune(tmp_path, 50, 1, [])
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-00000006"]
    assert hidden(tmp_path) != []
    checkpoint.clear(tmp_path)
    assert hidden(tmp_path) == []


# ------------------------------------------------------------------------------- writes that do not finish


class Killed(BaseException):
    """Stands for a signal or a power cut: nobody catches it."""


def stop_at(monkeypatch, place: int, error: BaseException, spared: str = "") -> list[str]:
    """Let the `place`-th thing done to the disk raise, half done where it can be; return what was done."""
    done: list[str] = []

    def breaking(name, original, half=lambda *args: None):
        def call(*args, **kwargs):
            if name != spared:
                done.append(name)
                if len(done) - 1 == place:
                    half(*args)
                    raise error
            return original(*args, **kwargs)

        return call

    def half_removed(path, *rest):
        for file in sorted(Path(path).glob("*"))[:1]:
            file.unlink()

    monkeypatch.setattr(
        checkpoint,
        "save_file",
        breaking("save_file", save_file, lambda t, file: Path(file).write_bytes(b"half")),
    )
    monkeypatch.setattr(
        Path, "write_text", breaking("write_text", Path.write_text, lambda path, text: path.write_bytes(b"{"))
    )
    monkeypatch.setattr(checkpoint, "sync", breaking("sync", checkpoint.sync))
    monkeypatch.setattr(shutil, "rmtree", breaking("rmtree", shutil.rmtree, half_removed))
    monkeypatch.setattr(Path, "rename", breaking("rename", Path.rename))
    return done


def moments_of_a_save(tmp_path, spared: str = "") -> int:
    """How many things a save does to the disk."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        done = stop_at(monkeypatch, -1, Killed(), spared)
        checkpoint.save(tmp_path / "count", state(), FACTS)
        checkpoint.save(tmp_path / "count", state(seed=5), FACTS)
    assert {"save_file", "sync", "write_text", "rename"} <= set(done)
    return len(done)


once_or_again = pytest.mark.parametrize("again", [False, True], ids=["a new step", "the only step again"])


@once_or_again
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint(tmp_path, again):
    """At every single thing that a save does to the disk: a resumed run saves its first step a second time."""
    old, new = state(7, seed=1), state(7 if again else 8, seed=1 if again else 2)
    for place in range(moments_of_a_save(tmp_path)):
        folder = tmp_path / str(place)
        checkpoint.save(folder, old, FACTS)
        with pytest.MonkeyPatch.context() as monkeypatch:
            done = stop_at(monkeypatch, place, Killed())
            with suppress(Killed):
                checkpoint.save(folder, new, FACTS)
        notes: list[str] = []
        checkpoint.clear(folder)
        try:
            found = checkpoint.load_newest(folder, state(), notes.append)
        except UsageError as error:
            pytest.fail(f"killed in {done[-1]}: {error}")
        assert notes == [], f"killed in {done[-1]}"
        assert_same(found, new if int(found.scalars["step"]) == 8 else old)
        checkpoint.save(folder, new, FACTS)
        assert hidden(folder) == []


@once_or_again
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, code, again):
    old, new = state(7, seed=1), state(7 if again else 8, seed=1 if again else 2)
    for place in range(moments_of_a_save(tmp_path, spared="rmtree")):
        folder = tmp_path / str(place)
        path = checkpoint.save(folder, old, FACTS)
        with pytest.MonkeyPatch.context() as monkeypatch:
            done = stop_at(monkeypatch, place, OSError(code, "no room"), spared="rmtree")
            try:
                checkpoint.save(folder, new, FACTS)
            except OSError as error:
                assert error.errno == code
            else:
                assert len(done) <= place, "an error is never swallowed"
        assert hidden(folder) == [], f"failed in {done[-1]}"
        assert path.exists(), f"failed in {done[-1]}"
        assert_same(checkpoint.load(path, state()), old)


def test_an_error_of_the_safetensors_library_is_an_error_of_the_disk(tmp_path, monkeypatch):
    """It reports a full disk under its own name, which the command line does not know."""

    def full(tensors, file):
        Path(file).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, state(), FACTS)
    assert list(tmp_path.iterdir()) == []
