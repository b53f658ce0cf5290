"""Days of events, users below the filter, and histories in files, by the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.e2e.test_restricted import Command, command

__all__ = ["command"]


def refusal(command: Command, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused command says."""
    capsys.readouterr()
    with pytest.raises(SystemExit):
        command("recommend", *arguments)
    return capsys.readouterr().out.rstrip().rpartition("\n")[2]


@pytest.fixture
def trained(run_train: Callable[..., Path]) -> Path:
    return run_train("method=plain", "trainer.max_epochs=1", "filters=core")


@pytest.mark.slow
def test_a_day_alone_and_the_next(
    trained: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"
    ((before, *_),) = command("recommend", checkpoint, "users=u3")
    days = [tmp_path / f"day{number}.csv" for number in range(3)]
    for number, (day, item) in enumerate(zip(days, ("7", "12", "new"), strict=True)):
        day.write_text(
            f"user_id,item_id,timestamp\nu3,{item},{1_600_000_000 + number}\nzoe,{item},{1_600_000_000 + number}\n"
        )
    answers = [command("recommend", checkpoint, "users=[u3,zoe]", f"events={day}") for day in (*days, days[0])]
    assert [history for history, *_ in answers[0]] == [[*before, "7"], ["7"]]
    assert all([history for history, *_ in answer] == [[*before, "7", "12"], ["7", "12"]] for answer in answers[1:])
    out = " ".join(capsys.readouterr().out.split())
    assert "2 events of 2 users, 1 of them new, and 1 items, 0 of them unknown to the model; 0 events were known" in out
    assert "2 events of 2 users, 0 of them new, and 1 items, 1 of them unknown to the model; 0 events were known" in out
    assert "2 events of 2 users, 0 of them new, and 1 items, 0 of them unknown to the model; 2 events were known" in out
    other = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    ((history, *_),) = command("recommend", other, "users=zoe")
    assert history == ["7", "12"], "the run's checkpoints share them"

    look = tmp_path / "look.csv"
    look.write_text("user_id,item_id,timestamp\nu3,1,1500000000\n")
    ((history, *_),) = command("recommend", checkpoint, "users=u3", f"events={look}", "keep_events=false")
    assert sorted(history) == sorted([*before, "1", "7", "12"])
    assert history[-2:] == ["7", "12"], "an older event takes its place by time"
    ((history, *_),) = command("recommend", checkpoint, "users=u3")
    assert history == [*before, "7", "12"]
    command("recommend", checkpoint, "users=all", "k=5", f"parquet={tmp_path / 'lists.parquet'}")
    assert "zoe" in pl.read_parquet(tmp_path / "lists.parquet")["user_id"]
    ((history, *_),) = command("recommend", checkpoint, "users=u3", "forget_events=true")
    assert history == before
    assert "no user 'zoe'" in refusal(command, capsys, checkpoint, "users=zoe")


def test_a_user_below_the_filter(
    trained: Path, command: Command, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The history that the user has, whatever is asked; nobody else's id is proposed."""
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"
    lists = tmp_path / "lists.parquet"
    command("recommend", checkpoint, "users=all", "k=5", f"parquet={lists}")
    data = pl.read_parquet(small_world / "interactions.parquet").sort("timestamp", maintain_order=True)
    users = set(pl.read_parquet(lists)["user_id"])
    few = next(user for user in data["user_id"].unique(maintain_order=True) if user not in users)
    ((history, _, _, source),) = command("recommend", checkpoint, f"users={few}")
    catalogue = {item for item, *_ in data.group_by("item_id").len().rows()}
    events = [str(item) for item in data.filter(user_id=few)["item_id"] if item in catalogue]
    assert history == [item for item in events if item in history]
    assert len(history) >= 2
    assert source == "live"
    (tmp_path / "day.csv").write_text(f"user_id,item_id,timestamp\n{few},7,1600000000\n")
    ((longer, *_),) = command("recommend", checkpoint, f"users={few}", f"events={tmp_path / 'day.csv'}")
    assert longer == [*history, "7"]

    known = sorted(users, key=len)[-1]
    (tmp_path / "asked.txt").write_text(f"{known}\n{known}x\n")
    for whom in (f"users={known}x", f"users={tmp_path / 'asked.txt'}", f"users=[{known},{known}x]"):
        text = refusal(command, capsys, checkpoint, whom).replace(f"{known}x", "")
        assert not any(user in text.replace("'", " ").split() for user in data["user_id"].unique())
        assert "events=FILE adds users" in text


@pytest.mark.slow
def test_histories_of_many_users_from_a_file(
    trained: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"
    histories = {"a": ["3", "7"], "u3": ["12"], "c": ["5", "3", "7", "8", "11", "1", "2", "5", "30", "3", "12"]}
    alone = [command("recommend", checkpoint, f"history=[{','.join(items)}]", "k=4")[0] for items in histories.values()]
    rows = [(user, item, 100 - at) for user, items in histories.items() for at, item in enumerate(reversed(items))]
    table = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    files = {name: tmp_path / name for name in ("rows.csv", "rows.parquet", "lines.jsonl", "records.jsonl")}
    table.write_csv(files["rows.csv"])
    table.write_parquet(files["rows.parquet"])
    table.write_ndjson(files["records.jsonl"])
    files["lines.jsonl"].write_text("\n".join(map(json.dumps, histories.values())) + "\n\n")
    for name, file in files.items():
        answers = command("recommend", checkpoint, f"history={file}", "k=4", "batch_size=2")
        assert [answer[:2] for answer in answers] == [answer[:2] for answer in alone], name
        lists = tmp_path / "lists.parquet"
        assert command("recommend", checkpoint, f"history={file}", "k=4", f"parquet={lists}") == []
        users = list(histories) if name != "lines.jsonl" else ["1", "2", "3"]
        for user, (_, ids, _, _) in zip(users, alone, strict=True):
            assert pl.read_parquet(lists).filter(user_id=user).sort("rank")["item_id"].to_list() == ids
    command("recommend", checkpoint, "users=all", "k=4")
    popular = command("recommend", checkpoint, f"history={files['lines.jsonl']}", "k=4", "live=false")
    assert [source for *_, source in popular] == ["popular"] * 3

    (tmp_path / "one.txt").write_text("3\n7\n")
    assert command("recommend", checkpoint, f"history={tmp_path / 'one.txt'}", "k=4")[0][:2] == alone[0][:2]
    (tmp_path / "users.txt").write_text("u3\n\n u5 \n")
    asked = command("recommend", checkpoint, f"users={tmp_path / 'users.txt'}", "k=4", f"parquet={tmp_path / 'two'}")
    assert asked == []
    assert pl.read_parquet(tmp_path / "two")["user_id"].unique(maintain_order=True).to_list() == ["u3", "u5"]

    for content, message in (
        ('["3", "999"]\n', "no item '999' among its"),
        ('["3", "7"]\n3\n', 'line 2: \'3\', wanted ["ITEM", "ITEM"] on each line'),
        ("user_id,items\nu3,7\n", "no column item_id, timestamp"),
        ("3\n999\n", "no item '999' among its"),
        ("\n", "is empty"),
    ):
        (tmp_path / "bad").write_text(content)
        assert message in refusal(command, capsys, checkpoint, f"history={tmp_path / 'bad'}")


def test_events_of_a_new_item_count_where_the_item_is_known(
    run_train: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={run_train('method=residual_text', 'trainer.max_epochs=1') / 'checkpoints' / 'best.ckpt'}"
    (tmp_path / "day.csv").write_text("user_id,item_id,timestamp\nzoe,3,1600000000\nzoe,SKU-9,1600000001\n")
    (tmp_path / "items.csv").write_text("item_id,title\nSKU-9,green leaf tea box\n")
    ((history, *_),) = command("recommend", checkpoint, "users=zoe", f"events={tmp_path / 'day.csv'}")
    assert history == ["3"]
    ((history, ids, *_),) = command(
        "recommend", checkpoint, "users=zoe", f"items={tmp_path / 'items.csv'}", "seen=mask", "k=41"
    )
    assert history == ["3", "SKU-9"]
    assert len(ids) == 39, "both are masked, of 41"
