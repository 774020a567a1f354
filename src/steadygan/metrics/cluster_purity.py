"""How well a grouping of samples agrees with their true classes."""

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["purity"]


def purity(found: Tensor, truth: Tensor) -> float:
    """Return the share of samples whose true class is the commonest one of their group: 1 when groups are pure.

    sum_k max_j n_kj / n, with n_kj the samples of group k and class j. Both are whole numbers [n], 0 or more;
    it does not matter which number a group has. As many groups as samples are pure by themselves, so groups are
    to be few. Raises UsageError on other shapes, no sample, numbers that are not whole or below 0.
    Source: Manning 2008 (Introduction to Information Retrieval), section 16.3.

    >>> purity(torch.tensor([5, 5, 5, 2]), torch.tensor([0, 0, 1, 1]))
    0.75
    """
    if found.ndim != 1 or found.shape != truth.shape or not len(found):
        raise UsageError(f"purity compares two lists [n], not {list(found.shape)} and {list(truth.shape)}")
    if any(t.is_floating_point() or bool((t < 0).any()) for t in (found, truth)):
        raise UsageError("groups and classes are whole numbers from 0 on: pass indices such as argmax gives")
    groups, classes = int(found.max()) + 1, int(truth.max()) + 1
    counts = torch.bincount(found.cpu() * classes + truth.cpu(), minlength=groups * classes)
    return counts.view(groups, classes).amax(1).sum().item() / len(found)
