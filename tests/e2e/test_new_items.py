"""A new item with text is recommended without training: by the command and by an exported folder, the same for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl import serving
from sage_pl.errors import SettingError
from tests.e2e.test_methods import METHODS, SMALL
from tests.e2e.test_served_alike import Answers, command

__all__ = ["command"]
TEA, LAMP = "green leaf tea box organic infusion tea number 900", "led desk lamp bulb warm light lamp number 901"
GENERATE = ("tiger", "semantic_convergence")
CELLS = [
    *((method, "sasrec") for method in METHODS if method not in GENERATE),
    ("plain", "bert4rec"),
    ("text_only", "bert4rec"),
]


@pytest.fixture
def new_items(tmp_path: Path) -> Path:
    file = tmp_path / "new.csv"
    file.write_text(f"item_id,title\n900,{TEA}\n901,{LAMP}\n")
    return file


@pytest.mark.slow
@pytest.mark.parametrize(("method", "backbone"), CELLS)
def test_new_items_are_recommended(
    method: str,
    backbone: str,
    run_train: Callable[..., Path],
    command: Callable[..., Answers],
    new_items: Path,
    tmp_path: Path,
) -> None:
    folder = run_train(f"method={method}", f"backbone={backbone}", *SMALL.get(method, []), "embedder=tfidf")
    checkpoint, exported = f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}", tmp_path / "exported"
    command("export", checkpoint, f"folder={exported}")
    model = serving.load(exported)
    before = {item.id: item.score for item in model.recommend(["0", "4"], 40, seen="keep")}
    assert len(before) == 40
    model.add_items(new_items)
    after = {item.id: item.score for item in model.recommend(["0", "4"], 42, seen="keep")}
    assert set(after) == set(before) | {"900", "901"}
    np.testing.assert_allclose([after[item] for item in before], list(before.values()), rtol=1e-4, atol=1e-5)
    assert min(after["900"], after["901"]) > min(before.values()) - 1e-6, "as its neighbours, and no outlier"
    arguments = (checkpoint, f"items={new_items}", "k=42", "seen=keep")
    for history in (["0", "4"], ["0", "900", "4"], ["901"]):
        ((_, _, ids, scores, _),) = command("recommend", *arguments, f"history=[{','.join(history)}]")
        answer = model.recommend(history, 42, seen="keep")
        assert sorted(ids) == sorted(item.id for item in answer)
        found = {item.id: item.score for item in answer}
        np.testing.assert_allclose([found[one] for one in ids], scores, rtol=1e-4, atol=1e-5)
    masked = model.recommend(["900", "0"], 42, seen="mask")
    assert "900" not in {item.id for item in masked}
    with pytest.raises(SettingError, match="'900' is known to the model already"):
        model.add_items({"item_id": ["900"], "title": [TEA]})
    model.add_items({"item_id": ["902"], "title": [TEA]})
    scored = {item.id: item.score for item in model.recommend(["0", "4"], 43, seen="keep")}
    assert scored["902"] == pytest.approx(scored["900"], abs=1e-4)


@pytest.mark.parametrize("method", GENERATE)
def test_generated_codes_take_no_new_items(
    method: str,
    run_train: Callable[..., Path],
    command: Callable[..., Answers],
    new_items: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = run_train(f"method={method}", *SMALL[method], "trainer.max_epochs=1") / "checkpoints" / "best.ckpt"
    with pytest.raises(SystemExit):
        command("recommend", f"checkpoint={best}", f"items={new_items}", "history=[3]")
    assert "generates the codes of items it was trained with" in "".join(capsys.readouterr())
    command("export", f"checkpoint={best}", f"folder={tmp_path / 'exported'}")
    with pytest.raises(SettingError, match="generates codes"):
        serving.load(tmp_path / "exported").add_items(new_items)


def test_unfit_tables_are_refused(
    run_train: Callable[..., Path], command: Callable[..., Answers], tmp_path: Path
) -> None:
    best = run_train("method=plain", "trainer.max_epochs=1") / "checkpoints" / "best.ckpt"
    command("export", f"checkpoint={best}", f"folder={tmp_path / 'exported'}")
    model = serving.load(tmp_path / "exported")
    for table, words in (
        ({"item_id": ["3"], "title": ["tea"]}, "known to the model"),
        ({"item_id": ["x", "x"], "title": ["tea", "tea"]}, "occurs twice"),
        ({"item_id": [" "], "title": ["tea"]}, "have no id"),
        ({"item_id": ["x"], "title": [""]}, "has no text in title"),
        ({"item_id": ["x"], "name": ["tea"]}, "lack the column title"),
    ):
        with pytest.raises(SettingError, match=words):
            model.add_items(table)
    assert len(model.recommend(["3"], 50, seen="keep")) == 40, "nothing was added"


def test_the_whole_table_of_items_is_recommended(
    run_train: Callable[..., Path], command: Callable[..., Answers], small_world: Path, tmp_path: Path
) -> None:
    """``dataset.catalogue=all``: an item that nobody bought is trained beside the others, by its text."""
    pl.read_parquet(small_world / "interactions.parquet").write_csv(tmp_path / "events.csv")
    items = pl.read_parquet(small_world / "items.parquet").with_columns(pl.col("item_id").cast(pl.String))
    more = pl.DataFrame({"item_id": ["900", "901", "902"], "title": [TEA, LAMP, ""]})
    pl.concat([items, more]).write_csv(tmp_path / "items.csv")
    names = {"path": tmp_path / "events.csv", "user": "user_id", "item": "item_id", "time": "timestamp"}
    texts = {"items": tmp_path / "items.csv", "text": "title", "catalogue": "all"}
    settings = [f"dataset.{key}={value}" for key, value in (names | texts).items()]
    for method in ("text_only", "plain"):
        run = run_train("dataset=csv", *settings, f"method={method}", "embedder=tfidf", "trainer.max_epochs=1")
        ((_, _, ids, _, _),) = command(
            "recommend", f"checkpoint={run / 'checkpoints' / 'best.ckpt'}", "history=[3]", "k=50"
        )
        assert {"900", "901"} <= set(ids), "with a text"
        assert "902" not in ids, "without one"
