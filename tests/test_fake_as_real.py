"""Fake-as-real against sorting in plain Python, and inside the discriminator's loss (spec A1, F10).

The comment in a test names the wrong implementation it is there to catch.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from steadygan import losses, penalties
from steadygan.errors import UsageError
from steadygan.fake_as_real import lowest, mix, select, weights
from steadygan.game import Game, Network
from steadygan.games import FakeAsReal, Term, gan
from steadygan.networks import mlp

SHAPES = [(1,), (2,), (3, 4, 4)]
N, POOL, N0, LATENT = 8, 3, 4, 2

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_loss = pytest.mark.parametrize("loss", losses.LOSSES.values(), ids=losses.LOSSES)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(x: Tensor) -> list[tuple[float, ...]]:
    """A batch as hashable rows, so that samples can be told apart and counted."""
    return [tuple(row) for row in x.flatten(1).tolist()]


def wavy(x: Tensor) -> Tensor:
    """A critic that is no linear function of its input, with its lows in unobvious places."""
    return (3 * x.flatten(1)).sin().sum(1)


# ---------------------------------------------------------------------------------------------- select


@each_shape
@pytest.mark.parametrize("count", [1, 5, 11, 12])
def test_selects_the_lowest_logits_lowest_first(shape, count):
    # the highest, a threshold, or candidates in any order (a changing count takes the first of them)
    candidates = normal(12, *shape, seed=1)
    ranked = sorted(zip(wavy(candidates).tolist(), rows(candidates)))
    chosen = select(wavy, candidates, count)
    assert rows(chosen) == [row for _, row in ranked[:count]]
    assert chosen.shape == (count, *shape)
    left = [value for value, _ in ranked[count:]]
    assert not left or wavy(chosen).max().item() <= min(left)


def test_a_pool_of_one_selects_every_candidate():
    candidates = normal(6, 2)
    assert sorted(rows(select(wavy, candidates, 6))) == sorted(rows(candidates))


def test_a_count_of_none_selects_nothing():
    assert select(wavy, normal(6, 3, 4, 4), 0).shape == (0, 3, 4, 4)


def test_the_selection_turns_round_with_the_critics_sign():
    """Spec A1's trap: under low = real the same rule picks the fakes that look most real."""
    candidates = normal(10, 2)
    low, high = (set(rows(select(f, candidates, 5))) for f in (wavy, lambda x: -wavy(x)))
    assert low.isdisjoint(high)
    assert low | high == set(rows(candidates))


def test_no_gradient_reaches_generator_or_critic_through_the_selection():
    # candidates with a graph: D's step would move G, and memory would hold all the candidates' activations
    G, D = (net.double() for net in mlp((2,)))
    recording = []
    selected = select(lambda x: recording.append(torch.is_grad_enabled()) or D(x), G(normal(12, 2)), 4)
    assert recording == [False]
    assert not selected.requires_grad
    losses.non_saturating.discriminator(D(mix(normal(8, 2), selected, 4)), D(normal(8, 2))).backward()
    assert all(p.grad is None for p in G.parameters())
    assert all(p.grad is not None for p in D.parameters())


def test_the_selection_is_a_copy():
    candidates = normal(6, 2)
    select(wavy, candidates, 6).zero_()
    assert candidates.all()


@pytest.mark.parametrize("count", [7, -1])
def test_more_than_there_are_is_refused(count):
    with pytest.raises(UsageError, match=rf"{count} of 6"):
        select(wavy, normal(6, 2), count)


def test_a_critic_that_mixes_samples_is_refused():
    with pytest.raises(UsageError, match=r"\[6\].*\[3, 1\].*packs"):
        select(lambda x: x.view(3, 4)[:, :1], normal(6, 2), 2)


def test_ranks_by_the_mean_of_a_critics_logits_summed_over_critics():
    # a mean over all logits of all critics, the sum of a map, or the first critic alone
    x = normal(12, 4)
    critics = {"map": lambda x: x.view(-1, 1, 2, 2), "wavy": wavy}
    ranked = sorted(range(12), key=lambda i: sum(x[i].tolist()) / 4 + wavy(x)[i].item())
    assert lowest(lambda x: [D(x) for D in critics.values()], x, 5).tolist() == ranked[:5]
    assert (
        lowest(lambda x: {"D": [D(x) for D in critics.values()]}, x, 5, logits=lambda out: out["D"]).tolist()
        == (ranked[:5])
    )


def test_selects_samples_with_their_labels():
    x, y, z = normal(6, 2), torch.tensor([0, 1, 0, 1, 1, 0]), normal(6, 3, seed=1)
    ranked = sorted(range(6), key=lambda i: (1 - 2 * y[i].item()) * x[i, 0].item())[:2]
    found, labels = select(lambda x, y: (1 - 2 * y) * x[:, 0], x, 2, y=y)
    assert torch.equal(found, x[ranked])
    assert torch.equal(labels, y[ranked])
    found, (labels, more) = select(lambda x, y, z: (1 - 2 * y) * x[:, 0], x, 2, y=(y, z))
    assert torch.equal(labels, y[ranked])
    assert torch.equal(more, z[ranked])
    with pytest.raises(UsageError, match=r"6.*\[5\]"):
        select(lambda x, y: x[:, 0], x, 2, y=y[:5])


# ------------------------------------------------------------------------------------------------- mix


@each_shape
@pytest.mark.parametrize("count", [0, 1, 3, torch.tensor(0), torch.tensor(2), torch.tensor(3)])
def test_mix_replaces_the_last_reals_by_the_first_selected(shape, count):
    # appended instead of replaced (N + N0 rows), or the selected ones that are not the lowest
    real, selected = normal(5, *shape, seed=1), normal(3, *shape, seed=2)
    mixed = rows(mix(real, selected, count))
    assert len(mixed) == 5
    assert mixed[: 5 - int(count)] == rows(real)[: 5 - int(count)]
    assert sorted(mixed[5 - int(count) :]) == sorted(rows(selected)[: int(count)])


@pytest.mark.parametrize(("count", "taken"), [(0.4, 0), (0.6, 1), (1.4, 1), (2.6, 3), (3.4, 3), (9.0, 3)])
def test_mix_rounds_a_count_that_a_schedule_gives_and_holds_it_to_what_there_is(count, taken):
    real, selected = torch.zeros(5, 2), torch.ones(3, 2)
    for given in (count, torch.tensor(count), torch.tensor(count, dtype=torch.float64)):
        assert mix(real, selected, given).sum(0).tolist() == [taken, taken]


def test_mix_of_a_whole_batch_leaves_no_real():
    real, selected = normal(4, 2, seed=1), normal(4, 2, seed=2)
    assert sorted(rows(mix(real, selected, 4))) == sorted(rows(selected))


def test_mix_of_nothing_is_the_batch_itself():
    real = normal(4, 2)
    assert torch.equal(mix(real, normal(0, 2), 0), real)


def test_mix_under_vmap_takes_each_members_own_count():
    real, selected, counts = normal(3, 5, 2, seed=1), normal(3, 4, 2, seed=2), torch.tensor([0.0, 2.0, 4.0])
    together = torch.vmap(mix)(real, selected, counts)
    for i, count in enumerate([0, 2, 4]):
        assert torch.equal(together[i], mix(real[i], selected[i], count))


def test_mix_of_more_than_the_batch_holds_is_refused():
    # negative slices: N = 3 with 4 selected used to give 6 rows
    with pytest.raises(UsageError, match=r"(?s)(4.*3|3.*4)"):
        mix(torch.zeros(3, 2), torch.ones(4, 2), 1)


@pytest.mark.parametrize(
    ("real", "selected"), [((3, 1), (2, 5)), ((3, 3, 4, 4), (2, 1, 4, 4)), ((3,), (2, 1))]
)
def test_mix_of_unlike_samples_is_refused(real, selected):
    # they used to be broadcast: rows of 5 numbers, or grey fakes among colour reals
    with pytest.raises(UsageError, match="give both one shape"):
        mix(torch.zeros(real), torch.ones(selected), 1)


def test_a_critic_that_works_in_place_changes_no_candidate():
    candidates = torch.tensor([[-3.0], [-1.0], [2.0]])
    critic = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Flatten(0))
    assert select(critic, candidates, 2).flatten().tolist() == [-3.0, -1.0]
    assert candidates.flatten().tolist() == [-3.0, -1.0, 2.0]


# --------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("count", "weight", "expected"),
    [
        (2, 0.5, [4 / 3, 4 / 3, 2 / 3, 2 / 3]),
        (1, 3.0, [2 / 3, 2 / 3, 2 / 3, 2.0]),
        (2, 0.0, [2.0, 2.0, 0.0, 0.0]),
        (3, 1.0, [1.0, 1.0, 1.0, 1.0]),
        (0, 7.0, [1.0, 1.0, 1.0, 1.0]),
        (4, 0.2, [1.0, 1.0, 1.0, 1.0]),
        (1.6, 0.5, [4 / 3, 4 / 3, 2 / 3, 2 / 3]),
    ],
)
def test_weights_worked_by_hand(count, weight, expected):
    # divided by N (the real part is no mean), the first rows, a count that is rounded down
    x = torch.zeros(4, 3, dtype=torch.float64)
    for given in ((count, weight), (torch.tensor(count), torch.tensor(weight, dtype=torch.float64))):
        found = weights(x, *given)
        assert found.tolist() == pytest.approx(expected, rel=1e-15)
        assert found.dtype == torch.float64


def test_weights_under_vmap_are_each_members_own():
    x, counts, lambdas = torch.zeros(4, 1), torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.5])
    together = torch.vmap(lambda n, weight: weights(x, n, weight))(counts, lambdas)
    for i in range(2):
        torch.testing.assert_close(together[i], weights(x, counts[i].item(), lambdas[i].item()))


@pytest.mark.parametrize(("count", "weight"), [(2, -0.1), (4, 0.0), (0, math.nan)])
def test_weights_of_nothing_are_refused(count, weight):
    with pytest.raises(UsageError, match=rf"{count} of 4 rows.*{weight}"):
        weights(torch.zeros(4, 1), count, weight)


# ------------------------------------------------------------------------- in the discriminator's loss


class Seen:
    """A critic that keeps what it is shown."""

    def __init__(self, critic: Callable[[Tensor], Tensor]) -> None:
        self.critic, self.batches = critic, []

    def __call__(self, x: Tensor) -> Tensor:
        self.batches.append(x.detach().clone())
        return self.critic(x)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G, D = mlp((2,), latent=LATENT, width=16, depth=2)
    return G.double(), D.double()


def game(far: FakeAsReal | None, loss: losses.Loss = losses.non_saturating, weight: float = 10.0) -> Game:
    G, D = networks()
    exact = [make() for make in penalties.PENALTIES.values() if make().sigma is None]
    listed = [Term(penalty, weight) for penalty in exact]
    options = {"shape": (2,), "batch": N, "latent": LATENT, "penalties": listed, "far": far}
    return gan(Network(G), Network(D), loss, **options)


def draw() -> dict[str, Tensor]:
    return {
        "x_real": normal(N, 2, seed=1),
        "z": normal(N, LATENT, seed=2),
        "z_pool": normal(POOL * N0, LATENT, seed=3),
        "alpha": torch.linspace(0, 1, N, dtype=torch.float64),
        "noise": torch.special.ndtr(normal(N, 2, seed=6)),
    }


def loss_of(made: Game, critic: Callable[[Tensor], Tensor], given: dict[str, Tensor] | None = None) -> Tensor:
    """D's loss with ordinary callables in place of the pure step's networks."""
    G, _ = networks()
    return made.players["D"].loss({"G": G, "D": critic}, given or draw(), {})[0]


def shown(far: FakeAsReal | None) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]], Seen]:
    """The rows that D sees as real and as fake, in that order."""
    seen = Seen(networks()[1])
    loss_of(game(far), seen)
    whole = [rows(batch) for batch in seen.batches if len(batch) == N]
    return whole[0], whole[1], seen


def test_the_discriminator_sees_n_rows_of_which_n0_are_the_lowest_candidates():
    G, D = networks()
    with torch.no_grad():
        candidates = G(draw()["z_pool"])
    lowest = [row for _, row in sorted(zip(D(candidates).tolist(), rows(candidates)))[:N0]]
    real, fake, seen = shown(FakeAsReal(N0, N0, POOL))
    assert rows(seen.batches[0]) == rows(candidates)
    assert real[: N - N0] == rows(draw()["x_real"])[: N - N0]
    assert sorted(real[N - N0 :]) == sorted(lowest)
    assert fake == rows(G(draw()["z"]))
    assert set(fake).isdisjoint(rows(candidates))  # y is never taken for real itself


def test_candidates_may_be_scored_in_bfloat16_and_are_then_made_again():
    """Spec A1: scoring may run in bf16, but what D is shown as real is G's sample in the run's precision."""
    G, D = (net.float() for net in networks())
    given = {name: values.float() for name, values in draw().items()}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = D(G(given["z_pool"])).float()
    far = FakeAsReal(N0, N0, POOL, torch.bfloat16)
    seen = Seen(D)
    made = gan(Network(G), Network(D), losses.hinge, shape=(2,), batch=N, latent=LATENT, far=far)
    made.players["D"].loss({"G": G, "D": seen}, given, {})
    scored, real = seen.batches[0], seen.batches[1]
    assert torch.equal(scored, scored.bfloat16().to(scored.dtype))  # candidates made in float32
    assert not torch.equal(real[N - N0 :], real[N - N0 :].bfloat16().float())  # rows left in bfloat16
    gap, chosen = torch.cdist(real[N - N0 :], G(given["z_pool"]).detach()).min(1)
    assert gap.max() < 1e-6
    assert torch.equal(rough[chosen].sort().values, rough.sort().values[:N0])  # equal ones may change places
    assert torch.equal(real[: N - N0], given["x_real"][: N - N0])


@pytest.mark.parametrize(("given", "count"), [(0.3, 0), (1.2, 1), (1.8, 2), (3.0, 3)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_count_below_the_most_has_as_many_fewer_candidates(given, count, sign):
    """Spec A1: N0 of f N0 candidates at every step of a schedule, so f keeps its meaning as N0 falls."""
    G, D = networks()
    with torch.no_grad():
        for p in D.parameters():
            p *= sign  # so that one case or the other has its lowest candidate among those that drop out
    candidates = G(draw()["z_pool"]).detach()[: POOL * count]
    lowest = [row for _, row in sorted(zip(D(candidates).tolist(), rows(candidates)))[:count]]
    seen = Seen(D)
    loss_of(game(FakeAsReal(lambda scalars: torch.tensor(given), N0, POOL)), seen)
    real = next(rows(batch) for batch in seen.batches if len(batch) == N)
    assert real[: N - count] == rows(draw()["x_real"])[: N - count]
    assert sorted(real[N - count :]) == sorted(lowest)


def test_the_penalty_falls_on_all_n_rows_that_count_as_real():
    """Spec E3: on c = (x, selected), not on x alone, nor on y. D = |x|^2 / 2 has the penalty mean |c|^2."""

    def bowl(x: Tensor) -> Tensor:
        return x.square().sum(1) / 2

    G, D = networks()
    far = FakeAsReal(N0, N0, POOL)
    options = {"shape": (2,), "batch": N, "latent": LATENT, "far": far}
    values = []
    for weight in (0.0, 10.0):
        made = gan(
            Network(G),
            Network(D),
            losses.hinge,
            penalties=[Term(penalties.PENALTIES["r1"](), weight)],
            **options,
        )
        values.append(loss_of(made, bowl))
    selected = select(bowl, G(draw()["z_pool"]), N0)
    c = torch.cat([draw()["x_real"][: N - N0], selected])
    torch.testing.assert_close(values[1] - values[0], 10 * c.square().sum(1).mean())


@each_loss
def test_works_with_every_loss(loss):
    """The loss sees the mixed rows as real and stays what it is; penalties have weight 0 here."""
    G, D = networks()
    given = draw()
    mixed = mix(given["x_real"], select(D, G(given["z_pool"]), N0), N0)
    expected = loss.discriminator(D(mixed), D(G(given["z"])))
    torch.testing.assert_close(loss_of(game(FakeAsReal(N0, N0, POOL), loss, weight=0.0), D), expected)
    made = game(FakeAsReal(N0, N0, POOL), loss)
    without = game(None, loss)
    for player in (made, without):  # fake-as-real does not change the generator's loss
        nets = {"G": G, "D": D}
        expected = loss.generator(D(G(given["z"])), D(given["x_real"]) if loss.pairs else None)
        torch.testing.assert_close(player.players["G"].loss(nets, given, {})[0], expected)


@each_loss
@pytest.mark.parametrize("most", [0, N0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_count_of_zero_is_the_baseline(loss, most, dtype):
    # candidates that count as fakes, or a row lost to a count that is never quite zero
    given = {key: v.to(dtype) for key, v in draw().items()}
    given["z_pool"] = given["z_pool"][: POOL * most]
    nets = {key: net.to(dtype) for key, net in zip("GD", networks())}
    found, baseline = (
        game(far, loss).players["D"].loss(nets, given, {})[0] for far in (FakeAsReal(0, most, POOL), None)
    )
    if most:  # a schedule at 0: G runs on more rows at once, which some kernels round otherwise
        torch.testing.assert_close(found, baseline)
    else:
        assert torch.equal(found, baseline)


def weighed(weight: float | Callable, count: float | Callable = N0) -> FakeAsReal:
    return FakeAsReal(count, N0, POOL, weight=weight)


@each_loss
@pytest.mark.parametrize("weight", [0.3, 2.5])
def test_the_real_part_is_the_mean_of_the_weighed_rows(loss, weight):
    """(N1 L(x) + lambda N0 L(y~)) / (N1 + lambda N0): L of each kind of rows alone, as all losses are means."""
    # (1/N)(sum + lambda sum), which is no mean; weights for the reals; the fakes weighed too
    G, D = networks()
    given = draw()
    selected, y = select(D, G(given["z_pool"]), N0), D(G(given["z"]))
    n1 = N - N0
    real = loss.discriminator(D(given["x_real"][:n1]), y[:n1] if loss.pairs else y)
    fake = loss.discriminator(D(selected), y[n1:] if loss.pairs else y)
    expected = (n1 * real + weight * N0 * fake) / (n1 + weight * N0)
    for given_weight in (weight, lambda scalars: torch.tensor(weight, dtype=torch.float64)):
        found = loss_of(game(weighed(given_weight), loss, weight=0.0), D)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_a_weight_of_zero_leaves_the_selected_out_of_the_loss_and_not_out_of_the_penalty():
    """Eqn 8: lambda multiplies the logarithm. The penalty of Eqn 11 is of all N rows c."""

    def bowl(x: Tensor) -> Tensor:
        return x.square().sum(1) / 2

    G, _ = networks()
    given, r1 = draw(), Term(penalties.PENALTIES["r1"](), 10.0)
    nets = Network(G), Network(networks()[1])
    options = {"shape": (2,), "batch": N, "latent": LATENT, "far": weighed(0.0)}
    made = gan(*nets, losses.non_saturating, penalties=[r1], **options)
    x, selected = given["x_real"][: N - N0], select(bowl, G(given["z_pool"]), N0)
    alone = losses.non_saturating.discriminator(bowl(x), bowl(G(given["z"])))
    penalty = 10 * torch.cat([x, selected]).square().sum(1).mean()
    torch.testing.assert_close(loss_of(made, bowl), alone + penalty)


def test_the_mean_logit_that_is_logged_is_the_losses_own():
    # the plain mean of all N rows: by Jensen's inequality the loss is bounded by its terms at the mean logits
    G, D = networks()
    selected = select(D, G(draw()["z_pool"]), N0)
    logs = game(weighed(0.25)).players["D"].loss({"G": G, "D": D}, draw(), {})[1]
    rows = [*D(draw()["x_real"][: N - N0]).tolist(), *(0.25 * D(selected)).tolist()]
    assert logs["logit/real"].item() == pytest.approx(sum(rows) / (N - N0 + 0.25 * N0), rel=1e-12)


def test_a_weight_of_one_is_todays_loss_bit_for_bit():
    D = networks()[1]
    found, today = (loss_of(game(far), D) for far in (weighed(1), FakeAsReal(N0, N0, POOL)))
    assert torch.equal(found, today)


def test_a_loss_that_takes_no_weights_is_refused():
    own = losses.Loss(lambda real, fake: (fake - real).mean(), lambda fake, real=None: -fake.mean())
    assert game(weighed(1), own).players
    with pytest.raises(UsageError, match=r"fake_as_real\.weight.*weights=None"):
        game(weighed(0.5), own)


@pytest.mark.parametrize("weight", [1.0, 0.2, 5.0])
def test_equilibrium_is_kept(weight):
    """Spec A1: a critic that cannot tell still has the losses 2 log 2 and log 2 under fake-as-real."""
    made = game(weighed(weight))
    flat = {"G": networks()[0], "D": lambda x: 0 * x.sum(1)}
    assert made.players["D"].loss(flat, draw(), {})[0].item() == pytest.approx(
        1.3862943611 + 2 * 10
    )  # + WGAN-GP's and DRAGAN's (0 - 1)^2
    assert made.players["G"].loss(flat, draw(), {})[0].item() == pytest.approx(0.6931471806)


def test_candidates_are_drawn_for_the_most_and_only_when_there_are_any():
    assert game(FakeAsReal(N0, N0, POOL)).fields["z_pool"].shape == (POOL * N0, LATENT)
    assert game(FakeAsReal(0, 0, POOL)).fields["z_pool"].shape == (0, LATENT)
    assert "z_pool" not in game(None).fields
    assert "z_pool" not in game(FakeAsReal(N0, N0, POOL)).players["G"].reads


def test_a_count_above_the_most_is_the_most():
    """Candidates are drawn for the most alone: the others would be real rows that weigh as fakes."""
    losses_of = {}
    for count in (N0, N0 + 2):
        made = game(FakeAsReal(count, N0, POOL, weight=0.5))
        losses_of[count] = made.players["D"].loss({"G": networks()[0], "D": networks()[1]}, draw(), {})
    (one, logs), (other, more) = losses_of.values()
    assert one.item() == other.item()
    assert {key: value.item() for key, value in logs.items()} == {key: v.item() for key, v in more.items()}


def test_more_than_a_batch_is_refused():
    with pytest.raises(UsageError, match=rf"{N + 1}.*{N} rows"):
        game(FakeAsReal(N + 1, N + 1, POOL))


def test_weights_have_the_mean_1_in_half_precision_too():
    found = weights(torch.zeros(48, 2, dtype=torch.bfloat16), 7, 0.3)
    assert found.mean().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("function", [lambda x: mix(x, x, -1), lambda x: weights(x, -1, 0.5)])
def test_a_count_below_0_is_refused(function):
    with pytest.raises(UsageError, match="number of selected fakes is -1: choose 0 or more"):
        function(torch.zeros(4, 2))
