"""Batches that processes share: W of them equal one on the whole batch, and programs with one thing wrong do not.

The slow tests start processes on this machine, once for many cases: `sharing/`. The case of each method comes from the
registry. One process that has never heard of others is the reference.
"""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from processes import started
from sharing.cases import CASES, COMPILED
from sharing.twins import TWINS
from steadygan import parallel
from steadygan.build import build
from steadygan.config import parse
from steadygan.errors import UsageError
from steadygan.game.vector_field import field
from steadygan.networks.global_batch_norm import GlobalBatchNorm, globally_normalized

HERE = Path(__file__).parent / "sharing"
EQUAL, DIFFERENT = 1e-9, 1e-3
"""Relative differences: rounding in float64 stays below the one, wrong programs are above the other."""

sizes = pytest.mark.parametrize("size", [2, 3])
pytestmark = pytest.mark.timeout(1200)  # beside other tests on two cores; alone the longest takes two minutes


@given(st.integers(0, 50), st.integers(1, 8))
def test_processes_have_all_rows_in_order(count: int, size: int) -> None:
    """The ranges join to range(count), no two lengths differ by more than one, and shares add up to 1."""
    every, shares = [], []
    for rank in range(size):
        with parallel.over(parallel.Processes(rank, size)):
            every.append(parallel.rows(count))
            shares.append(parallel.share(count))
    assert [row for rows in every for row in rows] == list(range(count))
    lengths = [len(rows) for rows in every]
    assert lengths == parallel.split(count, size)
    assert max(lengths) - min(lengths) <= 1
    assert sum(shares) == pytest.approx(1)


def test_one_process_is_alone_and_works_on_ordinary_tensors() -> None:
    x = torch.randn(4, 3)
    assert parallel.processes() == parallel.ALONE
    assert parallel.summed(x) is parallel.spread(x) is parallel.gathered(x) is x
    torch.testing.assert_close(parallel.mean(x), x.mean())
    torch.testing.assert_close(parallel.largest(x), x.max())
    assert parallel.whole(4) == 4


@pytest.mark.slow
def test_no_thread_of_a_group_outlives_it(tmp_path: Path) -> None:
    """Threads that go on while Python ends abort the process, once in dozens of times."""
    left = started(HERE / "threads.py", 2, tmp_path, seconds=100)
    assert [said.split() for said in left] == [["['python']"]] * 2


def test_a_block_ends_with_what_was_before_it() -> None:
    outer = parallel.Processes(1, 3)
    with parallel.over(outer):
        with pytest.raises(KeyError), parallel.over(parallel.ALONE):
            raise KeyError
        assert parallel.processes() == outer
    assert parallel.processes() == parallel.ALONE


def test_more_processes_than_rows_are_refused() -> None:
    run = build(parse({**CASES["loss: hinge"], "batch": 4}))
    with (
        parallel.over(parallel.Processes(0, 5)),
        pytest.raises(UsageError, match=r"5 processes cannot share a batch of 4 rows: use at most 4"),
    ):
        field(run.game, ("D",), run.state, run.draws(0)[0])


def test_batch_norm_of_one_process_is_that_of_torch() -> None:
    ours, torchs = GlobalBatchNorm(3), torch.nn.BatchNorm2d(3)
    for _ in range(2):
        x = 3 + torch.randn(5, 3, 4, 4)
        assert torch.equal(ours(x), torchs(x))
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    assert torch.equal(ours.running_var, torchs.running_var)
    assert torch.equal(ours.eval()(x), torchs.eval()(x))


def printed(script: str, size: int, folder: Path, *words: str, seconds: float = 1150) -> list[dict]:
    """The JSON that each process printed last."""
    outputs = started(HERE / script, size, folder, *words, seconds=seconds)
    return [json.loads(text.strip().splitlines()[-1]) for text in outputs]


def of_cases(size: int, folder: Path, *words: str) -> dict[str, list[float]]:
    """Largest difference from one process, and between processes, of each case."""
    return {
        name: gaps for found in printed("run_cases.py", size, folder, *words) for name, gaps in found.items()
    }


@pytest.mark.slow
@sizes
def test_sums_and_statistics_are_those_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    found = printed("run_sums.py", size, tmp_path)
    for name in found[0]:
        gap = max(each[name] for each in found)
        assert gap > DIFFERENT if name.startswith("wrong: ") else gap < 1e-13, (name, gap)


@pytest.mark.slow
def test_every_method_trains_as_on_one_process(tmp_path: Path) -> None:
    """Twelve steps on three processes, whose rows are not even: every tensor of the state, and every log."""
    found = of_cases(3, tmp_path)
    assert found.keys() == CASES.keys()
    assert {name: gaps for name, gaps in found.items() if not max(gaps) < EQUAL} == {}


@pytest.mark.slow
def test_compiled_steps_train_as_on_one_process(tmp_path: Path) -> None:
    found = of_cases(2, tmp_path, "compiled")
    assert found.keys() == set(COMPILED)
    assert {name: gaps for name, gaps in found.items() if not max(gaps) < EQUAL} == {}


@pytest.mark.slow
def test_wrong_programs_do_not(tmp_path: Path) -> None:
    found = of_cases(2, tmp_path, "twins")
    assert found.keys() == TWINS.keys()
    assert {name: gaps for name, gaps in found.items() if not max(gaps) > DIFFERENT} == {}


@pytest.mark.slow
def test_a_loop_under_ddp_trains_as_on_one_process(tmp_path: Path) -> None:
    """With the largest gradient, DRAGAN, batch norm and the pull-away term; the Monitor sees the whole batch.

    The gradients of a compiled loss, too.
    """
    found = printed("run_ddp.py", 2, tmp_path)
    for each in found:
        assert {key: gap for key, gap in each["gaps"].items() if not gap < EQUAL} == {}
        assert {key: gap for key, gap in each["compiled"].items() if not gap < EQUAL} == {}
    alone, first = found[0]["seen"]
    assert found[1]["seen"] == []
    assert alone.keys() == first.keys()
    assert len(alone["critic/gap"]) == 4
    for key in alone.keys() - {"wall_s"}:
        assert first[key] == pytest.approx(alone[key], rel=1e-6, abs=1e-9), key


@pytest.mark.slow
def test_a_sharded_critic_is_penalised_as_on_one_process(tmp_path: Path) -> None:
    """As docs/parallel.md says: weights are kept until the step, and the penalty comes last."""
    for found in printed("run_fsdp.py", 2, tmp_path):
        assert max(found.values()) < EQUAL, found


def test_a_batch_norm_with_a_forward_of_its_own_stays_as_it_is() -> None:
    class Own(torch.nn.BatchNorm1d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    kinds = [torch.nn.BatchNorm1d(2), torch.nn.SyncBatchNorm(2), Own(2), torch.nn.InstanceNorm1d(2)]
    found = [type(layer) for layer in globally_normalized(torch.nn.Sequential(*kinds))]
    assert found == [GlobalBatchNorm, GlobalBatchNorm, Own, torch.nn.InstanceNorm1d]
