"""The notebooks run from above, and show their pages and pictures."""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BAR = """import time
from steadygan.progress import report
for done in range(3):
    report("rows", done, 9, "rows")
    time.sleep(0.6)"""
NAMES = ("first_run", "own_networks", "eigenvalues")


def read(name: str):
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def short(cell):
    """A cell with fewer steps where it has the notebook's parameters, as papermill replaces them."""
    if "parameters" in cell.metadata.get("tags", []):
        cell.source = "STEPS = 12"
    return cell


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_short_and_has_no_outputs(name):
    cells = read(name).cells
    assert len(cells) < 15
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_notebooks_run_and_show_what_they_make(tmp_path, monkeypatch):
    """All in one kernel, which forgets its names in between: to start one takes longer than to run a notebook."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
    import nbformat

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cells = []
    for name in NAMES:
        cells += [short(cell) for cell in read(name).cells] + [nbformat.v4.new_code_cell("%reset -f")]
    cells.append(nbformat.v4.new_code_cell(BAR))
    found = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(found, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert '<progress value="2" max="9">' in cells[-1].outputs[0].data["text/html"]
    html = [output.data.get("text/html", "") for output in outputs if output.output_type == "execute_result"]
    assert [text.split()[0] for text in html if text] == [
        "<iframe",  # the first report
        "<div",  # verdicts
        "<div",  # a landscape
        "<div",
        "<iframe",
        "<iframe",
    ]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3  # a grid of samples, phase portraits, eigenvalues
