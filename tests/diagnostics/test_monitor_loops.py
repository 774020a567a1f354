"""The Monitor in loops of other people: labels, several critics, maps and features, pickles, several processes."""

import copy
import functools
import json
import math
import pickle
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from paths import ROOT
from steadygan import Monitor
from steadygan.errors import UsageError

DOUBLE = torch.float64


class Conditional(nn.Module):
    """A critic D(x, y, e) of points: an embedding of the label y and a further condition e."""

    def __init__(self):
        super().__init__()
        self.label = nn.Embedding(3, 4)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Softplus(), nn.Linear(16, 1), nn.Flatten(0))

    def forward(self, x, y, e):
        return self.net(torch.cat([x, self.label(y), e], 1))


def conditions(n, like=DOUBLE):
    return torch.randint(3, (n,)), torch.randn(n, 2, dtype=like)


def measured(monitor):
    return {key: series.values[-1].item() for key, series in monitor.history().series.items()}


def slope(logits, x):
    return torch.autograd.grad(logits.sum(), x)[0].norm(dim=1).mean().item()


def test_a_conditional_critic_is_measured_with_the_labels_of_its_samples():
    torch.manual_seed(0)
    D = Conditional().double()
    real, fake, held = (torch.randn(n, 2, dtype=DOUBLE, requires_grad=True) for n in (12, 10, 24))
    y_real, y_fake, y_held = (conditions(len(x)) for x in (real, fake, held))
    monitor = Monitor(
        D, loss="non_saturating", every=1, held=(held.detach(), *y_held), train=(held.detach(), y_held[0])
    )
    monitor.step(real, fake, y_real=y_real, y_fake=y_fake)
    found = measured(monitor)
    short = [part[:10] for part in y_real]
    alpha = ((torch.arange(10.0) + 0.5) / 10).double()[:, None]
    between = (alpha * real[:10] + (1 - alpha) * fake).detach().requires_grad_()
    r, f, b = D(real[:10], *short), D(fake, *y_fake), D(between, *short)
    assert found["logit/real"] == pytest.approx(r.mean().item())
    assert found["logit/fake"] == pytest.approx(f.mean().item())
    assert found["slope/between"] == pytest.approx(slope(b, between))
    assert found["slope/fake"] == pytest.approx(slope(f, fake))
    signal = torch.autograd.grad(softplus(-D(fake, *y_fake)).sum(), fake)[0].norm(dim=1)
    assert found["signal/mean"] == pytest.approx(signal.mean().item())
    h = D(held, *y_held)[torch.tensor(_kept(monitor, held))]
    assert found["critic/held"] == pytest.approx(((r.mean() - h.mean()) / (r.mean() - f.mean())).item())
    assert {"fakes/copies", "close/pairs"} <= found.keys()


def _kept(monitor, held):
    """The held-out samples that make two whole batches of ten, in the Monitor's order."""
    x = monitor._sets["held"].x
    return [int((held == row).all(1).nonzero()) for row in x[:20]]


def test_labels_that_are_missing_or_do_not_fit_are_one_sentence():
    D, x = Conditional(), torch.randn(8, 2)
    y = conditions(8, torch.float32)
    cases = [
        (Monitor(D, every=1), {}, "takes more than samples .*y_real"),
        (Monitor(D, every=1), {"y_real": y}, "both or neither"),
        (Monitor(D, every=1), {"y_real": y, "y_fake": y[0]}, "same number of parts"),
        (Monitor(D, every=1), {"y_real": y, "y_fake": (y[0][:5], y[1])}, "y_fake must .* of 8 samples"),
        (Monitor(D, every=1), {"y_real": "cats", "y_fake": y}, "y_real must be a tensor"),
        (Monitor(D, every=1, held=x), {"y_real": y, "y_fake": y}, r"held=\(samples, labels\)"),
        (Monitor(lambda x: x.sum(1), every=1, held=(x, y[0])), {}, "held= without them"),
    ]
    for monitor, given, words in cases:
        with pytest.raises(UsageError, match=words) as raised:
            monitor.step(x, x + 1, **given)
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match=r"held must .* of 8 samples"):
        Monitor(D, held=(x, y[0][:3]))


@pytest.mark.parametrize("count", [3, 15, 33])
def test_held_out_samples_need_no_whole_number_of_batches(count):
    """A batch norm takes no single sample, as would be left of 33 = 2 x 16 + 1."""
    torch.manual_seed(0)
    D = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    monitor = Monitor(D, every=1, held=torch.randn(count, 2))
    monitor.step(torch.randn(16, 2), torch.randn(16, 2))
    assert math.isfinite(measured(monitor)["critic/held"])


def test_held_out_samples_that_the_critic_cannot_take_are_one_sentence():
    y = torch.randn(16, 2)
    monitor = Monitor(lambda x: (x * y).sum(1), every=1, held=torch.randn(7, 2))
    with pytest.raises(UsageError, match=r"cannot take 7 held-out samples \[2\].*held=\(samples, labels\)"):
        monitor.step(torch.randn(16, 2), torch.randn(16, 2))


def patches():
    """A critic of 8x8 images with a map of 2x2 logits."""
    return nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.Softplus(), nn.Conv2d(4, 1, 4, 2, 1)).double()


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_a_map_of_logits_is_measured_as_it_is_reduced_and_g_s_loss_as_it_is_trained(reduce):
    torch.manual_seed(0)
    D = patches()
    real, fake = torch.randn(2, 6, 1, 8, 8, dtype=DOUBLE)
    monitor = Monitor(D, loss="non_saturating", reduce=reduce, every=1, held=real[:3] + 1)
    monitor.step(real, fake)
    plain = Monitor(lambda x: getattr(D(x).flatten(1), reduce)(1), every=1, held=real[:3] + 1)
    plain.step(real, fake)
    found, same = measured(monitor), measured(plain)
    for key in ("critic/gap", "critic/spread", "critic/held", "slope/real", "slope/max", "logit/fake"):
        assert found[key] == pytest.approx(same[key]), key
    fake.requires_grad_()
    loss = torch.stack([softplus(-logit) for logit in D(fake).flatten()]).mean()
    signal = 6 * torch.autograd.grad(loss, fake)[0].flatten(1).norm(dim=1)
    assert found["signal/mean"] == pytest.approx(signal.mean().item())


def test_a_map_without_a_reduction_names_both():
    monitor = Monitor(patches(), every=1)
    with pytest.raises(UsageError, match=r"reduce='sum'.*reduce='mean'"):
        monitor.step(*torch.randn(2, 6, 1, 8, 8, dtype=DOUBLE))
    with pytest.raises(UsageError, match="reduce must be 'sum' or 'mean'"):
        Monitor(patches(), reduce="max")
    with pytest.raises(UsageError, match="logits must be a function"):
        Monitor(patches(), logits="first")


class Scales(nn.Module):
    """Two critics of points, each with features: a list of (features, logits)."""

    def __init__(self):
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1)) for _ in range(2)
        )

    def forward(self, x):
        hidden = [net[:2](x) for net in self.nets]
        return [{"features": h, "logits": net[2](h)} for h, net in zip(hidden, self.nets)]


def logits_of(out):
    return [each["logits"].squeeze(1) for each in out]


def test_of_several_critics_the_sum_is_measured_and_each_loss_counts():
    torch.manual_seed(0)
    D = Scales().double()
    real, fake = torch.randn(2, 6, 2, dtype=DOUBLE)
    monitor = Monitor(D, loss="non_saturating", logits=logits_of, every=1)
    monitor.step(real, fake)
    plain = Monitor(lambda x: sum(logits_of(D(x))), every=1)
    plain.step(real, fake)
    found, same = measured(monitor), measured(plain)
    for key in ("critic/gap", "critic/spread", "slope/real", "slope/max", "slope/between", "logit/fake"):
        assert found[key] == pytest.approx(same[key]), key
    fake.requires_grad_()
    signal = torch.autograd.grad(sum(softplus(-f).sum() for f in logits_of(D(fake))), fake)[0].norm(dim=1)
    assert found["signal/mean"] == pytest.approx(signal.mean().item())
    each = [torch.cat([logits_of(D(x))[i] for x in (real, fake)]) for i in (0, 1)]
    assert [found[f"critic/spread{i}"] for i in (0, 1)] == pytest.approx(
        [x.std(correction=0).item() for x in each]
    )


@pytest.mark.parametrize("dead", [0, 1, None])
def test_a_dead_critic_among_several_is_found(dead):
    torch.manual_seed(0)
    D = Scales()
    if dead is not None:
        nn.init.constant_(D.nets[dead][2].weight, 1e-6)
    monitor = Monitor(D, loss="non_saturating", logits=logits_of, every=1)
    for _ in range(12):
        monitor.step(torch.randn(64, 2), 5 + torch.randn(64, 2))
        for p in D.parameters():  # a critic that stands still is another mistake
            p.data.mul_(1.0001)
    found = [verdict for verdict in monitor.verdicts if verdict.name == "dead_critic"]
    assert len(found) == (dead is not None)
    assert not found or found[0].evidence[0].startswith(f"critic {dead} of 0 to 1 gives every sample")


@pytest.mark.parametrize(("given", "words"), [("gp", "'one_centered'"), ("r3", "'r"), ("R1", "'r1'")])
def test_a_penalty_that_steadygan_does_not_have(given, words):
    with pytest.raises(UsageError, match=f"no penalty '{given}', did you mean {words}"):
        Monitor(nn.Linear(2, 1), penalties=[given])


def networks():
    torch.manual_seed(0)
    D = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
    return D, nn.Linear(3, 2)


def steps(monitor, D, G, count):
    """Plain steps whose numbers follow from the Monitor's counter, so that they continue after a pickle."""
    for _ in range(count):
        draw = torch.Generator().manual_seed(monitor.count)
        real, z = torch.randn(16, 2, generator=draw), torch.randn(16, 3, generator=draw)
        with torch.no_grad():
            for p in (*D.parameters(), *G.parameters()):
                p.mul_(1 + 0.01 * torch.rand((), generator=draw))
        monitor.step(real, G(z), loss_D=float(monitor.count))


def lines(file):
    return [
        {key: value for key, value in json.loads(line).items() if key != "wall_s"}
        for line in file.read_text().splitlines()
    ]


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
@pytest.mark.parametrize("loss", ["hinge", "relativistic", None])
def test_a_pickled_trainer_continues_as_if_it_had_not_been(tmp_path, loss, copied):
    whole, D, G = Monitor(*networks(), loss=loss, every=3, file=tmp_path / "whole.jsonl"), *networks()
    whole._players = {"D": D, "G": G}
    whole._critic = D
    steps(whole, D, G, 20)
    D, G = networks()
    monitor = Monitor(D, G, loss=loss, every=3, file=tmp_path / "part.jsonl", warn=lambda text: None, start=0)
    steps(monitor, D, G, 11)
    D, G, monitor = copied((D, G, monitor))
    assert monitor._players["D"] is D
    steps(monitor, D, G, 9)
    assert lines(tmp_path / "part.jsonl") == lines(tmp_path / "whole.jsonl")
    one, other = (m.history().series for m in (whole, monitor))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key].values, other[key].values) for key in one if key != "wall_s")


def test_lines_after_the_pickle_are_dropped(tmp_path):
    D, G = networks()
    monitor = Monitor(D, G, every=2, file=tmp_path / "gan.jsonl")
    steps(monitor, D, G, 5)
    stored = pickle.dumps((D, G, monitor))
    steps(monitor, D, G, 5)
    D, G, monitor = pickle.loads(stored)
    steps(monitor, D, G, 3)
    assert [line.get("step") for line in lines(tmp_path / "gan.jsonl")] == [None, 2, 4, 6, 8]


def _warn(text):
    raise RuntimeError(text)


def test_functions_are_pickled_as_far_as_they_can_be():
    D, G = networks()
    own = pickle.loads(pickle.dumps(Monitor(functools.partial(_first, D), G, every=1, warn=_warn)))
    steps(own, D, G, 2)
    assert own.warn is own._teller.warn is _warn
    for given in ({"critic": lambda x: D(x)}, {"critic": D, "loss": lambda fake: -fake.mean()}):
        lost = pickle.loads(pickle.dumps(Monitor(**given, every=1, warn=lambda text: None)))
        with pytest.raises(UsageError, match=r"pickle stores no lambda.*start=0"):
            steps(lost, D, G, 1)
        kept = copy.deepcopy(Monitor(**given, every=1))
        steps(kept, D, G, 2)


def _first(D, x):
    return D(x)


@pytest.mark.slow
def test_one_process_of_two_may_watch_and_changes_nothing():
    """The critic has buffers, which its wrapper sends to all processes in each forward pass: they would wait."""
    file = ROOT / "tests" / "diagnostics" / "ddp_monitor.py"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, file, str(rank), port], **pipes) for rank in range(2)]
    try:
        out = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                process.kill()
    assert all(stdout for stdout, _ in out), out
    first, second = (json.loads(stdout.splitlines()[-1]) for stdout, _ in out)
    assert len(first) == 6
    for form, found in first.items():
        assert found["passes"] == (0 if form == "none" else 3), form
        assert second[form]["passes"] == 0
        assert found["sums"] == first["none"]["sums"], form
        assert second[form]["sums"] == second["none"]["sums"], form


@pytest.mark.slow
def test_a_sharded_network_is_one_sentence_and_a_synchronized_batch_norm_is_alone():
    """In training, a synchronized batch norm waits for the other processes, and refuses samples on a CPU."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        D = fully_shard(nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)))
        with pytest.raises(UsageError, match="FSDP shards"):
            Monitor(D)
        hidden = Monitor(lambda x: D(x), every=1)
        with pytest.raises(UsageError, match="FSDP shards"):
            hidden.step(torch.randn(8, 2), torch.randn(8, 2))
        torch.manual_seed(0)
        alone = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
        synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(alone))
        monitors = [Monitor(D, every=1) for D in (alone, synchronized)]
        x = torch.randn(2, 8, 2)
        with pytest.raises(ValueError, match="SyncBatchNorm"):
            synchronized(x[0])
        for monitor in monitors:
            monitor.step(*x)
        one, other = map(measured, monitors)
        assert one["slope/max"] == other["slope/max"]
    finally:
        dist.destroy_process_group()
