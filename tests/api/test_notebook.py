"""The notebook of the docs runs, in a real kernel, and shows tables and one progress output."""

import json
import os
from pathlib import Path

import pytest

from imageworks.loopback_hub.server import HubServer
from support.hub import HubRepository
from support.reconcile import MODEL

NOTEBOOK = Path(__file__).parents[2] / "docs/notebook.ipynb"
REPO = "sentence-transformers/all-MiniLM-L6-v2"
KERNEL_SECONDS = 280


@pytest.mark.timeout(300)  # a kernel starts slowly where much else runs
def test_u16_the_notebook_of_the_docs_runs(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    HubRepository(tmp_path / "hub", REPO, MODEL)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what is committed shows nobody's machine
    with HubServer(tmp_path / "hub") as hub:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "IMAGEWORKS_MODEL_ROOT": str(tmp_path / "weights")}
        env |= {"PYTHONWARNINGS": "default", "IPYTHONDIR": str(tmp_path / "ipython")}
        client = nbclient.NotebookClient(
            notebook,
            timeout=KERNEL_SECONDS,
            startup_timeout=KERNEL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.execute(env=env)
    shown = {cell["id"]: json.dumps(cell["outputs"]) for cell in notebook.cells if cell.cell_type == "code"}
    assert "✓" in json.loads(f"[{shown['cell-2']}]")[0][0]["data"]["text/html"]  # the bar, once it is done
    for cell in ("cell-2", "cell-3", "cell-4", "cell-6", "cell-7", "cell-8", "cell-9", "cell-10"):
        assert "<table>" in shown[cell], (cell, shown[cell])
    assert "damaged" in shown["cell-6"]
    assert "repair" in shown["cell-7"]
    assert "intact" in shown["cell-9"]
