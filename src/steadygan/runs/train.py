"""Start or resume a run in its folder."""

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from steadygan import config, diagnostics
from steadygan.build import NOTHING, Own, Run, build
from steadygan.config import Config, half
from steadygan.config.resolve import device_of, scheduled
from steadygan.config.schema import Compile, Evaluation, Gpu
from steadygan.config.zeros import at_zero, check_moves, sentence
from steadygan.data.streams import Place
from steadygan.errors import UsageError, nearest, said
from steadygan.files import fits, write_whole
from steadygan.game import Logs, State, Step
from steadygan.parallel import over
from steadygan.runs.data_changes import changed, training_data
from steadygan.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    EVALUATION,
    EVENTS,
    Note,
    check_free,
    claimed,
    last_good,
    locked,
    plain_settings,
    read_config,
    restore,
    runs_in,
    stream_places,
    tidied,
)
from steadygan.runs.identity import ORIGIN, beginning, continued, record_runs, same_steps
from steadygan.runs.live_diagnosis import early_stopping, facts_of, taken_up
from steadygan.runs.origin import Origin, record, started
from steadygan.runs.outputs import drawn, facts, loggers, tensorboard
from steadygan.runs.score_setup import evaluator, extra_extractor, protocol_of, scores_of
from steadygan.runs.sinks import compiling, console_sink
from steadygan.runs.sinks.checkpoints import thin
from steadygan.runs.sinks.jsonl import (
    divergences,
    images_seen,
    last_good_steps,
    line_sink,
    logged,
    rewind,
    whole,
)
from steadygan.runs.team import Team, team_of, told_of_loss, whole_batches
from steadygan.runs.trackers import SERVICES, Judged, check_trackers, followed
from steadygan.training import checkpoint
from steadygan.training.advance import TOGETHER, Advance, advancing
from steadygan.training.cluster import here
from steadygan.training.compile import cuda_graphs, gpu
from steadygan.training.compile.compile_cost import TRIED, estimate
from steadygan.training.compile.compiled_step import compilable, compiled
from steadygan.training.compile.cpu import keep_memory, products, threads, work
from steadygan.training.divergence import Origin as Began
from steadygan.training.divergence import origin
from steadygan.training.early_stopping import stops
from steadygan.training.events import Diverged, Evaluated, Event, Scored, Snapshot, Stop, StoppedByDiagnosis
from steadygan.training.gradient_stats import gradient_statistics
from steadygan.training.loop import lost_members, train

__all__ = ["check", "resume", "start"]

Sink = Callable[[Event], None]
"""Gets each event of a run as it happens."""


def start(
    settings: Config,
    folder: Path,
    console: Console,
    own: Own = NOTHING,
    keep_own: Callable[[Path], None] | None = None,
    source: Origin | None = None,
    *,
    sinks: Sequence[Sink] = (),
) -> Diverged | StoppedByDiagnosis | None:
    """Train from the first step in `folder`, which must be new or empty; from the weights of `source` if given.

    `own` has the objects for which the configuration says `own`, and `keep_own` writes to the folder where they come
    from. `sinks` get every event too, after the loggers of the folder, whose picture or checkpoint may not be complete
    by then. Returns None, or why the run failed: it diverged, or a verdict stopped it. Raises UsageError if it cannot
    be scored or written.
    """
    cluster = here()
    with told_of_loss(cluster, folder), ExitStack() as held:
        cluster.agreed(lambda: check_free(folder))
        precision = cluster.agreed(partial(_precision, settings, console))
        settings = settings.model_copy(update={"precision": precision})
        run = started(source, partial(build, settings, own)) if source else build(settings, own)
        run = run._replace(state=cluster.same(run.state))
        team = team_of(run, cluster)
        _try_step(team, own)
        check(team, settings.keep.best, settings.evaluation, settings.threads, settings.trackers)
        for found in at_zero(scheduled(config.in_steps(settings)), 0, settings.steps):
            if found.path.startswith("optimizer."):
                _noter(console)(sentence(found, settings.steps))
        compiles = _compiles(settings.compile, team, settings.steps, settings.threads, console)
        settings = settings.model_copy(update={"compile": compiles})
        evaluate = _evaluator(team, settings.evaluation, console)
        with _own_words("an evaluation", own):
            begun = evaluate(team.place.mine(run.state))  # fails here, before anything is written

        def begin() -> None:
            held.enter_context(claimed(folder))
            if keep_own:
                keep_own(folder)
            if source:
                record(folder, source)
            record_runs(folder, continued((), plain_settings(settings), beginning(folder), 0))
            if source:  # without this checkpoint a resume would start from other weights
                checkpoint.save(folder / CHECKPOINTS, run.state, facts(run, folder))
            write_whole(
                folder / CONFIG, config.dump(config.in_steps(settings))
            )  # last: a folder that has it is a run

        cluster.agreed(begin)
        return _train(settings, team, run.state, evaluate, begun, folder, 0.0, console, sinks, own)


def resume(
    folder: Path,
    assignments: list[str],
    console: Console,
    root: Path | None = None,
    own: Own = NOTHING,
    *,
    sinks: Sequence[Sink] = (),
) -> Diverged | StoppedByDiagnosis | None:
    """Resume a run from the newest complete checkpoint in `folder`, exactly as if it had not been interrupted.

    `assignments` (key=value) change the configuration from here on, and `root` the folder of its data. With more steps
    the schedules stay as they were: the run is then the longer run with these schedules. `sinks` are those of `start`.
    Raises UsageError if `folder` is not a run folder, if its checkpoint does not fit the configuration, or if no player
    would move any more.
    """
    cluster = here()
    with told_of_loss(cluster, folder), ExitStack() as held:
        before, raw = cluster.agreed(lambda: _changed_settings(folder, assignments))
        settings = config.parse(config.with_root(raw, root), str(folder / CONFIG))
        precision = cluster.agreed(partial(_precision, settings, console))
        settings = settings.model_copy(update={"precision": precision})
        run = build(settings, own)
        team = team_of(run, cluster)
        _try_step(team, own)
        check(team, settings.keep.best, settings.evaluation, settings.threads, settings.trackers)
        state, saved = _restored(team, folder, held, console)
        step = int(state.scalars["step"].flatten()[0])
        places = cluster.agreed(lambda: stream_places(folder, step) if saved else [])
        team.draws.resume(places[team.place.members.start : team.place.members.stop])
        if ended := cluster.agreed(
            lambda: _ended(folder, run.stop, step, settings.steps, settings.keep.last)
        ):
            console.print(ended, markup=False, soft_wrap=True)
            if cluster.first:
                _track_all(settings.trackers, run, folder, step, console)
            return None
        if settings.steps > before.get("steps", 0):
            zeros = at_zero(scheduled(config.in_steps(settings)), step, settings.steps)
            check_moves(zeros, settings.optimizer, step)
            for found in zeros:
                _noter(console)(sentence(found, settings.steps))
        undecided = settings.compile.when == "auto"
        compiles = _compiles(settings.compile, team, settings.steps - step, settings.threads, console)
        settings = settings.model_copy(update={"compile": compiles})

        def begin() -> float:
            runs = runs_in(folder)
            # Otherwise its checkpoints do not say of which run they are, as those of old versions.
            if runs or not saved:
                record_runs(
                    folder,
                    continued(runs if saved else (), plain_settings(settings), beginning(folder), step),
                )
            if assignments or root or undecided:
                write_whole(folder / CONFIG, config.dump(config.in_steps(settings)))
            return rewind(folder / EVENTS, step or -1)  # a run that starts again evaluates its step 0 again

        wall_s = cluster.agreed(begin)
        how = "resuming from" if saved else "no checkpoint found: starting at"
        console.print(f"{how} step {step:,} of {settings.steps:,}", markup=False)
        evaluate = _evaluator(team, settings.evaluation, console)
        begun = None if step else evaluate(team.place.mine(state))
        return _train(settings, team, state, evaluate, begun, folder, wall_s, console, sinks, own)


def _changed_settings(folder: Path, assignments: list[str]) -> tuple[dict, dict]:
    """A run's configuration as plain data, before and after `assignments`."""
    before = config.current(read_config(folder))
    raw = config.current(config.override(before, assignments))
    if raw.get("evaluation") != before.get("evaluation"):
        raise UsageError(
            "evaluation cannot change on resume, because its images are excluded from the final scores: start a new "
            "run instead"
        )
    return before, raw


def _restored(team: Team, folder: Path, held: ExitStack, console: Console) -> tuple[State, bool]:
    """The state to resume from, and whether it was saved. The first process locks the folder and reads it for all."""
    run = team.run
    found = [run.state]

    def read() -> bool:
        held.enter_context(locked(folder))
        if os.path.lexists(place := folder / CHECKPOINTS) and not place.is_dir():
            raise UsageError(f"{place} is no folder, or a link to one that is not there: put it back")
        tidied(folder)
        if told := changed(folder, training_data(run.data)):
            _noter(console)(told)
        saved = bool(checkpoint.checkpoints(folder / CHECKPOINTS))  # else it ended before its first one
        if saved:
            found[0] = restore(folder, run, _noter(console))
            _tell_of_lost(folder, run, found[0], _noter(console))
        elif (folder / ORIGIN).exists():
            raise UsageError(
                f"{folder} began with weights of another run, and none of its checkpoints is left: train it again, "
                "with --from and another --out"
            )
        return saved

    saved = team.cluster.agreed(read)
    return team.cluster.same(found[0]), saved


def _tell_of_lost(folder: Path, run: Run, state: State, note: Note) -> None:
    """Log the last good states of lost members once more if the lines of them are damaged: they are kept by the log."""
    step = int(state.scalars["step"].flatten()[0])
    for member in lost_members(state):
        if last_good_steps(folder / EVENTS, member):
            continue
        if good := last_good(folder, run, state, member, note):
            rewind(folder / EVENTS, step)
            event = Diverged(step, int(good.scalars["step"].flatten()[0]), [member])
            line_sink(folder / EVENTS, lambda step: 0)(event)  # its line has no images


def _ended(folder: Path, rule: Stop | None, step: int, steps: int, last: int) -> str:
    """A sentence where a run has nothing left to train, else nothing. It keeps its `last` checkpoints from here on."""
    # It may have been killed between a checkpoint and the removal of an older one.
    thin(folder / CHECKPOINTS, step, last, last_good_steps(folder / EVENTS))
    return _ended_by(folder, rule, step, steps)


def _ended_by(folder: Path, rule: Stop | None, step: int, steps: int) -> str:
    if step >= steps:
        return (
            f"{folder} is complete: it has {step:,} steps, and steps is {steps:,}; to train longer, "
            f"resume with steps=N, more than {step:,}"
        )
    if rule and stops(rule, step, logged(folder / EVENTS, step).get(rule.log)):
        return (
            f"{folder} stopped early at step {step:,} of {steps:,}, because {rule.log} is below "
            f"{rule.below:g}: to train longer, resume with stop=null or another stop.below"
        )
    return ""


def _evaluator(team: Team, evaluation: Evaluation, console: Console) -> Callable[[State], Evaluated]:
    return evaluator(team.mine, evaluation, _noter(console), team.place.sharing)


def _try_step(team: Team, own: Own) -> None:
    """Take a step and a diagnostics pass of the caller's own networks. Raises UsageError with what they raise."""
    if own is NOTHING:
        return
    run = team.mine
    several = "; several members train as one program, else train one seed at a time" if run.ensemble else ""
    batch = team.draws(0)
    reals = [draw["x_real"] for draw in batch if "x_real" in draw]
    before = [x._version for x in reals]
    with _own_words("a training step", own, several), over(team.place.sharing):
        team.step(run.state, batch)
    if before != [x._version for x in reals]:
        raise UsageError(
            "a network changes its samples in place, and other parts of the step need them as they were: set "
            "inplace=False in its first layer, or begin its forward with x = x.clone()"
        )
    if not run.game.rest:
        with _own_words("a diagnostics pass", own, several):
            _gradient_stats(run)(run.state, run.state)


@contextmanager
def _own_words(what: str, own: Own, more: str = "") -> Iterator[None]:
    """Inside the block the caller's code is tried: what it raises becomes a UsageError with its words."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if own is NOTHING or "memory" in str(error):  # too large a run has a sentence of its own
            raise
        raise UsageError(
            f"{what} of your networks or loss fails ({said(error)}): a "
            f"forward takes any number of samples, reads no values (.item()), and changes no parameter{more}"
        ) from error


def _precision(settings: Config, console: Console) -> str:
    """The precision of a run, which `auto` leaves to the device, with notes where that has no units for bfloat16."""
    device, note = device_of(settings.device), _noter(console)
    decided = half.chosen(settings.precision, device)
    if half.has_units(device):
        return decided
    if settings.precision == "auto":
        note("precision=auto: this device has no units for bfloat16, so the run is in float32")
    remedy = ""
    if settings.precision == "bfloat16":
        remedy = "precision=auto or precision=float32"
    elif settings.fake_as_real.count != 0 and settings.fake_as_real.scoring == "bfloat16":
        remedy = "fake_as_real.scoring=same"
    if remedy:
        note(
            f"this device has no units for bfloat16: a convolution takes {half.slower(device):.1f} times as long as in "
            f"float32; set {remedy} in a new run"
        )
    return decided


def _compiles(chosen: Compile, team: Team, steps: int, count: int | None, console: Console) -> Compile:
    """Decide whether to compile the step, and decide compile=auto once: a resumed run must take the same steps."""
    run = team.mine
    if run.eager:
        _noter(console)(run.eager)
        return chosen.model_copy(update={"when": False})
    if isinstance(chosen.when, bool):
        return chosen
    with threads(count), over(team.place.sharing):
        tried = TRIED if team.cluster.size == 1 else 1  # all processes take as many steps
        timed = estimate(team.step, run.state, team.draws(0), steps, tried)
    found = team.cluster.agreed(lambda: timed)
    if not found.pays:
        console.print(
            f"the step is not compiled: the uncompiled run takes about {found.uncompiled:.0f} s, and compiling alone "
            f"takes about {found.compiling:.0f} s (to compile it, set compile=true)",
            markup=False,
            soft_wrap=True,
        )
    return chosen.model_copy(update={"when": found.pays})


def check(
    team: Team, best: str | None, evaluation: Evaluation, count: int | None, trackers: Collection[str]
) -> None:
    """Raise UsageError for what would fail only later: an unknown score or log, or a missing package."""
    if best:
        _check_score(best, team.run, extra_extractor(evaluation))
    if team.run.stop:
        with threads(count), over(team.place.sharing):
            _check_log(team.run.stop.log, team)
    check_trackers(trackers)


def _check_score(name: str, run: Run, extractor: str | None) -> None:
    known = scores_of(run, extractor)
    if name not in known:
        hint = nearest(name, known) if known else "it has none, so leave out keep.best"
        raise UsageError(f"keep.best: a run on {run.data.name} has no score {name!r}: {hint}")


def _check_log(name: str, team: Team) -> None:
    """Raise UsageError if a step does not log this name. One step is taken to see its logs."""
    _, logs = team.step(team.mine.state, team.draws(0))
    if name not in logs:
        raise UsageError(f"stop.log: this run does not log {name!r}: {nearest(name, logs)}")


def _step(settings: Config, team: Team, console: Console, own: Own) -> Step:
    """The step of a run, compiled where its settings say so and all machines can."""
    run, step, note = team.run, team.step, _noter(console)
    if not settings.compile.when:
        return step
    if team.cluster.size > 1 and not all(team.cluster.every(compilable(run.device))):
        # The comparison of the compiled step takes sums, too: those of all processes or of none.
        note("a machine of this run has no C++ compiler, so the step runs uncompiled on all of them")
        return step
    alone = team.place.sharing.size == 1  # a graph with sums over processes in it is not tried yet
    chosen = settings.gpu if alone else settings.gpu.model_copy(update={"graphs": False})
    precision = gpu.rounding(settings.precision, run.device, tf32=chosen.tf32)
    return compiled(
        step,
        note,
        precision,
        strict=settings.networks.name != "own",
        device=run.device,
        passes=settings.compile.passes,
        replayed=_replayed(run.device, precision, chosen, note),
        about=same_steps(plain_settings(settings))
        if alone and own is NOTHING
        else None,  # known by its settings
        working=partial(compiling, console),
    )


def _train(
    settings: Config,
    team: Team,
    state: State,
    evaluate: Callable[[State], Evaluated],
    begun: Evaluated | None,
    folder: Path,
    wall_s: float,
    console: Console,
    more: Sequence[Sink],
    own: Own,
) -> Diverged | StoppedByDiagnosis | None:
    run, mine, cluster = team.run, team.mine, team.cluster
    if not run.game.rest:
        weights = "EMA" if settings.ema else "raw"
        cluster.agreed(lambda: _write_protocol(run, settings.evaluation, weights, folder, console))
    step = _step(settings, team, console, own)
    blocked = settings.compile.when and run.device.type == "cpu"
    advance = advancing(step, team.draws, together=TOGETHER if blocked else None, stretch=team.draws.stretch)
    first = int(state.scalars["step"].flatten()[0])
    lost = lost_members(state)
    diverged = _lost_before(folder, first, lost) if lost else None
    ended: StoppedByDiagnosis | None = None
    keep_memory()
    places: dict[int, list[Place]] = {}
    told = _told(settings, run, places.__getitem__, folder, console, more, first=first, wall_s=wall_s)
    watched = _gradient_stats(mine) if team.place.leads or team.place.apart else None
    with (
        threads(settings.threads),
        products(work(run.game, settings.batch * len(mine.members))),
        gpu.options(run.device, tf32=settings.gpu.tf32, autotune=settings.gpu.autotune),
        told if cluster.first else nullcontext(_none) as tell,
        over(team.place.sharing),
    ):
        for event in train(
            advance,
            state,
            evaluate=whole_batches(evaluate),
            begun=begun,
            statistics=watched and whole_batches(watched),
            trace=partial(_traced, team, advance),
            steps=settings.steps,
            every=run.every,
            wall_s=wall_s,
            stop=run.stop,
            place=team.place,
        ):
            if isinstance(event, Snapshot | Scored):  # what is saved
                places.clear()
                places[event.step] = team.place.listed(team.draws.places(event.step))
            stopped = cluster.agreed(partial(tell, event)) if isinstance(event, Scored) else tell(event)
            if isinstance(event, Diverged):
                earlier = diverged.members if diverged else []
                diverged = event._replace(members=sorted({*earlier, *event.members}))
            if stopped and isinstance(event, Scored) and event.step < settings.steps:  # else it is complete
                tell(Snapshot(event.step, event.state))
                tell(stopped)
                ended = stopped
                break
    return cluster.agreed(lambda: ended or diverged)  # so that no process ends before all is written


def _lost_before(folder: Path, step: int, lost: Collection[int]) -> Diverged:
    """How the members that are lost at `step` were lost, by the last line of the log that tells of it."""
    told = [line for line in divergences(folder / EVENTS) if fits(line, {"step": int, "good_step": int})]
    last: dict[str, Any] = told[-1] if told else {"step": step, "good_step": step}
    return Diverged(last["step"], last["good_step"], sorted(lost), last.get("began"), last.get("tensor"))


def _none(event: Event) -> None:
    """What a process that is not the first one does with an event: nothing."""


def _write_protocol(run: Run, evaluation: Evaluation, weights: str, folder: Path, console: Console) -> None:
    protocol = protocol_of(run, evaluation, _noter(console), weights=weights)
    write_whole(folder / EVALUATION, json.dumps(protocol | training_data(run.data), indent=1) + "\n")


@contextmanager
def _told(
    settings: Config,
    run: Run,
    places: Callable[[int], list[Place]],
    folder: Path,
    console: Console,
    more: Sequence[Sink],
    *,
    first: int,
    wall_s: float,
) -> Iterator[Callable[[Event], StoppedByDiagnosis | None]]:
    """Inside the block, each event goes to the loggers and to the diagnosis, which may say why to stop."""
    per_step = settings.batch * sum("x_real" in reads for reads in run.draws.reads)
    show = console_sink(
        console, steps=settings.steps, first=first, images_per_step=per_step * len(run.members)
    )
    events = diagnostics.Events(facts_of(settings))
    lines = [line for _, line in whole(folder / EVENTS)]  # only a resumed run has some
    before, images = taken_up(events, lines), images_seen(lines, first, per_step)
    opened = loggers(
        run,
        places,
        folder,
        keep=settings.keep,
        trackers=settings.trackers,
        images=images,
        first=first,
        wall_s=wall_s,
    )
    with (
        opened as sinks,
        _followed(settings.trackers, run, folder, first, console) as (seen, judged),
        show as shown,
    ):
        stop_early = early_stopping(events, images, settings.stop_on, _noter(console), judged, before)

        def tell(event: Event) -> StoppedByDiagnosis | None:
            for sink in (*sinks, seen, shown, *more):
                sink(event)
            return stop_early(event)

        yield tell


def _followed(
    trackers: Collection[str], run: Run, folder: Path, first: int, console: Console
) -> AbstractContextManager[tuple[Sink, Judged]]:
    """The trackers that follow the folder in processes of their own. They begin with what they lack up to `first`."""
    names = [name for name in trackers if name in SERVICES]
    return followed(names, folder, run.members, drawn=drawn(run), first=first, note=_noter(console))


def _track_all(trackers: Collection[str], run: Run, folder: Path, last: int, console: Console) -> None:
    """Give trackers what they lack of a run that has ended."""
    wall_s = max((values.get("wall_s", 0.0) for _, values in whole(folder / EVENTS)), default=0.0)
    with (
        tensorboard(trackers, run, folder, lambda step: 0, last, wall_s),
        _followed(trackers, run, folder, last, console),
    ):
        pass


def _traced(team: Team, advance: Advance, good: State, until: int, index: int) -> Began | None:
    """Where a member's divergence began, by repeating the steps of the processes that train it."""
    found = None
    if index in team.place.members:
        row = index - team.place.members.start if team.run.ensemble else None
        found = origin(team.run.game, advance, good, until, row)
    return team.place.first(found)


def _replayed(device: torch.device, precision: str, chosen: Gpu, note: Note) -> Callable[[Step], Step] | None:
    """What records a step as a CUDA graph, where that is chosen and possible."""
    if not (chosen.graphs and cuda_graphs.possible(device)):
        return None
    return cuda_graphs.replayed(note, precision, cuda_graphs.on_gpu(device))


def _gradient_stats(run: Run) -> Callable[[State, State], Logs]:
    return gradient_statistics(
        run.game,
        run.draws.data,
        seeds=[int(m["seed"]) for m in run.members],
        ensemble=run.ensemble,
        dtype=run.draws.dtype,
        device=run.device,
        classes=run.classes,
    )


def _noter(console: Console) -> Note:
    return lambda text: console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)
