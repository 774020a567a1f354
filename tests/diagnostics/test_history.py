"""The lines of a run are read in one way everywhere; what is torn, foreign or crafted is passed over."""

import json
import math

import pytest

from reporting import made
from steadygan import config
from steadygan.build import build
from steadygan.config import registry
from steadygan.diagnostics import Events, diagnose, read
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe
from steadygan.report.run_summary import Reader
from steadygan.runs import live_diagnosis
from steadygan.runs.sinks.jsonl import logged, rewind, whole

BIG = "9" * 400
RAW = {"networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 9}


def told(file) -> list[list[float]]:
    """The losses in a file, by each of its readers."""
    return [
        read(file).history().series["loss/D"].values.tolist(),
        Reader(file).read().histories[0].series["loss/D"].values.tolist(),
        [values["loss/D"] for _, values in whole(file)],
    ]


@pytest.mark.parametrize(
    ("end", "losses"),
    [
        ('\n{"step": 3, "loss/D": 3}', [1, 2, 3]),
        ('\n{"step": 3, "loss/D": 3', [1, 2]),
        ("\n", [1, 2]),
        ("", [1, 2]),
    ],
    ids=["whole", "torn", "ended", "not ended"],
)
def test_the_last_line_counts_as_soon_as_it_is_whole_to_every_reader(tmp_path, end, losses):
    file = tmp_path / "events.jsonl"
    file.write_text('{"step": 1, "loss/D": 1}\n{"step": 2, "loss/D": 2}' + end)
    assert told(file) == [losses] * 3


def test_a_line_that_was_read_before_its_end_is_not_read_again(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text('{"step": 1, "loss/D": 1}')
    reader = Reader(file)
    for more, losses in (
        ("", [1]),
        ("\n", [1]),
        ('{"step": 2, "loss/D', [1]),
        ('": 2}', [1, 2]),
        ("\n", [1, 2]),
    ):
        with file.open("a") as end:
            end.write(more)
        assert reader.read().histories[0].series["loss/D"].values.tolist() == losses


def test_what_ends_a_line_is_a_newline_alone(tmp_path):
    """Unicode has other separators of lines, which JSON allows inside a string."""
    file = tmp_path / "events.jsonl"
    file.write_text(
        '{"step": 1, "a\u2028b\x85c": 7, "loss/D": 1}\r\n{"step": 2, "loss/D": 2}\n', encoding="utf-8"
    )
    assert told(file) == [[1, 2]] * 3
    assert read(file).history().series["a\u2028b\x85c"].values.tolist() == [7]
    rewind(file, 1)
    assert logged(file, 1)["a\u2028b\x85c"] == 7


def test_a_number_of_many_digits_is_as_one_that_is_not_finite():
    events = read(
        [f'{{"step": 1, "loss/D": -{BIG}}}', '{"step": 2, "loss/D": -1e999}', '{"step": 3, "loss/D": 5}']
    )
    values = events.history().series["loss/D"].values.tolist()
    assert [math.isnan(value) for value in values] == [True, True, False]
    assert not events.take("9" * 5000)
    assert events.take(f'{{"step": {BIG}, "loss/D": 1}}')
    assert len(events.columns["loss/D"][0]) == 3, "no run is that long"


def test_who_diverged_is_among_the_members_that_are_known():
    lost = '{"step": 3, "diverged": [%d], "began": 2, "tensor": "loss/G"}'
    for lines, index, members in [
        ([], 2, 3),  # before anything was logged
        (['{"step": 1, "images": 4, "wall_s": 0.5}'], 2, 3),
        ([], 100_000_000, 1),
        (['{"step": 1, "loss/D": [1, 2]}'], 5, 2),
        (['{"step": 1, "loss/D": 1}'], 5, 1),
        (['{"step": 1, "modes": []}'], 5, 1),
    ]:
        events = Events()
        for line in (*lines, lost % index):
            events.take(line)
        assert events.members == members
        names = [diagnose(events.history(i))[0].name for i in range(members)]
        assert [i for i, name in enumerate(names) if name == "diverged"] == [index] * (index < members)


def test_what_all_members_share_is_each_one_s():
    events = read(['{"step": 1, "images": 64, "loss/D": [1, 2]}'])
    assert [events.history(i).series["images"].values.item() for i in range(2)] == [64, 64]


def test_a_damaged_value_makes_no_members():
    """A list of 100,001 numbers in one value of a single run: a report of as many members took minutes."""
    many = [1.0] * 100_001
    one = read([json.dumps({"step": 1, "signal": many, "loss/D": 0.5, "loss/G": 0.7})])
    assert (one.members, one.history().series["loss/D"].values.item()) == (1, 0.5)
    two = read([json.dumps({"step": 1, "loss/D": [0.5, 0.6], "loss/G": [0.7, 0.8], "signal": many})])
    assert (two.members, two.history(1).series["loss/G"].values.item()) == (2, 0.8)


def test_only_members_that_there_are_have_a_history():
    events = read(['{"step": 1, "loss/D": [1, 2]}'])
    for member in (-1, 2):
        with pytest.raises(UsageError, match=f"this run has no member {member}: choose 0 to 1"):
            events.history(member)


def test_a_run_that_diverged_before_anything_was_logged_is_one_and_the_first_line_counts():
    lost = [f'{{"step": {step}, "diverged": [0], "began": {step}, "tensor": "G"}}' for step in (3, 9)]
    assert diagnose(read(lost[:1]).history())[0].since == 3
    assert diagnose(read(lost).history())[0].since == 3


def test_a_fact_of_another_type_is_none():
    events = Events({"loss": "hinge", "steps": 5})
    kept = {"penalties": ["r1"], "game": "gan", "normalization": None, "fake_as_real": True}
    odd = {"loss": ["hinge"], "steps": "many", "dynamics": {}, "diverged": {"step": 1}, "colour": "red"}
    assert events.take(json.dumps({"facts": kept | odd}))
    assert events.facts == {"loss": "hinge", "steps": 5} | kept
    for penalties in (3, "r1", [["r1"]], {"r1": 1}):
        events.take(json.dumps({"facts": {"penalties": penalties}}))
        assert events.facts["penalties"] == ["r1"]


def test_half_a_surrogate_pair_is_no_text():
    events = Events()
    assert not events.take('{"step": 1, "loss/D": 1, "\\ud800": 1}')
    assert events.take('{"step": 1, "\\ud83d\\ude00": 1}')
    assert list(events.columns) == ["\U0001f600"]


CRAFTED = {
    "number": f'{{"step": 400, "loss/D": {BIG}, "modes": [{BIG}]}}',
    "step": f'{{"step": {BIG}, "loss/D": 1}}',
    "long step": '{"step": 999999999999999, "loss/D": 1}',
    "ends of floats": '{"step": 400, "loss/D": 1.7e308, "modes": 1}\n{"step": 401, "loss/D": -1.7e308, "modes": 1e308}',
    "least float": '{"step": 400, "new": 5e-324}',
    "index": '{"step": 400, "diverged": [100000000]}',
    "long index": f'{{"step": 400, "diverged": [{BIG}]}}',
    "began": '{"step": 400, "diverged": [0], "began": "early"}',
    "began never": '{"step": 400, "diverged": [0], "began": 1e999}',
    "tensor": '{"step": 400, "diverged": [0], "began": 3, "tensor": "\\udc80"}',
    "no members": '{"step": 400, "first": []}',
    "facts": '{"facts": 3}',
    "odd facts": '{"facts": {"steps": "many", "penalties": 3, "loss": ["a"], "game": {}, "diverged": 3}}',
    "odd names": '{"facts": {"penalties": [["a"]], "normalization": [[]]}}',
    "key": '{"step": 400, "\\ud800": 1}',
    "depth": "[" * 100_000,
}


@pytest.mark.parametrize("kind", CRAFTED)
@pytest.mark.parametrize("place", ["first", "last"])
def test_crafted_lines_break_neither_diagnose_nor_report(kind, place, command, tmp_path):
    file = made(tmp_path / "run", pictures=False) / "events.jsonl"
    lines = file.read_text().splitlines()
    file.write_text(
        "\n".join([CRAFTED[kind], *lines] if place == "first" else [*lines, CRAFTED[kind]]) + "\n"
    )
    path = file.parent if place == "first" else file
    found = command("diagnose", path)
    assert found.code in (0, 1), found.err
    found.out.encode()
    done = command("report", path, "--out", tmp_path / "report.html")
    assert done.code == 0, done.err


@pytest.mark.parametrize("kind", [*CRAFTED, "nothing"])
def test_a_file_of_crafted_lines_alone_is_one_sentence_or_a_run(kind, command, tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text(CRAFTED.get(kind, "") + "\n")
    for words in (["diagnose", file], ["report", file, "--out", tmp_path / "report.html"]):
        found = command(*words)
        assert found.code in (0, 1) or (found.code, found.err.count("\n")) == (2, 1)


def test_a_protocol_that_is_no_text_is_shown_as_far_as_it_is(command, tmp_path):
    folder = made(tmp_path / "run", pictures=False)
    (folder / "evaluation.json").write_text('{"format": 1, "weights": "\\ud800", "shape": 3}')
    assert command("report", folder, "--out", tmp_path / "report.html").code == 0


# ------------------------------------------------------------------------------------------ facts of a configuration


@pytest.mark.parametrize("data", registry.DATA)
def test_data_are_images_or_synthetic(data):
    settings = config.parse(
        RAW
        | {"data": {"name": data, **({"path": "somewhere"} if "path" in registry.DATA[data].options else {})}}
    )
    # nothing is known of the caller's own
    synthetic = data == "own" or registry.DATA[data].make.__module__ == "steadygan.data.synthetic"
    assert live_diagnosis.facts_of(settings)["images"] is not synthetic


@pytest.mark.parametrize("recipe", ["ring8-fargan", "bilinear-optimistic", "digits-0gp"])
def test_images_are_known_before_the_data_are(recipe):
    settings = config.parse(find_recipe(recipe)[1])
    assert live_diagnosis.facts_of(settings)["images"] == (len(build(settings).data.shape) == 3)
