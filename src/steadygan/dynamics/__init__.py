"""Update rules: how the gradients of a game move the parameters of its players.

A rule takes a game and an optimizer for each player. It returns a `Rule`, whose `step` is a pure function. In
the formulas x are the parameters of all players: phi the critics', theta the others'. g(x) is each player's
gradient of its own loss. Then v = -g is the velocity, J = dg/dx its Jacobian, and h the learning rate.

>>> import torch
>>> from steadygan.game import Network
>>> from steadygan.game.optimizers import sgd
>>> from steadygan.game.state import complete, initial
>>> from steadygan.games import bilinear
>>> from steadygan.networks import point
>>> G, D = point(())  # one parameter each, both 1; D maximises phi theta, G minimises it
>>> game, optimizers = bilinear(Network(G), Network(D)), {"G": sgd(0.1), "D": sgd(0.1)}
>>> def distance(rule, steps=20):
...     made = rule(game, optimizers)
...     state, step = initial({"G": G, "D": D}, optimizers, rule=made), complete(made, game)
...     for _ in range(steps):
...         state, logs = step(state, [{}] * len(made.rounds))
...     return round(torch.cat(list(state.params.values())).norm().item(), 2)
>>> distance(simultaneous), distance(consensus), distance(extragradient)  # 1.41 at the start
(1.56, 0.0, 1.28)
"""

from steadygan.dynamics._alternating import alternating
from steadygan.dynamics._consensus import consensus
from steadygan.dynamics._extragradient import extragradient
from steadygan.dynamics._lookahead import lookahead
from steadygan.dynamics._optimistic import optimistic
from steadygan.dynamics._simultaneous import simultaneous
from steadygan.dynamics._smoothing import smoothing
from steadygan.dynamics._symplectic import symplectic

__all__ = [
    "alternating",
    "consensus",
    "extragradient",
    "lookahead",
    "optimistic",
    "simultaneous",
    "smoothing",
    "symplectic",
]
