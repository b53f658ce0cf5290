"""Forms of an export by the command: a tower, and a folder whose model finds items by an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import sage_pl
from sage_pl import serving
from sage_pl.serving.tower import FILES, VECTORS
from tests.e2e.test_served_alike import Answers, command

__all__ = ["command"]
HISTORIES = [["3", "9", "4"], ["12"], []]

pytestmark = pytest.mark.slow


def test_one_checkpoint_in_every_form(
    run_train: Callable[..., Path], command: Callable[..., Answers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    run = run_train("method=llm_init")
    best = f"checkpoint={run / 'checkpoints' / 'best.ckpt'}"
    for name, form in (("exact", []), ("torch", ["format=torch"]), ("hnsw", ["retrieval=hnsw"])):
        command("export", best, f"folder={tmp_path / name}", *form)

    exact = serving.load(tmp_path / "exact")
    tower = torch.export.load(tmp_path / "torch" / FILES["torch"]).module()
    items = torch.tensor([exact.catalogue.items(HISTORIES[0])])
    states = tower(items).detach().numpy()
    scores = states @ np.load(tmp_path / "torch" / VECTORS).T
    best_item = exact.recommend(HISTORIES[0], 1, seen="keep")[0]
    assert exact.catalogue.ids[int(scores[0, 1:-1].argmax()) + 1] == best_item.id

    near = serving.load(tmp_path / "hnsw")
    assert near.model.retrieval.kind == "hnsw"
    assert (tmp_path / "hnsw" / "index.faiss").is_file()
    for other in (near, serving.load(tmp_path / "exact", retrieval="ivf")):
        for one, two in zip(exact.recommend(histories=HISTORIES), other.recommend(histories=HISTORIES), strict=True):
            assert len(two) == 10
            assert (
                len({item.id for item in one} & {item.id for item in two}) >= 7
                or len({item.score for item in one}) == 1
            )
        other.add_items({"item_id": ["900"], "title": ["green leaf tea box number 900"]})
        assert "900" in [item.id for item in other.recommend(["3"], 41, seen="keep")]
        assert "900" not in [item.id for item in other.recommend(["3"], 41, exclude=["900"])]
    assert serving.load(tmp_path / "hnsw", retrieval="exact").model.retrieval is None

    model = sage_pl.load(run, retrieval="ivf")
    again = sage_pl.load(model.save(tmp_path / "saved"))
    assert again.served.model.retrieval.kind == "ivf"
    assert again.recommend(history=HISTORIES[0]).equals(model.recommend(history=HISTORIES[0]))

    ((_, _, ids, _, source),) = command("recommend", best, "history=[3,9,4]", "retrieval=hnsw", "k=6")
    assert (ids, source) == ([item.id for item in near.recommend(HISTORIES[0], 6, exclude=["900"])], "live")
    command("recommend", best, "users=all", "k=6")
    ((*_, source),) = command("recommend", best, "users=[u3]", "k=6", "retrieval=ivf")
    assert source == "live", "kept lists are exact ones"


def test_what_has_no_other_form_is_one_sentence(
    run_train: Callable[..., Path], command: Callable[..., Answers], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    best = f"checkpoint={run_train('method=plain', 'scorer=semantic') / 'checkpoints' / 'best.ckpt'}"
    for setting, sentence in (
        ("retrieval=hnsw", "reads the score of every item"),
        ("format=jpg", "wanted folder, onnx or torch"),
    ):
        with pytest.raises(SystemExit):
            command("export", best, f"folder={tmp_path / 'none'}", setting)
        assert sentence in "".join(capfd.readouterr())
    assert not (tmp_path / "none").exists()
