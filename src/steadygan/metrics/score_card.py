"""The score card: what was scored, the protocol, the scores with errors; and the comparison of cards."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean, stdev
from typing import Any, NamedTuple

from steadygan.errors import UsageError
from steadygan.files import fits
from steadygan.metrics.extractors.base import Score

__all__ = ["NOISE", "Card", "Comparison", "compare", "difference", "read_card"]

NOISE = 1.96
"""Standard errors from which a difference exceeds the noise where errors are known: 1 in 20 does so by chance."""

STUDENT = {
    1: 12.71,
    2: 4.30,
    3: 3.18,
    4: 2.78,
    5: 2.57,
    6: 2.45,
    7: 2.36,
    8: 2.31,
    10: 2.23,
    15: 2.13,
    30: 2.04,
}
"""The same threshold for estimated errors, by degrees of freedom (Student's t, 97.5 %)."""


NUMBER = float | int | None

LARGEST = 1e50
"""No score is larger in magnitude: fourth powers of errors are still numbers."""


class Card(NamedTuple):
    """Scores by name, the protocol, and the `subject`: which weights of which run, or which images.

    Two cards with equal protocols can be compared. Cards with different protocols cannot.
    """

    subject: Mapping[str, Any]
    protocol: Mapping[str, Any]
    scores: Mapping[str, Score]

    def plain(self) -> dict[str, Any]:
        """The card as plain data for JSON. `read_card` reads it back."""
        scores = {
            name: {"value": _in_json(score.value), "error": _in_json(score.error)}
            for name, score in self.scores.items()
        }
        return {"subject": dict(self.subject), "protocol": dict(self.protocol), "scores": scores}

    def table(self) -> str:
        """The scores with their errors as a table in HTML.

        >>> Card({}, {}, {"fd": Score(1.5, 0.25)}).table()
        '<table><tbody><tr><th scope="row">fd</th><td>1.5 ± 0.25</td></tr></tbody></table>'
        """
        rows = [
            f'<tr><th scope="row">{escape(name)}</th><td>{score.value:.4g} ± {score.error:.2g}</td></tr>'
            for name, score in self.scores.items()
        ]
        return f"<table><tbody>{''.join(rows)}</tbody></table>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the scores, and how they were made."""
        said = "; ".join(f"{key} {value}" for key, value in {**self.subject, **self.protocol}.items())
        return f"{self.table()}<p>{escape(said)}</p>"


def read_card(raw: Mapping[str, Any]) -> Card:
    """A card from its plain data. Raises UsageError on anything else.

    >>> read_card(Card({}, {"seed": 0}, {"fd": Score(1.5, 0.25)}).plain()).scores
    {'fd': Score(value=1.5, error=0.25)}
    """
    if not _whole(raw):
        raise UsageError("a score card is damaged: evaluate again")
    scores = {name: Score(_number(s["value"]), _number(s["error"])) for name, s in raw["scores"].items()}
    return Card(dict(raw["subject"]), _present(dict(raw["protocol"])), scores)


def _whole(raw: Any) -> bool:
    """Whether this is plain data of a card. A score that is NaN is None in a file."""
    if not fits(raw, {"subject": {}, "protocol": {}, "scores": {}}):
        return False
    scores, step, shape = raw["scores"].values(), raw["subject"].get("step", 0), raw["protocol"].get("shape")
    return (
        all(fits(score, {"value": NUMBER, "error": NUMBER}) for score in scores)
        and all(
            abs(_number(score[key])) <= LARGEST
            for score in scores
            for key in ("value", "error")
            if score[key]
        )
        and fits(step, int)
        and fits(shape or [], [object])
    )


def _in_json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _present(protocol: dict[str, Any]) -> dict[str, Any]:
    """A protocol in present words: the first version called evaluation during training looks."""
    split = protocol.get("split")
    if isinstance(split, str):
        protocol["split"] = split.replace("images of looks", "images of evaluation during training")
    return protocol


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The names of the fields in which two protocols differ.

    >>> difference({"seed": 0, "split": "train"}, {"seed": 1, "split": "train"})
    ['seed']
    """
    return [key for key in dict.fromkeys([*a, *b]) if key not in a or key not in b or a[key] != b[key]]


class Comparison(NamedTuple):
    """One score of two groups of cards.

    It holds the value and error of each group and their distance `apart` in standard errors. The difference
    exceeds the noise from `least` standard errors.
    """

    name: str
    one: Score
    other: Score
    apart: float
    least: float = NOISE

    @property
    def exceeds(self) -> bool:
        """Whether the difference exceeds the noise."""
        return self.apart >= self.least


def compare(one: Sequence[Card], other: Sequence[Card]) -> list[Comparison]:
    """Compare every score of two runs. Each run is given by the cards of its members (seeds), one or more.

    With one card the error of a score is its sampling error. It does not cover the spread between seeds. With
    k cards the error is sd / sqrt(k), which covers both. It is never smaller than the sampling errors give.

        apart = |a - b| / sqrt(error_a^2 + error_b^2)

    A difference exceeds the noise at the 5 % threshold of Welch's test. Raises UsageError on different
    protocols, naming the field that differs, and on cards without a common score. Source: Welch 1947.
    """
    if not (one and other):
        raise UsageError("two runs are compared by their cards: give one or more of each")
    first = one[0]
    for card in [*one, *other]:
        if odd := difference(first.protocol, card.protocol):
            key = odd[0]
            raise UsageError(
                f"these scores cannot be compared, because their protocols differ in {key}: "
                f"{first.protocol.get(key)!r} and {card.protocol.get(key)!r}; evaluate both by the same protocol"
            )
    names = [name for name in first.scores if all(name in card.scores for card in [*one, *other])]
    if not names:
        raise UsageError("these cards have no score in common: evaluate both by the same protocol")
    return [
        _comparison(name, [c.scores[name] for c in one], [c.scores[name] for c in other]) for name in names
    ]


def _group(scores: Sequence[Score]) -> Score:
    """The mean of the members' scores, and its error."""
    k, values = len(scores), [score.value for score in scores]
    if any(math.isnan(value) for value in values):
        return Score(math.nan, math.nan)
    sampling = math.sqrt(fmean(score.error**2 for score in scores) / k)
    between = stdev(values) / math.sqrt(k) if k > 1 else 0.0
    return Score(fmean(values), max(sampling, between))


def _comparison(name: str, one: Sequence[Score], other: Sequence[Score]) -> Comparison:
    a, b = _group(one), _group(other)
    gap, error = abs(a.value - b.value), math.hypot(a.error, b.error)
    apart = gap / error if error else math.inf if gap else 0.0
    return Comparison(name, a, b, apart, _least([(a.error, len(one)), (b.error, len(other))]))


def _least(sides: Sequence[tuple[float, int]]) -> float:
    """Welch's threshold, with errors of k members each; the sampling error of a single card counts as known."""
    total = sum(error**2 for error, _ in sides)
    estimated = sum(error**4 / (k - 1) for error, k in sides if k > 1)
    if not estimated:
        return NOISE
    freedom = total**2 / estimated
    return next((t for most, t in reversed(STUDENT.items()) if freedom >= most), STUDENT[1])
