"""Penalty gradient normalization (PGN): the derivative that trains the critic, and the proof of Theorem 6, as printed.

The normalized critic is f^ = (1 - f)/(c + |1 - f|) with c = |grad (1 - f)|. Source: Xia 2023.
"""

import torch
from torch import Tensor

from steadygan.normalization import penalty_gradient_normalized
from steadygan.penalties import Critic, input_gradient, norm
from steadygan.theory import cases
from steadygan.theory.verdicts import PGN, Verdict, judge

__all__ = ["check_eqn14", "check_eqn26", "eqn14", "eqn26"]


def eqn14(f: Tensor, c: Tensor, df: Tensor, dc: Tensor, printed: bool = False) -> Tensor:
    """The derivative of f^ by a parameter, (-c df - (1 - f) dc)/(c + |1 - f|)^2, of tensors of one shape.

    df and dc are the derivatives of f and of c = |grad (1 - f)|. f^ falls as f rises. The `printed` form has + c df.
    Xia 2023 (PGN), Eqns 11 to 14.

    >>> numbers = torch.tensor([0.3, 1.5, 0.2, 1.0]).unbind()
    >>> [round(float(eqn14(*numbers, printed=p)), 4) for p in (True, False)]
    [-0.0826, -0.2066]
    """
    first = c * df if printed else -c * df
    return (first - (1 - f) * dc) / (c + (1 - f).abs()) ** 2


def _moved(net: Critic, direction: Critic, t: float) -> Critic:
    """The critic f + t d, which has one parameter t."""
    return lambda x: net(x) + t * direction(x)


def _complement(net: Critic) -> Critic:
    return lambda x: 1 - net(x)


def _value_and_norm(critic: Critic, x: Tensor) -> Tensor:
    """f and |grad f| at x [N, ...]: [2, N]."""
    logits, gradient = input_gradient(critic, x)
    return torch.stack([logits, norm(gradient)]).detach()


def check_eqn14(seed: int = 0) -> Verdict:
    """Smooth random critics f + t d with one parameter t, against central differences of the package's f^.

    >>> check_eqn14().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    errors: dict[bool, list[Tensor]] = {True: [], False: []}
    for _ in range(40):
        n = cases.integers(g, 1, 4)
        net, more, x = (
            cases.network(g, (n, 12, 1), torch.tanh),
            cases.network(g, (n, 12, 1), torch.tanh),
            cases.normal(g, 25, n),
        )

        h = 1e-5
        critics = [_moved(net, more, t) for t in (h, 0.0, -h)]
        above, here, below = (_value_and_norm(critic, x) for critic in critics)
        df, dc = (above - below) / (2 * h)
        ends = [penalty_gradient_normalized(critic, "proof", eps=0.0)(x).detach() for critic in critics]
        slope = (ends[0] - ends[2]) / (2 * h)
        for printed, found in errors.items():
            formula = eqn14(here[0], here[1], df, dc, printed=printed)
            found.append((formula - slope).abs() / (1 + slope.abs()))
    right, wrong = (torch.cat(errors[printed]) for printed in (False, True))
    f, c, df, dc = torch.tensor([0.3, 1.5, 0.2, 1.0], dtype=torch.float64).unbind()
    shown = [float(eqn14(f, c, df, dc, printed=form)) for form in (True, False)]
    return Verdict(
        "Eqns 11 to 14",
        PGN,
        "the derivative of f^ by a weight is (c df - (1 - f) dc)/(c + |1 - f|)^2, c = |grad (1 - f)|",
        f"f = 1.5 x at x = .2: printed {shown[0]:.4f}, derivative {shown[1]:.4f}; wrong by 1 % or more at "
        f"{int((wrong > 1e-2).sum())} of {len(wrong)} points; with - c df right to {right.max():.0e}",
        judge(wrong <= 1e-2, right <= 1e-6),
        len(right),
    )


def eqn26(f: Tensor, c: Tensor) -> Tensor:
    """What (c + |f|)^2 exceeds (c + |1 - f|)^2 by, (|f| - |1 - f|)(2 c + |f| + |1 - f|), with c = |grad f|.

    The printed chain leads from the first to the second by equalities and one >=. It is right only where f >= 1/2.
    Theorem 6 needs none of it: the second is the denominator. Corrects Xia 2023 (PGN), Eqn 26.

    >>> eqn26(torch.tensor([0.25, 0.5, 1.0]), torch.ones(3))
    tensor([-1.5000,  0.0000,  3.0000])
    """
    near, far = f.abs(), (1 - f).abs()
    return (near - far) * (2 * c + near + far)


def check_eqn26(seed: int = 0) -> Verdict:
    """Random ReLU networks: both ends of the chain, and their difference.

    >>> check_eqn26().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    held, errors, below = [], [], []
    for _ in range(40):
        n = cases.integers(g, 1, 8)
        net, x = cases.network(g, (n, 12, 12, 1)), cases.normal(g, 50, n)
        f, c = _value_and_norm(net, x)
        rest, slope = _value_and_norm(_complement(net), x)
        first, last = (c + f.abs()) ** 2, (slope + rest.abs()) ** 2
        held.append(first - last >= -1e-9 * last)
        errors.append((first - last - eqn26(f, c)).abs() / last)
        below.append(f < 0.5)
    printed, error, low = torch.cat(held), torch.cat(errors), torch.cat(below)
    quarter, one = torch.tensor([0.25], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    ends = [float((one + part) ** 2) for part in (quarter, 1 - quarter)]
    return Verdict(
        "Eqn 26 (proof of Theorem 6)",
        PGN,
        "(|grad f| + |f|)^2 is at least (|grad (1 - f)| + |1 - f|)^2, by a chain of equalities and one >=",
        f"f = .25, |grad f| = 1: {ends[0]:.4f} and {ends[1]:.4f}; violated at {int((~printed).sum())} of "
        f"{len(printed)} points, f below 1/2 at {int(low.sum())}; the difference is "
        f"(|f| - |1 - f|)(2 |grad f| + |f| + |1 - f|) to {error.max():.0e}",
        judge(printed, (error <= 1e-9) & (printed == ~low)),
        len(printed),
    )
