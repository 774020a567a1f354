"""The records of the registry: all that is known of a thing that a recipe may name, in one place."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from steadygan.data.sources import DataSet

__all__ = [
    "Choice",
    "DataPart",
    "GamePart",
    "NetworkPart",
    "OptimizerPart",
    "Option",
    "Options",
    "Part",
    "RulePart",
    "make",
]


class Option(NamedTuple):
    """An option of an entry: the type of its value for pydantic, its default, and its meaning in plain words.

    The default `...` says that the option must be given. `example` is another value, for the reference of all keys;
    the reference makes one up where it is None.
    """

    type: Any
    default: Any
    meaning: str
    example: Any = None


Options = Mapping[str, Option]
"""Options by their keys."""

NONE: Options = MappingProxyType({})


class Part(NamedTuple):
    """A loss, a penalty, ...: what makes it, what it is in a sentence, and its options."""

    make: Callable[..., Any]
    meaning: str
    options: Options = NONE


class OptimizerPart(NamedTuple):
    """An optimizer: `make(**options)`, what it is in a sentence, and its options.

    `shaped`: whether it also takes `shapes`, those of a player's parameters in the order of its vector.
    """

    make: Callable[..., Any]
    meaning: str
    options: Options = NONE
    shaped: bool = False


class RulePart(NamedTuple):
    """An update rule: `make(game, optimizers, **options)`, what it does in a sentence, and its options.

    A rule of `second_order` differentiates the vector field itself. A player's loss must then keep its second
    derivatives.
    """

    make: Callable[..., Any]
    meaning: str
    options: Options = NONE
    second_order: bool = False


class DataPart(NamedTuple):
    """A data set: its loader, what it is in a sentence, and its options.

    `known` is all that is known of a named set of images.
    """

    make: Callable[..., Any]
    meaning: str
    options: Options = NONE
    known: DataSet | None = None


class NetworkPart(NamedTuple):
    """An architecture: `make(shape, **options)` gives generator and critic. Then its meaning and its options.

    `roles` has the functions that make its networks in other roles, each `make(shape, **options)`. A `conditional`
    architecture also takes `classes`, and then makes G(z, y) and D(x, y).
    """

    make: Callable[..., Any]
    meaning: str
    options: Options = NONE
    roles: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    conditional: bool = False


class GamePart(NamedTuple):
    """A game: `make(**players' networks, **options)`, its meaning, its options, and the role of each player's network.

    `constrained`: whether its critic takes penalties, normalization, consistency, augmentation, noise and
    fake-as-real. `bare`: whether its players are bare vectors, so that it reads no data. `latent_law`: the module that
    turns N(0, I) into the latents of its generator, where they have another law. `given`: by role, the options of the
    game that a network is given too (the generator: its latent law).
    """

    make: Callable[..., Any]
    meaning: str
    options: Options = NONE
    players: Mapping[str, str] = MappingProxyType({"G": "generator", "D": "critic"})
    constrained: bool = False
    bare: bool = False
    latent_law: Callable[..., Any] | None = None
    given: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Choice(NamedTuple):
    """An entry of a table that a run uses: its name, and its options as arguments."""

    name: str
    options: dict[str, Any]


def make(table: Mapping[str, Any], chosen: Choice, **given: Any) -> Any:
    """The object that `chosen` names in `table`. Its options and what is `given` are handed over as arguments.

    >>> make({"square": Part(lambda side: side**2, "a square")}, Choice("square", {"side": 3}))
    9
    """
    return table[chosen.name].make(**given, **chosen.options)
