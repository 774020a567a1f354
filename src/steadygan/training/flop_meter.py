"""The cost of one step: operations, their FLOPs, and peak memory, while it runs or on paper."""

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from steadygan import parallel

__all__ = ["Meter", "on_paper"]


def _no(mode: type) -> bool:
    """Whether torch's compiler has to be told to pass over a mode's code: telling it loads it, which takes seconds."""
    return False


class Meter(TorchDispatchMode):
    """Counts operations, FLOPs of matrix products and convolutions, and peak bytes of new tensors inside its block.

    `sums` has the bytes of each sum over processes.

    >>> with Meter() as meter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> meter.flops, meter.operations
    (48, 3)
    """

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.operations = 0
        self.flops = 0
        self.alive = 0
        self.peak = 0
        self.sums: list[int] = []
        self._seen: set[int] = set()

    _should_skip_dynamo: Any = classmethod(_no)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        # A view or an in-place result shares the storage of an argument, so it is no new memory.
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        if func is parallel.SUM:
            self.sums.append(sum(part.nbytes for part in args[0]))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._track(tensor.untyped_storage())
        return out

    def _track(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


def on_paper(function: Callable[..., Any], *arguments: Any) -> tuple[Meter, Any]:
    """Count `function(*arguments)` without doing it: its tensors have shapes and no numbers. Also return its result.

    Tensors in the trees of `arguments` count as those of a CPU, on whatever device they are, and peak memory is that of
    the eager function there. Raises RuntimeError where the function needs a tensor's numbers.

    >>> meter, product = on_paper(torch.mm, torch.ones(2000, 3000), torch.ones(3000, 4000))
    >>> meter.flops, meter.peak, product.shape
    (48000000000, 32000000, torch.Size([2000, 4000]))
    """
    try:
        shapes = tree_map(partial(_shape, device="meta"), arguments)
        with _no_compiler(), torch.device("meta"), Meter() as meter, _Shapes():
            return meter, function(*shapes)
    except (RuntimeError, AttributeError):  # fake tensors know more, but torch loads its compiler for them
        return _of_fakes(function, *arguments)


@contextmanager
def _no_compiler() -> Iterator[None]:
    """Inside the block torch does not load its compiler, for seconds, only to tell it what it has to pass over."""
    name = "torch._dynamo"
    marked: list[Any] = []
    if name in sys.modules:
        yield
        return

    def disable(function: Any, *_: Any, **__: Any) -> Any:
        marked.append(function)
        return function

    stand_in: Any = ModuleType(name)
    stand_in.disable = disable
    stand_in.compiled_autograd = SimpleNamespace(_disable=nullcontext)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]
        for function in marked:
            function.__dict__.pop("__dynamo_disable", None)


def _of_fakes(function: Callable[..., Any], *arguments: Any) -> tuple[Meter, Any]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        shapes = tree_map(partial(_shape, device="cpu"), arguments)
        with Meter() as meter:
            result = function(*shapes)
    return meter, result


class _Shapes(TorchDispatchMode):
    """Inside the block, tensors of other devices take part by their shapes. Raises RuntimeError in autocast.

    Tensors of the meta device are not cast, so they would count too many bytes.
    """

    _should_skip_dynamo: Any = classmethod(_no)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("shapes alone are not cast")
        args, kwargs = tree_map(partial(_shape, device="meta"), (args, kwargs or {}))
        return func(*args, **kwargs | ({"device": "meta"} if kwargs.get("device") is not None else {}))


def _shape(leaf: Any, device: str) -> Any:
    """A tensor's shape, as a tensor without numbers that counts as one of `device`."""
    if not isinstance(leaf, Tensor) or leaf.device.type == device == "meta":
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=device)
