"""Modules whose random numbers come from buffers: their distribution, their independence, and what they stand for."""

import copy
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrizations, spectral_norm

from steadygan.networks.pure import Pure, draws_random_numbers, needs_purity

MANY = 40_000
FAR = 5  # standard errors


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def pure(function) -> Pure:
    torch.manual_seed(0)
    return Pure(Of(function))


def close(found: float, expected: float, deviation: float, count: int = MANY) -> None:
    """The mean of `count` numbers of this deviation is within five standard errors of the expected one."""
    assert abs(found - expected) < FAR * deviation / math.sqrt(count), (found, expected)


NORMAL = {
    "randn": lambda x: torch.randn(len(x), dtype=x.dtype),
    "randn of a tuple": lambda x: torch.randn((len(x), 1), dtype=x.dtype).flatten(),
    "randn of a size": lambda x: torch.randn(size=x.shape, dtype=x.dtype),
    "randn_like": torch.randn_like,
    "randn_like by name": lambda x: torch.randn_like(input=x),
    "randn of numpy's number": lambda x: torch.randn(np.int64(len(x)), dtype=x.dtype),
    "normal_": lambda x: (torch.empty_like(x).normal_(3.0, 2.0) - 3) / 2,
}
UNIFORM = {
    "rand": lambda x: torch.rand(len(x), dtype=x.dtype),
    "rand_like": torch.rand_like,
    "uniform_": lambda x: (torch.empty_like(x).uniform_(-2.0, 4.0) + 2) / 6,
    "uniform_ by name": lambda x: (torch.empty_like(x).uniform_(**{"from": -2.0, "to": 4.0}) + 2) / 6,
    "uniform_ to": lambda x: torch.empty_like(x).uniform_(1, to=3.0) / 2 - 0.5,
}
CHOICES = {
    "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.3)),
    "bernoulli of a number": lambda x: torch.bernoulli(x, 0.3),
    "bernoulli by name": lambda x: torch.bernoulli(input=torch.full_like(x, 0.3)),
    "bernoulli of whole numbers": lambda x: torch.bernoulli(x.long(), 0.3).double(),
    "Tensor.bernoulli": lambda x: torch.full_like(x, 0.3).bernoulli(),
    "Tensor.bernoulli of a number": lambda x: x.bernoulli(0.3),
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.3),
    "bernoulli_ of a tensor": lambda x: torch.empty_like(x).bernoulli_(torch.full_like(x, 0.3)),
}


@pytest.mark.parametrize("name", NORMAL)
def test_normal_numbers_have_the_moments_of_a_normal_distribution(name):
    x = pure(NORMAL[name])(torch.zeros(MANY, dtype=torch.float64))
    for power, moment, of_square in ((1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105)):
        close(float((x**power).mean()), moment, math.sqrt(of_square - moment**2))


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_numbers_have_the_moments_of_a_uniform_distribution(name):
    x = pure(UNIFORM[name])(torch.zeros(MANY, dtype=torch.float64))
    assert 0 < float(x.min()) < float(x.max()) < 1
    for power in (1, 2, 5):
        moment = 1 / (power + 1)
        close(float((x**power).mean()), moment, math.sqrt(1 / (2 * power + 1) - moment**2))


@pytest.mark.parametrize("name", CHOICES)
def test_bernoulli_numbers_are_one_at_their_rate(name):
    x = pure(CHOICES[name])(torch.zeros(MANY, dtype=torch.float64))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    close(float(x.mean()), 0.3, math.sqrt(0.21))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_uniform_numbers_stay_below_1_and_certain_events_happen(dtype):
    """Half of an eps below 1 a number rounds to 1: one in 500 in bfloat16."""
    x = torch.ones(MANY, dtype=dtype)
    assert pure(torch.rand_like)(x).max() < 1
    assert pure(lambda x: torch.rand(len(x), dtype=x.dtype))(x).max() < 1
    assert pure(torch.bernoulli)(x).all()


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout1d, (500, 7)), (nn.Dropout3d, (500, 2, 3, 2))])
def test_whole_channels_are_dropped_without_a_batch_too(layer, shape):
    found = pure(layer(0.4))(torch.ones(shape)).flatten(1)
    kinds = sorted({tuple(row.unique().tolist()) for row in found})
    assert kinds == [(0.0,), (pytest.approx(1 / 0.6),)]


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_heads_may_share_keys_in_attention(p):
    torch.manual_seed(0)
    q, kv = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 3, 8)
    wanted = F.scaled_dot_product_attention(q, kv, kv, None, 0.0, True, enable_gqa=True)
    asked = pure(lambda q, kv: F.scaled_dot_product_attention(q, kv, kv, None, p, True, enable_gqa=True))
    found = torch.stack([asked(q, kv) for _ in range(4000 if p else 1)])
    assert (found.mean(0) - wanted).abs().max() < (0.1 if p else 1e-6)


def test_calls_forwards_and_keys_have_numbers_that_are_not_correlated():
    net = pure(lambda x: torch.stack([torch.randn_like(x), torch.randn_like(x)]))
    other = Pure(copy.deepcopy(net.net))
    x = torch.zeros(MANY, dtype=torch.float64)
    drawn = torch.cat([net(x), net(x), other(x)])
    correlation = torch.corrcoef(drawn) - torch.eye(6, dtype=torch.float64)
    assert float(correlation.abs().max()) < FAR / math.sqrt(MANY)
    assert int(net.count) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_have_the_asked_precision(dtype):
    for function in (torch.randn_like, torch.rand_like, lambda x: F.dropout(x + 1, 0.5)):
        assert pure(function)(torch.zeros(9, dtype=dtype)).dtype == dtype


def test_dropout_keeps_a_share_and_scales_it():
    for layer, shape, alike in (
        (nn.Dropout(0.2), (MANY,), ()),
        (nn.Dropout(0.2, inplace=True), (MANY,), ()),
        (nn.Dropout1d(0.2), (100, MANY // 100, 3), (2,)),
        (nn.Dropout2d(0.2), (100, MANY // 100, 2, 2), (2, 3)),
        (nn.Dropout3d(0.2), (100, MANY // 100, 2, 1, 2), (2, 3, 4)),
    ):
        torch.manual_seed(0)
        x = torch.ones(shape, dtype=torch.float64)
        found = Pure(layer)(x.clone())
        assert sorted(found.unique().tolist()) == [0.0, 1.25]
        whole = found.flatten(2).mean(2) if alike else found
        assert sorted(whole.unique().tolist()) == [0.0, 1.25]  # whole channels
        close(float(whole.mean()), 1, math.sqrt(0.25), whole.numel())
        assert torch.equal(Pure(layer).eval()(x), x)
    assert float(Pure(nn.Dropout(1.0))(torch.ones(9)).abs().sum()) == 0
    assert torch.equal(Pure(nn.Dropout(0.0))(torch.ones(9)), torch.ones(9))


def test_dropout_in_place_changes_its_input():
    def forward(x):
        x = x * 1
        F.dropout(x, 0.5, True, True)
        return x

    assert sorted(pure(forward)(torch.ones(100)).unique().tolist()) == [0.0, 2.0]


def test_the_gradient_of_dropout_is_its_mask():
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    found = Pure(nn.Dropout(0.3))(x)
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(slope * x, found)


# ------------------------------------------------------------------------------------------------------ attention


def test_attention_with_dropout_is_attention_on_average():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 4, 3, dtype=torch.float64) for _ in range(3))
    mask = torch.tensor([[0.0, 0.5, -1.0, 0.0]], dtype=torch.float64).expand(4, 4)
    for options in ({}, {"is_causal": True}, {"attn_mask": mask}, {"attn_mask": mask > -0.5}, {"scale": 0.7}):
        net = pure(lambda q, k, v, o=options: F.scaled_dot_product_attention(q, k, v, dropout_p=0.4, **o))
        repeated = [t.expand(4000, *t.shape[1:]) for t in (q, k, v)]
        found = net(*repeated)
        expected = F.scaled_dot_product_attention(q, k, v, **options)[0]
        error = found.std(0) / math.sqrt(4000)
        assert bool(((found.mean(0) - expected).abs() <= FAR * error + 1e-12).all()), options
        assert float(found.std(0).max()) > 0.1


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kdim", [None, 5])
def test_multi_head_attention_with_dropout_is_attention_on_average(batch_first, bias, kdim):
    torch.manual_seed(0)
    options = {"bias": bias, "kdim": kdim, "vdim": kdim, "batch_first": batch_first}
    plain = nn.MultiheadAttention(4, 2, **options).double()
    dropping = nn.MultiheadAttention(4, 2, dropout=0.3, **options).double()
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(3, 1, 4, dtype=torch.float64)
    other = x if kdim is None else torch.randn(6, 1, 5, dtype=torch.float64)
    many = [t.expand(-1, 4000, -1) for t in (x, other, other)]
    if batch_first:
        many = [t.transpose(0, 1) for t in many]
    found, weights = Pure(dropping)(*many)
    expected, expected_weights = plain(*many)
    axis = 0 if batch_first else 1
    error = found.std(axis) / math.sqrt(4000)
    assert bool(
        ((found.mean(axis) - expected.select(axis, 0)).abs() <= FAR * error + 1e-9).all()
    )  # projections are linear in the weights
    spread = weights.std(0) / math.sqrt(4000)
    assert bool(((weights.mean(0) - expected_weights[0]).abs() <= FAR * spread + 1e-12).all())


def test_attention_without_dropout_is_torchs():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(Pure(copy.deepcopy(layer))(x), layer(x), rtol=1e-12, atol=1e-12)
    dropping = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True).double()
    dropping.load_state_dict(layer.state_dict())
    torch.testing.assert_close(Pure(dropping).eval()(x), layer.eval()(x), rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------------ vmap, detection


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, spectral_norm])
def test_spectral_norm_under_vmap_is_that_of_each_module(norm):
    torch.manual_seed(0)
    nets = [norm(nn.Linear(3, 4)).double() for _ in range(2)]
    x = torch.randn(5, 3, dtype=torch.float64)
    wrapped = [Pure(copy.deepcopy(net)) for net in nets]
    params, buffers = stack_module_state(wrapped)
    found = vmap(lambda p, b: functional_call(wrapped[0], (p, b), (x,)))(params, buffers)
    expected = torch.stack([net(x) for net in nets])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_members_have_streams_of_their_own_under_vmap():
    torch.manual_seed(0)
    nets = [Pure(nn.Dropout(0.5)) for _ in range(2)]
    _, buffers = stack_module_state(nets)
    x = torch.ones(200)
    found = vmap(lambda b: functional_call(nets[0], b, (x,)))(buffers)
    for row, net in zip(found, nets):
        assert torch.equal(row, net(x))
    assert not torch.equal(found[0], found[1])


def test_a_layer_that_works_in_place_draws_no_random_numbers():
    x = torch.tensor([-1.0, 2.0])
    assert not draws_random_numbers(nn.LeakyReLU(0.5, inplace=True), x)


def test_what_draws_random_numbers_is_found_and_torchs_generator_stays():
    x = torch.ones(4, 3)
    draws = {
        "dropout": nn.Dropout(),
        "permutation": Of(lambda x: x[torch.randperm(len(x))]),
        "multinomial": Of(lambda x: x + torch.multinomial(torch.ones(5), 1)),
        "numpy": Of(lambda x: x + float(np.random.rand())),
        "Python": Of(lambda x: x + random.random()),
    }
    spectral = parametrizations.spectral_norm(nn.Linear(3, 3)), spectral_norm(nn.Linear(3, 3))
    wrapped = {name: Pure(net) for name, net in draws.items()}
    still = nn.Linear(3, 2), nn.BatchNorm1d(3), Of(lambda x: (x, {"a": x}))
    before = torch.random.get_rng_state()
    for name, net in draws.items():
        assert draws_random_numbers(net, x), name
        assert draws_random_numbers(wrapped[name], x) is (name != "dropout")
    for net in still:
        assert not draws_random_numbers(net, x)
        assert not needs_purity(net, x)
    assert all(needs_purity(net, x) for net in spectral)
    assert torch.equal(torch.random.get_rng_state(), before)
