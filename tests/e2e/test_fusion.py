"""The scorer fusion and the rankers without training, as commands: from the choice of weights to a refit."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from sage_pl import serving
from sage_pl.comparison.runs import RunError, read
from tests.campaign.bench import ENDS
from tests.e2e.test_methods import FLOORS, SMALL
from tests.e2e.test_served_alike import ROOT, Answers, command, equal  # noqa: F401 - a fixture

Run = Callable[..., Path]
FUSION = ["method=plain", "scorer=fusion", "embedder=tfidf", "trainer.max_epochs=2"]


def scores(folder: Path) -> dict[str, float]:
    text = (folder / "metrics.json").read_text()
    return {name: value for name, value in json.loads(text).items() if name not in ENDS}


def weights(checkpoint: Path) -> list[float]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]["scorer.weights"].tolist()


def best(folder: Path) -> Path:
    return folder / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize("scorer", [pytest.param("fusion", marks=pytest.mark.slow), "learned_fusion"])
def test_a_finished_run_is_fused_as_one_that_was_trained_with_it(
    scorer: str,
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    """The weights are chosen after training, so the model is the same, and so is what evaluates it."""
    fused, plain = run_train(*FUSION, f"scorer={scorer}"), run_train(*FUSION, "scorer=none")
    assert np.isfinite(weights(best(fused))).all()
    assert np.isnan(weights(fused / "checkpoints" / "last.ckpt")).all()
    for folder in (fused, plain):
        choice = [] if folder is fused else [f"scorer={scorer}"]
        command("evaluate", f"checkpoint={best(folder)}", *choice)
        assert scores(tmp_path / "log") == scores(fused)
    assert scores(fused) != scores(plain)
    changed = {k: v for k, v in scores(fused).items() if k.startswith("val/")}
    assert changed == {k: v for k, v in scores(plain).items() if k.startswith("val/")}
    lines = (fused / "train.log").read_text()
    assert ("fusion: text" if scorer == "fusion" else "learned fusion: ndcg@10 of") in lines


@pytest.mark.slow
def test_a_checkpoint_of_one_scorer_is_evaluated_with_another(
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Settings and stored weights of the other scorer go; the model is the same."""
    fused, learned = (run_train(*FUSION, f"scorer={name}") for name in ("fusion", "learned_fusion"))
    command("evaluate", f"checkpoint={best(fused)}", "scorer=learned_fusion")
    assert scores(tmp_path / "log") == scores(learned)
    command("evaluate", f"checkpoint={best(learned)}", "scorer=fusion")
    assert scores(tmp_path / "log") == scores(fused)
    command("evaluate", f"checkpoint={best(learned)}", "scorer=learned_fusion", "scorer.text=null")


@pytest.mark.parametrize(
    ("seen", "scorer"),
    [
        pytest.param("mask", "fusion", marks=pytest.mark.slow),
        pytest.param("keep", "fusion", marks=pytest.mark.slow),
        ("keep", "learned_fusion"),
    ],
)
def test_the_list_is_that_of_the_evaluation_wherever_it_comes_from(
    seen: str,
    scorer: str,
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = run_train(*FUSION, f"evaluation.seen={seen}", f"scorer={scorer}")
    checkpoint, exported = f"checkpoint={best(folder)}", tmp_path / "exported"
    command("recommend", checkpoint, "users=all", "k=6")
    kept = command("recommend", checkpoint, "users=[u3,u5]", "k=6")
    command("export", checkpoint, f"folder={exported}")
    model = serving.load(exported)
    for history, _, ids, values, source in kept:
        assert source == "cache"
        equal(model.recommend(history, 6), ids, values)
        ((_, _, ids, values, _),) = command("recommend", checkpoint, f"history=[{','.join(history)}]", "k=6")
        equal(model.recommend(history, 6), ids, values)
    model.add_items({"item_id": ["new"], "title": [pl.read_parquet(_items(folder))["title"][2]]})
    lists = [{item.id for item in model.recommend(history, 41)} for history, *_ in kept]
    assert all("new" in names for names in lists)


def _items(folder: Path) -> Path:
    config = (folder / "config.yaml").read_text()
    (line,) = [line for line in config.splitlines() if line.strip().startswith("sequences: ") and "artifacts/" in line][
        :1
    ]
    return Path(line.split(": ")[1]) / "items.parquet"


@pytest.mark.parametrize(
    "method", [name if name == "neighbours" else pytest.param(name, marks=pytest.mark.slow) for name in FLOORS]
)
def test_a_floor_is_a_run_of_seconds_without_training(
    method: str,
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = run_train(f"method={method}", "embedder=tfidf", "evaluation.seen=keep")
    values = json.loads((folder / "metrics.json").read_text())
    assert values["epochs"] == 0
    assert values["converged"] == 1
    command("evaluate", f"checkpoint={best(folder)}")
    assert scores(tmp_path / "log") == scores(folder)
    command("export", f"checkpoint={best(folder)}", f"folder={tmp_path / 'exported'}")
    ((history, _, ids, found, _),) = command("recommend", f"checkpoint={best(folder)}", "history=[3,5]", "k=4")
    equal(serving.load(tmp_path / "exported").recommend(history, 4), ids, found)
    if method != "repeat":  # the small world's kinds of items follow each other, and their titles name the kind
        assert values["test/full/ndcg@10"] > 1.5 * values["floor/popularity/full/ndcg@10"]


@pytest.mark.slow
def test_a_refit_has_the_weights_of_the_run_that_it_repeats(run_train: Run) -> None:
    folder = run_train(*FUSION)
    again = run_train(f"refit={folder}")
    assert weights(again / "checkpoints" / "refit.ckpt") == weights(best(folder))


@pytest.mark.slow
def test_a_run_without_a_scorer_is_served_with_one(
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    """``scorer=fusion`` in recommend and export chooses the weights first, and the lists are those of a run trained with it."""
    fused, plain = run_train(*FUSION), run_train(*FUSION, "scorer=none")
    lists = []
    for folder, choice in ((fused, []), (plain, ["scorer=fusion"])):
        lists += command("recommend", f"checkpoint={best(folder)}", "history=[3,5]", "k=5", *choice)
        exported = tmp_path / f"exported-{len(lists)}"
        command("export", f"checkpoint={best(folder)}", f"folder={exported}", *choice)
        equal(serving.load(exported).recommend(["3", "5"], 5), lists[-1][2], lists[-1][3])
    assert lists[0][2] == lists[1][2]
    refit = run_train(f"refit={plain}") / "checkpoints" / "refit.ckpt"
    with pytest.raises(SystemExit):
        command("recommend", f"checkpoint={refit}", "history=[3,5]", "scorer=fusion")
    assert "no validation cases are held out" in (tmp_path / "log" / "recommend.log").read_text()


def test_a_scorer_that_a_command_names_is_chosen_anew(
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = run_train(*FUSION)
    command("evaluate", f"checkpoint={best(folder)}", "scorer=fusion", "scorer.transitions=null")
    assert ", transitions 0," in (tmp_path / "log" / "evaluate.log").read_text()


def test_what_is_held_out_changes_nothing_that_is_chosen(run_train: Run, small_world: Path, tmp_path: Path) -> None:
    """Every user's test answer becomes one item after another that followed nothing in training: transitions, and the weights
    chosen on the validation cases, are the same, so neither transitions nor profiles read a test answer."""
    runs = []
    for name, planted in (("one", 0), ("other", 39)):
        world = tmp_path / name
        world.mkdir()
        (world / "items.parquet").write_bytes((small_world / "items.parquet").read_bytes())
        frame = pl.read_parquet(small_world / "interactions.parquet").sort("user_id", "timestamp", maintain_order=True)
        last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
        known = pl.col("item_id").is_in(frame.filter(~last)["item_id"].unique().to_list())
        frame = frame.with_columns(item_id=pl.when(last & known).then(planted).otherwise("item_id"))
        frame.write_parquet(world / "interactions.parquet")
        runs.append(run_train("method=neighbours", "embedder=tfidf", f"dataset.path={world}"))
    one, other = (_walks_by_id(folder) for folder in runs)
    assert one.keys() == other.keys()
    assert list(one.values()) == pytest.approx([other[pair] for pair in one])
    assert weights(best(runs[0])) == weights(best(runs[1]))
    assert scores(runs[0]) != scores(runs[1])


def _walks_by_id(folder: Path) -> dict[tuple[int, int], float]:
    """The entries of the transitions by the ids of the data set; numbers follow the first appearance, test answers included."""
    artifacts = OmegaConf.load(folder / "config.yaml").artifacts
    ids = [-1, *pl.read_parquet(f"{artifacts.sequences}/items.parquet").sort("item")["item_id"].to_list(), -1]
    offsets, items, values = (np.load(f"{artifacts.transitions}/{name}.npy") for name in ("offsets", "items", "values"))
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return {(ids[row], ids[item]): float(value) for row, item, value in zip(rows, items, values, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "sage", "llmemb"])
def test_an_evaluation_with_the_scorer_is_the_run_that_was_trained_with_it(
    method: str,
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = [*FUSION, f"method={method}", *SMALL.get(method, [])]
    fused, alone = run_train(*settings), run_train(*settings, "scorer=none")
    command("evaluate", f"checkpoint={best(alone)}", "scorer=fusion")
    evaluation, trained = read(tmp_path / "log"), read(fused)
    assert evaluation.recipe() == trained.recipe() != read(alone).recipe()
    assert evaluation.setting() == trained.setting()
    assert evaluation.converged == read(alone).converged
    assert [run.name_by("scorer") for run in (evaluation, trained, read(alone))] == ["fusion", "fusion", "none"]


@pytest.mark.slow
def test_a_table_shows_checkpoints_with_and_without_the_scorer(
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = [*FUSION, "scorer=none"]
    for seed in (1, 2):
        checkpoint = best(run_train(*settings, f"seed={seed}"))
        command("evaluate", f"checkpoint={checkpoint}", "scorer=fusion")
        (tmp_path / "log").rename(tmp_path / f"fused{seed}")
    command("report", f"run={tmp_path}/fused2", "maps=false")
    command("evaluate", f"checkpoint={checkpoint}")  # repeats the run, and is none
    runs = f"runs=[{tmp_path}/run*,{tmp_path}/fused*,{tmp_path}/log]"
    table = _compared(
        tmp_path / "both", runs, "by=[scorer,method]", "baseline=none", "groups=[item_tail]", monkeypatch=monkeypatch
    )
    (systems,) = table["runs"].values()
    assert {name: len(folders) for name, folders in systems.items()} == {"fusion/plain": 2, "none/plain": 2}
    fused = next(v for v in table["values"] if v["system"] == "fusion/plain")
    assert (fused["baseline"], fused["seeds"], fused["converged"]) == ("none/plain", 2, False)
    assert isinstance(fused["p_holm"], float)
    table = _compared(tmp_path / "named", runs, "by=method", monkeypatch=monkeypatch)
    (systems,) = table["runs"].values()
    assert set(systems) == {"plain/scorer=none", "plain/scorer=fusion"}


@pytest.mark.slow
def test_the_folder_of_an_evaluation_says_what_it_is_of_and_no_more_than_is_known(
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    run, log = run_train(*FUSION, "scorer=none"), tmp_path / "log"
    command("evaluate", f"checkpoint={best(run)}", "scorer=fusion", "scorer.text=null")
    assert read(log).config["evaluated"] == str(best(run))
    assert read(log).recipe().keys() - read(run).recipe().keys() > {"model.scorer.transitions"}
    assert "model.scorer.text" not in read(log).recipe()
    command("evaluate", f"checkpoint={best(run)}")
    with pytest.raises(RunError, match=r"no config\.yaml"):
        read(log)
    moved = tmp_path / "moved.ckpt"
    shutil.copy(best(run), moved)
    command("evaluate", f"checkpoint={moved}", "scorer=fusion")
    assert read(log).converged is None
    (run / "metrics.json").write_text("{")
    command("evaluate", f"checkpoint={best(run)}", "scorer=fusion")
    assert read(log).converged is None
    assert "whether the training had converged is unknown" in (log / "evaluate.log").read_text()


def _compared(folder: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    script = str(ROOT / "scripts" / "compare.py")
    monkeypatch.setattr("sys.argv", [script, *arguments, "resamples=200", f"hydra.run.dir='{folder}'"])
    runpy.run_path(script, run_name="__main__")
    assert (folder / "report.html").is_file()
    table: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return table
