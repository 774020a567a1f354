"""Configurations: what is valid round-trips, and what is not is refused in one sentence that names the key.

The schema is written down a second time here, as strategies, so that a key the program forgets, a bound it does
not hold or a path it garbles shows up as a difference between the two.
"""

import inspect
import itertools
import math
import re
import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from steadygan import config
from steadygan.build import build
from steadygan.config import overrides, registry
from steadygan.config.field_types import steps_of
from steadygan.config.overrides import read_yaml
from steadygan.config.resolve import resolve
from steadygan.errors import ELSEWHERE, UsageError
from steadygan.recipes.catalogue import find_recipe, recipe_files

RECIPES = list(recipe_files().values())

# --------------------------------------------------------------------------- the schema, a second time


class Leaf(NamedTuple):
    """A value, and of which kind it is."""

    kind: str
    value: Any


def leaf(kind: str) -> st.SearchStrategy:
    return GOOD[kind].map(lambda value: Leaf(kind, value))


def real(low: float, high: float) -> st.SearchStrategy:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


SHARE_OF_RUN = st.builds("{}%".format, st.one_of(st.integers(1, 100), st.sampled_from([0.5, 12.5, 99.9])))
NOT_A_NUMBER = ["many", None, {}, {"x": 1}]

GOOD: dict[str, st.SearchStrategy] = {
    "count": st.integers(1, 10**9),
    "members": st.integers(1, 2**16),
    "natural": st.integers(0, 10**9),
    "size": st.one_of(st.none(), st.integers(1, 10**9)),
    "threads": st.one_of(st.none(), st.integers(1, 1024)),
    "positive": real(1e-300, 1e300),
    "noise": real(0, 1e300),
    "share": real(0, 0.999999),
    "pair": st.lists(real(0, 0.999999), min_size=2, max_size=2),
    "number": real(0, 1e300),
    "sweep": st.lists(real(0, 1e6), min_size=1, max_size=3),
    "decay": real(0, 0.999999),
    "span": st.one_of(st.integers(0, 10**9), SHARE_OF_RUN),
    "times": st.one_of(
        st.integers(1, 10**9),
        SHARE_OF_RUN,
        st.lists(st.one_of(st.integers(1, 10**9), SHARE_OF_RUN), min_size=1, max_size=3),
    ),
    "length": st.one_of(st.integers(1, 10**9), SHARE_OF_RUN),
    "flag": st.booleans(),
    "text": st.text(max_size=8),
    "text or none": st.one_of(st.none(), st.text(max_size=8)),
    "label": st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,11}\Z"),
    "when": st.sampled_from(["after", "before"]),
    "move": st.sampled_from(["flip_and_shift", "jitter"]),
    "policy": st.lists(st.sampled_from(["color", "translation", "cutout"]), max_size=3),
    "flag or none": st.sampled_from([None, True, False]),
    "of": st.sampled_from(["logit", "probability"]),
    "reading": st.sampled_from(["elementwise", "proof", "scalar"]),
    "layers": st.sampled_from([3, 4]),
    "classes": st.lists(st.integers(2, 10**6), max_size=3),
    "precision": st.sampled_from(["float32", "float64", "bfloat16"]),
}
BAD: dict[str, list[Any]] = {
    "count": [0, -3, 1.5, [1], *NOT_A_NUMBER],
    "members": [0, -3, 1.5, 2**16 + 1, 10**9, [1], *NOT_A_NUMBER],
    "natural": [-1, 1.5, [1], *NOT_A_NUMBER],
    "size": [0, -3, 1.5, "many", {"x": 1}, [1]],
    "threads": [0, -3, 1.5, 1025, "many", {"x": 1}, [1]],
    "positive": [0, -1.0, math.nan, math.inf, [1.0], *NOT_A_NUMBER],
    "noise": [-1e-9, math.nan, math.inf, [1.0], *NOT_A_NUMBER],
    "share": [-0.1, 1.0, math.nan, [0.5], *NOT_A_NUMBER],
    "pair": [[], [0.1], [0.1, 0.2, 0.3], 0.5, "both", None, {"x": 1}],
    "number": [-1e-9, math.nan, math.inf, [], [-1.0], ["x"], [0.1, None], [math.nan], *NOT_A_NUMBER],
    "sweep": [[], [0.1, -1], [[0.1]], *NOT_A_NUMBER],
    "decay": [-0.1, 1.0, 1.1, math.nan, [0.5, 1.5], *NOT_A_NUMBER],
    "span": [-1, 1.5, "half", "5", "%", "-5%", "101%", "nan%", [1], None, {}, {"x": 1}],
    "times": [
        -1,
        0,
        "0%",
        1.5,
        "half",
        "5",
        "%",
        "-5%",
        "101%",
        "nan%",
        [],
        [-1],
        [None],
        None,
        {},
        {"x": 1},
    ],
    "length": [-1, 0, "0%", 1.5, "half", "5", "%", "-5%", "101%", "nan%", [1], None, {}, {"x": 1}],
    "flag": ["perhaps", 2, None, {}, [True]],
    "text": [3, None, {}, ["x"]],
    "text or none": [3, {}, ["x"]],
    "label": ["two words", "a/b", "", "..", "-x", 3, None, {}],
    "when": ["now", "", 3, None, {}],
    "move": ["shift", "", 3, None, {}],
    "policy": ["color", ["colour"], [1], None, {}],
    "flag or none": ["perhaps", 2, {}, [True]],
    "of": ["logits", "", 3, None, {}],
    "reading": ["proofs", "", 3, None, {}],
    "layers": [2, 5, 3.5, "many", None, {}],
    "classes": [[1], [3, 0], [2.5], ["x"], 3, "many", None, {}],
    "precision": ["float16", "single", 32, None, {}],
    "name": ["no such name", 3, None, [], {"x": 1}],
}


def part(name: str, required: dict | None = None, **optional: Any) -> st.SearchStrategy:
    """`{name: NAME, ...}`, each optional key there or not."""
    fixed = {"name": st.just(Leaf("name", name)), **(required or {})}
    return st.fixed_dictionaries(fixed, optional=dict(optional))


def schedules(number: st.SearchStrategy) -> st.SearchStrategy:
    def one(schedule: str, required: dict, **optional: Any) -> st.SearchStrategy:
        return st.fixed_dictionaries(
            {"schedule": st.just(Leaf("name", schedule)), **required}, optional=optional
        )

    line = {"start": number, "stop": number}
    ends = {"over": leaf("length"), "begin": leaf("span")}
    plain = st.one_of(
        one("constant", {"value": number}), one("linear", line, **ends), one("cosine", line, **ends)
    )
    return st.one_of(plain, one("warmup", {"value": st.one_of(number, plain), "over": leaf("length")}))


def plain_number(low: float, high: float) -> st.SearchStrategy:
    """A number inside a schedule, where neither sweeps nor further schedules may stand."""
    return real(low, high).map(lambda value: Leaf("end", value))


BAD["end"] = ["many", None, math.nan, math.inf, [0.1]]

NUMBER = st.one_of(leaf("number"), leaf("sweep"), schedules(plain_number(0, 1e6)))
DECAY = st.one_of(leaf("decay"), schedules(plain_number(0, 0.999999)))
POINTS = {"scale": leaf("positive"), "seed": leaf("natural")}
FLIP = {"flip": leaf("flag")}
ROOT = {"root": leaf("text or none")}

DATA = st.one_of(
    part("ring8", **POINTS, size=leaf("size"), std=leaf("positive")),
    part("grid25", **POINTS, size=leaf("count"), std=leaf("positive")),
    part("gaussian", **POINTS, size=leaf("count")),
    part("swissroll", **POINTS, size=leaf("size"), noise=leaf("noise")),
    part("digits"),
    part("fashion_mnist", **ROOT, **FLIP),
    part("cifar10", **ROOT, **FLIP),
    part("images", {"path": leaf("text")}, size=leaf("size"), **FLIP),
)
NETWORKS = st.one_of(
    part("mlp", latent=leaf("count"), width=leaf("count"), depth=leaf("count")),
    part("dcgan", latent=leaf("count"), width=leaf("count"), batch_norm=leaf("flag")),
    *[
        part(name, latent=leaf("count"), width=leaf("count"))
        for name in ("far_resnet", "far_resnet_deep", "gn_cnn", "gn_resnet", "biggan32")
    ],
    part("mlp_dcgan", width=leaf("count"), hidden=leaf("count"), depth=leaf("count")),
    part("far_conventional", latent=leaf("count"), width=leaf("count")),
    part("r3gan", width=leaf("count"), depth=leaf("count"), group=leaf("count")),
    part("numerics_dcgan", layers=leaf("layers"), batch_norm=leaf("flag"), constant_filters=leaf("flag")),
    part("numerics_conv", layers=leaf("layers"), hidden=leaf("count")),
    part("numerics_resnet", latent=leaf("count"), width=leaf("count")),
)
WEIGHT = {"weight": NUMBER, "interval": leaf("count")}
PENALTY = st.one_of(
    *[part(name, **WEIGHT, of=leaf("of")) for name in ("r1", "r2", "zero_centered")],
    *[part(name, **WEIGHT) for name in ("one_centered", "one_sided")],
)
NORMALIZATION = st.one_of(
    part("none"),
    part("spectral_normalized"),
    part("gradient_normalized", eps=leaf("noise")),
    part("penalty_gradient_normalized", eps=leaf("noise"), reading=leaf("reading")),
)
CONSISTENCY = st.one_of(
    part("cr", weight=NUMBER, move=leaf("move")),
    part("bcr", weight=NUMBER, weight_fake=NUMBER, move=leaf("move")),
    part("zcr", weight=NUMBER, weight_G=NUMBER, sigma=leaf("positive")),
)
AUGMENTATION = st.one_of(
    part("none"),
    part("diffaugment", policy=leaf("policy")),
    part("ada", target=leaf("share"), over=leaf("positive")),
)
LR = {"lr": NUMBER}
OPTIMIZER = st.one_of(
    part("sgd", LR, momentum=leaf("share")),
    part("rmsprop", LR, alpha=leaf("share"), eps=leaf("positive")),
    part("tf_rmsprop", LR, decay=leaf("share"), eps=leaf("positive")),
    part("adam", LR, betas=leaf("pair"), eps=leaf("positive")),
)
LOSS = st.one_of(part("hinge"), part("non_saturating"), part("least_squares", scale=leaf("positive")))


INFOGAN = part("infogan", loss=LOSS, categorical=leaf("classes"), continuous=leaf("natural"), weight=NUMBER)


def group(**optional: Any) -> st.SearchStrategy:
    return st.fixed_dictionaries({}, optional=optional)


VALID = st.fixed_dictionaries(
    {
        "data": DATA,
        "networks": NETWORKS,
        "optimizer": st.one_of(OPTIMIZER, st.fixed_dictionaries({"G": OPTIMIZER, "D": OPTIMIZER})),
        "steps": leaf("count"),
    },
    optional={
        "name": leaf("label"),
        "game": st.one_of(part("gan", loss=LOSS, conditional=leaf("flag")), INFOGAN),
        "critic": group(
            penalties=st.lists(PENALTY, max_size=2),
            normalization=NORMALIZATION,
            consistency=st.lists(CONSISTENCY, max_size=2),
            clip=st.fixed_dictionaries({"bound": leaf("positive")}, optional={"when": leaf("when")}),
            piecewise_linear=leaf("flag or none"),
        ),
        "augment": AUGMENTATION,
        "noise": group(instance=NUMBER, D=leaf("noise"), G=leaf("noise")),
        "fake_as_real": group(count=NUMBER, pool=leaf("count"), weight=NUMBER),
        "dynamics": st.one_of(part("simultaneous"), part("alternating", n_critic=leaf("count"))),
        "ema": group(decay=DECAY, start=leaf("span")),
        "batch": leaf("count"),
        "seed": leaf("natural"),
        "seeds": leaf("members"),
        "compile": group(when=leaf("flag"), passes=leaf("flag")),
        "precision": leaf("precision"),
        "channels_last": leaf("flag"),
        "device": leaf("text"),
        "threads": leaf("threads"),
        "gpu": group(tf32=leaf("flag"), autotune=leaf("flag"), graphs=leaf("flag")),
        "every": group(log=leaf("length"), score=leaf("times"), checkpoint=leaf("length")),
        "keep": group(last=leaf("count"), best=leaf("text or none")),
        "stop": st.fixed_dictionaries(
            {"log": leaf("text"), "below": real(-1e6, 1e6).map(lambda value: Leaf("end", value))},
            optional={"after": leaf("span")},
        ),
    },
)

REQUIRED = {"data", "networks", "optimizer", "steps", "lr", "path", "start", "stop", "value", "over", "below"}
OPTIONAL = """name game critic fake_as_real dynamics ema batch seed seeds compile precision channels_last device
threads every keep penalties count pool decay log score checkpoint last best loss scale size std noise flip root
latent width depth batch_norm weight of n_critic momentum alpha eps betas schedule begin G D
normalization clip piecewise_linear interval reading bound when consistency move weight_fake weight_G sigma augment
policy after target over instance D G
layers hidden constant_filters conditional categorical continuous gpu tf32 autotune graphs passes"""
KEYS = REQUIRED | set(re.findall(r"\w+", OPTIONAL))


def plain(tree: Any) -> Any:
    """The tree without the kinds."""
    if isinstance(tree, Leaf):
        return tree.value
    if isinstance(tree, dict):
        return {key: plain(below) for key, below in tree.items()}
    return [plain(below) for below in tree] if isinstance(tree, list) else tree


def walk(tree: Any, path: tuple = ()) -> list[tuple[tuple, Any]]:
    """Every node of the tree and where it is, the root first."""
    nodes = [(path, tree)]
    for key, below in (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        nodes += walk(below, (*path, key))
    return nodes


def at(tree: Any, path: tuple) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def dotted(path: tuple) -> str:
    return ".".join(map(str, path))


def refusal(raw: Any) -> str:
    """The sentence with which `raw` is refused, held to what every such sentence must be."""
    with pytest.raises(UsageError) as caught:
        config.parse(raw)
    sentence = str(caught.value)
    assert_sentence(sentence)
    return sentence


def assert_sentence(sentence: str) -> None:
    assert sentence.splitlines() == [sentence]
    jargon = "pydantic|[Vv]alidation error|Traceback|Input should|(String|Tuple|List|Set) should|tagged-union|https?:"
    assert not re.search(jargon, sentence), sentence


def names(sentence: str, path: str) -> bool:
    """Whether the sentence names exactly this key, not one that merely begins or ends alike."""
    return bool(re.search(rf"(?<![\w.]){re.escape(path)}(?![\w.]|\.\w)", sentence))


# ------------------------------------------------------------------------------------------- round trip


def contained(written: Any, resolved: Any) -> bool:
    """Whether all that was written stands in the resolved tree; defaults may stand beside it."""
    if isinstance(written, dict):
        return isinstance(resolved, dict) and all(
            key in resolved and contained(part, resolved[key]) for key, part in written.items()
        )
    if isinstance(written, list):
        return len(written) == len(resolved) and all(map(contained, written, resolved))
    return written == resolved


@given(VALID)
@settings(max_examples=50)
def test_a_valid_configuration_survives_yaml_and_loses_nothing(tree):
    """A key that is read and then ignored, or a number that YAML rounds, would show."""
    raw = plain(tree)
    parsed = config.parse(raw)
    text = config.dump(parsed)
    resolved = yaml.safe_load(text)
    assert config.parse(resolved) == parsed
    assert config.dump(config.parse(resolved)) == text
    assert contained(raw, resolved)


def test_a_bare_name_is_the_part_with_its_defaults():
    bare = {
        "data": "ring8",
        "networks": "mlp",
        "optimizer": {"name": "sgd", "lr": 1},
        "steps": 1,
        "game": "gan",
    }
    full = {**bare, **{key: {"name": bare[key]} for key in ("data", "networks", "game")}}
    assert config.parse(bare) == config.parse(full)
    assert config.parse({**bare, "critic": {"penalties": ["r1"]}}) == config.parse(
        {**bare, "critic": {"penalties": [{"name": "r1", "weight": 10, "of": "logit", "interval": 1}]}}
    )


def test_a_clip_may_be_given_as_its_bound():
    bare = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 1}, "steps": 1}
    short, long = ({**bare, "critic": {"clip": clip}} for clip in (0.01, {"bound": 0.01, "when": "after"}))
    assert config.parse(short) == config.parse(long)
    for wrong in (0, -1.0, True, "many", [0.1]):
        assert "critic.clip" in refusal({**bare, "critic": {"clip": wrong}})


def test_the_defaults_are_those_of_the_design():
    made = config.parse(
        {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 1}, "steps": 1}
    )
    assert (made.batch, made.seed, made.seeds, made.compile.when, made.precision) == (
        64,
        0,
        1,
        "auto",
        "float32",
    )
    assert (made.game.name, made.game.loss.name, made.dynamics.name) == (
        "gan",
        "non_saturating",
        "alternating",
    )
    assert (made.fake_as_real.count, made.critic.penalties, made.ema) == (0, (), None)


def test_a_configuration_cannot_be_changed_by_accident():
    made = config.parse(
        {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 1}, "steps": 1}
    )
    with pytest.raises(ValueError, match="frozen"):
        made.steps = 2


# -------------------------------------------------------------------------------------------- refusals


def misspell(draw: Any, word: str) -> str:
    """`word` after one slip of the finger."""
    place = draw(st.integers(0, len(word) - 1))
    slip = draw(st.sampled_from(["drop", "double", "stray", "swap"]))
    if slip == "swap" and place + 1 < len(word):
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if slip == "drop" and len(word) > 2:
        return word[:place] + word[place + 1 :]
    return word[:place] + (word[place] if slip == "double" else "q") + word[place:]


def distance(a: str, b: str) -> int:
    """Levenshtein's, a swap of neighbours counted as one."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def assert_hint(sentence: str, typed: str, meant: str) -> None:
    """The sentence suggests what was meant, or something as near to what was typed."""
    suggested = re.search(r"did you mean '(.+?)'", sentence)
    if suggested:
        assert distance(typed, suggested[1]) <= distance(typed, meant), sentence
    else:
        assert re.search(rf"known are .*\b{re.escape(meant)}\b", sentence), sentence


@given(VALID, st.data())
@settings(max_examples=150)
def test_a_misspelt_key_is_refused_by_its_path_and_the_nearest_key_named(tree, data):
    places = [
        (path, key)
        for path, node in walk(tree)
        if isinstance(node, dict)
        for key in node
        if key not in ("schedule", "G", "D") and not (key == "name" and path)
    ]
    path, key = data.draw(st.sampled_from(places))
    typo = misspell(data.draw, key)
    assume(typo not in KEYS)
    raw = plain(tree)
    spot = at(raw, path)
    spot[typo] = spot.pop(key)
    sentence = refusal(raw)
    assert names(sentence, dotted((*path, typo))), sentence
    assert_hint(sentence, typo, key)


@given(VALID, st.data())
@settings(max_examples=100)
def test_an_unknown_name_is_refused_by_its_path_and_the_nearest_name_named(tree, data):
    named = [
        (path, node.value) for path, node in walk(tree) if isinstance(node, Leaf) and node.kind == "name"
    ]
    path, name = data.draw(st.sampled_from(named))
    typo = misspell(data.draw, name)
    assume(typo not in (name, "r1", "r2", "cr", "cifar10", "cifar100"))  # which are names too
    raw = plain(tree)
    at(raw, path[:-1])[path[-1]] = typo
    sentence = refusal(raw)
    assert names(sentence, dotted(path[:-1])), sentence
    assert repr(typo) in sentence
    assert_hint(sentence, typo, name)


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("game.loss=wgan-gp", "wasserstein"),
        ("game.loss=BCE", "non_saturating"),
        ("critic.penalties=[wgan-gp]", "one_centered"),
        ("critic.normalization=SN", "spectral_normalized"),
        ("critic.normalization=pgn", "penalty_gradient_normalized"),
        ("dynamics=sga", "symplectic"),
        ("augment=DiffAug", "diffaugment"),
    ],
)
def test_a_name_of_other_programs_is_answered_with_ours(assignment, meant):
    """Letter by letter WGAN is nearer to `own` than to `wasserstein`."""
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        config.parse(config.override(find_recipe("digits-fargan")[1], [assignment]))


def registries() -> list[dict[str, Any]]:
    """Every table of parts by name."""
    tables = [
        registry.CONSISTENCY,
        registry.LOGIT_PENALTIES,
        registry.OPTIMIZERS,
        registry.NETWORKS,
        registry.DATA,
    ]
    tables += [registry.LOSSES, registry.PENALTIES, registry.NORMALIZATIONS, registry.AUGMENTATIONS]
    return [*tables, registry.DYNAMICS, registry.GAMES]


def test_the_names_of_other_programs_stand_for_parts_and_are_none_themselves():
    assert ELSEWHERE.keys() <= {name for known in registries() for name in known}
    for known in registries():  # `gan` is a game, and elsewhere a loss
        assert known.keys().isdisjoint(itertools.chain(*(ELSEWHERE.get(name, ()) for name in known)))


def test_a_folder_as_the_name_of_data_is_told_its_own_key(tmp_path, monkeypatch):
    """A folder that is not there is a misspelt name. A data set's name is one, whatever folder is there."""
    monkeypatch.chdir(tmp_path)
    for name in ("my photos", "ring8"):
        (tmp_path / name).mkdir()
    raw = find_recipe("digits-fargan")[1]
    for key in ("data", "data.name"):
        with pytest.raises(UsageError) as told:
            config.parse(config.override(raw, [f"{key}=my photos"]))
        assert "write --images 'my photos' with steadygan train, or data=images " in str(told.value)
        assert str(told.value).endswith("data.path='my photos'")
    config.parse(config.override(raw, ["data=images", "data.path=my photos"]))
    config.parse(config.override(raw, ["data=ring8", "networks=mlp"]))
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        config.parse(config.override(raw, ["data=digit"]))


@given(VALID, st.data())
@settings(max_examples=50)
def test_a_missing_key_is_named(tree, data):
    places = [
        (path, key)
        for path, node in walk(tree)
        if isinstance(node, dict)
        for key in node
        if key in REQUIRED
        and not (key == "over" and "warmup" not in plain(node).values())
        and not (key == "start" and path == ("ema",))
        and not (key == "stop" and path == ())
    ]
    path, key = data.draw(st.sampled_from(places))
    raw = plain(tree)
    del at(raw, path)[key]
    assert names(refusal(raw), dotted((*path, key)))


@given(VALID, st.data())
@settings(max_examples=200)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused_by_its_path(tree, data):
    """Every leaf of the schema, with values just outside its bounds and of every other type."""
    path, node = data.draw(st.sampled_from([(p, n) for p, n in walk(tree) if isinstance(n, Leaf)]))
    bad = data.draw(st.sampled_from(BAD[node.kind]))
    raw = plain(tree)
    at(raw, path[:-1])[path[-1]] = deepcopy(bad)
    sentence = refusal(raw)
    if node.kind == "name":
        path = path[:-1]  # a part without a known name: the part is what is wrong
    below = [f"{dotted(path)}.{index}" for index in range(len(bad))] if isinstance(bad, list | dict) else []
    below += [f"{dotted(path)}.{key}" for key in bad] if isinstance(bad, dict) else []
    below += [f"{dotted(path)}.{index}" for index in range(2)] if node.kind == "pair" else []
    assert any(names(sentence, here) for here in (dotted(path), *below)), sentence


@given(VALID, st.data())
@settings(max_examples=50)
def test_something_else_where_a_group_of_keys_belongs_is_refused_by_its_path(tree, data):
    groups = [path for path, node in walk(tree) if isinstance(node, dict | list) and path]
    path = data.draw(st.sampled_from(groups))
    raw = plain(tree)
    a_number_may_stand_here = "schedule" in at(raw, path)
    bad = data.draw(
        st.sampled_from(["no such thing"] if a_number_may_stand_here else ["no such thing", -3, [[]], [3]])
    )
    at(raw, path[:-1])[path[-1]] = bad
    sentence = refusal(raw)
    assert re.search(rf"(?<![\w.]){re.escape(dotted(path))}(?!\w)", sentence), sentence


@pytest.mark.parametrize(
    "change",
    [
        {"steps": True},
        {"seed": True},
        {"batch": True},
        {"optimizer": {"name": "sgd", "lr": True}},
        {"every": {"log": True}},
    ],
    ids=str,
)
def test_a_truth_value_is_no_number(change):
    """YAML reads `yes` and `on` as true, which Python counts as one."""
    raw = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 1}, "steps": 9, **change}
    refusal(raw)


@pytest.mark.parametrize("raw", [None, [], "ring8", 3, [("steps", 3)]], ids=str)
def test_something_that_is_no_mapping_is_refused(raw):
    assert "mapping" in refusal(raw)


def test_a_schedule_without_its_name_is_told_the_right_key():
    """Parts are told apart by `name`, schedules by `schedule`."""
    raw = {
        "data": "ring8",
        "networks": "mlp",
        "optimizer": {"name": "sgd", "lr": {"start": 1, "stop": 0}},
        "steps": 9,
    }
    assert "optimizer.lr.schedule" in refusal(raw)


def test_players_with_an_optimizer_each_are_all_named():
    one = {"name": "sgd", "lr": 0.1}
    raw = {"data": "ring8", "networks": "mlp", "optimizer": {"G": one}, "steps": 9}
    with pytest.raises(UsageError, match=r"optimizer.*\bG\b.*\bD\b"):
        build(config.parse(raw))
    assert "optimizer" in refusal({**raw, "optimizer": {"G": one, "X": one}})


# -------------------------------------------------------------------------------------- files and overrides


@given(st.binary(max_size=60))
@settings(max_examples=100)
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_bytes(content)
    try:
        raw = config.load(file)
    except UsageError as error:
        assert str(file) in str(error)
        assert_sentence(str(error))
    else:
        assert isinstance(raw, dict)


def test_a_key_that_is_no_text_is_refused():
    """YAML has an escape for half a surrogate pair, which no encoding has."""
    with pytest.raises(UsageError, match="a key is no text in UTF-8"):
        config.parse({**BASE, "\ud800": 1})


BASE = {
    "data": "ring8",
    "networks": "mlp",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "critic": {"penalties": [{"name": "r1", "weight": 1}, "r2"]},
    "steps": 9,
    "ema": None,
}

ODD_YAML = [
    "2024-13-45",
    "0b_",
    "0x_",
    "&a [*a]",
    "&a {b: *a}",
    "!!int x",
    "!!int ''",
    "!!float x",
    "!!float ''",
    "!!bool x",
    "!!timestamp x",
    "!!set [a]",
    "0x" + "f" * 4000,
    "9" * 5000,
    "1" + ":1" * 4000 + ".0",
    "1000000000000000000",
    "[" * 2000,
    "{a: b",
    "=",
    "@",
    "`",
]
"""Text at which a YAML reader fails in other ways than by a YAML error."""


@pytest.mark.parametrize("text", ODD_YAML, ids=lambda text: text[:12])
def test_yaml_that_breaks_its_reader_is_refused_like_any_other(text, tmp_path):
    with pytest.raises(UsageError) as caught:
        config.parse(config.override(BASE, [f"steps={text}"]))
    assert_sentence(str(caught.value))
    file = tmp_path / "config.yaml"
    file.write_text(f"steps: {text}")
    with pytest.raises(UsageError) as caught:
        config.parse(config.load(file), str(file))
    assert str(file) in str(caught.value)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("steps=7", "steps", 7),
        ("steps=1e3", "steps", 1000),
        ("optimizer.lr=1e-3", "optimizer.lr", 1e-3),
        ("optimizer.lr=-1E+3", "optimizer.lr", -1000.0),
        ("optimizer.lr=[1e-3, 2e-3]", "optimizer.lr", [1e-3, 2e-3]),
        ("optimizer.lr={schedule: cosine, start: 1e-3, stop: 0}", "optimizer.lr.start", 1e-3),
        ("data.scale=3", "data", {"name": "ring8", "scale": 3}),
        ("data=digits", "data", "digits"),
        ("game.loss=hinge", "game", {"loss": "hinge"}),
        ("critic.penalties.0.weight=5", "critic.penalties.0", {"name": "r1", "weight": 5}),
        ("critic.penalties.1.of=probability", "critic.penalties.1", {"name": "r2", "of": "probability"}),
        ("critic.penalties=[]", "critic.penalties", []),
        ("ema.decay=0.9", "ema", {"decay": 0.9}),
        ("ema=null", "ema", None),
        ("compile=false", "compile", False),
        ("every.log=50%", "every.log", "50%"),
        ("data.root=/a=b c", "data.root", "/a=b c"),
        ("name=hello", "name", "hello"),
        ("device=cuda:1", "device", "cuda:1"),
    ],
)
def test_an_override_sets_exactly_its_key(assignment, path, value):
    before = deepcopy(BASE)
    found = config.override(BASE, [assignment])
    assert before == BASE, "what was given is left alone"
    keys = [int(key) if key.isdigit() else key for key in path.split(".")]
    assert at(found, tuple(keys)) == value
    assert type(at(found, tuple(keys))) is type(value) or assignment == "steps=1e3"
    others = {key for key in before if key != keys[0]}
    assert {key: found[key] for key in others} == {key: before[key] for key in others}


@pytest.mark.parametrize(
    ("assignment", "full"),
    [
        ("game.loss=hinge", {"game": {"name": "gan", "loss": "hinge"}}),
        ("dynamics.n_critic=5", {"dynamics": {"name": "alternating", "n_critic": 5}}),
        ("game.loss.scale=2", None),
        ("ema.decay=0.5", {"ema": {"decay": 0.5}}),
        ("every.log=3", {"every": {"log": 3}}),
        ("fake_as_real.count=3", {"fake_as_real": {"count": 3}}),
    ],
)
def test_an_override_of_a_part_that_a_recipe_leaves_out_changes_the_default(assignment, full):
    """No packaged recipe names the game or the dynamics, and every one of their keys can be overridden."""
    if full is None:
        with pytest.raises(UsageError, match=r"game\.loss\.scale"):  # of non_saturating, which has none
            config.parse(config.override(BASE, [assignment]))
    else:
        assert config.parse(config.override(BASE, [assignment])) == config.parse({**BASE, **full})


NESTED = "\n".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]" for i in range(9))
MERGED = "\n".join(
    f"k{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" if i else "k0: &m0 {x: 1}" for i in range(9)
)


@pytest.mark.parametrize("text", [NESTED, MERGED], ids=["lists", "merge keys"])
def test_nested_anchors_are_refused_before_they_unfold(text):
    """Nine levels of nine aliases are 9^9 values, from a few hundred bytes."""
    assert len(text) < 600
    with pytest.raises(UsageError, match="unfolds to more than 100,000 values"):
        read_yaml(text, "bomb.yaml")


def test_anchors_that_are_used_a_few_times_are_read():
    assert read_yaml("a: &x {lr: 1e-3}\nb: *x\nc: {<<: *x, beta: 2}\n", "the text") == {
        "a": {"lr": 1e-3},
        "b": {"lr": 1e-3},
        "c": {"lr": 1e-3, "beta": 2},
    }


def test_later_overrides_see_earlier_ones():
    found = config.override(BASE, ["data=grid25", "data.scale=3", "steps=1", "steps=2"])
    assert (found["data"], found["steps"]) == ({"name": "grid25", "scale": 3}, 2)


def test_numbers_mean_the_same_in_a_file_and_on_the_command_line(tmp_path):
    """YAML 1.1 reads 1e3 as text; a recipe may not refuse what an override takes."""
    file = tmp_path / "recipe.yaml"
    file.write_text(
        yaml.safe_dump(BASE) + "batch: 1e2\n" + "every: {log: 1e1}\n" + "fake_as_real: {count: [1e0, 2e0]}\n"
    )
    written = config.parse(config.load(file))
    typed = config.parse(
        config.override(BASE, ["batch=1e2", "every.log=1e1", "fake_as_real.count=[1e0, 2e0]"])
    )
    assert written == typed
    assert (written.batch, written.every.log) == (100, 10)


@pytest.mark.parametrize(
    ("assignment", "names_key"),
    [
        ("steps", "steps"),
        ("=3", "=3"),
        ("", "override"),
        ("steps.more=3", "steps"),
        ("critic.penalties.2.weight=5", "critic.penalties.2.weight"),
        ("critic.penalties.-1.weight=5", "critic.penalties.-1.weight"),
        ("critic.penalties.first.weight=5", "critic.penalties.first.weight"),
        ("steps=[", "steps=["),
        ("steps=", "steps"),
        ("steps=abc", "steps"),
        ("stesp=3", "did you mean 'steps'"),
        ("optimizer.rate=3", "optimizer.rate"),
        ("optimizer.=3", "optimizer."),
        (".=3", "."),
    ],
)
def test_an_override_that_cannot_be_is_refused(assignment, names_key):
    with pytest.raises(UsageError) as caught:
        config.parse(config.override(BASE, [assignment]))
    assert_sentence(str(caught.value))
    assert names_key in str(caught.value)


@given(
    st.lists(st.text(alphabet="abcdeino.=0123456789-+%[]{}:,'\"&*!|>#~_ \t\nlrstp", max_size=14), max_size=2)
)
@settings(max_examples=200)
def test_any_override_is_applied_or_refused(assignments):
    try:
        config.parse(config.override(BASE, assignments))
    except UsageError as error:
        assert_sentence(str(error))


# ------------------------------------------------------------------------------------------- what is built

TINY = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 4, "depth": 1},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "steps": 20,
    "batch": 8,
}


def made(**changes: Any):
    return build(config.parse({**TINY, **changes}))


def test_lists_of_numbers_become_every_combination_with_every_seed():
    run = made(
        optimizer={"G": {"name": "sgd", "lr": [0.1, 0.2]}, "D": {"name": "adam", "lr": 0.3}},
        critic={"penalties": ["r1", {"name": "r2", "weight": [1, 2, 3]}]},
        ema={"decay": [0.5]},
        seed=5,
        seeds=2,
    )
    swept = ("optimizer.G.lr", "critic.penalties.1.weight", "ema.decay", "seed")
    wanted = set(itertools.product((0.1, 0.2), (1, 2, 3), (0.5,), (5, 6)))
    found = [tuple(member[path] for path in swept) for member in run.members]
    assert run.ensemble
    assert len(found) == len(wanted) == 12
    assert set(found) == wanted
    assert all(set(member) == set(swept) for member in run.members)
    for path in swept[:3]:
        torch.testing.assert_close(run.state.scalars[path], torch.tensor([m[path] for m in run.members]))
    assert len(run.state.params["G"]) == 12
    first = {m["seed"]: run.state.params["G"][i] for i, m in reversed(list(enumerate(run.members)))}
    for index, member in enumerate(run.members):
        assert torch.equal(run.state.params["G"][index], first[member["seed"]]), "a seed is an initialisation"
    assert not torch.equal(first[5], first[6])


def test_paired_lists_become_a_member_for_each_place():
    run = made(
        optimizer={"G": {"name": "sgd", "lr": [0.1, 0.2, 0.4]}, "D": {"name": "adam", "lr": 0.3}},
        critic={"penalties": ["r1", {"name": "r2", "weight": [1, 2, 3]}]},
        seeds=2,
        sweep="paired",
    )
    found = [(m["optimizer.G.lr"], m["critic.penalties.1.weight"], m["seed"]) for m in run.members]
    assert found == [(0.1, 1, 0), (0.1, 1, 1), (0.2, 2, 0), (0.2, 2, 1), (0.4, 3, 0), (0.4, 3, 1)]


def test_paired_lists_have_one_length():
    with pytest.raises(UsageError, match=r"optimizer.lr has 2, ema.decay has 1: give each as many values"):
        made(optimizer={"name": "sgd", "lr": [0.1, 0.2]}, ema={"decay": [0.5]}, sweep="paired")


def test_paired_without_lists_is_a_single_run():
    assert made(seed=3, sweep="paired").members == [{"seed": 3}]


def test_a_single_run_is_no_ensemble():
    run = made(seed=3)
    assert not run.ensemble
    assert run.members == [{"seed": 3}]
    assert run.state.params["G"].ndim == 1


def test_a_swept_rate_moves_each_member_at_its_own():
    """Plain gradient descent: a step is its rate times a gradient that does not depend on the rate."""
    run = made(optimizer={"name": "sgd", "lr": [0.0, 0.1, 0.3]}, dynamics="simultaneous")
    after, _ = torch.vmap(run.step)(run.state, run.draws(0))
    step = after.params["G"] - run.state.params["G"]
    assert not step[0].any()
    torch.testing.assert_close(step[2], 3 * step[1], rtol=1e-3, atol=1e-7)


@given(st.one_of(st.integers(0, 100), real(0, 100)), st.integers(1, 10**9))
def test_a_share_of_the_run_is_that_share_of_its_steps(percent, steps):
    found = steps_of(f"{percent}%", steps)
    assert isinstance(found, int)
    assert abs(found - steps * percent / 100) <= 0.5 + 1e-6 * steps
    assert steps_of(percent if isinstance(percent, int) else 7, steps) in (percent, 7)


def test_intervals_are_spans_of_the_run_and_never_nothing():
    run = made(steps=2000, every={"log": "0.5%", "score": 30, "checkpoint": "10%", "diagnostics": "2%"})
    assert tuple(run.every) == (10, 30, 200, 40)
    assert tuple(made(steps=5).every) == (1, 1, 1, 1)
    for kind in ("log", "score", "checkpoint", "diagnostics"):
        for nothing in (0, "0%"):
            with pytest.raises(UsageError, match=f"every.{kind} takes a number of steps \\(1 or more\\)"):
                made(every={kind: nothing})
    assert made(every={"score": [0, 3]}).every.score == (0, 3)  # the step 0, and no interval


def test_shares_of_the_run_become_steps_and_other_texts_with_a_percent_sign_stay(tmp_path):
    fades = {"schedule": "linear", "start": 0.1, "stop": 0, "over": "5e1%", "begin": " 25%"}
    data = {"name": "images", "path": "50%"}
    raw = {
        **BASE,
        "steps": 200,
        "data": data,
        "optimizer": {"name": "sgd", "lr": fades},
        "keep": {"best": "50%"},
    }
    written = config.in_steps(config.parse(raw))
    assert (written.optimizer.lr.over, written.optimizer.lr.begin) == (100, 50)
    assert (written.data.path, written.keep.best) == ("50%", "50%")


def test_evaluations_may_be_at_chosen_steps():
    """The step 0 is among them where it is listed. Shares are turned into steps once, as everywhere."""
    raw = {**BASE, "steps": 500, "every": {"score": [0, "20%", 335.0, "100%"]}}
    assert made(**raw).every.score == (0, 100, 335, 500)
    written = config.in_steps(config.parse(raw))
    assert yaml.safe_load(config.dump(written))["every"]["score"] == [0, 100, 335, 500]
    assert config.parse(yaml.safe_load(config.dump(written))) == written


@pytest.mark.parametrize(
    ("score", "words"),
    [([], "not an empty list"), ([0, "half"], "not 'half'"), ([[3]], r"not \[3\]"), ([-1], "not -1")],
    ids=str,
)
def test_what_is_no_list_of_steps_is_refused(score, words):
    sentence = refusal({**BASE, "every": {"score": score}})
    assert names(sentence, "every.score")
    assert re.search(words, sentence)


def at_step(run: Any, step: int) -> Any:
    """The run's first state, with the clock set."""
    return run.state._replace(scalars={**run.state.scalars, "step": torch.tensor(step)})


LINE = {"schedule": "linear", "start": 0.4, "stop": 0.0, "over": "50%"}


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (LINE, lambda t: 0.4 * max(0.0, 1 - t / 10)),
        ({**LINE, "begin": 4}, lambda t: 0.4 * min(1.0, max(0.0, 1 - (t - 4) / 10))),
        ({**LINE, "schedule": "cosine"}, lambda t: 0.2 * (1 + math.cos(math.pi * min(1, t / 10)))),
        ({"schedule": "warmup", "value": 0.3, "over": 5}, lambda t: 0.3 * min(1, (t + 1) / 5)),
        (
            {"schedule": "warmup", "value": LINE, "over": 5},
            lambda t: 0.4 * max(0.0, 1 - t / 10) * min(1, (t + 1) / 5),
        ),
        ({"schedule": "constant", "value": 0.2}, lambda t: 0.2),
    ],
    ids=["linear", "begun", "cosine", "warmup", "warmup of linear", "constant"],
)
@pytest.mark.parametrize("t", [0, 3, 5, 10, 19])
def test_a_scheduled_rate_is_the_length_of_the_step_over_the_gradient(rate, expected, t):
    run = made(optimizer={"name": "sgd", "lr": rate})
    before = at_step(run, t)
    after, logs = run.step(before, run.draws(t))
    moved = (after.params["D"] - before.params["D"]).norm()
    torch.testing.assert_close(moved, expected(t) * logs["gradient/D"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("t", [0, 5, 10, 15])
def test_a_scheduled_weight_multiplies_its_penalty(t):
    plain_run = made()
    run = made(critic={"penalties": [{"name": "r1", "weight": {**LINE, "start": 8}}]})
    _, logs = run.step(at_step(run, t), run.draws(t))
    _, without = plain_run.step(at_step(plain_run, t), plain_run.draws(t))
    weight = 8 * max(0, 1 - t / 10)
    penalty = logs["penalty/r1"]
    assert penalty > 1e-4
    torch.testing.assert_close(logs["loss/D"] - without["loss/D"], weight * penalty, rtol=1e-4, atol=1e-6)


def test_a_scheduled_count_of_fakes_as_real_ends_at_none():
    run = made(fake_as_real={"count": {**LINE, "start": 6}, "pool": 3})
    constant = made(fake_as_real={"count": 6, "pool": 3})
    without = made()
    losses = {t: run.step(at_step(run, t), run.draws(t))[1]["loss/D"] for t in (0, 5, 10)}
    torch.testing.assert_close(losses[0], constant.step(at_step(constant, 0), constant.draws(0))[1]["loss/D"])
    torch.testing.assert_close(losses[10], without.step(at_step(without, 10), without.draws(10))[1]["loss/D"])
    middle = [r.step(at_step(r, 5), r.draws(5))[1]["loss/D"] for r in (constant, without)]
    assert all(not torch.isclose(losses[5], end) for end in middle), "half way there are three of them"


def test_fakes_that_fill_the_real_batch_keep_some_weight():
    """With eight of eight rows at weight 0 the real part of the loss is a mean of nothing."""
    falls = {"schedule": "linear", "start": 1, "stop": 0}
    with pytest.raises(UsageError, match="weight falls to 0 while all 8 rows"):
        made(fake_as_real={"count": 8, "pool": 2, "weight": falls})
    made(fake_as_real={"count": 7, "pool": 2, "weight": falls})
    made(fake_as_real={"count": 8, "pool": 2, "weight": {**falls, "stop": 0.1}})


def test_a_decay_of_1_is_refused_but_as_the_end_of_a_schedule():
    """As a constant the average would stay at the first weights."""
    ramp = {"schedule": "linear", "start": 0.9, "stop": 1, "over": 8}
    assert config.parse({**TINY, "ema": {"decay": ramp}}).ema.decay.stop == 1
    for decay in (1, [0.9, 1]):
        with pytest.raises(UsageError, match="must be less than 1, not 1"):
            config.parse({**TINY, "ema": {"decay": decay}})


def test_a_scheduled_decay_moves_the_average():
    run = made(ema={"decay": {"schedule": "linear", "start": 0.9, "stop": 0.1, "over": 8}})
    state = at_step(run, 4)
    # half way the decay is 0.5: the average comes to lie in the middle between itself and the new parameters
    after, _ = run.step(state, run.draws(4))
    middle = (state.average["G"]["params"] + after.params["G"]) / 2
    torch.testing.assert_close(after.average["G"]["params"], middle)


@pytest.mark.parametrize("start", [4, "20%"])
def test_until_its_start_the_average_is_the_network_itself(start):
    run = made(ema={"decay": 0.75, "start": start})
    for done, share in (
        (2, 0.0),
        (3, 0.0),
        (4, 0.75),
        (9, 0.75),
    ):  # the step that ends with the fifth is averaged
        state = at_step(run, done)
        after, _ = run.step(state, run.draws(done))
        wanted = share * state.average["G"]["params"] + (1 - share) * after.params["G"]
        torch.testing.assert_close(after.average["G"]["params"], wanted)
        assert not torch.equal(after.params["G"], state.params["G"])


@pytest.mark.parametrize(
    "rate",
    [
        {"schedule": "linear", "start": 0.1, "stop": -0.5},
        {"schedule": "cosine", "start": -0.5, "stop": 0.1},
        {"schedule": "constant", "value": -0.5},
        {"schedule": "warmup", "value": -0.5, "over": 3},
        {"schedule": "warmup", "value": {"schedule": "linear", "start": 0.1, "stop": -0.5}, "over": 3},
    ],
    ids=["stop", "start", "value", "warmup", "warmup of linear"],
)
def test_a_schedule_keeps_the_bounds_of_its_number_at_each_of_its_ends(rate):
    """A rate that ends below 0 climbs the loss."""
    sentence = refusal({**BASE, "optimizer": {"name": "sgd", "lr": rate}})
    assert "must be at least 0, not -0.5" in sentence


def test_a_schedule_over_no_step_is_refused_by_its_path():
    with pytest.raises(UsageError, match=r"optimizer\.lr"):
        made(optimizer={"name": "sgd", "lr": {**LINE, "over": 0}})


def test_the_shortest_run_of_a_recipe_with_shares_is_possible():
    """`steps=1` is how people try whether a recipe starts at all; half of one step may not be an error."""
    run = made(steps=1, optimizer={"name": "sgd", "lr": {**LINE, "over": "40%"}})
    even = made(steps=1, optimizer={"name": "sgd", "lr": LINE["start"]})
    after, wanted = (each.step(each.state, each.draws(0))[0] for each in (run, even))
    for name, start in run.state.params.items():
        assert not torch.equal(after.params[name], start)
        torch.testing.assert_close(after.params[name], wanted.params[name])


# ---------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_packaged_recipe_parses_and_says_what_it_is(file):
    raw = config.load(file)
    made = config.parse({"name": file.stem, **raw}, file.stem)
    assert config.parse(yaml.safe_load(config.dump(made))) == made
    header = list(itertools.takewhile(lambda line: line.startswith("#"), file.read_text().splitlines()))
    assert len(header[0].lstrip("# ")) > 20, "the first line says what it is: `steadygan list` prints it"
    for word in ("Command:", "Source:", "Expected:"):
        assert sum(line.startswith(f"# {word}") for line in header) == 1, f"the header says {word} once"
    assert any(line.split()[1:5] == ["Command:", "steadygan", "train", file.stem] for line in header), (
        "the command names this recipe"
    )


def test_there_are_recipes():
    assert RECIPES


# ------------------------------------------------------------------------- a schedule that is only named


@pytest.mark.parametrize(
    ("override", "form"),
    [
        ("optimizer.lr=cosine", "optimizer.lr={schedule: cosine, start: 0.002, stop: 0}"),
        ("optimizer.lr=cosin", "optimizer.lr={schedule: cosine, start: 0.002, stop: 0}"),
        ("optimizer.lr=fast", "optimizer.lr={schedule: linear, start: 0.002, stop: 0}"),
        ("optimizer.lr={schedule: cosine}", "optimizer.lr={schedule: cosine, start: 0.002, stop: 0}"),
        ("optimizer.lr={start: 1}", "optimizer.lr={schedule: linear, start: 0.002, stop: 0}"),
        (
            "optimizer.lr={schedule: warmup, value: linear, over: 5}",
            "optimizer.lr.value={schedule: linear, start: 0.002, stop: 0}",
        ),
        (
            "critic.penalties.0.weight=linear",
            "critic.penalties.0.weight={schedule: linear, start: 0.002, stop: 0}",
        ),
        ("ema.decay=warmup", "ema.decay={schedule: warmup, value: 0.001, over: 5%}"),
        ("fake_as_real.count=constant", "fake_as_real.count={schedule: constant, value: 0.001}"),
    ],
)
def test_the_form_of_a_schedule_is_shown_and_is_valid(override, form):
    raw = find_recipe("digits-fargan")[1]
    with pytest.raises(UsageError) as caught:
        config.parse(config.override(raw, [override]))
    assert f"{form}" in str(caught.value)
    before = (
        override.replace("value: linear", "value: 1")
        if "value" in override
        else override.split("=")[0] + "=1"
    )
    config.parse(config.override(raw, [before, form]))


def test_a_number_without_schedules_says_so():
    with pytest.raises(UsageError, match=r"noise.D takes a number, not 'linear'$"):
        config.parse(config.override(find_recipe("digits-fargan")[1], ["noise.D=linear"]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("steps=abc", "steps takes: whole number >= 1 (as in steps=1000), not 'abc'"),
        ("steps=1.5", "steps takes: whole number >= 1 (as in steps=1000), not 1.5"),
        ("steps=", "steps takes: whole number >= 1 (as in steps=1000), not nothing"),
        ("compile=maybe", "compile.when takes: true or false, or auto"),
        ("every=5", "every is a section with keys of its own (as in every.log=100), and cannot be 5"),
        ("optimizer.lr=[]", "optimizer.lr takes: number >= 0, schedule or list"),
        ("critic.penalties={name: r1}", "(as in critic.penalties=[r1])"),
        ("name=../x", "name takes: at most 100 letters, digits, _, . and - (as in name=mine), not '../x'"),
        (
            "name=" + 101 * "n",
            "name takes: at most 100 letters, digits, _, . and - (as in name=mine), not 'nnnn",
        ),
        ("device=tpu", "choose auto, cpu, cuda, mps, xpu"),
    ],
)
def test_a_value_of_another_type_is_answered_with_the_type_and_an_example(override, words):
    raw = {"name": "x", **find_recipe("digits-fargan")[1]}
    with pytest.raises(UsageError) as caught:
        resolve(config.parse(config.override(raw, [override])))
    assert words in str(caught.value)
    assert "Python" not in str(caught.value)
    assert "None" not in str(caught.value)


def test_an_override_under_the_new_name_wins_over_a_file_with_the_old_one(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text("every: {examine: 5, log: 2}\nlooks: {images: 200}\n")
    with pytest.warns(FutureWarning) as told:
        raw = config.load(file)
    assert {str(one.message).partition(":")[0] for one in told} == {
        "the configuration key every.examine is now every.diagnostics",
        "the configuration key looks is now evaluation",
    }
    made = config.override(raw, ["every.diagnostics=7", "evaluation.images=300"])
    assert made == {"every": {"diagnostics": 7, "log": 2}, "evaluation": {"images": 300}}
    with pytest.warns(FutureWarning):
        assert config.current(config.override(raw, ["looks.images=400"]))["evaluation"] == {"images": 400}


@pytest.mark.parametrize(
    "assignment",
    [
        "steps=" + "9" * 400,
        "steps=" + "x" * 100_000,
        "steps=[" + "1, " * 5_000 + "1]",
        "evaluatio" + "x" * 3_000 + "=1",
        "data grid25.seed=1",
        "networks.gn_c" + "x" * 3_000 + "=1",
        "optimizer.lr.0." + "x" * 3_000 + "=1",
        "a.." + "x" * 3_000 + "=1",
        "x" * 10_000,
        "optimizer.lr.schedule=" + "x" * 10_000,
    ],
    ids=lambda text: text[:20],
)
def test_a_sentence_about_long_words_is_short(assignment):
    raw = {"data": "ring8", "networks": "mlp", "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 9}
    with pytest.raises(UsageError) as caught:
        config.parse(config.override(raw, [assignment]))
    assert len(str(caught.value)) <= 300


def test_the_key_tensorboard_of_older_configurations_chooses_a_tracker():
    """Every config.yaml of an older version has this key, mostly false: then there is nothing to warn of."""
    raw = {"data": "ring8", "networks": "mlp", "steps": 9}
    raw["optimizer"] = {"name": "adam", "lr": 0.1}
    with warnings.catch_warnings(action="error"):
        assert config.parse({**raw, "tensorboard": False}).trackers == ()
    with pytest.warns(FutureWarning, match=r"tensorboard=true is now trackers=\[tensorboard\]"):
        both = config.current({"tensorboard": True, "trackers": ["wandb"]})
    assert both == {"trackers": ["wandb", "tensorboard"]}
    with pytest.raises(UsageError, match="wandb"):
        config.parse({**raw, "trackers": ["wanbd"]})


def test_a_key_that_is_left_out_is_what_the_function_takes_by_default():
    """Both say what they are where nobody gives them, and nothing else ties the two."""
    compared = 0
    for part in itertools.chain.from_iterable(known.values() for known in registries()):
        taken = inspect.signature(part.make).parameters
        for key, option in part.options.items():
            if option.default is ... or key not in taken or taken[key].default is inspect.Parameter.empty:
                continue
            assert option.default == taken[key].default, (part.meaning, key)
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("text", ["1e-3", "2E5", "-1e5", ".5e2", "1.e1"])
def test_text_that_looks_like_a_number_stays_text_where_it_is_written(text):
    """A recipe may be called 1e-3.yaml, and data may lie in 2e3: the folder of the run was read as 0.001."""
    raw = {**BASE, "name": "r" + text if text[0] in "-." else text}
    raw["data"] = {"name": "images", "path": text, "size": 32}
    made = config.parse(raw)
    assert config.parse(overrides.read_yaml(config.dump(made), "a file")) == made
    assert overrides.read_yaml(f"a: {text}\nb: '{text}'", "a file") == {"a": float(text), "b": text}
    assert config.override({}, [f"path='{text}'", f"lr={text}"]) == {"path": text, "lr": float(text)}


def test_what_stands_for_a_key_of_its_own_makes_room_for_the_others():
    """`compile: false` is {when: false}, and a number alone is the bound of clip."""
    raw = {**BASE, "compile": False, "critic": {"clip": 0.01}}
    made = config.parse(config.override(raw, ["compile.passes=false", "critic.clip.when=before"]))
    assert (made.compile.when, made.compile.passes) == (False, False)
    assert (made.critic.clip.bound, made.critic.clip.when) == (0.01, "before")
    auto = config.parse(config.override({**BASE, "compile": "auto"}, ["compile.passes=false"]))
    assert (auto.compile.when, auto.compile.passes) == ("auto", False)
    assert config.override(BASE, ["compile.when=true"])["compile"] == {"when": True}


def test_a_warmup_begins_next_to_nothing():
    """Its first value is a share of the one that it reaches, which bounds of 1 and above do not allow."""
    rising = {"schedule": "warmup", "value": 1, "over": 100}
    began = {**BASE, "game": {"name": "began", "eta": rising}}
    with pytest.raises(UsageError, match=r"game\.eta must be at least 1, and a warmup begins next to 0"):
        config.parse({**began, "networks": "mlp"})
    assert config.parse({**BASE, "optimizer": {"name": "sgd", "lr": rising}})


def test_names_that_look_like_shares_stay_names():
    raw = {
        **BASE,
        "paper": {"source": "P", "row": "5%"},
        "stop": {"log": "50%", "below": 1},
        "keep": {"best": "5%"},
    }
    made = config.in_steps(config.parse({**raw, "evaluation": {"extractor": "5%"}}))
    assert (made.paper.row, made.stop.log, made.keep.best) == ("5%", "50%", "5%")
    assert made.evaluation.extractor == "5%"
