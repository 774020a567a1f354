"""Monitor: diagnostics in your own training loop. Call `monitor.step(x_real, x_fake)` once per step."""

import copy
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from steadygan import parallel
from steadygan.critic_outputs import AnyCritic, Condition, Logits, Reduction, ends_in_sigmoid
from steadygan.diagnostics import monitor_inputs
from steadygan.diagnostics.history import Events, History
from steadygan.diagnostics.measures import (
    Measures,
    closeness,
    compared,
    copies,
    fake_measures,
    features,
    ranges,
    signal_measures,
    spectral_norm,
)
from steadygan.diagnostics.monitor_probe import Shown, measured, suited, untouched, wide
from steadygan.diagnostics.remedy_code import in_a_loop
from steadygan.diagnostics.verdicts import Verdicts, diagnose
from steadygan.diagnostics.warnings_once import WarnOnce
from steadygan.errors import UsageError
from steadygan.losses import Loss
from steadygan.penalties import norm

__all__ = ["Monitor"]

ROWS, REACH, TRAIN = 256, 64, 2048
"""Samples to compare, from how many last calls at most, and training samples to compare them with, at most."""

PATIENCE, AGAIN = 20, 1.05
"""Diagnostics passes before the first diagnosis, and the factor in their number from one diagnosis to the next."""


_GONE = "what pickle could not store"


def to_stderr(text: str) -> None:
    """Print a warning to the error stream."""
    print(f"steadygan: {text}", file=sys.stderr, flush=True)


class Monitor:
    """Watch a GAN that your own training loop trains: log gradient statistics and warn of problems.

        monitor = Monitor(D, G, loss="non_saturating", file="gan.jsonl")
        for ...:
            ...
            monitor.step(x_real, x_fake, loss_D=loss_D, loss_G=loss_G)

    Most calls only count. Every `every`-th call is a diagnostics pass. It measures the critic's logits and
    slopes at these samples, the gradient that G receives, and how the players' weights change. It also
    measures how the fakes lie among the reals, from up to 256 samples of the last calls. The keys are those
    of a run's events.jsonl. Training is unchanged, bit for bit: no gradients, buffers or random numbers
    change. From the twentieth pass on the results are diagnosed too, less and less often. A problem that is
    found twice in a row is passed to `warn`, once each.

    - `critic`: returns one logit per sample [N], high for real; a module or a function of modules. It may also
      return a map of logits [N, ...], or a list, one for each of several critics, whose sum is measured.
    - `generator`: a module; only its parameters are read.
    - `logits`: takes the logits out of a tuple or dict, as logits=lambda out: out[0]. `reduce`: "mean" or "sum"
      of a sample's own logits, where it has several. The verdicts' units are those of "mean".
    - `loss`: the loss of G: a name of `losses.LOSSES`, a `losses.Loss`, or a function of the fakes' logits.
      Without it nothing is known of the gradient that G receives, and a dead or vanishing critic is not
      found.
    - `train`: the training samples [m, ...] of a small set; `held`: others of the same distribution. With
      them copying and overfitting are found. With labels: held=(samples, labels).
    - `file`: receives the lines, for `steadygan diagnose file`. It must be new. A loop that resumes after
      step `start` may name its old file; later lines are dropped.
    - further keywords: facts of the loop, such as penalties=["r1"], normalization="spectral_normalized",
      fake_as_real=True, steps=100_000.

    A Monitor can be pickled and copied. A critic or loss that is a lambda is not pickled; make a new Monitor then,
    with `start`. Under DistributedDataParallel one process alone may have a Monitor. Raises UsageError with one
    sentence for input that it cannot use, here or at a `step`.

    >>> D = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    >>> monitor = Monitor(D, loss="hinge", every=1)
    >>> monitor.step(torch.randn(8, 2), torch.zeros(8, 2), loss_D=2.0)
    >>> monitor.history().series["fakes/diversity"].values
    tensor([0.], dtype=torch.float64)
    """

    def __init__(
        self,
        critic: AnyCritic,
        generator: nn.Module | None = None,
        *,
        loss: str | Loss | Callable[[Any], Tensor] | None = None,
        logits: Callable[[Any], Logits] | None = None,
        reduce: Reduction | None = None,
        every: int = 100,
        file: str | Path | None = None,
        train: Tensor | tuple[Tensor, ...] | None = None,
        held: Tensor | tuple[Tensor, ...] | None = None,
        start: int = 0,
        warn: Callable[[str], None] = to_stderr,
        **facts: Any,
    ) -> None:
        """Start at step `start`, and write the facts to `file`."""
        name, self._loss = monitor_inputs.objective(loss)
        monitor_inputs.check(critic, generator, every, start, facts)
        self._objective = name or loss
        self._how = monitor_inputs.reading(logits, reduce)
        self.events = Events({"game": "gan", "loss": name, **facts})
        self.every, self.count, self.warn = every, start, warn
        self.file = None if file is None else Path(file)
        self._critic = monitor_inputs.bare(critic)
        networks = {"D": self._critic, "G": monitor_inputs.bare(generator)}
        self._players = {name: net for name, net in networks.items() if _trained(net)}
        sets = (("train", train, TRAIN), ("held", held, ROWS))
        self._sets = {key: monitor_inputs.some(x, most, key) for key, x, most in sets if x is not None}
        self._compared: Measures = {}  # features of these, and what else all diagnostics passes share
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=REACH)
        self._before: dict[str, list[Tensor]] = {}  # parameters a step before a diagnostics pass
        # Sums over the parameters, at the first call and then at the last diagnostics pass.
        self._marks: dict[str, Tensor] = {}
        self._next = start - start % every + every
        self._next_pass = start + 1  # the first call is checked
        self._passes, self._due, self._good = 0, PATIENCE, start
        self._teller = WarnOnce(warn, in_a_loop)
        if logits is None and not (callable(loss) and name is None) and ends_in_sigmoid(self._critic):
            warn("the critic seems to end in a sigmoid, and its logits are measured: leave the sigmoid out")
        self._gaps: set[str] = set()
        self._lost = self._reopen = False
        last = monitor_inputs.begun(self.file, start, self.events)
        self._images = int(last.get("images") or 0)
        self._began = time.perf_counter() - float(last.get("wall_s") or 0)

    @property
    def verdicts(self) -> Verdicts:
        """The current verdicts, the cause first."""
        return diagnose(self.history())

    def history(self) -> History:
        """All measured scalars by their flat names, and the facts."""
        return self.events.history()

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickle, without functions that it cannot store, such as a lambda."""
        state = self.__dict__ | {"_loss": None, "_began": time.perf_counter() - self._began, "_reopen": True}
        state["_teller"] = copy.copy(self._teller)
        state["_teller"].warn = None
        for key in ("_critic", "_objective", "_how", "warn"):
            if not monitor_inputs.picklable(state[key]):
                state[key] = _GONE if key != "warn" else to_stderr
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Continue with the step after the last one, and with the same file."""
        self.__dict__ |= state
        self._began = time.perf_counter() - self._began
        self._teller.warn = self.warn
        if _GONE in (self._critic, self._objective, self._how):
            self._next_pass = 0  # the next step says so
        else:
            _, self._loss = monitor_inputs.objective(self._objective)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy everything, the networks too; functions are shared."""
        memo[id(self)] = new = object.__new__(type(self))
        new.__dict__ |= copy.deepcopy(self.__dict__, memo)
        return new

    def step(
        self,
        x_real: Tensor,
        x_fake: Tensor,
        *,
        y_real: Condition | None = None,
        y_fake: Condition | None = None,
        **scalars: Tensor | float,
    ) -> None:
        """Record one step: real samples and fakes [N, ...] as the critic sees them, and scalars of your own.

        `x_fake` may have a graph or not. `y_real` and `y_fake` are the labels of a critic D(x, y), or tuples of what
        D(x, *y) takes. `loss_D` is written as loss/D. A loss on the CPU that is not finite is reported at once, any
        other at the next diagnostics pass.
        """
        self.count += 1
        try:
            self._images += x_real.shape[0]
            for name, value in scalars.items():
                if not monitor_inputs.finite(value):
                    self._gap(name)
        except (AttributeError, TypeError, ValueError, RuntimeError, OverflowError):
            monitor_inputs.check_samples(x_real, x_fake, {})  # these say what is wrong with what was given
            monitor_inputs.numbers(scalars)
            raise
        if self.count >= self._next_pass:
            self._take(x_real, x_fake, y_real, y_fake, scalars)

    def _take(
        self,
        x_real: Tensor,
        x_fake: Tensor,
        y_real: Condition | None,
        y_fake: Condition | None,
        scalars: Mapping[str, Tensor | float],
    ) -> None:
        """Keep the samples of a call shortly before a diagnostics pass, or run the pass."""
        while self._next < self.count:  # a call failed before it came here
            self._next += self.every
        due = self.count == self._next
        if due:  # now: if this call fails, the next pass comes all the same
            self._next += self.every
        if _GONE in (self._critic, self._objective, self._how):
            raise UsageError(
                "this Monitor was pickled without its critic, loss or logits, because pickle stores no lambda: make a "
                f"new Monitor with the same file and start={self.count - 1}"
            )
        monitor_inputs.check_samples(x_real, x_fake, self._sets)
        real = monitor_inputs.shown(x_real, y_real, "y_real")
        fake = monitor_inputs.shown(x_fake, y_fake, "y_fake")
        monitor_inputs.check_labels(real, fake, self._sets.get("held"))
        own = monitor_inputs.numbers(scalars)
        if not self._marks:
            self._marks = {name: _mark(module) for name, module in self._players.items()}
        seen = features(x_real.detach()), features(x_fake.detach())
        if self._recent and self._recent[0][0].shape[1:] != seen[0].shape[1:]:  # as where a GAN grows
            self._recent.clear()
            self._compared = {}
        self._recent.append(seen)
        while sum(len(fake) for _, fake in self._recent) - len(self._recent[0][1]) >= ROWS:
            self._recent.popleft()
        if due:
            self._measure(real, fake, own)
        if self.count == self._next - 1:
            self._before = {name: _copied(module) for name, module in self._players.items()}
        calls = max(2, min(REACH, math.ceil(ROWS / len(x_fake))))
        self._next_pass = max(self.count + 1, self._next - calls + 1)

    def _measure(self, real: Shown, fake: Shown, own: dict[str, float]) -> None:
        """Write a line with all measurements; diagnose when it is time."""
        where = None if self._lost else self._not_finite(real.x, fake.x)
        if where:
            self._lost = True
            self._write({"diverged": [0], "good_step": self._good, "began": None, "tensor": where})
        if self._lost:
            self._write(own)
        else:
            found = self._measured(real, fake)
            self._write({**own, **{key: value.cpu().double().item() for key, value in found.items()}})
            self._good = self.count
        self._gaps = {key for key, value in own.items() if not math.isfinite(value)}
        self._passes += 1
        if self._lost or self._gaps:
            self._tell_of_divergence()
        elif self._passes >= self._due:
            self._due = math.ceil(self._passes * AGAIN)
            self._teller.tell(self.count, self._teller.sure([self.verdicts]))

    def _measured(self, real: Shown, fake: Shown) -> Measures:
        """All measurements of one diagnostics pass, without the caller's scalars."""
        critic = self._players.get("D")
        weights = {} if critic is None else dict(critic.named_parameters())
        n = min(len(real.x), len(fake.x))
        held = self._sets.get("held")
        # Other processes do not wait for this pass: what is relative to a batch is relative to these samples.
        alone = parallel.over(parallel.ALONE)
        with alone, torch.no_grad(), untouched(fake.x.device) as called:
            found, told = measured(
                self._critic,
                self._loss,
                _fitted(real.rows(slice(n)), fake.x.device, weights),
                _fitted(fake.rows(slice(n)), fake.x.device, weights),
                None if held is None else _fitted(held, fake.x.device, weights),
                **self._how,
            )
        modules = nn.ModuleList(called)
        if critic is None and _trained(modules):  # the modules that a function calls
            self._players = {"D": modules, **self._players}
        if told is not None:
            found |= signal_measures(told)
        found |= ranges(wide(real.x), wide(fake.x))
        return found | self._of_fakes(fake.x[:n], told) | self._of_players()

    def _of_fakes(self, x_fake: Tensor, told: Tensor | None) -> Measures:
        real, fake = (torch.cat(rows) for rows in zip(*self._recent))
        if not self._compared:
            sets = {key: features(each.x).to(real) for key, each in self._sets.items()}
            shared = compared(sets.get("train"), real.shape[1])
            self._compared = {**sets, **{key: value.to(real) for key, value in shared.items()}}
        shared = self._compared
        enough = min(len(real), len(fake)) >= 8  # more than the five neighbours of the coverage
        found = fake_measures(fake, real, shared["directions"]) if enough else {}
        if "train" in shared:
            signal = torch.zeros(len(x_fake)) if told is None else norm(told)
            near = closeness(
                features(x_fake.detach()), shared["train"], shared["delta"], signal.to(x_fake.device)
            )
            found |= near if told is not None else {"close/pairs": near["close/pairs"]}
        if "train" in shared and "held" in shared:
            found |= copies(fake, shared["held"], shared["train"])
        return found

    def _of_players(self) -> Measures:
        """Spectral norms, and how far the last step moved each player's parameters.

        Nothing is said of a player that rested in this step alone, as a G of which each step is one in five.
        """
        found = {}
        marks = {name: _mark(module) for name, module in self._players.items()}
        for name, module in self._players.items():
            found[f"spectral/{name}"] = spectral_norm({k: wide(p) for k, p in module.named_parameters()})
        for name, before in self._before.items():
            now = torch.cat([p.flatten() for p in _copied(self._players[name])])
            then = torch.cat([p.flatten() for p in before])
            moved = (now - then).norm() / then.norm()
            if moved or (name in self._marks and torch.equal(self._marks[name], marks[name])):
                found[f"update/{name}"] = moved
        self._marks = marks
        return found

    def _not_finite(self, x_real: Tensor, x_fake: Tensor) -> str | None:
        """The name of the first tensor that is not finite: the data, a parameter or the fakes."""
        named = (
            (f"{player}.{name}", parameter)
            for player, module in self._players.items()
            for name, parameter in module.named_parameters()
        )
        every = (("x_real", x_real), *named, ("x_fake", x_fake))
        return next((name for name, x in every if not x.detach().isfinite().all()), None)

    def _gap(self, name: str) -> None:
        """Write that a scalar is not finite at its own step, once until the next pass; report a loss."""
        key = monitor_inputs.key_of(name)
        if key not in self._gaps and self.count != self._next:  # which writes it anyway
            self._gaps.add(key)
            self._write({key: math.nan})
            self._tell_of_divergence()

    def _tell_of_divergence(self) -> None:
        self._teller.tell(self.count, {(0, v.name): v for v in self.verdicts if v.name == "diverged"})

    def _write(self, values: Mapping[str, Any]) -> None:
        """Record one line, and append it to the file."""
        seconds = round(time.perf_counter() - self._began, 3)
        numbers = {key: monitor_inputs.plain(value) for key, value in values.items()}
        line = {"step": self.count, "images": self._images, "wall_s": seconds, **numbers}
        self.events.add(line)
        if self.file is None:
            return
        if self._reopen:  # lines that were written after this Monitor was pickled
            self._reopen = False
            monitor_inputs.begun(self.file, max(1, self.count - 1), Events(self.events.facts))
        try:
            with self.file.open("a") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:  # a full disk is no reason to end a training
            self.warn(
                f"cannot write to {self.file} any more ({error.strerror}): training continues without it"
            )
            self.file = None


def _trained(network: object) -> bool:
    """Whether this is a module with parameters."""
    return isinstance(network, nn.Module) and any(True for _ in network.parameters())


def _fitted(given: Shown, device: torch.device, weights: Mapping[str, Tensor]) -> Shown:
    """Copies on this device, those of floating point in the type that the critic takes."""
    y = None if given.y is None else tuple(part.to(device) for part in given.y)
    fitted = y and tuple(suited(part, weights) if part.is_floating_point() else part for part in y)
    return Shown(suited(given.x.to(device), weights), fitted)


def _mark(module: nn.Module) -> Tensor:
    """Sums [parameters, 2] that change when a parameter does."""
    wide = [p.detach().double() for p in module.parameters()]
    return torch.stack([torch.stack([p.sum(), p.square().sum()]) for p in wide])


def _copied(module: nn.Module) -> list[Tensor]:
    return [
        p.detach().to(torch.promote_types(p.dtype, torch.float32), copy=True) for p in module.parameters()
    ]
