"""The command line: one module per group of commands. `steadygan.commands` does the work."""

from steadygan.cli.app import main

__all__ = ["main"]
