import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.groups import FACTS, Groups
from sage_pl.evaluation.popularity import popularity_ranks
from sage_pl.evaluation.results import cases_frame, floor_metrics, write_results

USERS = pl.DataFrame({"user": [3, 1, 2], "user_id": ["c", "a", "b"]})
ITEMS = pl.DataFrame({"item": range(1, 11), "item_id": range(100, 200, 10), "title": ["x"] * 10})


def test_files(tmp_path: Path, sequences: Sequences) -> None:
    ranks = {"full": np.array([8, 0, 4]), "sampled100": np.array([3, 2, 1])}
    metrics = {"test/full/ndcg@10": 0.123456789, "floor/popularity/full/hr@10": 0.5}
    facts = Groups(sequences, sequences.test, ts_user=3).facts
    frame = cases_frame(sequences.test, ranks, {"popularity": {"full": np.array([7, 6, 5])}}, facts, USERS, ITEMS)
    lists = np.array([[5, 4], [1, 0], [0, 0]])
    write_results(tmp_path / "run", metrics, frame, lists)
    text = (tmp_path / "run" / "metrics.json").read_text()
    assert json.loads(text) == {"floor/popularity/full/hr@10": 0.5, "test/full/ndcg@10": 0.123457}
    assert text.index("floor") < text.index("test")
    written = pl.read_parquet(tmp_path / "run" / "ranks.parquet")
    assert written.drop(FACTS).to_dict(as_series=False) == {
        "user": [1, 2, 3],
        "answer": [5, 1, 3],
        "user_id": ["a", "b", "c"],
        "item_id": [140, 100, 120],
        "full": [8, None, 4],
        "sampled100": [3, 2, 1],
        "popularity/full": [7, 6, 5],
    }
    assert written.select(FACTS).equals(facts)
    stored = np.load(tmp_path / "run" / "recommended.npy")
    assert (stored.tolist(), stored.dtype) == (lists.tolist(), np.int32)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["metrics.json", "ranks.parquet", "recommended.npy"]


def test_without_original_ids_and_lists(tmp_path: Path, sequences: Sequences) -> None:
    write_results(tmp_path, {}, cases_frame(sequences.test, {"full": np.array([1, 2, 3])}))
    assert pl.read_parquet(tmp_path / "ranks.parquet").columns == ["user", "answer", "full"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "ranks.parquet"]


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["nan", "infinite"])
def test_refuses_metrics_that_are_not_finite(tmp_path: Path, sequences: Sequences, value: float) -> None:
    with pytest.raises(ValueError, match="not finite: test/full/hr@10"):
        write_results(tmp_path, {"test/full/hr@10": value, "b": 1.0}, cases_frame(sequences.test, {}))
    assert list(tmp_path.iterdir()) == []


def test_refuses_ranks_of_other_cases(sequences: Sequences) -> None:
    with pytest.raises(ValueError, match="2 ranks of protocol full for 3 cases"):
        cases_frame(sequences.test, {"full": np.array([1, 2])})
    with pytest.raises(ValueError, match="1 ranks of protocol popularity/full for 3 cases"):
        cases_frame(sequences.test, {}, {"popularity": {"full": np.array([1])}})


def test_floor_metrics_by_hand(sequences: Sequences) -> None:
    groups = Groups(sequences, sequences.test, ts_user=3)
    candidates = np.array([[6, 7], [5, 6], [8, 9]])
    ranks = popularity_ranks(sequences, sequences.test, candidates)  # full 8, 1, 4; sampled 2, 1, 1
    floor = floor_metrics({"popularity": ranks}, groups, ks=[5])
    assert floor["floor/popularity/full/hr@5"] == pytest.approx(2 / 3)
    assert floor["floor/popularity/full/mrr@5/item_tail"] == pytest.approx((0 + 1 / 4) / 2)
    assert floor["floor/popularity/full/count/item_unseen"] == 1
    assert floor["floor/popularity/sampled2/mrr@5"] == pytest.approx((1 / 2 + 1 + 1) / 3)
