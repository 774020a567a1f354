"""The game: players, their state, the vector field of their losses, and the batches that a step draws."""

from steadygan.game.batches import Draws
from steadygan.game.contracts import (
    Buffers,
    Draw,
    Field,
    Game,
    Logs,
    Loss,
    Nets,
    Network,
    Player,
    Rest,
    Rule,
    State,
    Vectors,
    carried,
    flatten,
    trainable,
    unflatten,
)
from steadygan.game.state import Step

__all__ = [
    "Buffers",
    "Draw",
    "Draws",
    "Field",
    "Game",
    "Logs",
    "Loss",
    "Nets",
    "Network",
    "Player",
    "Rest",
    "Rule",
    "State",
    "Step",
    "Vectors",
    "carried",
    "flatten",
    "trainable",
    "unflatten",
]
