"""A run's configuration: parsed, checked, overridden, resolved and written as YAML."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.config.overrides import as_text, override
    from steadygan.config.schema import Config, current, dump, in_steps, load, of_a_run, parse, with_root

__all__ = [
    "Config",
    "as_text",
    "current",
    "dump",
    "in_steps",
    "load",
    "of_a_run",
    "override",
    "parse",
    "with_root",
]

__getattr__, __dir__ = lazy(__name__)
