"""refit=RUN_FOLDER: a finished run trained again on all events, for serving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import pytorch_lightning as lightning
import torch
from omegaconf import OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.commands.door import open_door
from sage_pl.comparison.runs import RunError, find, read
from sage_pl.report.make import of_comparison, of_run
from sage_pl.report.page import Options
from sage_pl.runs.checkpoint import open_checkpoint, prepared, trained
from sage_pl.serving import load
from sage_pl.training.callbacks.epoch_seed import EpochSeed

Run = Callable[..., Path]
ROOT = Path(__file__).parent.parent.parent
Capture = pytest.CaptureFixture[str]
METHODS = {
    "plain": [],
    "sage": [],
    "pad": [],
    "llmemb": [],
    "sam": [],
    "semantic_convergence": ["steps.tokens.quantiser.codes=6"],
}


@pytest.fixture
def run_refit(run_bare: Run, small_settings: list[str]) -> Run:
    """``train.py refit=...`` without the settings of the run, which it takes from there."""
    paths = next(setting for setting in small_settings if setting.startswith("paths.outputs="))
    return lambda place, *overrides: run_bare(f"refit={place}", paths, *overrides)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Another command, in this process."""

    def run(name: str, *arguments: str) -> None:
        script = str(ROOT / "scripts" / f"{name}.py")
        monkeypatch.setattr("sys.argv", [script, *arguments, f"hydra.run.dir='{tmp_path}/{name}'"])
        open_door(name, script)

    return run


def flat(capsys: Capture) -> str:
    """All that was printed, in one line."""
    return " ".join("".join(capsys.readouterr()).split())


def artifact(run: Path, name: str) -> Artifact:
    return Artifact.at(OmegaConf.load(run / "config.yaml")["artifacts"][name])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_refit_trains_on_all_events_and_repeats_the_rest(run_train: Run, run_refit: Run, method: str) -> None:
    run = run_train(f"method={method}", *METHODS[method], "trainer.max_epochs=3")
    refit = run_refit(run)

    best, again = (
        open_checkpoint(folder / "checkpoints" / name) for folder, name in ((run, "best.ckpt"), (refit, "refit.ckpt"))
    )
    assert again.epochs == best.epochs
    assert again.weights.keys() == best.weights.keys()
    assert json.loads((refit / "metrics.json").read_text()) == json.loads((run / "metrics.json").read_text())
    assert f"its metrics are those of {run}" in (refit / "train.log").read_text()
    before, now = (artifact(folder, "sequences") for folder in (run, refit))
    assert now.array("train_end").sum() == len(now.array("values")) > before.array("train_end").sum()
    for name in ("items", "users"):
        assert now.frame(name).equals(before.frame(name)), "a split renumbers nothing"
    assert "candidates" not in again.artifact_keys
    for name in ("plain", "align"):  # stages
        if name in again.artifact_keys:
            stages = [open_checkpoint(artifact(folder, name).path / "best.ckpt") for folder in (run, refit)]
            assert stages[0].epochs == stages[1].epochs, name
            assert again.artifact_keys[name] != best.artifact_keys[name]
            assert (artifact(refit, name).path / "metrics.json").read_text() == (
                artifact(run, name).path / "metrics.json"
            ).read_text()


def test_every_held_out_event_is_learned_from(run_train: Run, run_refit: Run) -> None:
    """Batches of the refit hold whole histories; two refits are equal bit for bit, one in two parts too."""
    run = run_train("method=plain", "trainer.max_epochs=3", "data.max_len=50")
    refit = run_refit(run)
    config = prepared(open_checkpoint(refit / "checkpoints" / "refit.ckpt"), {})
    parts = trained(config, open_checkpoint(refit / "checkpoints" / "refit.ckpt"))
    data = parts.datamodule.sequences
    events = sum(int((batch["items"] > 0).sum()) for batch in parts.datamodule.train_dataloader())
    assert events == sum(length for length in data.lengths if length >= 2)

    first = open_checkpoint(refit / "checkpoints" / "refit.ckpt").weights
    again = run_refit(run / "checkpoints" / "best.ckpt")
    assert same(first, open_checkpoint(again / "checkpoints" / "refit.ckpt").weights)
    assert not same(first, open_checkpoint(run / "checkpoints" / "best.ckpt").weights)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@pytest.mark.slow
def test_an_interrupted_refit_goes_on(
    run_train: Run, run_refit: Run, run_bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_train("method=plain", "trainer.max_epochs=4", "optimizer.lr=0.01")
    whole = run_refit(run)
    assert open_checkpoint(whole / "checkpoints" / "refit.ckpt").epochs > 1
    start, seen = EpochSeed.on_train_epoch_start, []

    def interrupted(self: EpochSeed, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 1:
            seen.append(trainer)
            raise KeyboardInterrupt
        start(self, trainer, module)

    monkeypatch.setattr(EpochSeed, "on_train_epoch_start", interrupted)
    with pytest.raises(SystemExit):
        run_refit(run)
    monkeypatch.undo()
    cut = Path(seen[0].default_root_dir)
    assert not (cut / "checkpoints" / "refit.ckpt").exists(), "a part is no result"
    resumed = run_bare(f"resume={cut}/checkpoints/last.ckpt", "report=null")
    ends = [open_checkpoint(folder / "checkpoints" / "refit.ckpt").weights for folder in (whole, resumed)]
    assert same(*ends)
    assert (resumed / "metrics.json").read_text() == (run / "metrics.json").read_text()


def test_it_serves_and_is_not_tested(
    run_train: Run, run_refit: Run, tmp_path: Path, capsys: Capture, command: Callable[..., None]
) -> None:
    run = run_train("method=plain", "trainer.max_epochs=1")
    refit = run_refit(run)
    checkpoint = f"checkpoint={refit}/checkpoints/refit.ckpt"
    command("recommend", checkpoint, "users=[u3]", "k=4")
    assert "user u3" in capsys.readouterr().out
    command("export", checkpoint, f"folder={tmp_path}/exported")
    assert load(tmp_path / "exported").model.recommend(torch.tensor([[3, 7]]), 4).ids.shape == (1, 4)
    with pytest.raises(SystemExit):
        command("evaluate", checkpoint)
    assert f"evaluate checkpoint={run}/checkpoints/best.ckpt" in flat(capsys)
    runs, others = find(f"{tmp_path}/**")
    assert [(one.folder, one.refit) for one in runs] == [(run, None), (run, refit)]
    assert not others
    assert read(refit).metrics == json.loads((refit / "metrics.json").read_text())


@pytest.mark.slow
def test_it_is_compared_and_reported_with_a_mark(
    run_train: Run, run_refit: Run, tmp_path: Path, capsys: Capture, command: Callable[..., None]
) -> None:
    """Its values are those of the run that it repeats, never averaged with them, and the mark is explained below the table."""
    run = run_train("method=plain", "trainer.max_epochs=1")
    refit = run_refit(run)
    capsys.readouterr()
    command("compare", f"runs=[{run},{refit}]", "by=[method,backbone]", "baseline=popularity")
    printed = flat(capsys)
    assert "plain/sasrec/refit ‡ §" in printed
    assert "§: trained again on all events (refit)" in printed
    record = json.loads((tmp_path / "compare" / "comparison.json").read_text())
    (runs,) = record["runs"].values()
    assert runs == {"plain/sasrec": [str(run)], "plain/sasrec/refit": [str(refit)]}
    means: dict[str, list[float]] = {}
    for value in record["values"]:
        means.setdefault(value["system"], []).append(value["mean"])
    assert means["plain/sasrec"] == means["plain/sasrec/refit"]
    assert {value["refit"] for value in record["values"] if value["system"] == "plain/sasrec/refit"} == {True}
    for page in (of_run(refit, Options()), of_comparison(tmp_path / "compare", Options())):
        assert "plain/sasrec/refit" in page.read_text()
        assert "§: trained again on all events (refit)" in page.read_text()
    assert not (run / "report.html").exists(), "the page of a refit is its own"
    shutil.rmtree(run)
    with pytest.raises(RunError, match=r"is a refit on all events.*put that folder back, or leave the refit out"):
        read(refit)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=0.5"], "trained with optimizer.lr="),
        pytest.param(["method=sage"], "trained with method=plain", marks=pytest.mark.slow),
        pytest.param(["loss.gamma=0.3"], "leave out loss.gamma", marks=pytest.mark.slow),
        pytest.param(["trainer.max_epochs=9"], "its 1 epochs; leave out trainer.max_epochs", marks=pytest.mark.slow),
        pytest.param(["resume=x.ckpt"], "leave out one of them", marks=pytest.mark.slow),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_its_settings_are_those_of_the_run(
    run_train: Run, run_refit: Run, capsys: Capture, arguments: list[str], message: str
) -> None:
    run = run_train("method=plain", "trainer.max_epochs=1")
    with pytest.raises(SystemExit):
        run_refit(run, *arguments)
    assert message in flat(capsys)


@pytest.mark.parametrize("place", ["true", "nowhere", "{run}/checkpoints/last.ckpt", "{run}/checkpoints"])
def test_a_place_that_is_no_finished_run(run_train: Run, run_refit: Run, capsys: Capture, place: str) -> None:
    run = run_train("method=plain", "trainer.max_epochs=1")
    with pytest.raises(SystemExit):
        run_refit(place.format(run=run))
    assert "refit=outputs/runs/.../TIME" in flat(capsys)


def test_data_that_grew_are_learned_and_named(
    run_train: Run, run_refit: Run, small_world: Path, tmp_path: Path
) -> None:
    world = Path(shutil.copytree(small_world, tmp_path / "world"))
    run = run_train("method=plain", "trainer.max_epochs=1", f"dataset.path={world}")
    file = world / "interactions.parquet"
    events = pl.read_parquet(file)
    events.vstack(events[:1].with_columns(pl.col("timestamp") + 10**6)).write_parquet(file)
    refit = run_refit(run)
    n = events.height
    log = (refit / "train.log").read_text()
    assert (
        f"the data have changed since the run: 60 users, 40 items, {n} events then, 60 users, 40 items, {n + 1} events now"
        in log
    )
