"""The trackers that a run can use, each as the same functions over a library."""

import os
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import Context
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.errors import UsageError

__all__ = ["SERVICES", "About", "Tracker", "check_trackers"]

PROJECT = "steadygan"
"""The project, or MLflow's experiment, where the library's own environment variable names none."""


class About(NamedTuple):
    """What a tracker is told of a run, or of a member of an ensemble: `group` is the ensemble."""

    name: str
    group: str | None
    folder: Path
    config: Mapping[str, Any]


class Tracker(NamedTuple):
    """A run of a tracker: its id there, where to look at it, and functions that add to it.

    `scalars` takes a step and numbers by name, `picture` a step and a PNG file, `text` a step, a name and words.
    `close` is told whether the run has ended, rather than been interrupted.
    """

    id: str
    place: str
    scalars: Callable[[int, Mapping[str, float]], None]
    picture: Callable[[int, Path], None]
    text: Callable[[int, str, str], None]
    close: Callable[[bool], None]


def check_trackers(names: Collection[str]) -> None:
    """Raise UsageError if the package of a tracker is missing. Nothing is imported."""
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of this name, such as wandb's own, is no package
            raise UsageError(
                f"trackers=[{name}] needs the package {name}: pip install 'steadygan[{name}]', or leave it out"
            )


def wandb(about: About, known: str | None) -> Tracker:
    """Weights & Biases: a new run, or the one with the id `known`. Files are in the run folder's wandb/."""
    import wandb as library

    run = library.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=str(about.folder),
        id=known or uuid.uuid4().hex[:8],
        name=about.name,
        group=about.group,
        config=dict(about.config),
        allow_val_change=True,
        resume="allow",
        reinit="create_new",
    )

    def text(step: int, name: str, words: str) -> None:
        run.summary[name] = words

    return Tracker(
        run.id,
        run.url or f"{Path(run.dir).parent} (offline: wandb sync)",
        lambda step, values: run.log(dict(values), step=step),
        lambda step, file: run.log({"samples": library.Image(str(file))}, step=step),
        text,
        lambda ended: run.finish(exit_code=0 if ended else 1),
    )


def mlflow(about: About, known: str | None) -> Tracker:
    """MLflow: a run of the experiment MLFLOW_EXPERIMENT_NAME in the store MLFLOW_TRACKING_URI."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from PIL import Image

    client = MlflowClient()
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    there = client.get_experiment_by_name(experiment)
    home = there.experiment_id if there else client.create_experiment(experiment)
    group = {"group": about.group} if about.group else {}
    run = client.get_run(known) if known else client.create_run(home, run_name=about.name, tags=group)
    id = run.info.run_id
    client.update_run(id, status="RUNNING")
    new = [
        Param(key, value) for key, value in _flat(about.config) if key not in run.data.params
    ]  # a parameter cannot change: config.yaml, beside them, is that of now
    for part in _parts(new, 100):
        client.log_batch(id, params=part)
    client.log_artifact(id, str(about.folder / "config.yaml"))

    def scalars(step: int, values: Mapping[str, float]) -> None:
        found = [Metric(key, value, int(1000 * time.time()), step) for key, value in values.items()]
        for part in _parts(found, 1000):
            client.log_batch(id, metrics=part)

    def picture(step: int, file: Path) -> None:
        with Image.open(file) as image:
            client.log_image(id, image.convert("RGB"), key="samples", step=step, synchronous=True)

    return Tracker(
        id,
        f"run {id} of experiment {experiment} (mlflow ui)",
        scalars,
        picture,
        lambda step, name, words: client.set_tag(id, name, words[:5000]),
        lambda ended: client.set_terminated(id, "FINISHED" if ended else "KILLED"),
    )


def trackio(about: About, known: str | None) -> Tracker:
    """Trackio: a run of the project TRACKIO_PROJECT, which its name identifies."""
    import trackio as library

    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    name = known or f"{about.name}-{uuid.uuid4().hex[:6]}"
    # In a context of its own, because a second run would end the first one there.
    run = Context().run(
        library.init,
        project=project,
        name=name,
        group=about.group,
        config=dict(about.config),
        resume="allow",
        embed=False,
    )
    return Tracker(
        name,
        f"run {name} (trackio show --project {project})",
        lambda step, values: run.log(dict(values), step=step),
        lambda step, file: run.log({"samples": library.Image(str(file))}, step=step),
        lambda step, key, words: run.log({key: words}, step=step),
        lambda ended: run.finish(),
    )


SERVICES: dict[str, Callable[[About, str | None], Tracker]] = {
    "wandb": wandb,
    "mlflow": mlflow,
    "trackio": trackio,
}
"""The trackers by their names in a configuration. `None` opens a new run."""


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings by their paths, as text.

    >>> list(_flat({"optimizer": {"lr": 0.1}, "stop": None}))
    [('optimizer.lr', '0.1'), ('stop', 'None')]
    """
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", str(value)[:500]
