"""Networks that know nothing of the package, trained by `fit`, loaded and exported."""

import pytest
import torch

import steadygan
from tests.commands.strangers import STRANGERS

QUICK = {"steps": 3, "batch": 8, "compile": False, "quiet": True, "evaluation": {"images": 100}}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_is_loaded_and_exported(name, tmp_path):
    """Also with noise inputs: the loaded module has the run's stream, the exported one torch's generator."""
    G, D, data, options = STRANGERS[name]
    run = steadygan.fit(G, D, data, **{"latent": 16, **QUICK, **options}, out=tmp_path / "run")
    loaded = steadygan.load(run.folder, use=run.own)
    with torch.no_grad():
        torch.testing.assert_close(loaded(loaded.latents(8)), run.sample(8), rtol=1e-5, atol=1e-6)
    made = run.save(tmp_path / "G.safetensors")
    assert made.difference <= 1e-5
    assert "steadygan" not in made.files[1].read_text()
