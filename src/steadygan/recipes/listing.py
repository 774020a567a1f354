"""What `steadygan list` prints: the recipes by source with their cost, and the names that a recipe may use."""

import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from steadygan.errors import UsageError, nearest
from steadygan.recipes.catalogue import COSTS, Override, overrides, paper_of, recipe_files
from steadygan.recipes.speed import product_speed

__all__ = ["SOURCES", "START", "WIDTH", "figure", "first_sentence", "listed", "prefixed"]

WIDTH = 100
"""Columns of a printed line, at most."""

START = {
    "ring8-fargan": "eight modes on a plane: the default run, half a minute on two cores",
    "digits-fargan": "real images of 8x8, which scikit-learn has: a minute on two cores",
    "dirac-consensus": "two parameters, and theory that predicts every step: seconds",
    "fashion-mnist-fargan": "60,000 images of clothes, if you have the files: hours on two cores",
    "cifar10-far-resnet-fargan": "a paper's row with published scores: days on a GPU",
}
"""What to run first, from seconds to days."""

SOURCES = {
    "fargan": 'FARGAN: Tao and Wang 2020, "Alleviation of Gradient Exploding in GANs: Fake Can Be Real".',
    "pgn": 'GN-GAN: Wu et al. 2021, "Gradient Normalization for Generative Adversarial Networks". PGN-GAN: Xia 2023, '
    '"Penalty Gradient Normalization for Generative Adversarial Networks". SN-GAN beside them: Miyato et al. 2018, '
    '"Spectral Normalization for Generative Adversarial Networks".',
    "numerics": 'Consensus optimization: Mescheder, Nowozin and Geiger 2017, "The Numerics of GANs".',
    "survey": 'Methods that Li 2017 surveys, "Tackling the Gradient Issues in Generative Adversarial Networks": WGAN, '
    "WGAN-GP, EBGAN, BEGAN, Reg-GAN, MDGAN, InfoGAN, noise.",
    "penalties": "Gradient penalties. R1 and R2: Mescheder, Geiger and Nowozin 2018, "
    '"Which Training Methods for GANs do actually Converge?". 0GP-interpolation: Thanh-Tung et al. 2019, '
    '"Improving Generalization and Stability of Generative Adversarial Networks". DRAGAN: Kodali et al. 2017, '
    '"On Convergence and Stability of GANs". WGAN-LP: Petzka et al. 2018, '
    '"On the Regularization of Wasserstein GANs". Lipschitz GAN: Zhou et al. 2019, '
    '"Lipschitz Generative Adversarial Nets".',
    "modern": 'Later methods. R3GAN: Huang et al. 2024, "The GAN Is Dead; Long Live the GAN! A Modern GAN Baseline". '
    'ADA: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data". DiffAugment: '
    'Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training". CR-GAN: Zhang et al. 2020, '
    '"Consistency Regularization for Generative Adversarial Networks". bCR and zCR: Zhao et al. 2021, '
    '"Improved Consistency Regularization for GANs". LeCam: Tseng et al. 2021, '
    '"Regularizing Generative Adversarial Networks under Limited Data". Approximated R1: Lin et al. 2025, '
    '"Diffusion Adversarial Post-Training for One-Step Video Generation". Centering: Lin et al. 2025, '
    '"Adversarial Flow Models".',
    "conditional": 'Conditional GANs: Mirza and Osindero 2014, "Conditional Generative Adversarial Nets"; '
    'Miyato and Koyama 2018, "cGANs with Projection Discriminator".',
    "stacked_digits": '1,000 modes to count: Che et al. 2017, "Mode Regularized Generative Adversarial Networks"; '
    'Metz et al. 2017, "Unrolled Generative Adversarial Networks".',
    "toy": "Games of two parameters. Dirac-GAN: Mescheder, Geiger and Nowozin 2018, "
    '"Which Training Methods for GANs do actually Converge?". Optimistic steps: Daskalakis et al. 2018, '
    '"Training GANs with Optimism". Extragradient: Gidel et al. 2019, "A Variational Inequality Perspective on '
    'Generative Adversarial Networks". Lookahead: Chavdarova et al. 2021, "Taming GANs with Lookahead-Minmax". '
    'Symplectic adjustment: Balduzzi et al. 2018, "The Mechanics of n-Player Differentiable Games".',
}
"""The folders of recipes, in the order of the list, with the papers that they follow."""


class Entry(NamedTuple):
    """A recipe's file as the list shows it, with the names that are an override of it."""

    name: str
    source: str
    what: str
    paper: dict[str, Any]
    flops: float
    parameters: int
    overrides: dict[str, Override]


def listed(what: str, words: Sequence[str] = ()) -> Iterator[str]:
    """The lines of `steadygan list WHAT WORDS`, of what matches every word; of `config` the words are keys.

    Raises UsageError where there is no such list, or nothing in it that matches.
    """
    if what == "recipes":
        return _recipes(words)
    if what == "config":
        from steadygan.recipes.key_list import listed_keys

        return listed_keys(words)
    known = _tables()
    if what not in known:
        raise UsageError(f"there is no list of {what!r}: {nearest(what, [*known, 'recipes', 'config'])}")
    rows = {name: _meaning(part) for name, part in known[what].items()}
    texts = {name: _searched(what, name, row) for name, row in rows.items()}
    found = _matching(texts, words, f"name in the list of {what}")
    return _table([what, "meaning and options"], [[name, rows[name]] for name in found])


def _meaning(part: Any) -> str:
    """The first sentence of what an entry of a table means, and its options."""
    options = f" Options: {', '.join(part.options)}." if part.options else ""
    return first_sentence(part.meaning) + options


def first_sentence(text: str) -> str:
    """The first sentence.

    >>> first_sentence("Decay (Kingma et al. 2015). It is 0 or more.")
    'Decay (Kingma et al. 2015).'
    """
    return re.split(r"(?<=\.) (?!\d{4})", text)[0]


def _tables() -> dict[str, Any]:
    from steadygan.config import registry

    return {
        "losses": registry.LOSSES,
        "penalties": registry.PENALTIES,
        "logit_penalties": registry.LOGIT_PENALTIES,
        "normalizations": registry.NORMALIZATIONS,
        "consistency": registry.CONSISTENCY,
        "augmentations": registry.AUGMENTATIONS,
        "dynamics": registry.DYNAMICS,
        "optimizers": registry.OPTIMIZERS,
        "networks": registry.NETWORKS,
        "data": registry.DATA,
        "games": registry.GAMES,
        "schedules": registry.SCHEDULES,
    }


# ------------------------------------------------------------------------------------------------ recipes


def _recipes(words: Sequence[str]) -> Iterator[str]:
    entries = _entries()
    found = set(_matching(_texts(entries), words, "recipe"))
    speed = product_speed()
    if not words:
        yield from _start()
    yield from _wrapped(_legend(speed))
    for source, title in SOURCES.items():
        shown = [
            entry._replace(overrides={name: part for name, part in entry.overrides.items() if name in found})
            for entry in entries
            if entry.source == source and found & {entry.name, *entry.overrides}
        ]
        if shown:
            yield from ("", *_wrapped(f"[{source}] {title}"))
            yield from _scored([entry for entry in shown if _scores(entry.paper)], speed)
            yield from _described([entry for entry in shown if not _scores(entry.paper)], speed)


def _entries() -> list[Entry]:
    costs, found = json.loads(COSTS.read_text()), []
    for name, file in recipe_files().items():
        text, cost = file.read_text(), costs.get(name, {"flops": 0, "parameters": {}})
        what, below = text.splitlines()[0].lstrip("# "), _below(name)
        size = sum(cost["parameters"].values())
        found.append(Entry(name, file.parent.name, what, paper_of(text), cost["flops"], size, below))
    return found


def _below(recipe: str) -> dict[str, Override]:
    return {name: part for name, part in overrides().items() if part.recipe == recipe}


def _texts(entries: list[Entry]) -> dict[str, str]:
    """What is searched of each recipe, overrides included."""
    texts = {}
    for entry in entries:
        texts[entry.name] = _searched(entry.name, entry.source, entry.what, *map(str, entry.paper.values()))
        for name, part in entry.overrides.items():
            texts[name] = _searched(name, entry.source, part.what, *part.assignments)
    return texts


def _start() -> Iterator[str]:
    yield "Start with one of these:"
    width = max(map(len, START))
    yield from (f"  {name:{width}}  {what}" for name, what in START.items())
    yield ""
    yield "steadygan train NAME trains one; --dry-run shows it, --scale tiny shrinks it to minutes."
    yield "steadygan list recipes WORD... shows what matches every word: steadygan list recipes cifar10 fargan."


def _legend(speed: float) -> str:
    return (
        "FLOP: the cost of the whole run. time: a lower bound on this processor, which is FLOP divided by the speed of "
        f"its float32 matrix products ({prefixed(speed)}FLOP/s). Small networks take 10 to 100 times as long; a GPU is "
        "faster. + NAME: the recipe above with these overrides."
    )


def _scored(entries: list[Entry], speed: float) -> Iterator[str]:
    """Recipes of which a paper publishes scores."""
    rows = [
        [*_costs(e, speed), *(figure(e.paper.get(k)) for k in ("inception_score", "fid")), _row(e.paper)]
        for e in entries
    ]
    yield from _with_overrides(
        ["recipe", "FLOP", "time ≥", "params", "IS", "FID", "published in"], rows, entries
    )


def _described(entries: list[Entry], speed: float) -> Iterator[str]:
    """Recipes without published scores, with what they are in a sentence."""
    rows = [[*_costs(e, speed), ": ".join(filter(None, [_row(e.paper), e.what]))] for e in entries]
    yield from _with_overrides(["recipe", "FLOP", "time ≥", "params", "what it is"], rows, entries)


def _with_overrides(heads: list[str], rows: list[list[str]], entries: list[Entry]) -> Iterator[str]:
    """A table, below each row of which are the names that are an override of its recipe."""
    notes = [
        [
            line
            for name, part in entry.overrides.items()
            for line in _wrapped(f"  + {name}: {' '.join(part.assignments)}", indent="      ")
        ]
        for entry in entries
    ]
    yield from _table(heads, rows, notes)


def _costs(entry: Entry, speed: float) -> list[str]:
    if not entry.flops:
        return [entry.name, "-", "-", prefixed(entry.parameters).strip()]
    return [entry.name, prefixed(entry.flops), _span(entry.flops / speed), prefixed(entry.parameters).strip()]


def _scores(paper: dict[str, Any]) -> bool:
    return "inception_score" in paper or "fid" in paper


def _row(paper: dict[str, Any]) -> str:
    """Where a paper has the recipe: its table or figure alone.

    >>> _row({"row": "Fig. 6, 7 and 9"}), _row({"row": "Table II, ResNet, GN-GAN"}), _row({"row": "no row: ours"})
    ('Fig. 6, 7 and 9', 'Table II', '')
    """
    row = re.match(r"(Table|Fig\.) \w+(, \d+\b)*( and \d+)?( \(.*?\))?", paper.get("row", ""))
    return row[0] if row else ""


def figure(found: float | list[float] | None) -> str:
    """A published number, in as many digits as what stands after its ±.

    >>> figure([5.9, 0.12]), figure(18.675), figure(None)
    ('5.90 ± 0.12', '18.675', '')
    """
    if not isinstance(found, list):
        return "" if found is None else str(found)
    digits = max(len(str(number).partition(".")[2]) for number in found)
    return f"{found[0]:.{digits}f} ± {found[1]}"


def prefixed(count: float) -> str:
    """A large number in two digits or three, with its prefix.

    >>> prefixed(26e15), prefixed(1187011), prefixed(0)
    ('26 P', '1.2 M', '0 ')
    """
    power = int(math.log10(count) // 3) if count >= 1 else 0
    return f"{count / 1000**power:.{1 if count / 1000**power < 9.95 and power else 0}f} {' kMGTPEZY'[power].strip()}"


def _span(seconds: float) -> str:
    """A time in the largest unit of which it has two.

    >>> _span(0.2), _span(100), _span(5400), _span(1e6), _span(1e9)
    ('1 s', '100 s', '90 min', '12 d', '32 y')
    """
    size, unit = next(
        (
            (size, unit)
            for size, unit in ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "min"))
            if seconds >= 2 * size
        ),
        (1, "s"),
    )
    return f"{max(1, round(seconds / size))} {unit}"


# -------------------------------------------------------------------------------------- filters and tables


def _searched(*parts: str) -> str:
    """The text in which words are looked for; fashion_mnist and fashion-mnist are one word."""
    return " ".join(parts).lower().replace("_", "-")


def _matching(texts: dict[str, str], words: Sequence[str], kind: str) -> list[str]:
    """The names whose text has every word. Raises UsageError where there is none."""
    found = set(texts)
    for given in words:
        having = _having(texts, _searched(given))
        if not having:
            known = {part for text in texts.values() for part in re.findall(r"[\w.]+", text)}
            hint = nearest(_searched(given), known, otherwise="leave it out")
            raise UsageError(f"no {kind} matches {given!r}: {hint}")
        found &= having
    if not found:
        raise UsageError(f"no {kind} matches {' and '.join(map(repr, words))} together: leave one out")
    return [name for name in texts if name in found]


def _having(texts: dict[str, str], word: str) -> set[str]:
    """The names whose text has the word as a whole, so that cifar10 is not cifar100; if none has, as a part."""
    whole = re.compile(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])")
    return {name for name, text in texts.items() if whole.search(text)} or {
        name for name, text in texts.items() if word in text
    }


def _wrapped(text: str, width: int = WIDTH, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _table(
    heads: list[str], rows: list[list[str]], notes: Iterable[list[str]] | None = None
) -> Iterator[str]:
    """Lines of a table whose last column is wrapped, each row followed by its notes."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads) - 1)]
    left = WIDTH - sum(widths) - 2 * len(widths)
    for row, below in zip([heads, *rows], [[], *(notes or [[]] * len(rows))], strict=True):
        name, *cells = row[:-1]
        first = "  ".join(
            [f"{name:{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True))]
        )
        last = _wrapped(row[-1], left) or [""]
        yield f"{first}  {last[0]}".rstrip()
        yield from (" " * (WIDTH - left) + line for line in last[1:])
        yield from below
