"""Score cards: what they say, how they are kept, and when two of them compare."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rich.console import Console

from steadygan.errors import DataNote, UsageError
from steadygan.metrics import Card, Score, compare, read_card
from steadygan.runs.score_cards import add, cards, compare_runs, known

PROTOCOL = {"extractor": "lite0", "weights": "EMA", "generated": 100, "seed": 0, "shape": [3, 8, 8]}


def card(value=1.0, error=0.1, step=10, member=0, **protocol):
    return Card({"step": step, "member": member}, {**PROTOCOL, **protocol}, {"fd_lite0": Score(value, error)})


def test_a_card_survives_json_to_the_last_bit():
    one = card(0.1 + 0.2, math.pi)
    assert read_card(json.loads(json.dumps(one.plain()))) == one


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"scores": []},
        {"scores": {"fd": {"value": "x", "error": 1}}, "protocol": {}, "subject": {}},
        {"scores": {}, "protocol": {}, "subject": {"step": "ten"}},
        {"scores": {}, "protocol": {"shape": 3}, "subject": {}},
    ],
)
def test_a_damaged_card_is_told_in_a_sentence(raw):
    with pytest.raises(UsageError, match=r"score card is damaged.*evaluate again"):
        read_card(raw)


@pytest.mark.parametrize(
    ("other", "apart", "exceeds"), [(15.0, 1.0, False), (20.0, 2.0, True), (10.0, 0.0, False)]
)
def test_a_difference_is_measured_in_standard_errors_of_the_difference(other, apart, exceeds):
    # errors 3 and 4 make 5: the gaps 5, 10 and 0 are 1, 2 and 0 of them; a sum of errors would make 5/7
    (found,) = compare([card(10.0, 3.0)], [card(other, 4.0)])
    assert found.apart == pytest.approx(apart)
    assert found.exceeds is exceeds


def members(values, error):
    return [card(value, error, member=index) for index, value in enumerate(values)]


def test_members_count_by_their_mean_and_its_error():
    # 1, 2, 3: mean 2, sample variance 1, error 1/sqrt 3; against 5 without error: 3 sqrt 3 errors apart
    (found,) = compare(members((1.0, 2.0, 3.0), 0.1), [card(5.0, 0.0)])
    assert found.one == pytest.approx(Score(2.0, 1 / math.sqrt(3)))
    assert found.apart == pytest.approx(3 * math.sqrt(3))


def test_members_that_agree_by_chance_keep_their_sampling_error():
    # three times 1 ± .03: the mean is known to .03 / sqrt 3, not exactly
    (found,) = compare(members((1.0, 1.0, 1.0), 0.03), members((0.99, 0.99, 0.99), 0.03))
    assert found.one.error == pytest.approx(0.03 / math.sqrt(3))
    assert not found.exceeds


@pytest.mark.parametrize(("k", "allowed"), [(2, 0.05), (3, 0.05), (5, 0.06)])
def test_equal_methods_differ_by_chance_as_seldom_as_is_said(k, allowed):
    """With a fixed threshold of 2 it would be 19, 12 and 8 %."""
    g = torch.Generator().manual_seed(k)
    draws = torch.randn(2000, 2, k, generator=g, dtype=torch.float64).tolist()
    wrong = [compare(members(a, 0.1), members(b, 0.1))[0].exceeds for a, b in draws]
    assert sum(wrong) / len(wrong) < allowed + 0.015


def test_five_members_find_a_difference_of_three_deviations():
    (found,) = compare(members((0.0, 1.0, -1.0, 0.5, -0.5), 0.1), members((3.0, 4.0, 2.0, 3.5, 2.5), 0.1))
    assert found.exceeds


def test_without_any_error_any_difference_exceeds_the_noise():
    assert compare([card(1.0, 0.0)], [card(1.5, 0.0)])[0].exceeds
    assert not compare([card(1.0, 0.0)], [card(1.0, 0.0)])[0].exceeds


@pytest.mark.parametrize("change", [{"weights": "raw"}, {"generated": 99}, {"resize": "box"}])
def test_unlike_protocols_are_refused_by_the_field_that_differs(change):
    (key,) = change
    with pytest.raises(UsageError, match=f"protocols differ in {key}"):
        compare([card()], [card(**change)])


def test_every_card_of_a_group_is_held_to_the_protocol():
    with pytest.raises(UsageError, match="protocols differ in seed"):
        compare([card()], [card(member=0), card(member=1, seed=1)])
    with pytest.raises(UsageError, match="protocols differ in seed"):
        compare([card(member=0), card(member=1, seed=1)], [card()])


def test_cards_without_a_score_in_common_are_refused():
    other = Card({}, PROTOCOL, {"kd_lite0": Score(0.0, 0.0)})
    with pytest.raises(UsageError, match="no score in common"):
        compare([card()], [other])


def test_only_the_scores_of_all_are_compared():
    more = Card({}, PROTOCOL, {"fd_lite0": Score(1.0, 0.1), "kd_lite0": Score(0.0, 0.1)})
    assert [found.name for found in compare([more], [card()])] == ["fd_lite0"]


# ---------------------------------------------------------------------------------------------------- scores.json


def test_a_folder_keeps_one_card_a_step_member_and_protocol(tmp_path):
    for one in (card(1.0), card(2.0, step=20), card(3.0, member=1), card(4.0, weights="raw"), card(5.0)):
        add(tmp_path, one)
    kept = [
        (c.subject["step"], c.subject["member"], c.protocol["weights"], c.scores["fd_lite0"].value)
        for c in cards(tmp_path)
    ]
    assert kept == [(20, 0, "EMA", 2.0), (10, 1, "EMA", 3.0), (10, 0, "raw", 4.0), (10, 0, "EMA", 5.0)]


def test_a_card_is_known_by_its_whole_subject_and_protocol(tmp_path):
    one = card(7.0)
    add(tmp_path, one)
    assert known(tmp_path, dict(one.subject), dict(one.protocol)) == one
    assert known(tmp_path, {**one.subject, "sha256": "other"}, dict(one.protocol)) is None
    assert known(tmp_path, dict(one.subject), {**one.protocol, "seed": 1}) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99, "cards": []}'])
def test_a_damaged_file_of_scores_is_told_in_a_sentence(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(UsageError, match="evaluate again"):
        cards(tmp_path)


def test_a_damaged_card_is_left_out_and_the_others_stay(tmp_path):
    """One of ten took the other nine with it, and the whole report."""
    add(tmp_path, card(7.0))
    raw = json.loads((tmp_path / "scores.json").read_text())
    (tmp_path / "scores.json").write_text(json.dumps({**raw, "cards": [{}, *raw["cards"]]}))
    with pytest.warns(DataNote, match=r"damaged: a score card of .*scores\.json"):
        assert cards(tmp_path) == [card(7.0)]


def test_cards_that_are_added_at_one_time_are_all_kept(tmp_path):
    """Two evaluations side by side read the file, and the later one wrote over the card of the other."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda step: add(tmp_path, card(step=step)), range(16)))
    assert sorted(one.subject["step"] for one in cards(tmp_path)) == [*range(16)]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_a_score_that_is_no_number_is_null_in_the_file(tmp_path):
    """NaN is no JSON, and other programs refuse the whole file."""
    add(tmp_path, card(1.0, math.nan))
    json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert math.isnan(cards(tmp_path)[0].scores["fd_lite0"].error)


# ------------------------------------------------------------------------------------------------------- compare


def shown(tmp_path, *groups):
    folders = []
    for number, group in enumerate(groups):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        for one in group:
            add(folder, one)
        folders.append(folder)
    console = Console(record=True, width=200)
    compare_runs(folders, console)
    return console.export_text()


def test_compare_takes_the_newest_step_and_its_average(tmp_path):
    one = [card(1.0, step=5), card(2.0), card(9.0, weights="raw")]
    text = shown(tmp_path, one, [card(2.1)])
    assert "2 ± 0.1" in text
    assert "2.1 ± 0.1" in text
    assert "exceeds" not in text
    assert "weights EMA" in text


def test_compare_takes_the_averages_where_both_runs_have_either(tmp_path):
    both = [card(1.0), card(9.0, weights="raw")]
    assert "weights EMA" in shown(tmp_path, both, both[::-1])


def test_compare_finds_the_protocol_that_both_were_scored_by(tmp_path):
    text = shown(tmp_path, [card(1.0), card(3.0, extractor="pixels8")], [card(4.0, extractor="pixels8")])
    assert "extractor pixels8" in text
    assert "3 ± 0.1" in text
    assert "exceeds" in text


def test_of_two_protocols_that_both_were_scored_by_the_later_one_counts(tmp_path):
    both = [card(1.0), card(3.0, extractor="pixels8")]
    text = shown(tmp_path, both, both)
    assert "extractor pixels8" in text
    assert "3 ± 0.1" in text


@pytest.mark.parametrize(
    ("ours", "theirs", "noted"), [(1, 1, True), (1, 3, True), (2, 2, False), (3, 3, False)]
)
def test_compare_says_that_one_seed_does_not_tell_how_seeds_differ(ours, theirs, noted, tmp_path):
    text = shown(tmp_path, members([1.0] * ours, 0.1), members([2.0] * theirs, 0.1))
    assert ("the error of one run does not include how seeds differ" in text) == noted


def test_compare_refuses_when_there_is_none(tmp_path):
    with pytest.raises(UsageError, match="protocols differ in extractor"):
        shown(tmp_path, [card(1.0)], [card(4.0, extractor="pixels8")])


def test_compare_says_when_the_difference_exceeds_the_noise(tmp_path):
    text = shown(tmp_path, [card(1.0)], [card(2.0)])
    assert "exceeds noise" in text
    assert "step 10" in text


def test_compare_refuses_a_folder_without_cards(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"has no score cards: make them with steadygan evaluate"):
        compare_runs([tmp_path / "empty", tmp_path / "empty"], Console())


def test_a_card_of_the_first_version_compares_with_one_of_today():
    """Its protocol says "looks" for evaluation during training, and means the same images."""
    now = Card(
        {}, {"split": "train, without the images of evaluation during training"}, {"fd": Score(2.0, 0.1)}
    )
    then = now.plain() | {"protocol": {"split": "train, without the images of looks"}}
    assert read_card(then) == now
    assert compare([now], [read_card(then)])


def test_two_seeds_on_each_side_have_two_degrees_of_freedom():
    """Welch: (v/2 + v/2)^2 / ((v/2)^2 + (v/2)^2) = 2, where Student's t at 97.5 % is 4.303."""
    sides = [[Card({}, {}, {"x": Score(value, 1e-9)}) for value in side] for side in ((0.0, 1.0), (5.0, 6.0))]
    (found,) = compare(*sides)
    assert found.least == pytest.approx(4.303, abs=0.01)
