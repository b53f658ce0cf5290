"""scripts/recommend.py: lists of all users kept in a file, of some, and after one history, by any method."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.commands import recommend as recommending
from sage_pl.commands.lists import ItemNames
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.serving import Histories, TopKCache

ROOT = Path(__file__).parent.parent.parent
Recommend = Callable[..., None]


@pytest.fixture
def recommend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recommend:
    """The command, in this process; or another script's."""

    def run(*arguments: str, script: str = "recommend") -> None:
        monkeypatch.setattr("sys.argv", [f"{script}.py", *arguments, f"hydra.run.dir='{tmp_path}/log'"])
        runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")

    return run


@pytest.mark.parametrize(
    "method",
    [
        ["plain"],
        pytest.param(["sam"], marks=pytest.mark.slow),
        pytest.param(["semantic_convergence", "steps.tokens.quantiser.codes=6"], marks=pytest.mark.slow),
    ],
    ids=lambda m: m[0],
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
    respond = recommending.respond
    monkeypatch.setattr(recommending, "respond", lambda *all: (models.append(all[4]), respond(*all)))

    recommend(checkpoint, "users=all", "k=6", f"parquet={tmp_path / 'lists.parquet'}")
    assert "60 users: 60 lists made" in capsys.readouterr().out
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    assert lists.columns == ["user_id", "rank", "item_id", "score"]
    cache = TopKCache(folder / "checkpoints" / "best.top_k")
    assert (len(cache), cache.k, lists.height) == (60, 6, int((cache.lists.ids > 0).sum()))
    kept_as_answered_live(cache, models[-1], folder)
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
    assert "1 of 3 events have an item unknown to the model, such as nothing" in told

    recommend(checkpoint, "history=[3,7]", "k=1000000000", "seen=keep", f"parquet={tmp_path / 'every.parquet'}")
    assert pl.read_parquet(tmp_path / "every.parquet")["rank"].max() <= 40, "each item once, in the memory of these"
    capsys.readouterr()

    recommend(checkpoint, "history=[3,7]", "k=4", "seen=mask")
    shown = capsys.readouterr().out
    assert "after this history: 2 items" in shown
    assert "recommended (live)" in shown
    model = models[-1]
    assert not model.training
    numbers = ItemNames.of(sequences(folder)).numbers()
    found = model.recommend(torch.tensor([[numbers["3"], numbers["7"]]]), 4).ids[0].tolist()
    for item in (ItemNames.of(sequences(folder)).ids[number] for number in found):
        assert f"number {item} " in shown


def sequences(run: Path) -> Artifact:
    return Artifact.at(OmegaConf.load(run / "config.yaml")["artifacts"]["sequences"])


def kept_as_answered_live(cache: TopKCache, model: RecommenderModule, run: Path) -> None:
    """Each list is what the model recommends to this user alone."""
    histories = Histories.of(sequences(run))
    for row, name in enumerate(histories.names):
        user = torch.from_numpy(histories.users[row : row + 1])
        found = model.recommend(torch.from_numpy(histories.padded(np.array([row]))), 6, cache.origin.exclude_seen, user)
        at = cache.row(name)
        assert cache.lists.ids[at].tolist() == found.ids[0].tolist(), name
        np.testing.assert_allclose(cache.lists.scores[at], found.scores[0].numpy(), rtol=1e-4, atol=1e-5)


def test_without_the_model(
    run_train: Callable[..., Path], recommend: Recommend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is kept is told with its age; codes that are others now are named, though no model is there to refuse them."""
    folder = run_train("method=semantic_convergence", "steps.tokens.quantiser.codes=6", "trainer.max_epochs=1")
    checkpoint = f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}"
    with pytest.raises(SystemExit):
        recommend(checkpoint, "users=u3", "live=false")
    assert "there is no" in capsys.readouterr().out
    recommend(checkpoint, "users=all", "k=6")
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id\nu3,7\nnew,12\n")
    capsys.readouterr()
    recommend(checkpoint, "users=[u3,u5,new]", f"events={events}", "k=3", "live=false", "seen=mask")
    shown = capsys.readouterr().out
    assert "made with another exclude_seen" in shown
    recommend(checkpoint, "users=[u3,u5,new]", f"events={events}", "k=3", "live=false")
    shown = capsys.readouterr().out
    assert "another" not in shown
    sources = ("user u3", "(stale)", "user u5", "(cache)", "user new", "(popular)")
    assert sorted(sources, key=shown.index) == list(sources)
    recommend(checkpoint, "users=u5", "k=3", "live=false", "+overrides.steps.tokens.seed=1")
    shown = capsys.readouterr().out
    assert "(stale)" in shown
    assert "model.artifacts.tokens" in shown
    recommend(checkpoint, "history=[3,7]", "k=3", "live=false")
    assert "(popular)" in capsys.readouterr().out


def test_overrides_that_nothing_reads_are_named(
    run_train: Callable[..., Path], recommend: Recommend, tmp_path: Path
) -> None:
    folder = run_train("method=plain", "trainer.max_epochs=1")
    arguments = [f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}", "+overrides.ts_item=3", "+overrides.dim=8"]
    recommend(*arguments, "users=u5")
    recommend(*arguments, f"folder={tmp_path / 'exported'}", script="export")
    logs = [(tmp_path / "log" / f"{name}.log").read_text() for name in ("recommend", "export")]
    assert [re.findall("nothing in this .*", text) for text in logs] == [
        ["nothing in this recommendation reads overrides.ts_item"],
        ["nothing in this export reads overrides.ts_item"],
    ]


def test_the_example_of_the_docs(
    run_train: Callable[..., Path],
    recommend: Recommend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """docs/serving.md, word for word, by a model that knows its users."""
    folder = run_train("method=sam", "trainer.max_epochs=1", "optimizer.lr=0.05")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.ckpt").symlink_to(folder / "checkpoints" / "best.ckpt")
    (tmp_path / "outputs").symlink_to(sequences(folder).path.parents[2])
    recommend("checkpoint=best.ckpt", "users=all", "k=10")
    recommend("checkpoint=best.ckpt", "folder=DIR", script="export")
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL | re.MULTILINE)
    (example,) = (block for block in blocks if "TopKCache" in block)

    def run(text: str) -> dict[str, object]:
        (tmp_path / "example.py").write_text(text)
        return runpy.run_path(str(tmp_path / "example.py"))

    capsys.readouterr()
    assert run(example)["source"] == "cache"
    assert "another" not in capsys.readouterr().out
    shorter = example.replace("history, k=10", "history[:-1], k=10")
    known, nobody = run(shorter), run(shorter.replace("user=user", "user=0"))
    assert known["source"] == nobody["source"] == "live"
    assert np.abs(np.array(known["scores"]) - np.array(nobody["scores"])).max() > 1e-3

    other = folder / "checkpoints" / "last.ckpt"
    recommend(f"checkpoint={other}", "users=all", "k=10", "cache=best.top_k")
    capsys.readouterr()
    assert run(example)["source"] == "live"
    assert "best.top_k was made with another model.checkpoint; none of its" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say for whom"),
        (["users=all", "history=[1]"], "one of them"),
        (["users=all", "k=0"], "k is 0"),
        (["users=all", "seen=maybe"], "seen is 'maybe'"),
        (["history=[1]", "events=x.csv"], "events=FILE has no use"),
        (["history=[1]", "forget_events=true"], "forget_events=true has no use"),
        (["users=[]"], "the list is empty"),
        (["users=all", "forget_events=no"], "forget_events is 'no'; wanted true or false"),
        (["users=all", "keep_events=1"], "keep_events is 1; wanted true or false"),
        (["users=all", "live=false"], "needs the model; leave out live=false"),
        (["users=all"], "there is no checkpoint"),
        (["users=all", "events=nowhere.csv", "items=gone.csv"], "there is no file nowhere.csv; events=FILE"),
        (["users=all", "events=nowhere.csv", "items=gone.csv"], "there is no file gone.csv; items=FILE"),
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
        ("users=[u3,u333]", "no user 'u333', of 60; events=FILE adds users"),
        ("history=[999]", "no item '999' among its 40; ids look like"),
    ):
        with pytest.raises(SystemExit):
            recommend(f"checkpoint={checkpoint}", *arguments.split())
        assert message in capsys.readouterr().out
