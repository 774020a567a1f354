"""The command line: one module per group of commands, each a thin layer over `steadygan.commands`."""

from steadygan.cli.app import main

__all__ = ["main"]
