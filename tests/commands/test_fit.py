"""`steadygan.fit`: networks of any origin train as in a plain loop, repeat their random numbers, and fail in words."""

import copy
import json
import math
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import steadygan
from steadygan import config
from steadygan.build import NOTHING, Own, build, own
from steadygan.commands import fit as module
from steadygan.commands.fit import fit
from steadygan.data.given import given
from steadygan.errors import RunFailed, UsageError
from steadygan.training.checkpoint import checkpoints
from steadygan.training.events import Diverged

STEPS = 5
EVERY = {"log": 2, "score": 4, "checkpoint": 2, "diagnostics": 4}
SGD = {"name": "sgd", "lr": 0.01}


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def mlp(inside: int, outside: int, *middle: nn.Module, flat: bool = False) -> nn.Sequential:
    ends = [nn.Flatten(0)] if flat else []
    return nn.Sequential(
        nn.Linear(inside, 8), *middle, nn.LeakyReLU(0.2), nn.Linear(8, outside), *ends
    ).double()


def small_G() -> nn.Module:
    return mlp(4, 3, nn.BatchNorm1d(8))


def small_D() -> nn.Module:
    return mlp(3, 1, flat=True)


class NoisyD(nn.Module):
    """Dropout and noise inputs, a buffer that its own forward changes, and one weight in two places."""

    def __init__(self):
        super().__init__()
        self.body, self.twin, self.out = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.twin.weight = self.body.weight
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen.add_(len(x))
        h = F.leaky_relu(self.body(x) + 0.1 * torch.randn_like(x), 0.2)
        return self.out(F.dropout(F.leaky_relu(self.twin(h), 0.2), 0.3, self.training)).flatten()


def run(G, D, data, out: Path, **options) -> module.Fitted:
    given = {"latent": 4, "steps": STEPS, "batch": 8, "compile": False, "every": EVERY, "optimizer": SGD}
    return fit(G, D, data, out=out, **{**given, "quiet": True, "precision": "float64", **options})


def newest(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder / "checkpoints")[-1] / "state.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = newest(a), newest(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# ------------------------------------------------------------------------------------------ against a plain loop


LOSSES = {
    "hinge": ("hinge", lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda f: -f.mean()),
    "non_saturating": (
        "non_saturating",
        lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
        lambda f: F.softplus(-f).mean(),
    ),
}
LOSSES["pair"] = (
    (lambda r, f: (r - 1).square().mean() + f.square().mean(), lambda f: (f - 1).square().mean()),
    lambda r, f: (r - 1).square().mean() + f.square().mean(),
    lambda f: (f - 1).square().mean(),
)


class LabelledG(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.embed = mlp(4, 3), nn.Embedding(3, 4).double()

    def forward(self, z, y):
        return self.net(z + self.embed(y))


class LabelledD(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.embed = mlp(3, 1, flat=True), nn.Embedding(3, 3).double()

    def forward(self, x, y):
        return self.net(x + self.embed(y))


def image_pair():
    G = nn.Sequential(
        nn.Linear(4, 2 * 5 * 9), nn.Unflatten(1, (2, 5, 9)), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 3, padding=1)
    )
    D = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(42, 1), nn.Flatten(0))
    return G.double(), D.double()


def signal_pair():
    G = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (2, 6)), nn.ConvTranspose1d(2, 1, 4, 2, 1))
    D = nn.Sequential(nn.Conv1d(1, 3, 4, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(15, 1), nn.Flatten(0))
    return G.double(), D.double()


PAIRS = {
    "table": (lambda: (small_G(), small_D()), (3,)),
    "image": (image_pair, (1, 5, 9)),
    "signal": (signal_pair, (1, 12)),
    "labels": (lambda: (LabelledG(), LabelledD()), (3,)),
}


def draws_of(G, D, data, raw):
    """The batches that the run sees: a function of seed and step, tested in tests/game/test_batches.py."""
    made = build(config.parse(raw), Own(lambda shape: {"G": G, "D": D}, data))
    return made.draws


def train_plainly(G, D, draws, of_D, of_G, weight: float, classes: int) -> None:
    """Alternating updates as one writes them in torch: D on D's part of the draw, G on G's."""
    rules = {net: torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.5, 0.9)) for net in (G, D)}

    def fakes(z):
        return (G(z[:, classes:], z[:, :classes].argmax(1)), z[:, :classes].argmax(1)) if classes else (G(z),)

    for step in range(STEPS):
        for_D, for_G = draws(step)
        x = for_D["x_real"].clone().requires_grad_()
        real = (x, for_D["y_real"]) if classes else (x,)
        fake, *labels = fakes(for_D["z"])
        on_real, on_fake = D(*real), D(fake.detach(), *labels)
        (slope,) = torch.autograd.grad(on_real.sum(), x, create_graph=True)
        rules[D].zero_grad()
        (of_D(on_real, on_fake) + weight * slope.flatten(1).square().sum(1).mean()).backward()
        rules[D].step()
        rules[G].zero_grad()
        of_G(D(*fakes(for_G["z"]))).backward()
        rules[G].step()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", PAIRS)
def test_a_run_is_the_plain_loop_of_the_same_modules(tmp_path, kind, loss):
    torch.manual_seed(3)
    make, shape = PAIRS[kind]
    (G, D), x = make(), numbers(40, *shape)
    ours = copy.deepcopy(G), copy.deepcopy(D)
    name, of_D, of_G = LOSSES[loss]
    y = torch.arange(40) % 3 if kind == "labels" else None
    game = {"name": "gan", "conditional": kind == "labels"}
    adam = {"name": "adam", "lr": 0.01, "betas": [0.5, 0.9]}
    penalties = [{"name": "r1", "weight": 0.7}]
    options = {"penalties": penalties, "optimizer": adam, "game": game}
    fitted = run(*ours, x, tmp_path / "run", loss=name, labels=y, **options)
    raw = {
        "networks": {"name": "own", "latent": 4},
        "data": "own",
        "game": game,
        "batch": 8,
        "steps": STEPS,
        "optimizer": adam,
        "precision": "float64",
    }
    draws = draws_of(G, D, given(x, y), raw)
    train_plainly(G, D, draws, of_D, of_G, 0.7, 3 if kind == "labels" else 0)
    assert fitted.ended is None
    for plain, mine in zip((G, D), ours):
        expected, found = plain.state_dict(), mine.state_dict()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-11, msg=key)


# -------------------------------------------------------------------------- random numbers in a forward, resuming


def unknown_D() -> nn.Module:
    """A critic whose forward draws numbers that no buffer stands for: torch's, numpy's, Python's."""

    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_D()

        def forward(self, x):
            x = x + 0.1 * x[torch.randperm(len(x))] if self.training else x
            return self.net(x + (0.1 * float(np.random.randn()) if self.training else 0))

    return Shuffled()


CRITICS = {
    "dropout": lambda: mlp(3, 1, nn.Dropout(0.3), flat=True),
    "noise, tied, buffer": lambda: NoisyD().double(),
    "spectral": lambda: nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(3, 8)), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)
    ).double(),
    "old spectral": lambda: nn.Sequential(
        spectral_norm(nn.Linear(3, 8)), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)
    ).double(),
    "unknown": unknown_D,
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=pytest.mark.slow if k in ("spectral", "old spectral", "dropout") else ())
        for k in CRITICS
    ],
)
def test_a_run_repeats_itself_and_resumes_bit_for_bit(tmp_path, kind):
    def start(name, steps):
        torch.manual_seed(7)
        G, D = small_G(), CRITICS[kind]()
        torch.seed()  # wherever the caller's generator is
        return run(G, D, numbers(40, 3), tmp_path / name, steps=steps, loss="hinge", ema=0.9)

    start("whole", 6)
    start("again", 6)
    assert same(tmp_path / "whole", tmp_path / "again")
    half = start("half", 2)
    torch.randn(100), np.random.rand(3)
    half.resume(steps=6)
    assert same(tmp_path / "whole", tmp_path / "half")


def test_a_resumed_run_keeps_its_loss_beside_another_option_of_the_game(tmp_path):
    calls = []

    def of_D(real, fake):
        calls.append(1)
        return fake.mean() - real.mean()

    found = run(
        small_G(), small_D(), numbers(40, 3), tmp_path, steps=2, loss=(of_D, lambda fake: -fake.mean())
    )
    calls.clear()
    found.resume(batch_G=8, steps=4)
    assert calls
    game = yaml.safe_load((tmp_path / "config.yaml").read_text())["game"]
    assert (game["loss"], game["batch_G"]) == ({"name": "own"}, 8)


def test_without_out_a_fit_that_cannot_start_leaves_no_folder_and_resume_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no score 'nope'"):
        run(small_G(), small_D(), numbers(40, 3), None, steps=2, keep={"best": "nope"})
    with pytest.raises(UsageError, match="give out=, such as out='runs/custom'"):
        run(small_G(), small_D(), numbers(40, 3), None, steps=2, resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seeds", "said"), [(1, r"in place.*inplace=False"), (2, "in-place operation")])
def test_a_critic_that_changes_its_samples_in_place_is_refused(tmp_path, seeds, said):
    layers = [nn.Linear(3, 1), nn.Flatten(0)]
    D = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), *layers).double()
    with pytest.raises(UsageError, match=said):
        run(small_G(), D, numbers(40, 3), tmp_path / "bad", steps=2, seeds=seeds)
    D = nn.Sequential(nn.LeakyReLU(0.2), *layers).double()
    assert run(small_G(), D, numbers(40, 3), tmp_path / "good", steps=2, seeds=seeds).ended is None


def test_a_second_fit_takes_a_run_up_again_with_this_loss(tmp_path):
    def whole(name, steps, **more):
        torch.manual_seed(7)
        G, D = small_G(), small_D()
        return run(G, D, numbers(40, 3), tmp_path / name, steps=steps, **more)

    pair = (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean())
    whole("one", 6, loss=pair)
    whole("two", 4, loss=pair)
    whole("two", 6, loss=pair, resume=True)
    assert same(tmp_path / "one", tmp_path / "two")
    whole("two", 8, loss="hinge", resume=True)
    assert config.load(tmp_path / "two" / "config.yaml")["game"]["loss"]["name"] == "hinge"


@pytest.mark.slow
def test_what_is_not_given_again_stays_where_a_run_is_taken_up(tmp_path, capsys):
    """A longer run of the same call without its loss went on with the loss of a new run, without a word."""

    def kept(name, steps, **more):
        options = {"steps": steps, "optimizer": {"name": "adam", "lr": 1e-3}, "quiet": False, **more}
        run(small_G(), small_D(), numbers(40, 3), tmp_path / name, **options)
        return config.load(tmp_path / name / "config.yaml")

    before = kept("a", 4, loss="hinge", batch_G=4)
    assert before["optimizer"]["betas"] == [0.5, 0.999]  # those of DCGAN, also with a rate of one's own
    for more in ({}, {"game": "gan"}, {"loss": "hinge"}):
        after = kept("a", 6, resume=True, **more)
        assert (after["game"], after["optimizer"]) == (before["game"], before["optimizer"])
    assert "the loss of" not in capsys.readouterr().err
    assert kept("a", 8, resume=True, loss="wasserstein")["game"]["batch_G"] == 4
    assert "was hinge so far, and is wasserstein from here on" in " ".join(capsys.readouterr().err.split())
    each = {name: {"name": "adam", "lr": 1e-3} for name in "GD"}
    assert kept("c", 4, optimizer=each)["optimizer"]["G"]["betas"] == [0.5, 0.999]
    kept("d", 4, optimizer={name: {**part, "betas": [0.5, 0.9]} for name, part in each.items()})
    assert kept("d", 6, optimizer=each, resume=True)["optimizer"]["D"]["betas"] == [0.5, 0.9]
    kept("f", 4, optimizer={"name": "adam", "lr": 1e-3, "betas": [0.5, 0.9]})
    assert kept("f", 6, optimizer="adam", resume=True)["optimizer"]["lr"] == 1e-3
    assert kept("g", 4, optimizer="adam")["optimizer"]["lr"] == 2e-4
    kept("e", 4, loss="non-saturating")
    kept("e", 6, loss="non-saturating", resume=True)
    assert "so far" not in capsys.readouterr().err
    kept("b", 4, loss=(lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()))
    with pytest.raises(UsageError, match="trained with a loss of your own: give loss= again"):
        kept("b", 6, resume=True)


class Recomputed(nn.Module):
    """Two layers with torch's gradient checkpointing, or without."""

    def __init__(self, inside, outside, recompute=True):
        super().__init__()
        self.first, self.last, self.recompute = nn.Linear(inside, 8), nn.Linear(8, outside), recompute
        self.double()

    def _body(self, x):
        return self.last(torch.tanh(self.first(x)))

    def forward(self, x):
        return checkpoint(self._body, x, use_reentrant=False) if self.recompute else self._body(x)


class RecomputedInPart(nn.Module):
    """The first of several blocks with gradient checkpointing: its part of the gradient is small beside the others."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 64)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(4))
        self.last = nn.Linear(64, 3)
        self.double()

    def forward(self, z):
        h = checkpoint(self.blocks[0], self.first(z), use_reentrant=False)
        for block in self.blocks[1:]:
            h = block(h)
        return self.last(h)


class Dropped(nn.Module):
    """A layer that Python's own random numbers leave out now and then."""

    def __init__(self):
        super().__init__()
        self.net, self.more = small_G(), nn.Linear(4, 4).double()

    def forward(self, z):
        return self.net(z + self.more(z) if random.random() > 0.2 else z)


@pytest.mark.parametrize("who", ["G", "D"])
def test_a_forward_that_runs_again_in_the_backward_pass_is_refused(who, tmp_path):
    """It found the first weights there: G trained with other gradients from its second step on, without a word."""
    nets = {"G": Recomputed(4, 3, who == "G"), "D": Recomputed(3, 1, who == "D")}
    with pytest.raises(UsageError, match=rf"gradient of {who} is another one.*torch.utils.checkpoint"):
        run(*nets.values(), numbers(40, 3), tmp_path / "run")
    nets[who] = Recomputed(*((4, 3) if who == "G" else (3, 1)), False)
    assert run(*nets.values(), numbers(40, 3), tmp_path / "run").ended is None


@pytest.mark.parametrize("seed", range(4))
def test_so_is_one_block_among_several(seed):
    torch.manual_seed(seed)
    with pytest.raises(UsageError, match="gradient of G is another one"):
        own._check_gradient("G", RecomputedInPart(), (torch.randn(2, 4).double(),))


def test_a_network_that_random_numbers_change_now_and_then_is_none():
    net = Dropped()
    for _ in range(20):
        own._check_gradient("G", net, (torch.randn(2, 4).double(),))


def test_players_that_share_a_layer_are_refused(tmp_path):
    shared = nn.Linear(3, 3).double()
    G, D = (nn.Sequential(nn.Linear(4, 3), shared).double(), nn.Sequential(shared, nn.Linear(3, 1)).double())
    with pytest.raises(UsageError, match=r"G\.1\.weight and D\.0\.weight are one weight"):
        run(G, D, numbers(40, 3), tmp_path / "run")
    assert run(copy.deepcopy(G), D, numbers(40, 3), tmp_path / "run").ended is None
    shared.requires_grad_(False)  # then nobody moves it
    assert run(G, D, numbers(40, 3), tmp_path / "frozen").ended is None


def test_a_part_in_evaluation_mode_stays_so(tmp_path):
    """A frozen batch norm keeps its statistics, a dropout stays off, and penalties are had: no sample sees others."""
    frozen = nn.BatchNorm1d(8).requires_grad_(False).eval()
    middle = nn.Sequential(frozen, nn.Dropout(0.5).eval())
    D = nn.Sequential(nn.Linear(3, 8), middle, nn.LeakyReLU(0.2), nn.Linear(8, 1)).double()
    plain_D = copy.deepcopy(nn.Sequential(D[0], D[2], D[3]))  # new statistics are 0 and 1
    torch.manual_seed(0)
    G = small_G()
    other = copy.deepcopy(G)
    run(G, D, numbers(40, 3), tmp_path / "a", penalties=["r1"], ema=0.9)
    assert torch.equal(frozen.running_mean, torch.zeros(8).double())
    assert int(frozen.num_batches_tracked) == 0
    run(other, plain_D, numbers(40, 3), tmp_path / "b", penalties=["r1"], ema=0.9)
    torch.testing.assert_close(
        D[0].weight, plain_D[0].weight, rtol=1e-3, atol=1e-5
    )  # but for batch norm's eps
    without = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8, track_running_stats=False).eval(), nn.Linear(8, 1)
    )
    for mixing in (D.train(), without.double()):  # without statistics it always takes those of the batch
        with pytest.raises(UsageError, match="batch norm in the critic mixes samples"):
            run(small_G(), mixing, numbers(40, 3), tmp_path / "c", penalties=["r1"])


def test_unknown_random_functions_run_uncompiled_after_a_sentence(tmp_path, capsys):
    fit(
        small_G(),
        unknown_D(),
        numbers(40, 3),
        latent=4,
        steps=2,
        batch=8,
        compile=True,
        precision="float64",
        out=tmp_path / "run",
    )
    printed = capsys.readouterr()
    assert "the forward of D draws random numbers" in (printed.out + printed.err).replace("\n", " ")
    assert "compiling" not in printed.out
    with pytest.raises(UsageError, match="train one seed at a time"):
        run(small_G, unknown_D, numbers(40, 3), tmp_path / "more", seeds=2)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("kind", ["dropout", "noise, tied, buffer", "spectral", "old spectral"])
def test_a_member_of_an_ensemble_is_the_single_run_with_its_seed(tmp_path, kind):
    options = {"loss": "hinge", "ema": 0.9, "steps": 4}
    run(small_G, CRITICS[kind], numbers(40, 3), tmp_path / "all", seeds=2, **options)
    run(small_G, CRITICS[kind], numbers(40, 3), tmp_path / "one", seed=1, **options)
    every, one = newest(tmp_path / "all"), newest(tmp_path / "one")
    for key, value in one.items():
        torch.testing.assert_close(every[key][1], value, rtol=1e-8, atol=1e-10, msg=key)
    assert not torch.equal(every["params/D"][0], every["params/D"][1])


@pytest.mark.slow
def test_the_compiled_run_is_the_eager_one(tmp_path):
    for compile in (False, True):
        torch.manual_seed(7)
        options = {"compile": compile, "loss": "hinge", "penalties": ["r1"], "precision": "float64"}
        run(mlp(4, 3, nn.Dropout(0.2)), NoisyD().double(), numbers(40, 3), tmp_path / str(compile), **options)
    eager, made = newest(tmp_path / "False"), newest(tmp_path / "True")
    for key, value in eager.items():
        torch.testing.assert_close(made[key], value, rtol=1e-8, atol=1e-10, msg=key)
    assert config.load(tmp_path / "True" / "config.yaml")["compile"]["when"] is True


# ------------------------------------------------------------------------------------------- modules of any kind


def test_the_callers_modules_get_the_trained_weights_and_keep_what_is_frozen(tmp_path):
    torch.manual_seed(0)
    G, D = small_G().eval(), small_D()
    D[0].weight.requires_grad_(False)
    frozen = D[0].weight.clone()
    run(G, D, numbers(40, 3), tmp_path / "run")
    kept = newest(tmp_path / "run")
    trained = torch.cat([p.flatten() for p in G.parameters()])
    torch.testing.assert_close(trained.detach(), kept["params/G"], rtol=0, atol=0)
    assert torch.equal(D[0].weight, frozen)
    assert torch.equal(D[0].weight, kept["buffers/D/0.weight"])
    assert not G.training  # its mode stays the caller's
    assert float(kept["buffers/G/1.num_batches_tracked"]) > 0  # but it trains in training mode


def test_tied_weights_stay_one(tmp_path):
    D = NoisyD().double()
    run(small_G(), D, numbers(40, 3), tmp_path / "run")
    assert D.body.weight is D.twin.weight
    assert newest(tmp_path / "run")["params/D"].numel() == 9 + 3 + 3 + 3 + 1
    assert float(D.seen) > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_modules_in_another_precision_are_trained_in_that_of_the_run(tmp_path, dtype):
    G, D = small_G().to(dtype), mlp(3, 1, nn.Dropout(), flat=True).to(dtype)
    fitted = run(G, D, numbers(40, 3), tmp_path / "run", precision="float32")
    assert newest(tmp_path / "run")["params/G"].dtype == torch.float32
    assert fitted.sample(3).dtype == torch.float32
    assert next(G.parameters()).dtype == dtype


def test_a_latent_has_any_shape(tmp_path):
    G = nn.Sequential(nn.ConvTranspose2d(4, 1, 3), nn.Flatten(), nn.Linear(9, 3)).double()
    assert run(G, small_D(), numbers(40, 3), tmp_path / "run", latent=(4, 1, 1)).sample(5).shape == (5, 3)


def test_lazy_layers_need_one_call_before(tmp_path):
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(UsageError, match="call it once on a batch"):
        run(lazy, small_D(), numbers(40, 3), tmp_path / "run")
    lazy(torch.zeros(2, 4))
    assert run(lazy, small_D(), numbers(40, 3), tmp_path / "run").ended is None


# ----------------------------------------------------------------------------------------------- what it returns


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> module.Fitted:
    torch.manual_seed(0)
    return run(small_G(), small_D(), numbers(40, 3), tmp_path_factory.mktemp("fitted") / "run", ema=0.5)


def test_samples_are_the_generators_averaged_or_raw(fitted):
    kept = newest(fitted.folder)
    G = copy.deepcopy(fitted.nets["G"])
    assert fitted.sample(7).shape == (7, 3)
    assert torch.equal(fitted.sample(7), fitted.sample(7))
    assert not torch.equal(fitted.sample(7), fitted.sample(7, raw=True))
    trained = torch.cat([p.flatten() for p in G.parameters()]).detach()
    assert torch.equal(trained, kept["params/G"])
    assert not torch.equal(kept["params/G"], kept["average/G/params"])


def test_a_run_is_evaluated_diagnosed_and_reported(fitted, tmp_path):
    (card,) = fitted.evaluate(generated=20)
    assert {"w1", "w2", "sliced_w2"} <= set(card.scores)
    assert fitted.diagnose()
    lines = map(json.loads, (fitted.folder / "events.jsonl").read_text().splitlines())
    logged = {line["step"]: line["loss/D"] for line in lines if "loss/D" in line}
    series = fitted.history().series["loss/D"]
    assert dict(zip(series.steps.tolist(), series.values.tolist())) == logged
    for out, written in ((None, fitted.folder), (tmp_path, tmp_path)):
        assert fitted.report(out) == written / "report.html"
        assert "<html" in (written / "report.html").read_text()


def test_a_path_may_begin_with_the_home_folder(fitted, tmp_path, monkeypatch):
    """As everywhere else. It was a folder named ~ in the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(small_G(), small_D(), numbers(40, 3), "~/run").folder == tmp_path / "run"
    assert (tmp_path / "run" / "config.yaml").exists()
    assert fitted.report("~/page.html") == tmp_path / "page.html"
    assert (tmp_path / "page.html").exists()
    (tmp_path / "pictures").mkdir()
    assert module._named("~/pictures") == {"name": "images", "path": str((tmp_path / "pictures").resolve())}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "pictures", "run"]


def test_the_run_folder_says_what_was_trained(fitted):
    about = json.loads((fitted.folder / "own.json").read_text())
    assert "LeakyReLU" in about["networks"]["G"]
    raw = config.load(fitted.folder / "config.yaml")
    assert (raw["networks"]["name"], raw["data"]["name"]) == ("own", "own")
    assert config.parse(raw).steps == STEPS


def test_labels_choose_what_is_sampled(tmp_path):
    labels, x = torch.arange(40) % 3, numbers(40, 3)
    game = {"name": "gan", "conditional": True}
    fitted = run(LabelledG(), LabelledD(), x, tmp_path / "run", labels=labels, game=game)
    assert fitted.sample(5, label=2).shape == (5, 3)
    assert not torch.equal(fitted.sample(5, label=2), fitted.sample(5, label=1))
    with pytest.raises(UsageError, match="label"):
        fitted.sample(2, label=3)
    with pytest.raises(UsageError, match=r"for several, call G\(G.latents\(n\), y\)"):
        fitted.sample(2, label=[0, 1])
    assert torch.equal(fitted.sample(2, label=np.int64(1)), fitted.sample(2, label=1))


def test_named_data_and_folders_of_images(tmp_path):
    assert run(mlp(4, 2), mlp(2, 1, flat=True), "ring8", tmp_path / "ring").sample(2).shape == (2, 2)
    assert run(mlp(4, 2), mlp(2, 1, flat=True), {"name": "grid25"}, tmp_path / "named").sample(2).shape == (
        2,
        2,
    )
    for number in range(12):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        shade = np.full((8, 8, 3), number * 20, np.uint8)
        Image.fromarray(shade).save(tmp_path / "pictures" / f"{number}.png")
    G = nn.Sequential(nn.Linear(4, 192), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
    D = nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Flatten(0))
    options = {"evaluation": {"images": 100}, "precision": "float32"}
    assert run(G, D, tmp_path / "pictures", tmp_path / "images", **options).sample(2).shape == (2, 3, 8, 8)


def test_other_games_take_their_players_by_name(tmp_path):
    games = {
        "reg_gan": {"players": {"E": mlp(3, 4)}},
        "mdgan": {"players": {"D1": small_D(), "D2": small_D(), "E": mlp(3, 4)}},
    }
    for game, more in games.items():
        D = None if game == "mdgan" else small_D()
        assert run(small_G(), D, numbers(40, 3), tmp_path / game, game=game, **more).ended is None


# --------------------------------------------------------------------------------------- wrong input, in a sentence


class Fails(nn.Module):
    """Fails, or answers wrongly, in a way of choice."""

    def __init__(self, how):
        super().__init__()
        self.net, self.how = small_D(), how

    def forward(self, x):
        return self.how(self.net(x))


def old_weight_norm():
    G = small_G()
    with warnings.catch_warnings(action="ignore"):
        weight_norm(G[0])
    return G


def clamping(logits):
    raise RuntimeError("no\nsuch thing")


def on_meta():
    return nn.Linear(4, 3, device="meta")


class Running(nn.Module):
    """A running mean as people write it, in a plain attribute."""

    def __init__(self):
        super().__init__()
        self.last, self.mean = nn.Linear(4, 3).double(), torch.zeros(4, dtype=torch.float64)

    def forward(self, z):
        self.mean = 0.9 * self.mean + 0.1 * z.detach().mean(0)
        return self.last(z - self.mean)


class Counting(nn.Module):
    """A warm-up that counts its calls."""

    def __init__(self):
        super().__init__()
        self.last, self.calls = nn.Linear(4, 3).double(), 0

    def forward(self, z):
        self.calls += 1
        return self.last(z) / (1 + 1 / self.calls)


def test_a_count_that_no_checkpoint_holds_is_said_and_the_run_goes_on(tmp_path, capfd):
    made = run(Counting(), small_D(), numbers(40, 3), tmp_path / "run", compile=True, quiet=False)
    told = capfd.readouterr()
    assert "a forward changes G.calls, of which checkpoints know nothing" in " ".join(
        (told.out + told.err).split()
    )
    assert made.sample(2).shape == (2, 3)


def test_the_module_inside_a_wrapper_of_parallel_training_is_trained(tmp_path):
    parallel, plain = nn.DataParallel(small_G()), small_G()
    plain.load_state_dict(parallel.module.state_dict())
    other = copy.deepcopy(small_D())
    first = run(parallel, copy.deepcopy(other), numbers(40, 3), tmp_path / "a")
    second = run(plain, copy.deepcopy(other), numbers(40, 3), tmp_path / "b")
    assert torch.equal(first.sample(5), second.sample(5))


def test_options_of_the_game_and_of_the_critic_may_stand_alone():
    placed = module._placed({"conditional": True, "clip": 0.1, "steps": 5})
    assert placed == {"steps": 5, "critic": {"clip": 0.1}, "game": {"name": "gan", "conditional": True}}
    with pytest.raises(UsageError, match=r"write optimizer=.\"name\": \"adam\""):
        module._placed({"lr": 0.1})


def all_frozen():
    return small_G().requires_grad_(False)


def with_nan():
    net = small_D()
    nn.init.constant_(net[-2].bias, math.nan)
    return net


IDENTITY = (lambda r, f: r, lambda f: f)
WRONG = {
    "latent": ({"latent": 0}, "latent is 0: give a whole number"),
    "latent float": ({"latent": 4.5}, "latent is 4.5: give a whole number"),
    "latent empty": ({"latent": ()}, "latent is \\(\\): give a whole number"),
    "G is a number": ({"G": 5}, "network G must be a torch.nn.Module"),
    "G is nothing": ({"G": lambda: None}, "network G must be a torch.nn.Module, not NoneType"),
    "G's maker fails": ({"G": nn.Linear}, "makes the network G fails .TypeError"),
    "G of another latent": ({"G": mlp(5, 3)}, "network G fails on an input of shape \\[2, 4\\]"),
    "G of other samples": ({"G": mlp(4, 2)}, "makes samples of shape \\[2\\].*have shape \\[3\\]"),
    "G frozen": ({"G": all_frozen()}, "no parameter of the network G can be trained"),
    "G on meta": ({"G": on_meta()}, "network G is on the meta device"),
    "G scripted": ({"G": torch.jit.script(nn.Linear(4, 3).double())}, "network G is compiled by torch.jit"),
    "G with a running tensor": ({"G": Running()}, "forward of G changes the tensor mean.*register_buffer"),
    "D has NaN": ({"D": with_nan()}, r"the weights .*bias of the network D are NaN"),
    "infogan's D answers logits alone": (
        {
            "game": {"name": "infogan", "categorical": [2]},
            "latent": 6,
            "G": mlp(6, 3),
            "players": {"Q": mlp(8, 2)},
        },
        r"critic D of this game returns \(logits \[N\], features",
    ),
    "D answers nothing": ({"D": Fails(lambda out: None)}, "network D returns nothing"),
    "D fails": ({"D": Fails(clamping)}, "network D fails.*RuntimeError: no\\)"),
    "D of other samples": ({"D": mlp(4, 1, flat=True)}, "network D fails on an input of shape \\[2, 3\\]"),
    "a player too many": ({"players": {"Q": small_D()}}, "has the players G, D, but the networks given"),
    "a player too few": ({"game": "reg_gan"}, "has the players G, D, E"),
    "a game unknown": ({"game": "regan"}, "did you mean 'reg_gan'"),
    "a loss unknown": ({"loss": "hingee"}, "did you mean 'hinge'"),
    "a loss that is none": ({"loss": 3}, "pair of functions"),
    "a loss per sample": ({"loss": IDENTITY}, "discriminator's loss returns a tensor of shape \\[4\\]"),
    "a loss that is a number": (
        {"loss": (lambda r, f: f.mean(), lambda f: 1.0)},
        "generator's loss returns float",
    ),
    "a loss that fails": (
        {"loss": (lambda r: r.mean(), lambda f: f.mean())},
        "discriminator's loss fails on real and fake logits",
    ),
    "an option unknown": ({"lern": 3}, "no option 'lern'"),
    "a rate alone": ({"lr": 1e-3}, "write optimizer="),
    "the batch of others": ({"batch_size": 16}, "write batch=64"),
    "the steps of others": ({"n_critic": 5}, '"name": "alternating", "n_critic": 5'),
    "networks by name": ({"networks": "mlp"}, "no option 'networks'"),
    "steps": ({"steps": 0}, "steps should be greater"),
    "critic is a number": ({"critic": 3, "clip": 0.1}, "critic is a section"),
    "penalties twice": (
        {"critic": {"penalties": ["r1"]}, "penalties": ["r1"]},
        "penalties is given twice",
    ),
    "a batch too large": ({"batch": 50}, "choose batch at most 40"),
    "labels are missing": ({"game": {"name": "gan", "conditional": True}}, "needs labels"),
    "labels of a name": ({"data": "ring8", "labels": [1]}, "leave them out where data is a name"),
    "data that are not there": ({"data": "ring9"}, "did you mean 'ring8'"),
    "a score unknown": ({"keep": {"best": "kd"}}, "keep.best"),
    "old weight norm": ({"G": old_weight_norm}, "parametrizations.weight_norm"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_input_is_one_sentence_and_leaves_no_folder(tmp_path, kind):
    changed, message = WRONG[kind]
    given = {"G": small_G(), "D": small_D(), "data": numbers(40, 3), **changed}
    if kind == "old weight norm":
        given["G"] = old_weight_norm()
        given["G"](torch.zeros(2, 4).double())
    with pytest.raises(UsageError, match=message) as error:
        run(given.pop("G"), given.pop("D"), given.pop("data"), tmp_path / "run", **given)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_a_step_or_an_evaluation_cannot_do_is_said_before_the_run(tmp_path):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_G()

        def forward(self, z):
            return self.net(z) * (1.0 if z.sum().item() > 0 else 2.0)

    class Eight(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_G()

        def forward(self, z):
            return self.net(z) if len(z) in (2, 8) else clamping(z)

    with pytest.raises(UsageError, match=r"a training step .* fails .*item"):
        run(Looks, small_D, numbers(40, 3), tmp_path / "run", seeds=2)
    with pytest.raises(
        UsageError, match=r"(a diagnostics pass|an evaluation) .* fails .*any number of samples"
    ):
        run(Eight(), small_D(), numbers(40, 3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken_and_other_networks_are_refused(fitted, tmp_path):
    folder = shutil.copytree(fitted.folder, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="has a run already: give resume=True"):
        run(small_G(), small_D(), numbers(40, 3), folder, ema=0.5)
    with pytest.raises(UsageError, match="belongs to another configuration"):
        run(mlp(4, 3), small_D(), numbers(40, 3), folder, ema=0.5, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_a_run_cannot_be_asked_for_is_said(fitted):
    asked = {
        "whole number from 1": lambda: fitted.sample(0),
        "whole number": lambda: fitted.sample(2.5),
        "not conditional": lambda: fitted.sample(2, label=0),
        "not an ensemble": lambda: fitted.sample(2, member=1),
        "no member 4": lambda: fitted.diagnose(4),
        "no option 'foo'": lambda: fitted.evaluate(foo=1),
        "2 samples or more": lambda: fitted.evaluate(generated=1),
        "resume takes no loss": lambda: fitted.resume(loss="hinge"),
        "no option 'stepz': did you mean 'steps'": lambda: fitted.resume(stepz=3),
    }
    for message, ask in asked.items():
        with pytest.raises(UsageError, match=message):
            ask()


def test_an_ensemble_of_given_modules_says_that_all_start_alike(tmp_path, capsys):
    steadygan.fit(
        small_G(), small_D(), numbers(40, 3), latent=4, steps=1, batch=8, seeds=2, out=tmp_path / "run"
    )
    printed = capsys.readouterr()
    assert "all 2 members start from the weights of the given modules" in printed.err.replace("\n", " ")


def test_a_run_that_diverges_says_so(tmp_path):
    D = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    with pytest.warns(RunFailed, match=r"diverged: the run became NaN .* For a remedy: run\.diagnose\(\)"):
        fitted = run(
            small_G(), D, numbers(40, 3), tmp_path / "run", optimizer={"name": "sgd", "lr": 1e200}, steps=40
        )
    assert isinstance(fitted.ended, Diverged)
    with pytest.warns(RunFailed, match="diverged"):
        assert fitted.resume().ended == fitted.ended


class Autoencoder(nn.Module):
    """A critic of BEGAN, whose answers are samples and may well end in a sigmoid."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.Sigmoid())

    def forward(self, x):
        return self.net(x), x


@pytest.mark.parametrize(
    ("D", "options", "words"),
    [
        (nn.Sequential(mlp(3, 1, flat=True), nn.Sigmoid()), {}, "D seems to end in a sigmoid"),
        (mlp(3, 1, flat=True), {"labels": torch.zeros(40).long()}, "set conditional=True"),
        (
            Autoencoder(),
            {"game": "began", "labels": torch.zeros(40).long()},
            "this game has no use for them",
        ),
        (mlp(3, 1, flat=True), {}, ""),
    ],
)
def test_what_is_likely_to_be_forgotten_is_noted(tmp_path, capsys, D, options, words):
    run(small_G(), D, numbers(40, 3), tmp_path / "run", **{"quiet": False, "steps": 1, **options})
    printed = " ".join(capsys.readouterr().err.split())
    assert words in printed
    assert printed.count("note:") == bool(words)


@pytest.mark.parametrize(("span", "over"), [({}, 4), ({"over": "50%"}, 2)], ids=["the whole run", "a share"])
def test_a_schedule_that_is_given_again_lasts_as_long_as_before(span, over, tmp_path):
    """The same call with more steps stretched it: the rate had been 0 and rose again, without a word."""

    def go(steps, lr, **more):
        optimizer = {"name": "adam", "lr": {"schedule": "cosine", "start": 0.01, "stop": 0, **lr}}
        return run(
            small_G(), small_D(), numbers(40, 3), tmp_path / "run", steps=steps, optimizer=optimizer, **more
        )

    go(4, span)
    for again in (lambda: go(8, span, resume=True), lambda: go(8, {}, resume=True)):
        with pytest.raises(UsageError, match=r"no player would move.*such as optimizer.lr.over=8"):
            again()
    assert config.load(tmp_path / "run" / "config.yaml")["optimizer"]["lr"]["over"] == over
    go(8, {"over": 8}, resume=True)
    assert config.load(tmp_path / "run" / "config.yaml")["optimizer"]["lr"]["over"] == 8


def test_what_lasts_is_kept_in_lists_and_of_each_player_too():
    old = {"schedule": "linear", "start": 1.0, "stop": 0.0, "over": 4, "begin": 0}
    new = {"schedule": "linear", "start": 1, "stop": 0}
    assert module._spans_kept([{"weight": old}], [{"weight": new}, 3], 4) == [
        {"weight": {**new, "over": 4, "begin": 0}},
        3,
    ]
    shared, each = {"name": "sgd", "lr": old}, {"G": {"name": "sgd", "lr": new}}
    assert module._spans_kept(shared, each, 4)["G"]["lr"]["over"] == 4
    assert module._spans_kept(old, {**new, "over": "half"}, 4)["over"] == "half"  # for the schema to refuse
    assert (
        module._spans_kept({**old, "start": 2.0}, {**new, "over": "50%"}, 4)["over"] == "50%"
    )  # another one


def test_a_sigmoid_is_seen_in_what_a_function_makes(tmp_path, capsys):
    run(
        small_G, lambda: nn.Sequential(small_D(), nn.Sigmoid()), numbers(40, 3), tmp_path / "run", quiet=False
    )
    assert capsys.readouterr().err.count("D seems to end in a sigmoid") == 1


def test_a_full_disk_is_told_with_what_to_do(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("steadygan.commands.fit.runs.start", full)
    with pytest.raises(
        UsageError,
        match=r"run cannot be written .*free some space, and call fit again with out=.*resume=True",
    ):
        run(small_G(), small_D(), numbers(40, 3), tmp_path / "run")


class Labels(nn.Module):
    """A network of (v, y) whose embedding has as many rows as the caller believes there are classes."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.net, self.label = nn.Linear(inputs, outputs), nn.Embedding(3, outputs)

    def forward(self, v, y):
        return self.net(v) + self.label(y)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"conditional": True, "labels": torch.arange(40) % 3 + 1},
            "labels go from 0 to 3, so number them from 0",
        ),
        ({}, "where its forward takes labels, set conditional=True"),
    ],
)
def test_labels_that_do_not_fit_are_not_taken_for_latents(options, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        run(Labels(4, 3), Labels(3, 1), numbers(40, 3), tmp_path / "run", **options)


def test_a_member_and_its_raw_weights_are_handed_on(tmp_path, monkeypatch):
    run, told = module.Fitted(tmp_path, NOTHING, {}, Console(quiet=True)), []
    for name in ("load", "export"):
        monkeypatch.setattr(module, name, lambda *given, **how: told.append((how["member"], how["average"])))
    monkeypatch.setattr(
        module, "samples_of", lambda *given, **how: told.append((how["member"], how["average"])) or [None]
    )
    monkeypatch.setattr(module, "evaluate_run", lambda *given, **how: told.append(how["average"]))
    events = type("Log", (), {"history": lambda self, member: told.append(member)})()
    monkeypatch.setattr(module, "events_of", lambda folder: events)
    run.load(member=2, raw=True), run.save("G.pt2", member=2, raw=True), run.sample(member=2, raw=True)
    run.load(), run.save("G.pt2"), run.sample()
    run.history(2), run.evaluate(raw=True), run.evaluate()
    assert told == 3 * [(2, False)] + 3 * [(0, True)] + [2, "off", "on"]
