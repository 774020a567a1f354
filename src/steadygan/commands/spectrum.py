"""The command `steadygan spectrum`: eigenvalues of a run's vector field, before and after consensus."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor
from torch.utils._pytree import tree_map

from steadygan import config
from steadygan import spectrum as spectra
from steadygan.build import Run, build
from steadygan.errors import UsageError
from steadygan.files import read_json, write_whole
from steadygan.game import Draw, Game, State
from steadygan.game.batches import Draws
from steadygan.plots import samples
from steadygan.plots.eigenvalues import draw_clouds
from steadygan.progress import report
from steadygan.runs.folder import CONFIG, Note, read_config, restore_member
from steadygan.training.compile.cpu import threads

__all__ = ["Eigenvalues", "measure", "spectrum"]

EXACT = 4000  # the most parameters for which the whole Jacobian is computed
MOST = 1e6  # the largest gamma and friction
LEADING, EXTREMES = 10, ("real", "smallest_real", "imaginary")
ROUGH = 1e-3  # accuracy of iterated eigenvalues in float32, relative to the largest modulus


class Eigenvalues(NamedTuple):
    """Eigenvalues of the Jacobian of a vector field: all of them if `exact`, else the extreme ones.

    Moduli below `rounding` times the largest count as zero. `note` names the eigenvalues that were not found.
    """

    values: Tensor
    exact: bool
    rounding: float
    note: str = ""


def spectrum(
    folder: Path,
    batches: int,
    member: int,
    gamma: float,
    friction: float | None,
    checkpoint: str,
    out: Path | None,
    console: Console,
    note: Note,
) -> None:
    """Compute a run's spectrum at a checkpoint, write it as JSON and as a picture, and print a summary.

    Raises UsageError if the run, member or checkpoint does not exist or has diverged, or if a package is missing.
    """
    picture = out or folder / "spectrum.png"
    _check(picture, gamma, friction)
    settings = config.parse(read_config(folder), str(folder / CONFIG))
    with threads(settings.threads):
        # The cheap generator step detaches part of the gradient that the Jacobian needs: build the game without it.
        critic = settings.critic.model_copy(update={"piecewise_linear": False})
        run = build(settings.model_copy(update={"critic": critic}))
        state, seed = restore_member(folder, run, member, note, _step(checkpoint))
        _check_finite(folder, state)
        draws = _draws(run, state, seed, batches, note)
        before, after = measure(plain(run.game), state, draws, gamma, note)
    facts = {"run": folder.resolve().name, "member": member, "seed": seed}
    shown = {"simultaneous": before, "consensus": after}
    names = {"simultaneous": "simultaneous steps", "consensus": f"with consensus, gamma = {gamma:g}"}
    facts |= {"batches": len(draws), "batch": settings.batch, "gamma": gamma}
    if friction is not None:
        shown["momentum"], names["momentum"] = (
            momentum(before, friction),
            f"with momentum, friction {friction:g}",
        )
        facts["friction"] = friction
    facts |= _protocol(run.game, state, before)
    facts |= {name: summary(found) for name, found in shown.items()}
    title = f"{facts['run']}, step {facts['step']:,}: {facts['P']:,} parameters"
    headings = [f"{names[name]}: {sentence(facts[name])}" for name in shown]
    lines = [re.sub("[:;] ", "\n", heading) for heading in headings]
    panels = dict(zip(lines, (found.values for found in shown.values()), strict=True))
    numbers = picture.with_suffix(".json")
    samples.save(draw_clouds(panels, title), picture)
    write_whole(numbers, json.dumps(facts) + "\n")
    for line in (title, *headings, f"picture: {picture}", f"eigenvalues: {numbers}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _protocol(game: Game, state: State, found: Eigenvalues) -> dict[str, Any]:
    """What the eigenvalues belong to, and how they were computed."""
    sizes = {name: len(state.params[name]) for name in game.players}
    kept = str(next(iter(state.params.values())).dtype).removeprefix("torch.")
    return {
        "step": int(state.scalars["step"]),
        "P": sum(sizes.values()),
        "parameters": sizes,
        "field": "minus the gradient of each player's own loss: negative real parts are stable",
        "method": "exact" if found.exact else f"matrix-free: {LEADING} of each of {', '.join(EXTREMES)}",
        "dtype": "float64" if found.exact else kept,
        "rounding": found.rounding,
    }


def measure(
    game: Game, state: State, draws: Sequence[Draw], gamma: float, note: Note
) -> tuple[Eigenvalues, Eigenvalues]:
    """Eigenvalues at a state, before and after consensus.

    Small games get all of them, in float64, others only the extreme ones.
    """
    size = sum(len(state.params[name]) for name in game.players)
    if size <= EXACT:
        J = spectra.game_jacobian(game, _double(state), [_double(draw) for draw in draws])
        rounding = torch.finfo(J.dtype).eps ** 0.5
        whole = (spectra.eigenvalues(J), spectra.consensus_cloud(J, gamma))
        return Eigenvalues(whole[0], True, rounding), Eigenvalues(whole[1], True, rounding)
    operator = spectra.operator(game, state, draws)
    if spectra.adjoint_gap(operator) > 1e-3:
        note(
            "the losses detach something (as spectral normalization does), so the spectrum after consensus is "
            "approximate"
        )
    note(f"{size:,} parameters: only the leading eigenvalues are computed, by iteration, which takes minutes")
    consensus = spectra.consensus_operator(operator, gamma)
    return _extremes(operator, "eigenvalues", note), _extremes(consensus, "eigenvalues after consensus", note)


def _extremes(J: spectra.Operator, what: str, note: Note) -> Eigenvalues:
    """The eigenvalues with the largest and smallest real and the largest imaginary parts, each of them once."""
    parts: list[spectra.Leading] = []
    for which in EXTREMES:
        report(what, len(parts), len(EXTREMES), "searches")
        parts.append(spectra.leading(J, min(LEADING, len(J.like) - 2), which))
    report(what, len(EXTREMES), len(EXTREMES), "searches")
    values = spectra.union([part.values for part in parts], ROUGH)
    missed = "; ".join(part.note for part in parts if part.note)
    if not len(values):
        raise UsageError(f"no eigenvalue converged ({missed}): average over more --batches")
    if missed:
        note(missed)
    return Eigenvalues(values, False, ROUGH, missed)


def momentum(found: Eigenvalues, friction: float) -> Eigenvalues:
    """The eigenvalues under momentum. Those that are zero up to rounding stay zero: a root would enlarge the error."""
    values = found.values.to(torch.complex128)
    zero = values.abs() <= found.rounding * values.abs().max()
    return found._replace(values=spectra.momentum_cloud(torch.where(zero, 0, values), friction))


def plain(game: Game) -> Game:
    """The game with networks that compute in their parameters' dtype: no autocast and no channels-last layout."""
    players = {
        name: player._replace(network=replace(player.network, autocast=None, channels_last=False))
        for name, player in game.players.items()
    }
    return game._replace(players=players)


def summary(found: Eigenvalues) -> dict[str, Any]:
    """The eigenvalues and their summary as plain data.

    Only a whole spectrum has shares of signs. The largest stable step is left out if an eigenvalue was not found.
    """
    values = found.values
    tolerance = found.rounding * values.abs().max().item()
    listed = values[values.real.argsort(descending=True, stable=True)]
    step = spectra.largest_step(values, tolerance)
    return {
        "signs": spectra.signs(values, tolerance) if found.exact else None,
        "largest_real": values.real.max().item(),
        "smallest_real": values.real.min().item(),
        "largest_imaginary": values.imag.abs().max().item(),
        "largest_step": step if math.isfinite(step) and not found.note else None,
        "note": found.note,
        "eigenvalues": torch.view_as_real(listed.to(torch.complex128)).tolist(),
    }


def sentence(facts: Any) -> str:
    """A line on the real parts and the largest stable step."""
    reach = f"real parts {facts['smallest_real']:.3g} to {facts['largest_real']:.3g}"
    shares = "of the leading eigenvalues"
    if signs := facts["signs"]:
        shares = ", ".join(f"{share:.0%} {name}" for name, share in signs.items())
    step, most = facts["largest_step"], "" if facts["signs"] else "at most "
    if step is None:
        return f"{reach} ({shares})"
    return f"{reach} ({shares}); " + (f"stable below h = {most}{step:.3g}" if step else "no step is stable")


def _draws(run: Run, state: State, seed: int, batches: int, note: Note) -> list[Draw]:
    """Draws that all players share, the same at every checkpoint. Lazy terms have their weight in the mean."""
    every = math.lcm(*(field.every for field in run.game.fields.values()))
    count = math.ceil(batches / every) * every
    if count > batches:
        note(f"{count} batches are used, a multiple of the intervals of the lazy terms")
    draws = Draws(
        run.game,
        [tuple(run.game.players)],
        run.data._replace(stream=None),  # the samples that stand for a stream
        [seed],
        members=False,
        dtype=next(iter(state.params.values())).dtype,
        device=run.device,
    )
    return [draws(step)[0] for step in range(count)]


def _double(tree: Any) -> Any:
    return tree_map(lambda t: t.cpu().double() if t.is_floating_point() else t.cpu(), tree)


def _step(checkpoint: str) -> int | None:
    if checkpoint == "newest":
        return None
    if not checkpoint.isdecimal():
        raise UsageError(f"--checkpoint {checkpoint!r} is not a checkpoint: give newest or a step number")
    return int(checkpoint)


def _check(picture: Path, gamma: float, friction: float | None) -> None:
    """Raise UsageError for mistakes that would show only after the long computation."""
    if picture.suffix.lower() != ".png":
        raise UsageError(f"pictures are written as PNG: end the name {picture.name} in .png")
    numbers = picture.with_suffix(".json")
    if numbers.exists() and not _is_spectrum(numbers):
        raise UsageError(f"{numbers} is there already, and has no eigenvalues: choose another --out")
    if not 0 <= gamma <= MOST:  # beyond it J is lost in the rounding of gamma J^T J
        raise UsageError(f"--gamma is {gamma}: give a number from 0 to {MOST:g}")
    if friction is not None and not 0 < friction <= MOST:
        raise UsageError(f"--friction is {friction}: give a positive number up to {MOST:g}")


def _is_spectrum(path: Path) -> bool:
    """Whether a file is of a spectrum. One of the run, such as its scores, must not be lost."""
    try:
        read_json(path, {"field": str, "method": str, "gamma": object})
    except ValueError:
        return False
    return True


def _check_finite(folder: Path, state: State) -> None:
    if not all(bool(t.isfinite().all()) for t in state.params.values()):
        raise UsageError(
            f"{folder} has diverged by step {int(state.scalars['step'])}, and its parameters are NaN or infinite: name "
            "an earlier checkpoint with --checkpoint STEP"
        )
