"""What the processes of a run tell each other."""

import json
import math
from pathlib import Path

import pytest
import torch

from processes import started
from steadygan.errors import UsageError
from steadygan.training import cluster
from steadygan.training.events import Evaluated


@pytest.mark.slow
def test_processes_decide_by_the_same_numbers(tmp_path: Path) -> None:
    """The logs of the first one count."""
    script = Path(__file__).parent / "agreeing.py"
    printed = [json.loads(text.splitlines()[-1]) for text in started(script, 2, tmp_path, seconds=100)]
    assert printed == [{"loss/D": 0.0, "finite": 1.0}] * 2


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("Failed to recv, got 0 bytes. Connection was likely closed.", UsageError, "start the run again"),
        ("rank 3 is not below the world size 2", RuntimeError, "world size"),
    ],
    ids=["gone", "a mistake"],
)
def test_a_process_that_is_gone_before_all_have_met_is_one_sentence(
    words: str, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **named: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(cluster.dist, "rendezvous", fails)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(kind, match=said):
        cluster.here()


def test_a_member_without_scores_has_nan_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose two members have all diverged told nothing; the other has one that has not."""
    x, y, z = torch.zeros(3, 1, 2).unbind()
    parts = [Evaluated([x, y], {}), Evaluated([z], {"modes": [7.0]})]
    place = cluster.Place(total=3, members=range(2), alone=False)
    monkeypatch.setattr(cluster.Place, "listed", lambda self, mine: parts)
    found = place.evaluated(parts[0])
    assert len(found.samples) == 3
    assert list(found.scores) == ["modes"]
    assert found.scores["modes"] == pytest.approx([math.nan, math.nan, 7.0], nan_ok=True)
