"""Every snippet of docs/clients.md runs. They import other packages, so their fences are ```py, and they stand here."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paths import ROOT

pytestmark = pytest.mark.slow

SNIPPETS = re.findall(r"```py\n(.*?)```", (ROOT / "docs/clients.md").read_text(), re.S)


def ran(package: str, number: int = 0) -> dict[str, Any]:
    """The names that the page's snippet of this package defines."""
    pytest.importorskip(package)
    names: dict[str, Any] = {}
    code = [snippet for snippet in SNIPPETS if package in snippet][number]
    torch.manual_seed(0)
    exec(compile(code, "snippet", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_snippets_of_the_page_run_here() -> None:
    assert [sum(name in code for code in SNIPPETS) for name in ("ctgan", "lightning", "accelerate")] == [
        3,
        1,
        1,
    ]
    assert len(SNIPPETS) == 5


def test_a_ctgan_trains_with_the_pages_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    ctgan = pytest.importorskip("ctgan.synthesizers.ctgan")
    own = ctgan.Discriminator.calc_gradient_penalty
    monkeypatch.setattr(
        ctgan.Discriminator, "calc_gradient_penalty", own
    )  # what the snippet replaces comes back
    names = ran("ctgan")
    assert ctgan.Discriminator.calc_gradient_penalty is names["penalty"]
    model = names["CTGAN"](
        generator_dim=(8,), discriminator_dim=(8,), batch_size=40, epochs=1, enable_gpu=False
    )
    model.fit(np.random.default_rng(0).normal(size=(120, 2)))
    assert np.isfinite(model.sample(10)).all()


def test_a_critic_is_shown_the_pages_packs() -> None:
    names = ran("ctgan", 1)
    of_packs = {tuple(pack.flatten().tolist()) for pack in names["candidates"].view(-1, 10, 6)}
    shown = names["real_cat"].view(-1, 10, 6)
    assert [tuple(pack.flatten().tolist()) in of_packs for pack in shown] == [False] * 18 + [True] * 2


def test_the_pages_packs_are_trained() -> None:
    assert ran("ctgan", 2)["rows"].shape == (500, 6)


def test_the_pages_module_trains() -> None:
    module = ran("pytorch_lightning")["GAN"]()
    import pytorch_lightning as pl

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    before = module.G[0].weight.detach().clone()
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(torch.randn(160, 2), batch_size=32))  # type: ignore[arg-type]
    assert module.monitor.count == 5
    assert not torch.equal(module.G[0].weight, before)


def test_the_pages_loop_runs_under_accelerate() -> None:
    names = ran("accelerate")
    assert names["monitor"].count == 10
    assert names["loss_D"].isfinite()
