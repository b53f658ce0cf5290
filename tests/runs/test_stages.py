"""Runs as steps: what a stage inherits, what names its result, and that an interrupted one goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts import store
from sage_pl.artifacts.identity import identity
from sage_pl.runs import tested
from sage_pl.runs.plan import make_plan, recipe_of
from sage_pl.runs.stages import Stage
from tests.planned import planned

CONF = Path(__file__).parents[2] / "conf"
Run = Callable[..., Path]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["dataset=folder", "dataset.path=somewhere", "run_dir=x", *overrides])


def stage(name: str, *overrides: str) -> Stage:
    plan = make_plan(recipe_of(composed(*overrides)))
    return Stage.of(name, plan.stages[name])


def test_a_stage_is_the_run_with_its_own_parts_in_place() -> None:
    config = stage(
        "align", "method=pad", "backbone=gru4rec", "dropout=0.1", "+stages.align.optimizer.lr=0.5"
    ).plan.config
    assert config.item_encoder._target_.endswith("FusedEncoder")
    assert config.sequence_encoder.view == "fused"
    assert config.sequence_encoder.backbone._target_.endswith("GRU4Rec")
    assert config.dropout == 0.1
    assert config.optimizer.lr == 0.5
    assert config.optimizer._target_ == "torch.optim.Adam"  # merged into, not replaced
    assert list(config.loss.terms) == ["alignment"]
    assert sorted(config.start) == ["items", "states"]
    assert list(config.data.extras) == []


def test_a_stage_has_no_terms_but_those_it_names() -> None:
    own = stage("plain", "method=llmemb", "+loss/term@loss.terms.distillation=distillation")
    assert not own.plan.config.loss.terms
    assert own.inputs == ("candidates", "sequences")
    assert stage("align", "method=pad").inputs == ("candidates", "embed", "plain", "sequences")


def test_what_decides_the_result_names_it() -> None:
    first = identity(stage("plain", "method=pad"))
    same = [
        ["method=llmemb", "dim=64"],  # another method's plain run is this one
        ["method=pad", "trainer.accelerator=cpu"],
        ["method=pad", "loss.gamma=1"],
        ["method=pad", "paths.outputs=elsewhere"],
    ]
    swa = "pytorch_lightning.callbacks.StochasticWeightAveraging"
    accumulate = "pytorch_lightning.callbacks.GradientAccumulationScheduler"
    callbacks = [
        [f"+callbacks.swa={{_target_: {swa}, swa_lrs: 0.01}}"],
        [f"+callbacks.more={{_target_: {accumulate}, scheduling: {{0: 2}}}}"],
    ]
    other = [
        *callbacks,
        ["seed=1"],
        ["dropout=0.1"],
        ["trainer.max_epochs=3"],
        ["backbone=bert4rec"],
        ["objective=bce"],
    ]
    assert all(identity(stage("plain", *overrides)) == first for overrides in same)
    assert all(identity(stage("plain", "method=pad", *overrides)) != first for overrides in other)


def test_an_interrupted_stage_goes_on_from_its_last_epoch(
    run_train: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Interrupted while it is tested, after both epochs: the second command trains none of them again."""
    command = ["method=llmemb", "embedder=tfidf", "seed=11"]
    monkeypatch.setattr(store, "QUICK", 0.0)  # the end of every step is a line
    write = tested.write
    monkeypatch.setattr(tested, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit):
        run_train(*command)
    monkeypatch.setattr(tested, "write", write)
    folder = run_train(*command)
    lines = (folder / "train.log").read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if mark in line) for mark in ("goes on from", "plain      "))
    assert begin > end  # first "plain ... running", then where it goes on
    finished = next(i for i, line in enumerate(lines) if "plain" in line and "done in" in line)
    assert not [line for line in lines[begin:finished] if "epoch   0" in line or "epoch   1" in line]
    made = Path(OmegaConf.load(folder / "config.yaml").artifacts.plain)
    assert {path.name for path in made.iterdir()} >= {"best.ckpt", "item_table.npy", "metrics.json", "config.yaml"}
    assert not list(made.parent.glob("*.unfinished"))
    history = pl.read_csv(made / "metrics.csv", infer_schema_length=None)
    assert not (made / "metrics.earlier.csv").exists()
    for column in ("train/loss", "val/spectrum/effective_rank"):
        assert history.drop_nulls(column)["epoch"].to_list() == [0, 1], column
    told = (made / "train.log").read_text()
    assert told.index("a run of its own") < told.index("epoch   1") < told.index("goes on from")
    assert any(f"stage plain {made}" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
def test_a_stage_that_is_cut_off_while_it_is_filed_is_filed_again(
    run_train: Run, small_settings: list[str], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Its best checkpoint is copied, so the next start has it; where that file is lost the stage begins anew."""
    command = ["method=llmemb", "embedder=tfidf", f"seed={12 + lost}"]

    def cut(source: Path, target: Path, copy: Callable[..., object] = shutil.copyfile) -> None:
        if Path(target).name == "metrics.json":
            raise KeyboardInterrupt
        copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", cut)
        with pytest.raises(SystemExit):
            run_train(*command)
    (outputs,) = (text.partition("=")[2] for text in small_settings if text.startswith("paths.outputs="))
    (unfinished,) = Path(outputs, "artifacts", "plain").glob(".*.unfinished")
    if lost:
        (unfinished / "checkpoints" / "best.ckpt").unlink()
    made = Path(OmegaConf.load(run_train(*command) / "config.yaml").artifacts.plain)
    history = pl.read_csv(made / "metrics.csv", infer_schema_length=None)
    assert history.drop_nulls("train/loss")["epoch"].to_list() == [0, 1]
    assert ("goes on from" in (made / "train.log").read_text()) is not lost
    assert not unfinished.exists()


def test_what_only_says_how_fast_does_not_name_it() -> None:
    first = identity(stage("plain", "method=pad"))
    for same in ("data.eval_batch_size=7", "data.num_workers=2", "evaluation.table_mb=1", "scorer=semantic"):
        assert identity(stage("plain", "method=pad", same)) == first, same
    for other in ("callbacks.best.monitor=val/full/mrr@10", "~callbacks.early_stopping"):
        assert identity(stage("plain", "method=pad", other)) != first, other


@pytest.mark.parametrize(("backbone", "kind"), [("sasrec", "NextItem"), ("bert4rec", "Cloze"), ("bsarec", "Prefixes")])
def test_the_plain_run_before_a_language_model_is_trained_as_its_backbone_is(backbone: str, kind: str) -> None:
    plan = planned("method=semantic_convergence_llm", f"backbone={backbone}")
    assert plan.config.model.targets._target_.endswith("NextItem")
    assert plan.stages["plain"].config.model.targets._target_.endswith(kind), "no position sees its own label"
