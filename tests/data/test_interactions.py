from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact, Store
from sage_pl.data.filters import AtLeast, DropRepeats, KCore, LastItems
from sage_pl.data.interactions import Interactions
from sage_pl.data.sequences import Sequences
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.folder import Folder
from sage_pl.data.sources.raw import DataError, RawData
from sage_pl.data.split import GlobalTime, LeaveOneOut
from sage_pl.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source that holds its rows."""

    rows: list[tuple[Any, Any, Any]]
    items: pl.DataFrame | None = None

    def load(self) -> RawData:
        frame = pl.DataFrame(self.rows, schema=["user_id", "item_id", "timestamp"], orient="row")
        return RawData(frame.lazy(), self.items)

    def fingerprint(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self.rows]}


ROWS = [
    ("zoe", "tea", 30),
    ("adam", "jam", 10),
    ("zoe", "egg", 10),
    ("adam", "tea", 10),  # same time as jam: stays after it
    ("zoe", "jam", 20),
    ("adam", "tea", 5),
    ("zoe", "jam", 40),  # a repeat
    ("bob", "oil", 1),  # one event: trained on, never a case
]


def texts(**titles: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"item_id": list(titles), "title": list(titles.values()), "brand": None, "categories": [["food"]] * len(titles)}
    )


def run(tmp_path: Path, step: Interactions) -> Artifact:
    out = tmp_path / "sequences"
    out.mkdir(parents=True)
    step.run({}, out)
    return Artifact("key", out, {})


def test_ids_order_and_files_by_hand(tmp_path: Path) -> None:
    artifact = run(tmp_path, Interactions(Rows(ROWS), LeaveOneOut()))
    assert artifact.frame("users").rows() == [(1, "zoe"), (2, "adam"), (3, "bob")]
    assert artifact.frame("items").rows() == [(1, "egg"), (2, "jam"), (3, "tea"), (4, "oil")]
    assert artifact.array("offsets").tolist() == [0, 0, 4, 7, 8]
    assert artifact.array("values").tolist() == [1, 2, 3, 2, 3, 2, 3, 4]
    assert artifact.array("times").tolist() == [10, 20, 30, 40, 5, 10, 10, 1]
    assert artifact.array("train_end").tolist() == [0, 2, 1, 1]
    assert artifact.array("values").dtype == np.int32
    names = ("offsets", "times", "train_end", "valid_user", "valid_at", "test_user", "test_at")
    assert all(artifact.array(name).dtype == np.int64 for name in names)
    assert artifact.frame("items").schema["item"] == artifact.frame("users").schema["user"] == pl.Int64


def test_real_times_follow_their_events(tmp_path: Path) -> None:
    rows = [("b", 1, 1, 90), ("a", 2, 0, None), ("b", 2, 0, 80), ("a", 1, 1, 70), ("b", 3, 2, 95), ("c", 1, 0, 60)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "unix_time"], orient="row")
    table.write_parquet(tmp_path / "interactions.parquet")
    artifact = run(tmp_path, Interactions(Folder(tmp_path), LeaveOneOut(), (KCore(2, 1),)))
    assert artifact.array("clock").tolist() == [80, 90, 95, -1, 70]
    assert artifact.array("times").tolist() == [0, 1, 2, 0, 1]
    assert artifact.array("clock").dtype == np.int64


def test_sequences_open_what_is_written(tmp_path: Path) -> None:
    sequences = Sequences.load(run(tmp_path, Interactions(Rows(ROWS), LeaveOneOut())))
    assert (sequences.n_users, sequences.n_items) == (3, 4)
    assert sequences.valid.answer.tolist() == [3, 2]
    assert sequences.test.answer.tolist() == [2, 3]


def test_ids_are_stable_under_any_kind_of_id(tmp_path: Path) -> None:
    numbers = {name: 900 - 7 * i for i, name in enumerate(sorted({cell for row in ROWS for cell in row[:2]}))}
    as_numbers = [(numbers[user], numbers[item], time) for user, item, time in ROWS]
    (tmp_path / "text").mkdir()
    (tmp_path / "numbers").mkdir()
    first = run(tmp_path / "text", Interactions(Rows(ROWS), LeaveOneOut()))
    second = run(tmp_path / "numbers", Interactions(Rows(as_numbers), LeaveOneOut()))
    assert first.array("values").tolist() == second.array("values").tolist()
    assert [numbers[name] for name in first.frame("items")["item_id"]] == second.frame("items")["item_id"].to_list()


def test_equals_naive_sequences(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = list(zip(*(random.integers(n, size=400).tolist() for n in (30, 25, 40)), strict=True))
    artifact = run(tmp_path, Interactions(Rows(rows), LeaveOneOut()))
    ids = dict(artifact.frame("items").rows())
    users = dict(artifact.frame("users").rows())
    values, offsets = artifact.array("values"), artifact.array("offsets")
    assert list(users.values()) == list(dict.fromkeys(row[0] for row in rows))
    for user, source_id in users.items():
        wanted = [row[1] for row in sorted((r for r in rows if r[0] == source_id), key=lambda r: r[2])]
        assert [ids[item] for item in values[offsets[user] : offsets[user + 1]].tolist()] == wanted
    assert list(dict.fromkeys(values.tolist())) == list(range(1, len(ids) + 1))


def test_report_counts_every_stage(tmp_path: Path) -> None:
    step = Interactions(Rows(ROWS), LeaveOneOut(), (DropRepeats(), KCore(3, 1), LastItems(9)))
    report = json.loads((run(tmp_path, step).path / "report.json").read_text())
    assert [(s["users"], s["items"], s["interactions"]) for s in report["stages"]] == [
        (3, 4, 8),
        (3, 4, 6),
        (1, 3, 3),
        (1, 3, 3),
    ]
    assert report["stages"][2]["stage"] == "KCore(user=3, item=1)"
    assert report["repeats"] == 0
    assert report["split"] == {"train": 1, "valid": 1, "test": 1}


def test_the_report_says_what_each_filter_dropped(tmp_path: Path) -> None:
    step = Interactions(Rows(ROWS), LeaveOneOut(), (DropRepeats(), KCore(3, 1), LastItems(9)))
    report = json.loads((run(tmp_path, step).path / "report.json").read_text())
    assert report["left_out"] == [
        "DropRepeats(): 0 of 3 users, 0 of 4 items, 2 of 8 events left out; dataset.filters=[] keeps them",
        "KCore(user=3, item=1): 2 of 3 users, 1 of 4 items, 3 of 6 events left out; dataset.filters=[] keeps them",
    ]


def test_a_filter_reads_further_columns_of_the_source(tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("user,item,time,stars\n" + "".join(f"u,i{n},{n},{n % 5 + 1}\n" for n in range(20)))
    report = json.loads(
        (run(tmp_path, Interactions(CSV(file), LeaveOneOut(), (AtLeast("stars", 4),))).path / "report.json").read_text()
    )
    assert [stage["interactions"] for stage in report["stages"]] == [20, 8]
    for column, message in (("rating", "no column rating"), ("timestamp", "filter times with Period")):
        with pytest.raises(DataError, match=message):
            Interactions(CSV(file), LeaveOneOut(), (AtLeast(column, 4),)).run({}, tmp_path)


def test_two_spellings_of_an_id_and_what_the_reader_decided_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file.csv"
    file.write_text("user;item;time\n" + "".join(f"u;{item};1\n" for item in ("12", "12.0", "7", "x", "8.0")))
    report = json.loads((run(tmp_path, Interactions(CSV(file), LeaveOneOut())).path / "report.json").read_text())
    warning = "item_id: 2 ids are written as 12.0 and 2 as 12; 1 occur in both spellings and count as two"
    assert warning in caplog.text
    assert report["source"][0] == "file.csv: fields separated by ';'"
    assert report["source"][1].startswith(warning)


def test_ties_and_repeats_are_counted_and_kept(tmp_path: Path) -> None:
    report = json.loads((run(tmp_path, Interactions(Rows(ROWS), LeaveOneOut())).path / "report.json").read_text())
    assert report["ties"] == {"pairs": 1, "of": 5}
    assert report["repeats"] == 2  # zoe's jam, adam's tea
    assert (report["lengths"]["min"], report["lengths"]["max"], report["lengths"]["mean"]) == (1, 4, 8 / 3)


def test_items_get_their_texts_and_unknown_ones_an_empty_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = texts(tea="Tea", jam="", egg="Egg", salt="never bought")
    with caplog.at_level(logging.WARNING):
        table = run(tmp_path, Interactions(Rows(ROWS, items), LeaveOneOut())).frame("items")
    assert table["item"].to_list() == [1, 2, 3, 4]
    assert table["title"].to_list() == ["Egg", "", "Tea", ""]
    assert table["categories"].to_list() == [["food"], ["food"], ["food"], []]
    assert "1 of 4 items are not in the item table" in caplog.text
    assert json.loads((tmp_path / "sequences" / "report.json").read_text())["items_without_title"] == 2


def test_the_catalogue_may_be_the_whole_table_of_items(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = texts(salt="Salt", tea="Tea", jam="", egg="Egg", pear="").with_columns(
        categories=pl.when(pl.col("item_id") == "pear").then([]).otherwise(pl.col("categories"))
    )
    with caplog.at_level(logging.INFO):
        bought = run(tmp_path / "bought", Interactions(Rows(ROWS, items), LeaveOneOut()))
    assert "1 items of the table have a text and no events: left out; dataset.catalogue=all makes" in caplog.text
    whole = run(tmp_path / "all", Interactions(Rows(ROWS, items), LeaveOneOut(), catalogue="all"))
    assert bought.frame("items")["item_id"].to_list() == ["egg", "jam", "tea", "oil"]
    assert whole.frame("items")["item_id"].to_list() == ["egg", "jam", "tea", "oil", "salt"], "pear has no text"
    assert whole.frame("items")["title"][-1] == "Salt"
    assert whole.array("values").tolist() == bought.array("values").tolist(), "no number changes"
    sequences = Sequences.load(whole)
    assert sequences.n_items == 5
    assert sequences.train_counts[5] == 0
    for artifact in (bought, whole):
        assert json.loads((artifact.path / "report.json").read_text())["items_without_events"] == 1
    core = run(tmp_path / "core", Interactions(Rows(ROWS, items), LeaveOneOut(), (KCore(2, 2),), catalogue="all"))
    assert core.frame("items")["item_id"].to_list() == ["jam", "tea", "salt", "egg"], "a filter drops events of egg"


def test_a_catalogue_needs_a_table_and_a_known_name(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"dataset\.catalogue=all takes the items of a table"):
        run(tmp_path, Interactions(Rows(ROWS), LeaveOneOut(), catalogue="all"))
    with pytest.raises(SettingError, match=r"dataset\.catalogue is 'sold', wanted one of bought, all"):
        Interactions(Rows(ROWS), LeaveOneOut(), catalogue="sold")  # type: ignore[arg-type]


def test_the_key_of_bought_items_is_that_of_earlier_versions() -> None:
    assert "catalogue" not in identity(Interactions(Rows(ROWS), LeaveOneOut()))
    assert identity(Interactions(Rows(ROWS), LeaveOneOut(), catalogue="all"))["catalogue"] == "all"


def test_expected_counts_are_asserted(tmp_path: Path) -> None:
    right = {"users": 3, "items": 4, "interactions": 8}
    run(tmp_path, Interactions(Rows(ROWS), LeaveOneOut(), expect=right))
    with pytest.raises(DataError, match=r"8 interactions where 9 are known.*dataset\.expect=null"):
        Interactions(Rows(ROWS), LeaveOneOut(), expect=right | {"interactions": 9}).run({}, tmp_path)
    assert not (tmp_path / "values.npy").exists()


def test_key_depends_on_data_filters_and_split_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    step = Interactions(Rows(ROWS), LeaveOneOut())
    key = store.key(step, {})
    assert store.key(dataclasses.replace(step, expect={"users": 3}), {}) == key
    others = [
        dataclasses.replace(step, source=Rows(ROWS[1:])),
        dataclasses.replace(step, filters=(KCore(),)),
        dataclasses.replace(step, split=GlobalTime()),
    ]
    assert len({key, *(store.key(other, {}) for other in others)}) == 4


def test_positions_are_refused_even_when_a_filter_leaves_gaps(tmp_path: Path) -> None:
    rows = [(user, item, at) for user in range(5) for at, item in enumerate([user + 100, 1, 2, 3, 4])]
    with pytest.raises(DataError, match="positions"):
        run(tmp_path, Interactions(Rows(rows), GlobalTime(), (KCore(2, 2),)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Rows([]), "no interactions"),
        (Rows([(1, 2, None), (1, 3, 0)]), "timestamp is null in 1 of 2"),
        (Rows([(None, 2, 1), (1, 3, 0)]), "user_id is null"),
        (Rows([("a", " ", 1), ("a", "y", 2)]), "item_id is blank"),
        (Rows([("a", "x", 1), ("a", "y", 2)]), "no user has the three events"),
        (Rows([(1, 2, 0)], texts(a="A")), "Int64 in the interactions but String"),
        (Rows(ROWS, texts(tea="Tea").vstack(texts(tea="Tea"))), "repeated item_ids"),
        (Rows(ROWS, texts(tea="Tea").drop("title")), "no column title"),
        (Rows(ROWS, texts(tea="Tea").with_columns(item=1)), "column `item`"),
    ],
    ids=[
        "empty",
        "null time",
        "null user",
        "blank item",
        "short users",
        "id types",
        "duplicate items",
        "no title",
        "reserved column",
    ],
)
def test_unfit_data_are_refused_and_nothing_is_written(tmp_path: Path, source: Rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path, Interactions(source, LeaveOneOut()))
    assert list((tmp_path / "sequences").iterdir()) == []
