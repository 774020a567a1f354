"""All tests here are slow, and what they stand on takes seconds to load: a session without slow tests leaves them."""

import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return config.option.markexpr == "not slow" or None
