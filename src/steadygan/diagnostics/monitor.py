"""Monitor: diagnostics in your own training loop. Call `monitor.step(x_real, x_fake)` once per step."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from steadygan.diagnostics.monitor_probe import measured, suited, untouched, wide
from steadygan.diagnostics.remedy_code import in_a_loop
from steadygan.diagnostics.verdicts import Verdict, diagnose
from steadygan.diagnostics.warnings_once import WarnOnce
from steadygan.losses import Loss
from steadygan.penalties import norm

__all__ = ["Monitor"]

ROWS, REACH, TRAIN = 256, 64, 2048
"""Samples to compare, from how many last calls at most, and training samples to compare them with, at most."""

PATIENCE, AGAIN = 20, 1.05
"""Diagnostics passes before the first diagnosis, and the factor in their number from one diagnosis to the next."""


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

    - `critic`: returns one logit per sample [N], high for real; a module or a function of modules.
    - `generator`: a module; only its parameters are read.
    - `loss`: the loss of G: a name of `losses.LOSSES`, a `losses.Loss`, or a function of the fakes' logits.
      Without it nothing is known of the gradient that G receives, and a dead or vanishing critic is not
      found.
    - `train`: the training samples [m, ...] of a small set; `held`: others of the same distribution. With
      them copying and overfitting are found.
    - `file`: receives the lines, for `steadygan diagnose file`. It must be new. A loop that resumes after
      step `start` may name its old file; later lines are dropped.
    - further keywords: facts of the loop, such as penalties=["r1"], normalization="spectral_normalized",
      fake_as_real=True, steps=100_000.

    Raises UsageError with one sentence for input that it cannot use, here or at a `step`.

    >>> D = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    >>> monitor = Monitor(D, loss="hinge", every=1)
    >>> monitor.step(torch.randn(8, 2), torch.zeros(8, 2), loss_D=2.0)
    >>> monitor.history().series["fakes/diversity"].values
    tensor([0.], dtype=torch.float64)
    """

    def __init__(
        self,
        critic: Callable[[Tensor], Tensor],
        generator: nn.Module | None = None,
        *,
        loss: str | Loss | Callable[[Tensor], Tensor] | None = None,
        every: int = 100,
        file: str | Path | None = None,
        train: Tensor | None = None,
        held: Tensor | None = None,
        start: int = 0,
        warn: Callable[[str], None] = to_stderr,
        **facts: Any,
    ) -> None:
        """Start at step `start`, and write the facts to `file`."""
        name, self._loss = monitor_inputs.objective(loss)
        monitor_inputs.check(critic, generator, every, start, facts)
        self.events = Events({"game": "gan", "loss": name, **facts})
        self.every, self.count, self.warn = every, start, warn
        self.file = None if file is None else Path(file)
        self._critic = monitor_inputs.bare(critic)
        networks = {"D": self._critic, "G": monitor_inputs.bare(generator)}
        self._players = {name: net for name, net in networks.items() if isinstance(net, nn.Module)}
        sets = (("train", train, TRAIN), ("held", held, ROWS))
        self._sets = {key: monitor_inputs.some(x, most) for key, x, most in sets if x is not None}
        self._compared: Measures = {}  # features of these, and what else all diagnostics passes share
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=REACH)
        self._before: dict[str, list[Tensor]] = {}  # parameters a step before a diagnostics pass
        self._next = start - start % every + every
        self._next_pass = start + 1  # the first call is checked
        self._passes, self._due, self._good = 0, PATIENCE, start
        self._teller = WarnOnce(warn, in_a_loop)
        self._gaps: set[str] = set()
        self._lost = False
        last = monitor_inputs.begun(self.file, start, self.events)
        self._images = int(last.get("images") or 0)
        self._began = time.perf_counter() - float(last.get("wall_s") or 0)

    @property
    def verdicts(self) -> list[Verdict]:
        """The current verdicts, the cause first."""
        return diagnose(self.history())

    def history(self) -> History:
        """All measured scalars by their flat names, and the facts."""
        return self.events.history()

    def step(self, x_real: Tensor, x_fake: Tensor, **scalars: Tensor | float) -> None:
        """Record one step: real samples and fakes [N, ...] as the critic sees them, and scalars of your own.

        `x_fake` may have a graph or not. `loss_D` is written as loss/D. A loss on the CPU that is not finite
        is reported at once, any other at the next diagnostics pass.
        """
        self.count += 1
        try:
            self._images += x_real.shape[0]
            for name, value in scalars.items():
                if not monitor_inputs.finite(value):
                    self._gap(name)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            monitor_inputs.check_samples(x_real, x_fake, {})  # these say what is wrong with what was given
            monitor_inputs.numbers(scalars)
            raise
        if self.count >= self._next_pass:
            self._take(x_real, x_fake, scalars)

    def _take(self, x_real: Tensor, x_fake: Tensor, scalars: Mapping[str, Tensor | float]) -> None:
        """Keep the samples of a call shortly before a diagnostics pass, or run the pass."""
        monitor_inputs.check_samples(x_real, x_fake, self._sets)
        own = monitor_inputs.numbers(scalars)
        self._recent.append((features(x_real.detach()), features(x_fake.detach())))
        while sum(len(fake) for _, fake in self._recent) - len(self._recent[0][1]) >= ROWS:
            self._recent.popleft()
        if self.count == self._next:
            self._measure(x_real, x_fake, own)
            self._next += self.every
        if self.count == self._next - 1:
            self._before = {name: _copied(module) for name, module in self._players.items()}
        calls = max(2, min(REACH, math.ceil(ROWS / len(x_fake))))
        self._next_pass = max(self.count + 1, self._next - calls + 1)

    def _measure(self, x_real: Tensor, x_fake: Tensor, own: dict[str, float]) -> None:
        """Write a line with all measurements; diagnose when it is time."""
        where = None if self._lost else self._not_finite(x_real, x_fake)
        if where:
            self._lost = True
            self._write({"diverged": [0], "good_step": self._good, "began": None, "tensor": where})
        if self._lost:
            self._write(own)
        else:
            found = self._measured(x_real, x_fake)
            self._write({**own, **{key: value.cpu().double().item() for key, value in found.items()}})
            self._good = self.count
        self._gaps = {key for key, value in own.items() if not math.isfinite(value)}
        self._passes += 1
        if self._lost or self._gaps:
            self._tell_of_divergence()
        elif self._passes >= self._due:
            self._due = math.ceil(self._passes * AGAIN)
            self._teller.tell(self.count, self._teller.sure([self.verdicts]))

    def _measured(self, x_real: Tensor, x_fake: Tensor) -> Measures:
        """All measurements of one diagnostics pass, without the caller's scalars."""
        critic = self._players.get("D")
        weights = {} if critic is None else dict(critic.named_parameters())
        n = min(len(x_real), len(x_fake))
        held = suited(self._sets["held"].to(x_fake.device), weights) if "held" in self._sets else None
        with torch.no_grad(), untouched(x_fake.device) as called:
            found, told = measured(
                self._critic, self._loss, suited(x_real[:n], weights), suited(x_fake[:n], weights), held
            )
        if critic is None and called:  # the modules that a function calls
            self._players = {"D": nn.ModuleList(called), **self._players}
        if told is not None:
            found |= signal_measures(told)
        found |= ranges(wide(x_real), wide(x_fake))
        return found | self._of_fakes(x_fake[:n], told) | self._of_players()

    def _of_fakes(self, x_fake: Tensor, told: Tensor | None) -> Measures:
        real, fake = (torch.cat(rows) for rows in zip(*self._recent))
        if not self._compared:
            sets = {key: features(x).to(real) for key, x in self._sets.items()}
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
        """Spectral norms, and how far the last step moved each player's parameters if both players are known."""
        found = {}
        for name, module in self._players.items():
            found[f"spectral/{name}"] = spectral_norm({k: wide(p) for k, p in module.named_parameters()})
        if self._before.keys() == {"D", "G"}:
            for name, before in self._before.items():
                now = torch.cat([p.flatten() for p in _copied(self._players[name])])
                then = torch.cat([p.flatten() for p in before])
                found[f"update/{name}"] = (now - then).norm() / then.norm()
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
        try:
            with self.file.open("a") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:  # a full disk is no reason to end a training
            self.warn(
                f"cannot write to {self.file} any more ({error.strerror}): training continues without it"
            )
            self.file = None


def _copied(module: nn.Module) -> list[Tensor]:
    return [
        p.detach().to(torch.promote_types(p.dtype, torch.float32), copy=True) for p in module.parameters()
    ]
