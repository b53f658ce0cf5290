"""What is read of folders: values by epoch, titles, protocols, and a sentence for what is not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.files import records_of
from sage_pl.comparison.runs import FinishedRun, read
from sage_pl.evaluation.floors import best_floor, label
from sage_pl.report.blocks import MissingError
from sage_pl.report.reading import RunFiles, run_subject


def run_files(folder: Path, **config: object) -> RunFiles:
    return RunFiles(FinishedRun(folder, config, {}, {}))


def test_rows_of_one_epoch_are_one(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss,val/x,empty\n0,9,,0.5,\n0,9,3.5,,\n1,19,2.5,,\n")
    history = run_files(tmp_path).history
    assert history.columns == ["epoch", "train/loss", "val/x"]
    assert history.rows() == [(0, 3.5, 0.5), (1, 2.5, None)]


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    files = run_files(tmp_path, artifacts={"cluster": "???", "embed": str(tmp_path / "gone")})
    with pytest.raises(MissingError, match="has no values by epoch"):
        _ = files.history
    with pytest.raises(MissingError, match="nothing in this run uses the artifact cluster"):
        files.artifact("cluster")
    with pytest.raises(MissingError, match=r"gone is not a finished artifact"):
        files.artifact("embed")
    with pytest.raises(MissingError, match=r"holds no recommended\.npy"):
        _ = files.recommended_items
    assert files.artifacts == {}


def test_items_without_a_title_are_named_by_their_id(tmp_path: Path) -> None:
    place = tmp_path / "5e9"
    place.mkdir()
    items = pl.DataFrame({"item": [2, 1, 3], "item_id": ["b", "a", "c"], "title": ["  Tea ", None, " "]})
    items.write_parquet(place / "items.parquet")
    (place / "manifest.json").write_text(json.dumps({"key": "5e9", "files": records_of(place)}))
    files = run_files(tmp_path, artifacts={"sequences": str(place)})
    assert files.titles == ["", "item a", "Tea", "item c", ""]


def test_a_run_is_held_against_the_floor(runs: dict[str, Path]) -> None:
    subject = run_subject(read(runs["sage"]), ["ndcg@10", "hr@10"], 50, 0)
    metrics = json.loads((runs["sage"] / "metrics.json").read_text())
    assert subject.protocols == ["full", "sampled10"]
    assert subject.metrics == ["ndcg@10", "hr@10"]
    for protocol in subject.protocols:
        for group in ("overall", "item_tail", "user_short", "item_1-4"):
            suffix = "" if group == "overall" else f"/{group}"
            own = subject.find("sage/sasrec", group, protocol, "hr@10")
            assert own is not None
            assert own.cases == metrics[f"test/{protocol}/count{suffix}"]
            if own.cases:
                assert own.mean == pytest.approx(metrics[f"test/{protocol}/hr@10{suffix}"], abs=1e-6)
                best = best_floor(metrics, protocol)
                assert subject.floor(protocol) == label(best)
                floor = subject.find(label(best), group, protocol, "hr@10")
                assert floor is not None
                assert floor.mean == pytest.approx(metrics[f"floor/{best}/{protocol}/hr@10{suffix}"], abs=1e-6)
                assert own.difference == pytest.approx(np.subtract(own.mean, floor.mean), abs=1e-9)
