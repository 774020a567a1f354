"""Penalty gradient normalization (PGN): Lipschitz constants, and the gradient of the normalized critic.

Source: Xia 2023, "Penalty Gradient Normalization for Generative Adversarial Networks".
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from steadygan.errors import UsageError, nearest
from steadygan.losses import hinge, wasserstein
from steadygan.normalization import READINGS, penalty_gradient_normalized
from steadygan.penalties import Critic, input_gradient, norm
from steadygan.theory import cases
from steadygan.theory.verdicts import FALSE, PGN, Verdict, judge

__all__ = [
    "check_hinge",
    "check_lemma3",
    "check_theorem5",
    "check_theorem6",
    "lemma3",
    "theorem5",
    "theorem6_bound",
    "theorem6_gradient",
]


def lemma3(critic: Critic, x: Tensor, y: Tensor, nodes: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """For each pair: |f(x) - f(y)| / |x - y|, the mean slope between x and y, the largest gradient norm there.

    x and y are [N, n]; each result is [N]. The mean is a Gauss-Legendre sum over `nodes` points of the segment.
    For a smooth f the first two are equal, and neither exceeds the third. Xia 2023 (PGN), Lemma 3, Eqn 20.

    >>> x, y = torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    >>> [round(float(t), 4) for t in lemma3(lambda x: x[:, 0] ** 2, x, y, nodes=2)]
    [0.7071, 0.7071, 1.5774]
    """
    place, weight = gauss_legendre(nodes)
    length = (x - y).norm(dim=1)
    gradients = torch.stack([input_gradient(critic, y + t * (x - y))[1] for t in place])  # [nodes, N, n]
    slope = ((gradients * (x - y)).sum(2) * weight[:, None]).sum(0).abs() / length
    quotient = (critic(x) - critic(y)).abs() / length
    return quotient.detach(), slope.detach(), gradients.norm(dim=2).amax(0).detach()


def gauss_legendre(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes in [0, 1] and weights that sum to 1, from the eigenvectors of the Jacobi matrix (Golub 1969)."""
    i = torch.arange(1, nodes, dtype=torch.float64)
    beside = i / (4 * i**2 - 1).sqrt()
    place, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (1 + place) / 2, vectors[0] ** 2


def check_lemma3(seed: int = 0) -> Verdict:
    """Smooth random networks: no quotient exceeds the gradients between; for close pairs they are equal.

    >>> check_lemma3().verdict
    'holds'
    """
    g = cases.generator(seed)
    above, apart, near, about = [], [], [], []
    for _ in range(30):
        n = cases.integers(g, 1, 5)
        f = cases.network(g, (n, 16, 16, 1), torch.tanh, gain=1.0)
        x, y = cases.normal(g, 50, n), cases.normal(g, 50, n)
        quotient, slope, largest = lemma3(f, x, y)
        above.append(quotient / largest)
        apart.append((quotient - slope).abs())
        gradient = input_gradient(f, x)[1].detach()
        step = 1e-5 * gradient / norm(gradient)[:, None]
        short, _, between = lemma3(f, x + step, x - step, nodes=2)
        near.append(short / norm(gradient) - 1)
        about.append(between - norm(gradient))
    over, error = torch.cat(above), torch.cat(apart)
    close, beside = (torch.cat(t).abs().max() for t in (near, about))
    return Verdict(
        "Lemma 3",
        PGN,
        "for smooth f the Lipschitz constant bounds |grad f| everywhere, and conversely",
        f"quotient over the largest gradient norm between: at most {over.max():.4f}; for close pairs along the "
        f"gradient the quotient equals |grad f| to {close:.0e}, the largest norm between to {beside:.0e}",
        judge((over <= 1 + 1e-9) & (error <= 1e-6) & (close <= 1e-6) & (beside <= 1e-3)),
        len(over),
    )


def theorem5(weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> Tensor:
    """Spectral norm of the Jacobian of the first k ReLU layers at every x [N, n], for each k: [K, N].

    The maximum over x is the Lipschitz constant of those layers. Weights are [out, in].
    Xia 2023 (PGN), Theorem 5.

    >>> theorem5([torch.eye(2), 0.5 * torch.eye(2)], [torch.zeros(2)] * 2, torch.ones(1, 2)).flatten()
    tensor([1.0000, 0.5000])
    """
    jacobian = torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1)
    norms = []
    for weight, bias in zip(weights, biases, strict=True):
        x = x @ weight.T + bias
        jacobian = (x > 0)[:, :, None] * (weight @ jacobian)
        x = x.relu()
        norms.append(torch.linalg.matrix_norm(jacobian, 2))
    return torch.stack(norms)


def _layers(weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> Tensor:
    for weight, bias in zip(weights, biases, strict=True):
        x = (weight @ x + bias).relu()
    return x


def check_theorem5(seed: int = 0) -> Verdict:
    """Random ReLU networks with layers of spectral norm 1 or less; in every second one all units are active.

    The Jacobians are compared with automatic differentiation.

    >>> check_theorem5().verdict
    'holds'
    """
    g = cases.generator(seed)
    ratios, errors = [], []
    for i in range(40):
        sizes = [6] * 6 if i % 2 else [cases.integers(g, 2, 8) for _ in range(6)]
        draws = [cases.normal(g, out, into) for into, out in pairwise(sizes)]
        draws = [torch.linalg.qr(draw)[0] for draw in draws] if i % 2 else draws
        weights = [float(cases.uniform(g, 0.7, 1)) * w / torch.linalg.matrix_norm(w, 2) for w in draws]
        biases = [cases.normal(g, len(w)) / 4 + 9 * (i % 2) for w in weights]
        x = cases.normal(g, 64, sizes[0])
        norms = theorem5(weights, biases, x)
        for k in range(1, len(weights) + 1):
            run = partial(_layers, weights[:k], biases[:k])
            exact = torch.linalg.matrix_norm(torch.vmap(torch.func.jacrev(run))(x[:4]), 2)
            errors.append((norms[k - 1, :4] - exact).abs().max())
        constant = norms.amax(1)
        ratios.append((constant[1:] / constant[:-1])[constant[:-1] > 0])
    ratio, error = torch.cat(ratios), torch.stack(errors).max()
    return Verdict(
        "Theorem 5",
        PGN,
        "with 1-Lipschitz layers the Lipschitz constant of the first k layers decreases in k",
        f"constant of k layers over that of k - 1: {ratio.min():.2g} to {ratio.max():.4f}; the norms equal those of "
        f"automatic differentiation to {error:.0e}",
        judge((ratio <= 1 + 1e-12) & (error <= 1e-9)),
        len(ratio),
    )


def theorem6_gradient(logits: Tensor, gradient: Tensor, reading: str) -> Tensor:
    """|grad f^| of the PGN critic from f = `logits` [N] and grad f [N, ...]: |grad f| c / (c + |1 - f|)^2, [N].

    c is the norm term of the reading; f is linear near each sample. Raises UsageError on an unknown reading.
    Xia 2023 (PGN), Theorem 6, Eqn 30.

    >>> theorem6_gradient(torch.tensor([1.0]), torch.tensor([[2.0]]), "elementwise")
    tensor([2.])
    """
    c = _norm_term(reading, gradient)
    return norm(gradient) * c / (c + (1 - logits).abs()) ** 2


def theorem6_bound(gradient: Tensor, reading: str) -> Tensor:
    """The largest |grad f^| over all values of f, for a grad f [N, ...]: |grad f|/c, at f = 1; [N].

    For the reading `proof` it is 1. For `elementwise` it is at most 1 only where <1, grad f> <= n/2, for `scalar`
    only where |grad f| <= 1/2. Neither has a bound elsewhere. Same errors. Corrects Xia 2023 (PGN), Theorem 6.

    >>> theorem6_bound(torch.full((1, 3), 0.9), "elementwise")
    tensor([9.0000])
    """
    length = norm(gradient)
    return torch.where(length > 0, length / _norm_term(reading, gradient), 0.0)


def _norm_term(reading: str, gradient: Tensor) -> Tensor:
    if reading not in READINGS:
        raise UsageError(f"there is no reading {reading!r} of Theorem 6: {nearest(reading, READINGS)}")
    return READINGS[reading](gradient)


CLAIMS = {
    "elementwise": "|grad f^| <= 1 with c = |1 - grad f|, component by component (as printed and released)",
    "proof": "|grad f^| <= 1 with c = |grad (1 - f)| (what the proof uses)",
    "scalar": "|grad f^| <= 1 with c = |1 - |grad f||",
}


def raised(critic: Critic, shift: Tensor) -> Critic:
    """The critic plus a constant."""
    return lambda x: critic(x) + shift


def check_theorem6(seed: int = 0, reading: str = "elementwise") -> Verdict:
    """The package's PGN critic on random ReLU networks, shifted to f near 1, and to f = 1 at each sample.

    >>> check_theorem6().verdict
    'false as printed'
    """
    g = cases.generator(seed)
    found: list[Tensor] = []
    reached: list[Tensor] = []
    formula, bound = [], []
    for n in (1, 2, 3, 8, 16) * 8:
        net, x = cases.network(g, (n, 12, 12, 1), gain=1.2), cases.normal(g, 100, n)
        critic = raised(net, 1 - net(x).median())
        logits, gradient = input_gradient(critic, x)
        for sizes, f in ((found, critic), (reached, raised(net, 1 - net(x)))):
            normalized = penalty_gradient_normalized(f, reading, eps=0.0)
            sizes.append(norm(input_gradient(normalized, x)[1]).detach())
        formula.append(theorem6_gradient(logits, gradient, reading).detach())
        bound.append(theorem6_bound(gradient, reading).detach())
    size, top, expected, most = (torch.cat(t) for t in (found, reached, formula, bound))
    # A dead network has no gradient to bound; with c = 0 and f = 1 every term would be 0/0.
    size, top, expected = (torch.where(most > 0, t, 0.0) for t in (size, top, expected))
    example = theorem6_bound(torch.tensor([[1.1]]), reading)
    right = ((size - expected).abs() <= 1e-6 * (1 + expected)) & (size <= most * (1 + 1e-9))
    right &= (top - most).abs() <= 1e-6 * (1 + top)
    return Verdict(
        f"Theorem 6 ({reading})",
        PGN,
        CLAIMS[reading],
        f"f = 1.1 x at f = 1: {float(example):.3g}; largest |grad f^| {size.max():.3g}, above 1 at "
        f"{int((size > 1 + 1e-9).sum())} of {len(size)} points; different from |grad f| c/(c + |1 - f|)^2, or from "
        f"|grad f|/c at f = 1, at {int((~right).sum())}",
        judge((size <= 1 + 1e-9) & (top <= 1 + 1e-6), right, FALSE),
        len(size),
    )


def check_hinge(seed: int = 0) -> Verdict:
    """The hinge loss against the Wasserstein loss, on normalized critics.

    >>> check_hinge().verdict
    'holds'
    """
    g = cases.generator(seed)
    apart, slopes = [], []
    for reading in READINGS:
        for _ in range(20):
            net, x = cases.network(g, (3, 12, 1)), cases.normal(g, 2, 16, 3)
            real, fake = (penalty_gradient_normalized(net, reading)(part).detach() for part in x)
            apart.append(hinge.discriminator(real, fake) - wasserstein.discriminator(real, fake) - 2)
            pair = [torch.func.grad(loss.discriminator, (0, 1))(real, fake) for loss in (hinge, wasserstein)]
            slopes.append(torch.stack([(a - b).abs().max() for a, b in zip(*pair, strict=True)]).max())
    error, slope = torch.stack(apart).abs(), torch.stack(slopes)
    return Verdict(
        "Loss section (hinge)",
        PGN,
        "with outputs in [-1, 1] the Wasserstein loss and the hinge loss of the critic are the same",
        f"hinge = Wasserstein + 2 to {error.max():.0e}; their gradients differ by {slope.max():.0e}",
        judge((error <= 1e-12) & (slope <= 1e-12)),
        len(error),
    )
