"""Randomness as a function of (seed, step): which real samples, latents and weights a step sees.

Draws are made for a block of steps at a time, each field from a stream of its own. So a field that one
game adds leaves the other fields' draws unchanged. No generator state is ever saved. Where several processes
share a step, each draws its own rows alone.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from steadygan.data import Data
from steadygan.data.dataset import check_labels, nearest_centre
from steadygan.data.streams import Place, Reader
from steadygan.errors import UsageError
from steadygan.game.contracts import Field, Game, Player
from steadygan.game.philox import normal, stream, uniform
from steadygan.game.share import WHOLE, Share
from steadygan.rng import generator

__all__ = ["Draws"]

BLOCK, LARGEST = 64, 2**22
"""Steps in a block. A field that would then have more than `LARGEST` numbers takes fewer."""


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
        share: Share = WHOLE,
    ) -> None:
        """Bind the draws of `game` under a rule's `rounds` to `data` and `seeds`."""
        self.fields = game.fields
        self.reads = [
            [name for name in game.fields if any(name in player.reads for player in _movers(game, turn))]
            for turn in rounds
        ]
        self.data, self.seeds, self.members = data, tuple(seeds), members
        self.dtype, self.device, self.share, self.parts = dtype, torch.device(device), share, game.parts
        self.sizes = {name: self._size(field) for name, field in game.fields.items()}
        self.blocks: dict[tuple[int, str], tuple[int, Tensor]] = {}
        self.keys = {
            (turn, name): torch.stack([stream(seed, turn, name) for seed in self.seeds]).to(self.device)
            for turn, names in enumerate(self.reads)
            for name in (*names, "flip")
        }
        need = sum(self.fields["x_real"].shape[0] for reads in self.reads if "x_real" in reads)
        self.readers = [Reader(data.stream, seed, need) for seed in self.seeds] if data.stream else []
        self.read: dict[int, tuple[Tensor, Tensor]] = {}  # round -> its samples from the stream, and labels
        if data.rows is not None and not self.readers and len(data.rows) < need:
            raise UsageError(
                f"data {data.name} has {len(data.rows)} samples, fewer than the {need} that a step takes: "
                f"choose batch at most {len(data.rows) * self.fields['x_real'].shape[0] // need}"
            )
        if any(field.kind == "label" for field in game.fields.values()):
            check_labels(data)
        self.permutation = lru_cache(maxsize=2 * len(self.seeds))(self._permutation)

    def __call__(self, step: int) -> list[dict[str, Tensor]]:
        """Return the batch of `step`."""
        return [
            self._finish(
                {name: self._at(step, turn, name) for name in names if self._drawn(name, step)},
                self._at(step, turn, "flip") if self.data.flip and "x_real" in names else None,
                labelled="y_real" in names,
                table=self.read.get(turn, (self.data.rows, self.data.labels)),
            )
            for turn, names in enumerate(self.reads)
        ]

    def _drawn(self, name: str, step: int) -> bool:
        """Whether a field has numbers of its own at this step. Labels follow from x_real."""
        field = self.fields[name]
        return field.kind != "label" and step % field.every == 0

    def _size(self, field: Field) -> int:
        """Steps in a block: a power of two, at most 64, so that no block of drawn numbers is large."""
        if field.kind == "real" and self.data.rows is not None:
            return 1 if self.data.stream else BLOCK
        most = max(1, LARGEST // math.prod(field.shape))
        return min(BLOCK, 1 << (most.bit_length() - 1))

    def _at(self, step: int, turn: int, name: str) -> Tensor:
        """One field at one step, from its block, which is drawn when the step enters it."""
        number, offset = divmod(step, self.sizes.get(name, BLOCK))
        if self.blocks.get((turn, name), (None, None))[0] != number:
            values = self._values(number, turn, name)
            self.blocks[turn, name] = number, values if self.members else values.squeeze(1)
        return self.blocks[turn, name][1][offset]

    def _values(self, number: int, turn: int, name: str) -> Tensor:
        """One block of one field: [size, members, *shape], or indices [size, members, rows] for finite data."""
        if name == "flip":
            return self._streamed(number, turn, name, (self.fields["x_real"].shape[0],), BLOCK) < 0.5
        field, size = self.fields[name], self.sizes[name]
        if field.kind == "due":
            return torch.zeros(size, len(self.seeds), dtype=self.dtype, device=self.device)
        if field.kind == "real" and self.readers:
            return self._from_stream(field, number, turn)
        if field.kind == "real":
            take = self._positions if self.data.rows is not None else self._samples
            return torch.stack([take(field, seed, number, turn) for seed in self.seeds], 1)
        return self._streamed(number, turn, name, field.shape, size)

    def _streamed(self, number: int, turn: int, name: str, shape: tuple[int, ...], size: int) -> Tensor:
        """A block of normal or uniform numbers, of this process's rows.

        The words of a stream go sample by sample. So the first samples are the same in a larger batch or pool, and
        the words of some rows lie side by side.
        """
        count, *sample = shape
        make = normal if name != "flip" and self.fields[name].kind == "normal" else uniform
        each, keys = size * math.prod(sample), self.keys[turn, name]
        found = [
            make(keys, number, rows.start * each, len(rows) * each, self.dtype).view(
                len(keys), len(rows), size, *sample
            )
            for rows in self.share.ranges(count, self.parts)
        ]
        return torch.cat(found, 1).permute(2, 0, 1, *range(3, 3 + len(sample))).contiguous()

    def _samples(self, field: Field, seed: int, number: int, turn: int) -> Tensor:
        """A block of a stream's samples. All are drawn, since a stream cannot be entered in the middle."""
        assert self.data.draw is not None
        size, count = self.sizes["x_real"], field.shape[0]
        drawn = self.data.draw(generator(seed, number, turn, "x_real"), size * count).view(size, *field.shape)
        return drawn.index_select(1, self.share.of(count, self.parts)).to(self.dtype)

    def _positions(self, field: Field, seed: int, number: int, turn: int) -> Tensor:
        """Indices of the rows that each step of the block sees in this round: shuffled epochs, laid end to end."""
        assert self.data.rows is not None
        total, rows = len(self.data.rows), self.share.of(field.shape[0], self.parts)
        taken = [self.fields["x_real"].shape[0] * ("x_real" in reads) for reads in self.reads]
        steps = torch.arange(number * BLOCK, (number + 1) * BLOCK).view(-1, 1)
        place = steps * sum(taken) + sum(taken[:turn]) + rows
        epoch, within = place // total, place % total
        first, after = number * BLOCK * sum(taken), (number + 1) * BLOCK * sum(taken)
        result = torch.empty_like(place)
        for e in range(first // total, (after - 1) // total + 1):
            result = torch.where(epoch == e, self.permutation(seed, e)[within], result)
        return result

    def _number(self, step: int, turn: int) -> int:
        """How many real samples training takes before a round of this step: the number of the round's first one."""
        taken = [self.fields["x_real"].shape[0] * ("x_real" in reads) for reads in self.reads]
        return step * sum(taken) + sum(taken[:turn])

    def _from_stream(self, field: Field, step: int, turn: int) -> Tensor:
        """Read the real samples of a round of this step. Returns their places among them: [1, members, rows]."""
        numbers = self._number(step, turn) + self.share.of(field.shape[0], self.parts)
        found = [sample for reader in self.readers for sample in reader(numbers.tolist())]
        self.read[turn] = torch.stack([x for x, _ in found]), torch.tensor([y for _, y in found])
        return torch.arange(len(found)).view(1, len(self.readers), -1)

    def places(self, step: int) -> list[Place] | None:
        """Where each seed's stream is before this step, as far as it is known; None without a stream."""
        return [reader.mark(self._number(step, 0)) for reader in self.readers] or None

    def resume(self, places: Iterable[Place]) -> None:
        """Read on from these places of the seeds' streams, instead of from the beginning."""
        for reader, place in zip(self.readers, places):
            reader.resume(place)

    def _permutation(self, seed: int, epoch: int) -> Tensor:
        assert self.data.rows is not None
        return torch.randperm(len(self.data.rows), generator=generator(seed, "epoch", epoch))

    def _finish(
        self,
        draw: dict[str, Tensor],
        flip: Tensor | None,
        *,
        labelled: bool,
        table: tuple[Tensor | None, Tensor | None],
    ) -> dict[str, Tensor]:
        """Look rows up by index in a `table` of samples and labels. Mirror them and scale them to -1..1.

        They are moved to the device while still bytes.
        """
        rows = draw.get("x_real")
        if rows is not None and table[0] is not None:
            images = table[0].index_select(0, rows.flatten())  # whole rows: much faster than rows[...]
            if flip is not None:
                images = mirrored(images, flip.flatten())
            images = images.view(*rows.shape, *images.shape[1:]).to(self.device)
            draw["x_real"] = (
                images.to(self.dtype).div_(127.5).sub_(1) if images.dtype == torch.uint8 else images
            )
        draw = {name: values.to(self.device, self.dtype) for name, values in draw.items()}
        return draw | ({"y_real": self._labels(rows, draw["x_real"], table[1])} if labelled else {})

    def _labels(self, rows: Tensor | None, x_real: Tensor, labels: Tensor | None) -> Tensor:
        """The labels of the samples x_real, which are these `rows` of a table that has `labels`."""
        if labels is not None:
            return labels[rows].to(self.device)
        assert self.data.modes is not None
        return nearest_centre(x_real, self.data.modes.centres.to(x_real))


def mirrored(images: Tensor, flip: Tensor) -> Tensor:
    """Return the images [n, ...], mirrored left to right where `flip` [n] is true.

    >>> mirrored(torch.tensor([[1, 2], [1, 2]]), torch.tensor([False, True])).tolist()
    [[1, 2], [2, 1]]
    """
    both = torch.cat([images, images.flip(-1)])
    return both.index_select(0, torch.arange(len(flip)) + len(flip) * flip)


def _movers(game: Game, turn: Collection[str]) -> Iterable[Player]:
    """The players of a round: those of an update that the game defines, or the game's by their names."""
    return turn.values() if isinstance(turn, Mapping) else [game.players[name] for name in turn]
