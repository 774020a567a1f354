"""The runs of a sweep on Ray Tune: as many at a time as the cluster has room for, the worst ended early by ASHA."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from steadygan import config
from steadygan.errors import UsageError
from steadygan.files import user_path
from steadygan.runs.folder import locked
from steadygan.runs.sweeps.record import FAILED, Sweep, mean, run_name, scores
from steadygan.runs.sweeps.trial import DONE, train_run
from steadygan.training.events import Event, Scored
from steadygan.training.online_scores import lower_is_better

__all__ = ["HALTED", "on_ray"]

HALTED = "stopped by ASHA"
"""The state of a run that ASHA ended early."""

FACTOR, RUNGS = 3, 2
"""ASHA (Li et al. 2020) compares runs at 1/9 and 1/3 of the longest one, and lets the best third of them go on."""

DEATHS = 5
"""How many times the process of a run may die before the run counts as failed."""

PATIENCE = 60
"""Seconds to wait until the process of a lost node has left the folder of its run."""


def on_ray(
    folder: Path, sweep: Sweep, todo: Sequence[int], done: Callable[[int, str], None], console: Console
) -> None:
    """Train the runs of these numbers on Ray. `done` gets the number of each run that ends, and its state.

    Ray uses the cluster that RAY_ADDRESS names, or this machine. Each node must see `folder`. A run whose process dies
    is resumed from its newest checkpoint, on any node. The runs that ended before only report their evaluations again,
    so that ASHA compares with them.
    """
    folder = folder.resolve()
    order = sorted(range(len(sweep.runs)), key=lambda number: number in todo)  # those that ended first
    given = {n: (str(folder / run_name(n)), anchored(sweep.runs[n]), sweep.by, n in todo) for n in order}
    longest = max(config.parse(raw).steps for raw in sweep.runs)

    def trainable(chosen: dict[str, int]) -> None:
        _trial(*given[chosen["number"]])

    def ended(number: int, state: str) -> None:
        if number in todo:
            done(number, state)

    with _connected() as ray:
        from ray import tune

        tuner = tune.Tuner(
            tune.with_resources(trainable, _resources(ray, sweep.runs[0])),
            param_space={"number": tune.grid_search(order)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="min" if lower_is_better(sweep.by) else "max",
                scheduler=_asha(longest),
                reuse_actors=True,  # a process takes one run after the other: it need not load torch again
            ),
            run_config=_run_config(folder / "ray", ended),
        )
        tuner.fit()


def anchored(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose data are found from any folder: Ray runs each trial in a folder of its own.

    >>> anchored({"data": {"name": "images", "path": "/photos"}})
    {'data': {'name': 'images', 'path': '/photos'}}
    """
    data = raw.get("data")
    if not isinstance(data, Mapping):
        return dict(raw)
    given = {key: data[key] for key in ("path", "root") if isinstance(data.get(key), str)}
    # Braces first are shards of several folders.
    places = {key: os.path.abspath(user_path(p)) for key, p in given.items() if not p.startswith("{")}
    return {**raw, "data": {**data, **places}}


@contextmanager
def _connected() -> Iterator[Any]:
    """Inside the block this process is connected to Ray: as the caller has connected it, or until the block ends."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the runs have their own
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the sweep prints what matters
    if root := os.environ.get("STEADYGAN_DATA"):
        os.environ["STEADYGAN_DATA"] = os.path.abspath(user_path(root))  # as in `anchored`
    import ray

    before = ray.is_initialized()
    if not before:
        ray.init(log_to_driver=False, logging_level="error", include_dashboard=False)
    try:
        yield ray
    finally:
        if not before:
            ray.shutdown()


def _asha(longest: int) -> Any:
    """The scheduler, for runs of so many steps at most. A last report never ends a run: its checkpoint is to come."""
    from ray.tune.schedulers import ASHAScheduler

    first = max(1, longest // FACTOR**RUNGS)
    return ASHAScheduler(time_attr="step", max_t=longest + 1, grace_period=first, reduction_factor=FACTOR)


def _run_config(place: Path, done: Callable[[int, str], None]) -> Any:
    """Where Ray Tune keeps its own files, begun anew, since the runs' folders have all that counts."""
    from ray import tune

    shutil.rmtree(place, ignore_errors=True)
    return tune.RunConfig(
        name="tune",
        storage_path=str(place),
        failure_config=tune.FailureConfig(max_failures=DEATHS),
        callbacks=[_follower(tune.Callback, done)],
        verbose=0,
    )


def _resources(ray: Any, raw: dict[str, Any]) -> dict[str, float]:
    """What a run takes: its threads, and a GPU where the cluster has one."""
    needed: dict[str, float] = {"cpu": config.parse(raw).threads or 1}
    return needed | ({"gpu": 1} if ray.cluster_resources().get("GPU") else {})


def _follower(base: Any, done: Callable[[int, str], None]) -> Any:
    """The callback of Ray Tune that hands on how each run ends."""

    class Follower(base):
        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray Tune stores its callbacks, and a console cannot be stored

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.done(trial.config["number"], (trial.last_result or {}).get("state", HALTED))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.done(trial.config["number"], f"{FAILED}: its process died {DEATHS + 1} times")

    made = Follower()
    made.done = done
    return made


def _trial(place: str, raw: dict[str, Any], by: str, trains: bool) -> None:
    """Train a run in a process of Ray. Its evaluations are reported, also those of before it was resumed."""
    from ray import tune

    folder, steps = Path(place), config.parse(raw).steps
    worst = float("inf") if lower_is_better(by) else float("-inf")

    def told(step: int, values: Any, **more: Any) -> None:
        score = mean(values if isinstance(values, list) else [values])
        tune.report({"step": step, "score": worst if score is None else score, **more})

    def sink(event: Event) -> None:
        if isinstance(event, Scored) and event.step < steps:
            told(event.step, event.evaluated.scores.get(by))

    _wait_until_free(folder)
    for step, values in scores(folder, by):
        if step < steps:
            told(step, values)
    state = train_run(folder, raw, Console(quiet=True), [sink]) if trains else DONE
    step, values = (scores(folder, by) or [(0, [None])])[-1]
    told(step, values, state=state)


def _wait_until_free(folder: Path) -> None:
    """Wait until no process holds the folder of a run."""
    for _ in range(PATIENCE if folder.exists() else 0):
        try:
            with locked(folder):
                return
        except UsageError:
            time.sleep(1)
