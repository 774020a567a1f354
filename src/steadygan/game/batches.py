"""Randomness as a function of (seed, step): which real samples, latents and weights a step sees.

Draws are made for a block of steps at a time, each field from a stream of its own. So a field that one
game adds leaves the other fields' draws unchanged. No generator state is ever saved. Where several processes
share a step, each draws its own rows alone.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import torch
from torch import Tensor

from steadygan.data import Data
from steadygan.data.dataset import check_labels, nearest_centre
from steadygan.data.streams import Place, Reader
from steadygan.errors import UsageError
from steadygan.game.ahead import Ahead, moved, placed
from steadygan.game.contracts import Field, Game, Player
from steadygan.game.philox import normal, stream, uniform
from steadygan.game.share import indices, ranges
from steadygan.parallel import ALONE, Processes
from steadygan.rng import generator

__all__ = ["Draws"]

BLOCK, LARGEST = 64, 2**22
"""Steps in a block. A field that would then have more than `LARGEST` numbers takes fewer."""

TOGETHER = 64
"""The most blocks of random numbers that a device makes at once. Each field costs it some 500 small kernels a time."""


class Draws:
    """Callable `draws(step) -> batch`: for each of a rule's rounds, the fields that its players read.

    With one seed, tensors have a draw's shape. With `members` (several seeds) they have a leading [members].
    Finite data are read in shuffled epochs. Each has a new permutation, a function of (seed, epoch). A stream is read
    by the numbers of its samples, which follow from the step.
    A `share` leaves only its rows in every field: those of all ranks in order are the whole draw.
    """

    def __init__(
        self,
        game: Game,
        rounds: Sequence[Collection[str]],
        data: Data,
        seeds: Sequence[int],
        *,
        members: bool,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        share: Processes = ALONE,
    ) -> None:
        """Bind the draws of `game` under a rule's `rounds` to `data` and `seeds`."""
        self.fields = dict(game.fields)
        self.reads = [
            [name for name in game.fields if any(name in player.reads for player in _movers(game, turn))]
            for turn in rounds
        ]
        self.seeds, self.members, self.share, self.parts = tuple(seeds), members, share, game.parts
        self.dtype, self.device = dtype, torch.device(device)
        self._check(data)
        self.data = placed(data, self.device, dtype)
        self.indexed = (
            not data.stream and self.data.rows is not None and self.data.rows.device.type == self.device.type
        )
        if data.flip and "x_real" in self.fields:
            self.fields["flip"] = Field("uniform", self.fields["x_real"].shape[:1])
        self.drawn = [self._of_round(reads) for reads in self.reads]
        self.sizes = {name: self._size(field) for name, field in self.fields.items()}
        self.together = {name: self._together(name) for name in self.fields}
        self.blocks: dict[tuple[int, str], tuple[int, Tensor]] = {}
        self.permutation = lru_cache(maxsize=2 * len(self.seeds))(self._permutation)
        self.read = lru_cache(maxsize=2 * len(self.reads))(self._read)
        self.keys = {place: self._key(*place) for place in self._places("normal", "uniform")}
        # A stream is read by the step itself: a checkpoint asks where it is.
        self.ahead = {} if self.device.type == "cpu" or self.readers else self._begun()

    def _places(self, *kinds: str) -> list[tuple[int, str]]:
        """The rounds and names of all fields of these kinds."""
        return [
            (turn, name)
            for turn, names in enumerate(self.drawn)
            for name in names
            if self.fields[name].kind in kinds
        ]

    def _key(self, turn: int, name: str) -> Tensor:
        """The keys [members, 2] of a field's random numbers, where they are drawn: on the device if it has float64."""
        where = "cpu" if self.device.type == "mps" else self.device
        return torch.stack([stream(seed, turn, name) for seed in self.seeds]).to(where)

    def _begun(self) -> dict[tuple[int, str], Ahead]:
        """What makes blocks of the data's fields ahead of use."""
        executor = ThreadPoolExecutor(1)
        return {
            place: Ahead(partial(self._on_host, *place), self.device, executor)
            for place in self._places("real", "label")
        }

    def _check(self, data: Data) -> None:
        """Raise UsageError if a step takes more rows than there are, or labels that the data do not have."""
        need = sum(self.fields["x_real"].shape[0] for reads in self.reads if "x_real" in reads)
        self.readers = [Reader(data.stream, seed, need) for seed in self.seeds] if data.stream else []
        if data.rows is not None and not self.readers and len(data.rows) < need:
            raise UsageError(
                f"data {data.name} has {len(data.rows)} samples, fewer than the {need} that a step takes: "
                f"choose batch at most {len(data.rows) * self.fields['x_real'].shape[0] // need}"
            )
        if any(field.kind == "label" for field in self.fields.values()):
            check_labels(data)

    def _of_round(self, reads: Collection[str]) -> list[str]:
        """What is drawn for the players of a round: labels only where the data have them, and flips of real samples."""
        names = [name for name in reads if self.fields[name].kind != "label" or self.data.labels is not None]
        return [*names, "flip"] if "flip" in self.fields and "x_real" in reads else names

    def __call__(self, step: int) -> list[dict[str, Tensor]]:
        """Return the batch of `step`."""
        return [
            self._finish(
                {name: self._at(step, turn, name) for name in names if step % self.fields[name].every == 0},
                self.reads[turn],
            )
            for turn, names in enumerate(self.drawn)
        ]

    @property
    def stretch(self) -> int:
        """Steps whose draws are made together, from each multiple of this number on."""
        return min(self.sizes.values(), default=BLOCK)

    def _size(self, field: Field) -> int:
        """Steps in a block: a power of two, at most 64, so that no block of numbers is large. One step of a stream."""
        if field.kind in ("real", "label") and self.readers:
            return 1
        if field.kind == "real" and self.indexed:
            return BLOCK
        most = max(1, LARGEST // math.prod(field.shape))
        return min(BLOCK, 1 << (most.bit_length() - 1))

    def _together(self, name: str) -> int:
        """Blocks of a field that are made at once: several of random numbers on a device, as long as they are small."""
        field = self.fields[name]
        if self.device.type == "cpu" or field.kind not in ("normal", "uniform"):
            return 1
        each = self.sizes[name] * len(self.seeds) * math.prod(field.shape)
        return max(1, min(TOGETHER, LARGEST // each))

    def _at(self, step: int, turn: int, name: str) -> Tensor:
        """One field at one step, from its blocks, which are made when the step enters the first of them."""
        number, offset = divmod(step, self.sizes[name] * self.together[name])
        if self.blocks.get((turn, name), (None, None))[0] != number:
            values = self._values(number, turn, name)
            self.blocks[turn, name] = number, values if self.members else values.squeeze(1)
        return self.blocks[turn, name][1][offset]

    def _values(self, number: int, turn: int, name: str) -> Tensor:
        """The blocks of one field that are made together, those of this number: [steps, members, *shape]."""
        kind = self.fields[name].kind
        if kind == "due":
            return torch.zeros(self.sizes[name], len(self.seeds), dtype=self.dtype, device=self.device)
        if kind in ("real", "label"):
            ahead = self.ahead.get((turn, name))
            return ahead(number) if ahead else moved(self._on_host(turn, name, number), self.device)
        return self._streamed(number, turn, name)

    def _on_host(self, turn: int, name: str, number: int) -> Tensor:
        """A block of what the data have: samples, labels, or indices of finite data whose rows are on the device."""
        if self.readers:
            return self.read(number, turn)[name == "y_real"]
        if self.data.rows is None:
            return torch.stack([self._samples(seed, number, turn) for seed in self.seeds], 1)
        size = self.sizes[name]
        places = torch.stack([self._positions(seed, number * size, size, turn) for seed in self.seeds], 1)
        if name == "y_real":
            assert self.data.labels is not None
            return self.data.labels[places]
        return places if self.indexed else _looked_up(self.data.rows, places)

    def _streamed(self, number: int, turn: int, name: str) -> Tensor:
        """The blocks of normal or uniform numbers that are made together, of this process's rows.

        The words of a stream go sample by sample. So the first samples are the same in a larger batch or pool, and
        the words of some rows lie side by side.
        """
        (count, *sample), size, keys = self.fields[name].shape, self.sizes[name], self.keys[turn, name]
        make = normal if self.fields[name].kind == "normal" else uniform
        each, blocks = size * math.prod(sample), self.together[name]
        found = [
            make(keys, number * blocks, rows.start * each, len(rows) * each, self.dtype, blocks).view(
                len(keys), blocks, len(rows), size, *sample
            )
            for rows in ranges(self.share, count, self.parts)
        ]
        whole = torch.cat(found, 2).to(self.device)
        return whole.permute(1, 3, 0, 2, *range(4, whole.ndim)).flatten(0, 1).contiguous()

    def _number(self, step: int, turn: int) -> int:
        """How many real samples training takes before a round of this step: the number of the round's first one."""
        taken = [self.fields["x_real"].shape[0] * ("x_real" in reads) for reads in self.reads]
        return step * sum(taken) + sum(taken[:turn])

    def _read(self, step: int, turn: int) -> tuple[Tensor, Tensor]:
        """The stream's samples of a round, and their labels: [1, members, rows, *shape] and [1, members, rows]."""
        rows = indices(self.share, self.fields["x_real"].shape[0], self.parts)
        numbers = (self._number(step, turn) + rows).tolist()
        found = [sample for reader in self.readers for sample in reader(numbers)]
        x, y = torch.stack([x for x, _ in found]), torch.tensor([y for _, y in found])
        shape = (1, len(self.readers), len(rows))
        return x.view(*shape, *x.shape[1:]), y.view(shape)

    def places(self, step: int) -> list[Place]:
        """Where each seed's stream is before this step, as far as it is known; nothing without a stream."""
        return [reader.mark(self._number(step, 0)) for reader in self.readers]

    def resume(self, places: Iterable[Place]) -> None:
        """Read on from these places of the seeds' streams, instead of from the beginning."""
        for reader, place in zip(self.readers, places):
            reader.resume(place)

    def _samples(self, seed: int, number: int, turn: int) -> Tensor:
        """A block of endless data's samples. All are drawn, since their draws cannot be entered in the middle."""
        assert self.data.draw is not None
        size, shape = self.sizes["x_real"], self.fields["x_real"].shape
        drawn = self.data.draw(generator(seed, number, turn, "x_real"), size * shape[0]).view(size, *shape)
        return drawn.index_select(1, indices(self.share, shape[0], self.parts)).to(self.dtype)

    def _positions(self, seed: int, start: int, count: int, turn: int) -> Tensor:
        """Indices of the rows that `count` steps see in this round: shuffled epochs, laid end to end."""
        assert self.data.rows is not None
        total, batch = len(self.data.rows), self.fields["x_real"].shape[0]
        taken = [batch * ("x_real" in reads) for reads in self.reads]
        steps = torch.arange(start, start + count).view(-1, 1)
        place = steps * sum(taken) + sum(taken[:turn]) + indices(self.share, batch, self.parts)
        epoch, within = place // total, place % total
        result = torch.empty_like(place)
        for e in range(start * sum(taken) // total, ((start + count) * sum(taken) - 1) // total + 1):
            result = torch.where(epoch == e, self.permutation(seed, e)[within], result)
        return result

    def _permutation(self, seed: int, epoch: int) -> Tensor:
        assert self.data.rows is not None
        return torch.randperm(len(self.data.rows), generator=generator(seed, "epoch", epoch))

    def _finish(self, draw: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
        """Look rows up by index, mirror them while still bytes, scale them to -1..1, and find labels by modes."""
        flip = draw.pop("flip", None)
        if "x_real" in draw and self.data.rows is not None:
            images = _looked_up(self.data.rows, draw["x_real"]) if self.indexed else draw["x_real"]
            if flip is not None:
                images = mirrored(images.flatten(0, flip.ndim - 1), flip.flatten() < 0.5).view_as(images)
            scaled = images.to(self.dtype)
            draw["x_real"] = scaled.div_(127.5).sub_(1) if images.dtype == torch.uint8 else scaled
        if "y_real" in names and self.data.labels is None:
            assert self.data.modes is not None
            draw["y_real"] = nearest_centre(draw["x_real"], self.data.modes.centres.to(draw["x_real"]))
        return draw


def _looked_up(rows: Tensor, places: Tensor) -> Tensor:
    """The rows [..., *shape] at indices [...]. Whole rows are much faster than rows[places]."""
    return rows.index_select(0, places.flatten()).view(*places.shape, *rows.shape[1:])


def mirrored(images: Tensor, flip: Tensor) -> Tensor:
    """Return the images [n, ...], mirrored left to right where `flip` [n] is true.

    >>> mirrored(torch.tensor([[1, 2], [1, 2]]), torch.tensor([False, True])).tolist()
    [[1, 2], [2, 1]]
    """
    both = torch.cat([images, images.flip(-1)])
    return both.index_select(0, torch.arange(len(flip), device=flip.device) + len(flip) * flip)


def _movers(game: Game, turn: Collection[str]) -> Iterable[Player]:
    """The players of a round: those of an update that the game defines, or the game's by their names."""
    return turn.values() if isinstance(turn, Mapping) else [game.players[name] for name in turn]
