"""Draws on a device: what the host makes is what a CPU draws, and it is made before it is needed.

The device is torch's `meta`, which has shapes and no numbers; the numbers that would be moved to it are compared.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from steadygan.data import Data, ring
from steadygan.data.streams import Opened, Stream
from steadygan.game import Draws, Field, Game, Network, Player
from steadygan.game.ahead import Ahead, placed
from steadygan.parallel import Processes

META, CPU = torch.device("meta"), torch.device("cpu")
SHAPE, BATCH = (1, 4, 3), 7
STEPS = (0, 1, 63, 64, 200, 3)


def game(shape: tuple[int, ...], labels: bool) -> Game:
    fields = {
        "x_real": Field("real", (BATCH, *shape)),
        "z": Field("normal", (BATCH, 3)),
        "due": Field("due", ()),
    }
    fields |= {"y_real": Field("label", (BATCH,))} if labels else {}
    player = Player(Network(torch.nn.Linear(1, 1)), None, tuple(fields), critic=True)  # type: ignore[arg-type]
    return Game({"D": player}, fields)


def pictures() -> Data:
    rows = torch.randint(256, (50, *SHAPE), generator=torch.Generator().manual_seed(5)).byte()
    return Data("pictures", SHAPE, rows, flip=True, labels=torch.arange(50) % 4, classes=4)


def drawn(data: Data, device: torch.device, **options) -> Draws:
    return Draws(
        game(data.shape, True), [("D",), ("D",)], data, [3, 4], members=True, device=device, **options
    )


# ---------------------------------------------------------------------------------------------------- blocks


def test_blocks_come_in_any_order_and_the_next_is_made_meanwhile():
    made: list[int] = []
    begun = threading.Event()

    def make(number: int) -> Tensor:
        made.append(number)
        if number == 1:
            begun.set()
        return torch.tensor(number)

    ahead = Ahead(make, CPU, ThreadPoolExecutor(1))
    assert ahead(0) == 0
    assert begun.wait(10), "the next block is begun before it is asked for"
    assert [int(ahead(number)) for number in (1, 2, 7, 8, 3)] == [1, 2, 7, 8, 3]
    assert made[:4] == [0, 1, 2, 3]
    assert made.count(8) == 1


def test_what_fails_in_the_thread_is_raised():
    def make(number: int) -> Tensor:
        raise OSError(f"block {number} cannot be read")

    with pytest.raises(OSError, match="block 5"):
        Ahead(make, CPU, ThreadPoolExecutor(1))(5)


# ------------------------------------------------------------------------------------------------------ data


@pytest.mark.parametrize(("free", "there"), [(2 * 50 * 12, "meta"), (2 * 50 * 12 - 1, "cpu"), (0, "cpu")])
def test_rows_that_take_half_of_the_free_memory_are_on_the_device(free, there, monkeypatch):
    monkeypatch.setattr("steadygan.game.ahead._free", lambda device: free)
    assert placed(pictures(), META, torch.float32).rows.device.type == there


def test_centres_are_on_the_device_in_the_runs_numbers():
    centres = placed(ring(size=None), META, torch.float64).modes.centres
    assert (centres.device.type, centres.dtype) == ("meta", torch.float64)


# ----------------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("data", [pictures(), ring(size=None)], ids=["pictures", "endless"])
def test_draws_on_a_device_have_the_shapes_of_those_on_a_cpu(data, resident, monkeypatch):
    monkeypatch.setattr("steadygan.game.ahead._free", lambda device: 1e9 * resident)
    there, here = (drawn(data, device, share=Processes(1, 2)) for device in (META, CPU))
    for step in STEPS:
        for a, b in zip(there(step), here(step), strict=True):
            assert {k: (v.shape, v.dtype) for k, v in a.items()} == {
                k: (v.shape, v.dtype) for k, v in b.items()
            }
            assert {v.device.type for v in a.values()} == {"meta"}


def block(draws: Draws, turn: int, name: str, step: int) -> Tensor:
    """What the host makes for a step."""
    number, offset = divmod(step, draws.sizes[name])
    return draws._on_host(turn, name, number)[offset]


@pytest.mark.parametrize("resident", [True, False])
def test_the_host_makes_the_rows_and_labels_that_a_cpu_draws(resident, monkeypatch):
    monkeypatch.setattr("steadygan.game.ahead._free", lambda device: 1e9 * resident)
    data = pictures()._replace(flip=False)
    monkeypatch.setattr(
        "steadygan.game.batches.LARGEST", 4 * BATCH * 12
    )  # rows of four steps are gathered at a time
    there, here = (drawn(data, device) for device in (META, CPU))
    assert there.sizes["x_real"] == (64 if resident else 4)
    for step in STEPS:
        for turn, draw in enumerate(here(step)):
            found = block(there, turn, "x_real", step)
            rows = data.rows[found] if resident else found
            torch.testing.assert_close(draw["x_real"], rows.float() / 127.5 - 1)
            assert torch.equal(block(there, turn, "y_real", step), draw["y_real"])


def test_the_host_makes_the_samples_of_a_stream_that_a_cpu_draws():
    there, here = (drawn(ring(size=None), device) for device in (META, CPU))
    for step in STEPS:
        assert torch.equal(block(there, 1, "x_real", step), here(step)[1]["x_real"])


def test_a_stream_is_read_by_the_step_itself():
    """It seeds the generators of the process, and a checkpoint asks where it is."""
    readers = set()

    def decode(item: int) -> tuple[Tensor, int]:
        readers.add(threading.current_thread())
        return torch.full(SHAPE, item % 256, dtype=torch.uint8), item % 4

    def start(seed: int, epoch: int, state: object) -> Opened:
        return Opened(iter(range(100)))

    data = pictures()._replace(stream=Stream(start, decode), flip=False)
    there, here = (drawn(data, device) for device in (META, CPU))
    for step in (0, 1, 2):
        for a, b in zip(there(step), here(step), strict=True):
            assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    assert readers == {threading.main_thread()}
    assert there.places(3) == here.places(3)
