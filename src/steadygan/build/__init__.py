"""Build a run from a configuration: make every object that it names and put them together."""

from steadygan.build.assemble import Fill, Run, build

__all__ = ["Fill", "Run", "build"]
