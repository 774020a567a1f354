"""The survey's study: what it measures of runs, by hand; its page and pictures; and that a tiny one ends."""

import math
import re

import pytest
import torch
from rich.console import Console
from scipy import stats

from experiments import records
from experiments.constraints import run as constraints
from experiments.pages import spread
from experiments.survey import claims, hopping, pictures, quality
from experiments.survey.__main__ import FIGURES, PAGE, drawn, main
from experiments.survey.page import page
from experiments.survey.settings import SCALES, recipes
from steadygan import config
from steadygan.data import Modes
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe
from steadygan.runs import train

RING = {
    "data": {"name": "ring8", "scale": 2.0},
    "networks": {"name": "mlp", "width": 4, "depth": 1},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "steps": 2,
    "seeds": 2,
    "batch": 8,
    "compile": False,
}


def test_each_sample_near_a_mode_counts_for_the_nearest():
    modes = Modes(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 0.1)
    x = torch.tensor([[0.29, 0.0], [0.31, 0.0], [0.75, 0.0], [1.0, 0.2]])
    assert hopping.shares(x, modes).tolist() == [0.25, 0.5]


def test_hopping_by_hand():
    # five checkpoints of three modes; the second half begins at the third. A mode needs 1/30 of the samples
    found = torch.tensor([[0, 0, 0], [0.9, 0, 0], [0.5, 0.5, 0], [0.5, 0.03, 0.2], [0.2, 0.03, 0.2]])
    one = hopping.hopping(found)
    assert one["modes"] == [0, 1, 2, 2, 2]
    assert one["changed"] == 0.5  # {0, 1} -> {0, 2} -> {0, 2}
    assert one["moved"] == pytest.approx((0.47 + 0.2 + 0.3) / 2 / 2)


def test_an_estimate_is_the_mean_since_the_last_evaluation():
    lines = [
        {"step": 0, "kd_pixels8": [9.0, 9.0]},
        {"step": 1, "loss/D": [1.0, 2.0]},
        {"step": 2, "loss/D": [3.0, 4.0]},
        {"step": 2, "kd_pixels8": [0.5, 0.7]},
        {"step": 3, "loss/D": [5.0, None]},
        {"step": 3, "kd_pixels8": [0.25, None]},
    ]
    assert quality.curves(lines, 0) == {"steps": [2, 3], "estimate": [-2.0, -5.0], "score": [0.5, 0.25]}
    assert quality.curves(lines, 1) == {"steps": [2], "estimate": [-3.0], "score": [0.7]}


def test_a_correlation_is_one_of_ranks():
    # 1 - 6 sum d^2 / (n (n^2 - 1)), d = (0, 1, -1) of n = 3: 1 - 12/24
    assert quality.correlation([1.0, 2.0, 300.0], [0.0, 7.0, 5.0]) == pytest.approx(0.5)


def test_images_that_are_all_one_are_at_distance_zero():
    x = torch.zeros(3, 1, 2, 2)
    assert quality.distance_between(x) == 0
    x[0] = 1  # at sqrt(4) from both others
    assert quality.distance_between(x) == pytest.approx(2 * 2 / 3)


def test_a_grid_is_filled_row_by_row():
    x = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    found = pictures.grid(x, 2)[:, :, 0]
    assert found[::3, ::3].tolist() == [[0.0, 0.5], [1.0, 1.0]]
    assert found[2].tolist() == [0.5] * 6


def test_the_page_and_the_help_say_what_the_scale_tiny_takes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    taken, left = SCALES["tiny"].seeds, SCALES["full"].seeds.keys() - SCALES["tiny"].seeds.keys()
    assert SCALES["tiny"].shorter == 100
    for text in (capsys.readouterr().out, PAGE.read_text()):
        told = re.search(
            r"takes a hundredth of the steps of ([^.]*?), (?:and )?leaves ([\w-]+) out",
            " ".join(text.split()),
        )
        assert told
        assert (told[1].split(" and "), {told[2]}) == ([*taken], left)


@pytest.mark.parametrize("data", SCALES["full"].seeds)
def test_pairs_of_recipes_differ_in_nothing_but_what_the_survey_compares(data):
    made = [config.parse(find_recipe(name)[1]).model_dump(mode="json") for name in recipes(data)]
    varied = {"dynamics"} if data == "ring8" else {"game", "critic", "dynamics", "optimizer", "networks"}
    kept = [{key: value for key, value in one.items() if key not in {*varied, "name"}} for one in made]
    assert all(one == kept[0] for one in kept)


def test_unevenness_is_of_norms_in_proportion():
    # a deviation of the norms themselves: e^3 would weigh more than all others
    steep, uneven = claims.unevenness([math.e, 1.0, math.e, math.e**3])
    assert steep == pytest.approx(math.e**2)
    assert uneven == pytest.approx(math.sqrt(4.75 / 3))  # of the logs 1, 0, 1, 3


def test_a_critic_of_points_by_hand():
    # f(x) = w x with |w| = 5: at fakes in the origin G's original gradient is 5 / 2, the loss of D there log 2
    D = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Flatten(0))
    with torch.no_grad():
        D[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
    loss, size = claims.critic_of(D, torch.tensor([[1.0, 1.0]]), torch.zeros(3, 2))
    assert loss == pytest.approx(math.log(1 + math.exp(-7)) + math.log(2))
    assert size == pytest.approx(2.5)


def test_the_page_shows_the_claims():
    text = claims.PAGE.read_text()
    assert claims.page(records.read(claims.FIGURES), text) == text


def test_the_sentences_on_claims_hold_in_the_figures():
    found = {name: one["measures"] for name, one in records.read(claims.FIGURES).items()}
    assert all(len(values) >= 4 for one in found.values() for values in one.values())
    plain, encoded, mdgan = (found[f"ring8, {name}"] for name in ("plain", "Reg-GAN", "MDGAN"))
    assert max(found["digits-gan-bn"]["steep"]) < min(found["digits-wgan-bn"]["steep"])
    assert max(plain["steep"]) < 3
    assert min(plain["steep"]) > max(found["digits-wgan-bn"]["steep"])
    assert max(plain["left/D"]) < 1e-5
    assert max(encoded["left/D"]) < 1e-3
    assert sorted(b > a for a, b in zip(mdgan["early/D1"], mdgan["left/D1"])) == [False, True, True, True]
    assert min(mdgan["loss/D1"]) > max(plain["loss/D"])
    assert sum(value < 0.011 for value in found["digits-ebgan"]["kd_pixels8"]) == 3
    assert set(found["ring8-began"]["modes"]) == {0}


def test_what_the_page_says_of_noise_is_in_the_figures():
    without = records.read(claims.FIGURES)["ring8, no noise"]["measures"]["modes"]
    found = records.read(constraints.FIGURES)
    with_, layers = (found[f"ring8-{where}-noise"]["modes"] for where in ("instance", "layer"))
    assert {len(without), len(with_), len(layers)} == {8}
    gap = stats.ttest_ind(with_, without, equal_var=False).confidence_interval(0.95)
    told = f"{spread(with_, 1)} and {spread(layers, 1)} of 8 modes with noise, {spread(without, 1)} without"
    interval = f"{gap.low:.1f} to +{gap.high:.1f}".replace("-", "−")
    assert f"{told} (95 % interval of the first difference: {interval})" in claims.PAGE.read_text()


def test_the_page_shows_the_figures():
    text = PAGE.read_text()
    assert page(records.read(FIGURES), text) == text


def test_the_sentences_hold_in_the_figures():
    """What docs/survey.md says was seen, from the figures themselves."""
    found = records.read(FIGURES)
    assert found.keys() <= {name for data in SCALES["full"].seeds for name in recipes(data)}
    inner_D, inner_G = found["ring8-min-max"], found["ring8-max-min"]
    assert min(m[-1] for m in inner_D["modes"]) > max(max(m) for m in inner_G["modes"])
    assert max(inner_D["moved"]) < min(inner_G["moved"]) / 5
    for name, one in found.items():
        if "correlation" in one:
            assert all(math.isfinite(value) for value in one["correlation"]), name


@pytest.mark.parametrize(
    "words", [["nonsense"], ["ring8", "--only", "digits-gan-bn"], ["--only", "nonsense"]]
)
def test_unknown_sets_and_recipes_are_refused_before_training(words, tmp_path):
    # recipes that no set has: nothing was trained, and drawing nothing was a traceback
    with pytest.raises(UsageError, match=words[-1]):
        main([*words, "--scale", "tiny", "--runs", str(tmp_path)])
    assert not any(tmp_path.iterdir())


def test_an_unknown_run_of_the_claims_is_refused_before_training(tmp_path):
    with pytest.raises(UsageError, match="digits-gan-bn"):
        claims.main(["--only", "digits-gan-b", "--scale", "tiny", "--runs", str(tmp_path)])
    assert not any(tmp_path.iterdir())


def test_pictures_of_runs_that_are_gone_are_refused(tmp_path):
    # the figures of the repository name runs that another machine has made
    with pytest.raises(UsageError, match=r"also show ring8-min-max, not in .*without --only"):
        drawn("ring8", tmp_path, {"ring8-min-max": {}}, tmp_path)


def test_one_recipe_alone_has_a_picture(tmp_path):
    # a sheet of one row or column: matplotlib then returns no list of axes
    one = {"steps": [0, 5], "modes": [[1, 2], [3, 4]]}
    pictures.draw_modes({"ring8-max-min": one}, tmp_path / "modes.png")
    folder = tmp_path / "run"
    train.start(config.parse(RING), folder, Console(quiet=True))
    pictures.draw_ring({"ring8-max-min": folder}, tmp_path / "ring.png")
    assert {path.name for path in tmp_path.glob("*.png")} == {"modes.png", "ring.png"}


@pytest.mark.slow
def test_a_tiny_study_ends_with_its_tables_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    words = ["digits", "--only", "digits-wgan-bn", "--scale", "tiny", "--runs", str(tmp_path)]
    main(words)
    made = {path.name for path in (tmp_path / "tiny").iterdir() if path.is_file()}
    kinds = {"digits", "digits-critic"}
    assert made == {"figures.jsonl", "survey.md", *(f"survey-{kind}.png" for kind in kinds)}
    before = (tmp_path / "tiny" / "figures.jsonl").read_text()
    main(words)  # nothing is trained again
    assert (tmp_path / "tiny" / "figures.jsonl").read_text() == before
