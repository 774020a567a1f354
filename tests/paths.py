"""Where the tests find the repository, and real images that may lie beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository: README.md, docs/, examples/, benchmarks/."""

CIFAR_ZIP = Path(os.environ.get("STEADYGAN_DATA") or ROOT.parent / "shared" / "data") / "cifar10-jpeg.zip"
"""Real images that the repository does not hold. Tests that need them are skipped where they are missing."""
