"""Two-player games with quadratic losses: a linear vector field, and a closed-form rate for every update rule."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from steadygan.errors import UsageError
from steadygan.game import Draw, Game, Logs, Nets, Network, Player, Rest, flatten

__all__ = ["bilinear", "blocks", "quadratic"]

Matrix = Sequence[Sequence[float]]

NOWHERE = torch.empty(0)
"""The input of a network that is only a point."""


def quadratic(G: Network, D: Network, matrix: Tensor) -> Game:
    """Build the game whose gradients are linear: (g_phi, g_theta) = -v' (phi, theta), v' = `matrix` [2n, 2n].

    With -v' = [[A, B], [E, C]], D's point phi [n] minimises phi.A phi / 2 + phi.B theta. G's point theta [n]
    minimises theta.C theta / 2 + theta.E phi. The game is zero-sum where E = -B^T. It reads no data, and its
    equilibrium is 0. Raises UsageError unless A and C are symmetric (a gradient's Jacobian is) and of the
    players' sizes. Source: Mescheder 2017 (Numerics of GANs), section 2.

    >>> from steadygan.networks import point
    >>> G, D = (Network(net) for net in point(()))
    >>> quadratic(G, D, blocks([(-1.0, 2.0)])).rest.velocity
    tensor([[-1.,  2.],
            [-2., -1.]], dtype=torch.float64)
    """
    n, m = (len(flatten(network.module)) for network in (D, G))
    if matrix.shape != (n + m, n + m):
        raise UsageError(
            f"v' is {list(matrix.shape)}, but the players have {n} and {m} numbers: make the sizes agree"
        )
    (A, B), (E, C) = ((-row).split([n, m], dim=1) for row in matrix.split([n, m]))
    if not all(torch.allclose(own, own.T) for own in (A, C)):
        raise UsageError("v' must be symmetric in each player's own block, as the Jacobian of a gradient is")
    return Game(
        players={
            "D": Player(D, partial(_loss, "D", "G", A.tolist(), B.tolist()), (), critic=True),
            "G": Player(G, partial(_loss, "G", "D", C.tolist(), E.tolist()), ()),
        },
        fields={},
        rest=Rest({"D": torch.zeros(n), "G": torch.zeros(m)}, matrix),
    )


def bilinear(G: Network, D: Network) -> Game:
    """Build the saddle f = phi . theta: D maximises it and G minimises it. v' has the eigenvalues +-i.

    >>> from steadygan.networks import point
    >>> bilinear(*(Network(net) for net in point(()))).rest.velocity
    tensor([[ 0.,  1.],
            [-1.,  0.]], dtype=torch.float64)
    """
    return quadratic(G, D, blocks([(0.0, 1.0)] * len(flatten(D.module))))


def blocks(pairs: Sequence[tuple[float, float]], skew: float = 1.0) -> Tensor:
    """Return v' [2n, 2n] with the eigenvalues a_k +- i b_k: each pair in one coordinate of phi and one of theta.

    Its block is [[a, b skew], [-b / skew, a]]. Skew 1 makes the game zero-sum and v' normal. Raises
    UsageError without a pair, or unless skew is positive.

    >>> blocks([(0.0, 1.0)])
    tensor([[ 0.,  1.],
            [-1.,  0.]], dtype=torch.float64)
    """
    if not pairs or not skew > 0:
        raise UsageError(f"give one pair [a, b] or more and a positive skew, not {list(pairs)} and {skew}")
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    return torch.cat([torch.cat([a.diag(), b.diag() * skew], 1), torch.cat([-b.diag() / skew, a.diag()], 1)])


def _loss(
    own: str, other: str, A: Matrix, B: Matrix, nets: Nets, draw: Draw, scalars: Mapping[str, Tensor]
) -> tuple[Tensor, Logs]:
    x, y = nets[own](NOWHERE), nets[other](NOWHERE)
    return _form(A, x, x) / 2 + _form(B, x, y), {}


def _form(matrix: Matrix, x: Tensor, y: Tensor) -> Tensor:
    """x . M y from plain numbers: a tensor of them would have to be moved to the device in every step."""
    # Slices, since a plain number times a 0-dimensional tensor is float64 inside a forward derivative.
    terms = [m * x[i : i + 1] * y[j : j + 1] for i, row in enumerate(matrix) for j, m in enumerate(row)]
    return torch.cat(terms).sum()
