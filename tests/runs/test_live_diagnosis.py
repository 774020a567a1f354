"""The doctor beside a run: what it tells of, once, when it is sure; and that it ends a run as if nobody had looked."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from steadygan import config
from steadygan.diagnostics import Events, Verdict
from steadygan.game import State
from steadygan.runs import live_diagnosis, train
from steadygan.runs.live_diagnosis import early_stopping, facts_of, taken_up
from steadygan.runs.overview import overview
from steadygan.training import checkpoint
from steadygan.training.events import Diverged, Evaluated, Progress, Scored, StoppedByDiagnosis

SEEN = {step: 16 * step for step in range(20)}.__getitem__
STATE = State({}, {}, {}, {}, {})
DEAD = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 16, "depth": 2},
    "critic": {"penalties": [{"name": "r1", "weight": 1000}]},
    "optimizer": {"name": "rmsprop", "lr": 0.01},
    "batch": 16,
    "steps": 240,
    "compile": False,
    "precision": "float64",  # in float32 a rounding moves the critic's death by a hundred steps
    "every": {"log": 20, "score": 40, "checkpoint": 100, "diagnostics": 20},
}


def verdict(name: str) -> Verdict:
    return Verdict(name, 0, (f"signs of {name}.",), f"something against {name}", "a.b=1")


class Script:
    """A diagnosis by rote: at each look the names that each member is given; and what is warned of."""

    def __init__(self, monkeypatch, looks: list[list[list[str]]], stop_on: tuple[str, ...] = ()) -> None:
        self.looks, self.warned, self.step = looks, [], 0
        monkeypatch.setattr(
            live_diagnosis, "diagnose", lambda history: [verdict(n) for n in history.facts["names"]]
        )
        self.events = Events()
        members = len(looks[0])
        monkeypatch.setattr(Events, "members", members)
        monkeypatch.setattr(
            Events, "history", lambda _, index: fake_history(self.looks[self.step - 1][index])
        )
        self.callback = early_stopping(self.events, SEEN, stop_on, self.warned.append)

    def look(self) -> StoppedByDiagnosis | None:
        self.step += 1
        return self.callback(Scored(self.step, 0.0, STATE, Evaluated([], {"modes": 1.0})))


def fake_history(names: list[str]):
    from steadygan.diagnostics import History

    return History({}, {"names": names})


def test_a_verdict_counts_at_the_second_look_in_a_row_and_is_told_of_once(monkeypatch):
    looks = [["collapse"], ["healthy"], ["collapse"], ["collapse"], ["collapse", "rotation"], ["collapse"]]
    script = Script(monkeypatch, [[names] for names in looks])
    told = []
    for _ in looks:
        script.look()
        told.append(len(script.warned))
    assert told == [0, 0, 0, 1, 1, 1]
    assert script.warned == ["step 4: collapse: signs of collapse. Try: something against collapse (a.b=1)"]


def test_trackers_are_told_of_what_counts_alone(monkeypatch):
    """A verdict that one evaluation has and the next one takes back was a series in the tracker."""
    looks = [["collapse"], ["healthy"], ["collapse"], ["collapse"]]
    script, told = Script(monkeypatch, [[names] for names in looks]), []

    def judged(step, members):
        told.append([v.name for v in members[0]])

    script.callback = early_stopping(script.events, SEEN, (), script.warned.append, judged)
    for _ in looks:
        script.look()
    assert told == [[], ["healthy"], [], ["collapse"]]


@pytest.mark.parametrize("name", ["healthy", "undecided"])
def test_the_well_are_left_in_peace(name, monkeypatch):
    script = Script(monkeypatch, [[[name]]] * 3, stop_on=("collapse",))
    assert [script.look() for _ in range(3)] == [None] * 3
    assert script.warned == []


def test_an_ensemble_is_told_of_with_how_many_and_ends_when_all_are_ill_or_lost(monkeypatch):
    looks = [
        [["collapse"], ["healthy"], ["diverged"]],
        [["collapse"], ["collapse"], ["diverged"]],
        [["collapse"], ["collapse"], ["diverged"]],
    ]
    script = Script(monkeypatch, looks, stop_on=("collapse",))
    assert script.look() is None
    assert script.look() is None, "the second member's is not sure yet"
    assert script.warned == [
        "step 2: collapse in 1 of 3 members: signs of collapse. Try: something against collapse (a.b=1)"
    ]
    assert script.look() == StoppedByDiagnosis(3, verdict("collapse"), [0, 1])


def test_only_what_it_is_asked_to_stop_on_stops_it(monkeypatch):
    script = Script(monkeypatch, [[["rotation"]]] * 4, stop_on=("collapse", "dead_critic"))
    assert [script.look() for _ in range(4)] == [None] * 4
    assert len(script.warned) == 1


def test_a_resumed_run_knows_the_verdicts_of_its_last_evaluation(monkeypatch):
    """They are those of the lines up to the evaluation: a later line, before the checkpoint, is not seen yet."""
    lines = [
        {"step": 0, "modes": 1.0},
        {"step": 2, "loss/D": 1.0},
        {"step": 4, "modes": 1.0},
        {"step": 6, "loss/D": 2.0, "convergence": 0.1},  # of BEGAN: no score
    ]
    seen = []

    def diagnosed(history):
        seen.append(history.series["loss/D"].values.tolist())
        return [verdict("exploding")]

    monkeypatch.setattr(live_diagnosis, "diagnose", diagnosed)
    events = Events()
    before = taken_up(events, lines)
    assert seen == [[1.0]]
    assert events.history().series["loss/D"].values.tolist() == [1.0, 2.0]
    again = Scored(8, 0.0, STATE, Evaluated([], {"modes": 1.0}))
    assert early_stopping(events, SEEN, ["exploding"], print, before=before)(again).step == 8
    assert early_stopping(events, SEEN, ["exploding"], print)(again) is None  # a first evaluation is not sure
    assert taken_up(Events(), []) == []


@pytest.mark.parametrize(("stops", "ended"), [(2, 2), (4, None)])
def test_a_verdict_at_the_last_step_ends_nothing(stops, ended, monkeypatch, tmp_path):
    def early(*given):
        found = StoppedByDiagnosis(stops, verdict("collapse"), [0])
        return lambda event: found if isinstance(event, Scored) and event.step == stops else None

    monkeypatch.setattr(train, "early_stopping", early)
    settings = config.parse({**DEAD, "steps": 4, "every": {"score": 2, "log": 2}})
    found = train.start(settings, tmp_path / "run", Console(file=io.StringIO()))
    assert (found and found.step) == ended


def test_it_reads_what_the_run_writes():
    events = Events()
    callback = early_stopping(events, SEEN, (), print)
    callback(Progress(5, 0.0, {"loss/D": torch.tensor(1.25), "finite": torch.tensor(1.0)}))
    callback(Diverged(9, 5, [0], 7, "loss/G"))
    history = events.history()
    assert history.series["loss/D"].values.tolist() == [1.25]
    assert history.facts["diverged"]["tensor"] == "loss/G"


# ------------------------------------------------------------------------------------------------ on a real run


def newest(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


@pytest.mark.slow
def test_a_run_that_is_stopped_can_go_on_and_is_then_the_run_that_was_not(tmp_path):
    """The critic dies of the penalty within a few steps; the end, and the file of events, are as without a doctor."""
    quiet = Console(file=io.StringIO())
    assert train.start(config.parse(DEAD), tmp_path / "whole", quiet) is None
    ill = train.start(config.parse({**DEAD, "stop_on": ["dead_critic"]}), tmp_path / "ill", quiet)
    assert isinstance(ill, StoppedByDiagnosis)
    assert ill.verdict.name == "dead_critic"
    assert ill.step < DEAD["steps"]
    assert int(newest(tmp_path / "ill")["scalars/step"]) == ill.step, "it is kept where it was stopped"
    assert overview(tmp_path / "ill").state == "failed"
    assert train.resume(tmp_path / "ill", ["stop_on=[]"], quiet) is None
    assert overview(tmp_path / "ill").state == "finished"
    a, b = newest(tmp_path / "whole"), newest(tmp_path / "ill")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_from_the_command_line_it_is_one_sentence_and_exit_code_1(command, tmp_path):
    file = tmp_path / "dead.yaml"
    file.write_text(config.dump(config.parse({**DEAD, "stop_on": ["dead_critic"]})))
    found = command("train", file, "--out", tmp_path / "run")
    assert found.code == 1
    assert "by stop_on: dead critic" in " ".join(found.err.split())
    assert "stop_on=[]" in found.err
    stood = overview(tmp_path / "run")
    assert (stood.state, stood.verdict) == ("failed", "dead_critic")
    last = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])
    assert last == {"step": stood.step, "stopped": "dead_critic", "ill": [0]}
    assert found.out.count("dead critic:") <= 1


def test_what_cannot_be_stopped_on_is_named_with_what_can(command, tmp_path):
    found = command("train", "ring8-fargan", "stop_on=[colapse]", "--out", tmp_path / "run")
    assert found.code == 2
    assert "stop_on" in found.err
    assert "collapse" in found.err


def test_the_facts_of_a_run_are_those_of_its_settings():
    """The advice on a penalty's weight is from the largest, and fake-as-real is advised where it is off."""
    penalties = [{"name": "r1", "weight": 1}, {"name": "r2", "weight": 5}]
    facts = [
        facts_of(config.parse({**DEAD, "critic": {"penalties": penalties}, "fake_as_real": {"count": n}}))
        for n in (0, 4)
    ]
    assert [each["penalty_weight"] for each in facts] == [5, 5]
    assert [each["fake_as_real"] for each in facts] == [False, True]
