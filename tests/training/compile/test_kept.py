"""A kept program is found by the same step only, intact, in a folder of this user's; and it computes the step."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from steadygan.build import build
from steadygan.config import parse
from steadygan.runs.identity import same_steps
from steadygan.training.compile import compiled_step, kept
from steadygan.training.compile.compiled_step import compiled
from steadygan.training.compile.cpu import LARGE, products
from steadygan.training.compile.program import Form

FORM = Form(1, {"params": {"D": 1}, "buffers": {}, "moments": {}, "average": {}, "scalars": {}}, {})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


@pytest.fixture
def loaded(monkeypatch) -> list[Path]:
    """The libraries that were loaded, in a stand-in for the loader that doubles its input."""
    found: list[Path] = []

    def call(library: Path) -> Any:
        found.append(library)
        return lambda tensors: [2 * t for t in tensors]

    monkeypatch.setattr(kept, "library_call", call)
    return found


def put(tmp_path: Path, name: str = "one") -> None:
    (tmp_path / "made.so").write_bytes(b"a program")
    kept.keep(name, tmp_path / "made.so", FORM)


def test_a_kept_program_is_found_and_computes_what_it_did(tmp_path, loaded):
    put(tmp_path)
    step = kept.found("one", lambda: True)
    assert step is not None
    state = compiled_step.State({"D": torch.ones(2)}, {}, {}, {}, {})
    assert step(state, [])[0].params["D"].tolist() == [2.0, 2.0]
    assert kept.found("another", lambda: True) is None


def changed(file: Path, change: Any) -> None:
    file.write_bytes(change(file.read_bytes()))


DAMAGE: dict[str, Any] = {
    "a bit of the library": lambda at: changed(at / "one.so", lambda old: old[:-1] + b"M"),
    "half of the library": lambda at: changed(at / "one.so", lambda old: old[:4]),
    "an empty library": lambda at: changed(at / "one.so", lambda old: b""),
    "no library": lambda at: (at / "one.so").unlink(),
    "no description": lambda at: (at / "one.json").unlink(),
    "half of the description": lambda at: changed(at / "one.json", lambda old: old[:40]),
    "another form": lambda at: changed(
        at / "one.json", lambda old: old.replace(b'"outputs": 1', b'"outputs": 2')
    ),
    "a description of something else": lambda at: changed(at / "one.json", lambda old: b"[1]"),
    "others may write to the folder": lambda at: at.chmod(0o777),
    "the group may write to the folder": lambda at: at.chmod(0o770),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_damaged_or_could_be_anothers_is_not_loaded(what, tmp_path, cache, loaded):
    put(tmp_path)
    DAMAGE[what](cache)
    assert kept.found("one", lambda: True) is None
    assert loaded == []


def test_a_program_whose_kernel_is_not_ready_is_not_loaded(tmp_path, loaded):
    put(tmp_path)
    assert kept.found("one", lambda: False) is None
    assert loaded == []


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path, cache):
    cache.parent.write_text("a file")
    put(tmp_path)
    assert kept.found("one", lambda: True) is None


def test_the_oldest_programs_go(tmp_path, cache, monkeypatch):
    import os

    monkeypatch.setattr(kept, "MOST", 3)
    for number in range(5):
        put(tmp_path, f"p{number}")
        os.utime(cache / f"p{number}.json", (number, number))
    put(tmp_path, "last")
    assert sorted(path.stem for path in cache.glob("*.json")) == ["last", "p3", "p4"]
    assert sorted(path.stem for path in cache.glob("*.so")) == ["last", "p3", "p4"]


def name(about: str = "a run", layout: Any = ((("params/D", (3,), (1,), torch.float32, ""),),)) -> str:
    return kept.key(about, layout)


OTHERS: dict[str, Any] = {
    "another torch": lambda patch: patch.setattr(torch, "__version__", "2.0.1"),
    "another processor": lambda patch: patch.setattr(kept, "_processor", lambda: "sse2"),
    "fewer instructions are allowed": lambda patch: patch.setenv("ATEN_CPU_CAPABILITY", "avx2"),
    "another compiler": lambda patch: patch.setenv("CXX", "clang++"),
    "other settings of torch's compiler": lambda patch: patch.setenv("TORCHINDUCTOR_MAX_AUTOTUNE", "1"),
    "another text of this package": lambda patch: patch.setattr(kept, "_package", lambda: "0" * 64),
    "another Python": lambda patch: patch.setattr(kept.platform, "python_version", lambda: "3.99.0"),
    "more threads": lambda patch: patch.setattr(torch, "get_num_threads", lambda: 7),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_program_of_other_circumstances_has_another_name(what, monkeypatch):
    before = name()
    assert before == name()
    OTHERS[what](monkeypatch)
    assert name() != before


@pytest.mark.parametrize(
    "variable", ["TORCHINDUCTOR_CACHE_DIR", "TORCH_HOME", "TORCHELASTIC_RUN_ID", "TORCH_LOGS"]
)
def test_a_variable_that_changes_no_program_changes_no_name(variable, monkeypatch):
    """torch sets the first one itself when it compiles, so the next start asked for another name than was kept."""
    monkeypatch.delenv(variable, raising=False)
    before = name()
    monkeypatch.setenv(variable, "elsewhere")
    assert name() == before


def test_a_program_is_kept_under_the_name_that_was_asked_for(cache, monkeypatch):
    """Also where torch sets variables while it compiles, and where it cannot compile with passes."""
    asked: list[str] = []
    keeps: list[str] = []

    def program(step: Any, options: dict, *rest: Any) -> Any:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "there")
        monkeypatch.setenv("TORCHINDUCTOR_SET_WHILE_COMPILING", "1")
        if "post_grad_custom_post_pass" in options:
            raise compiled_step.NotCompiled("no passes")
        return step, keeps.append

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiled_step, "compilable", lambda device: True)
    monkeypatch.setattr(compiled_step.kernels, "wanted", lambda: False)
    monkeypatch.setattr(compiled_step, "_program", program)
    monkeypatch.setattr(kept, "found", lambda name, ready: asked.append(name))
    made = build(parse(TINY))
    step = compiled(made.step, lambda note: None, about="tiny")
    step(made.state, made.draws(0))
    assert keeps == asked
    monkeypatch.delenv("TORCHINDUCTOR_SET_WHILE_COMPILING")
    step(made.state, [{k: v[:4] for k, v in draw.items()} for draw in made.draws(0)])  # another layout
    assert keeps == asked
    monkeypatch.delenv("TORCHINDUCTOR_SET_WHILE_COMPILING")
    compiled(made.step, lambda note: None, about="tiny")(made.state, made.draws(0))  # as the next start does
    assert asked[2] == asked[0] != asked[1]


def test_a_kept_program_that_cannot_run_is_made_again(cache, monkeypatch):
    def fails(state: Any, batch: Any) -> Any:
        raise AssertionError("expected size 2==2, stride 1==25 at dim=1")

    monkeypatch.setattr(compiled_step, "compilable", lambda device: True)
    monkeypatch.setattr(compiled_step.kernels, "wanted", lambda: False)
    monkeypatch.setattr(compiled_step, "_program", lambda step, *rest: (step, lambda name: None))
    monkeypatch.setattr(kept, "found", lambda name, ready: fails)
    made = build(parse(TINY))
    after, _ = compiled(made.step, pytest.fail, about="tiny")(made.state, made.draws(0))
    assert torch.equal(after.params["G"], made.step(made.state, made.draws(0))[0].params["G"])


def test_a_program_has_a_name_while_onednn_multiplies():
    # torch refuses get_float32_matmul_precision() there, and large ensembles could not be compiled
    with products(LARGE):
        assert name() == name()


def test_another_run_or_layout_has_another_name():
    wider = ((("params/D", (4,), (1,), torch.float32, ""),),)
    assert len({name(), name("another run"), name(layout=wider)}) == 3


def test_settings_that_change_a_step_name_another_one_and_a_seed_does_not():
    def text(**changes: Any) -> str:
        return same_steps(parse({**TINY, **changes}).model_dump(mode="json"))

    assert text() == text(seed=7, name="another", trackers=("tensorboard",))
    others = [
        text(),
        text(batch=16),
        text(steps=20),
        text(optimizer={"name": "sgd", "lr": 0.2}),
        text(ema={}),
        text(gpu={"tf32": not parse(TINY).gpu.tf32}),
        text(channels_last=not parse(TINY).channels_last),
        text(precision="float64"),
    ]
    assert len(set(others)) == len(others)


TINY = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 1},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": 8,
    "steps": 10,
}


@pytest.mark.slow
def test_the_second_start_compiles_nothing_and_takes_the_same_steps(cache, monkeypatch):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    made = build(parse(TINY))
    first = compiled(made.step, pytest.fail, about="tiny")(made.state, made.draws(0))[0]
    (about,) = cache.glob("*.json")
    assert json.loads(about.read_text())["form"]["outputs"] > 0
    monkeypatch.setattr(compiled_step, "_program", lambda *args: pytest.fail("compiled again"))
    again = compiled(made.step, pytest.fail, about="tiny")(made.state, made.draws(0))[0]
    assert torch.equal(first.params["G"], again.params["G"])
    code = f"""
import sys, torch
torch.set_num_threads({torch.get_num_threads()})
from steadygan.build import build
from steadygan.config import parse
from steadygan.runs.identity import same_steps
from steadygan.training.compile.compiled_step import compiled
made = build(parse({TINY!r}))
compiled(made.step, print, about="tiny")(made.state, made.draws(0))
assert "torch._dynamo" not in sys.modules, "torch's compiler takes seconds to load"
"""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # as users start, and as torch leaves it
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_kept_program_that_computes_something_else_is_made_again(cache, monkeypatch):
    """As if two steps had one name: the comparison of the first step finds it out."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    slow, fast = (build(parse(TINY | {"optimizer": {"name": "sgd", "lr": lr}})) for lr in (0.1, 0.3))
    compiled(slow.step, pytest.fail, about="tiny")(slow.state, slow.draws(0))
    after = compiled(fast.step, pytest.fail, about="tiny")(fast.state, fast.draws(0))[0]
    torch.testing.assert_close(after.params["G"], fast.step(fast.state, fast.draws(0))[0].params["G"])


def test_the_permission_to_round_is_in_a_programs_name():
    setting = torch.backends.mkldnn.matmul
    before, plain = setting.fp32_precision, kept.key("step")
    try:
        setting.fp32_precision = "bf16"
        assert kept.key("step") != plain
    finally:
        setting.fp32_precision = before
    assert kept.key("step") == plain
