"""scripts/recommend.py: lists of all users kept in a file, of some, and after one history, by any method."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl import recommending
from sage_pl.models.base import RecommenderModule
from sage_pl.serving import TopKCache

ROOT = Path(__file__).parent.parent.parent
Recommend = Callable[..., None]


@pytest.fixture
def recommend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recommend:
    """The command, in this process."""

    def run(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["recommend.py", *arguments, f"hydra.run.dir='{tmp_path}/log'"])
        runpy.run_path(str(ROOT / "scripts" / "recommend.py"), run_name="__main__")

    return run


@pytest.mark.parametrize(
    "method", [["plain"], ["sam"], ["semantic_convergence", "steps.tokens.quantiser.codes=6"]], ids=lambda m: m[0]
)
def test_lists_of_all_users(
    method: list[str],
    run_train: Callable[..., Path],
    recommend: Recommend,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = run_train(f"method={method[0]}", *method[1:], "trainer.max_epochs=1")
    checkpoint = f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}"
    models: list[RecommenderModule] = []
    answer = recommending.answer
    monkeypatch.setattr(recommending, "answer", lambda *all: (models.append(all[-1]), answer(*all)))

    recommend(checkpoint, "users=all", "k=6", f"parquet={tmp_path / 'lists.parquet'}")
    assert "60 users: 60 lists made" in capsys.readouterr().out
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    assert lists.columns == ["user_id", "rank", "item_id", "score"]
    cache = TopKCache(folder / "checkpoints" / "best.top_k.npy")
    assert (len(cache), cache.k, lists.height) == (60, 6, int((cache.table["ids"] > 0).sum()))
    assert lists.group_by("user_id").agg(pl.col("rank").is_sorted(), pl.col("score").is_sorted(descending=True))[
        "rank", "score"
    ].to_numpy().all()  # fmt: skip
    assert not lists.select("user_id", "item_id").is_duplicated().any()

    recommend(checkpoint, "users=all", "k=3")
    assert "60 users: 0 lists made, 60 were up to date" in capsys.readouterr().out
    recommend(checkpoint, "users=[u3,u5]", "k=3")
    shown = capsys.readouterr().out
    assert shown.count("recommended (cache)") == 2
    for user in ("u3", "u5"):
        for item in lists.filter(pl.col("user_id") == user, pl.col("rank") <= 3)["item_id"]:
            assert f"number {item} " in shown

    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id\nu3,7\nnew,12\nnew,nothing\n")
    recommend(checkpoint, "users=u3", f"events={events}", "k=3")
    assert "recommended (live)" in capsys.readouterr().out
    recommend(checkpoint, "users=all", f"events={events}", "k=3")
    told = capsys.readouterr().out
    assert "61 users: 2 lists made" in told
    assert "1 of 3 events have an item the model does not know, such as nothing" in told

    recommend(checkpoint, "history=[3,7]", "k=4", "seen=mask")
    shown = capsys.readouterr().out
    assert "after this history: 2 items" in shown
    assert "recommended (live)" in shown
    model = models[-1]
    assert not model.training
    (found,) = (
        recommending.CachedRecommender(None, "", True, model).recommend("", np.array([3, 7]), 4).ids[None].tolist()
    )
    assert len(set(found) - {3, 7}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say for whom"),
        (["users=all", "history=[1]"], "one of them"),
        (["users=all", "k=0"], "k=0"),
        (["users=all", "seen=maybe"], "seen is 'maybe'"),
        (["users=[u1]", "parquet=x.parquet"], "users=all"),
        (["history=[1]", "events=x.csv"], "no use"),
        (["users=[]"], "the list is empty"),
        (["users=all"], "there is no checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_question_without_an_answer(
    arguments: list[str], message: str, recommend: Recommend, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        recommend("checkpoint=nowhere.ckpt", *arguments)
    assert message in capsys.readouterr().out


def test_unknown_users_and_items(
    run_train: Callable[..., Path], recommend: Recommend, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run_train("method=plain", "trainer.max_epochs=1") / "checkpoints" / "best.ckpt"
    for arguments, message in (
        ("users=[u3,u333]", "no user 'u333', of 60; did you mean u3"),
        ("history=[999]", "no item '999', of 40; ids look like"),
        ("users=all events=nowhere.csv", "there is no file nowhere.csv"),
    ):
        with pytest.raises(SystemExit):
            recommend(f"checkpoint={checkpoint}", *arguments.split())
        assert message in capsys.readouterr().out
