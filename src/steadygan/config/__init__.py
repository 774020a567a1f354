"""A run's configuration: parsed, checked, overridden, resolved and written as YAML."""

from steadygan.config.overrides import override
from steadygan.config.schema import Config, current, dump, in_steps, load, parse, with_root

__all__ = ["Config", "current", "dump", "in_steps", "load", "override", "parse", "with_root"]
