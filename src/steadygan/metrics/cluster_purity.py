"""Purity: how well a grouping of samples agrees with their true classes."""

import torch
from torch import Tensor

from steadygan.errors import UsageError

__all__ = ["purity"]


def purity(found: Tensor, truth: Tensor) -> float:
    """Return the share of samples whose true class is the most common class of their group.

        sum_k max_j n_kj / n,    n_kj = samples of group k and class j

    `found` holds the group of each sample and `truth` its class. Both are whole numbers [n], 0 or more. The
    numbering of the groups does not matter. The value is 1 when every group holds one class. It is also 1
    when every sample is its own group, so use few groups. Raises UsageError on other shapes, on no samples,
    and on numbers that are negative or not whole. Source: Manning 2008 (Introduction to Information
    Retrieval), section 16.3.

    >>> purity(torch.tensor([5, 5, 5, 2]), torch.tensor([0, 0, 1, 1]))
    0.75
    """
    if found.ndim != 1 or found.shape != truth.shape or not len(found):
        raise UsageError(f"purity compares two lists [n], not {list(found.shape)} and {list(truth.shape)}")
    if any(t.is_floating_point() or bool((t < 0).any()) for t in (found, truth)):
        raise UsageError(
            "groups and classes must be whole numbers from 0: pass indices, as argmax returns them"
        )
    groups, classes = int(found.max()) + 1, int(truth.max()) + 1
    # int64: of bytes the product would overflow
    counts = torch.bincount(found.cpu().long() * classes + truth.cpu().long(), minlength=groups * classes)
    return counts.view(groups, classes).amax(1).sum().item() / len(found)
