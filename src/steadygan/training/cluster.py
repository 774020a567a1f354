"""The processes of a run, started by torchrun: which members and rows each trains, and what they tell each other.

Every process builds the whole run and takes the same path through it. The first one alone writes and prints.
"""

import atexit
import gc
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils._pytree import tree_map

from steadygan.errors import SaidByFirst, UsageError
from steadygan.game import Logs, State
from steadygan.parallel import ALONE, Processes, over, rows
from steadygan.training.events import Evaluated

__all__ = [
    "LOST",
    "ONE",
    "WHOLE",
    "Cluster",
    "Place",
    "here",
    "lost",
    "place",
    "said_by_first",
]

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another one."""

Told = TypeVar("Told")
ANSWER = timedelta(seconds=3)
"""How long a process that ends waits for the first one's reason."""

LOST = "another process of this run has ended or does not answer"
"""What the processes say that are left."""

_board: Any = None  # a store in which the processes leave messages


class Cluster(NamedTuple):
    """All processes of a run: this one's `rank` among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    @property
    def sharing(self) -> Processes:
        """All processes, as those that share rows."""
        if self.size == 1:
            return ALONE
        with over() as every:
            return every

    def agreed(self, job: Callable[[], Told]) -> Told:
        """Return what `job` returns on the first process. Only that one runs it; its error ends all."""
        if self.size == 1:
            return job()
        told: list[tuple[Told | None, str | None]] = [(None, None)]
        if self.first:
            try:
                told = [(job(), None)]
            except Exception as error:
                dist.broadcast_object_list([(None, str(error))])
                raise
        dist.broadcast_object_list(told)
        value, reason = told[0]
        if reason is not None:
            raise SaidByFirst(reason)
        return value  # type: ignore[return-value]

    def every(self, mine: Told) -> list[Told]:
        """Return what each process has, on all."""
        if self.size == 1:
            return [mine]
        return _every(mine)

    def same(self, state: State) -> State:
        """Return the state of the first process, on all."""
        if self.size > 1:
            state = tree_map(torch.Tensor.contiguous, state)
            tree_map(lambda tensor: dist.broadcast(tensor, 0), state)
        return state


ONE = Cluster()


def _every(mine: Told) -> list[Told]:
    """What each of all processes has, on all."""
    told: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(told, mine)
    return told


def here() -> Cluster:
    """Return the processes that torchrun started, or the caller's own process group; `ONE` without either.

    On GPUs each process takes that of its number on the machine.
    """
    if not dist.is_available():
        return ONE
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "RANK" not in os.environ:
            return ONE
        _join()
    return Cluster(dist.get_rank(), dist.get_world_size())


def _join() -> None:
    global _board
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
        _board = dist.PrefixStore("steadygan", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except RuntimeError as error:
        if not lost(error):
            raise
        raise UsageError(f"{LOST}, before all of them had met: start the run again") from error
    atexit.register(_leave)


def _leave() -> None:
    """Give back what was joined while Python is still there: torch ends its threads by force after that."""
    global _board
    if dist.is_initialized():
        dist.destroy_process_group()
    _board = None
    gc.collect()


def said_by_first(sentence: str) -> bool:
    """Whether this process should keep an error to itself, because the first one ends with the same and says it."""
    board = _board or _met()
    if int(os.environ.get("RANK", 0)) == 0:
        if board:
            board.set("error", sentence)
        return False
    if board is None:  # all of them read the same arguments
        return True
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # torchrun's, when the first one was killed: this one ends soon
    try:
        board.wait(["error"], ANSWER)
    except RuntimeError:  # the first one goes on, or is gone
        return False
    return bool(board.get("error").decode() == sentence) or sentence.startswith(LOST)


def _met() -> Any:
    """The store of messages, for a process that ends before it joins the others; None where there is none."""
    try:
        return dist.PrefixStore("steadygan", next(dist.rendezvous("env://", timeout=ANSWER))[0])
    except (RuntimeError, ValueError):
        return None


def lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone, or has not answered in time."""
    words = (
        "Connection",
        "gloo",
        "NCCL",
        "Timed out",
        "timed out",
        "timeout",
        "peer",
        "Socket",
        "Broken pipe",
    )
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


class Place(NamedTuple):
    """What one process trains: which of all `total` members, and with which others it shares their rows.

    Of the processes that share a member the first one `leads`: what all have is told by it.
    """

    total: int = 1
    members: range = range(1)
    sharing: Processes = ALONE
    leads: bool = True
    alone: bool = True  # whether there is no other process

    @property
    def apart(self) -> bool:
        """Whether other processes train other members."""
        return not self.alone and self.total > 1

    def mine(self, state: State) -> State:
        """Return this process's members of a whole ensemble's state."""
        here = slice(self.members.start, self.members.stop)
        return tree_map(lambda tensor: tensor[here], state) if self.apart else state

    def logs(self, logs: Logs) -> Logs:
        """Return the logs of all members, from those of this process."""
        if not self.apart or not logs:
            return logs
        return dict(zip(logs, self._whole(torch.stack([value.double() for value in logs.values()], 1)).T))

    def agreed(self, logs: Logs) -> Logs:
        """Return the logs of all members by which all processes decide: those of the ones that lead.

        Their own may differ by rounding, on unlike processors.
        """
        if self.alone or self.apart:
            return self.logs(logs)
        told = torch.stack([value.double() for value in logs.values()])
        dist.broadcast(told, 0)
        return dict(zip(logs, told))

    def state(self, state: State) -> State:
        """Return the state of all members, from that of this process's."""
        return tree_map(self._whole, state) if self.apart else state

    def listed(self, mine: list[Told]) -> list[Told]:
        """Return what there is of each member, from that of this process's."""
        if not self.apart:
            return mine
        every = _every((self.members.start, mine) if self.leads else None)
        told = sorted((part for part in every if part), key=lambda part: part[0])
        return [each for _, part in told for each in part]

    def evaluated(self, found: Evaluated) -> Evaluated:
        """Return the evaluation of all members, from that of this process's."""
        if not self.apart:
            return found
        told = self.listed([found])
        names = list(next((part.scores for part in told if part.scores), {}))
        nothing = [[float("nan")] * len(part.samples) for part in told]
        return Evaluated(
            [drawn for part in told for drawn in part.samples],
            {
                name: [
                    value
                    for part, none in zip(told, nothing, strict=True)
                    for value in part.scores.get(name, none)  # type: ignore[union-attr]
                ]
                for name in names
            },
        )

    def first(self, told: Told | None) -> Told | None:
        """Return what the first process knows that knows anything, on all."""
        if self.alone:
            return told
        return next((each for each in _every(told) if each is not None), None)

    def _whole(self, mine: Tensor) -> Tensor:
        """The rows of all members [total, ...], from those of this process."""
        if mine.dtype == torch.bool:
            return self._whole(mine.byte()).bool()
        whole = mine.new_zeros(self.total, *mine.shape[1:])
        if self.leads:
            whole[self.members.start : self.members.stop] = mine
        dist.all_reduce(whole)
        return whole


WHOLE = Place()
"""The place of a single run without other processes."""


def place(cluster: Cluster, count: int) -> Place:
    """Return this process's place in a run of `count` members: members are spread first, then the rows of each.

    >>> place(ONE, 4).members
    range(0, 4)
    """
    if cluster.size == 1:
        return Place(count, range(count))
    if count >= cluster.size:
        return Place(count, rows(count, Processes(cluster.rank, cluster.size)), alone=False)
    found = None
    for member in range(count):
        ranks = rows(cluster.size, Processes(member, count))
        group = dist.new_group(list(ranks)) if count > 1 else None
        if cluster.rank in ranks:
            with over(group) as sharing:
                found = Place(count, range(member, member + 1), sharing, cluster.rank == ranks.start, False)
    assert found
    return found
