"""For every method: the checkpoint, the kept lists and the exported folder recommend the same items with the same scores."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_pl import serving
from sage_pl.commands import recommend as recommending
from sage_pl.errors import SettingError
from tests.e2e.test_methods import METHODS, SMALL

ROOT = Path(__file__).parent.parent.parent
USERS = ("u3", "u5", "u20")
Answers = list[tuple[list[str], Any, list[str], Any, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answers]:
    """A script in this process; what ``recommend`` prints: history, items, scores, source."""
    answers: Answers = []

    def keep(names: Any, whose: str, history: Any, answer: Any) -> None:
        ids = names.ids.to_list()
        answers.append(([ids[i] for i in history], whose, [ids[i] for i in answer.ids], answer.scores, answer.source))

    monkeypatch.setattr(recommending, "print_list", keep)

    def run(script: str, *arguments: str) -> Answers:
        answers.clear()
        monkeypatch.setattr("sys.argv", [f"{script}.py", *arguments, f"hydra.run.dir='{tmp_path}/log'"])
        runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
        return list(answers)

    return run


def equal(items: list[serving.Recommendation], ids: list[str], scores: Any) -> None:
    assert [item.id for item in items] == ids
    np.testing.assert_allclose([item.score for item in items], scores, rtol=1e-4, atol=1e-5)


CELLS = [*((method, "sasrec") for method in METHODS), ("plain", "bert4rec")]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "backbone"), CELLS)
@pytest.mark.parametrize("seen", ["mask", "keep"])
def test_three_sources_one_answer(
    method: str,
    backbone: str,
    seen: str,
    run_train: Callable[..., Path],
    command: Callable[..., Answers],
    tmp_path: Path,
) -> None:
    if seen == "keep" and method not in ("plain", "tiger"):
        pytest.skip("the rule of one kind of model")
    settings = [f"method={method}", f"backbone={backbone}", *SMALL.get(method, []), f"evaluation.seen={seen}"]
    folder = run_train(*settings, "trainer.max_epochs=1")
    checkpoint, exported = f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}", tmp_path / "exported"
    command("recommend", checkpoint, "users=all", "k=6")
    kept = command("recommend", checkpoint, f"users=[{','.join(USERS)}]", "k=6")
    command("export", checkpoint, f"folder={exported}")
    model = serving.load(exported)
    for user, (history, _, ids, scores, source) in zip(USERS, kept, strict=True):
        assert source == "cache"
        equal(model.recommend(history, 6, user=user), ids, scores)
        ((_, _, ids, scores, source),) = command("recommend", checkpoint, f"history=[{','.join(history)}]", "k=6")
        assert source == "live"
        equal(model.recommend(history, 6), ids, scores)
        assert all(item.title.endswith(f"number {item.id}") for item in model.recommend(history, 6))
        assert bool({item.id for item in model.recommend(history, 40)} & set(history)) == (seen == "keep")
    histories = [history for history, *_ in kept]
    for one, together in zip(histories, model.recommend(histories=[*histories, []], k=6), strict=False):
        equal(together, [item.id for item in model.recommend(one, 6)], [item.score for item in model.recommend(one, 6)])


def test_an_exported_folder_says_what_it_is(
    run_train: Callable[..., Path],
    command: Callable[..., Answers],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The README's program runs; what is wrong in a call is one sentence."""
    best, exported = run_train("method=plain") / "checkpoints" / "best.ckpt", tmp_path / "exported"
    command("export", f"checkpoint={best}", f"folder={exported}")
    text = (exported / "README.md").read_text()
    assert "newest 8 items" in text
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(exported)
    capsys.readouterr()
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - the program this project writes
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert "number" in lines[0]

    model = serving.load(exported)
    with pytest.raises(SettingError, match=r"no item '1x' among its 40; the nearest ids are 1"):
        model.recommend(["3", "1x"])
    with pytest.raises(SettingError, match=r"write \['3'\]"):
        model.recommend("3")
    with pytest.raises(SettingError, match="one of them"):
        model.recommend()
    with pytest.raises(SettingError, match="k must be at least 1"):
        model.recommend(["3"], k=0)
    assert model.recommend(histories=[]) == []

    (exported / "catalogue.json").unlink()
    (exported / "manifest.json").unlink()
    file = exported / "model.json"
    file.write_text(file.read_text().replace('"manifest": true', '"manifest": false'))  # as earlier versions wrote it
    with pytest.raises(SettingError, match="earlier version"):
        serving.load(exported).recommend(["3"])
