"""Batch norm over the whole batch where several processes share it."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from steadygan import parallel

__all__ = ["GlobalBatchNorm", "globally_normalized"]


class GlobalBatchNorm(_BatchNorm):
    """(x - m) / sqrt(v + eps) with the mean m and variance v of a channel over the rows of all processes.

    For one process, and in evaluation, it is torch's own batch norm. Processes exchange one small
    vector a layer (`parallel.moments`). Source: Ioffe 2015.

    >>> GlobalBatchNorm(2)(torch.tensor([[0.0, 1.0], [2.0, 1.0]])).round()
    tensor([[-1.,  0.],
            [ 1.,  0.]], grad_fn=<RoundBackward0>)
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions, with the channels second."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input [n, channels, ...]; update the running statistics while training."""
        if parallel.processes().size == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        mean, variance, count = parallel.moments(x.transpose(0, 1).flatten(1))
        self._keep(mean.detach(), variance.detach(), count)
        shape = (1, -1, *[1] * (x.ndim - 2))
        out = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _keep(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards a batch's, with the unbiased variance, as torch does."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked
        for kept, new in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
            kept.add_(rate * (new.to(kept.dtype) - kept))


def globally_normalized(module: nn.Module) -> nn.Module:
    """Turn every batch norm of `module` into a `GlobalBatchNorm`, in place; return `module`.

    torch's own kinds, SyncBatchNorm included. A class of yours with a forward of its own stays as it is.

    >>> type(globally_normalized(nn.Sequential(nn.BatchNorm2d(3)))[0]).__name__
    'GlobalBatchNorm'
    """
    for part in module.modules():
        if isinstance(part, nn.SyncBatchNorm) or getattr(type(part), "forward", None) is _BatchNorm.forward:
            part.__class__ = GlobalBatchNorm
    return module
