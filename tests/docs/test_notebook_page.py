"""The notebook in the docs runs as a person runs it: in a kernel, from the first cell to the last."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from support.pages import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    """Return the cells of the notebook with their outputs."""
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == [], "save it without outputs"
    # the kernel is that of this Python, and finds this checkout
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    try:
        place = {"metadata": {"path": str(NOTEBOOK.parent)}}
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any, kind: str) -> str:
    """Return what a cell shows of one kind, all outputs in a row."""
    if kind == "stream":
        return "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return "".join(output.data.get(kind, "") for output in cell.outputs if "data" in output)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of jupyter_client about its own event loop
def test_the_notebook_shows_what_it_promises(cells: list[Any]) -> None:
    card = next(shown(cell, "text/html") for cell in cells if "cohaudit.scan(" in cell.source)
    assert "Labels: " in card
    assert "New data: " in card
    assert any("supports the label" in shown(cell, "text/html") for cell in cells)
    assert any(shown(cell, "image/png") for cell in cells)
    printed = "".join(shown(cell, "stream") for cell in cells)
    changed = re.search(r"(\d+) of 300 labels changed", printed)
    assert changed is not None
    assert int(changed[1]) > 10
    command = next(shown(cell, "stream") for cell in cells if cell.source.startswith("!cohaudit"))
    assert "passed" in command
    assert "\x1b" not in command
