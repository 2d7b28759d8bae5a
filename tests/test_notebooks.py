"""Every notebook runs from top to bottom and shows pictures; none is kept with its outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from test_end_to_end import MEMORY

FOLDER = Path(__file__).parents[1] / "notebooks"
SLOW = {"05_own_data"}  # test_own_joints.py goes its way
NOTEBOOKS = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in sorted(FOLDER.glob("*.ipynb"))]
ENVIRONMENT = {**os.environ, **MEMORY, "MPLBACKEND": ""}  # empty: the kernel shows pictures below their cells


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_runs_and_shows_pictures(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "clear the outputs before saving"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute(env=ENVIRONMENT)
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
