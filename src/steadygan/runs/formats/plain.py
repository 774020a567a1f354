"""A network without what only training needs: its weights are those that it multiplies with."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from steadygan.errors import UsageError
from steadygan.networks.pure import Pure
from steadygan.noise import HiddenNoise

__all__ = ["copied", "plain", "tensors"]


@torch.no_grad()
def plain(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode that computes the same. Normalized weights are stored as they are multiplied.

    Layers of noise are left out. A tensor that is a plain attribute becomes a buffer. Raises UsageError if the module
    cannot be copied.

    >>> from steadygan.noise import noisy_layers
    >>> plain(noisy_layers(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), 0.1))[1]
    ReLU()
    """
    made = _silent(copied(module).eval())
    for part in made.modules():
        if parametrize.is_parametrized(part):
            _store_weights(part)
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                delattr(part, name)
                part.register_buffer(name, value.detach().clone())
    return made


def copied(module: nn.Module) -> nn.Module:
    """A copy of a module. Raises UsageError if it cannot be copied."""
    try:
        return copy.deepcopy(module)
    except Exception as error:  # an attribute such as a lock, an open file, or a tensor with a graph
        raise UsageError(
            f"the network cannot be copied ({' '.join(str(error).split())[:160]}): let its attributes be layers, "
            "tensors without a graph, and plain values"
        ) from error


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, a shared one under each of its names.

    >>> list(tensors(nn.Linear(2, 1)))
    ['weight', 'bias']
    """
    return {
        name: tensor.detach()
        for each in (module.named_parameters, module.named_buffers)
        for name, tensor in each(remove_duplicate=False)
    }


def _store_weights(part: nn.Module) -> None:
    """Turn parametrized tensors into ordinary parameters.

    Not torch's remove_parametrizations: it changes the class of the part, which a copy shares with its original.
    """
    values = {name: getattr(part, name).detach().clone() for name in part.parametrizations}  # type: ignore[union-attr]
    part.__class__ = type(part).__bases__[0]
    del part.parametrizations
    for name, value in values.items():
        part.register_parameter(name, nn.Parameter(value))


def _silent(module: nn.Module) -> nn.Module:
    """The module with each Sequential(activation, noise) as the activation, and torch's own random numbers."""
    if isinstance(module, Pure):
        return _silent(module.net)
    if isinstance(module, HiddenNoise):
        return nn.Identity()
    if type(module) is nn.Sequential and len(module) == 2 and isinstance(module[1], HiddenNoise):
        return module[0]
    for name, part in module.named_children():
        setattr(module, name, _silent(part))
    return module
