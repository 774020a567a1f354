"""steadygan: generative adversarial networks whose gradients behave."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadygan.diagnostics.monitor import Monitor

__all__ = ["Monitor", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`steadygan.Monitor`, which stands on higher layers, when it is asked for: the import itself loads nothing."""
    if name == "Monitor":
        from steadygan.diagnostics.monitor import Monitor

        return Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
