"""Streams: the samples of a step are those of a plain loop over the source, on any number of processes."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from steadygan.data.dataset import split_name, subset
from steadygan.data.given import given
from steadygan.data.own_streams import stream
from steadygan.data.streams import Reader
from steadygan.errors import DataNote, UsageError
from steadygan.game import Network
from steadygan.game.batches import Draws
from steadygan.game.vector_field import accumulated
from steadygan.games import gan
from steadygan.losses import LOSSES
from steadygan.parallel import Processes
from steadygan.rng import generator


class Numbers(IterableDataset):
    """The numbers 0 .. count - 1 as points, with their last digit as label; it counts what is read of it."""

    def __init__(self, count):
        self.count, self.read = count, 0

    def __iter__(self):
        for number in range(self.count):
            self.read += 1
            yield torch.full((2,), float(number)), number % 10


class Stateful(Numbers):
    """The same, with a state of its own."""

    place = 0

    def __iter__(self):
        for number in range(self.place, self.count):
            self.read += 1
            self.place = number + 1
            yield torch.full((2,), float(number)), number % 10

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


class Items(Dataset):
    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        return torch.full((2,), float(index)), index % 10


def plain_loop(count, block, seed):
    """The numbers 0 .. count - 1 over and over, put into a random order block by block."""
    for epoch in itertools.count():
        for began in range(0, count, block):
            size = min(block, count - began)
            order = torch.randperm(size, generator=generator(seed, "block", epoch, began))
            yield from (began + int(place) for place in order)


def permutations(count, seed):
    """The numbers 0 .. count - 1 over and over, in a new random order each time."""
    for epoch in itertools.count():
        yield from torch.randperm(count, generator=generator(seed, "epoch", epoch)).tolist()


def values(samples):
    return [(x.tolist(), y) for x, y in samples]


def expected(numbers):
    return [([float(n)] * 2, n % 10) for n in numbers]


@pytest.mark.parametrize("kind", [Numbers, Stateful])
@pytest.mark.parametrize(("count", "block"), [(53, 7), (53, 60), (56, 7), (5, 1)])
def test_the_samples_are_those_of_a_plain_loop_over_the_source(kind, count, block):
    data = stream(kind(count), classes=10, reference=4, shuffle=block)
    wanted = (
        list(itertools.islice(plain_loop(count, block, 3), 200))
        if block > 1
        else [n % count for n in range(200)]
    )
    assert values(Reader(data.stream, 3)(range(200))) == expected(wanted)


def test_a_map_style_dataset_is_read_in_the_permutations_of_rows_in_memory():
    data = stream(Items(53), classes=10, reference=4)
    assert values(Reader(data.stream, 3)(range(159))) == expected(itertools.islice(permutations(53, 3), 159))


@pytest.mark.parametrize("kind", [Numbers, Stateful, Items])
@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_read_the_rows_of_one_process(kind, ranks):
    """Each rank has its own rows of every batch of 10, as consecutive rows; together they are the batch."""
    whole = Reader(stream(kind(53), classes=10, reference=4, shuffle=7).stream, 0)
    readers = [Reader(stream(kind(53), classes=10, reference=4, shuffle=7).stream, 0) for _ in range(ranks)]
    for step in range(12):
        cuts = [10 * rank // ranks for rank in range(ranks + 1)]
        shares = [
            reader(range(10 * step + low, 10 * step + high))
            for reader, low, high in zip(readers, cuts, cuts[1:])
        ]
        assert values(itertools.chain(*shares)) == values(whole(range(10 * step, 10 * step + 10)))


def test_a_process_reads_its_own_items_of_a_map_style_dataset():
    dataset = Items(100)
    data = stream(dataset, reference=2)
    dataset.read.clear()
    Reader(data.stream, 0)(range(5, 10))
    assert len(dataset.read) == 5


@pytest.mark.parametrize("kind", [Numbers, Stateful, Items])
@pytest.mark.parametrize("number", [0, 3, 40, 52, 53, 60, 131])
def test_a_reader_that_begins_at_a_known_place_goes_on_as_one_that_never_stopped(kind, number):
    whole = Reader(stream(kind(53), classes=10, reference=4, shuffle=7).stream, 1)
    whole(range(number))
    place = whole.place_of(number)
    later = Reader(stream(kind(53), classes=10, reference=4, shuffle=7).stream, 1)
    if place:
        later.resume(place)
    assert values(later(range(number, number + 60))) == values(whole(range(number, number + 60)))


def test_a_source_with_a_state_does_not_read_again_what_was_read():
    whole = Reader(stream(Stateful(10_000), reference=4, shuffle=100).stream, 1)
    whole(range(5000))
    dataset = Stateful(10_000)
    data = stream(dataset, reference=4, shuffle=100)
    dataset.read, later = 0, Reader(data.stream, 1)
    later.resume(whole.place_of(5000))
    later([5000])
    assert dataset.read <= 201
    plain = Numbers(10_000)
    data = stream(plain, reference=4, shuffle=100)
    plain.read = 0
    Reader(data.stream, 1)([5000])
    assert plain.read == 5100


def test_places_are_marked_while_another_thread_reads_ahead():
    reader = Reader(stream(Stateful(100_000), reference=4, shuffle=5).stream, 1)
    with ThreadPoolExecutor(1) as executor:
        reading = [executor.submit(reader, range(n, n + 10)) for n in range(0, 5000, 10)]
        while not all(each.done() for each in reading):
            assert reader.mark(5000).number % 5 == 0
    assert reader.mark(5000).number == 4995


def test_any_sample_is_found_again():
    reader = Reader(stream(Stateful(53), classes=10, reference=4, shuffle=7).stream, 2)
    forward = values(reader(range(150)))
    assert [values(reader([n]))[0] for n in reversed(range(150))] == forward[::-1]


class Noisy(Numbers):
    """Random transforms by all global generators, and a random order of its own."""

    def __iter__(self):
        order = list(range(self.count))
        random.shuffle(order)
        for number in order:
            yield torch.tensor([float(number), np.random.rand(), random.random()]) + torch.rand(3)


def test_random_transforms_are_a_function_of_seed_and_number():
    """They are new in each epoch, the same after a restart, and others than those of another seed."""
    data = stream(Noisy(20), reference=4, shuffle=3)
    first, again, other = (Reader(data.stream, seed) for seed in (0, 0, 1))
    torch.manual_seed(5)
    some = torch.stack([x for x, _ in first(range(40))])
    torch.manual_seed(6)
    assert torch.equal(torch.stack([x for x, _ in again(range(40))]), some)
    assert not torch.equal(torch.stack([x for x, _ in other(range(40))]), some)
    assert len(some[:, 2].unique()) == 40


def test_a_source_that_cannot_repeat_itself_is_told():
    class Unseeded(Numbers):
        def __iter__(self):
            own = np.random.default_rng()
            return (torch.as_tensor(own.random(3)) for _ in range(9))

    said = []
    stream(Unseeded(9), reference=4, note=said.append)
    assert any("resume is not exact" in text for text in said)


def test_a_state_that_loses_samples_is_not_used():
    class Buffered(Stateful):
        """Reads two samples ahead, of which its state knows nothing."""

        def __iter__(self):
            items = super().__iter__()
            ahead = list(itertools.islice(items, 2))
            for item in items:
                yield ahead.pop(0)
                ahead.append(item)
            yield from ahead

    said = []
    data = stream(Buffered(53), classes=10, reference=4, shuffle=7, note=said.append)
    assert any("is not used (other samples follow)" in text for text in said)
    reader = Reader(data.stream, 0)
    assert values(reader(range(80))) == expected(itertools.islice(plain_loop(53, 7, 0), 80))
    assert all(place.state is None for place in reader.places)


def test_a_state_that_is_found_to_lose_samples_is_not_used_again():
    """Its later places would have had it, too: going back after a divergence read other samples."""

    class Skips(Stateful):
        lost = 0  # when it is tried first, it loses nothing

        def load_state_dict(self, state):
            self.place = state["place"] + Skips.lost

    honest = Reader(stream(Stateful(53), classes=10, reference=4, shuffle=7).stream, 0)
    honest(range(30))
    place = honest.mark(30)
    assert place.state is not None
    reader = Reader(stream(Skips(53), classes=10, reference=4, shuffle=7).stream, 0)
    Skips.lost = 1
    reader.resume(place)
    with pytest.warns(DataNote, match="leads to other samples"):
        reader(range(30, 50))
    assert all(place.state is None for place in reader.places)


def test_an_epoch_may_have_another_length_and_order():
    class Growing(Numbers):
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return (torch.full((2,), 100.0 * self.epoch + n) for n in range(5 + self.epoch))

    reader = Reader(stream(Growing(0), reference=4, shuffle=1).stream, 0)
    assert [x[0].item() for x, _ in reader(range(14))] == [
        0,
        1,
        2,
        3,
        4,
        100,
        101,
        102,
        103,
        104,
        105,
        200,
        201,
        202,
    ]


def test_memory_is_bounded_by_a_block_and_the_reference():
    dataset = Numbers(1_000_000)
    data = given(dataset)
    assert data.stream is not None
    assert len(data.rows) == 10_000
    assert dataset.read <= 10_010
    reader = Reader(data.stream, 0)
    for step in range(50):
        reader(range(64 * step, 64 * step + 64))
        assert len(reader.items) <= 1000
    assert dataset.read <= 10_010 + 4000


def test_small_datasets_stay_in_memory_and_large_ones_are_streams(monkeypatch):
    assert given(Numbers(500)).stream is None
    assert given(Items(500)).stream is None
    monkeypatch.setattr("steadygan.data.given.MOST", 499 * 8)
    data = given(Items(500))
    assert data.stream is not None
    assert len(data.rows) == 500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stream(iter([torch.zeros(2)] * 9)), "begins anew"),
        (lambda: stream(torch.zeros(9, 2)), "are no stream"),
        (lambda: stream(Numbers(9), reference=1), "2 samples or more"),
        (lambda: stream(Numbers(0)), "has no items"),
        (lambda: given(Numbers(20_000), labels=[0] * 20_000), "let the items of a stream be pairs"),
        (lambda: stream(Numbers(20), classes=5, reference=20), "has the label 5, but its classes are 0 to 4"),
        (lambda: stream(Noisy(20), classes=5, reference=4), "has no label"),
    ],
)
def test_wrong_streams_are_refused_in_a_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_later_samples_are_checked_as_the_first_ones_are():
    for wrong, message in (
        (torch.zeros(3), "one shape and type"),
        (torch.zeros(2, dtype=torch.float64), "one shape and type"),
        (torch.tensor([0.0, float("nan")]), "NaN or infinite"),
    ):
        items = [torch.zeros(2)] * 9 + [wrong]
        data = stream(Lists(items), reference=4, shuffle=1)
        with pytest.raises(UsageError, match=message):
            Reader(data.stream, 0)(range(10))


class Lists(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def labelled(*labels):
    return Lists([(torch.full((2,), float(number)), label) for number, label in enumerate(labels)])


def test_the_names_of_a_datasets_classes_count_them():
    dataset = labelled(0, 1, 1)
    dataset.classes = ["cat", "dog"]
    found = stream(dataset, reference=3)
    assert (found.classes, found.labels.tolist()) == (2, [0, 1, 1])


@pytest.mark.parametrize(("classes", "notes"), [(2, 0), (3, 1)])
def test_classes_that_the_reference_lacks_are_told(classes, notes):
    """A source that is sorted by class shows its first ones alone."""
    said = []
    stream(labelled(0, 0, 1), classes=classes, reference=3, note=said.append)
    found = [each for each in said if "classes" in each]
    assert len(found) == notes
    assert all(
        "the 3 samples that stand for the stream in scores have 2 of its 3 classes" in each for each in found
    )


def test_an_epoch_with_less_than_a_step_is_refused():
    reader = Reader(stream(Numbers(20), reference=4).stream, 0, least=32)
    with pytest.raises(UsageError, match="20 samples, fewer than the 32"):
        reader(range(32))


def small_game(batch, parts):
    nets = {name: Network(nn.Linear(2, 1).double()) for name in ("G", "D")}
    game = gan(
        nets["G"], nets["D"], loss=LOSSES["hinge"], shape=(2,), batch=batch // parts, latent=2, classes=10
    )
    return accumulated(game, parts)


@pytest.mark.parametrize("kind", [Numbers, Items])
@pytest.mark.parametrize("members", [False, True])
@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)])
def test_draws_of_all_processes_are_the_batches_of_a_plain_loop(kind, members, ranks, parts):
    """Two critic updates of 10 samples and labels a step, read from a source of 53 for 8 steps: three epochs."""
    seeds = [4, 5] if members else [4]
    rounds, game = (("D",), ("D",), ("G",)), small_game(10, parts)

    def draws(rank):
        data = stream(kind(53), classes=10, reference=4, shuffle=7)
        return Draws(
            game, rounds, data, seeds, members=members, dtype=torch.float64, share=Processes(rank, ranks)
        )

    every = [draws(rank) for rank in range(ranks)]
    loops = [plain_loop(53, 7, seed) if kind is Numbers else permutations(53, seed) for seed in seeds]
    for step in range(8):
        found = [each(step) for each in every]
        for turn in range(2):
            for index, loop in enumerate(loops):
                numbers = torch.tensor(list(itertools.islice(loop, 10)))
                mine = [
                    batches[turn] if not members else {k: v[index] for k, v in batches[turn].items()}
                    for batches in found
                ]
                for part in range(parts):
                    wanted = numbers.view(parts, -1)[part]
                    x, y = (
                        torch.cat([each[name].view(parts, -1, *each[name].shape[1:])[part] for each in mine])
                        for name in ("x_real", "y_real")
                    )
                    assert torch.equal(x, wanted.double().view(-1, 1).expand(-1, 2))
                    assert torch.equal(y, wanted % 10)
        assert "x_real" not in found[0][2]


def test_a_long_search_is_told(monkeypatch):
    monkeypatch.setattr("steadygan.data.streams.LONG", 0.0)
    reader = Reader(stream(Numbers(100), reference=4, shuffle=7).stream, 0)
    with pytest.warns(DataNote, match="sample 90 of the stream was found after 0 s"):
        reader([90])


def test_held_out_samples_of_a_stream():
    held = torch.full((5, 2), -1.0)
    assert torch.equal(stream(Numbers(20), reference=4, held=held).held(), held)
    assert torch.equal(given(Numbers(20_000), held=held).held(), held)
    with pytest.raises(UsageError, match="give both in one shape"):
        stream(Numbers(20), reference=4, held=held[:, :1])


def test_a_limit_of_rows_is_not_for_streams():
    with pytest.raises(UsageError, match="is a stream"):
        subset(stream(Numbers(20), reference=10), 5)


def test_a_card_says_that_a_stream_has_some_samples_only():
    assert split_name(stream(Numbers(20), reference=10), "train") == "train, 10 samples of the stream"
    assert split_name(stream(Numbers(20), reference=10), "test") == "test"
