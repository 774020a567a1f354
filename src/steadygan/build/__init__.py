"""Build a run from a configuration: make every object that it names and put them together."""

from steadygan.build.assemble import Fill, Run, build
from steadygan.build.own import NOTHING, Own

__all__ = ["NOTHING", "Fill", "Own", "Run", "build"]
