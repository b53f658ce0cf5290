"""candidates= and exclude=: the exact best of what remains, by the command, in kept lists and in the exported folder."""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sage_pl import serving
from sage_pl.commands import recommend as recommending
from sage_pl.errors import SettingError
from tests.e2e.test_methods import SMALL

ROOT = Path(__file__).parent.parent.parent
Answer = tuple[list[str], list[str], Any, str]  # history, items, scores, source
Command = Callable[..., list[Answer]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """A script in this process; the lists that ``recommend`` would print."""
    answers: list[Answer] = []

    def keep(names: Any, whose: str, history: Any, answer: Any) -> None:
        ids = names.ids.to_list()
        answers.append(([ids[i] for i in history], [ids[i] for i in answer.ids], answer.scores, answer.source))

    monkeypatch.setattr(recommending, "print_list", keep)

    def run(script: str, *arguments: str) -> list[Answer]:
        answers.clear()
        monkeypatch.setattr("sys.argv", [f"{script}.py", *arguments, f"hydra.run.dir='{tmp_path}/log'"])
        runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
        return list(answers)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "sam", "semantic_convergence"])
@pytest.mark.parametrize("seen", ["mask", "keep"])
def test_the_best_of_what_remains(
    method: str, seen: str, run_train: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    folder = run_train(f"method={method}", *SMALL.get(method, []), "trainer.max_epochs=1", f"evaluation.seen={seen}")
    checkpoint, exported = f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}", tmp_path / "exported"
    command("export", checkpoint, f"folder={exported}")
    model = serving.load(exported)
    every = model.catalogue.ids[1:]
    candidates, exclude = [*every[1:20:2], *every[2:12:3]], [*every[3:9], every[-1]]  # they overlap
    remaining = set(candidates) - set(exclude)
    (tmp_path / "candidates.txt").write_text("\n\n".join(f" {one} " for one in candidates))
    (tmp_path / "exclude.txt").write_text("\n".join(exclude) + "\n")
    restricted = f"candidates={tmp_path / 'candidates.txt'}", f"exclude=[{','.join(exclude)}]"
    assert command("recommend", checkpoint, "users=all", "k=4", *restricted) == []
    kept = command("recommend", checkpoint, "users=[u3,u5,u20]", "k=4", *restricted)
    for user, (history, ids, scores, source) in zip(("u3", "u5", "u20"), kept, strict=True):
        assert source == "cache"
        whole = model.recommend(history, len(every), user=user, candidates=every)  # every item's score
        best = [row for row in whole if row.id in remaining][:4]
        assert ids == [row.id for row in best]
        np.testing.assert_allclose(scores, [row.score for row in best], rtol=1e-4, atol=1e-5)
        again = model.recommend(history, 4, user=user, candidates=candidates, exclude=exclude)
        assert [row.id for row in again] == ids
        (live,) = command(
            "recommend", checkpoint, f"history=[{','.join(history)}]", "k=4",
            f"candidates=[{','.join(candidates)}]", f"exclude={tmp_path / 'exclude.txt'}",
        )  # fmt: skip
        again = model.recommend(history, 4, candidates=candidates, exclude=exclude)
        assert (live[3], live[1]) == ("live", [row.id for row in again])
    ((_, ids, _, source),) = command("recommend", checkpoint, "users=u3", "k=4", restricted[0])
    assert source == "live", "lists of another restriction are not taken"
    assert set(ids) <= set(candidates)


@pytest.mark.slow
def test_few_none_and_unknown(
    run_train: Callable[..., Path], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"checkpoint={run_train('method=plain', 'trainer.max_epochs=1') / 'checkpoints' / 'best.ckpt'}"
    command("export", checkpoint, f"folder={tmp_path / 'exported'}")
    model = serving.load(tmp_path / "exported")
    every = model.catalogue.ids[1:]
    ((_, ids, _, _),) = command("recommend", checkpoint, "history=[3,7]", "k=10", "candidates=[5,6,8]", "seen=keep")
    assert sorted(ids) == ["5", "6", "8"], "fewer than k are all"
    assert [row.id for row in model.recommend(["3", "7"], candidates=["5", "6", "8"], seen="keep")] == ids
    lists = tmp_path / "lists.parquet"
    command("recommend", checkpoint, "users=all", "k=10", "candidates=[5,6,8]", "seen=keep", f"parquet={lists}")
    assert set(pl.read_parquet(lists)["item_id"]) == {"5", "6", "8"}
    assert pl.read_parquet(lists).height == 60 * 3

    (tmp_path / "all.txt").write_text("\n".join(every))
    (tmp_path / "unknown.txt").write_text("3\n999\n")
    (tmp_path / "empty.txt").write_text("\n")
    wishes = itertools.cycle(["history=[3,7]", "users=all", "users=u3"])
    for arguments, message in (
        (f"exclude={tmp_path / 'all.txt'}", "leave no item to recommend"),
        ("candidates=[3] exclude=[3]", "leave no item to recommend"),
        ("candidates=[]", "the list is empty"),
        (f"candidates={tmp_path / 'empty.txt'}", "is empty; wanted one id per line"),
        ("candidates=[3,1x]", "no item '1x' among its 40; the nearest ids are"),
        ("exclude=999", "no item '999' among its 40"),
        (f"exclude={tmp_path / 'unknown.txt'}", "no item '999' among its 40"),
        (f"exclude={tmp_path / 'nowhere.txt'}", "no item"),
    ):
        whom = next(wishes)
        with pytest.raises(SystemExit):
            command("recommend", checkpoint, whom, *arguments.split())
        refusal = [line for line in capsys.readouterr().out.splitlines() if message in line]
        assert len(refusal) == 1, (arguments, whom)
    for restriction, message in (
        ({"exclude": every}, "leave no item"),
        ({"candidates": []}, "leave no item"),
        ({"candidates": ["1x"]}, "no item '1x'"),
        ({"exclude": "3"}, r"write \['3'\]"),
    ):
        with pytest.raises(SettingError, match=message):
            model.recommend(["3"], **restriction)  # type: ignore[arg-type]
