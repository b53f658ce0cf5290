"""docs/tutorials/shop.md: every command of the page is run in its order, and each answer is checked."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sage_pl.artifacts.plain import read_yaml
from sage_pl.artifacts.store import Artifact
from sage_pl.serving import load

KINDS = {"TEA": "green tea leaf", "PAINT": "acrylic paint brush", "BIKE": "bike tyre chain"}
ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorials" / "shop.md").read_text()


def blocks(day: str, language: str) -> list[str]:
    """The blocks of a section."""
    section = PAGE.partition(f"\n## {day}")[2].partition("\n## ")[0]
    assert section, day
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_week(shell: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (write,) = blocks("Monday: train", "sh")[:1]
    shell(write)
    frame = pl.read_csv("purchases.csv")
    (excerpt,) = blocks("Monday: train", "csv")
    assert Path("purchases.csv").read_text().startswith(excerpt)

    train = blocks("Monday: train", "sh")[1]
    shell(train)
    sequences = Artifact.at(read_yaml(Path("outputs/shop/config.yaml"))["artifacts"]["sequences"])
    assert (sequences.height("users"), len(sequences.array("values"))) == (40, frame.height)
    metrics = json.loads(Path("outputs/shop/metrics.json").read_text())
    assert "test/full/ndcg@10" in metrics

    (recommend,) = blocks("Monday: recommend", "sh")
    shown = shell(recommend)
    monday = pl.read_parquet("monday.parquet")
    assert f"user ana: {frame.filter(customer='ana').height} items" in shown
    for item in of_ana(monday):
        assert item in shown.partition("after this history")[0]
    assert "green tea leaf 5" in shown.partition("after this history")[2]
    assert monday.group_by("user_id").len()["len"].to_list() == [5] * 40
    assert set(monday["item_id"]) <= set(frame["sku"])

    (day, evening), (first, second) = blocks("Tuesday", "csv"), blocks("Tuesday", "sh")
    Path("tuesday.csv").write_text(day)
    shown = shell(first)
    assert (
        "2 events of 2 users, 1 of them new, and 2 items, 0 of them unknown to the model; 0 events were known" in shown
    )
    assert "41 users: 2 lists made, 39 were up to date" in shown
    tuesday = pl.read_parquet("tuesday.parquet")
    others = pl.col("user_id").is_in(["ana", "zoe"]).not_()
    assert tuesday.filter(others).sort("user_id", "rank").equals(monday.filter(others).sort("user_id", "rank"))
    assert of_ana(tuesday) != of_ana(monday)
    Path("evening.csv").write_text(evening)
    shown = shell(second)
    assert "41 users: 1 lists made, 40 were up to date" in shown, "the day before is in the histories already"
    assert "user zoe: 2 items" in shown
    assert of_ana(pl.read_parquet("evening.parquet")) == of_ana(tuesday)
    assert "2 events were known already and count once" in shell(first)

    for block in blocks("Wednesday", "sh"):
        new = [(f"{kind}-99", f"{words} 99") for kind, words in KINDS.items()]
        pl.DataFrame(new, ["sku", "title"], orient="row").write_csv("new_items.csv")
        assert "3 new items from new_items.csv are recommended too" in shell(block)
        whole = shell(block.replace("k=5", "k=31"))
        assert all(item in whole for item, _ in new), "every item is ranked, the new ones too"

    (export,) = blocks("Thursday", "sh")
    shell(export)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path("served").rename(elsewhere / "served")
    monkeypatch.chdir(elsewhere)
    served = []
    for example in blocks("Thursday", "python"):
        Path("example.py").write_text(example)
        served.append(runpy.run_path("example.py"))
    monkeypatch.chdir(tmp_path)
    assert [len(row) for row in served[0]["best"]] == [3] * 5
    history = frame.filter(customer="ana")["sku"].to_list()  # in the order of their times
    names = sequences.frame("items")["item_id"]
    assert [row.id for row in load(elsewhere / "served").recommend(history=history, k=5)] == of_ana(monday)

    (refit,) = blocks("Friday", "sh")
    shown = shell(refit)
    assert "its metrics are those of" in shown
    assert "the data have changed" not in shown
    assert json.loads(Path("outputs/friday/metrics.json").read_text()) == metrics
    again = Artifact.at(read_yaml(Path("outputs/friday/config.yaml"))["artifacts"]["sequences"])
    assert again.array("train_end").sum() == frame.height
    assert again.frame("items").equals(sequences.frame("items"))
    table = shown.rpartition("user ana")[2].partition("recommended")[2]
    assert sum(item in table for item in names) == 5


def of_ana(lists: pl.DataFrame) -> list[str]:
    return lists.filter(user_id="ana").sort("rank")["item_id"].to_list()
