"""Noise, augmentation and consistency through the pure step, against plain loops of modules and `.backward()`.

The comment in a test names the wrong implementation it is there to catch. What a single transformation does to an
image is tested with its function; here it is where it is put, on which samples, with which numbers.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from steadygan import augment, consistency, losses, normalization, schedules
from steadygan.data import Data
from steadygan.dynamics import alternating
from steadygan.errors import UsageError
from steadygan.game import Game, Network, flatten
from steadygan.game import optimizers as optim
from steadygan.game.batches import Draws
from steadygan.game.state import complete, initial, stack
from steadygan.game.vector_field import accumulated
from steadygan.games import FakeAsReal, Term, View, adaptive, bcr, cr, differentiable, gan, zcr
from steadygan.games.consistency_terms import Agreement
from steadygan.networks import mlp
from steadygan.noise import noisy_layers
from steadygan.penalties import PENALTIES

STEPS, BATCH, LATENT, SHAPE = 6, 8, 3, (3, 8, 8)
SIGMA = 0.3

EPS = 1e-4
"""Epsilon of Adam, which divides the rounding error of a gradient that is almost zero by it."""

Critic = Callable[[Tensor], Tensor]
Given = Mapping[str, Tensor]


class Setting(NamedTuple):
    """What stands between samples and critic, and what ties the critic down."""

    view: View = View()
    agreements: tuple[Agreement, ...] = ()
    penalties: tuple[str, ...] = ()
    loss: losses.Loss = losses.non_saturating
    n_critic: int = 1


def data() -> Data:
    rows = torch.randint(256, (40, *SHAPE), generator=torch.Generator().manual_seed(0)).byte()
    return Data("noise", SHAPE, rows)


def networks(seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    G = nn.Sequential(nn.Linear(LATENT, 192), nn.Tanh(), nn.Unflatten(1, SHAPE))
    D = nn.Sequential(nn.Flatten(1), nn.Linear(192, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Flatten(0))
    return {"G": G.double(), "D": D.double()}


def game(setting: Setting, nets: dict[str, nn.Module], **options: Any) -> Game:
    return gan(
        **{name: Network(net) for name, net in nets.items()},
        loss=setting.loss,
        shape=SHAPE,
        batch=BATCH,
        latent=LATENT,
        penalties=[Term(PENALTIES[name](), 0.7) for name in setting.penalties],
        agreements=setting.agreements,
        view=setting.view,
        **options,
    )


def pure(setting: Setting, nets: dict[str, nn.Module], **options: Any) -> tuple[Any, Draws, list]:
    made = game(setting, nets, **options)
    optimizers = dict.fromkeys(nets, optim.adam(0.01, eps=EPS))
    rule = alternating(made, optimizers, n_critic=setting.n_critic)
    draws = Draws(made, rule.rounds, data(), [0], members=False, dtype=torch.float64)
    step = complete(rule, made)
    state = initial(nets, optimizers, scalars=dict(made.scalars), dtype=torch.float64)
    states = [state]
    for number in range(STEPS):
        state, _ = step(state, draws(number))
        states.append(state)
    return states, draws, [optimizers, step]


def slope(critic: Critic, x: Tensor) -> Tensor:
    x = x if x.requires_grad else x.clone().requires_grad_()
    return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].flatten(1)


Change = Callable[[Tensor, str, Given, Tensor], Tensor]
"""What happens to samples inside the critic: (x, side, draw, p) -> x."""


def plain(
    setting: Setting,
    nets: dict[str, nn.Module],
    draws: Draws,
    noise: Callable[[int], float] = lambda step: 0.0,
    change: Change = lambda x, side, given, p: x,
    extra_D: Callable[..., Tensor] | None = None,
    extra_G: Callable[..., Tensor] | None = None,
    follow: Callable[[Tensor, Tensor], Tensor] = lambda p, real_logits: p,
    cheap_norm: Callable[[Critic], Critic] = lambda critic: critic,
) -> list[float]:
    """The same training, written out; returns the strength p of the augmentation after each step."""
    G, D = nets["G"], nets["D"]
    optimizers = {name: torch.optim.Adam(net.parameters(), 0.01, eps=EPS) for name, net in nets.items()}
    p, trail = torch.zeros((), dtype=torch.float64), []
    for number in range(STEPS):
        sigma = noise(number)

        def critic(side: str, given: Given, strength: Tensor = p) -> Critic:
            return cheap_norm(lambda samples: D(change(samples, side, given, strength)))

        *for_D, for_G = draws(number)
        for given in for_D:
            with torch.no_grad():
                x, y = given["x_real"], G(given["z"])
                if sigma:
                    x, y = x + sigma * given["instance/real"], y + sigma * given["instance/fake"]
            on_real, on_fake = critic("real", given), critic("fake", given)
            real_logits, fake_logits = on_real(x), on_fake(y)
            value = setting.loss.discriminator(real_logits, fake_logits)
            if "r1" in setting.penalties:
                value = value + 0.7 * slope(on_real, x).square().sum(1).mean()
            if "approximated_r1" in setting.penalties:
                near = on_real(x + 0.01 * given["direction/real"])
                value = value + 0.7 * ((near - real_logits) / 0.01).square().mean()
            if "zero_centered" in setting.penalties:
                alpha = given["alpha"].view(-1, 1, 1, 1)
                value = value + 0.7 * slope(on_real, alpha * x + (1 - alpha) * y).square().sum(1).mean()
            if extra_D:
                value = value + extra_D(on_real, on_fake, x, y, G, given)
            optimizers["D"].zero_grad()
            value.backward()
            optimizers["D"].step()
        y = G(for_G["z"])
        seen = y + sigma * for_G["instance/fake"] if sigma else y
        logits = critic("fake", for_G)(seen)
        if setting.loss.pairs:
            x = for_G["x_real"] + (sigma * for_G["instance/real"] if sigma else 0)
            value = setting.loss.generator(logits, critic("real", for_G)(x))
        else:
            value = setting.loss.generator(logits)
        if extra_G:
            value = value + extra_G(y, G, for_G)
        optimizers["G"].zero_grad()
        value.backward()
        optimizers["G"].step()
        p = follow(p, real_logits.detach())
        trail.append(p.item())
    return trail


def same(states: list, nets: dict[str, nn.Module]) -> None:
    for name, net in nets.items():
        assert (states[-1].params[name] - states[0].params[name]).norm() > 0.01
        torch.testing.assert_close(states[-1].params[name], flatten(net), rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------------ instance noise


@pytest.mark.parametrize("loss", [losses.non_saturating, losses.relativistic])
@pytest.mark.parametrize("penalties", [(), ("r1",), ("zero_centered",), ("approximated_r1",)])
def test_instance_noise_is_on_real_and_fake_in_both_steps(loss, penalties):
    # noise on the reals only, in D's step only, one noise for both sides, penalties at the clean samples
    setting = Setting(View(noise=SIGMA), penalties=penalties, loss=loss)
    nets = networks()
    states, draws, _ = pure(setting, nets)
    for given in draws(0):
        if "instance/real" in given:
            assert not torch.equal(given["instance/fake"], given["instance/real"])
    plain(setting, nets, draws, noise=lambda step: SIGMA)
    same(states, nets)


def test_instance_noise_is_annealed():
    # a noise that keeps its first value
    annealed = schedules.linear(SIGMA, 0.0, over=4)
    setting = Setting(View(noise=lambda scalars: annealed(scalars["step"])))
    nets = networks()
    states, draws, _ = pure(setting, nets)
    plain(setting, nets, draws, noise=lambda step: SIGMA * max(0, 1 - step / 4))
    same(states, nets)


def test_without_noise_nothing_is_drawn_for_it():
    made = game(Setting(), networks())
    assert sorted(made.fields) == ["x_real", "z"]


# -------------------------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("penalties", [(), ("r1",), ("zero_centered",), ("approximated_r1",)])
@pytest.mark.parametrize("loss", [losses.non_saturating, losses.relativistic])
def test_diffaugment_is_before_the_critic_on_both_sides_and_in_both_steps(loss, penalties):
    # augmentation of the reals only, none in G's step, a penalty on the gradient behind the augmentation
    setting = Setting(View(augment=differentiable()), penalties=penalties, loss=loss)
    nets = networks()
    states, draws, _ = pure(setting, nets)
    plain(
        setting,
        nets,
        draws,
        change=lambda x, side, given, p: augment.diffaugment(x, given[f"augment/{side}"]),
    )
    same(states, nets)


@pytest.mark.parametrize("n_critic", [1, 2])
def test_ada_follows_the_sign_of_the_real_logits(n_critic):
    # a strength that starts again at each step, follows fakes, or moves by steps and not by images
    setting = Setting(View(augment=adaptive(target=0.0, over=40.0)), n_critic=n_critic)
    nets = networks()
    states, draws, _ = pure(setting, nets)
    trail = plain(
        setting,
        nets,
        draws,
        change=lambda x, side, given, p: augment.ada(x, p, given[f"augment/{side}"]),
        follow=lambda p, real: (p + real.sign().mean().sign() * n_critic * BATCH / 40.0).clamp(0, 1),
    )
    same(states, nets)
    assert [state.scalars["augment/p"].item() for state in states[1:]] == pytest.approx(trail)
    assert max(trail) > 0


def test_ada_strength_survives_a_restart():
    # a strength kept outside the state (the complaint about resumed runs)
    setting = Setting(View(augment=adaptive(target=0.0, over=40.0)))
    states, draws, (_, step) = pure(setting, networks())
    halfway = states[STEPS // 2]
    assert "augment/p" in halfway.scalars
    for number in range(STEPS // 2, STEPS):
        halfway, _ = step(halfway, draws(number))
    assert torch.equal(halfway.params["D"], states[-1].params["D"])
    assert torch.equal(halfway.scalars["augment/p"], states[-1].scalars["augment/p"])


def test_members_of_an_ensemble_have_strengths_of_their_own():
    setting = Setting(View(augment=adaptive(target=0.0, over=40.0)), penalties=("r1",))
    singles, members = [], []
    for seed in (0, 1):
        nets = networks(seed)
        made = game(setting, nets)
        optimizers = dict.fromkeys(nets, optim.adam(0.01, eps=EPS))
        rule = alternating(made, optimizers)
        draws = Draws(made, rule.rounds, data(), [seed], members=False, dtype=torch.float64)
        state = initial(nets, optimizers, scalars=dict(made.scalars), dtype=torch.float64)
        members.append(state)
        for number in range(STEPS):
            state, _ = complete(rule, made)(state, draws(number))
        singles.append(state)
    both = Draws(made, rule.rounds, data(), [0, 1], members=True, dtype=torch.float64)
    state = stack(members)
    for number in range(STEPS):
        state, _ = torch.vmap(complete(rule, made))(state, both(number))
    for index, single in enumerate(singles):
        torch.testing.assert_close(state.params["D"][index], single.params["D"], rtol=0, atol=1e-9)
        torch.testing.assert_close(state.scalars["augment/p"][index], single.scalars["augment/p"])


def test_ada_hears_of_real_samples_only():
    # selected fakes among the rows: a critic that is right on everything would look unsure
    setting = Setting(View(augment=adaptive()))
    nets = networks()
    made = game(setting, nets, far=FakeAsReal(4, 4, 2))
    rule = alternating(made, dict.fromkeys(nets, optim.sgd(0.0)))
    draws = Draws(made, rule.rounds, data(), [0], members=False, dtype=torch.float64)
    draw = draws(0)[0]
    real, fakes = nets["D"](draw["x_real"][:4]), nets["D"](nets["G"](draw["z_pool"])).sort().values[:4]
    with torch.no_grad():  # zero of the logits between the two, where the signs differ
        nets["D"][3].bias.sub_((real.max() + fakes.max()) / 2)
    state = initial(
        nets, dict.fromkeys(nets, optim.sgd(0.0)), scalars=dict(made.scalars), dtype=torch.float64
    )
    _, logs = rule.step(state, draws(0))
    shown, selected = (nets["D"](x).sign() for x in (draw["x_real"][:4], nets["G"](draw["z_pool"])))
    assert logs["sign/real"] == shown.mean()
    assert shown.mean() != selected.mean()


def test_ada_counts_the_images_of_all_parts_of_an_accumulated_step():
    made = accumulated(game(Setting(View(augment=adaptive(target=0.0, over=1000.0))), networks()), 3)
    found = made.adapt({"augment/p": torch.tensor(0.5)}, {"sign/real": torch.tensor(1.0)}, 2)
    assert found["augment/p"].item() == pytest.approx(0.5 + 2 * 3 * BATCH / 1000)


def test_ada_with_a_relativistic_loss_does_not_see_the_critics_offset():
    # the loss cannot see a constant added to D, so neither may the strength
    seen = []
    for offset in (-5.0, 0.0, 5.0):
        nets = networks()
        with torch.no_grad():
            nets["D"][3].bias.add_(offset)
        states, *_ = pure(Setting(View(augment=adaptive(0.0, over=40.0)), loss=losses.relativistic), nets)
        seen.append([s.scalars["augment/p"].item() for s in states])
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("weaken", [lambda net: noisy_layers(net, 0.1), normalization.spectral_normalized])
@pytest.mark.parametrize(
    "normalize", [normalization.gradient_normalized, normalization.penalty_gradient_normalized]
)
def test_a_critic_with_buffers_takes_no_cheap_step(weaken, normalize):
    # buffers that the tangent plane's own derivative has updated belong to a level that is over
    nets = networks()
    nets["D"] = weaken(nets["D"])
    made = game(Setting(View(normalize)), nets, cheap=True)
    optimizers = dict.fromkeys(nets, optim.adam(0.01, eps=EPS))
    rule = alternating(made, optimizers)
    draws = Draws(made, rule.rounds, data(), [0, 1], members=True, dtype=torch.float64)
    state = initial(nets, optimizers, dtype=torch.float64)
    after, _ = torch.vmap(complete(rule, made))(stack([state, state]), draws(0))
    assert after.params["G"].isfinite().all()
    assert (after.params["G"] - state.params["G"]).abs().amax() > 1e-3


def test_augmentation_of_points_is_refused():
    G, D = mlp((2,))
    with pytest.raises(UsageError, match="augment=none"):
        gan(
            Network(G), Network(D), losses.hinge, shape=(2,), batch=4, latent=2,
            view=View(augment=differentiable()),
        )  # fmt: skip
    with pytest.raises(UsageError, match="move=jitter"):
        gan(Network(G), Network(D), losses.hinge, shape=(2,), batch=4, latent=2, agreements=[cr()])


# --------------------------------------------------------------------------------------------------- consistency


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).mean()


def moved(x: Tensor, given: Given, side: str) -> Tensor:
    return consistency.flip_and_shift(x, given[f"move/{side}"])


TERMS: dict[str, tuple[Agreement, Callable[..., Tensor], Callable[..., Tensor] | None]] = {
    "cr": (
        cr(3.0),
        lambda on_real, on_fake, x, y, G, given: (
            3.0 * mean_square(on_real(x), on_real(moved(x, given, "real")))
        ),
        None,
    ),
    "bcr": (
        bcr(3.0, 2.0),
        lambda on_real, on_fake, x, y, G, given: (
            3.0 * mean_square(on_real(x), on_real(moved(x, given, "real")))
            + 2.0 * mean_square(on_fake(y), on_fake(moved(y, given, "fake")))
        ),
        None,
    ),
    "zcr": (
        zcr(3.0, 2.0, sigma=0.2),
        lambda on_real, on_fake, x, y, G, given: (
            3.0 * mean_square(on_fake(y), on_fake(G(given["z"] + 0.2 * given["z_step"]).detach()))
        ),
        lambda y, G, given: 2.0 * consistency.zcr_generator(y, G(given["z"] + 0.2 * given["z_step"])),
    ),
}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("augmented", [False, True])
def test_consistency_terms_equal_a_plain_loop(name, augmented):
    # a moved sample that is detached, other numbers for both sides, zCR's terms with exchanged players
    agreement, extra_D, extra_G = TERMS[name]
    view = View(augment=differentiable(("color",))) if augmented else View()
    setting = Setting(view, agreements=(agreement,), penalties=("r1",))
    nets = networks()
    states, draws, _ = pure(setting, nets)

    def change(x: Tensor, side: str, given: Given, p: Tensor) -> Tensor:
        return augment.diffaugment(x, given[f"augment/{side}"], policy=("color",)) if augmented else x

    plain(setting, nets, draws, change=change, extra_D=extra_D, extra_G=extra_G)
    same(states, nets)


def test_zcr_compares_two_fakes_under_one_instance_noise():
    # a noisy fake against a clean neighbour: the term would measure the noise
    settings = [Setting(View(noise=n), agreements=(zcr(1.0, 0.0, sigma=1e-6),)) for n in (None, 0.5)]
    for setting in settings:
        nets = networks()
        made = game(setting, nets)
        rule = alternating(made, dict.fromkeys(nets, optim.sgd(0.0)))
        draws = Draws(made, rule.rounds, data(), [0], members=False, dtype=torch.float64)
        _, logs = rule.step(initial(nets, dict.fromkeys(nets, optim.sgd(0.0)), dtype=torch.float64), draws(0))
        assert logs["consistency/zcr"] < 1e-10


def test_consistency_is_of_the_normalized_critic():
    # GN-GAN's CR compares normalized outputs (spec B2)
    agreement, extra_D, _ = TERMS["cr"]
    setting = Setting(View(normalization.gradient_normalized), agreements=(agreement,))
    nets = networks()
    states, draws, _ = pure(setting, nets)

    def normalized(critic: Critic) -> Critic:
        def seen(x: Tensor) -> Tensor:
            x = x if x.requires_grad else x.clone().requires_grad_()
            f = critic(x)
            gradient = torch.autograd.grad(f.sum(), x, create_graph=True)[0]
            return f / (gradient.flatten(1).norm(dim=1) + f.abs())

        return seen

    plain(setting, nets, draws, extra_D=extra_D, cheap_norm=normalized)
    same(states, nets)


def test_the_weight_of_a_consistency_term_may_change():
    falling = schedules.linear(3.0, 0.0, over=4)
    values = []
    for weight in (3.0, lambda scalars: falling(scalars["step"])):
        states, *_ = pure(Setting(agreements=(cr(weight),)), networks())
        values.append(states)
    torch.testing.assert_close(values[0][1].params["D"], values[1][1].params["D"], rtol=0, atol=1e-12)
    assert not torch.allclose(values[0][-1].params["D"], values[1][-1].params["D"])


# ------------------------------------------------------------------------------------ together with other parts


def test_fake_as_real_candidates_are_chosen_without_noise_and_shown_with_it():
    # selected fakes that escape the noise which all other rows of the real part have
    setting = Setting(View(noise=SIGMA))
    nets = networks()
    made = game(setting, nets, far=FakeAsReal(3, 3, 2))
    optimizers = dict.fromkeys(nets, optim.adam(0.01, eps=EPS))
    rule = alternating(made, optimizers)
    draws = Draws(made, rule.rounds, data(), [0], members=False, dtype=torch.float64)
    state = initial(nets, optimizers, dtype=torch.float64)
    _, logs = rule.step(state, draws(0))
    given = draws(0)[0]
    with torch.no_grad():
        G, D = nets["G"], nets["D"]
        pool = G(given["z_pool"])
        lowest = pool[D(pool).argsort()[:3]]
        rows = torch.cat([given["x_real"][:5], lowest]) + SIGMA * given["instance/real"]
        expected = D(rows).mean()
    torch.testing.assert_close(logs["logit/real"], expected)


def test_noisy_layers_train_and_sleep_in_evaluation():
    # a noise that repeats itself from step to step, or that samples still have
    nets = networks()
    nets["G"] = nn.Sequential(nn.Linear(LATENT, 8), nn.ReLU(), nn.Linear(8, 192), *nets["G"][1:]).double()
    noisy = {name: noisy_layers(net, 0.1) for name, net in nets.items()}
    states, _, _ = pure(Setting(penalties=("r1",)), noisy)
    counts = [
        {key: b.item() for name in ("G", "D") for key, b in s.buffers[name].items() if key.endswith("count")}
        for s in states
    ]
    assert all(later[key] > before[key] for before, later in pairwise(counts) for key in later)
    x = torch.randn(4, LATENT, dtype=torch.float64)
    G = noisy["G"].eval()
    assert torch.equal(G(x), G(x))
    assert not torch.equal(G.train()(x), G(x))
