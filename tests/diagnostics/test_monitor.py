"""The Monitor: what it measures, what it says, and that a training with it ends as one without, bit for bit."""

import copy
import json
import math
import runpy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from paths import ROOT
from steadygan import Monitor, losses
from steadygan.diagnostics import diagnose, read
from steadygan.diagnostics import monitor as module
from steadygan.diagnostics.remedies import _TRIES
from steadygan.diagnostics.remedy_code import IN_A_LOOP
from steadygan.diagnostics.verdicts import Verdict
from steadygan.errors import UsageError

EXAMPLE = ROOT / "examples" / "own_loop_monitor.py"


class Hidden(nn.Module):
    """A critic that returns [N, 1] and writes to a buffer of its own, in place and by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x):
        self.seen.add_(len(x))
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.net(x)


def plain_critic():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 1), nn.Flatten(0))


def spectral_critic():
    return nn.Sequential(
        spectral_norm(nn.Linear(2, 8)),
        nn.LeakyReLU(0.2, inplace=True),
        spectral_norm(nn.Linear(8, 1)),
        nn.Flatten(0),
    )


def old_spectral_critic():
    old = nn.utils.spectral_norm
    return nn.Sequential(old(nn.Linear(2, 8)), nn.ReLU(), old(nn.Linear(8, 1)), nn.Flatten(0))


class InParts(nn.Module):
    """Writes to the buffers of parts whose own forward it does not call."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Linear(16, 1)
        self.kept = nn.Module()
        self.kept.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        h = self.norm.forward(self.first(x))
        h = nn.functional.batch_norm(h, self.norm.running_mean, self.norm.running_var, training=True)
        self.kept.seen.add_(1)
        return self.last(h.relu()).squeeze(1)


def image_critic():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(64, 1),
        nn.Flatten(0),
    )


def generator(shape):
    size = math.prod(shape)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, size), nn.Unflatten(1, shape)
    )


NETS = {
    "plain": (plain_critic, (2,)),
    "spectral": (spectral_critic, (2,)),
    "old spectral": (old_spectral_critic, (2,)),
    "batch norm, dropout, in a function": (Hidden, (2,)),
    "images": (image_critic, (1, 8, 8)),
    "buffers of its parts": (InParts, (2,)),
    "compiled": (lambda: torch.compile(Hidden(), backend="eager"), (2,)),
}


def loop(name, steps, watch=None, *, between=False):
    """A plain loop; `watch(critic, G)` makes a Monitor, which may look between a forward and its backward pass."""
    torch.manual_seed(0)
    make, shape = NETS[name]
    D, G = make(), generator(shape)
    critic = (
        D if name not in ("compiled", "batch norm, dropout, in a function") else lambda x: D(x).squeeze(1)
    )
    optimizers = [torch.optim.Adam(net.parameters(), 1e-2) for net in (D, G)]
    state = torch.get_rng_state()
    monitor = watch(critic, G) if watch else None
    assert torch.equal(state, torch.get_rng_state())
    for _ in range(steps):
        real, fake = torch.randn(16, *shape), G(torch.randn(16, 3))
        loss_D = losses.non_saturating.discriminator(critic(real), critic(fake.detach()))
        if monitor and between:
            monitor.step(real, fake, loss_D=loss_D)
        optimizers[0].zero_grad()
        loss_D.backward()
        optimizers[0].step()
        loss_G = losses.non_saturating.generator(critic(fake))
        optimizers[1].zero_grad()
        loss_G.backward()
        grads = [p.grad for p in D.parameters()]
        before = [g.clone() for g in grads]
        if monitor and not between:
            monitor.step(real, fake, loss_D=loss_D, loss_G=loss_G)
        assert all(p.grad is g and torch.equal(g, b) for p, g, b in zip(D.parameters(), grads, before))
        optimizers[1].step()
    buffers = [*D.state_dict().values(), *G.state_dict().values()]
    return [*(b.detach() for b in buffers), torch.get_rng_state()], monitor


@pytest.mark.parametrize("between", [False, True], ids=["after", "between forward and backward"])
@pytest.mark.parametrize("name", NETS)
def test_a_training_ends_as_it_would_alone(name, between):
    alone, _ = loop(name, 7)

    def watch(critic, G):
        return Monitor(critic, G, loss="non_saturating", every=2, held=torch.zeros(20, *NETS[name][1]) + 0.1)

    watched, monitor = loop(name, 7, watch, between=between)
    assert len(alone) == len(watched)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched))
    assert monitor.history().series["slope/real"].steps.tolist() == [2, 4, 6]
    assert monitor.history().series["slope/real"].values.isfinite().all()
    assert {"update/D", "update/G", "spectral/D"} <= monitor.history().series.keys()


def numeric(f, x, h=1e-6):
    """The gradient of a scalar function by central differences."""
    found = torch.zeros_like(x)
    for i in range(x.numel()):
        step = torch.zeros(x.numel(), dtype=x.dtype)
        step[i] = h
        step = step.view_as(x)
        found.view(-1)[i] = (f(x + step) - f(x - step)) / (2 * h)
    return found


@pytest.mark.parametrize("loss", ["non_saturating", "minimax", "hinge", "relativistic"])
def test_an_examination_is_what_finite_differences_and_sums_give(loss):
    torch.manual_seed(1)
    D = nn.Sequential(nn.Linear(2, 5), nn.Softplus(), nn.Linear(5, 1), nn.Flatten(0)).double()
    real, fake, held = (
        torch.randn(n, 2, dtype=torch.float64) * s for n, s in ((12, 2.0), (12, 1.0), (9, 2.0))
    )
    monitor = Monitor(D, loss=loss, every=1, held=held)
    with torch.no_grad():
        monitor.step(real, fake)
        r, f, h = D(real), D(fake), D(held)
    found = {key: series.values.item() for key, series in monitor.history().series.items()}
    softplus = torch.nn.functional.softplus
    of_G = {
        "non_saturating": lambda f: softplus(-f),
        "minimax": lambda f: -softplus(f),
        "hinge": lambda f: -f,
        "relativistic": lambda f: softplus(r - f),
    }[loss]
    with torch.no_grad():
        signal = numeric(lambda x: of_G(D(x)).sum(), fake).norm(dim=1)
        alpha = ((torch.arange(12.0) + 0.5) / 12).double()[:, None]
        slopes = {
            place: numeric(lambda x: D(x).sum(), x).norm(dim=1)
            for place, x in {"real": real, "fake": fake, "between": alpha * real + (1 - alpha) * fake}.items()
        }
    expected = {
        "signal/mean": signal.mean(),
        "signal/median": signal.sort().values[5],
        "signal/max": signal.max(),
        "signal/top": signal.max() / signal.sum(),
        **{f"slope/{place}": each.mean() for place, each in slopes.items()},
        "slope/max": max(each.max() for each in slopes.values()),
        "critic/gap": r.mean() - f.mean(),
        "critic/spread": torch.cat([r, f]).var(correction=0).sqrt(),
        "critic/saturated": (f.abs() > math.log(99)).double().mean(),
        "critic/held": (r.mean() - h.mean()) / (r.mean() - f.mean()),
        "logit/real": r.mean(),
        "logit/fake": f.mean(),
        "spectral/D": max(torch.linalg.matrix_norm(D[i].weight.detach(), 2) for i in (0, 2)),
        "fakes/diversity": torch.pdist(fake).mean() / torch.pdist(real).mean(),
    }
    for key, value in expected.items():
        assert found[key] == pytest.approx(float(value), rel=1e-6, abs=1e-8), key


def test_weights_in_double_precision_are_measured_in_it():
    torch.manual_seed(0)
    critic = plain_critic().double()
    monitor = Monitor(critic, every=1)
    monitor.step(torch.randn(8, 2).double(), torch.randn(8, 2).double())
    largest = max(torch.linalg.matrix_norm(critic[i].weight.detach(), 2) for i in (0, 2))
    found = monitor.history().series["spectral/D"].values.item()
    assert found == pytest.approx(largest.item(), rel=1e-12)


def test_copies_and_close_pairs_are_found_with_the_training_set():
    torch.manual_seed(0)
    train, held = torch.randn(40, 2), torch.randn(30, 2)
    monitor = Monitor(lambda x: x.sum(1), loss="wasserstein", every=1, train=train, held=held)
    monitor.step(train[:16], train[20:36].clone())
    found = {key: series.values.item() for key, series in monitor.history().series.items()}
    assert found["fakes/copies"] == 1.0
    assert found["close/pairs"] == 1.0
    assert found["close/signal"] == pytest.approx(math.sqrt(2))


def test_close_pairs_are_found_without_a_loss_too():
    """Without them blurred fakes of many dimensions would pass for copies."""
    torch.manual_seed(0)
    train = torch.randn(40, 64)
    monitor = Monitor(lambda x: x.sum(1), every=1, train=train, held=torch.randn(30, 64))
    for _ in range(8):
        monitor.step(train[:16], 0.1 * torch.randn(16, 64))
    series = monitor.history().series
    assert series["fakes/copies"].values.min() > 0.9
    assert series["close/pairs"].values.max() == 0
    assert "close/signal" not in series
    assert "memorisation" not in [verdict.name for verdict in monitor.verdicts]


def test_updates_are_those_of_the_last_step():
    D, G = plain_critic(), nn.Linear(3, 2)
    monitor = Monitor(D, G, every=3)
    for number in range(1, 7):
        with torch.no_grad():
            for p in G.parameters():
                p.mul_(1 + 0.1 * number)
            for p in D.parameters():
                p.mul_(1.5 if number == 6 else 1.0)
        monitor.step(torch.randn(8, 2), torch.randn(8, 2))
    series = monitor.history().series
    assert series["update/G"].steps.tolist() == [3, 6]
    torch.testing.assert_close(
        series["update/G"].values, torch.tensor([0.3, 0.6]).double(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        series["update/D"].values, torch.tensor([0.0, 0.5]).double(), rtol=1e-5, atol=0
    )


def test_without_the_generator_a_critic_that_rests_is_no_dead_game():
    monitor = Monitor(plain_critic(), every=1)
    for _ in range(12):
        monitor.step(torch.randn(64, 2), torch.randn(64, 2))
    assert not any(key.startswith("signal/") for key in monitor.history().series)
    assert monitor.history().series["update/D"].values.unique().tolist() == [0.0]
    assert [verdict.name for verdict in monitor.verdicts] == ["frozen"]


def test_a_player_that_rests_in_the_measured_step_alone_has_no_update():
    """G takes every second step, and never one that is measured: it has not moved yet between the first two calls."""
    D, G = plain_critic(), nn.Linear(3, 2)
    monitor = Monitor(D, G, every=2)
    for number in range(1, 25):
        with torch.no_grad():
            for p in G.parameters() if number % 2 else D.parameters():
                p.mul_(1.5)
        monitor.step(torch.randn(64, 2), torch.randn(64, 2))
    assert monitor.history().series["update/G"].steps.tolist() == [2]
    assert monitor.history().series["update/D"].values.tolist() == pytest.approx([0.5] * 12)
    assert "frozen" not in [verdict.name for verdict in monitor.verdicts]


def test_small_batches_are_compared_with_those_of_the_last_calls():
    """Two fakes a call would leave no coverage; the sixty-four calls before an examination have 128."""
    torch.manual_seed(0)
    monitor = Monitor(plain_critic(), every=100)
    rows = [(torch.randn(2, 2), 0.5 * torch.randn(2, 2)) for _ in range(100)]
    for real, fake in rows:
        monitor.step(real, fake)
        fake.fill_(torch.nan)  # what a loop does with its tensors afterwards is its own affair
    real = torch.cat([real for real, _ in rows[36:]])
    found = {key: series.values.item() for key, series in monitor.history().series.items()}
    assert len(monitor._recent) == 64
    assert found["fakes/diversity"] == pytest.approx(0.5, abs=0.08)
    assert found["fakes/coverage"] > 0.5
    assert torch.equal(torch.cat([r for r, _ in monitor._recent]), real)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("bad", [lambda x: x.long(), lambda x: None], ids=["type", "none"])
def test_a_pass_that_fails_ends_no_later_one(every, bad):
    """Wrong samples at step 6, which the loop catches; the steps of the other passes stay."""
    monitor = Monitor(plain_critic(), every=every)
    for step in range(1, 11):
        x = torch.randn(16, 2)
        try:
            monitor.step(bad(x) if step == 6 else x, x)
        except UsageError:
            assert step == 6
    wanted = [step for step in range(every, 11, every) if step != 6]
    assert monitor.history().series["slope/fake"].steps.tolist() == wanted


def test_most_steps_do_not_call_the_critic():
    calls = []

    def critic(x):
        calls.append(len(x))
        return x.sum(1)

    monitor = Monitor(critic, every=50)
    for _ in range(100):
        monitor.step(torch.randn(64, 2), torch.randn(64, 2), loss_D=1.0)
    assert len(calls) == 2 * 3


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_narrow_types_with_and_without_autocast(kind, auto, graph):
    torch.manual_seed(0)
    D = image_critic()
    real, fake = torch.randn(2, 16, 1, 8, 8)
    fake = fake.requires_grad_() * 1.0 if graph else fake
    wide = Monitor(D, loss="non_saturating", every=1)
    wide.step(real, fake)
    narrow = Monitor(D, loss="non_saturating", every=1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=auto):
        narrow.step(real.to(kind), fake.to(kind))
    one, other = (m.history().series for m in (wide, narrow))
    assert one.keys() == other.keys()
    for key in ("signal/mean", "slope/real", "slope/max", "critic/spread", "fakes/diversity"):
        torch.testing.assert_close(other[key].values, one[key].values, rtol=0.03, atol=0)


def test_a_critic_of_half_precision_gets_it():
    D = plain_critic().to(torch.bfloat16)
    monitor = Monitor(D, loss="hinge", every=1)
    monitor.step(torch.randn(8, 2), torch.randn(8, 2))
    assert monitor.history().series["slope/real"].values.isfinite().all()


def test_the_file_is_read_back_with_facts(tmp_path):
    file = tmp_path / "gan.jsonl"
    monitor = Monitor(plain_critic(), loss="hinge", every=2, file=file, penalties=["r1"], steps=100)
    for number in range(7):
        monitor.step(
            torch.randn(8, 2), torch.randn(8, 2), loss_D=torch.tensor(float(number)), high_quality=0.5
        )
    first, *lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert first == {"facts": {"game": "gan", "loss": "hinge", "penalties": ["r1"], "steps": 100}}
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["images"] for line in lines] == [16, 32, 48]
    assert [line["loss/D"] for line in lines] == [1.0, 3.0, 5.0]
    assert all(line["high_quality"] == 0.5 for line in lines)
    kept, here = read(file).history(), monitor.history()
    assert kept.facts == here.facts
    assert kept.series.keys() == here.series.keys()
    assert all(torch.equal(kept.series[k].values, here.series[k].values) for k in kept.series)


def test_a_loop_that_goes_on_keeps_what_was_before_and_drops_the_rest(tmp_path):
    file = tmp_path / "gan.jsonl"
    D = plain_critic()
    old = Monitor(D, every=2, file=file)
    for _ in range(6):
        old.step(torch.randn(8, 2), torch.randn(8, 2))
    with file.open("a") as end:
        end.write('{"step": 8, "crit')
    with pytest.raises(UsageError, match="has lines already"):
        Monitor(D, file=file)
    new = Monitor(D, every=2, file=file, start=5, penalties=["r2"])
    for _ in range(3):
        new.step(torch.randn(8, 2), torch.randn(8, 2))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line.get("step") for line in lines] == [None, 2, 4, 6, 8]
    assert [line.get("images") for line in lines] == [None, 16, 32, 40, 56]
    assert lines[0]["facts"]["penalties"] == ["r2"]
    assert new.history().series["critic/gap"].steps.tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize("text", ["step,loss\n1,0.5\n", '{"loss": 0.5}\n{"step": 3}\n'])
def test_a_file_of_another_program_is_left_as_it_is(text, tmp_path):
    """With a step to start from, its lines were dropped."""
    (file := tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UsageError, match="is not a Monitor's file"):
        Monitor(plain_critic(), file=file, start=5)
    assert file.read_text() == text


def test_held_out_samples_are_read_in_whole_batches_alone():
    """A critic with batch norm says other things of a rest of four."""
    seen = []

    def D(x):
        seen.append(len(x))
        return x.sum(1)

    monitor = Monitor(D, every=1, held=torch.randn(20, 2))
    monitor.step(torch.randn(8, 2), torch.randn(8, 2))
    assert set(seen) == {8}


def test_images_may_grow():
    """The next call after a GAN had doubled its sides compared features of two sizes, and raised torch's error."""
    monitor = Monitor(lambda x: x.flatten(1).sum(1), every=2)
    for side in (2, 2, 4, 4):
        monitor.step(torch.randn(8, 1, side, side), torch.randn(8, 1, side, side))
    assert monitor.history().series["fakes/diversity"].steps.tolist() == [2, 4]


def test_a_loss_that_is_not_finite_is_told_of_at_its_step_once(tmp_path):
    told, file = [], tmp_path / "gan.jsonl"
    monitor = Monitor(plain_critic(), every=10, file=file, warn=told.append)
    for number in range(1, 26):
        value = math.nan if number >= 13 else 1.0
        monitor.step(torch.randn(8, 2), torch.randn(8, 2), loss_D=torch.tensor(value))
    assert len(told) == 1
    assert told[0].startswith("step 13: diverged: loss/D is not finite from step 13 on.")
    assert [json.loads(line).get("step") for line in file.read_text().splitlines()] == [None, 10, 13, 20]
    assert monitor.verdicts[0].name == "diverged"
    assert monitor.verdicts[0].since == 13


def test_a_parameter_that_is_not_finite_is_named():
    told, D = [], plain_critic()
    monitor = Monitor(D, every=5, warn=told.append)
    for number in range(1, 16):
        if number == 8:
            nn.init.constant_(D[2].weight, math.nan)
        monitor.step(torch.randn(8, 2), torch.randn(8, 2))
    assert len(told) == 1
    assert "diverged" in told[0]
    assert "D.2.weight" in told[0]
    assert monitor.history().facts["diverged"]["good_step"] == 5
    assert monitor.verdicts[0].name == "diverged"


def test_what_is_found_twice_in_a_row_is_told_of_once(monkeypatch):
    looks = iter(
        [["collapse"], ["healthy"], ["collapse"], ["collapse"], ["collapse", "rotation"]] + [["healthy"]] * 99
    )
    remedy = "critic.penalties=[{name: r1, weight: 1}]"
    monkeypatch.setattr(
        module, "diagnose", lambda history: [Verdict(n, 1, (f"{n}.",), "use R1", remedy) for n in next(looks)]
    )
    told = []
    monitor = Monitor(plain_critic(), every=1, warn=told.append)
    counts = []
    for _ in range(26):
        monitor.step(torch.randn(8, 2), torch.randn(8, 2))
        counts.append(len(told))
    assert counts == [0] * 24 + [1] * 2  # looks at 20, 21, 23, 25, ...
    assert told == [
        "step 25: collapse: collapse. Try: use R1: loss_D = loss_D + penalties.r1(D, x_real) (functions of steadygan)."
    ]


def test_every_line_for_a_loop_belongs_to_a_remedy():
    assert IN_A_LOOP.keys() <= {each.config for tries in _TRIES.values() for each in tries}


GOOD = {"x_real": torch.zeros(8, 2), "x_fake": torch.zeros(8, 2)}
WRONG = {
    "critic [N, 3]": ({"critic": nn.Linear(2, 3)}, {}, "one number per sample"),
    "critic": ({"critic": 3}, {}, "critic must be a module"),
    "generator": ({"generator": lambda z: z}, {}, "generator must be a module"),
    "every": ({"every": 0}, {}, "every must be a number of steps, 1 or more, not 0"),
    "start": ({"start": -1}, {}, "start must be a number of steps, 0 or more"),
    "loss": ({"loss": "hinje"}, {}, "did you mean 'hinge'"),
    "loss kind": ({"loss": 3}, {}, "loss must be a name"),
    "loss value": ({"loss": lambda f: f}, {}, r"return one number, not \[8\]"),
    "fact": ({"penaltys": ["r1"]}, {}, "did you mean 'penalties'"),
    "fact kind": ({"penalties": "r1"}, {}, r"penalties=\['r1'\]"),
    "fact list": ({"penalties": [3]}, {}, r"penalties must be a list of names.* not \[3\]"),
    "fact name": ({"normalization": ["none"]}, {}, "normalization must be a name"),
    "fact number": ({"steps": "many"}, {}, "steps must be a number, not 'many'"),
    "fact value": ({"steps": torch.ones(2)}, {}, "plain value"),
    "empty": ({}, {"x_fake": torch.zeros(0, 2)}, "x_fake must be a batch of one or more samples"),
    "shapes": ({}, {"x_fake": torch.zeros(8, 3)}, r"shape \[3\] and those of x_real \[2\]"),
    "bytes": ({}, {"x_real": torch.zeros(8, 2).byte()}, "floating point"),
    "list": ({}, {"x_real": [1.0]}, "x_real must be a batch of one or more samples"),
    "nothing": ({}, {"x_fake": None}, "x_fake must be a batch of one or more samples"),
    "held": ({"held": torch.zeros(8, 3)}, {}, r"samples of held have shape \[3\]"),
    "train": ({"train": [1, 2]}, {}, "train and held must be floating point tensors"),
    "nothing held": ({"held": ()}, {}, "train and held must be floating point tensors"),
    "NaN in train": ({"train": torch.full((8, 2), math.nan)}, {}, "train has samples that are not finite"),
    "too large": ({}, {"loss_D": 10**400}, "loss_D must be one number per step"),
    "scalar": ({}, {"loss_D": torch.zeros(8)}, r"loss_D must be one number per step, not shape \[8\]"),
    "word": ({}, {"loss_D": "low"}, "loss_D must be one number per step, not 'low'"),
    "reserved": ({}, {"images": 3.0}, "every line has its own 'images'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_sentence(name):
    given, samples, words = WRONG[name]
    with pytest.raises(UsageError, match=words) as raised:
        Monitor(**{"critic": lambda x: x.sum(1), "every": 1, **given}).step(**{**GOOD, **samples})
    assert "\n" not in str(raised.value)


def test_in_inference_mode_it_says_what_to_use_instead():
    monitor = Monitor(plain_critic(), every=1)
    with torch.inference_mode(), pytest.raises(UsageError, match=r"use torch\.no_grad"):
        monitor.step(**GOOD)


def test_what_parallel_training_wraps_around_a_network_is_left_out():
    D = plain_critic()
    monitor = Monitor(nn.DataParallel(D), nn.DataParallel(nn.Linear(2, 2)), every=1)
    assert monitor._players["D"] is monitor._critic is D


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"cannot write to .*: name another file"):
        Monitor(plain_critic(), file=tmp_path / "nowhere" / "gan.jsonl")
    with pytest.raises(UsageError, match="cannot write to"):
        Monitor(plain_critic(), file=tmp_path)


def test_a_disk_that_fills_up_ends_the_file_and_not_the_training(tmp_path):
    told, folder = [], tmp_path / "there"
    folder.mkdir()
    monitor = Monitor(plain_critic(), every=1, file=folder / "gan.jsonl", warn=told.append)
    (folder / "gan.jsonl").unlink()
    folder.rmdir()
    for _ in range(3):
        monitor.step(torch.randn(8, 2), torch.randn(8, 2))
    assert len(told) == 1
    assert "training continues without it" in told[0]
    assert len(monitor.history().series["critic/gap"].steps) == 3


def true_modes(G):
    """Modes that G reaches, counted one sample at a time: ten of a thousand within .1 of a centre."""
    torch.manual_seed(123)
    with torch.no_grad():
        samples = G(torch.randn(1000, 2)).tolist()
    counts = [0] * 8
    for x, y in samples:
        for k in range(8):
            counts[k] += math.hypot(x - math.cos(k * math.pi / 4), y - math.sin(k * math.pi / 4)) < 0.1
    return sum(count >= 10 for count in counts)


@pytest.mark.slow
def test_the_examples_loop_collapses_and_its_line_heals_it(tmp_path, capsys):
    train = runpy.run_path(str(EXAMPLE))["train"]
    G, monitor = train(steps=1000, file=tmp_path / "stock.jsonl")
    assert true_modes(G) <= 2
    names = [verdict.name for verdict in monitor.verdicts]
    assert set(names) & {"hopping", "collapse"}
    warned = capsys.readouterr().err
    assert f": {names[0]}: " in warned
    assert "penalties.r1(D, x_real)" in warned
    assert [v.name for v in diagnose(read(tmp_path / "stock.jsonl").history())] == names
    G, monitor = train(healed=True, file=tmp_path / "healed.jsonl")
    assert true_modes(G) >= 7
    assert [verdict.name for verdict in monitor.verdicts] == ["healthy"]
    assert "penalties" not in capsys.readouterr().err


def test_the_example_runs_and_has_one_line_more_when_healed():
    run = runpy.run_path(str(EXAMPLE))
    (G, stock), (_, healed) = (run["train"](with_r1, steps=30) for with_r1 in (False, True))
    assert 0 <= run["modes"](G) <= 8
    assert stock.history().facts["penalties"] == []
    assert healed.history().facts["penalties"] == ["r1"]
    assert stock.verdicts[0].name == "undecided"


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 60


def test_a_monitor_in_a_copy_of_the_loops_networks_is_told_the_same():
    """What it measures does not depend on when the buffers were last touched by it."""
    torch.manual_seed(0)
    D = spectral_critic()
    twin = copy.deepcopy(D)
    real, fake = torch.randn(2, 16, 2)
    monitors = [Monitor(net, loss="hinge", every=1) for net in (D, twin)]
    for _ in range(3):
        monitors[0].step(real, fake)
    monitors[1].step(real, fake)
    one, other = (m.history().series["slope/max"].values[-1] for m in monitors)
    assert one == other


def test_a_critic_that_ends_in_a_sigmoid_is_told_of_at_once():
    told = []
    Monitor(nn.Sequential(plain_critic(), nn.Sigmoid()), warn=told.append)
    Monitor(plain_critic(), warn=told.append)
    assert told == [
        "the critic seems to end in a sigmoid, and its logits are measured: leave the sigmoid out"
    ]


def test_data_that_are_not_finite_are_not_taken_for_a_high_rate():
    monitor = Monitor(plain_critic(), every=1, warn=lambda text: None)
    monitor.step(torch.full((8, 2), math.nan), torch.zeros(8, 2))
    assert "NaN and infinity in your data" in monitor.verdicts[0].remedy
