"""From a configuration to a run: every object that it names, built and put together."""

from steadygan.build.assemble import Run, build

__all__ = ["Run", "build"]
