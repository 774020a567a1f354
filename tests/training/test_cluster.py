"""What the processes of a run tell each other."""

import json
from pathlib import Path

import pytest

from processes import started


@pytest.mark.slow
def test_processes_decide_by_the_same_numbers(tmp_path: Path) -> None:
    """The logs of the first one count."""
    script = Path(__file__).parent / "agreeing.py"
    printed = [json.loads(text.splitlines()[-1]) for text in started(script, 2, tmp_path, seconds=100)]
    assert printed == [{"loss/D": 0.0, "finite": 1.0}] * 2
