"""A folder in the hub's layout: read by the hub's own library and by sage_pl.load, with a card of the run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sage_pl
from sage_pl.errors import SettingError

huggingface_hub = pytest.importorskip("huggingface_hub")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.slow


def test_the_layout_is_read_by_the_hubs_library_and_by_load(model: sage_pl.Model, tmp_path: Path) -> None:
    model = sage_pl.load(model.path).add_items({"item_id": ["tea-99"], "title": ["green leaf tea"]})
    folder = model.save(tmp_path / "shop", format="hub", licence="cc-by-4.0")
    again = sage_pl.load(folder)
    assert again.recommend(history=["tea-99", "tea-1"]).equals(model.recommend(history=["tea-99", "tea-1"]))
    again.add_items({"item_id": ["tea-98"], "title": ["green leaf tea"]})
    third = sage_pl.load(again.save(tmp_path / "third"))
    assert third.recommend(history=["tea-98"]).equals(again.recommend(history=["tea-98"]))

    assert not [file for file in folder.rglob("*") if file.suffix in (".pt", ".pkl", ".bin")]
    assert safetensors.load_file(folder / "items" / "tables.safetensors")["output"].shape == (42, 8)
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    card.data.to_dict()
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "sage-pl")
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    overall = model.metrics.filter(protocol="full", group="overall")
    assert values["hr@10"] == pytest.approx(overall["hr@10"][0], abs=1e-5)
    for words in (
        "## Data",
        "60 users, 40 items",
        "95 % intervals",
        "| tail items |",
        "## Limits",
        "One seed",
        "Not converged",
    ):
        assert words in card.text, words


def test_a_push_uploads_the_layout(model: sage_pl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: dict[str, Any] = {}

    class Hub:
        def __init__(self, token: str | None) -> None:
            uploads["token"] = token

        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> Any:
            return SimpleNamespace(repo_id=repo, private=private)

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            uploads[repo_id] = {file.name for file in Path(folder_path).iterdir()}
            uploads["config"] = json.loads((Path(folder_path) / "config.json").read_text())

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    model.push_to_hub("me/shop", token="secret")
    assert {"README.md", "config.json", "model.json", "items", "weights.safetensors", "manifest.json"} <= uploads[
        "me/shop"
    ]
    assert uploads["config"]["library_name"] == "sage-pl"


def test_an_address_is_fetched(model: sage_pl.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model.save(tmp_path / "shop", format="hub")
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, revision: {("me/shop", "v1"): str(folder)}[repo, revision]
    )
    assert len(sage_pl.load("hf://me/shop@v1").recommend(history=["tea-1"], k=3)) == 3

    def offline(repo: str, revision: str | None) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(SettingError, match="hf://me/shop cannot be fetched: no route to the hub"):
        sage_pl.load("hf://me/shop")
    with pytest.raises(SettingError, match="no data for a model card; load the run"):
        sage_pl.load(folder).push_to_hub("me/shop")
