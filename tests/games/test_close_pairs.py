"""FARGAN's local model in training: a critic with a free logit at each point, where the game's own loss for D is least.

The logits at a real point x_0 and at the m0 fakes close to it come to rest where Propositions 2 and 3 say. The
conditions are solved here by bisection. They are D's loss, differentiated by hand:

    a s(-xi_0) = 2 k (xi_0 - xi)   and   m0 c s(xi) - m0 b s(-xi) = 2 k (xi_0 - xi)

with a, b and c the weights of a real row, of a selected fake and of a fake in D's loss, and s the sigmoid.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UsageError
from steadygan.game import Network
from steadygan.games import FakeAsReal, Term, gan
from steadygan.losses import non_saturating
from steadygan.penalties import PAIRED, difference
from steadygan.theory import proposition3

APART, NEAR = 10.0, 0.01
DELTA = 0.1


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def rest(a: float, b: float, c: float, k: float, m0: int) -> tuple[float, float]:
    """xi_0 and xi where both conditions hold. The second one's excess grows with xi_0."""

    def other(xi0: float) -> float:
        return xi0 - a * sigmoid(-xi0) / (2 * k)

    def excess(xi0: float) -> float:
        return m0 * (c * sigmoid(other(xi0)) - b * sigmoid(-other(xi0))) - a * sigmoid(-xi0)

    low, high = -30.0, 30.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return middle, other(middle)


def trained(
    reals: int, fakes: int, m0: int, k: float, far: FakeAsReal | None = None, chosen: int = 0
) -> list[float]:
    """The logits at x_0 and at the close fakes, trained by D's loss. `chosen` close fakes are candidates too."""
    x = APART * torch.arange(reals, dtype=torch.float64)[:, None]
    near = NEAR * torch.arange(1, m0 + 1, dtype=torch.float64)[:, None]
    y = torch.cat([near, APART / 2 + APART * torch.arange(fakes - m0, dtype=torch.float64)[:, None]])
    known, batch = torch.cat([x, y]).flatten(), reals + chosen
    none, terms = Network(nn.Identity()), [Term(PAIRED["difference"](DELTA), k)]
    made = gan(none, none, non_saturating, shape=(1,), batch=batch, latent=1, far=far, penalties=terms)
    # The last reals are replaced by the selected.
    draw = {"x_real": torch.cat([x, x[:chosen]]), "z": y, "z_pool": near[:chosen]}

    def loss(logits: Tensor) -> Tensor:
        critic = lambda x: logits[(x - known).abs().argmin(1)]  # noqa: E731
        return made.players["D"].loss({"G": lambda z: z, "D": critic}, draw, {})[0]

    slope = torch.func.grad(loss)
    xi, ridge = torch.zeros_like(known), 1e-12 * torch.eye(len(known), dtype=known.dtype)
    for _ in range(20):  # Newton's steps. The logits of points without close ones go to infinity.
        xi = xi - torch.linalg.solve(torch.func.jacrev(slope)(xi) + ridge, slope(xi))
    return [xi[0].item(), *xi[reals : reals + m0].tolist()]


@pytest.mark.parametrize(
    ("m0", "k", "xi0", "xi"),
    [
        (1, 0.01, 0.17797761, -0.17797761),
        (2, 0.01, -0.39018061, -0.85606044),
        (4, 0.01, -0.95072704, -1.51421248),
        (4, 0.1, -1.33697872, -1.39885314),
        (8, 0.01, -1.52606644, -2.16780867),
    ],
)
def test_trained_logits_meet_proposition_2(m0, k, xi0, xi):
    """n = m = 64. The values are spec F2's, of a direct numeric maximiser."""
    # the mean over all n m pairs, a sum over pairs, |.| instead of the square, a 1/2
    found = trained(64, 64, m0, k)
    assert found == pytest.approx([xi0, *[xi] * m0], abs=1e-6)
    assert rest(1 / 64, 0, 1 / 64, k, m0) == pytest.approx((xi0, xi), abs=1e-7)


LAMBDAS = [0.0, 0.3, 1.0, 30.0]


@pytest.fixture(scope="module")
def alleviated() -> dict[float, list[float]]:
    """The trained logits of 60 reals and 64 fakes, 4 of them close and also counted as real, by their weight."""
    return {
        weight: trained(60, 64, 4, 0.01, FakeAsReal(4, 4, 1, weight=weight), chosen=4) for weight in LAMBDAS
    }


@pytest.mark.parametrize("weight", LAMBDAS)
def test_trained_logits_meet_proposition_3(alleviated, weight):
    """The real part is a mean: a real row has 1 / (N1 + lambda N0) of it, a selected fake lambda times as much."""
    # no normalization, (1 - lambda) for the reals, a weight on the penalty. Pairs of a selected fake and a fake: at
    # lambda = 0 they would count, though nothing of the selected is left in the loss
    whole = 60 + 4 * weight
    xi0, xi = rest(1 / whole, weight / whole, 1 / 64, 0.01, 4)
    assert alleviated[weight] == pytest.approx([xi0, *[xi] * 4], abs=1e-6)


@pytest.mark.parametrize("weight", LAMBDAS)
def test_the_weight_is_eqn_8s_with_another_scale_of_the_fake_part(alleviated, weight):
    """Times (N1 + lambda N0) / N1 D's loss is Eqn 8's, with n = N1, its lambda / N1, and heavier fakes and penalty."""
    scale = (60 + 4 * weight) / 60
    found = proposition3(60, 64 / scale, 4, 0.01 * scale, weight / 60)
    assert alleviated[weight] == pytest.approx([found.xi0, *[found.xi_star] * 4], abs=1e-6)


def test_the_pull_on_close_fakes_falls_with_the_weight(alleviated):
    """Proposition 3's P = s(-xi) (xi_0 - xi), of trained logits."""
    pulls = [sigmoid(-xi) * (xi0 - xi) for xi0, xi, *_ in alleviated.values()]
    assert all(0 < later < earlier for earlier, later in pairwise(pulls))
    assert pulls[-1] < pulls[0] / 3


# --------------------------------------------------------------------------------------- the function


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 4, 4)], ids=str)
@pytest.mark.parametrize("delta", [0.01, 0.9, 100.0])
def test_the_mean_over_close_pairs_is_that_of_a_plain_loop(shape, delta):
    # a norm of each channel, < in place of <=, the mean over all pairs, or over reals that have one
    x, y = normal(5, *shape, seed=1), normal(4, *shape, seed=2)
    y[2] = x[3] + delta / math.sqrt(math.prod(shape)) * 0.999
    real, fake = normal(5, seed=3), normal(4, seed=4)
    found = []
    for i in range(5):
        for j in range(4):
            if math.dist(x[i].flatten().tolist(), y[j].flatten().tolist()) <= delta:
                found.append((real[i].item() - fake[j].item()) ** 2)
    assert found
    assert difference(x, y, real, fake, delta).item() == pytest.approx(sum(found) / len(found), rel=1e-12)


def test_without_close_pairs_it_is_zero_with_a_gradient_of_zero():
    # 0 / 0: NaN kills the run on the first batch without a pair
    logits = torch.ones(2, requires_grad=True)
    value = difference(torch.zeros(2, 1), torch.ones(2, 1), logits, logits - 1, 0.5)
    value.backward()
    assert (value.item(), logits.grad.tolist()) == (0, [0, 0])


def test_both_logits_of_a_pair_have_its_gradient():
    # a detached side, as in a teacher and its student
    real, fake = (torch.tensor([value], requires_grad=True) for value in (3.0, 1.0))
    difference(torch.zeros(1, 2), torch.zeros(1, 2), real, fake, 0.1).backward()
    assert (real.grad.item(), fake.grad.item()) == (4, -4)


def test_distances_of_close_pairs_are_exact_far_from_the_origin():
    # |x|^2 + |y|^2 - 2 x.y in float32, which is off by more than these distances
    x = torch.full((30, 3), 1000.0)
    y = x + torch.tensor([0.0, 0.0, 0.0625])
    zeros, ones = torch.zeros(30), torch.ones(30)
    assert difference(x, y, zeros, ones, 0.07).item() == 1
    assert difference(x, y, zeros, ones, 0.06).item() == 0


def test_a_map_is_its_mean_and_several_critics_are_summed():
    x = torch.zeros(2, 1)
    maps = [
        [torch.tensor([[value, value + 2]] * 2) for value in values] for values in ((1.0, 5.0), (0.0, 2.0))
    ]
    assert difference(x, x, *maps, 0.1).item() == (2 + 6 - 1 - 3) ** 2


def test_members_of_an_ensemble_have_their_own_pairs():
    x, y = normal(3, 5, 2, seed=1), normal(3, 4, 2, seed=2)
    real, fake = normal(3, 5, seed=3), normal(3, 4, seed=4)
    together = torch.vmap(lambda *given: difference(*given, 1.0))(x, y, real, fake)
    alone = torch.stack([difference(*given, 1.0) for given in zip(x, y, real, fake, strict=True)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    ("x", "y", "delta", "words"), [((2,), (2,), 0.0, "positive.*0.0"), ((2,), (3,), 0.1, r"\[2\] and \[3\]")]
)
def test_what_is_no_distance_is_refused(x, y, delta, words):
    with pytest.raises(UsageError, match=words):
        difference(torch.zeros(4, *x), torch.zeros(4, *y), torch.zeros(4), torch.zeros(4), delta)
