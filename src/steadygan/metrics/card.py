"""A score card: what was scored, how (the protocol), and the scores with their errors; and how cards compare."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from steadygan.errors import UsageError
from steadygan.metrics.extractor import Score

__all__ = ["NOISE", "Card", "Comparison", "compare", "difference", "read_card"]

NOISE = 2.0
"""From how many standard errors on a difference is said to exceed the noise: by chance 1 in 22 does."""


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
        return Card(dict(raw["subject"]), dict(raw["protocol"]), scores)
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
    """One score of two groups of cards: each one's value and error, and their distance in standard errors."""

    name: str
    one: Score
    other: Score
    apart: float

    @property
    def exceeds(self) -> bool:
        """Whether the difference is more than the noise explains: `NOISE` standard errors or more."""
        return self.apart >= NOISE


def compare(one: Sequence[Card], other: Sequence[Card]) -> list[Comparison]:
    """Compare every score of two runs, each given by the cards of its members (seeds), one or more.

    Of one card a score's error is its sampling error; of k it is sd / sqrt(k), which holds the difference between
    seeds too. apart = |a - b| / sqrt(error_a^2 + error_b^2). Raises UsageError for cards of unlike protocols, naming
    the field that differs, and for cards without a score in common.
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
    return [_comparison(name, _group(one, name), _group(other, name)) for name in names]


def _group(cards: Sequence[Card], name: str) -> Score:
    scores = [card.scores[name] for card in cards]
    if len(scores) == 1:
        return scores[0]
    values = [score.value for score in scores]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Score(mean, math.sqrt(variance / len(values)))


def _comparison(name: str, a: Score, b: Score) -> Comparison:
    gap, error = abs(a.value - b.value), math.hypot(a.error, b.error)
    return Comparison(name, a, b, gap / error if error else math.inf if gap else 0.0)
