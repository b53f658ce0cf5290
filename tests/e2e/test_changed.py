"""A data file that changed after the training: the trained data answer, and every command says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sage_pl.commands.door import open_door

ROOT = Path(__file__).parent.parent.parent
Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command in this process: what it prints, in one line."""

    def run(name: str, *arguments: str) -> str:
        script = str(ROOT / "scripts" / f"{name}.py")
        monkeypatch.setattr("sys.argv", [script, *arguments, f"hydra.run.dir='{tmp_path}/{name}'"])
        capsys.readouterr()
        open_door(name, script)
        return " ".join("".join(capsys.readouterr()).split())

    return run


def test_every_command_says_that_the_file_has_changed(
    run_train: Callable[..., Path], command: Command, small_world: Path, tmp_path: Path
) -> None:
    world = Path(shutil.copytree(small_world, tmp_path / "world"))
    run = run_train("method=plain", "trainer.max_epochs=1", f"dataset.path={world}")
    checkpoint, file = f"checkpoint={run}/checkpoints/best.ckpt", world / "interactions.parquet"
    commands = {"evaluate": [], "recommend": ["users=u3", "k=2"], "export": [f"folder={tmp_path}/exported"]}
    line = f"{file} changed after the training, and the data of the training are used; data=current reads"
    for name, arguments in commands.items():
        assert "changed after the training" not in command(name, checkpoint, *arguments)
    metrics = json.loads((tmp_path / "evaluate" / "metrics.json").read_text())

    events = pl.read_parquet(file)
    events.vstack(events[:1].with_columns(pl.col("timestamp") + 10**6)).write_parquet(file)
    shutil.rmtree(tmp_path / "exported")
    for name, arguments in commands.items():
        assert command(name, checkpoint, *arguments).count(line) == 1, name
    assert json.loads((tmp_path / "evaluate" / "metrics.json").read_text()) == metrics

    assert "these are results on other data" in command("evaluate", checkpoint, "data=current")
    assert json.loads((tmp_path / "evaluate" / "metrics.json").read_text())["data/current"] == 1.0


@pytest.mark.slow
def test_lists_that_were_made_for_other_numbers_of_items_are_refused(
    run_train: Callable[..., Path], command: Command, small_world: Path, tmp_path: Path
) -> None:
    """The same shop with its rows in another order numbers the items otherwise."""
    world = Path(shutil.copytree(small_world, tmp_path / "world"))
    events = pl.read_parquet(world / "interactions.parquet")
    events.sort("item_id", descending=True, maintain_order=True).write_parquet(world / "interactions.parquet")
    cache = f"cache={tmp_path}/lists.top_k"
    plain = ("method=plain", "trainer.max_epochs=1")
    first, other = (run_train(*plain, f"dataset.path={place}") for place in (small_world, world))
    command("recommend", f"checkpoint={first}/checkpoints/best.ckpt", "users=all", "k=4", cache)
    assert "(cache)" in command(
        "recommend", f"checkpoint={first}/checkpoints/best.ckpt", "users=u3", cache, "live=false", "k=4"
    )
    with pytest.raises(SystemExit):
        command("recommend", f"checkpoint={other}/checkpoints/best.ckpt", "users=u3", cache, "live=false", "k=4")
    log = (tmp_path / "recommend" / "recommend.log").read_text().splitlines()[-1]
    assert "made with other items or other numbers of them" in log
    assert "scripts/recommend.py checkpoint=FILE users=all" in log
    command("recommend", f"checkpoint={other}/checkpoints/best.ckpt", "users=all", "k=4", cache)
    assert "(cache)" in command(
        "recommend", f"checkpoint={other}/checkpoints/best.ckpt", "users=u3", cache, "live=false", "k=4"
    )


@pytest.mark.slow
def test_limited_tests_are_compared_on_the_cases_that_were_ranked(
    run_train: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    """One batch of 16 of 60 cases; a run that ranked others is left out."""
    limited = ("method=plain", "trainer.max_epochs=1", "data.eval_batch_size=16", "+trainer.limit_test_batches=1")
    runs = [run_train(*limited, f"seed={seed}") for seed in (1, 2)]
    whole = run_train("method=plain", "trainer.max_epochs=1", "seed=3")
    counts = [json.loads((run / "metrics.json").read_text())["test/full/count"] for run in (*runs, whole)]
    assert counts == [16, 16, 60]
    ranks = pl.read_parquet(runs[0] / "ranks.parquet")
    assert ranks["full"].is_not_null().sum() == 16

    printed = command("compare", f"runs=[{runs[0]},{runs[1]},{whole}]", "by=method", "baseline=null")
    record = json.loads((tmp_path / "compare" / "comparison.json").read_text())
    assert {value["cases"] for value in record["values"] if value["group"] == "overall"} == {16}
    assert {value["seeds"] for value in record["values"] if value["system"] == "plain"} == {2}
    assert "its 60 ranked cases are not those of the other runs" in printed
