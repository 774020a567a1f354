"""EBGAN against numbers derived by hand, plain loops and its theorem on two points; who has gradient from what.

The comment in a test names the wrong implementation it is there to catch.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from steadygan.build import build
from steadygan.config import parse, registry
from steadygan.energies import distance, ebgan_discriminator, mean_error
from steadygan.errors import UsageError
from steadygan.game import Network, Player, State, flatten
from steadygan.game.vector_field import field
from steadygan.games import ebgan
from steadygan.losses import pull_away
from steadygan.networks import dcgan, mlp
from steadygan.networks.autoencoder import Autoencoder
from steadygan.training.compile.compiled_step import compiled, vectorised


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ energies


def test_an_energy_is_the_norm_over_all_dimensions_of_a_sample():
    # the mean square (as public EBGANs have it), a norm of each row of an image, one norm over the batch
    x = torch.zeros(2, 1, 2, 2)
    reconstruction = torch.tensor([[[[1.0, 2.0], [2.0, 4.0]]], [[[0.0, -3.0], [0.0, 4.0]]]])
    assert distance(reconstruction, x).tolist() == [5.0, 5.0]
    assert mean_error(reconstruction, x).tolist() == [2.25, 1.75]
    assert mean_error(reconstruction, x, 2).tolist() == [6.25, 6.25]


def test_a_perfect_reconstruction_has_a_gradient_of_zero():
    x = normal(2, 3)
    off = torch.stack([torch.zeros(3), torch.tensor([3.0, 0.0, 4.0])]).double()
    found = torch.func.grad(lambda r: distance(r, x).sum())(x + off)
    torch.testing.assert_close(found, torch.stack([torch.zeros(3), torch.tensor([0.6, 0.0, 0.8])]).double())


def test_nan_stays_nan():
    bad = torch.tensor([[math.nan, 1.0], [1.0, 1.0]])
    assert distance(bad, torch.zeros(2, 2)).isnan().tolist() == [True, False]
    assert pull_away(bad).isnan()


@pytest.mark.parametrize("energy", [distance, mean_error])
def test_a_reconstruction_of_another_shape_is_refused(energy):
    # broadcasting: [2, 1] against [2] would compare every sample with every other
    with pytest.raises(UsageError, match=r"\[2, 1\]"):
        energy(torch.zeros(2), torch.zeros(2, 1))


def test_energies_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="one number per sample"):
        ebgan_discriminator(torch.zeros(2, 1), torch.zeros(2), 1.0)


def test_the_margin_by_hand():
    # the hinge on the batch's mean: max(0, 5 - 4.5) = 0.5 instead of (4 + 0) / 2 = 2
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 8.0])
    assert ebgan_discriminator(real, fake, 5.0).item() == 2.0 + 2.0


def test_beyond_the_margin_fakes_do_not_move_the_critic():
    fake = torch.tensor([4.0, 5.5], requires_grad=True)
    ebgan_discriminator(torch.ones(2), fake, 5.0).backward()
    assert fake.grad is not None
    assert fake.grad.tolist() == [-0.5, 0.0]


# ------------------------------------------------------------------------------------------ the pull-away term


def plain_pull_away(codes: Tensor) -> float:
    """The formula with two loops."""
    rows = [row.flatten().tolist() for row in codes]
    total = 0.0
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if i != j:
                dot = sum(p * q for p, q in zip(a, b))
                total += (dot / math.hypot(*a) / math.hypot(*b)) ** 2
    return total / (len(rows) * (len(rows) - 1))


@pytest.mark.parametrize("shape", [(2, 3), (5, 4), (7, 2, 3, 2), (64, 8)], ids=str)
def test_pull_away_is_its_formula(shape):
    # normalised across the batch, the diagonal summed in, N^2 for N (N - 1), a root or an absolute value
    codes = normal(*shape)
    assert pull_away(codes).item() == pytest.approx(plain_pull_away(codes), rel=1e-12)


def test_pull_away_by_hand():
    # S_1 = (1, 0), S_2 = (1, 1), S_3 = (0, -2): cosines 1/sqrt 2, 0, -1/sqrt 2, so (1/2 + 0 + 1/2) * 2 / 6
    codes = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    assert pull_away(codes).item() == pytest.approx(1 / 3)


def test_pull_away_of_codes_that_are_opposite_is_one():
    # a cosine that is not squared: opposite codes would be the best of all
    assert pull_away(torch.tensor([[1.0, 2.0], [-1.0, -2.0]])).item() == pytest.approx(1)


@given(st.integers(2, 9))
def test_pull_away_is_one_for_identical_and_zero_for_orthogonal_codes_in_any_batch(count):
    assert pull_away(normal(1, 5).expand(count, 5)).item() == pytest.approx(1)
    assert pull_away(3 * torch.eye(count)).item() == 0


def test_pull_away_asks_for_directions_only():
    codes = normal(6, 4)
    lengths = 10 ** normal(6, 1, seed=1)
    torch.testing.assert_close(pull_away(lengths * codes), pull_away(codes))


def test_a_code_of_zero_is_orthogonal_to_all_and_stays():
    codes = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    found, value = torch.func.grad_and_value(pull_away)(codes)
    assert value.item() == pytest.approx(2 * 0.5 / 6)
    assert found.isfinite().all()
    assert found[0].tolist() == [0, 0]


def test_pull_away_of_one_code_is_refused():
    with pytest.raises(UsageError, match="two samples or more"):
        pull_away(torch.ones(1, 3))
    with pytest.raises(UsageError, match="two samples or more"):
        pull_away(torch.ones(3))


def test_pull_away_has_its_gradient():
    assert torch.autograd.gradcheck(pull_away, normal(4, 3).requires_grad_())


# ---------------------------------------------------------------------------------------------- equilibrium


@pytest.mark.parametrize("fakes", ["aab", "aaa", "abb", "bbb"])
def test_the_best_critic_of_two_points_pays_the_margin_times_what_the_laws_share(fakes):
    """Theorem 1 on data aab: min over energies of L_D is m (1 - TV(p_data, p_g)), so m where the laws agree."""
    m, data = 3.0, "aab"
    grid = [step / 4 for step in range(21)]  # to 5, beyond the margin
    values = {
        (a, b): ebgan_discriminator(
            torch.tensor([{"a": a, "b": b}[p] for p in data]),
            torch.tensor([{"a": a, "b": b}[p] for p in fakes]),
            m,
        ).item()
        for a, b in itertools.product(grid, grid)
    }
    apart = abs(data.count("a") - fakes.count("a")) / 3
    assert min(values.values()) == pytest.approx(m * (1 - apart))
    if fakes == data:  # and every constant energy up to the margin is as good
        assert [values[e, e] for e in grid if e <= m] == pytest.approx([m] * 13)
        assert all(values[e, e] > m for e in grid if e > m)


# -------------------------------------------------------------------------------------------- the game by hand

LINE = {"margin": 4.0, "shape": (2,), "batch": 2, "latent": 2}


class Halves(nn.Module):
    """x -> (a x, w x): an autoencoder whose every number is known."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.5))
        self.w = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a * x, self.w * x


class Stretch(nn.Module):
    """z -> t z."""

    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.tensor(2.0))

    def forward(self, z: Tensor) -> Tensor:
        return self.t * z


def by_hand(**options) -> tuple[dict[str, Player], State, dict[str, Tensor]]:
    G, D = Stretch().double(), Halves().double()
    game = ebgan(Network(G), Network(D), **{**LINE, **options})
    params = {"G": flatten(G), "D": flatten(D)}
    state = State(params, {"G": {}, "D": {}}, {}, {}, {})
    x_real = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    z = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    return game, state, {"x_real": x_real, "z": z}


def test_the_losses_of_two_samples():
    """e(v) = |a v - v| = |v| / 2: reals 2.5 and 1; fakes are 2 z, of length 10 and 2, so 5 and 1; m = 4.

    L_D = 1.75 + (0 + 3) / 2. L_G = 3 + PT, the codes' cosine is 3/5: PT = 0.36, here with weight 10.
    """
    game, state, draw = by_hand(pull_away=10.0)
    _, _, logs = field(game, ("D", "G"), state, draw)
    assert logs["loss/D"].item() == pytest.approx(3.25)
    assert logs["energy/real"].item() == pytest.approx(1.75)
    assert logs["energy/fake"].item() == pytest.approx(3)
    assert logs["pull_away"].item() == pytest.approx(0.36)
    assert logs["loss/G"].item() == pytest.approx(3 + 3.6)


def test_who_has_gradient_from_which_term():
    """With r = 1 - a, D: dL_D/da = -mean |x| + [hinge on] mean |t z|: -3.5 + 2 / 2; the code's w has none.

    G: e = r t |z|, dL_G/dt = r mean |z| = 1.5 through the fake as input and as target. A target that is detached
    leaves d|a t z - c|/dt = -a |z|, in the mean -1.5: the sign is turned round. PT knows no lengths: 0 here.
    """
    game, state, draw = by_hand(pull_away=10.0)
    gradients, _, _ = field(game, ("D", "G"), state, draw)
    torch.testing.assert_close(gradients["D"], torch.tensor([-2.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(gradients["G"], torch.tensor([1.5], dtype=torch.float64))


def nets(width: int = 8) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    options = {"latent": 3, "width": width, "depth": 2}
    return mlp((2,), **options)[0].double(), registry.NETWORKS["mlp"].roles["autoencoder"](
        (2,), **options
    ).double()


def plain(G: nn.Module, D: Autoencoder, draw: dict[str, Tensor], player: str, margin: float, weight: float):
    """The player's gradient of its loss, written out and taken by autograd."""
    y = G(draw["z"])

    def energy(v: Tensor) -> Tensor:
        return ((D.decoder(D.encoder(v)) - v) ** 2).flatten(1).sum(1).sqrt()

    if player == "D":
        loss = energy(draw["x_real"]).mean() + (margin - energy(y)).clamp_min(0).mean()
    else:
        code = D.encoder(y)
        cosine = nn.functional.cosine_similarity(code[:, None], code[None], dim=2)
        n = len(y)
        loss = energy(y).mean() + weight * ((cosine**2).sum() - n) / (n * (n - 1))
    net = {"G": G, "D": D}[player]
    grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("player", ["D", "G"])
def test_the_field_is_autograds_of_the_losses_written_out(player, weight):
    # codes of the reals pulled apart, PT in D's loss, a margin that acts on D's mean energy
    G, D = nets()
    draw = {"x_real": normal(6, 2), "z": normal(6, 3, seed=1)}
    game = ebgan(Network(G), Network(D), margin=0.9, pull_away=weight, shape=(2,), batch=6, latent=3)
    state = State({"G": flatten(G), "D": flatten(D)}, {"G": {}, "D": {}}, {}, {}, {})
    gradients, _, _ = field(game, (player,), state, draw)
    wanted = plain(G, D, draw, player, 0.9, weight)
    torch.testing.assert_close(gradients[player], wanted, rtol=1e-9, atol=1e-12)
    assert wanted.norm() > 0.01
    without = plain(G, D, draw, player, 0.9, 0.0)
    assert torch.equal(wanted, without) == (player == "D" or weight == 0)


def test_the_critic_is_the_one_that_n_critic_repeats_and_alone_reads_data():
    G, D = nets()
    game = ebgan(Network(G), Network(D), **{**LINE, "latent": 3})
    assert {name: (p.critic, p.reads) for name, p in game.players.items()} == {
        "D": (True, ("x_real", "z")),
        "G": (False, ("z",)),
    }


# ------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("mlp", (2,), {"latent": 1, "width": 5, "depth": 2}),
        ("dcgan", (1, 16, 16), {"latent": 6, "width": 2, "batch_norm": True}),
    ],
)
def test_an_autoencoder_is_the_pairs_critic_and_generator(name, shape, options):
    net = registry.NETWORKS[name].roles["autoencoder"](shape, **options)
    reconstruction, code = net(torch.zeros(3, *shape))
    assert (reconstruction.shape, code.shape) == ((3, *shape), (3, options["latent"]))
    assert not list(net.buffers()), "batch norm is for the generator: an energy is of one sample alone"
    plain_options = {k: v for k, v in options.items() if k != "batch_norm"}
    G, D = {"mlp": mlp, "dcgan": dcgan}[name](shape, **plain_options)
    features = D[-2].in_features
    count = sum(p.numel() for net in (G, D) for p in net.parameters()) - (features + 1)
    assert sum(p.numel() for p in net.parameters()) == count + (features + 1) * options["latent"]


def test_it_reconstructs_what_it_is_trained_on():
    torch.manual_seed(0)
    net = registry.NETWORKS["mlp"].roles["autoencoder"]((2,), latent=2, width=32, depth=2)
    x = torch.randn(64, 2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        distance(net(x)[0], x).mean().backward()
        optimizer.step()
    assert distance(net(x)[0], x).mean() < 0.1 * x.norm(dim=1).mean()


# --------------------------------------------------------------------------------------- the whole run, refusals

RAW = {
    "game": {"name": "ebgan", "margin": 1.0, "pull_away": 0.1},
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "optimizer": {"name": "adam", "lr": 0.01},
    "steps": 20,
    "batch": 8,
    "precision": "float64",
    "compile": False,
}
DIGITS = {**RAW, "data": "digits", "networks": {"name": "dcgan", "latent": 4, "width": 4}}


def after(raw: dict, steps: int = 20, wrap=lambda step: step) -> State:
    run = build(parse(raw))
    step = wrap(vectorised(run.step) if run.ensemble else run.step)
    state = run.state
    for number in range(steps):
        state, logs = step(state, run.draws(number))
    assert logs["finite"].min() == 1
    return state


def same(a: State, b: State, member: int | None = None) -> None:
    for name, vector in b.params.items():
        found = a.params[name] if member is None else a.params[name][member]
        torch.testing.assert_close(found, vector, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_compiled_is_eager():
    notes: list[str] = []
    same(after(RAW, wrap=lambda step: compiled(step, notes.append, "float64")), after(RAW))
    assert notes == []


def test_a_member_of_an_ensemble_is_the_single_run():
    swept = {**RAW, "game": {**RAW["game"], "margin": [0.5, 1.0], "pull_away": [0.0, 0.1]}, "seeds": 2}
    # the last member has margin 1, pull-away 0.1 and seed 1; the fifth margin 1, pull-away 0, seed 0
    together = after(swept)
    same(together, after({**RAW, "seed": 1}), 7)
    same(together, after({**RAW, "game": {"name": "ebgan", "margin": 1.0}}), 4)


def test_images():
    assert after(DIGITS, 3).params["G"].isfinite().all()


def test_finite_points_are_scored_without_a_logit():
    from steadygan.runs.score_setup import evaluator

    settings = parse({**RAW, "data": {"name": "gaussian", "size": 20}})
    run = build(settings)
    assert set(evaluator(run, settings.evaluation, pytest.fail)(run.state).scores) == {
        "unbalance",
        "rows_covered",
        "close_pairs",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "ring8-ebgan", "data=gaussian", "keep.best=gradient_max"), "no score 'gradient_max'"),
        (("train", "ring8-ebgan", "dynamics={name: consensus, debiased: true}"), "mixes samples"),
        (("probe", "gamma", "ring8-ebgan"), "takes no critic penalty"),
        (("probe", "gamma", "ring8-mdgan"), "takes no critic penalty"),
    ],
    ids=["score", "debiased", "probe ebgan", "probe mdgan"],
)
def test_what_an_energy_has_not_is_told_in_a_sentence(command, tmp_path, words, told):
    out = ("batch=16", "steps=2", "compile=false", "--out", tmp_path / "run") if words[0] == "train" else ()
    done = command(*words, *out)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert told in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"margin": 0.0}, {"margin": -1.0}, {"margin": 1.0, "pull_away": -0.1}])
def test_options_out_of_range_are_refused(options):
    G, D = nets()
    with pytest.raises(UsageError):
        ebgan(Network(G), Network(D), **{**LINE, "latent": 3, **options})
    with pytest.raises(UsageError, match=r"game\.(margin|pull_away)"):
        parse({**RAW, "game": {"name": "ebgan", **options}})


def test_a_margin_must_be_given():
    with pytest.raises(UsageError, match=r"game\.margin is missing"):
        parse({**RAW, "game": "ebgan"})


def test_pull_away_within_a_batch_of_one_is_refused():
    with pytest.raises(UsageError, match="batch at least 2"):
        build(parse({**RAW, "batch": 1}))
    build(parse({**RAW, "batch": 1, "game": {"name": "ebgan", "margin": 1.0}}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"data": "digits", "networks": "far_resnet"}, "autoencoder.*choose mlp or dcgan"),
        ({"critic": {"penalties": ["r1"]}}, "ebgan does not use"),
        ({"fake_as_real": {"count": 2}}, "ebgan does not use"),
        ({"critic": {"logit_penalties": ["lecam"]}}, "ebgan does not use"),
        ({"critic": {"consistency": ["zcr"]}}, "ebgan does not use"),
        ({"critic": {"generator_gradient": {}}}, "ebgan does not use"),
        ({"critic": {"clip": 0.01}}, "ebgan does not use"),
        ({"critic": {"normalization": "gradient_normalized"}}, "ebgan does not use"),
    ],
)
def test_what_the_game_has_no_use_for_is_refused(change, match):
    with pytest.raises(UsageError, match=match):
        build(parse({**RAW, **change}))
