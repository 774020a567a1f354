"""A run's configuration: parsed, checked, overridden, resolved and written as YAML."""

from steadygan.config.overrides import override
from steadygan.config.schema import Config, dump, load, parse, resolved, with_root

__all__ = ["Config", "dump", "load", "override", "parse", "resolved", "with_root"]
