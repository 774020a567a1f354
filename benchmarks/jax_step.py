"""FARGAN's step on the ring in plain JAX: the same networks, penalty, selection and batch, with draws of its own.

JAX is imported by the first call, because its threads do not survive the fork of a timer. It has one thread, and
the vectors that torch may use.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["installed", "iteration"]

SIZES = [2, 64, 64, 64, 2]
BATCH, COUNT, POOL, WEIGHT, LR, SCALE = 64, 16, 8, 10.0, 0.003, 10.0
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def installed() -> bool:
    """Whether JAX is there: an extra of the benchmarks."""
    return importlib.util.find_spec("jax") is not None


def iteration(steps: int, members: int = 0) -> Callable[[], None]:
    """A call of a jitted function: `steps` steps of `members` runs, by lax.scan and vmap. 1 and 0: neither."""
    made: list[Callable[[], None]] = []

    def called() -> None:
        if not made:
            made.append(_ready(steps, members))
        made[0]()

    return called


def _ready(steps: int, members: int) -> Callable[[], None]:
    vectors = "--xla_cpu_max_isa=AVX2" if torch.backends.cpu.get_cpu_capability() == "AVX2" else ""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD} {vectors}"
    import jax

    step = _step(jax)

    def run(state: Any, key: Any) -> Any:
        if steps == 1:
            return step(state, key)
        return jax.lax.scan(lambda s, k: (step(s, k), None), state, jax.random.split(key, steps))[0]

    run, keys = (
        (jax.vmap(run), jax.random.split(jax.random.key(0), members)) if members else (run, jax.random.key(0))
    )
    start = lambda key: tuple(_start(jax, k, out) for k, out in zip(jax.random.split(key), (2, 1)))  # noqa: E731
    state = (jax.vmap(start) if members else start)(keys)
    split = jax.jit(jax.vmap(lambda k: jax.random.split(k)) if members else jax.random.split)
    fast = jax.jit(run, donate_argnums=0)

    def called() -> None:
        nonlocal state, keys
        pair = split(keys)
        keys, now = (pair[:, 0], pair[:, 1]) if members else (pair[0], pair[1])
        state = jax.block_until_ready(fast(state, now))

    return called


def _start(jax: Any, key: Any, outputs: int) -> Any:
    """Weights and biases of an MLP, drawn as torch draws them: U(-1/sqrt(n), 1/sqrt(n))."""
    layers = []
    for n, m in zip(SIZES[:-1], [*SIZES[1:-1], outputs]):
        key, first, second = jax.random.split(key, 3)
        draw = jax.random.uniform
        layers.append(
            (
                draw(first, (n, m), minval=-1, maxval=1) / n**0.5,
                draw(second, (m,), minval=-1, maxval=1) / n**0.5,
            )
        )
    return layers


def _step(jax: Any) -> Callable[[Any, Any], Any]:
    """The step (G, D), key -> (G, D): FARGAN's Algorithm 1 with R1."""
    jnp, softplus = jax.numpy, jax.nn.softplus

    def network(layers: Any, x: Any) -> Any:
        for w, b in layers[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = layers[-1]
        return x @ w + b

    def critic(D: Any, x: Any) -> Any:
        return network(D, x)[:, 0]

    def loss_D(D: Any, c: Any, x_fake: Any) -> Any:
        logits, back = jax.vjp(lambda x: critic(D, x), c)
        (gradient,) = back(jnp.ones_like(logits))
        penalty = (gradient**2).sum(1).mean()
        return softplus(-logits).mean() + softplus(critic(D, x_fake)).mean() + WEIGHT * penalty

    def loss_G(G: Any, D: Any, z: Any) -> Any:
        return softplus(-critic(D, network(G, z))).mean()

    def moved(net: Any, gradient: Any) -> Any:
        return jax.tree.map(lambda p, g: p - LR * g, net, gradient)

    angles = jnp.arange(8) * (jnp.pi / 4)
    centres = SCALE * jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1)

    def step(state: Any, key: Any) -> Any:
        G, D = state
        which, spread, first, second = jax.random.split(key, 4)
        n = BATCH - COUNT
        x_real = centres[jax.random.randint(which, (n,), 0, 8)] + 0.02 * jax.random.normal(spread, (n, 2))
        fakes = network(G, jax.random.normal(first, (BATCH + POOL * COUNT, 2)))
        x_fake, candidates = fakes[:BATCH], fakes[BATCH:]
        chosen = candidates[jax.lax.top_k(-critic(D, candidates), COUNT)[1]]
        c = jnp.concatenate([x_real / 1.414, chosen])
        D = moved(D, jax.grad(loss_D)(D, c, x_fake))
        G = moved(G, jax.grad(loss_G)(G, D, jax.random.normal(second, (BATCH, 2))))
        return G, D

    return step
