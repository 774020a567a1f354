"""What tests of the CPU's kernels need."""

import shutil

import pytest

from steadygan.training.compile.passes import kernels


@pytest.fixture(scope="module")
def operators() -> None:
    """The kernels as operators; without a compiler, or on a processor without AVX2, the test is skipped."""
    if shutil.which("g++") is None or not kernels.wanted():
        pytest.skip("needs a C++ compiler, and a processor with AVX2")
    assert kernels.load(pytest.fail)
