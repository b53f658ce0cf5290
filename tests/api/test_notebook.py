"""In a notebook: a bar while training, and a page as the answer of a cell."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from tests.campaign.bench import SETTINGS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent


def test_a_notebook_shows_progress_and_the_report(
    events: pl.DataFrame, texts: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    events.write_parquet(tmp_path / "events.parquet")
    texts.write_parquet(tmp_path / "items.parquet")
    settings = {key: value for key, _, value in (one.partition("=") for one in SETTINGS) if key != "report"}
    cells = [
        "import polars as pl, sage_pl, yaml",
        f"settings = {{key: yaml.safe_load(value) for key, value in {settings!r}.items()}}",
        "events, texts = (pl.read_parquet(f'{name}.parquet') for name in ('events', 'items'))",
        "model = sage_pl.fit(events, texts, method='plain', overrides=settings)",
        "model.report(maps=False)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    fitted, reported = (cell.outputs for cell in notebook.cells[3:])
    assert any("Epoch 1" in one.get("text", "") for one in fitted), "the bar"
    assert any("<iframe" in one.get("data", {}).get("text/html", "") for one in reported)
