"""The HTML page: fills the template with the data of each run. All text that is not ours is escaped."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from steadygan.config.overrides import as_yaml
from steadygan.diagnostics import VERDICTS, Verdict, as_html, diagnose
from steadygan.diagnostics.history import is_score
from steadygan.errors import UsageError, printable, printable_lines
from steadygan.files import user_path, write_whole
from steadygan.progress import report as progress
from steadygan.report import charts, image_sliders, panels
from steadygan.report import spectrum as cloud
from steadygan.report.run_summary import Reader, Told, names, rate_fades
from steadygan.runs.identity import origin_of

__all__ = ["Page", "page", "report"]

HERE = Path(__file__).parent
STYLES = 6
"""The number of colours and dashes. Further curves use them again."""

CURVES, PICTURES, FRAMES = 1.5e6, 1.2e6, 72
"""Limits of a page: bytes of its curves, bytes of its pictures, frames of its sliders."""

POINT = 20
"""Bytes of one point of a curve in the page, and of its number for the download."""

FADING = "; the learning rate ends near 0, so the last point is far below the others"
"""The note on update ratios where a learning rate falls to 0: the last point is that of the last, smallest step."""


class Page(str):
    """The report as HTML. A notebook shows it in a frame of its own."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<report, {len(self.encode()) / 1e6:.1f} MB of HTML>"

    def save(self, path: str | Path) -> None:
        """Write the page to a file. Raises UsageError where that would overwrite what is no report."""
        path = user_path(path)
        if path.is_file():
            with path.open("rb") as file:
                begin = file.read(4096)
            if begin and not (begin.startswith(b"<!doctype html>") and b"steadygan" in begin):
                raise UsageError(f"{path} is there already, and is no report: choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self)

    def _repr_html_(self) -> str:
        # Its own script and no other origin: a notebook has the user's rights.
        look = 'width="100%" height="700" style="border: 0" sandbox="allow-scripts allow-downloads"'
        return f'<iframe title="steadygan report" srcdoc="{escape(self)}" {look}></iframe>'


class Shown(NamedTuple):
    """The data of one run on the page."""

    name: str
    style: int
    facts: list[tuple[str, str]]
    opinions: list[str]
    scores: dict[str, str]
    protocol: str
    cards: list[tuple[str, str, str]]
    ground: image_sliders.Landscapes
    frames: list[image_sliders.Frame]
    cloud: tuple[str, list[cloud.Cloud]]
    settings: str

    @property
    def wide(self) -> bool:
        """Whether its pictures are strips, which need a row of their own."""
        return any(frame.ratio > 1.6 for frame in self.frames)

    @property
    def pictured(self) -> bool:
        """Whether it has pictures."""
        return bool(self.ground or self.frames)


def report(*folders: str | Path) -> Page:
    """The report on run folders or files of a Monitor. Raises UsageError where there is no run, or no event yet.

    report("runs/ring8-fargan", "runs/ring8-0gp")  # a notebook shows the page
    """
    if not folders:
        raise UsageError(
            "report needs a run: name one or more run folders, as in report('runs/ring8-fargan')"
        )
    runs = []
    for folder in folders:
        run = Reader(Path(folder)).read()
        runs.append(run)
        progress("reading runs", len(runs), len(folders), "runs")
        if not run.keys and not run.diverged:
            raise UsageError(f"{run.folder} has no events yet: make its report after some training steps")
    return page(runs)


def page(runs: Sequence[Told], *, refresh: int = 0, version: str = "") -> Page:
    """The report on runs as one HTML page that loads nothing.

    With `refresh`, the page asks its server for a version newer than `version` every so many seconds. Its
    content security policy allows no other request, and no script but its own.
    """
    labels = [printable(name) for name in names(runs)]
    frames = max(4, min(24, FRAMES // len(runs)))
    size = int(PICTURES / (frames * len(runs)))
    shown: list[Shown] = []
    for run, name in zip(runs, labels):
        shown.append(_shown(run, name, len(shown), frames, size))
        progress("drawing runs", len(shown), len(runs), "runs")
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        title=f"steadygan: {', '.join(labels)}",
        runs=shown,
        groups=_groups(runs, shown),
        sections=_sections(runs, labels),
        first=panels.FIRST,
        caveat=_caveat(runs),
        differences=differences({name: run.config for name, run in zip(labels, runs)}),
        ensemble=any(len(run.histories) > 1 for run in runs),
        box=(charts.WIDTH, charts.HEIGHT),
        plot=(charts.LEFT, charts.TOP, charts.RIGHT, charts.BOTTOM),
        plane=cloud.BOX,
        refresh=refresh,
        version=version,
        style=style,
        script=script,
        policy=_policy(style, script, live=bool(refresh)),
    )
    return Page(printable_lines(text))  # names of files need be no text


def _policy(style: str, script: str, *, live: bool) -> str:
    """The content security policy: pictures in the page, its own style and script, and nothing else."""

    def known(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    parts = [
        "default-src 'none'",
        "img-src data:",
        f"style-src {known(style)}",
        f"script-src {known(script)}",
    ]
    parts += ["base-uri 'none'", "form-action 'none'", *(["connect-src 'self'"] if live else [])]
    return "; ".join(parts)


def _shown(run: Told, name: str, index: int, frames: int, size: int) -> Shown:
    return Shown(
        name,
        index % STYLES,
        _facts(run),
        _opinions(run),
        _scores(run),
        _words(run.protocol),
        [(_words(card.subject), _words(card.protocol), card.table()) for card in run.cards],
        image_sliders.landscapes(run.folder, frames),
        image_sliders.samples(run.folder, frames, size),
        cloud.clouds(run.folder),
        as_yaml(run.config) if run.config else "",
    )


def _facts(run: Told) -> list[tuple[str, str]]:
    """How far the run is, and what it has used."""
    series, planned = run.histories[0].series, run.config.get("steps")
    of = f" of {planned:,}" if isinstance(planned, int) else ""
    found = [("recipe", str(run.config["name"]))] if run.config.get("name") else []
    found.append(("step", f"{run.step:,}{of}"))
    if "images" in series:
        found.append(("real samples seen", f"{int(series['images'].values.nan_to_num(0).max()):,}"))
    if "wall_s" in series:
        found.append(("seconds", f"{series['wall_s'].values.nan_to_num(0).max():,.0f}"))
    if origin := origin_of(run.folder):
        of = str(origin.get("sha256"))[:12]
        found.append(("starts from", f"{origin.get('folder')} at step {origin.get('step')} ({of})"))
    if len(run.histories) > 1:
        found.append(("members", str(len(run.histories))))
    return found


def _opinions(run: Told) -> list[str]:
    """The verdicts on a run: all verdicts of each member; one that several members share is listed once."""
    found: dict[str, tuple[Verdict, list[int]]] = {}
    for member, history in enumerate(run.histories):
        for verdict in diagnose(history):
            found.setdefault(verdict.name, (verdict, []))[1].append(member)
    many, order = len(run.histories), list(VERDICTS)
    return [
        as_html(
            verdict, f"{len(members)} of {many} members ({', '.join(map(str, members))})" if many > 1 else ""
        )
        for name, (verdict, members) in sorted(found.items(), key=lambda item: order.index(item[0]))
    ]


def _scores(run: Told) -> dict[str, str]:
    """The scores of the last evaluation; for an ensemble the median and the range over its members."""
    found = {}
    for panel in panels.panels(run.keys, apart=True):
        key = panel.keys[0]
        if not is_score(key):
            continue
        last = torch.stack([h.series[key].values[-1] for h in run.histories if key in h.series])
        finite = last[last.isfinite()]
        found[key] = f"{finite.quantile(0.5):.4g}" if len(finite) else "not finite"
        if len(finite) and len(last) > 1:
            found[key] += f" ({finite.min():.4g} to {finite.max():.4g})"
    return found


def _groups(runs: Sequence[Told], shown: Sequence[Shown]) -> list[tuple[list[str], list[Shown]]]:
    """Runs whose evaluations share a protocol (whatever the seed), so that they compare; and their scores' names."""
    found: dict[str, list[Shown]] = {}
    for run, each in zip(runs, shown):
        if each.scores:
            protocol = {key: value for key, value in run.protocol.items() if key != "seed"}
            found.setdefault(json.dumps(protocol, sort_keys=True), []).append(each)
    return [(list(dict.fromkeys(key for each in own for key in each.scores)), own) for own in found.values()]


def _words(facts: Mapping[str, Any]) -> str:
    """Facts in one line, with long hashes shortened."""
    shown = {k: str(v)[:12] if k.endswith("sha256") else v for k, v in facts.items() if k != "format"}
    return "; ".join(f"{key} {value}" for key, value in shown.items())


def _sections(runs: Sequence[Told], labels: Sequence[str]) -> dict[str, list[charts.Chart]]:
    """The charts by section. One run has its scalars in families; several runs have one chart per scalar."""
    several = len(runs) > 1
    wanted = panels.panels((key for run in runs for key in run.keys), apart=several)
    lines = sum(len(panel.keys) for panel in wanted) * len(runs) * (3 if len(runs[0].histories) > 1 else 1)
    buckets = int(max(20, min(300, CURVES / POINT / 3 / max(1, lines))))
    found: dict[str, list[charts.Chart]] = {}
    fading = any(rate_fades(run.config) for run in runs)
    for panel in wanted:
        curves = [
            curve
            for i, (run, label) in enumerate(zip(runs, labels))
            for j, key in enumerate(panel.keys)
            if (curve := panels.curve(label if several else key, (i if several else j), run.histories, key))
        ]
        rules = panels.rules(panel, [run.histories[0].facts for run in runs])
        linear = panels.SHARES.issuperset(panel.keys)
        note = panel.note + (FADING if fading and panel.keys[0].startswith("update/") else "")
        drawn = charts.chart(panel.title, curves, buckets=buckets, note=note, rules=rules, linear=linear)
        found.setdefault(panel.section, []).append(drawn)
    return found


def _caveat(runs: Sequence[Told]) -> str:
    """The caveat on losses near the equilibrium's for runs with fake-as-real."""
    if not any(run.histories[0].facts.get("fake_as_real") for run in runs):
        return ""
    return (
        "Fake-as-real shows the critic some fakes as real samples, so it is never certain. Losses near the lines do "
        "not show that all modes are covered."
    )


def differences(settings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The settings in which runs differ, by dotted name, with each run's value; empty for a single run.

    >>> differences({"a": {"steps": 5, "ema": None}, "b": {"steps": 9, "ema": None}})
    [('steps', ['5', '9'])]
    """
    flat = [_flat(each) for each in settings.values()]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    parts = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    keys.sort(key=lambda key: (parts.index(key.partition(".")[0]), key))
    rows = [(key, [each.get(key, "–") for each in flat]) for key in keys if key != "name"]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _flat(tree: Any, path: str = "") -> dict[str, str]:
    listed = list(enumerate(tree)) if isinstance(tree, list) else []
    parts = list(tree.items()) if isinstance(tree, Mapping) else listed
    if not parts and path:
        return {path: str(tree)}
    found: dict[str, str] = {}
    for key, part in parts:
        found |= _flat(part, f"{path}.{key}" if path else str(key))
    return found
