"""Rows that several processes share: each has its own, and together they have what one process has."""

import itertools

import pytest
import torch
from torch import Tensor

from steadygan import data as sets
from steadygan import losses
from steadygan.data import Data
from steadygan.game import Draws, Field, Game, Network, Player
from steadygan.game.share import indices
from steadygan.game.vector_field import accumulated
from steadygan.parallel import Processes

SHAPE = (1, 4, 3)
ROUNDS = (("D",), ("D",), ("G",))
SIZES = (1, 2, 3)


def game(batch: int, parts: int) -> Game:
    """Players that read every kind of field; they are never trained."""
    fields = {
        "x_real": Field("real", (batch, *SHAPE)),
        "y_real": Field("label", (batch,)),
        "z": Field("normal", (batch, 3)),
        "z_pool": Field("normal", (2 * batch, 5)),
        "alpha": Field("uniform", (batch,)),
        "noise": Field("uniform", (batch, *SHAPE), every=2),
        "penalty": Field("due", (), every=2),
    }
    net = Network(torch.nn.Linear(1, 1))
    loss = losses.LOSSES["minimax"]
    players = {
        "D": Player(net, loss, tuple(fields), critic=True),  # type: ignore[arg-type]
        "G": Player(net, loss, ("z",)),  # type: ignore[arg-type]
    }
    return accumulated(Game(players, fields), parts)


def pictures(flip: bool) -> Data:
    g = torch.Generator().manual_seed(5)
    rows = torch.randint(256, (50, *SHAPE), generator=g).byte()
    return Data("pictures", SHAPE, rows, flip=flip, labels=torch.arange(50) % 4, classes=4)


def endless() -> Data:
    return Data(
        "endless",
        SHAPE,
        draw=lambda g, count: torch.randn(count, *SHAPE, generator=g),
        modes=sets.dataset.Modes(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), 1.0),
        classes=4,
    )


SETS = {"pictures": pictures(True), "no flips": pictures(False), "endless": endless()}


def together(shares: list[Tensor], count: int, parts: int, rows: int) -> Tensor:
    """The rows of all ranks in order, by a plain loop: part by part, rank by rank."""
    split = [share.chunk(parts, rows) for share in shares]
    return torch.cat([split[rank][part] for part in range(parts) for rank in range(len(shares))], rows)


@pytest.mark.parametrize(
    ("count", "parts", "size"), list(itertools.product((0, 1, 2, 12, 14), (1, 2), SIZES))
)
def test_every_row_belongs_to_one_rank(count, parts, size):
    count *= parts
    rows = [indices(Processes(rank, size), count, parts) for rank in range(size)]
    assert torch.equal(together(rows, count, parts, 0), torch.arange(count))
    lengths = [len(own) // parts for own in rows]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize(("parts", "members", "size"), list(itertools.product((1, 2), (False, True), SIZES)))
def test_the_draws_of_all_ranks_are_the_draw_of_one(kind, parts, members, size):
    """Bit for bit, with 7 rows a part, which neither 2 nor 3 divides; in blocks of steps that lie apart."""
    made, seeds = game(7, parts), (4, 0) if members else (4,)
    one = Draws(made, ROUNDS, SETS[kind], seeds, members=members)
    ranks = [
        Draws(made, ROUNDS, SETS[kind], seeds, members=members, share=Processes(rank, size))
        for rank in range(size)
    ]
    for step in (0, 1, 63, 64, 330):
        whole, cut = one(step), [draws(step) for draws in ranks]
        for turn, draw in enumerate(whole):
            assert all(each[turn].keys() == draw.keys() for each in cut)
            for name, expected in draw.items():
                own = [each[turn][name] for each in cut]
                if not made.fields[name].shape:
                    assert all(torch.equal(value, expected) for value in own)
                    continue
                found = together(own, made.fields[name].shape[0], parts, int(members))
                assert torch.equal(found, expected), (name, step)


def test_a_process_draws_no_more_than_its_rows(monkeypatch):
    """What is drawn by counter and looked up is a third; drawing all and throwing rows away would pass the rest."""
    drawn = []
    for name in ("normal", "uniform"):
        real = getattr(__import__("steadygan.game.batches", fromlist=["x"]), name)

        def counted(keys, block, first, count, dtype, blocks, real=real):
            drawn.append(count * blocks)
            return real(keys, block, first, count, dtype, blocks)

        monkeypatch.setattr(f"steadygan.game.batches.{name}", counted)
    Draws(game(9, 1), ROUNDS, SETS["pictures"], [0], members=False)(0)
    whole = sum(drawn)
    drawn.clear()
    Draws(game(9, 1), ROUNDS, SETS["pictures"], [0], members=False, share=Processes(1, 3))(0)
    assert 3 * sum(drawn) == whole


def test_more_processes_than_rows_leave_some_without():
    draw = Draws(game(1, 1), ROUNDS, SETS["pictures"], [0], members=False, share=Processes(0, 2))(0)[0]
    assert {name: len(value) for name, value in draw.items() if name != "penalty"} == {
        "x_real": 0,
        "y_real": 0,
        "z": 0,
        "z_pool": 1,
        "alpha": 0,
        "noise": 0,
    }
