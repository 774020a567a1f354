"""Modules of any origin as pure functions: their random numbers come from two buffers instead of torch's generator.

A training step is a pure function of its state and its batch. A forward that draws random numbers (dropout, noise
inputs) is not, and torch's spectral norm writes into its buffers in a way that `vmap` refuses. `Pure` mends both.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from steadygan.noise import normals

__all__ = ["Pure", "draws_random_numbers", "needs_purity"]

KEYS = 2**61
"""Keys are below this number, so that a key plus the number of a call is a key as well."""


class Pure(nn.Module):
    """A module whose random numbers are a function of its buffers `key` and `count`.

    `key` is drawn from torch's generator at construction. `count` grows by one at each forward. So a step with dropout
    or noise inputs is a function of seed and step: it compiles, resumes exactly, and has a stream for each member of
    an ensemble. `REPLACED` names the random functions that it knows: normal, uniform and Bernoulli numbers, dropout,
    attention with dropout.

    >>> net = Pure(nn.Dropout(0.5))
    >>> again = copy.deepcopy(net)
    >>> bool((net(torch.ones(100)) == again(torch.ones(100))).all()), int(net.count)
    (True, 1)
    """

    key: Tensor
    count: Tensor

    def __init__(self, net: nn.Module) -> None:
        """Wrap `net`, and draw a key."""
        super().__init__()
        self.net = net
        self.register_buffer("key", torch.randint(KEYS, (), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, *inputs: Tensor) -> Any:
        """Return what `net` returns."""
        with _Numbers(self.key, self.count):
            found = self.net(*inputs)
        self.count.add_(1)
        return found


class _Numbers(TorchFunctionMode):
    """Inside the block, torch's random functions return numbers that depend on key, count and the call's place."""

    def __init__(self, key: Tensor, count: Tensor) -> None:
        super().__init__()
        self.key, self.count, self.calls = key, count, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = REPLACED.get(func)
        return made(self, *args, **(kwargs or {})) if made else func(*args, **(kwargs or {}))

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The next standard normal numbers."""
        self.calls += 1
        wide = torch.promote_types(dtype, torch.float32)
        return normals(self.key + self.calls, self.count, shape, wide).to(dtype)

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The next numbers that are uniform in [0, 1): the normal distribution function of normal ones."""
        wide = torch.promote_types(dtype, torch.float32)
        below = 1 - torch.finfo(dtype).eps / 2  # the number before 1, to which the narrow type may round
        return torch.special.ndtr(self.normal(shape, wide)).to(dtype).clamp(max=below)


Draw = Callable[[_Numbers, tuple[int, ...], torch.dtype], Tensor]


def _sized(draw: Draw) -> Callable[..., Tensor]:
    """torch.randn and torch.rand: a shape, as numbers or as one tuple."""

    def made(mode: _Numbers, *size: Any, dtype: torch.dtype | None = None, **rest: Any) -> Tensor:
        given = rest.get("size", size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size)
        return draw(mode, tuple(given), dtype or torch.get_default_dtype())

    return made


def _alike(draw: Draw) -> Callable[..., Tensor]:
    """torch.randn_like and torch.rand_like."""

    def made(mode: _Numbers, input: Tensor, dtype: torch.dtype | None = None, **rest: Any) -> Tensor:
        return draw(mode, tuple(input.shape), dtype or input.dtype)

    return made


def _normal_(mode: _Numbers, x: Tensor, mean: float = 0.0, std: float = 1.0, **rest: Any) -> Tensor:
    return x.copy_(mean + std * mode.normal(tuple(x.shape), x.dtype))


def _uniform_(mode: _Numbers, x: Tensor, low: float = 0.0, to: float = 1.0, **rest: Any) -> Tensor:
    low, high = rest.get("from", low), to  # torch's names
    return x.copy_(low + (high - low) * mode.uniform(tuple(x.shape), x.dtype))


def _bernoulli(mode: _Numbers, input: Tensor, p: float | None = None, **rest: Any) -> Tensor:
    """torch.bernoulli: 1 with probability input, or with probability p in the shape of input."""
    return _ones(mode, input, input if p is None else p)


def _bernoulli_(mode: _Numbers, x: Tensor, p: float | Tensor = 0.5, **rest: Any) -> Tensor:
    return x.copy_(_ones(mode, x, p))


def _ones(mode: _Numbers, x: Tensor, p: float | Tensor) -> Tensor:
    """1 with probability p, like x."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (mode.uniform(tuple(x.shape), wide) < p).to(x.dtype)


def _dropout(
    mode: _Numbers, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    return _dropped(mode, x, p, tuple(x.shape), inplace) if training and p else x


def _whole_channels(unbatched: int) -> Callable[..., Tensor]:
    """Dropout of whole channels of [N, C, ...], or of [C, ...] with `unbatched` dimensions."""

    def made(
        mode: _Numbers, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        kept = 1 if input.ndim == unbatched else 2
        shape = (*input.shape[:kept], *[1] * (input.ndim - kept))
        return _dropped(mode, input, p, shape, inplace) if training and p else input

    return made


def _dropped(mode: _Numbers, x: Tensor, p: float, shape: tuple[int, ...], inplace: bool = False) -> Tensor:
    kept = mode.uniform(shape, torch.float32) >= p
    scaled = x / (1 - p) if p < 1 else x
    found = torch.where(kept, scaled, torch.zeros((), dtype=x.dtype, device=x.device))
    return x.copy_(found) if inplace else found


def _attention(
    mode: _Numbers,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention with dropout on its weights, written out."""
    mask, p, plain = attn_mask, dropout_p, F.scaled_dot_product_attention
    if not p:
        return plain(query, key, value, mask, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)
    if enable_gqa:  # heads of the query share one of the key
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    weights = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        future = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).triu(1)
        weights = weights.masked_fill(future, -math.inf)
    if mask is not None:
        weights = weights.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else weights + mask
    return _dropout(mode, weights.softmax(-1), p) @ value


def _multi_head(mode: _Numbers, query: Tensor, key: Tensor, value: Tensor, *given: Any, **rest: Any) -> Any:
    """nn.MultiheadAttention with dropout on its weights, for which the values are projected once more."""
    named: dict[str, Any] = dict(zip(HEADS, given)) | rest
    p, plain = named["dropout_p"], {**named, "dropout_p": 0.0}
    odd = named["bias_k"] is not None or named["add_zero_attn"] or query.ndim != 3
    if not p or not named["training"] or odd:
        return F.multi_head_attention_forward(query, key, value, **named)
    whole = {**plain, "need_weights": True, "average_attn_weights": False}
    undropped: Any = F.multi_head_attention_forward(query, key, value, **whole)[1]
    weights = _dropout(mode, undropped, p)
    bias, heads = named["in_proj_bias"], named["num_heads"]
    own = named.get("use_separate_proj_weight")
    packed = named["v_proj_weight"] if own else named["in_proj_weight"].chunk(3)[2]
    values = F.linear(value, packed, None if bias is None else bias.chunk(3)[2])
    each = values.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)  # [S, N, E] -> [N, heads, S, E / heads]
    joined = (weights @ each).permute(2, 0, 1, 3).flatten(2)
    out = F.linear(joined, named["out_proj_weight"], named["out_proj_bias"])
    return out, weights.mean(1) if named.get("need_weights", True) else None


HEADS = (
    "embed_dim_to_check",
    "num_heads",
    "in_proj_weight",
    "in_proj_bias",
    "bias_k",
    "bias_v",
    "add_zero_attn",
    "dropout_p",
    "out_proj_weight",
    "out_proj_bias",
    "training",
)
"""What nn.MultiheadAttention hands to F.multi_head_attention_forward by position, after query, key and value."""


def _normalize(
    mode: _Numbers, x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """F.normalize, which torch's spectral norm calls with `out=`: vmap has no rule for that."""
    found = x / x.norm(p, dim, keepdim=True).clamp_min(eps)
    return found if out is None else out.copy_(found)


def _lerp_(mode: _Numbers, x: Tensor, end: Tensor, weight: Any) -> Tensor:
    """Tensor.lerp_, as in running averages of styles: vmap has no rule for its form in place."""
    return x.copy_(torch.lerp(x, end, weight))


REPLACED: dict[Any, Callable[..., Tensor]] = {
    torch.randn: _sized(_Numbers.normal),
    torch.rand: _sized(_Numbers.uniform),
    torch.randn_like: _alike(_Numbers.normal),
    torch.rand_like: _alike(_Numbers.uniform),
    torch.Tensor.normal_: _normal_,
    torch.Tensor.uniform_: _uniform_,
    torch.bernoulli: _bernoulli,
    torch.Tensor.bernoulli: _bernoulli,
    torch.Tensor.bernoulli_: _bernoulli_,
    F.dropout: _dropout,
    torch.dropout: _dropout,
    F.dropout1d: _whole_channels(2),
    F.dropout2d: _whole_channels(0),  # which takes three dimensions for [N, C, L]
    F.dropout3d: _whole_channels(4),
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head,
    F.normalize: _normalize,
    torch.Tensor.lerp_: _lerp_,
}
"""What runs in place of a function inside a `Pure` module. Other random functions stay torch's own."""


def draws_random_numbers(module: nn.Module, *inputs: Tensor) -> bool:
    """Return whether a forward of `module` draws random numbers. It is left unchanged.

    It does where torch's generator moves, or where a second forward of a copy differs, as with numpy's numbers.

    >>> draws_random_numbers(nn.Dropout(), torch.ones(2)), draws_random_numbers(Pure(nn.Dropout()), torch.ones(2))
    (True, False)
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.random.get_rng_state()
        first = copy.deepcopy(module)(*(x.clone() for x in inputs))  # which it may change in place
        after = torch.random.get_rng_state()
        torch.random.set_rng_state(before)
        again = copy.deepcopy(module)(*inputs)
        return not torch.equal(before, after) or _differ(first, again)


def _differ(a: Any, b: Any) -> bool:
    return not all(
        torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(tree_leaves(a), tree_leaves(b))
    )


def needs_purity(module: nn.Module, *inputs: Tensor) -> bool:
    """Return whether a forward draws random numbers, or has torch's spectral norm, which `vmap` refuses.

    >>> needs_purity(nn.Linear(2, 2), torch.ones(1, 2))
    False
    """
    parts = [
        *module.modules(),
        *(hook for part in module.modules() for hook in part._forward_pre_hooks.values()),
    ]
    return any(isinstance(part, SPECTRAL) for part in parts) or draws_random_numbers(module, *inputs)


SPECTRAL = (parametrizations._SpectralNorm, SpectralNorm)
"""torch's spectral norm: the parametrization, and the older hook."""
