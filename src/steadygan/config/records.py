"""The records of the registry: all that is known of a thing that a recipe may name, in one place."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from steadygan.data.sources import DataSet

__all__ = ["Choice", "DataPart", "GamePart", "NetworkPart", "Options", "Part", "RulePart", "make"]

Options = Mapping[str, tuple[Any, Any]]
"""Options by their keys, as pydantic `(type, default)` pairs; `...` stands for an option that has no default."""

NONE: Options = MappingProxyType({})


class Part(NamedTuple):
    """A loss, a penalty, an optimizer, ...: what makes it, and its options."""

    make: Callable[..., Any]
    options: Options = NONE


class RulePart(NamedTuple):
    """An update rule: `make(game, optimizers, **options)`.

    A rule of `second_order` differentiates the vector field itself, so a player's loss must keep its second
    derivatives.
    """

    make: Callable[..., Any]
    options: Options = NONE
    second_order: bool = False


class DataPart(NamedTuple):
    """A data set: its loader, its options, and for a named set of images all that is known of that (`DataSet`)."""

    make: Callable[..., Any]
    options: Options = NONE
    known: DataSet | None = None


class NetworkPart(NamedTuple):
    """An architecture: `make(shape, **options)` gives generator and critic.

    `roles` has what makes its networks in other roles, each `make(shape, **options)`. A `conditional` one takes
    `classes` too, and then makes G(z, y) and D(x, y).
    """

    make: Callable[..., Any]
    options: Options = NONE
    roles: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    conditional: bool = False


class GamePart(NamedTuple):
    """A game: `make(**players' networks, **options)`, its players, and the role whose network each of them has.

    `constrained` says whether its critic takes penalties, normalization, consistency, augmentation, noise and
    fake-as-real; `bare` whether it is one of bare vectors, which reads no data. `latent_law` is the module that
    turns N(0, I) into the latents of its generator, where they have another law. `given` names, by role, the game's
    options that a network is given too (the generator: its latent law).
    """

    make: Callable[..., Any]
    options: Options = NONE
    players: Mapping[str, str] = MappingProxyType({"G": "generator", "D": "critic"})
    constrained: bool = False
    bare: bool = False
    latent_law: Callable[..., Any] | None = None
    given: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Choice(NamedTuple):
    """An entry of a table: its name, and its options as arguments."""

    name: str
    options: dict[str, Any]


def make(table: Mapping[str, Any], chosen: Choice, **given: Any) -> Any:
    """The object that `chosen` names in `table`, its options and what is `given` handed over as arguments.

    >>> make({"square": Part(lambda side: side**2)}, Choice("square", {"side": 3}))
    9
    """
    return table[chosen.name].make(**given, **chosen.options)
