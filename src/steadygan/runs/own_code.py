"""A file of one's own that makes networks, data or a loss: read it, run it, and keep its text with the run."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from steadygan.build import Own
from steadygan.config.registry import GAMES
from steadygan.data import Data
from steadygan.data.given import given
from steadygan.errors import UsageError, nearest, said
from steadygan.files import user_path, write_whole
from steadygan.losses import Loss
from steadygan.runs.folder import Note
from steadygan.runs.identity import OWN, own_of

__all__ = ["OwnFile", "as_loss", "check_named", "check_same", "keep", "own_file"]

KNOWN = ("networks", "data", "loss", "logits")
"""The functions of a file that a run uses."""


MAKERS = ("networks", "data", "loss")
"""Those that are called once."""


class OwnFile(NamedTuple):
    """A file that the user names with --use: its name, its text, and the functions that it defines."""

    name: str
    text: bytes
    functions: dict[str, Callable[..., Any]]

    def named(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The configuration `raw` with the name `own` for all that the file defines. The latent keeps its dimension."""
        made, before = dict(raw), raw.get("networks")
        if "networks" in self.functions:
            kept = (
                {key: before[key] for key in ("latent", "options") if key in before}
                if isinstance(before, dict)
                else {}
            )
            made["networks"] = {"name": "own", **kept}
        if "data" in self.functions:
            made["data"] = {"name": "own"}
        if "loss" in self.functions:
            game = made.get("game", "gan")
            made["game"] = {**(game if isinstance(game, dict) else {"name": game}), "loss": "own"}
        return made

    def unused(self, places: Mapping[str, str]) -> list[str]:
        """A sentence for each function of the file in whose place an override has put another name."""
        return [
            f"{name}() of {self.name} is not used, because an override says {place}"
            for name, place in places.items()
            if name in self.functions and place != "own"
        ]

    def own(self, raw: Mapping[str, Any], note: Note) -> Own:
        """The objects that the file makes for a configuration. `networks(shape, **options)` is called when needed."""
        make = self.functions.get("networks")
        loss, data = (self.functions.get(name) for name in ("loss", "data"))
        return Own(
            networks=make and _networks(make, self.name, _options(raw), _players(raw)),
            data=data and _data(_called("data()", self.name, data), note),
            loss=loss and as_loss(_called("loss()", self.name, loss)),
            logits=self.functions.get("logits"),
        )


def own_file(path: Path) -> OwnFile:
    """Run the file and take its functions. Raises UsageError where it cannot be run or defines none of them."""
    file = user_path(path)
    if file.suffix != ".py":
        raise UsageError(f"--use {path} is not a Python file: name one that ends in .py")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"--use {path} cannot be read ({error.strerror}): name a Python file") from None
    module = ModuleType(f"use_{file.stem}")  # not the stem alone: a file may be named like a module of Python
    module.__file__ = str(file.resolve())
    sys.modules[module.__name__] = module  # classes of the file then find it, as pickle and inspect need
    beside = partial(_importing_from, file.resolve().parent)
    try:
        with beside():
            exec(compile(text, str(file), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        raise UsageError(f"--use {path} fails when it is run ({said(error)}): correct it") from error
    found = {name: value for name in KNOWN if callable(value := module.__dict__.get(name))}
    found |= {
        name: beside()(found[name]) for name in MAKERS if name in found
    }  # they may import its neighbours, too
    if not found:
        raise UsageError(
            f"--use {path} defines none of the functions {', '.join(KNOWN)}: define networks(shape, **options) that "
            "returns G and D"
        )
    return OwnFile(file.name, text, found)


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Inside the block, or in the function that it decorates, modules in `folder` can be imported by their names."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the file may have changed the path itself
            sys.path.remove(str(folder))


def keep(folder: Path, file: OwnFile | None, about: Mapping[str, Any] = {}) -> None:
    """Write to a run folder where its own objects come from: the file's text and hash, and facts `about` them."""
    if file:
        write_whole(folder / file.name, file.text)
        about = {**about, "file": file.name, "sha256": hashlib.sha256(file.text).hexdigest()}
    if about:
        write_whole(folder / OWN, json.dumps(about, indent=1) + "\n")


def check_same(folder: Path, file: OwnFile | None, note: Note) -> None:
    """Note where the file that a run is resumed with is another one than it began with."""
    before = own_of(folder)
    if file and before.get("sha256") not in (None, hashlib.sha256(file.text).hexdigest()):
        note(
            f"{file.name} is not as it was when {folder} began (that text is in {folder / str(before.get('file'))}): "
            "from here on the new one counts"
        )


def check_named(folder: Path) -> None:
    """Raise UsageError where a run has objects from outside: the command that it stands for has named no file."""
    before = own_of(folder)
    if not before and os.path.lexists(folder / OWN):
        raise UsageError(
            f"{folder / OWN} is damaged: name the file of this run with --use, or remove {OWN} if "
            "there was none"
        )
    if "file" in before:
        raise UsageError(
            f"{folder} was trained with {before['file']}: name the file again, --use {folder / str(before['file'])}"
        )
    if before:
        raise UsageError(
            f"{folder} was trained by a program with steadygan.fit: call it there again, with out={str(folder)!r} and "
            "resume=True"
        )


def as_loss(given: Any) -> Loss:
    """A loss as a pair of functions: discriminator(real_logits, fake_logits) and generator(fake_logits).

    Raises UsageError for anything else. A generator's loss that needs real logits too is a `losses.Loss` with `pairs`.
    """
    if isinstance(given, Loss):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(callable(each) for each in given):
        raise UsageError(
            "a loss of your own is a pair of functions, discriminator(real_logits, fake_logits) and "
            f"generator(fake_logits), or a steadygan.losses.Loss, not {type(given).__name__}: give one of these"
        )
    discriminator, generator = given
    _try_loss("discriminator", discriminator, 2)
    _try_loss("generator", generator, 1)
    return Loss(
        discriminator, lambda fake, real=None: generator(fake), meaning="A pair of functions of your own."
    )


def _try_loss(name: str, function: Callable[..., Any], count: int) -> None:
    """Raise UsageError unless the function turns logits into one number that can be differentiated."""
    logits = [torch.linspace(-1, 1, 4).requires_grad_() for _ in range(count)]
    takes = "real and fake logits" if count == 2 else "fake logits"
    try:
        found = function(*logits)
    except Exception as error:  # whatever the caller's function raises
        raise UsageError(
            f"the {name}'s loss fails on {takes} of shape [4] ({said(error)}): correct it"
        ) from error
    if not isinstance(found, Tensor) or found.shape != () or not found.requires_grad:
        shown = (
            f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        )
        raise UsageError(
            f"the {name}'s loss returns {shown}: it must take {takes} and return a scalar that depends on them, such "
            "as a mean"
        )


def _networks(
    make: Callable[..., Any], name: str, options: Mapping[str, Any], players: tuple[str, ...]
) -> Callable[[tuple[int, ...]], Mapping[str, nn.Module]]:
    def networks(shape: tuple[int, ...]) -> Mapping[str, nn.Module]:
        found = _called("networks(shape, **options)", name, make, shape, **options)
        if isinstance(found, Mapping):
            return found
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise UsageError(
                f"networks(shape, **options) of {name} returns {type(found).__name__}: return G and D, or the players' "
                f"networks by name ({', '.join(players)})"
            )
        return dict(zip(("G", "D"), found, strict=True))

    return networks


def _called(what: str, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    try:
        return function(*args, **options)
    except Exception as error:  # whatever the user's function raises
        raise UsageError(f"{what} of {name} fails ({said(error)}): correct it") from error


def _options(raw: Mapping[str, Any]) -> dict[str, Any]:
    chosen = raw.get("networks")
    return dict(chosen.get("options") or {}) if isinstance(chosen, dict) else {}


def _players(raw: Mapping[str, Any]) -> tuple[str, ...]:
    game = raw.get("game", "gan")
    name = str(game.get("name", "gan")) if isinstance(game, dict) else str(game)
    if name not in GAMES:
        raise UsageError(f"game.name: {name!r} is not known: {nearest(name, GAMES)}")
    return tuple(GAMES[name].players)


def _data(found: Any, note: Note) -> Data:
    if isinstance(found, Data):
        return found
    pair = isinstance(found, tuple) and len(found) == 2
    return given(*found, note=note) if pair else given(found, note=note)
