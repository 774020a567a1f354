"""BEGAN against numbers derived by hand: its losses, k, its measure; a latent that is uniform; and the stopping rule.

The comment in a test names the wrong implementation it is there to catch.
"""

import io
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

from steadygan.build import build
from steadygan.config import parse
from steadygan.dynamics import alternating, simultaneous
from steadygan.energies import balance, began_discriminator, convergence
from steadygan.errors import UsageError
from steadygan.game import Network, State, flatten
from steadygan.game.optimizers import sgd
from steadygan.game.state import complete, initial
from steadygan.game.vector_field import field
from steadygan.games import began
from steadygan.networks import Uniform
from steadygan.runs import folder as folders
from steadygan.runs import train as run
from steadygan.training import checkpoint
from steadygan.training.advance import advancing
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.early_stopping import stops
from steadygan.training.events import Every, Finished, Progress, Scored, Snapshot, Stop, Stopped
from steadygan.training.loop import train

# ----------------------------------------------------------------------------------------------- the formulas


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_k_and_the_measure_by_hand():
    """Spec F8: L(x) = 1, L(G) = .2, gamma = .5: k moves by .001 (.5 - .2) = 3e-4, and M = 1 + .3."""
    # gamma on the fakes' side, a k that falls, a measure without the modulus or without L(x)
    assert balance(number(0.25), number(1), number(0.2)).item() == pytest.approx(0.2503)
    assert convergence(number(1), number(0.2)).item() == pytest.approx(1.3)
    assert balance(number(0.25), number(0.2), number(1)).item() == pytest.approx(0.25 - 0.0009)
    assert convergence(number(0.2), number(1)).item() == pytest.approx(0.2 + 0.9)


losses = st.floats(0, 1e6)


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 10))
def test_k_stays_between_0_and_1(pairs, gamma, rate):
    # k that is not clipped, or only at one end
    k = number(0.0)
    for real, fake in pairs:
        before = k.item()
        k = balance(k, number(real), number(fake), gamma, rate)
        assert k.item() == pytest.approx(min(1.0, max(0.0, before + rate * (gamma * real - fake))))
        assert 0 <= k.item() <= 1


def test_the_critics_loss_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.0, 2.0])
    assert began_discriminator(real, fake, 0.25).item() == 1.75
    with pytest.raises(UsageError, match="one number per sample"):
        began_discriminator(real[:, None], fake, 0.25)


# -------------------------------------------------------------------------------------------- the game by hand


class Shrink(nn.Module):
    """x -> (a x, x)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a * x, x


class Stretch(nn.Module):
    """z -> t z."""

    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.tensor(2.0))

    def forward(self, z: Tensor) -> Tensor:
        return self.t * z


PLACE = {"shape": (2,), "batch": 2, "latent": 2}
X = torch.tensor([[3.0, -5.0], [0.0, 8.0]], dtype=torch.float64)
Z = torch.tensor([[1.0, 2.0], [-3.0, 0.0]], dtype=torch.float64)


def by_hand(k: float, **options):
    G, D = Stretch().double(), Shrink().double()
    game = began(Network(G), Network(D), **{**PLACE, **options})
    scalars = {"began/k": number(k), "convergence": number(0)}
    state = State({"G": flatten(G), "D": flatten(D)}, {"G": {}, "D": {}}, {}, {}, scalars)
    return game, state


@pytest.mark.parametrize("k", [0.0, 0.25, 1.0])
def test_losses_and_who_has_gradient_from_what(k):
    """L(v) = (1 - a) mean |v|: data 4/2 = 2, fakes 2 z: 3/2. L_D = 2 - 1.5 k, L_G = 1.5.

    D: dL_D/da = -4 + 3 k. G: dL_G/dt = (1 - a) mean |z| = .75, the fake being input and target; a target that is
    detached would leave -.75; and nothing of -k L(G(z)), which is D's.
    """
    game, state = by_hand(k)
    gradients, _, logs = field(game, ("D", "G"), state, {"x_real": X, "z": Z})
    assert logs["loss/D"].item() == pytest.approx(2 - 1.5 * k)
    assert logs["loss/G"].item() == pytest.approx(1.5)
    assert gradients["D"].tolist() == pytest.approx([-4 + 3 * k])
    assert gradients["G"].tolist() == pytest.approx([0.75])


def test_eta_2_is_the_mean_square():
    # (1 - a)^2 mean v^2: data (9 + 25 + 64) / 4 / 4, fakes (4 + 16 + 36) / 4 / 4
    game, state = by_hand(0.5, eta=2.0)
    _, _, logs = field(game, ("D", "G"), state, {"x_real": X, "z": Z})
    assert logs["energy/real"].item() == pytest.approx(98 / 16)
    assert logs["loss/G"].item() == pytest.approx(56 / 16)
    assert logs["loss/D"].item() == pytest.approx(98 / 16 - 0.5 * 56 / 16)


@pytest.mark.parametrize("rule", [alternating, simultaneous], ids=lambda rule: rule.__name__)
def test_a_step_by_hand(rule):
    """k = .25, rate .1, gamma .5. D: a = .5 + .1 (4 - .75) = .825 first; L(x) = 2 was before its step.

    Alternating: G's latents are its own, 2 z, and its critic is the new one: L(G) = .175 mean |2 * 2 z| = .175 * 6.
    Simultaneous: the same latents and the old critic, 1.5. k goes on by .1 (.5 L(x) - L(G)), M = 2 + |1 - L(G)|.
    """
    G, D = Stretch().double(), Shrink().double()
    game = began(Network(G), Network(D), rate=0.1, **PLACE)
    optimizers = {"G": sgd(0.1), "D": sgd(0.1)}
    made = rule(game, optimizers)
    start = {**dict(game.scalars), "began/k": 0.25}
    state = initial({"G": G, "D": D}, optimizers, scalars=start, dtype=torch.float64)
    batch = [{"x_real": X, "z": Z}, {"z": 2 * Z}][: len(made.rounds)]
    state, logs = complete(made, game)(state, batch)
    fake = 0.175 * 6 if rule is alternating else 1.5
    assert state.params["D"].tolist() == pytest.approx([0.825])
    assert logs["loss/G"].item() == pytest.approx(fake)
    assert state.scalars["began/k"].item() == pytest.approx(0.25 + 0.1 * (1 - fake))
    assert logs["began/k"] is state.scalars["began/k"]
    assert logs["convergence"].item() == pytest.approx(2 + abs(1 - fake))


def test_k_starts_at_zero():
    game, _ = by_hand(0.0)
    assert game.scalars["began/k"] == 0


# --------------------------------------------------------------------------------------------------- latents


def test_the_latents_are_uniform_on_minus_1_to_1():
    # Phi(z), which is on [0, 1]; tanh(z), which is no uniform one
    z = torch.randn(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = Uniform()(z).sort().values
    ideal = (torch.arange(20_000) + 0.5) / 10_000 - 1
    assert (u - ideal).abs().max() < 0.03  # of Kolmogorov's distance a probability of 1e-6, twice over
    exact = 2 * torch.distributions.Normal(0.0, 1.0).cdf(z) - 1
    torch.testing.assert_close(Uniform()(z), exact)


@pytest.mark.parametrize(("name", "shape"), [("mlp", (2,)), ("dcgan", (1, 8, 8))])
def test_the_generator_begins_with_them(name, shape):
    data = "ring8" if name == "mlp" else "digits"
    raw = {"game": "began", "data": data, "networks": {"name": name, "latent": 3, "width": 4}}
    made = build(parse({**raw, "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 1}))
    G = made.game.players["G"].network.module
    assert isinstance(G[0], Uniform)
    z = torch.randn(5, 3)
    assert G(z).shape == (5, *shape)
    torch.testing.assert_close(G(z), G[1](torch.erf(z / 2**0.5)))


# --------------------------------------------------------------------------------------- the whole run, refusals

RAW = {
    "game": {"name": "began", "gamma": 0.7, "rate": 0.1},
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "adam", "lr": 0.003},
    "steps": 12,
    "batch": 8,
    "precision": "float64",
    "compile": False,
    "every": {"log": 2, "score": 6, "checkpoint": 4},
}


def after(raw: dict, steps: int = 20, wrap=lambda step: step) -> State:
    made = build(parse(raw))
    step = wrap(vectorised(made.step) if made.ensemble else made.step)
    state = made.state
    for index in range(steps):
        state, _ = step(state, made.draws(index))
    return state


def same(a: State, b: State, member: int | None = None) -> None:
    for part in ("params", "scalars"):
        for name, wanted in getattr(b, part).items():
            found = getattr(a, part)[name]
            torch.testing.assert_close(found if member is None else found[member], wanted, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_compiled_is_eager():
    notes: list[str] = []
    eager = after(RAW)
    assert eager.scalars["began/k"] > 0
    same(after(RAW, wrap=lambda step: compiled(step, notes.append, "float64")), eager)
    assert notes == []


def test_a_member_of_an_ensemble_is_the_single_run():
    together = after({**RAW, "seeds": 3})
    assert len(together.scalars["began/k"].unique()) == 3
    same(together, after({**RAW, "seed": 2}), 2)


def test_images():
    raw = {**RAW, "data": "digits", "networks": {"name": "dcgan", "latent": 4, "width": 4}}
    assert after(raw, 3).params["G"].isfinite().all()


@pytest.mark.parametrize(
    "options", [{"gamma": -0.1}, {"gamma": 1.1}, {"rate": -1.0}, {"eta": 0.5}], ids=lambda o: next(iter(o))
)
def test_options_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(UsageError, match=rf"BEGAN's {name} must be"):
        by_hand(0.0, **options)
    with pytest.raises(UsageError, match=rf"game\.{name} must be at"):
        parse({**RAW, "game": {"name": "began", **options}})


# -------------------------------------------------------------------------------------------- the stopping rule


def quiet() -> Console:
    return Console(file=io.StringIO(), width=500)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def falling(values: list[float], steps: int, every: Every, stop: Stop | None) -> list[tuple[str, int]]:
    """What `train` yields of a toy whose logged M is values[step - 1]."""
    state = State({"G": torch.zeros(1)}, {}, {}, {}, {"step": torch.tensor(0)})

    def step(now: State, batch: object):
        count = now.scalars["step"] + 1
        logs = {"M": torch.tensor(values[int(count) - 1]), "finite": torch.tensor(1.0)}
        return now._replace(scalars={"step": count}), logs

    events = train(
        advancing(step, lambda n: []), state, evaluate=lambda s: None, steps=steps, every=every, stop=stop
    )
    return [(type(event).__name__, event.step) for event in events]


def test_a_rule_ends_a_run_at_the_next_line_with_all_that_a_last_step_has():
    # below at 3, which nobody looks at; below at 4, too early; again at 8
    values = [1.0, 1.0, 0.1, 0.1, 0.1, 1.0, 1.0, 0.1, 0.1, 0.1]
    end = [(kind.__name__, 8) for kind in (Progress, Scored, Snapshot, Stopped, Finished)]
    events = falling(values, 10, Every(2, 100, 100), Stop("M", 0.5, after=5))
    assert events == [(Progress.__name__, step) for step in (2, 4, 6)] + end
    whole = falling(values, 10, Every(2, 100, 100), Stop("M", 0.1))
    assert [event for event in whole if event[0] == "Stopped"] == [], "below is less than"
    assert falling(values, 8, Every(2, 100, 100), Stop("M", 0.5, after=5))[-2] == ("Snapshot", 8), (
        "a run that was to end here has not been ended"
    )


def test_every_member_must_be_below_but_those_that_are_lost():
    rule = Stop("M", 0.5)
    for values, wanted in [
        ([0.1, 0.4], True),
        ([0.1, 0.5], False),
        ([0.1, float("nan")], True),
        ([float("nan"), float("nan")], False),
    ]:
        assert stops(rule, 1, torch.tensor(values)) == wanted
        assert stops(rule, 1, [v if v == v else None for v in values]) == wanted
    assert not stops(rule, 1, None), "what this step did not log"


def test_a_stopped_run_is_whole_says_so_and_stays(tmp_path):
    folder, console = tmp_path / "run", quiet()
    raw = {**RAW, "steps": 40, "stop": {"log": "convergence", "below": 100.0, "after": 5}}
    assert run.start(parse(raw), folder, console) is None
    assert "stopped early at step 6: convergence is below 100" in said(console)
    assert lines(folder)[-1] == {"step": 6, "stopped": "convergence is below 100"}
    newest = checkpoint.checkpoints(folder / "checkpoints")[-1]
    assert newest.name == "step-00000006"
    assert (folder / "samples" / "step-00000006.png").is_file()

    before, console = (folder / "events.jsonl").read_text(), quiet()
    assert run.resume(folder, [], console) is None
    assert "stopped early at step 6 of 40, because convergence is below 100" in said(console)
    assert (folder / "events.jsonl").read_text() == before
    assert "stop=null" in said(console)


@pytest.mark.parametrize("change", ["stop=null", "stop.below=0"])
def test_a_stopped_run_goes_on_under_another_rule_as_if_it_had_had_none(tmp_path, change):
    """Resume is exact, k and all: at the end the same state as that of the run without a rule."""
    raw = {**RAW, "steps": 12}
    run.start(
        parse({**raw, "stop": {"log": "convergence", "below": 100.0, "after": 5}}), tmp_path / "a", quiet()
    )
    run.resume(tmp_path / "a", [change], quiet())
    run.start(parse(raw), tmp_path / "b", quiet())
    same(*(folders.restore(tmp_path / name, build(parse(raw)), print) for name in "ab"))
    assert lines(tmp_path / "a")[-1]["step"] == 12


def test_k_is_restored(tmp_path):
    run.start(parse({**RAW, "steps": 8}), tmp_path / "a", quiet())
    made = build(parse(RAW))
    half = folders.restore(tmp_path / "a", made, print)
    assert half.scalars["began/k"] == after(RAW, 8).scalars["began/k"] > 0
    run.resume(tmp_path / "a", ["steps=12"], quiet())
    same(folders.restore(tmp_path / "a", made, print), after(RAW, 12))


def test_an_ensemble_stops_when_all_are_below(tmp_path):
    raw = {**RAW, "seeds": 2, "steps": 30, "stop": {"log": "convergence", "below": 100.0, "after": 3}}
    run.start(parse(raw), tmp_path / "run", quiet())
    assert lines(tmp_path / "run")[-1] == {"step": 4, "stopped": "convergence is below 100"}
    run.resume(tmp_path / "run", [], console := quiet())
    assert "stopped early" in said(console)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_rule_on_what_is_not_logged_is_refused_before_anything_is_written(tmp_path, seeds):
    raw = {**RAW, "seeds": seeds, "stop": {"log": "convergance", "below": 0.1}}
    with pytest.raises(UsageError, match=r"stop\.log.*'convergance'.*did you mean 'convergence'"):
        run.start(parse(raw), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stop", "match"),
    [
        ({"log": "convergence"}, r"stop\.below is missing"),
        ({"below": 0.1}, r"stop\.log is missing"),
        ({"log": "convergence", "below": "low"}, r"stop\.below"),
        ({"log": "convergence", "below": 0.1, "after": -1}, r"stop\.after"),
        ({"log": "convergence", "under": 0.1}, r"stop\.under is not a key"),
    ],
)
def test_a_rule_that_is_none_is_refused(stop, match):
    with pytest.raises(UsageError, match=match):
        parse({**RAW, "stop": stop})
