"""The index of all runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sage_pl.report import index
from tests.report.conftest import Document


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two finished runs where train writes them, and a job of a sweep with the page of its comparison."""
    _run(tmp_path / "runs" / "world" / "plain" / "2026", "plain", 0.01)
    _run(tmp_path / "runs" / "world" / "sage" / "2026", "sage", 0.02, converged=0.0)
    _run(tmp_path / "sweeps" / "s" / "0_sage", "sage", 0.03)
    (tmp_path / "runs" / "world" / "plain" / "2026" / "report.html").touch()
    (tmp_path / "sweeps" / "s" / "comparison").mkdir()
    (tmp_path / "sweeps" / "s" / "comparison" / "report.html").touch()
    return tmp_path


def _run(folder: Path, method: str, ndcg: float, converged: float = 1.0) -> None:
    """The files of a finished run that name it."""
    folder.mkdir(parents=True)
    names = {"dataset": "world", "method": method, "backbone": "sasrec"}
    artifacts = {"sequences": "a/b", "candidates": "c/d"}
    config = {"choices": names, "dataset": {"name": "world"}, "seed": 42, "artifacts": artifacts}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    (folder / "metrics.json").write_text(json.dumps({"test/full/ndcg@10": ndcg, "converged": converged}))
    (folder / "ranks.parquet").touch()


def test_the_first_index_lists_every_run_and_links_to_its_pages(outputs: Path) -> None:
    page = index.refresh(outputs)
    assert page == outputs / "index.html"
    document = Document(page.read_text())
    assert not document.problems
    assert not [link for link in document.loads if not (outputs / link).is_file()]
    assert {"runs/world/plain/2026/report.html", "sweeps/s/comparison/report.html"} <= set(document.loads)
    assert page.read_text().count("<tr>") == 4
    assert "3 finished runs" in page.read_text()
    assert "2.00 ‡" in page.read_text()


def test_a_later_run_is_added_from_anywhere_and_a_vanished_one_leaves(outputs: Path) -> None:
    index.refresh(outputs)
    shutil.rmtree(outputs / "sweeps")
    _run(outputs / "elsewhere <b>", "plain", 0.04)
    page = index.refresh(outputs, outputs / "elsewhere <b>")
    assert page is not None
    assert "elsewhere &lt;b&gt;" in page.read_text()
    records = json.loads((outputs / index.RECORDS).read_text())
    assert sorted(records) == ["elsewhere <b>", "runs/world/plain/2026", "runs/world/sage/2026"]
    assert records["elsewhere <b>"]["ndcg@10"] == 0.04


def test_a_damaged_record_is_made_again_and_an_unwritable_folder_is_a_warning(
    outputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index.refresh(outputs)
    (outputs / index.RECORDS).write_text("{")
    assert index.refresh(outputs)
    assert len(json.loads((outputs / index.RECORDS).read_text())) == 3
    (outputs / "file").touch()
    assert index.refresh(outputs / "file") is None
    assert "no index of the runs" in caplog.text
