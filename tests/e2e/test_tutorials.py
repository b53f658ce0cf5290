"""The pages of docs/tutorials and the notebooks: their commands are run in order, and what they promise is checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import images
from sage_pl.comparison.runs import read

ROOT = Path(__file__).parent.parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
Shell = Callable[[str], str]


def blocks(page: str, language: str) -> list[str]:
    text = (TUTORIALS / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def shop(shell: Shell) -> Shell:
    """The shell, in a folder with the files of the user's own that every page reads."""
    for name, content in zip(("dataset/shop", "experiment/small"), blocks("compare", "yaml"), strict=True):
        file = Path("my") / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(content)
    return shell


@pytest.mark.slow
def test_two_methods_are_compared(shop: Shell) -> None:
    *commands, compare = blocks("compare", "sh")
    for block in commands:
        shop(block)
    shown = shop(compare)
    assert "residual_text" in shown
    record = json.loads(Path("outputs/comparison/comparison.json").read_text())
    assert {len(folders) for folders in record["runs"]["shop"].values()} == {2}
    assert Path("outputs/comparison/report.html").is_file()


@pytest.mark.slow
def test_new_items_are_recommended(shop: Shell) -> None:
    train, recommend = blocks("unseen-items", "sh")
    (items,) = blocks("unseen-items", "csv")
    Path("new_items.csv").write_text(items)
    shop(train)
    assert "test/full/count/item_unseen" in json.loads(Path("outputs/unseen/metrics.json").read_text())
    shown = shop(recommend)
    assert "TEA-99" in shown
    assert "BIKE-99" in shown


@pytest.mark.slow
def test_a_sweep_is_recorded_and_compared(shop: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    (sweep,) = blocks("sweep", "sh")
    shop(sweep)
    folder = Path("outputs/sweeps/first")
    runs = [read(file.parent) for file in folder.glob("*_*/metrics.json")]
    assert sorted(run.choices["method"] for run in runs) == ["plain", "residual_text"]
    assert len(list(folder.glob("*_*/wandb/offline-run-*"))) == 2
    assert (folder / "comparison" / "report.html").is_file()
    page = Path("outputs/index.html").read_text()
    assert "sweeps/first/comparison/report.html" in page
    assert "2 finished runs" in page
    monkeypatch.setattr(images, "IMAGES", tmp_path)
    assert images.wandb(*(str(run.folder) for run in runs)).stat().st_size > 10_000


@pytest.mark.slow
def test_a_method_of_the_users_own_is_trained(shop: Shell) -> None:
    (part,), (method,), (train,) = (blocks("add-a-method", language) for language in ("python", "yaml", "sh"))
    Path("my_parts.py").write_text(part)
    Path("my/method").mkdir()
    Path("my/method/short.yaml").write_text(method)
    assert len([line for line in (part + method).splitlines() if line.strip()]) <= 20
    assert "short 0.01" in shop(train)
    assert "train/loss/short" in Path("outputs/short/metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_to_its_end(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    for name in ("docs", "scripts", "src", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    notebook = jupytext.read(file)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [cell for cell in notebook.cells if cell.cell_type == "code" and cell.execution_count]
