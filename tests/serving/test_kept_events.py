"""Events that are added to histories: each once, in their place, whole, whoever adds them at the same time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.data.filters import DropDuplicates, DropRepeats, KCore, LastItems, OneOf
from sage_pl.data.interactions import LEFT_OUT, Interactions
from sage_pl.data.later import SCHEMA
from sage_pl.data.mapped import Ids, Mapped
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError
from sage_pl.data.split import AllEvents
from sage_pl.serving.histories import Histories, item_numbers
from sage_pl.serving.kept_events import KeptEvents

ROWS = [
    *[("ana", item, 10 * at) for at, item in enumerate("abcab", 1)],
    *[("bob", item, 10 * at) for at, item in enumerate("cbacb", 1)],
    *[("few", "c", 7), ("few", "a", 5), ("few", "rare", 6)],  # too few events for the filter
]


def sequences(folder: Path, *rules: object, rows: list[tuple[str, str, int]] = ROWS, times: bool = True) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_csv(folder / "data.csv")
    step = Interactions(CSV(folder / "data.csv", time="time" if times else None), AllEvents(), rules)  # type: ignore[arg-type]
    (folder / "out").mkdir()
    step.run({}, folder / "out")
    return Artifact("key", folder / "out", {})


def log(*rows: tuple[str, str, int | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def histories(artifact: Artifact, later: pl.DataFrame | None, *also: str, rules: object = ()) -> dict[str, str]:
    """The ids of each user's items, joined."""
    names = {number: name for name, number in item_numbers(artifact).items()}
    found = Histories.of(artifact, later, also, rules)  # type: ignore[arg-type]
    return {user: "".join(names[item] for item in found[row].tolist()) for row, user in enumerate(found.names)}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return sequences(tmp_path / "data", KCore(3, 2))


@pytest.fixture
def store(tmp_path: Path) -> KeptEvents:
    return KeptEvents.beside(tmp_path / "run" / "best.ckpt", "key")


def add(store: KeptEvents, artifact: Artifact, *rows: tuple[str, str, int | None], keep: bool = True) -> str:
    return store.add(log(*rows), artifact, item_numbers(artifact), keep).summary


def test_the_next_day_sees_the_first(store: KeptEvents, artifact: Artifact) -> None:
    add(store, artifact, ("ana", "c", 100), ("zoe", "a", 101))
    add(store, artifact, ("ana", "b", 200), ("zoe", "b", 201))
    assert histories(artifact, store.events()) == {"ana": "abcabcb", "bob": "cbacb", "zoe": "ab"}
    assert len(list(store.folder.glob("*.parquet"))) == 2


def test_a_log_sent_twice_counts_once(store: KeptEvents, artifact: Artifact) -> None:
    """Whole, in part, with the data's own events, and with lines that occur twice."""
    day = ("ana", "c", 100), ("zoe", "a", 101)
    assert "0 events were known" in add(store, artifact, *day)
    assert "2 events were known already and count once" in add(store, artifact, *day)
    grown = *ROWS, *day, day[0], ("ana", "a", 300)
    summary = add(store, artifact, *grown)  # type: ignore[arg-type]
    assert "15 events were known already" in summary  # of the filtered user's only those with items of the catalogue
    assert histories(artifact, store.events(), "few") == {"ana": "abcabca", "bob": "cbacb", "zoe": "a", "few": "ac"}


def test_a_log_without_times_sent_twice_counts_once(store: KeptEvents, artifact: Artifact) -> None:
    first, second = (("ana", "c", None), ("ana", "c", None)), (("ana", "b", None),)
    assert "without times, the others follow what is known" in add(store, artifact, *first)
    assert "1 events were known" not in add(store, artifact, *second)
    assert "2 events were known already" in add(store, artifact, *first)
    assert histories(artifact, store.events())["ana"] == "abcabccb"


@pytest.mark.parametrize("times", [False, True])
def test_the_file_of_the_data_that_grew_without_times(tmp_path: Path, store: KeptEvents, times: bool) -> None:
    """Each day the whole file, with items and users that the filter left out: what is new counts once."""
    artifact = sequences(tmp_path / "data", KCore(3, 2), times=times)
    in_order = sorted(ROWS, key=lambda row: (row[0], row[2])) if times else ROWS
    whole = [(user, item, None) for user, item, _ in in_order]
    assert add(store, artifact, *whole).endswith(f"0 are kept in {store.folder}")
    first = *whole, ("ana", "c", None), ("zoe", "a", None)
    add(store, artifact, *first)
    add(store, artifact, *first, ("ana", "a", None), ("zoe", "a", None))
    few = "ac" if times else "ca"
    assert histories(artifact, store.events(), "few") == {"ana": "abcabca", "bob": "cbacb", "zoe": "aa", "few": few}
    add(store, artifact, *whole[1:])  # no file that grew: a log as any other
    assert histories(artifact, store.events())["ana"].startswith("abcabca")
    assert len(histories(artifact, store.events())["ana"]) == 7 + 4


def test_events_take_their_place_by_time(store: KeptEvents, artifact: Artifact) -> None:
    summary = add(store, artifact, ("ana", "c", 11), ("ana", "b", 100), ("new", "a", 1))
    assert "1 are older than the newest known one of their user and take their place by time" in summary
    assert histories(artifact, store.events())["ana"] == "acbcabb"
    add(store, artifact, ("new", "b", 2), ("ana", "c", None))
    add(store, artifact, ("ana", "a", 101))
    add(store, artifact, ("ana", "b", 99))
    assert histories(artifact, store.events())["ana"] == "acbcabbbca"
    assert histories(artifact, store.events())["new"] == "ab"


@pytest.mark.parametrize("time", [None, 5])
def test_data_without_times_are_followed(tmp_path: Path, store: KeptEvents, time: int | None) -> None:
    artifact = sequences(tmp_path / "data", times=False)
    rows = ("ana", "c", time), ("ana", "a", None if time is None else time + 1)
    add(store, artifact, *rows)
    assert "2 events were known" in add(store, artifact, *rows)
    assert histories(artifact, store.events())["ana"] == "abcabca"


def test_a_log_is_counted_in_one_line(store: KeptEvents, artifact: Artifact) -> None:
    rows = ("ana", "a", 10), ("ana", "b", 15), ("zoe", "new", 90), ("zoe", "newer", 91), ("few", "a", 92)
    summary = add(store, artifact, *rows)
    assert summary == (
        "5 events of 3 users, 1 of them new, and 4 items, 2 of them unknown to the model; 1 events were known already and "
        "count once, 1 are older than the newest known one of their user and take their place by time; 4 are kept in "
        f"{store.folder}"
    )
    assert "0 of them new" in add(store, artifact, ("zoe", "a", 95))


def test_a_look_without_keeping(store: KeptEvents, artifact: Artifact) -> None:
    addition = store.add(log(("ana", "c", 100)), artifact, item_numbers(artifact), keep=False)
    assert addition.summary.endswith("1 count this time alone (keep_events=false)")
    assert histories(artifact, addition.events)["ana"] == "abcabc"
    assert not store.folder.exists()


def test_what_is_kept_can_be_forgotten(store: KeptEvents, artifact: Artifact) -> None:
    assert store.forget() == 0
    add(store, artifact, ("ana", "c", 100))
    add(store, artifact, ("ana", "c", 101))
    assert store.forget() == 2
    assert store.events().is_empty()
    add(store, artifact, ("ana", "c", 100))
    assert len(store.events()) == 1


def test_unknown_items_count_once_they_are_known(store: KeptEvents, artifact: Artifact) -> None:
    add(store, artifact, ("ana", "new", 100), ("zoe", "new", 100))
    assert histories(artifact, store.events()) == {"ana": "abcab", "bob": "cbacb", "zoe": ""}
    items = item_numbers(artifact) | {"new": 4}
    found = Histories.of(artifact, store.events(), items=items)
    assert found[0].tolist()[-1] == found[2].tolist()[-1] == 4


def test_users_below_the_filter_keep_what_they_have(artifact: Artifact, store: KeptEvents, tmp_path: Path) -> None:
    assert histories(artifact, None) == {"ana": "abcab", "bob": "cbacb"}
    assert histories(artifact, None, "few", "nobody") == {"ana": "abcab", "bob": "cbacb", "few": "ac"}
    add(store, artifact, ("few", "b", 6))
    assert histories(artifact, store.events())["few"] == "abc"
    out = tmp_path / "mapped"
    out.mkdir()
    artifact_of_all = sequences(tmp_path / "held out", KCore(3, 2))
    for name in ("test_user", "test_at"):  # a case, which mapping wants
        np.save(artifact_of_all.path / f"{name}.npy", np.array([2 if name == "test_user" else 4]) - (name == "test_at"))
    Mapped(Ids(["c", "a"], ["bob", "few"])).run({"sequences": artifact_of_all}, out)
    assert histories(Artifact("other", out, {}), None, "few") == {"bob": "cac", "few": "ac", "ana": "aca"}


def test_what_belongs_to_no_history_is_not_kept_for_them(tmp_path: Path) -> None:
    """A view is no purchase, also of a user with too few; the n last ones are a matter of training."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [(*row, "buy") for row in ROWS] + [("few", "b", 8, "view"), ("viewer", "a", 8, "view")]
    pl.DataFrame(rows, ["user", "item", "time", "kind"], orient="row").write_csv(folder / "data.csv")
    (folder / "out").mkdir()
    rules = OneOf("kind", ["buy"]), KCore(3, 2), DropRepeats(), LastItems(2)
    Interactions(CSV(folder / "data.csv"), AllEvents(), rules).run({}, folder / "out")
    artifact = Artifact("key", folder / "out", {})
    assert histories(artifact, None, "few", "viewer") == {"ana": "bc", "bob": "ba", "few": "ac"}
    later = log(("ana", "b", 100), ("ana", "a", 101))
    assert histories(artifact, later, rules=rules)["ana"] == "bca"
    assert histories(artifact, later, rules=[DropDuplicates()])["ana"] == "bcba"


def test_an_artifact_of_an_earlier_version_has_no_such_users(artifact: Artifact) -> None:
    (artifact.path / LEFT_OUT).unlink()
    assert histories(artifact, None, "few") == {"ana": "abcab", "bob": "cbacb"}


def test_no_file_where_nobody_is_left_out(tmp_path: Path) -> None:
    assert not (sequences(tmp_path, KCore(1, 1)).path / LEFT_OUT).exists()


def _add_many(folder: Path, data: Path, first: int) -> None:
    artifact = Artifact("key", data, {})
    for time in range(first, first + 10):
        add(KeptEvents(folder), artifact, ("ana", "c", time), ("ana", "b", 99))


def test_processes_that_add_at_once_lose_nothing(store: KeptEvents, artifact: Artifact) -> None:
    context = multiprocessing.get_context("spawn")
    parts = [context.Process(target=_add_many, args=(store.folder, artifact.path, first)) for first in (100, 200)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert sorted(store.events()["timestamp"].to_list()) == [99, *range(100, 110), *range(200, 210)]


def test_a_killed_write_leaves_nothing(store: KeptEvents, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sage_pl.artifacts.files.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            add(store, artifact, ("ana", "c", 100))
    assert store.events().is_empty()
    add(store, artifact, ("ana", "c", 100))
    assert len(store.events()) == 1


def test_a_damaged_log_is_named(store: KeptEvents, artifact: Artifact) -> None:
    add(store, artifact, ("ana", "c", 100))
    (file,) = store.folder.glob("*.parquet")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match=f"{file.name}, a log that was kept, is damaged"):
        store.events()


def test_real_times_beside_positions_make_a_log_known(artifact: Artifact, store: KeptEvents) -> None:
    clock = artifact.array("times") + 1_500_000_000
    np.save(artifact.path / "clock.npy", clock)
    np.save(artifact.path / "times.npy", np.tile(np.arange(5), 2))
    rows = [(user, item, time + 1_500_000_000) for user, item, time in ROWS[:10]]
    assert "10 events were known already" in add(store, artifact, *rows, ("ana", "c", 1_600_000_000))
    assert histories(artifact, store.events())["ana"] == "abcabc"
