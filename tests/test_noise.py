"""Noise: the moments of the hidden layers' stream, that it is a function of its state alone, and where it is put.

Statistics have fixed seeds; a bound of 4.5 standard errors is left by a right generator once in 150,000 seeds.
"""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from steadygan import losses
from steadygan.dynamics import alternating, simultaneous
from steadygan.errors import UsageError
from steadygan.game import Network, State, flatten
from steadygan.game import optimizers as optim
from steadygan.game.state import complete, initial, stack
from steadygan.games import Term, gan
from steadygan.networks import dcgan, mlp
from steadygan.noise import HiddenNoise, instance, noisy_layers, normals
from steadygan.normalization import is_piecewise_linear, spectral_normalized
from steadygan.penalties import PENALTIES

ERRORS = 4.5
COUNT = 2**18


def at(key: int, count: int, *shape: int) -> Tensor:
    return normals(torch.tensor(key), torch.tensor(count), shape)


def close(found: Tensor, expected: float, variance: float, count: int = COUNT) -> None:
    """The mean of `count` values of known variance is within ERRORS standard errors of what is expected."""
    assert abs(found.double().item() - expected) < ERRORS * math.sqrt(variance / count)


def test_instance_noise_is_sigma_times_the_noise():
    x, noise = torch.randn(3, 2), torch.randn(3, 2)
    assert torch.equal(instance(x, noise, 0.5), x + 0.5 * noise)
    assert torch.equal(instance(x, noise, torch.tensor(0.25)), x + 0.25 * noise)
    assert torch.equal(instance(x, noise, 0.0), x)


# ------------------------------------------------------------------------------------------------- the numbers


def plain_mix(x: int) -> int:
    """The 32-bit hash with Python's integers, which never overflow."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return x


@pytest.mark.parametrize(
    ("key", "count"), [(0, 0), (7, 0), (7, 1), (2**62 - 1, 2**32 - 1), (3 * 2**40 + 5, 123_456)]
)
def test_the_integers_are_those_of_a_plain_loop(key, count):
    # an overflow, a sign, a shift that brings ones in from the left
    first = plain_mix(key % 2**32 ^ plain_mix(count))
    second = plain_mix((key >> 32) ^ plain_mix(first ^ 1))
    steps = [plain_mix(second ^ plain_mix(first ^ i)) >> 9 for i in range(40)]
    found = torch.special.ndtr(at(key, count, 40).double())
    expected = (torch.tensor(steps, dtype=torch.float64) + 0.5) / 2**23
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("key", "count"), [(0, 0), (1, 0), (12_345, 77), (2**61 + 11, 10**6)])
def test_moments_and_neighbours_are_those_of_a_normal(key, count):
    z = at(key, count, COUNT).double()
    close(z.mean(), 0, 1)
    close(z.square().mean(), 1, 2)
    close((z**3).mean(), 0, 15)
    close((z**4).mean(), 3, 96)
    for lag in (1, 2, 3, 64, 4096):
        close((z[lag:] * z[:-lag]).mean(), 0, 1, COUNT - lag)
        close((z[lag:] ** 2 * z[:-lag] ** 2).mean(), 1, 8, COUNT - lag)
    uniform = torch.special.ndtr(z).sort().values
    steps = (torch.arange(COUNT) + 0.5) / COUNT
    assert (uniform - steps).abs().max() < 2.4 / math.sqrt(COUNT)  # Kolmogorov: 2.4 once in 50,000


def test_the_tails_are_there_and_finite():
    z = at(5, 5, COUNT)
    assert 4 < z.abs().max() < 5.4
    close((z.abs() > 3).double().mean(), 0.0026998, 0.0027)


NUMBERED = torch.arange(4096)
STREAMS: dict[str, tuple[Tensor, Tensor]] = {
    "count": (torch.full((4096,), 3), NUMBERED),
    "key": (NUMBERED, torch.full((4096,), 3)),
    "high half of the key": (NUMBERED << 32, torch.full((4096,), 3)),
    "distant keys": (
        torch.tensor([i * 0x9E3779B97F4A7C15 % 2**62 for i in range(4096)]),
        torch.zeros_like(NUMBERED),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_differ_in_every_place_and_are_uncorrelated(name):
    """4,096 streams of 64 numbers: rows are one stream each, so columns show what a neighbouring stream shares."""
    z = torch.vmap(lambda key, count: normals(key, count, (64,)))(*STREAMS[name]).double()
    close(z.mean(), 0, 1)
    close(z.square().mean(), 1, 2)
    for lag in (1, 2, 1024):
        close((z[lag:] * z[:-lag]).mean(), 0, 1, (4096 - lag) * 64)
    for column in (0, 1, 63):
        close(z[:, column].mean(), 0, 1, 4096)
        close((z[1:, column] * z[:-1, column]).mean(), 0, 1, 4095)
    same = (z[1:] == z[:-1]).sum().item()  # by chance about 4095 * 64 / 2^23 = 0.03
    assert same <= 2
    assert len(z.sort(1).values[:, 0].unique()) > 4000  # nor are streams permutations of each other


def test_first_rows_are_those_of_a_larger_batch():
    torch.testing.assert_close(at(9, 2, 12, 5)[:3], at(9, 2, 3, 5), rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------- the module


def layer(sigma: float = 0.5, seed: int = 0) -> HiddenNoise:
    torch.manual_seed(seed)
    return HiddenNoise(sigma)


def test_training_adds_sigma_times_the_stream_and_evaluation_nothing():
    noise, x = layer(), torch.randn(4, 3, dtype=torch.float64)
    for count in range(3):
        assert noise.count.item() == count
        expected = x + 0.5 * normals(noise.key, torch.tensor(count), (4, 3), torch.float64)
        assert torch.equal(noise(x), expected)
    assert noise.eval()(x) is x
    assert noise.count.item() == 3


def test_a_seeded_construction_gives_a_seeded_stream():
    assert layer(seed=1).key == layer(seed=1).key
    assert layer(seed=1).key != layer(seed=2).key
    assert len({HiddenNoise(1.0).key.item() for _ in range(100)}) == 100


def test_a_forward_draws_from_no_global_generator():
    noise = layer()
    state = torch.random.get_rng_state()
    noise(torch.ones(5))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_saved_buffers_go_on_where_they_were():
    noise, x = layer(), torch.zeros(6)
    noise(x)
    saved = {name: b.clone() for name, b in noise.state_dict().items()}
    assert {name: b.dtype for name, b in saved.items()} == {"key": torch.int64, "count": torch.int64}
    ahead = [noise(x) for _ in range(3)]
    other = layer(seed=5)
    other.load_state_dict(saved)
    assert all(torch.equal(other(x), a) for a in ahead)


def test_the_slope_is_1_whatever_the_noise():
    noise, x = layer(), torch.randn(3, 2, requires_grad=True)
    noise(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(3, 2))


def test_casts_leave_the_stream_alone():
    noise = layer().double()
    key = noise.key.clone()
    assert key.dtype == torch.int64
    assert noise.half().key == key
    for dtype in (torch.bfloat16, torch.float64):
        assert noise(torch.ones(2, dtype=dtype)).dtype == dtype


SKELETON = HiddenNoise(0.5)


def call(key: Tensor, count: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """One forward as a pure function of the buffers."""
    buffers = {"key": key.clone(), "count": count.clone()}
    out = torch.func.functional_call(SKELETON, buffers, (x,))
    return out, buffers["count"]


def test_transforms_see_the_same_noise():
    key, count, x = layer().key, torch.tensor(4), torch.randn(3, 2)
    plain, after = call(key, count, x)
    out, pull, seen = torch.func.vjp(lambda x: call(key, count, x), x, has_aux=True)
    assert torch.equal(out, plain)
    assert torch.equal(pull(torch.ones(3, 2))[0], torch.ones(3, 2))
    assert seen.item() == after.item() == 5
    deeper, _ = torch.func.vjp(lambda y: torch.func.vjp(lambda x: call(key, count, x)[0], y)[0], x)
    assert torch.equal(deeper, plain)
    keys, counts, xs = torch.stack([key, key + 12]), torch.tensor([4, 9]), torch.stack([x, 2 * x])
    together, counted = torch.vmap(call, randomness="error")(keys, counts, xs)
    assert counted.tolist() == [5, 10]
    for i in (0, 1):
        torch.testing.assert_close(together[i], call(keys[i], counts[i], xs[i])[0], rtol=0, atol=0)
    assert not torch.equal(together[0] - xs[0], together[1] - xs[1])


@pytest.mark.slow
def test_a_compiled_forward_is_the_eager_one():
    x = torch.randn(5, 3)
    compiled = torch.compile(call, fullgraph=True)
    for key, count in ((7, 0), (2**62 - 1, 2**32 - 1), (2**61 + 5, 1000)):
        found, after = compiled(torch.tensor(key), torch.tensor(count), x)
        expected, counted = call(torch.tensor(key), torch.tensor(count), x)
        torch.testing.assert_close(found, expected, rtol=0, atol=3e-6)
        assert after == counted


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_sigma_that_is_none_is_refused(sigma):
    with pytest.raises(UsageError, match="positive sigma"):
        HiddenNoise(sigma)
    with pytest.raises(UsageError, match="positive sigma"):
        noisy_layers(mlp((2,))[0], sigma)


# ------------------------------------------------------------------------------------------ where it is put


def noises(net: nn.Module) -> list[str]:
    return [name for name, part in net.named_modules() if isinstance(part, HiddenNoise)]


def test_noise_stands_behind_each_hidden_activation_and_no_other():
    G, D = dcgan((3, 16, 16), latent=4, width=4)
    layers = [type(part).__name__ for part in G]
    assert layers[-1] == "Tanh"
    assert noises(noisy_layers(G, 0.1)) == [f"{i}.1" for i, name in enumerate(layers) if name == "ReLU"]
    assert noises(noisy_layers(D, 0.1)) == [
        f"{i}.1" for i, part in enumerate(D) if isinstance(part, nn.Sequential)
    ]
    assert len(noises(D)) == 2
    assert noises(noisy_layers(mlp((2,), depth=3)[1], 0.1)) == ["2.1", "4.1", "6.1"]


def test_parameters_keep_their_names_and_order():
    net = mlp((2,))[1]
    names, vector = [name for name, _ in net.named_parameters()], flatten(net)
    assert noisy_layers(net, 0.1) is net
    assert [name for name, _ in net.named_parameters()] == names
    assert torch.equal(flatten(net), vector)


def test_nested_shared_and_parametrized_layers_are_found():
    shared = nn.LeakyReLU(0.2)
    inner = nn.Sequential(nn.Linear(2, 4), shared, nn.Linear(4, 4), shared)
    net = noisy_layers(
        nn.Sequential(inner, spectral_normalized(nn.Linear(4, 1, bias=False)), nn.Sigmoid()), 0.3
    )
    assert noises(net) == ["0.1.1", "0.3.1"]
    assert net[0][1][0] is shared
    assert len({id(part) for part in net.modules() if isinstance(part, HiddenNoise)}) == 2
    learned = nn.Sequential(nn.Linear(2, 2), nn.PReLU(), nn.Linear(2, 2), nn.PReLU())
    assert noises(noisy_layers(learned, 0.1)) == ["1.1"]


def test_the_noise_has_sigma_as_its_deviation():
    """tanh(0) + noise through the identity: what comes out is the noise itself."""
    net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    for linear in (net[0], net[2]):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    out = noisy_layers(net, 0.2)(torch.zeros(4096, 64)) / 0.2
    close(out.mean(), 0, 1)
    close(out.square().mean(), 1, 2)
    assert torch.equal(net.eval()(torch.zeros(1, 64)), torch.zeros(1, 64))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (lambda: nn.Linear(2, 2), "no hidden activation"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "no hidden activation"),
        (lambda: nn.ReLU(), "no hidden activation"),
        (lambda: noisy_layers(mlp((2,))[0], 0.1), "already"),
    ],
    ids=["linear", "output only", "alone", "twice"],
)
def test_networks_without_a_place_for_noise_are_refused(net, words):
    with pytest.raises(UsageError, match=words):
        noisy_layers(net(), 0.1)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU,
        nn.ReLU6,
        nn.RReLU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.ELU,
        nn.PReLU,
        nn.Softplus,
        nn.Softshrink,
        nn.LogSigmoid,
    ],
)
def test_every_kind_of_activation_is_followed_by_noise(activation):
    net = noisy_layers(nn.Sequential(nn.Linear(2, 2), activation(), nn.Linear(2, 1)), 0.1)
    assert [type(part) for part in net[1]] == [activation, HiddenNoise]


def test_a_softmax_is_no_activation_of_single_numbers():
    with pytest.raises(UsageError, match="no hidden activation"):
        noisy_layers(nn.Sequential(nn.Linear(2, 2), nn.Softmax(1), nn.Linear(2, 1)), 0.1)


def test_a_relu_critic_with_noise_is_still_piecewise_linear():
    assert is_piecewise_linear(noisy_layers(mlp((2,))[1], 0.1))
    curved = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    assert not is_piecewise_linear(noisy_layers(curved, 0.1))


# ------------------------------------------------------------------------------------------------- in a game


BATCH, LATENT = 6, 2
STEP = {"alternating": alternating, "simultaneous": simultaneous}


def prepared(rule: str = "alternating", seed: int = 0) -> tuple[Callable, State]:
    """A small noisy game with R1 in float64, its complete step and its first state."""
    torch.manual_seed(seed)
    G, D = (noisy_layers(net.double(), 0.3) for net in mlp((2,), latent=LATENT, width=5, depth=2))
    game = gan(
        Network(G),
        Network(D),
        losses.non_saturating,
        shape=(2,),
        batch=BATCH,
        latent=LATENT,
        penalties=[Term(PENALTIES["r1"](), 0.5)],
    )
    optimizers = {name: optim.sgd(0.05) for name in ("G", "D")}
    step = complete(STEP[rule](game, optimizers), game, 0.9)
    return step, initial({"D": D, "G": G}, optimizers, ["G"], dtype=torch.float64)


def batches(count: int, rounds: int = 2) -> list[list[dict[str, Tensor]]]:
    g = torch.Generator().manual_seed(1)

    def draw() -> dict[str, Tensor]:
        sizes = {"x_real": (BATCH, 2), "z": (BATCH, LATENT)}
        return {name: torch.randn(*size, generator=g, dtype=torch.float64) for name, size in sizes.items()}

    return [[draw() for _ in range(rounds)] for _ in range(count)]


def counts(state: State, player: str) -> set[int]:
    return {b.item() for name, b in state.buffers[player].items() if name.endswith("count")}


def test_a_game_carries_the_streams_in_its_state():
    """A step has three passes of D (reals, fakes, and G's fakes) and two of G: counters that stand still, or skip."""
    step, state = prepared()
    keys = {name: b for name, b in state.buffers["D"].items() if name.endswith("key")}
    for number, batch in enumerate(batches(3), start=1):
        state, _ = step(state, batch)
        assert counts(state, "D") == {3 * number}
        assert counts(state, "G") == {2 * number}
    assert len(keys) == 2
    assert all(torch.equal(state.buffers["D"][name], key) for name, key in keys.items())
    assert {name: b.item() for name, b in state.average["G"].items() if name.endswith("count")} == {
        name: 6 for name in state.buffers["G"] if name.endswith("count")
    }


@pytest.mark.parametrize("rule", STEP)
def test_two_resumed_halves_are_the_whole(rule):
    step, state = prepared(rule)
    rounds = 2 if rule == "alternating" else 1
    whole = state
    for batch in batches(6, rounds):
        whole, _ = step(whole, batch)
    half = state
    for batch in batches(6, rounds)[:3]:
        half, _ = step(half, batch)
    step, _ = prepared(rule, seed=9)  # other modules, other keys: only the state counts
    half = copy.deepcopy(half)
    for batch in batches(6, rounds)[3:]:
        half, _ = step(half, batch)
    for name in ("G", "D"):
        assert torch.equal(half.params[name], whole.params[name])
        assert (whole.params[name] - state.params[name]).norm() > 1e-3
        for key, b in whole.buffers[name].items():
            assert torch.equal(half.buffers[name][key], b)


def test_members_of_an_ensemble_have_streams_of_their_own_and_are_the_single_runs():
    step, _ = prepared()
    states = [prepared(seed=seed)[1] for seed in (0, 1)]
    together, batch = stack(states), batches(2)
    for draws in batch:
        pairs = [{name: torch.stack([value] * 2) for name, value in draw.items()} for draw in draws]
        together, _ = torch.vmap(step)(together, pairs)
    for i, alone in enumerate(states):
        for draws in batch:
            alone, _ = step(alone, draws)
        for name in ("G", "D"):
            torch.testing.assert_close(together.params[name][i], alone.params[name], rtol=1e-9, atol=1e-9)
            for key, b in alone.buffers[name].items():
                assert torch.equal(together.buffers[name][key][i], b)


def test_the_noise_matters():
    """The same step with the counters elsewhere goes elsewhere."""
    step, state = prepared()
    other = state._replace(
        buffers={
            player: {name: b + 1 if name.endswith("count") else b for name, b in buffers.items()}
            for player, buffers in state.buffers.items()
        }
    )
    batch = batches(1)[0]
    assert (step(state, batch)[0].params["D"] - step(other, batch)[0].params["D"]).norm() > 1e-4
