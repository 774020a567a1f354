"""Parts of networks for labelled samples: labels y [N] int64, one for each sample, each 0 .. classes - 1."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steadygan.errors import UsageError

__all__ = [
    "ClassBatchNorm",
    "Classed",
    "Labelled",
    "OneHot",
    "Projection",
    "check_labels",
    "latent_labels",
    "of_classes",
    "one_hot",
]


def latent_labels(z: Tensor, classes: int) -> Tensor:
    """Return which of the first `classes` numbers of each latent z [N, classes + latent] is the largest: int64 [N].

    Every class is equally likely where z is N(0, I), so a latent carries its sample's label.

    >>> latent_labels(torch.tensor([[0.1, 2.0, 9.0], [0.3, -1.0, 9.0]]), 2)
    tensor([1, 0])
    """
    return z[:, :classes].argmax(1)


def of_classes(z: Tensor, y: Tensor, classes: int) -> Tensor:
    """Return the latents z [N, classes + latent] with labels y [N]: the first `classes` numbers become y's one-hot row.

    >>> of_classes(torch.tensor([[3.0, 1.0, 9.0]]), torch.tensor([1]), 2)
    tensor([[0., 1., 9.]])
    """
    return torch.cat([one_hot(y, classes, z.dtype), z[:, classes:]], 1)


def one_hot(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return 1 at each label's index and 0 elsewhere, [N, classes].

    It works under vmap, where torch's own looks at values. Raises UsageError as `check_labels` does.

    >>> one_hot(torch.tensor([1]), 3, torch.float32)
    tensor([[0., 1., 0.]])
    """
    check_labels(y, classes)
    return (y[:, None] == torch.arange(classes, device=y.device)).to(dtype)


def check_labels(y: Tensor, classes: int) -> None:
    """Raise UsageError unless y is int64 [N]; in an ordinary loop on the CPU also unless 0 <= y < classes.

    >>> check_labels(torch.tensor([3]), 3)
    Traceback (most recent call last):
    steadygan.errors.UsageError: labels must be 0 to 2 for 3 classes, but here they are 3 to 3
    """
    if y.ndim != 1 or y.dtype != torch.int64:
        raise UsageError(f"labels must be int64, one per sample [N], not {y.dtype} {list(y.shape)}")
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        return  # a traced step cannot read values
    if y.device.type == "cpu" and len(y) and not (y.min() >= 0 and y.max() < classes):
        raise UsageError(
            f"labels must be 0 to {classes - 1} for {classes} classes, but here they are {int(y.min())} to "
            f"{int(y.max())}"
        )


class Classed(nn.Module):
    """A conditional generator G(z, y) as a generator of latents alone, which are `classes` numbers longer.

    G'(z) = G(z[:, classes:], latent_labels(z, classes)). So whatever draws, keeps or selects latents has
    labels too.

    >>> Classed(OneHot(nn.Identity(), 2), classes=2)(torch.tensor([[0.1, 2.0, 9.0]]))
    tensor([[9., 0., 1.]])
    """

    def __init__(self, G: nn.Module, classes: int) -> None:
        """Wrap G."""
        super().__init__()
        self.G, self.classes = G, classes

    def forward(self, z: Tensor) -> Tensor:
        """Samples [N, ...] of latents z [N, classes + latent]."""
        return self.G(z[:, self.classes :], latent_labels(z, self.classes))


class OneHot(nn.Module):
    """A network on flat rows as one of (x, y): x [N, ...] with the label's one-hot row at its end.

    >>> OneHot(nn.Identity(), 2)(torch.tensor([[5.0]]), torch.tensor([1]))
    tensor([[5., 0., 1.]])
    """

    piecewise_linear = True

    def __init__(self, net: nn.Module, classes: int) -> None:
        """Wrap `net`, whose rows are `classes` numbers longer than x's."""
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what `net` returns for x [N, ...] and y [N]."""
        return self.net(torch.cat([x.flatten(1), one_hot(y, self.classes, x.dtype)], 1))


class Labelled(nn.Module):
    """A chain of parts, like `nn.Sequential`, of (x, y): parts with `takes_labels` are given y too."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        """Keep the parts."""
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x through all parts."""
        for part in self.parts:
            x = part(x, y) if getattr(part, "takes_labels", False) else part(x)
        return x


class ClassBatchNorm(nn.Module):
    """(1 + gain_y) (x - mean) / sqrt(var + eps) + shift_y: batch norm with each class's own gain and shift.

    Statistics are those of the whole batch, of all classes. Gains and shifts are embeddings [classes,
    channels]. They start at 0, so that it starts as batch norm does. Source: de Vries 2017; Dumoulin 2017.

    >>> ClassBatchNorm(1, 2)(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.tensor([0, 1])).flatten().round()
    tensor([-1.,  1.], grad_fn=<RoundBackward0>)
    """

    takes_labels = True

    def __init__(self, channels: int, classes: int) -> None:
        """Start as plain batch norm."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels, _weight=torch.zeros(classes, channels))
        self.shift = nn.Embedding(classes, channels, _weight=torch.zeros(classes, channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x [N, channels, H, W] normalized, with the gains and shifts of y [N]."""
        check_labels(y, self.gain.num_embeddings)
        gain, shift = (part(y)[:, :, None, None] for part in (self.gain, self.shift))
        return (1 + gain) * self.norm(x) + shift


class Projection(nn.Module):
    """The projection critic D(x, y) = w . h + b + <e_y, h> with h = body(x) [N, features].

    The embeddings e are the columns of a linear layer, so that spectral norm divides them like other weights.
    Source: Miyato and Koyama 2018 (projection).

    >>> Projection(nn.Identity(), features=4, classes=3)(torch.zeros(2, 4), torch.tensor([0, 2])).shape
    torch.Size([2])
    """

    piecewise_linear = True

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        """Put a logit, and a vector for each class, on top of `body`."""
        super().__init__()
        self.body, self.classes = body, classes
        self.linear = nn.Linear(features, 1)
        self.embed = nn.Linear(classes, features, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logits [N] of x [N, ...] with labels y [N]."""
        h = self.body(x)
        return self.linear(h).flatten() + (self.embed(one_hot(y, self.classes, h.dtype)) * h).sum(1)
