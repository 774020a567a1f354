"""A run and a process's part of it, where several processes train it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.build import Run
from steadygan.data import Data
from steadygan.errors import UsageError, command_line
from steadygan.game import Draws, Step
from steadygan.networks.global_batch_norm import globally_normalized
from steadygan.parallel import ALONE, over
from steadygan.runs.data_changes import training_data
from steadygan.training.cluster import LOST, Cluster, Place, lost, place
from steadygan.training.compile.compiled_step import vectorised
from steadygan.training.scaling import most_sharing

__all__ = ["Team", "check_rows", "team_of", "told_of_loss", "whole_batches"]


class Team(NamedTuple):
    """A run and this process's part of it: its `place`, its members as a run (`mine`), and its rows of each draw."""

    cluster: Cluster
    place: Place
    run: Run
    mine: Run
    draws: Draws

    @property
    def step(self) -> Step:
        """A step of this process's members."""
        return vectorised(self.mine.step) if self.run.ensemble else self.mine.step


def team_of(run: Run, cluster: Cluster) -> Team:
    """The part of a run that this process trains.

    Raises UsageError where there are more processes than rows, and where their training data differ.
    """
    # Before place(), and alike on all processes: one that raises alone would leave the others waiting.
    check_rows(run, most_sharing(len(run.members), cluster.size))
    where = place(cluster, len(run.members))
    if cluster.size == 1:
        return Team(cluster, where, run, run, run.draws)
    _check_data(run.data, cluster)
    turns = [player for turn in run.game.turns for player in turn.values()]
    for player in (*run.game.players.values(), *turns):
        globally_normalized(player.network.module)
    here = slice(where.members.start, where.members.stop)
    draws = partial(
        Draws,
        run.game,
        run.rule.rounds,
        run.draws.data,
        run.draws.seeds[here],
        members=run.ensemble,
        dtype=run.draws.dtype,
        device=run.device,
    )
    mine = run._replace(members=run.members[here], state=where.mine(run.state), draws=draws())
    return Team(cluster, where, run, mine, draws(share=where.sharing))


def check_rows(run: Run, processes: int) -> None:
    """Raise UsageError where so many processes share the rows of a batch that one of them would have none."""
    fewest = min((field.shape[0] for field in run.game.fields.values() if field.shape), default=processes)
    if fewest // run.game.parts < processes:
        raise UsageError(
            f"{processes} processes share batches of {fewest // run.game.parts} rows, so some would have none: start "
            "fewer processes, or choose a larger batch"
        )


def _check_data(data: Data, cluster: Cluster) -> None:
    every = cluster.every(training_data(data))
    others = [rank for rank, found in enumerate(every) if found != every[0]]
    if others:
        raise UsageError(
            f"process {others[0]} has other training data than the first one: give all processes the same data, in the "
            "same order"
        )


def whole_batches(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function on whole batches: what this process computes alone."""

    def alone(*given: Any) -> Any:
        with over(ALONE):
            return function(*given)

    return alone


@contextmanager
def told_of_loss(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Inside the block, what torch says of a process that is gone becomes one sentence."""
    try:
        yield
    except RuntimeError as error:
        if cluster.size == 1 or not lost(error):
            raise
        raise UsageError(
            f"{LOST}: continue from the last complete checkpoint with {command_line('resume', folder)}, on any number "
            "of processes"
        ) from error
