"""Whole runs on the small world: what a run leaves behind, that it can be resumed, repeated and evaluated alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from sage_pl.comparison.runs import read
from sage_pl.evaluation.groups import members
from tests.campaign.bench import ENDS

Run = Callable[..., Path]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    ("method", "backbone"),
    [
        ("plain", "sasrec"),
        ("sage", "bert4rec"),
        ("plain", "gru4rec"),
        pytest.param("sage", "sasrec", marks=pytest.mark.slow),
        pytest.param("plain", "bert4rec", marks=pytest.mark.slow),
        pytest.param("sage", "gru4rec", marks=pytest.mark.slow),
    ],
)
def test_a_run_leaves_everything_it_promises(run_train: Run, method: str, backbone: str) -> None:
    folder = run_train(f"method={method}", f"backbone={backbone}")

    metrics = json.loads((folder / "metrics.json").read_text())
    for protocol in ("full", "sampled10"):
        for metric in ("hr@5", "ndcg@10", "mrr@20"):
            for suffix in ("", "/item_head", "/item_tail", "/user_short", "/user_long"):
                assert 0 <= metrics[f"test/{protocol}/{metric}{suffix}"] <= 1
                assert 0 <= metrics[f"floor/popularity/{protocol}/{metric}{suffix}"] <= 1
    ranks = pl.read_parquet(folder / "ranks.parquet")
    assert {"user", "answer", "full", "sampled10"} <= set(ranks.columns)
    assert metrics["test/full/hr@10"] == pytest.approx((ranks["full"] <= 10).mean(), abs=1e-5)
    assert ranks["sampled10"].max() <= 11
    assert ranks["popularity/full"].is_between(1, 40).all()
    for name, group in members(ranks).items():
        assert metrics[f"test/full/count/{name}"] == group.sum(), name
    lists = np.load(folder / "recommended.npy")
    assert lists.shape == (len(ranks), 10)
    assert metrics["test/lists/coverage@10"] == pytest.approx(len(np.unique(lists)) / 40, abs=1e-6)
    assert {"gini", "novelty", "tail_share", "text_similarity"} == {
        name.split("/")[2].removesuffix("@10") for name in metrics if name.startswith("test/lists/")
    } - {"coverage"}
    answer = ranks["answer"].to_numpy()
    assert ((lists == answer[:, None]).any(1) == (ranks["full"] <= 10).to_numpy()).mean() > 0.95  # but for ties
    for name in ("config.yaml", "train.log", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (folder / name).stat().st_size > 0, name


def test_its_choices_are_plain_values_in_its_configuration_and_its_checkpoint(run_train: Run) -> None:
    method = ["method=pad", "without=pad/gate", "trainer.max_epochs=1"]
    folder = run_train(*method)
    run = read(folder)
    assert [run.name_by(key) for key in ("method", "backbone", "without")] == ["pad", "sasrec", "pad/gate"]
    assert run.name_by("item_encoder/gate") == "uniform"
    stored = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["sage_pl"]
    assert stored["config"]["choices"] == run.config["choices"]
    assert all(isinstance(choice, str | None) for choice in run.config["choices"].values())
    stages = [read(Path(run.config["artifacts"][name])) for name in ("plain", "align")]
    assert [stage.name_by("method") for stage in stages] == ["plain", "align"]

    resumed = run_train(*method, "debug=limit", f"resume={folder}/checkpoints/last.ckpt")
    assert read(resumed).name_by("debug") == "limit"
    assert "resuming with a change" not in (resumed / "train.log").read_text(), "a choice's name decides nothing"
    assert read(resumed).artifact("align") == run.artifact("align")


def test_every_sage_term_is_logged_by_its_name(run_train: Run) -> None:
    table = pl.read_csv(run_train("method=sage") / "metrics.csv")
    for term in ("recommendation", "distillation", "alignment", "prototype"):
        assert table[f"train/loss/{term}"].drop_nulls().is_finite().all(), term


@pytest.mark.parametrize("distillation", ["distillation", pytest.param("distillation_bank", marks=pytest.mark.slow)])
def test_resuming_equals_never_having_stopped(run_train: Run, distillation: str) -> None:
    sage = ["method=sage", f"loss/term@loss.terms.distillation={distillation}"]
    whole = run_train(*sage, "trainer.max_epochs=3")
    half = run_train(*sage, "trainer.max_epochs=1")
    resumed = run_train(*sage, "trainer.max_epochs=3", f"resume={half}/checkpoints/last.ckpt")

    expected, got = (weights(run / "checkpoints" / "last.ckpt") for run in (whole, resumed))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert (whole / "metrics.json").read_text() == (resumed / "metrics.json").read_text()


@pytest.mark.slow
def test_a_run_that_had_ended_is_tested_again_and_not_trained_on(run_train: Run, run_bare: Run) -> None:
    """Early stopping ended it; more patience goes on, and its table keeps every epoch once."""
    ended = run_train(
        "method=plain", "optimizer.lr=0.05", "trainer.max_epochs=30", "callbacks.early_stopping.patience=1"
    )
    last = f"resume={ended}/checkpoints/last.ckpt"
    again = run_bare(last, "report=null")
    assert (again / "metrics.json").read_text() == (ended / "metrics.json").read_text()
    best = [(run / "checkpoints" / "best.ckpt").read_bytes() for run in (ended, again)]
    assert best[0] == best[1]
    epochs = [pl.read_csv(run / "metrics.csv", infer_schema_length=None) for run in (ended, again)]
    assert epochs[0]["epoch"].to_list() == epochs[1]["epoch"].to_list()
    longer = pl.read_csv(run_bare(last, "report=null", "callbacks.early_stopping.patience=3") / "metrics.csv")
    trained = longer.drop_nulls("train/loss")["epoch"].to_list()
    assert trained == list(range(len(trained)))
    assert len(trained) > epochs[0].drop_nulls("train/loss").height
    with pytest.raises(SystemExit):
        run_bare(last, "trainer.max_epochs=1")


@pytest.mark.slow
def test_resuming_names_what_changed_and_refuses_other_data(run_train: Run, tmp_path: Path) -> None:
    first = run_train("method=sage", "trainer.max_epochs=1")
    resumed = run_train(
        "method=sage", "trainer.max_epochs=2", "loss.alpha=0.3", f"resume={first}/checkpoints/last.ckpt"
    )
    assert "loss.alpha: 0.1 -> 0.3" in (resumed / "train.log").read_text()
    with pytest.raises(SystemExit):
        run_train("method=sage", "evaluation.seed=7", f"resume={first}/checkpoints/last.ckpt")


@pytest.mark.slow
def test_a_checkpoint_alone_says_how_to_go_on(run_train: Run, run_bare: Run) -> None:
    """Data, method and backbone come from it; only what the command line names is changed."""
    settings = ["method=llm_esr", "backbone=gru4rec", "seed=7", "loss.alpha=0.2"]
    whole = run_train(*settings, "trainer.max_epochs=3")
    half = run_train(*settings, "trainer.max_epochs=1")
    resumed = run_bare(f"resume={half}/checkpoints/last.ckpt", "trainer.max_epochs=3", "report=null")
    assert (whole / "metrics.json").read_text() == (resumed / "metrics.json").read_text()
    config = OmegaConf.load(resumed / "config.yaml")
    assert (config.choices.method, config.choices.backbone, config.seed) == ("llm_esr", "gru4rec", 7)
    assert "resuming with a change" not in (resumed / "train.log").read_text()
    again = run_bare(f"resume={resumed}/checkpoints/last.ckpt", "method=llm_esr", "dropout=0.1", "trainer.max_epochs=4")
    assert "dropout: 0.5 -> 0.1" in (again / "train.log").read_text()


@pytest.mark.parametrize(
    ("contradiction", "message"),
    [
        ("method=plain", "it was trained with method=sage, got method=plain"),
        pytest.param(
            "backbone=gru4rec", "it was trained with backbone=sasrec, got backbone=gru4rec", marks=pytest.mark.slow
        ),
        pytest.param(
            "dataset=beauty", "it was trained with dataset=folder, got dataset=beauty", marks=pytest.mark.slow
        ),
        ("evaluation.seed=7", "it was trained with evaluation.seed=0, got evaluation.seed=7"),
        pytest.param("dim=16", "it was trained with dim=8, got dim=16", marks=pytest.mark.slow),
        ("optimizer.lr=0.01", "it was trained with optimizer.lr=0.001, got optimizer.lr=0.01"),
    ],
)
def test_a_contradiction_is_refused_before_anything_is_prepared(
    run_train: Run, run_bare: Run, tmp_path: Path, contradiction: str, message: str
) -> None:
    first = run_train("method=sage", "trainer.max_epochs=1")
    cache = tmp_path / "cache"
    with pytest.raises(SystemExit):
        run_bare(f"resume={first}/checkpoints/last.ckpt", contradiction, f"paths.artifacts={cache}")
    assert message in (tmp_path / "bare" / "run1" / "train.log").read_text()
    assert not cache.exists()


def test_a_setting_that_changes_the_models_shape_is_one_sentence(run_train: Run, run_bare: Run, tmp_path: Path) -> None:
    first = run_train("method=plain", "trainer.max_epochs=1")
    with pytest.raises(SystemExit):
        run_bare(f"resume={first}/checkpoints/last.ckpt", "data.max_len=9")
    log = (tmp_path / "bare" / "run1" / "train.log").read_text()
    assert "weights do not fit the configured model (sequence_encoder.backbone.position" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "of Lightning alone"])
def test_a_foreign_checkpoint_is_one_sentence(run_bare: Run, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, file) if content is None else file.write_bytes(content)
    with pytest.raises(SystemExit):
        run_bare(f"resume={file}")
    log = (tmp_path / "bare" / "run1" / "train.log").read_text()
    assert "is not a checkpoint of this project" in log or "is no checkpoint" in log
    assert "Traceback" not in log


def test_a_run_says_nothing_about_settings_that_nobody_touched(run_train: Run) -> None:
    def log(*overrides: str) -> str:
        return (run_train("method=plain", "trainer.max_epochs=1", *overrides) / "train.log").read_text()

    untouched = log()
    assert "is left out" not in untouched
    assert "loss." not in untouched
    touched = log("loss.gamma=0.3", "data.extras.neighbours.k=5", "dataset.ts_item=3", "+dataset.ts_items=3")
    assert re.search(r"nothing in this run reads .*loss\.gamma, dataset\.ts_item, dataset\.ts_items;", touched)
    assert "data.extras.neighbours has no effect in this run and is left out" in touched


def test_the_seed_decides_everything(run_train: Run) -> None:
    first, again, other = (run_train("method=sage", f"seed={seed}") for seed in (1, 1, 2))
    assert (first / "metrics.json").read_text() == (again / "metrics.json").read_text()
    assert (first / "metrics.json").read_text() != (other / "metrics.json").read_text()


def test_a_term_of_weight_zero_costs_no_preparation(run_train: Run, tmp_path: Path) -> None:
    folder = run_train("method=sage", "loss.alpha=0", "loss.gamma=0", f"paths.artifacts={tmp_path / 'cache'}")
    made = {path.name for path in (tmp_path / "cache").iterdir()}
    assert {"embed", "reduce"} <= made
    assert not made & {"retrieve", "cluster"}
    assert "train/loss/alignment" in (folder / "metrics.csv").read_text()
    assert "train/loss/prototype" not in (folder / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("overrides", "terms"),
    [
        (["method=sage", "~loss.terms.prototype"], {"distillation", "alignment"}),
        pytest.param(["method=sage", "~loss.terms.distillation"], {"prototype", "alignment"}, marks=pytest.mark.slow),
        (["method=plain", "+loss/term@loss.terms.distillation=distillation"], {"distillation"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_terms_come_and_go_on_the_command_line(run_train: Run, overrides: list[str], terms: set[str]) -> None:
    columns = pl.read_csv(run_train(*overrides) / "metrics.csv").columns
    logged = {column.removeprefix("train/loss/") for column in columns if column.startswith("train/loss/")}
    assert logged - {"recommendation"} == terms


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["objective=bce"],
        ["split=global_time"],
        ["objective=sampled_softmax"],
        ["targets=last_item", "backbone=gru4rec"],
        ["freeze=false"],
        ["item_encoder.init=null", "sequence_encoder.cross_attention=false"],
        ["embedder=cooccurrence", "steps.embed.dim=12"],
        ["evaluation=reference", "evaluation.sampled=10", "evaluation.seen=mask"],
        ["backbone.causal=false", "backbone.attend_padding=true"],
        ["loss.user_sim_func=cl", "loss.terms.prototype.scope=batch"],
        ["matmul_precision=medium"],
        ["logger=tensorboard"],
        ["debug=fast_dev_run"],
        ["debug=limit"],
        ["debug=profiler"],
    ],
    ids=lambda o: " ".join(o),
)
def test_the_other_choices_run_to_the_end(run_train: Run, overrides: list[str]) -> None:
    assert (run_train("method=sage", *overrides) / "metrics.json").is_file()


def test_a_checkpoint_is_evaluated_alone(run_train: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import runpy
    import sys

    trained = run_train("method=sage", "backbone=bert4rec")
    script = Path(__file__).parent.parent.parent / "scripts" / "evaluate.py"
    monkeypatch.setattr(
        sys, "argv", [str(script), f"checkpoint={trained}/checkpoints/best.ckpt", f"hydra.run.dir='{tmp_path}/again'"]
    )
    runpy.run_path(str(script), run_name="__main__")
    monkeypatch.setattr(
        sys,
        "argv",
        [
            str(script),
            f"checkpoint={trained}/checkpoints/best.ckpt",
            "+overrides.evaluation.seen=mask",
            "+overrides.ts_item=3",
            f"hydra.run.dir='{tmp_path}/masked'",
        ],
    )
    runpy.run_path(str(script), run_name="__main__")
    full = "test/full/ndcg@10"
    masked, kept = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("masked", "again"))
    assert masked[full] != kept[full]
    lines = (tmp_path / "masked" / "evaluate.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines if "reads" in line] == [
        "nothing in this evaluation reads overrides.ts_item"
    ]
    first = json.loads((trained / "metrics.json").read_text())
    assert kept == {name: value for name, value in first.items() if name not in ENDS}
