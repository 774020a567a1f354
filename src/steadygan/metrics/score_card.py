"""A score card: what was scored, how (the protocol), and the scores with their errors; and how cards compare."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from steadygan.errors import UsageError
from steadygan.metrics.extractors.base import Score

__all__ = ["NOISE", "Card", "Comparison", "compare", "difference", "read_card"]

NOISE = 1.96
"""From how many standard errors on a difference exceeds the noise where errors are known: by chance 1 in 20 does."""

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
"""The same for errors that are themselves estimated, by degrees of freedom (Student's t, 97.5 %)."""


class Card(NamedTuple):
    """Scores by name, the protocol they were made by, and the `subject`: which weights of which run, or what images.

    Two cards of equal protocols compare; those of unlike ones do not.
    """

    subject: Mapping[str, Any]
    protocol: Mapping[str, Any]
    scores: Mapping[str, Score]

    def plain(self) -> dict[str, Any]:
        """The card as JSON has it; `read_card` reads it back."""
        scores = {name: {"value": score.value, "error": score.error} for name, score in self.scores.items()}
        return {"subject": dict(self.subject), "protocol": dict(self.protocol), "scores": scores}


def read_card(raw: Mapping[str, Any]) -> Card:
    """A card from what JSON has of it. Raises UsageError for anything else.

    >>> read_card(Card({}, {"seed": 0}, {"fd": Score(1.5, 0.25)}).plain()).scores
    {'fd': Score(value=1.5, error=0.25)}
    """
    try:
        scores = {name: Score(float(s["value"]), float(s["error"])) for name, s in raw["scores"].items()}
        card = Card(dict(raw["subject"]), dict(raw["protocol"]), scores)
        if not isinstance(card.subject.get("step", 0), int) or not isinstance(
            card.protocol.get("shape", []), list
        ):
            raise TypeError("a step is a number and a shape a list")
        return card
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"a score card is damaged ({type(error).__name__}: {error}): remove its file and evaluate again"
        ) from error


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The fields in which two protocols differ, by name.

    >>> difference({"seed": 0, "split": "train"}, {"seed": 1, "split": "train"})
    ['seed']
    """
    return [key for key in dict.fromkeys([*a, *b]) if key not in a or key not in b or a[key] != b[key]]


class Comparison(NamedTuple):
    """One score of two groups of cards: each one's value and error, their distance in standard errors, and from how
    many on it is more than the noise explains.
    """

    name: str
    one: Score
    other: Score
    apart: float
    least: float = NOISE

    @property
    def exceeds(self) -> bool:
        """Whether the difference is more than the noise explains."""
        return self.apart >= self.least


def compare(one: Sequence[Card], other: Sequence[Card]) -> list[Comparison]:
    """Compare every score of two runs, each given by the cards of its members (seeds), one or more.

    Of one card a score's error is its sampling error, and how seeds differ is not in it; of k it is sd / sqrt(k),
    which holds both, but no less than their sampling errors make. apart = |a - b| / sqrt(error_a^2 + error_b^2); a
    difference exceeds the noise at Welch's threshold of 5 %. Raises UsageError for cards of unlike protocols, naming
    the field that differs, and for cards without a score in common. Source: Welch 1947.
    """
    first = one[0]
    for card in [*one, *other]:
        if odd := difference(first.protocol, card.protocol):
            key = odd[0]
            raise UsageError(
                f"these scores do not compare, for their protocols differ in {key}: "
                f"{first.protocol.get(key)!r} and {card.protocol.get(key)!r}; evaluate both by the same protocol"
            )
    names = [name for name in first.scores if all(name in card.scores for card in [*one, *other])]
    if not names:
        raise UsageError("these cards have no score in common: evaluate both by the same protocol")
    return [
        _comparison(name, [c.scores[name] for c in one], [c.scores[name] for c in other]) for name in names
    ]


def _group(scores: Sequence[Score]) -> Score:
    """The mean of some members' scores, and its error."""
    k, values = len(scores), [score.value for score in scores]
    sampling = math.sqrt(fmean(score.error**2 for score in scores) / k)
    between = stdev(values) / math.sqrt(k) if k > 1 else 0.0
    return Score(fmean(values), max(sampling, between))


def _comparison(name: str, one: Sequence[Score], other: Sequence[Score]) -> Comparison:
    a, b = _group(one), _group(other)
    gap, error = abs(a.value - b.value), math.hypot(a.error, b.error)
    apart = gap / error if error else math.inf if gap else 0.0
    return Comparison(name, a, b, apart, _least([(a.error, len(one)), (b.error, len(other))]))


def _least(sides: Sequence[tuple[float, int]]) -> float:
    """Welch's threshold, with errors of k members each; a single card's sampling error is taken as known."""
    total = sum(error**2 for error, _ in sides)
    estimated = sum(error**4 / (k - 1) for error, k in sides if k > 1)
    if not estimated:
        return NOISE
    freedom = total**2 / estimated
    return next((t for most, t in reversed(STUDENT.items()) if freedom >= most), STUDENT[1])
