"""Jobs on a state beside training: what they see, in which order they run, and where their errors are raised."""

import threading
import time

import pytest
import torch

from steadygan.game import State
from steadygan.training.beside import beside, on_host


def state(value: float) -> State:
    shared = torch.full((3,), value)
    return State({"G": shared}, {"G": {}}, {"G": {"mean": shared}}, {}, {"step": torch.tensor(int(value))})


def test_a_job_sees_the_state_of_its_time_and_training_goes_on():
    """A CUDA graph writes the next state into the memory of this one."""
    go, seen = threading.Event(), []

    def job(given: State) -> None:
        assert go.wait(10)
        seen.append(given)

    now = state(1.0)
    with beside() as writer:
        writer()(now, job)
        assert seen == [], "the call returned before the job ended"
        now.params["G"].fill_(9.0)
        go.set()
    assert seen[0].params["G"].tolist() == [1.0] * 3
    assert seen[0].scalars["step"] == 1


def test_jobs_run_one_after_the_other_and_all_before_the_end():
    running, log = threading.Lock(), []

    def job(given: State) -> None:
        assert running.acquire(blocking=False), "two jobs at once"
        time.sleep(0.02)
        log.append(int(given.scalars["step"]))
        running.release()

    with beside() as writer:
        write = writer()
        for step in range(5):
            write(state(step), job)
            assert len(log) >= step, "the job before has ended"
    assert log == list(range(5))


def test_an_error_is_raised_by_the_next_write_or_at_the_end():
    def full(given: State) -> None:
        raise OSError("no space")

    reached = []

    def trained(steps: int) -> None:
        with beside() as writer:
            write = writer()
            for step in range(steps):
                write(state(step), full)
                reached.append(step)

    with pytest.raises(OSError, match="no space"):
        trained(5)
    assert reached == [0]
    with pytest.raises(OSError, match="no space"):
        trained(1)


def test_a_writer_waits_for_its_own_job_alone_and_all_run_in_the_order_of_their_events():
    """A picture comes right before the checkpoint of its step, which may wait for it. Training does not."""
    go, log = threading.Event(), []

    def drawn(given: list[torch.Tensor]) -> None:
        assert go.wait(10)
        log.append(f"picture {given[0].item():.0f}")

    def saved(given: State) -> None:
        log.append(f"state {int(given.scalars['step'])}")

    x = torch.ones(())
    with beside() as writer:
        picture, checkpoint = writer(), writer()
        picture([x], drawn)
        x.fill_(9.0)
        checkpoint(state(1.0), saved)
        assert log == [], "both calls returned before a job ended"
        go.set()
    assert log == ["picture 1", "state 1"]


def test_no_job_of_any_writer_runs_after_one_that_failed():
    """Else a checkpoint would say that the run needs no picture of its step."""
    done = []

    def full(given: list[torch.Tensor]) -> None:
        raise OSError("no space")

    def trained(steps: int) -> None:
        with beside() as writer:
            picture, checkpoint = writer(), writer()
            for step in range(steps):
                picture([], full)
                checkpoint(state(step), lambda given: done.append(given))

    for steps in (1, 2):
        with pytest.raises(OSError, match="no space"):
            trained(steps)
    assert done == []


def test_an_error_of_training_is_its_own_and_what_was_begun_is_written():
    done = []

    def slow(given: State) -> None:
        time.sleep(0.05)
        done.append(int(given.scalars["step"]))

    def interrupted() -> None:
        with beside() as writer:
            writer()(state(7), slow)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [7]


def test_a_copy_shares_no_memory():
    given = state(2.0)
    copy = on_host(given)()
    assert len({t.data_ptr() for t in (given.params["G"], copy.params["G"], copy.moments["G"]["mean"])}) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_copies_what_the_state_was():
    x = torch.zeros(2**24, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            x += 1
        taken = on_host(State({"G": x}, {}, {}, {}, {}))
        for _ in range(50):
            x += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert set(taken().params["G"].unique().tolist()) == {50.0}
