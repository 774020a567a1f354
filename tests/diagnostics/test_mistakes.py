"""Mistakes in the set-up of a loop: each is made in a plain loop of a few hundred steps, beside a twin without it."""

import copy
import json

import pytest
import torch
from torch import nn

from steadygan import Monitor, config, fit, losses
from steadygan.build import build
from steadygan.diagnostics import Events, diagnose
from steadygan.training.gradient_stats import gradient_statistics

DOUBLE = torch.float64


def blobs(low, high):
    """8x8 images of one bright spot each, from `low` to nearly `high`."""
    y, x = torch.meshgrid(torch.arange(8.0, dtype=DOUBLE), torch.arange(8.0, dtype=DOUBLE), indexing="ij")

    def draw(n):
        at = 2 + 4 * torch.rand(n, 2, 1, 1, dtype=DOUBLE)
        spot = torch.exp(-((y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2) / 4)
        return low + (high - low) * spot[:, None]

    return draw


def painter(*last):
    """A generator of 8x8 images that ends in `last`."""
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), *last, nn.Unflatten(1, (1, 8, 8)))


def critic():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Flatten(0))


def pooled(*middle):
    """A convolution, `middle`, and a linear layer on the average over the pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1),
        *middle,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 1),
        nn.Flatten(0),
    )


class Scaled(nn.Module):
    def forward(self, x):
        return 255 * x


def loop(D, G, draw, *, loss="non_saturating", sign=1, frozen="", n_critic=1, steps=240, lr=(1e-3, 1e-3)):
    """The verdicts on a loop. The optimizer of `frozen` gets no step; D and its losses have this sign."""
    torch.manual_seed(0)
    D, G = D.double(), G.double()
    optimizers = {
        name: torch.optim.Adam(net.parameters(), rate, (0.5, 0.99))
        for name, net, rate in (("D", D, lr[0]), ("G", G, lr[1]))
    }
    of = losses.LOSSES[loss]
    monitor = Monitor(D, G, loss=loss, every=10)
    for number in range(steps):
        x_real, x_fake = draw(32), G(torch.randn(32, 8, dtype=DOUBLE))
        loss_D = of.discriminator(sign * D(x_real), sign * D(x_fake.detach()))
        for name in "DG" if number % n_critic == 0 else "D":
            optimizers[name].zero_grad()
            (loss_D if name == "D" else of.generator(sign * D(x_fake))).backward()
            if name != frozen:
                optimizers[name].step()
        monitor.step(x_real, x_fake, loss_D=loss_D)
    return monitor.verdicts


def names(*args, **kwargs):
    return [verdict.name for verdict in loop(*args, **kwargs)]


MISTAKES = {"frozen", "mismatched_ranges", "reversed_sign", "cancelled_gradient"}


@pytest.mark.parametrize("player", ["D", "G"])
def test_a_player_without_a_step_is_named_first(player):
    first = loop(critic(), painter(nn.Tanh()), blobs(-1, 1), frozen=player)[0]
    assert first.name == "frozen"
    other = "G" if player == "D" else "D"
    assert first.evidence[0].startswith(
        f"{player}'s parameters do not change while {other}'s do: update/{player}"
    )
    for reason in ("step is not called", "other parameters", "learning rate is 0", "detached"):
        assert reason in first.evidence[1]


def test_an_optimizer_with_the_parameters_of_the_other_player():
    torch.manual_seed(0)
    D, G = critic(), painter(nn.Tanh())
    optimizer = torch.optim.Adam(D.parameters(), 1e-3)
    monitor = Monitor(D, G, every=5)
    for _ in range(40):
        x_real, x_fake = blobs(-1, 1)(16).float(), G(torch.randn(16, 8))
        for player in "DG":
            of_D = losses.hinge.discriminator(D(x_real), D(x_fake.detach()))
            optimizer.zero_grad()
            (of_D if player == "D" else -D(x_fake).mean()).backward()
            optimizer.step()
        monitor.step(x_real, x_fake)
    assert monitor.verdicts[0].name == "frozen"
    assert monitor.verdicts[0].evidence[0].startswith("G's parameters")


@pytest.mark.parametrize(
    "n_critic",
    [1, pytest.param(2, marks=pytest.mark.slow), 5, pytest.param(50, marks=pytest.mark.slow)],
)
def test_a_generator_with_fewer_steps_is_not_frozen(n_critic):
    """Its steps are never among those that are measured, every tenth, but for 1."""
    assert not MISTAKES & set(names(critic(), painter(nn.Tanh()), blobs(-1, 1), n_critic=n_critic))


RUN = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "batch": 32,
    "compile": False,
    "precision": "float64",
    "steps": 24,
}
ADAM = {"name": "adam", "lr": 1e-3}


def trained(**changes):
    """The verdicts on a run of the trainer, with a diagnostics pass at each of 24 steps."""
    run = build(config.parse(RUN | changes))
    measure = gradient_statistics(run.game, run.data, seeds=[0], ensemble=False, dtype=DOUBLE)
    events, state = Events(), run.state
    for number in range(24):
        before = state
        state, logs = run.step(state, run.draws(number))
        found = {**logs, **measure(before, state)}
        events.add({"step": number + 1} | {key: float(value) for key, value in found.items()})
    return diagnose(events.history())


@pytest.mark.parametrize("player", ["D", "G"])
def test_the_trainer_s_player_with_a_rate_of_zero_is_named(player):
    rates = {name: {**ADAM, "lr": 0.0} if name == player else ADAM for name in "DG"}
    first = trained(optimizer=rates)[0]
    assert first.name == "frozen"
    assert first.evidence[0].startswith(f"{player}'s parameters do not change")
    assert not MISTAKES & {verdict.name for verdict in trained(optimizer=ADAM)}


MISMATCHED = {
    "bytes, tanh": ((0, 255), (nn.Tanh(),), "reals lie in 0..255, fakes in -1..1: scale the data."),
    "bytes, sigmoid": ((0, 255), (nn.Sigmoid(),), "reals lie in 0..255, fakes in 0..1: scale the data."),
    "0..1, tanh": ((0, 1), (nn.Tanh(),), "reals lie in 0..1, fakes in -1..1: scale the data."),
    "-1..1, sigmoid": ((-1, 1), (nn.Sigmoid(),), "reals lie in -1..1, fakes in 0..1: scale the data."),
    "-1..1, bytes": (
        (-1, 1),
        (nn.Sigmoid(), Scaled()),
        "reals lie in -1..1, fakes in 0..255: scale the data.",
    ),
    "standardised, tanh": ((-0.5, 2.8), (nn.Tanh(),), "fakes in -1..1: scale the data."),
}


@pytest.mark.parametrize("lr", [1e-3, pytest.param(2e-4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MISMATCHED)
def test_ranges_that_differ_are_named_first(name, lr):
    ends, last, words = MISMATCHED[name]
    first = loop(critic(), painter(*last), blobs(*ends), lr=(lr, lr))[0]
    assert first.name == "mismatched_ranges"
    assert first.evidence[0].endswith(words)


@pytest.mark.parametrize(
    ("ends", "last"),
    [((-1, 1), [nn.Tanh()]), ((0, 1), [nn.Sigmoid()]), ((0, 255), [nn.Sigmoid(), Scaled()])],
    ids=["tanh", "sigmoid", "bytes"],
)
def test_ranges_that_fit_are_not(ends, last):
    assert not MISTAKES & set(names(critic(), painter(*last), blobs(*ends)))


@pytest.mark.parametrize("scale", [1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.3, 3.0))])
@pytest.mark.parametrize("lr", [(1e-3, 1e-3), (1e-3, 0.02), (1e-6, 1e-3)], ids=["well", "G fast", "D slow"])
def test_fakes_that_are_merely_bad_have_no_other_range(scale, lr):
    """A linear output reaches any range. These fakes hop, stay away or spread too far."""

    def draw(n):
        angle = torch.randint(8, (n,)) * torch.pi / 4
        return scale * torch.stack([angle.cos(), angle.sin()], 1).double()

    D = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Flatten(0))
    G = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    assert not MISTAKES & set(names(D, G, draw, lr=lr))


@pytest.mark.parametrize(
    "loss",
    [
        "non_saturating",
        pytest.param("hinge", marks=pytest.mark.slow),
        "wasserstein",
        pytest.param("least_squares", marks=pytest.mark.slow),
    ],
)
def test_a_reversed_sign_is_named_and_a_right_one_is_not(loss):
    for sign in (1, -1):
        found = names(critic(), painter(nn.Tanh()), blobs(-1, 1), loss=loss, sign=sign)
        assert ("reversed_sign" in found) is (sign < 0)


def test_a_critic_that_lags_behind_is_not_reversed():
    """Fakes have the higher logits then, as of a reversed sign, but D's loss is high and not low."""
    monitor = loop(critic(), painter(nn.Tanh()), blobs(-1, 1), lr=(1e-6, 5e-3))
    assert not MISTAKES & {verdict.name for verdict in monitor}


INSTANCE, BATCH = nn.InstanceNorm2d(8, affine=True), nn.BatchNorm2d(8)
CANCELLED = {
    "instance norm": [nn.InstanceNorm2d(8)],
    "instance norm with weights": [INSTANCE],
    "group norm of one channel": [nn.GroupNorm(8, 8)],
    "batch norm": [BATCH],
}
KEPT = {
    "no norm": [],
    "an activation between": [INSTANCE, nn.LeakyReLU(0.2)],
    "one group": [nn.GroupNorm(1, 8)],
}


@pytest.mark.parametrize("loss", ["non_saturating", pytest.param("wasserstein", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CANCELLED)
def test_a_normalization_before_the_average_cancels_the_gradient(name, loss):
    D = pooled(*copy.deepcopy(CANCELLED[name]))
    first = loop(D, painter(nn.Tanh()), blobs(-1, 1), loss=loss, steps=120)[0]
    assert first.name == "cancelled_gradient"
    assert ("cancels" in first.evidence[1]) is (name == "batch norm")
    assert "normalization" in first.remedy


@pytest.mark.parametrize("loss", ["non_saturating", pytest.param("wasserstein", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KEPT)
def test_a_critic_whose_gradient_is_kept_is_not_called_so(name, loss):
    D = pooled(*copy.deepcopy(KEPT[name]))
    assert not MISTAKES & set(names(D, painter(nn.Tanh()), blobs(-1, 1), loss=loss, steps=120))


def test_a_critic_that_a_penalty_killed_is_dead_and_not_cancelled():
    """Its slopes were larger at the first pass; here they fall by a tenth at each."""
    lines = [
        {"step": n, "critic/spread": 10.0**-n, "signal/mean": 10.0**-n, "data/min": -1.0, "data/max": 1.0}
        | {f"slope/{place}": 10.0**-n for place in ("real", "fake", "between")}
        for n in range(1, 25)
    ]
    events = Events()
    for line in map(json.dumps, lines):
        events.take(line)
    assert diagnose(events.history())[0].name == "dead_critic"


class Standardised(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1 for each output."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Painter(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = Standardised(3, 8, 3, 2, 1), nn.GroupNorm(2, 8)
        self.second, self.norm2 = Standardised(8, 8, 3, 1, 1), nn.GroupNorm(2, 8)
        self.out = nn.ConvTranspose2d(16, 3, 4, 2, 1)

    def forward(self, z):
        a = nn.functional.silu(self.norm(self.first(z)))
        b = nn.functional.silu(self.norm2(self.second(a)))
        return torch.tanh(self.out(torch.cat([a, b], 1)))


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1, 10])
def test_a_critic_whose_penalty_falls_first_is_not_reversed(tmp_path, weight):
    """Its fakes have the higher logits for 60 steps, and loss/D falls with R1 while this gap grows."""
    torch.manual_seed(0)
    x = torch.rand(200, 3, 12, 20) * 2 - 1
    D = nn.Sequential(Standardised(3, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 1))
    r1 = [{"name": "r1", "weight": weight}]
    told = {"loss": "least_squares", "penalties": r1, "steps": 60, "batch": 16, "compile": False}
    run = fit(Painter(), D, x, latent=(3, 12, 20), reduce="mean", out=tmp_path / "run", quiet=True, **told)
    assert not MISTAKES & {verdict.name for verdict in run.diagnose()}
