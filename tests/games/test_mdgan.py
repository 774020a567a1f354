"""MDGAN: its four objectives by hand, who moves when and by what, its pictures, and the run as any other's.

The comment in a test names the wrong implementation it is there to catch.
"""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from steadygan.build import Run, build
from steadygan.commands import sample
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game import Game, Network, State, flatten
from steadygan.game.optimizers import sgd
from steadygan.game.state import initial, member
from steadygan.game.vector_field import field
from steadygan.games import mdgan
from steadygan.plots import axes, samples
from steadygan.runs import train
from steadygan.runs.folder import read_config, restore
from steadygan.training import checkpoint, sampling
from steadygan.training.compile.compiled_step import compiled, vectorised
from steadygan.training.online_scores import _critic_of, reference
from steadygan.training.sampling import reconstructions
from tracing import as_graph


class Scale(nn.Module):
    """x -> k x, and of a sample's two numbers the sum with `logit`."""

    def __init__(self, k: float, logit: bool = False) -> None:
        super().__init__()
        self.k, self.logit = nn.Parameter(torch.tensor([k])), logit

    def forward(self, x: Tensor) -> Tensor:
        return self.k * (x.sum(1) if self.logit else x)


# By hand. E(x) = 2 x, G(z) = 1.5 z, D1(x) = 0.5 (x_1 + x_2), D2(x) = -0.25 (x_1 + x_2).
# x = (1, 0), (0, 2): G(E(x)) = (3, 0), (0, 6); |x - G(E(x))|^2 = 4, 16 (mean 10).
# D1(x) = 0.5, 1; D1(G(E(x))) = 1.5, 3; D2(G(E(x))) = -0.75, -1.5.
# z = (0, 1), (-1, 0): G(z) = (0, 1.5), (-1.5, 0); D2(G(z)) = -0.375, 0.375.
START = {"D1": 0.5, "G": 1.5, "E": 2.0, "D2": -0.25}
DRAW = {
    "x_real": torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64),
    "z": torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64),
}


def sp(*logits: float) -> float:
    """The mean of log(1 + e^t)."""
    return sum(math.log1p(math.exp(t)) for t in logits) / len(logits)


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


L_D1 = sp(-0.5, -1.0) + sp(1.5, 3.0)
MISSED = sp(-1.5, -3.0)
L_D2 = sp(0.75, 1.5) + sp(-0.375, 0.375)
L_G = sp(0.375, -0.375)


def made(**options: Any) -> Game:
    nets = {name: Network(Scale(k, logit=name[0] == "D")) for name, k in START.items()}
    return mdgan(**nets, shape=(2,), batch=2, latent=2, **options)


def state(game: Game) -> State:
    modules = {name: player.network.module for name, player in game.players.items()}
    return initial(modules, dict.fromkeys(modules, sgd(0.1)), dtype=torch.float64)


def of_turn(game: Game, turn: int) -> tuple[dict[str, float], dict[str, float]]:
    """The losses in one turn, and the gradients."""
    now = game._replace(players={**game.players, **game.turns[turn]})
    gradients, _, logs = field(now, tuple(game.turns[turn]), state(game), DRAW)
    return {n: logs[f"loss/{n}"].item() for n in gradients}, {n: g.item() for n, g in gradients.items()}


def test_the_value_table():
    """The sign of lambda, a root or a mean over dimensions in the distance, D2 shown z, D2's two sides swapped."""
    game = made(weight_mode=0.3)
    found = [of_turn(game, turn)[0] for turn in range(4)]
    manifold = 0.3 * MISSED + 10
    wanted = [{"D1": L_D1}, {"G": manifold, "E": manifold}, {"D2": L_D2}, {"G": L_G}]
    for losses, values in zip(found, wanted, strict=True):
        assert losses == pytest.approx(values, abs=1e-12)


def test_the_weight_is_a_hundredth_by_default():
    assert of_turn(made(), 1)[0]["E"] == pytest.approx(0.01 * MISSED + 10, abs=1e-12)


def test_who_moves_and_by_how_much():
    """E moved by the diffusion, G by D1's or D2's turn, a detached reconstruction, G without E in the manifold.

    D1 = d s(x), s = 1, 2 at x and 3, 6 at G(E(x)); with G(E(x)) = g e x, the distance's derivative in ge is
    mean 2 (ge - 1) |x|^2 = 2 (2) (1 + 4) / 2 = 10, and that of -log sigmoid(ge t) with t = 0.5, 1 follows below.
    """
    game = made(weight_mode=0.3)
    gradients = [of_turn(game, turn)[1] for turn in range(4)]
    d1 = (-sigmoid(-0.5) - 2 * sigmoid(-1.0)) / 2 + (3 * sigmoid(1.5) + 6 * sigmoid(3.0)) / 2
    assert gradients[0] == pytest.approx({"D1": d1}, abs=1e-12)
    through = 10 + 0.3 * (-0.5 * sigmoid(-1.5) - sigmoid(-3.0)) / 2
    assert gradients[1] == pytest.approx({"G": 2.0 * through, "E": 1.5 * through}, abs=1e-12)
    # D2 = d s: reconstructions s = 3, 6 as real, -s sigmoid(-d s); G(z) s = 1.5, -1.5 as fake, s sigmoid(d s).
    d2 = (-3 * sigmoid(0.75) - 6 * sigmoid(1.5)) / 2 + 1.5 * (sigmoid(-0.375) - sigmoid(0.375)) / 2
    assert gradients[2] == pytest.approx({"D2": d2}, abs=1e-12)
    # -log sigmoid(g t), t = -0.25, 0.25: -t sigmoid(-g t).
    g = (0.25 * sigmoid(0.375) - 0.25 * sigmoid(-0.375)) / 2
    assert gradients[3] == pytest.approx({"G": g}, abs=1e-12)


def test_reconstructions_are_drawn_to_where_D1_says_real():
    """+ lambda log D1 minimised, the survey's sign of Reg-GAN: E would lower D1(G(E(x)))."""
    _, gradients = of_turn(made(weight_mode=1e6), 1)
    assert gradients["E"] < 0, "D1 > 0 grows with e"
    assert gradients["G"] < 0


def test_in_rules_without_turns_G_minimises_the_sum_of_its_two_losses():
    game = made(weight_mode=0.3)
    gradients, _, logs = field(game, tuple(game.players), state(game), DRAW)
    assert logs["loss/G"].item() == pytest.approx(0.3 * MISSED + 10 + L_G, abs=1e-12)
    assert logs["reconstruction"].item() == pytest.approx(10, abs=1e-12)
    parts = of_turn(game, 1)[1]["G"] + of_turn(game, 3)[1]["G"]
    assert gradients["G"].item() == pytest.approx(parts, abs=1e-12)


@pytest.mark.parametrize("weight", [-0.01, math.nan])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(UsageError, match="weight_mode must be at least 0"):
        made(weight_mode=weight)


def test_the_recipe_refuses_it_too_and_all_that_constrains_one_critic():
    with pytest.raises(UsageError, match=r"game.weight_mode must be at least 0, not -1"):
        parse({**POINTS, "game": {"name": "mdgan", "weight_mode": -1}})
    for key, part in {
        "critic": {"penalties": ["r1"]},
        "noise": {"instance": 0.1},
        "augment": "diffaugment",
        "fake_as_real": {"count": 2},
    }.items():
        with pytest.raises(UsageError, match="the game mdgan does not use"):
            build(parse({**POINTS, key: part}))


# -------------------------------------------------------------------------------------------------- a run

POINTS: dict[str, Any] = {
    "game": {"name": "mdgan", "weight_mode": 0.5},
    "data": "ring8",
    "networks": {"name": "mlp", "width": 16, "depth": 2},
    "optimizer": {"name": "adam", "lr": 0.002, "betas": [0.5, 0.99]},
    "precision": "float64",
    "batch": 16,
    "steps": 20,
    "compile": False,
    "every": {"log": 2, "score": 10, "checkpoint": 4},
}
KINDS: dict[str, dict[str, Any]] = {
    "points": {},
    "digits": {
        "data": "digits",
        "networks": {"name": "dcgan", "latent": 4, "width": 4, "batch_norm": True},
    },
}


def plain_loop(made: Run, steps: int, lr: float, n_critic: int, n_generator: int) -> dict[str, Tensor]:
    """MDGAN on modules, `.backward()` and p -= lr g, written from the algorithm; what moves has its own block."""
    nets = {name: player.network.module.double() for name, player in made.game.players.items()}
    for name, net in nets.items():
        nn.utils.vector_to_parameters(made.state.params[name].clone(), net.parameters())
    D1, G, E, D2 = (nets[name] for name in ("D1", "G", "E", "D2"))

    def descend(loss: Tensor, *movers: nn.Module) -> None:
        every = [p for net in movers for p in net.parameters()]
        for p, gradient in zip(every, torch.autograd.grad(loss, every), strict=True):
            p.data -= lr * gradient

    def log(logits: Tensor) -> Tensor:
        return torch.sigmoid(logits).log().mean()

    for number in range(steps):
        draws = iter(made.draws(number))
        for _ in range(n_critic):
            x = next(draws)["x_real"]
            descend(-log(D1(x)) - (1 - torch.sigmoid(D1(G(E(x))))).log().mean(), D1)
        for _ in range(n_generator):
            x = next(draws)["x_real"]
            again = G(E(x))
            descend(-0.5 * log(D1(again)) + ((x - again) ** 2).sum(1).mean(), G, E)
        for _ in range(n_critic):
            draw = next(draws)
            real, fake = D2(G(E(draw["x_real"]))), D2(G(draw["z"]))
            descend(-log(real) - (1 - torch.sigmoid(fake)).log().mean(), D2)
        for _ in range(n_generator):
            descend(-log(D2(G(next(draws)["z"]))), G)
        assert next(draws, None) is None
    return {name: nn.utils.parameters_to_vector(net.parameters()).detach() for name, net in nets.items()}


@pytest.mark.parametrize(("n_critic", "n_generator"), [(1, 1), (3, 1), (1, 3)])
def test_the_turns_are_those_of_the_algorithm(n_critic, n_generator):
    """A D1 or D2 from before its turn, E moved before G, all on one draw; n_critic that repeats G's turns."""
    dynamics = {"name": "alternating", "n_critic": n_critic, "n_generator": n_generator}
    made = build(parse({**POINTS, "dynamics": dynamics, "optimizer": {"name": "sgd", "lr": 0.05}}))
    found = ended(made.step, made, made.state)
    for name, wanted in plain_loop(made, 20, 0.05, n_critic, n_generator).items():
        assert (wanted - made.state.params[name]).norm() > 0.01
        torch.testing.assert_close(found.params[name], wanted, rtol=0, atol=1e-9)


def test_a_turn_is_given_what_its_loss_reads():
    """Real samples that nobody looks at would be counted as seen, and an epoch would skip them."""
    draws = build(parse(POINTS)).draws
    assert [list(draw) for draw in draws(0)] == [["x_real"], ["x_real"], ["x_real", "z"], ["z"]]
    reals = [tuple(draw["x_real"].flatten().tolist()) for draw in draws(0)[:3]]
    assert len(set(reals)) == 3


def ended(step: Any, made: Run, start: State, first: int = 0, last: int = 20) -> State:
    now = start
    for number in range(first, last):
        now, _ = step(now, made.draws(number))
    return now


def assert_same(found: State, wanted: State, tolerance: float) -> None:
    for name, vector in wanted.params.items():
        assert (found.params[name] - vector).abs().max() <= tolerance * vector.abs().max(), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_step_is_the_eager_step(kind):
    """That on images as its graph alone."""
    made = build(parse({**POINTS, **KINDS[kind]}))
    fast = compiled(made.step, pytest.fail) if kind == "points" else as_graph(made.step)
    assert_same(ended(fast, made, made.state), ended(made.step, made, made.state), 1e-9)


def test_a_member_of_an_ensemble_is_the_single_run():
    made = build(parse({**POINTS, "game": {"name": "mdgan", "weight_mode": [0.1, 0.9]}, "seeds": 2}))
    found = ended(vectorised(made.step), made, made.state)
    for index, one in enumerate(made.members):
        game = {"name": "mdgan", "weight_mode": one["game.weight_mode"]}
        alone = build(parse({**POINTS, "game": game, "seed": int(one["seed"])}))
        assert_same(member(found, index), ended(alone.step, alone, alone.state), 1e-9)


@pytest.mark.parametrize("game", ["mdgan", "reg_gan"])
@pytest.mark.parametrize("kind", ["points", pytest.param("digits", marks=pytest.mark.slow)])
def test_a_resumed_run_ends_with_the_same_bits(game, kind, tmp_path, quiet):
    raw = {**POINTS, **KINDS[kind], "game": game, "ema": {"decay": 0.9}, "precision": "float32"}
    train.start(parse(raw), tmp_path / "whole", quiet)
    train.start(parse({**raw, "steps": 7}), tmp_path / "cut", quiet)
    train.resume(tmp_path / "cut", ["steps=20"], quiet)
    whole, cut = (checkpoint.checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("whole", "cut"))
    assert whole.name == cut.name == "step-00000020"
    digests = {json.loads((path / "meta.json").read_text())["sha256"] for path in (whole, cut)}
    assert len(digests) == 1


def test_a_small_finite_set_is_scored_with_the_critic_of_generated_samples(tmp_path, quiet):
    raw = {**POINTS, "data": {"name": "gaussian", "size": 60}, "precision": "float32"}
    assert train.start(parse(raw), tmp_path / "run", quiet) is None
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert any("unbalance" in line for line in lines)


def test_samples_are_judged_by_the_critic_that_sees_them():
    """D2 is shown G(z); D1 has only ever met reconstructions."""
    game = made()
    now, x = state(game), torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(_critic_of(game, now)(x), game.players["D2"].network(now.params["D2"], {}, x))


# ------------------------------------------------------------------------ what a run folder can be asked


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Short runs: of points and of images with an encoder, and of a game without one."""
    base, quiet = tmp_path_factory.mktemp("runs"), Console(quiet=True)
    kinds = {
        "points": POINTS,
        "digits": {**POINTS, **KINDS["digits"], "ema": {"decay": 0.5}, "precision": "float32"},
        "ensemble": {**POINTS, "seeds": 2},
        "reg_gan": {**POINTS, "game": "reg_gan"},
        "gan": {**POINTS, "game": "gan"},
    }
    for name, raw in kinds.items():
        train.start(parse({**raw, "steps": 4}), base / name, quiet)
    return {name: base / name for name in kinds}


def test_reconstructions_are_of_the_average_where_it_is_wanted(folders):
    options = {"member": 0, "note": pytest.fail}
    raw, mean = (sample.reconstruct(folders["digits"], 5, average=on, **options)[1] for on in (False, True))
    made = build(parse(read_config(folders["digits"])))
    now = restore(folders["digits"], made, pytest.fail)
    x, G, E = reference(made.data, 5), *(made.game.players[n].network for n in "GE")
    swapped = now._replace(params={**now.params, "G": now.average["G"]["params"]}, average={})
    torch.testing.assert_close(mean, sampling.reconstructions(G, E, swapped, x, average=False))
    assert (raw - mean).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["points", "digits"])
def test_reconstructions_are_the_modules_own(name, folders):
    """Samples of other latents, a batch norm in training mode, x normalized twice."""
    x, again = sample.reconstruct(folders[name], 5, average=False, member=0, note=pytest.fail)
    made = build(parse(read_config(folders[name])))
    now = restore(folders[name], made, pytest.fail)
    G, E = (made.game.players[n].network.module for n in "GE")
    for n, net in (("G", G), ("E", E)):
        nn.utils.vector_to_parameters(now.params[n], net.to(now.params[n].dtype).parameters())
    torch.testing.assert_close(x, reference(made.data, 5))
    if name == "digits":  # standing statistics: those of latents, kept still
        latents = sampling.latents(0, "standing", 16 * 64, 4, x.dtype).view(16, 64, 4)
        for norm in (part for part in G.modules() if isinstance(part, nn.BatchNorm2d)):
            norm.momentum = None  # the plain mean over batches
            norm.reset_running_stats()
        with torch.no_grad():
            for z in latents:
                G(z)
    with torch.no_grad():
        wanted = G.eval()(E.eval()(x.to(now.params["G"].dtype)))
    torch.testing.assert_close(again, wanted.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["points", "digits", "reg_gan", "ensemble"])
def test_the_command_draws_them(name, folders, tmp_path, command):
    out = tmp_path / "grid.png"
    done = command("sample", folders[name], "--reconstruct", "-n", 32, "--out", out)
    assert done.code == 0, done.err
    assert "32 reconstructions" in done.out
    with Image.open(out) as image:
        assert image.size[0] >= 300


def test_a_run_without_an_encoder_says_so(folders, tmp_path, command):
    done = command("sample", folders["gan"], "--reconstruct", "--out", tmp_path / "grid.png")
    assert done.code == 2
    assert "the game gan of" in done.err
    assert "has no encoder" in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "game", "words"),
    [
        ("gan", "reg_gan", "has no player E: it was made with the players D, G, and"),
        ("gan", "mdgan", "has no player D1 and D2 and E: it was made with the players D, G, and"),
        ("reg_gan", "gan", "also holds a player E: it was made with the players D, E, G, and"),
    ],
)
def test_a_player_missing_from_a_checkpoint_is_named(name, game, words, folders, tmp_path, command):
    shutil.copytree(folders[name], tmp_path / "run")
    done = command("resume", tmp_path / "run", f"game={game}", "steps=8")
    assert done.code == 2
    assert words in done.err
    assert "game.name in the configuration wants" in done.err
    assert len(done.err.splitlines()) == 1
    assert command("resume", tmp_path / "run", "steps=8").code == 0, "nothing was lost"


# ------------------------------------------------------------------------------------------------ pictures


def test_pairs_stand_side_by_side():
    """Reals above, all first and then all second, or a row that ends between the two of a pair."""
    left, right = torch.full((5, 1, 2, 2), 1.0), torch.full((5, 1, 2, 2), -1.0)
    image = samples.pairs(left, right)
    columns = 2 * math.ceil(math.sqrt(5 / 2))
    side = (image.width - 2) // columns
    found = [image.getpixel((2 + i % columns * side + 1, 2 + i // columns * side + 1)) for i in range(10)]
    assert found == [(255, 255, 255), (0, 0, 0)] * 5


def test_links_join_each_point_with_its_own():
    """Lines between points of other rows; non-finite pairs that shift the rest against each other."""
    starts = torch.tensor([[-1.0, 1.0], [math.nan, 0.0], [-1.0, -1.0]])
    ends = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, -1.0]])
    draw = partial(samples.links, size=samples.CANVAS)
    image = draw(starts, ends)

    def ink(x: float, y: float) -> bool:
        u, v = axes.place(x / 1.5, y / 1.5)
        return image.getpixel((round(u), round(v))) != (255, 255, 255)

    assert ink(0, 1)
    assert ink(0, -1)
    assert not ink(0, 0)
    with pytest.raises(UsageError, match="one shape"):
        draw(starts, ends[:2])
    with pytest.raises(UsageError, match="no pair is finite"):
        draw(starts[1:2], ends[1:2])


def test_reconstructions_have_no_dropout_in_the_encoder():
    E, G = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), nn.Linear(2, 3)
    state = State({"E": flatten(E), "G": flatten(G)}, {"E": {}, "G": {}}, {}, {}, {})
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reconstructions(Network(G), Network(E), state, x), G(E[0](x)).detach())
    assert E.training, "the run's own module keeps its mode"


def test_the_diffusion_critics_logits_are_logged_by_side():
    game = made()
    now = game._replace(players={**game.players, **game.turns[2]})
    logs = field(now, ("D2",), state(game), DRAW)[2]
    # D2(G(E(x))) = -0.75, -1.5 stands for real, D2(G(z)) = -0.375, 0.375 for fake
    assert logs["logit/real"].item() == pytest.approx(-1.125)
    assert logs["logit/fake"].item() == pytest.approx(0)
