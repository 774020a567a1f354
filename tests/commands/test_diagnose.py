"""`steadygan diagnose`: of a run's folder, while it runs too, of one member or all, and of a Monitor's file."""

import json
import shutil

import pytest

from steadygan import config

STEPS = range(100, 2500, 100)
DEAD = {
    "loss/D": 1.3863,
    "critic/spread": 1e-6,
    "signal/mean": 1e-7,
    "fakes/coverage": 0.05,
    "fakes/diversity": 1.0,
}
WELL = {**DEAD, "fakes/coverage": 0.9, "critic/spread": 0.1, "signal/mean": 0.1, "slope/fake": 0.2}
RAW = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "adam", "lr": 2e-3, "betas": [0.5, 0.9]},
    "steps": 2500,
}


def written(path, of):
    path.write_text("".join(json.dumps({"step": step, **of(step)}) + "\n" for step in STEPS))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(config.dump(config.parse(RAW)))
    written(tmp_path / "events.jsonl", lambda step: DEAD)
    return tmp_path


def test_an_ill_run_is_told_of_with_remedy_and_code_1(command, folder):
    found = command("diagnose", folder)
    assert found.code == 1
    lines = found.out.splitlines()
    assert lines[0].startswith("dead_critic, since step 100: ")
    assert any("spread of 1e-06" in line for line in lines)
    assert lines[-2].startswith("  next: ")
    assert lines[-1].strip().startswith("optimizer=")  # nothing to make weaker in this configuration


def test_what_the_configuration_says_is_a_fact(command, folder):
    raw = {**RAW, "critic": {"penalties": [{"name": "r1", "weight": 9}]}}
    (folder / "config.yaml").write_text(config.dump(config.parse(raw)))
    assert (
        command("diagnose", folder).out.splitlines()[-1].strip()
        == "critic.penalties=[{name: r1, weight: 0.05}]"
    )
    raw = {**RAW, "game": {"loss": "wasserstein"}}
    (folder / "config.yaml").write_text(config.dump(config.parse(raw)))
    assert "dead_critic" not in command("diagnose", folder).out


def test_a_healthy_run_has_code_0_while_it_runs_too(command, folder):
    written(folder / "events.jsonl", lambda step: WELL)
    with (folder / "events.jsonl").open("a") as end:
        end.write('{"step": 2500, "critic/spr')  # a line that is being written
    found = command("diagnose", folder)
    assert (found.code, found.out.split(":")[0]) == (0, "healthy")


def test_an_undecided_run_has_code_0(command, folder):
    (folder / "events.jsonl").write_text('{"step": 1, "loss/D": 1.0}\n')
    found = command("diagnose", folder)
    assert (found.code, found.out.split(":")[0]) == (0, "undecided")


def test_an_ensemble_has_a_line_for_each_member_and_a_count(command, folder):
    written(folder / "events.jsonl", lambda step: {key: [WELL[key], v, WELL[key]] for key, v in DEAD.items()})
    found = command("diagnose", folder)
    assert found.code == 1
    assert found.out.splitlines() == [
        "member 0: healthy",
        "member 1: dead_critic since step 100",
        "member 2: healthy",
        f"3 members: 1 dead_critic, 2 healthy. For details: steadygan diagnose {folder} --member 1",
    ]
    one = command("diagnose", folder, "--member", 1)
    assert one.code == 1
    assert "next:" in one.out
    assert command("diagnose", folder, "--member", 0).code == 0


def test_images_are_told_by_their_data(command, folder):
    written(folder / "events.jsonl", lambda step: {**WELL, "critic/held": 0.9, "critic/gap": 0.2})
    assert "augment=ada" not in command("diagnose", folder).out
    (folder / "config.yaml").write_text(config.dump(config.parse({**RAW, "data": "digits"})))
    found = command("diagnose", folder).out
    assert found.startswith("overfitted")
    assert found.splitlines()[-1].strip() == "augment=ada"


def test_a_monitors_file_has_its_facts_inside(command, tmp_path):
    file = tmp_path / "gan.jsonl"
    written(file, lambda step: DEAD)
    facts = {"game": "gan", "loss": "non_saturating", "penalties": ["r1"]}
    file.write_text(json.dumps({"facts": facts}) + "\n" + file.read_text())
    found = command("diagnose", file)
    assert found.code == 1
    assert found.out.splitlines()[-1].strip() == "critic.penalties=[{name: r1, weight: 0.05}]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "cannot read"),
        (lambda folder: (folder / "config.yaml").unlink(), "is not a run folder (no config.yaml)"),
        (lambda folder: (folder / "events.jsonl").unlink(), "cannot read"),
        (lambda folder: (folder / "events.jsonl").write_text("hello\n"), "has no event"),
        (lambda folder: (folder / "events.jsonl").write_bytes(b"\xff\xfe\x00{"), "has no event"),
        (lambda folder: (folder / "config.yaml").write_text("stepz: 3"), "stepz"),
    ],
    ids=["nothing", "no config", "no events", "other text", "bytes", "bad config"],
)
def test_bad_input_is_one_sentence_and_code_2(command, folder, change, words):
    change(folder)
    found = command("diagnose", folder)
    assert found.code == 2
    assert words in found.err
    assert "Traceback" not in found.err


def test_a_member_that_there_is_not(command, folder):
    found = command("diagnose", folder, "--member", 3)
    assert found.code == 2
    assert "no member 3" in found.err
