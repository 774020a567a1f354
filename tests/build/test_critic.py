"""Constrained critics through the pure step, against plain loops of modules, `.backward()` and torch.optim.

The comment in a test names the wrong implementation it is there to catch. Penalties and normalizations are
taken from their tables: a new one without an oracle here fails with a KeyError under its name.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from steadygan import config, losses
from steadygan.build import Own, build
from steadygan.config import registry
from steadygan.config.records import NetworkPart
from steadygan.data import ring
from steadygan.data.given import given
from steadygan.dynamics import alternating
from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Network, State, flatten
from steadygan.game import batches as of_draws
from steadygan.game import optimizers as optim
from steadygan.game.batches import BLOCK, Draws
from steadygan.game.state import Step, complete, initial, member, stack
from steadygan.games import Clip, FakeAsReal, Term, View, gan
from steadygan.normalization import (
    READINGS,
    gradient_normalized,
    penalty_gradient_normalized,
    spectral_normalized,
)
from steadygan.penalties import PENALTIES

STEPS, BATCH, LATENT, WEIGHT = 20, 8, 3, 0.7
LOSS = losses.non_saturating

Critic = Callable[[Tensor], Tensor]
Nets = dict[str, nn.Module]


class Setting(NamedTuple):
    """What a critic is constrained by: names of the tables, and one interval for all penalties."""

    penalties: Sequence[str] = ()
    interval: int = 1
    normalize: str = "none"
    clip: float | None = None
    when: str = "after"
    activation: Callable[[], nn.Module] = partial(nn.LeakyReLU, 0.2)
    n_critic: int = 1
    n_generator: int = 1


NORMALIZE: dict[str, Any] = {
    "none": None,
    "gn": gradient_normalized,
    **{reading: partial(penalty_gradient_normalized, reading=reading) for reading in READINGS},
    "spectral": None,
}


def networks(setting: Setting, seed: int = 0) -> Nets:
    """G smooth, D as the setting says and steep, so that slopes lie on either side of one."""
    torch.manual_seed(seed)
    G = nn.Sequential(nn.Linear(LATENT, 8), nn.Tanh(), nn.Linear(8, 2))
    layers = [nn.Linear(2, 8), setting.activation(), nn.Linear(8, 8), setting.activation()]
    D = nn.Sequential(*layers, nn.Linear(8, 1), nn.Flatten(0))
    with torch.no_grad():
        for p in D.parameters():
            p.mul_(1.7)
    if setting.normalize == "spectral":
        spectral_normalized(D)
    return {"G": G.double(), "D": D.double()}


def game(setting: Setting, nets: Nets, **options: Any) -> Game:
    return gan(
        **{name: Network(net) for name, net in nets.items()},
        loss=LOSS,
        shape=(2,),
        batch=BATCH,
        latent=LATENT,
        penalties=[Term(PENALTIES[name](), WEIGHT, setting.interval) for name in setting.penalties],
        view=View(NORMALIZE[setting.normalize]),
        clip=None if setting.clip is None else Clip(setting.clip, setting.when),
        **options,
    )


def prepared(
    setting: Setting, nets: Nets, seeds: Sequence[int] = (0,), members: bool = False, **options: Any
) -> tuple[Step, Draws]:
    made = game(setting, nets, **options)
    counts = {"n_critic": setting.n_critic, "n_generator": setting.n_generator}
    rule = alternating(made, dict.fromkeys(nets, optim.adam(0.01)), **counts)
    draws = Draws(made, rule.rounds, ring(size=None), seeds, members=members, dtype=torch.float64)
    return complete(rule, made), draws


def start(nets: Nets) -> State:
    return initial(nets, dict.fromkeys(nets, optim.adam(0.01)), dtype=torch.float64)


def run(step: Step, draws: Draws, state: State, steps: int = STEPS) -> State:
    for number in range(steps):
        state, _ = step(state, draws(number))
    return state


# --------------------------------------------------------------------------------------- an independent loop


def slope(critic: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and gradients [N, n], differentiable again."""
    x = x if x.requires_grad else x.clone().requires_grad_()
    logits = critic(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return logits, gradient.flatten(1)


NORMALIZED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gn": lambda f, g: f / (g.norm(dim=1) + f.abs()),
    "elementwise": lambda f, g: (1 - f) / ((1 - g).norm(dim=1) + (1 - f).abs()),
    "proof": lambda f, g: (1 - f) / (g.norm(dim=1) + (1 - f).abs()),
    "scalar": lambda f, g: (1 - f) / ((1 - g.norm(dim=1)).abs() + (1 - f).abs()),
}

PENALISED: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "r1": ("real", lambda slope: slope.square().mean()),
    "r2": ("fake", lambda slope: slope.square().mean()),
    "zero_centered": ("between", lambda slope: slope.square().mean()),
    "one_centered": ("between", lambda slope: (slope - 1).square().mean()),
    "one_sided": ("between", lambda slope: (slope - 1).clamp_min(0).square().mean()),
    "dragan": ("around", lambda slope: (slope - 1).square().mean()),
    "max_gradient": ("between", lambda slope: slope.max().square()),
    "approximated_r1": ("along real", lambda slope: slope.square().mean()),
    "approximated_r2": ("along fake", lambda slope: slope.square().mean()),
}


def normalized(kind: str, D: Critic) -> Critic:
    return (lambda x: NORMALIZED[kind](*slope(D, x))) if kind in NORMALIZED else D


def clamp(D: nn.Module, setting: Setting) -> None:
    with torch.no_grad():
        for p in D.parameters():
            p.clamp_(-(setting.clip or torch.inf), setting.clip or torch.inf)


def plain(setting: Setting, nets: Nets, draws: Draws) -> None:
    """The same training with modules that are changed in place."""
    G, D = nets["G"], nets["D"]
    optimizers = {name: torch.optim.Adam(net.parameters(), 0.01) for name, net in nets.items()}
    critic = normalized(setting.normalize, D)

    def step_D(number: int, given: Draw) -> None:
        with torch.no_grad():
            x, y = given["x_real"], G(given["z"])
        places = {"real": x, "fake": y}
        if "alpha" in given:
            alpha = given["alpha"][:, None]
            places["between"] = alpha * x + (1 - alpha) * y
        if "noise" in given:
            places["around"] = x + x.std(correction=0) / 2 * alpha * given["noise"]
        if setting.when == "before":
            clamp(D, setting)
        value = LOSS.discriminator(critic(x), critic(y))
        for name in setting.penalties if number % setting.interval == 0 else ():
            where, term = PENALISED[name]
            if side := where.removeprefix("along ") if where.startswith("along") else "":
                near = places[side] + 0.01 * given[f"direction/{side}"]
                steep = (critic(near) - critic(places[side])) / 0.01
            else:
                steep = slope(critic, places[where])[1].norm(dim=1)
            value = value + setting.interval * WEIGHT * term(steep)
        optimizers["D"].zero_grad()
        value.backward()
        optimizers["D"].step()
        if setting.when == "after":
            clamp(D, setting)

    def step_G(given: Draw) -> None:
        optimizers["G"].zero_grad()
        LOSS.generator(critic(G(given["z"]))).backward()
        optimizers["G"].step()

    for number in range(STEPS):
        given = iter(draws(number))
        if setting.n_generator > 1:
            for _ in range(setting.n_generator):
                step_G(next(given))
            step_D(number, next(given))
        else:
            for _ in range(setting.n_critic):
                step_D(number, next(given))
            step_G(next(given))
        assert next(given, None) is None


SETTINGS = {
    **{name: Setting([name]) for name in PENALTIES},
    **{f"{name}, every third step": Setting([name], 3) for name in PENALTIES},
    **{name: Setting(normalize=name) for name in NORMALIZE},
    **{f"{name}, softplus": Setting(normalize=name, activation=nn.Softplus) for name in NORMALIZED},
    "clipped": Setting(clip=0.3),
    "clipped before": Setting(clip=0.3, when="before"),
    "clipped and two critic steps": Setting(["r1"], clip=0.3, n_critic=2),
    "lazy and two critic steps": Setting(["one_centered"], 3, n_critic=2),
    "clipped and two generator steps": Setting(["r1"], clip=0.3, n_generator=2),
    "lazy and two generator steps": Setting(["one_centered"], 3, n_generator=2),
    "all penalties": Setting(list(PENALTIES)),
    "a penalty on a normalized critic": Setting(["one_centered"], 2, "gn", activation=nn.Softplus),
}
each_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


@each_setting
def test_the_pure_step_is_the_plain_loop(setting):
    # a penalty of the bare critic under a normalized loss, interval forgotten in the weight or due one step
    # off, clipping before the step or of G too, a generator that sees the critic as it was or not normalized
    nets = networks(setting)
    step, draws = prepared(setting, nets)
    begin = start(nets)
    state = run(step, draws, begin)
    plain(setting, nets, draws)
    for name, net in nets.items():
        assert (flatten(net) - begin.params[name]).norm() > 0.1
        torch.testing.assert_close(state.params[name], flatten(net), rtol=0, atol=1e-9)
        for key, buffer in net.named_buffers():
            torch.testing.assert_close(state.buffers[name][key], buffer, rtol=0, atol=1e-9)


def test_settings_that_differ_end_elsewhere():
    """The oracle's own check: no setting is a copy of another one (n.b. spec F10: hinge is Wasserstein + 2)."""
    ends = {}
    for name, setting in SETTINGS.items():
        if setting.activation is not nn.Softplus and setting.normalize != "spectral":
            nets = networks(setting)
            ends[name] = run(*prepared(setting, nets), start(nets), steps=4).params["D"]
    names = list(ends)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert (ends[a] - ends[b]).norm() > 1e-6, (a, b)


@each_setting
def test_a_member_of_an_ensemble_is_trained_as_alone(setting):
    # a norm, a largest gradient or a standard deviation taken over all members
    each = [networks(setting, seed) for seed in (0, 1)]
    step, draws = prepared(setting, each[0], seeds=(3, 4), members=True)
    together = stack([start(nets) for nets in each])
    for number in range(4):
        together, _ = torch.vmap(step)(together, draws(number))
    for i, (nets, seed) in enumerate(zip(each, (3, 4), strict=True)):
        alone = run(*prepared(setting, nets, seeds=(seed,)), start(nets), steps=4)
        leaves = (torch.utils._pytree.tree_leaves(tree) for tree in (member(together, i), alone))
        for a, b in zip(*leaves, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PENALTIES if name != "r1"])
def test_penalties_on_a_spectrally_normalized_critic(name):
    setting = Setting([name], normalize="spectral")
    nets = networks(setting)
    step, draws = prepared(setting, nets)
    state = run(step, draws, start(nets), steps=2)
    assert all(b.isfinite().all() for b in state.buffers["D"].values())


def test_a_normalized_critic_may_have_spectral_norm_of_torch():
    setting = Setting(normalize="gn")
    nets = networks(setting)
    nets["D"][0] = parametrizations.spectral_norm(nets["D"][0])
    step, draws = prepared(setting, nets)
    run(step, draws, start(nets), steps=2)


# ------------------------------------------------------------------------------------- the cheap generator step


@pytest.mark.parametrize("kind", ["none", *NORMALIZED])
@pytest.mark.parametrize("activation", [nn.ReLU, partial(nn.LeakyReLU, 0.2)], ids=["relu", "leaky"])
def test_the_cheap_generator_step_is_exact_for_piecewise_linear_critics(kind, activation):
    # a tangent of the normalized critic, in place of the normalized tangent; D's own step made cheap
    setting = Setting(normalize=kind, activation=activation)
    nets = networks(setting)
    exact, cheap = (run(*prepared(setting, nets, cheap=cheap), start(nets)) for cheap in (False, True))
    for name in nets:
        torch.testing.assert_close(cheap.params[name], exact.params[name], rtol=0, atol=1e-9)
    assert (cheap.params["G"] - flatten(nets["G"])).norm() > 0.1


@pytest.mark.parametrize("kind", NORMALIZED)
def test_the_cheap_generator_step_leaves_curvature_out_and_only_there(kind):
    setting = Setting(normalize=kind, activation=nn.Softplus)
    nets = networks(setting)
    exact, cheap = (run(*prepared(setting, nets, cheap=c), start(nets), steps=1) for c in (False, True))
    assert torch.equal(cheap.params["D"], exact.params["D"])
    moments = [state.moments["G"]["mean"] for state in (exact, cheap)]
    assert (moments[0] - moments[1]).norm() > 1e-4 * moments[0].norm()


# ----------------------------------------------------------------------------------------------- lazy penalties


def lazily(*intervals: int, **options: Any) -> Game:
    nets = networks(Setting())
    terms = [Term(PENALTIES["zero_centered"](), WEIGHT, interval) for interval in intervals]
    wrapped = {name: Network(net) for name, net in nets.items()}
    return gan(**wrapped, loss=LOSS, shape=(2,), batch=BATCH, latent=LATENT, penalties=terms, **options)


@pytest.mark.parametrize("n_critic", [1, 2])
def test_due_fields_are_there_on_multiples_only(n_critic):
    # counted from the start of a block (64 is no multiple of 3 or 5), or in G's round
    made = lazily(1, 3, 5)
    rounds = (("D",),) * n_critic + (("G",),)
    draws = Draws(made, rounds, ring(size=None), [0], members=False)
    always = {"x_real", "z", "alpha"}
    for step in (*range(2 * BLOCK + 2), 1000 * BLOCK - 4, 1000 * BLOCK):
        *for_D, for_G = draws(step)
        due = {f"due/{interval}" for interval in (3, 5) if step % interval == 0}
        assert all(given.keys() == always | due for given in for_D)
        assert for_G.keys() == {"z"}


def test_lazy_penalties_leave_the_other_draws_as_they_were():
    every, lazy = (
        Draws(lazily(interval), (("D",), ("G",)), ring(size=None), [0], members=False) for interval in (1, 7)
    )
    for step in (0, 1, 7, BLOCK, BLOCK + 6):
        for a, b in zip(every(step), lazy(step), strict=True):
            assert all(torch.equal(b[key], value) for key, value in a.items())


def test_a_lazy_penalty_is_logged_as_it_is_and_only_when_due():
    """loss/D holds interval * weight * penalty on a step that is due, penalty/NAME the bare mean.

    adversarial/D is the loss of the game without penalties, at every step.
    """
    bare, often, seldom = Setting(), Setting(["r1"]), Setting(["r1"], 4)
    nets, logs = networks(bare), []
    for setting in (bare, often, seldom):
        step, draws = prepared(setting, nets)
        logs.append([step(start(nets), draws(number))[1] for number in (0, 1, 4)])
    for i, due in enumerate((True, False, True)):
        plain, each, lazy = (log[i] for log in logs)
        added = each["loss/D"] - plain["loss/D"]
        torch.testing.assert_close(added, WEIGHT * each["penalty/r1"])
        assert ("penalty/r1" in lazy) == due
        assert "adversarial/D" not in plain
        for found in (each, lazy):
            torch.testing.assert_close(found["adversarial/D"], plain["loss/D"])
        torch.testing.assert_close(lazy["loss/D"] - plain["loss/D"], 4 * due * added)
        if due:
            torch.testing.assert_close(lazy["penalty/r1"], each["penalty/r1"])


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(UsageError, match="interval"):
        Draws(lazily(0), (("D",), ("G",)), ring(size=None), [0], members=False)(0)


def test_a_large_field_leaves_the_other_draws_as_they_were(monkeypatch):
    """Fake-as-real and its baseline see the same reals and latents, also where candidates fill a block."""
    monkeypatch.setattr(of_draws, "LARGEST", 300)
    made = lazily(1), lazily(1, far=FakeAsReal(4, 4, 8))
    plain, far = (Draws(g, (("D",), ("G",)), ring(size=None), [0], members=False) for g in made)
    for step in (0, 1, 9, 40):
        for a, b in zip(plain(step), far(step), strict=True):
            assert all(torch.equal(b[key], value) for key, value in a.items())


# ------------------------------------------------------------------------------------------ clipped and refused


def test_clipping_holds_the_critic_after_each_step_and_nobody_else():
    setting = Setting(clip=0.05)
    nets = networks(setting)
    step, draws = prepared(setting, nets)
    state = start(nets)
    assert state.params["D"].abs().max() > 0.05
    for number in range(3):
        state, _ = step(state, draws(number))
        assert state.params["D"].abs().max() == 0.05
        assert state.params["G"].abs().max() > 0.05


def test_clipping_to_a_negative_bound_is_refused():
    nets = networks(Setting())
    with pytest.raises(UsageError, match="positive bound"):
        run(*prepared(Setting(clip=-1.0), nets), start(nets), steps=1)


def test_clipping_to_zero_is_refused():
    nets = networks(Setting())
    with pytest.raises(UsageError, match="positive bound"):
        run(*prepared(Setting(clip=0.0), nets), start(nets), steps=1)


@pytest.mark.parametrize("kind", NORMALIZED)
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.SyncBatchNorm])
def test_a_normalized_critic_with_batch_norm_is_refused(kind, norm):
    # each sample's gradient would hold the others' share
    nets = networks(Setting())
    nets["D"].insert(1, norm(8).double())
    with pytest.raises(UsageError, match="batch norm"):
        game(Setting(normalize=kind), nets)
    game(Setting(), nets)
    nets = networks(Setting())
    nets["G"].insert(1, norm(8).double())
    game(Setting(normalize=kind), nets)


def test_a_generators_gradient_reaches_no_critic_and_a_critics_no_generator():
    """Spec F10: each step moves one player's parameters and moments only."""
    for kind in NORMALIZED:
        setting = Setting(["r2"], normalize=kind, activation=nn.Softplus)
        nets = networks(setting)
        _, draws = prepared(setting, nets)
        before = start(nets)
        for name in nets:
            lr = {other: optim.adam(0.01 if other == name else 0.0) for other in nets}
            rule = alternating(game(setting, nets), lr)
            after, _ = rule.step(before, draws(0))
            for other in nets:
                assert torch.equal(after.params[other], before.params[other]) == (other != name)


# -------------------------------------------------------------------------- which critics take the cheap step


def cheap_of(**changes: Any) -> bool:
    """Whether the game that a configuration makes takes the cheap generator step."""
    raw = {
        "data": "ring8",
        "networks": {"name": "mlp", "width": 8},
        "critic": {"normalization": "gradient_normalized"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 1,
    }
    return (
        build(config.parse(config.override(raw, [f"{k}={v}" for k, v in changes.items()])))
        .game.players["G"]
        .loss.args[0]
        .cheap
    )


def test_a_configuration_takes_the_cheap_step_where_it_is_exact():
    # a declaration that is read and then ignored
    assert cheap_of()
    assert not cheap_of(**{"critic.piecewise_linear": "false"})
    assert cheap_of(**{"critic.piecewise_linear": "true"})
    assert not cheap_of(**{"noise.D": "0.1"})
    assert not cheap_of(dynamics="consensus")
    assert not cheap_of(**{"critic.normalization": "none"})


def test_a_false_declaration_is_refused_with_its_remedy(monkeypatch):
    smooth = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1), nn.Flatten(0))
    made = NetworkPart(lambda shape, **_: (nn.Linear(2, 2), smooth), "a smooth critic")
    monkeypatch.setitem(registry.NETWORKS, "mlp", made)
    raw = {
        "data": "ring8",
        "networks": "mlp",
        "critic": {"normalization": "gradient_normalized", "piecewise_linear": True},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 1,
    }
    settings = config.parse(raw)
    with pytest.raises(UsageError, match=r"critic\.piecewise_linear=false"):
        build(settings)


# ------------------------------------------------------------------------- critics of one's own, as they come


class Maps(nn.Module):
    """A critic with a map of logits, or with a list of two of them, piecewise linear."""

    def __init__(self, several: bool = False, curved: bool = False) -> None:
        super().__init__()
        self.body, self.several, self.curved = nn.Linear(2, 6), several, curved

    def forward(self, x: Tensor) -> Any:
        found = torch.tanh(self.body(x)) if self.curved else self.body(x).relu()
        return [found, -found] if self.several else found


def of_own(D: nn.Module, dtype: torch.dtype = torch.float32, **critic: Any):
    nets = {"G": nn.Linear(3, 2).to(dtype), "D": D.to(dtype)}
    raw = {
        "data": "own",
        "networks": {"name": "own", "latent": 3},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 2,
        "batch": 4,
        "critic": {"normalization": "gradient_normalized", "reduce": "mean", **critic},
        "precision": "float64" if dtype == torch.float64 else "float32",
    }
    rows = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    return build(config.parse(raw), Own(lambda shape: nets, given(rows)))


@pytest.mark.parametrize("several", [False, True], ids=["a map", "a list"])
def test_critics_of_many_logits_may_be_declared_piecewise_linear(several):
    run = of_own(Maps(several), piecewise_linear=True)
    after, _ = run.step(run.state, run.draws(0))
    undeclared = of_own(Maps(several), piecewise_linear=False)
    undeclared = undeclared._replace(state=run.state)
    exact, _ = undeclared.step(run.state, run.draws(0))
    torch.testing.assert_close(after.params["G"], exact.params["G"])
    with pytest.raises(UsageError, match="its Hessian is not zero"):
        of_own(Maps(several, curved=True), piecewise_linear=True)


@pytest.mark.parametrize(
    "critic",
    [{"piecewise_linear": True}, {"normalization": "none", "feature_matching": {"weight": 1}}],
    ids=str,
)
def test_networks_in_float64_are_checked_in_float64(critic):
    D = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))
    assert of_own(D, torch.float64, **critic).state.params["D"].dtype == torch.float64


@pytest.mark.parametrize("critic", [{"reduce": "mean"}, {"piecewise_linear": True}], ids=str)
def test_a_game_without_a_constrained_critic_takes_no_key_of_one(critic):
    raw = {
        "data": "ring8",
        "networks": "mlp",
        "optimizer": {"name": "sgd", "lr": 0.1},
        "steps": 2,
        "critic": critic,
    }
    with pytest.raises(UsageError, match="does not use critic"):
        build(config.parse({**raw, "game": {"name": "ebgan", "margin": 1.0}}))
