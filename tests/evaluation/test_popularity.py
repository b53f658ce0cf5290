import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sage_pl.data.sequences import Cases, Sequences
from sage_pl.evaluation.candidates import draw
from sage_pl.evaluation.groups import Groups
from sage_pl.evaluation.metrics import summarise
from sage_pl.evaluation.popularity import popularity_ranks
from sage_pl.evaluation.ranks import full_ranks, sampled_ranks


def test_values_by_hand(sequences: Sequences) -> None:
    assert popularity_ranks(sequences, sequences.test)["full"].tolist() == [8, 1, 4]
    assert popularity_ranks(sequences, sequences.test, mask_seen=True)["full"].tolist() == [4, 10, 2]


@pytest.mark.parametrize("mask_seen", [False, True], ids=["keep", "mask"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_equals_ranking_by_scores(random_sequences: Sequences, split: str, mask_seen: bool) -> None:
    data, cases = random_sequences, getattr(random_sequences, split)
    candidates = draw(data, cases, 20, np.random.default_rng(0))
    table = torch.from_numpy(data.train_counts)[:, None].float()
    states, answers = torch.ones(len(cases), 1), torch.from_numpy(cases.answer.astype(np.int64))
    seen = torch.from_numpy(data.window(cases.user, cases.at, 1000)) if mask_seen else None
    ours = popularity_ranks(data, cases, candidates, mask_seen)
    assert ours.keys() == {"full", "sampled20"}
    assert ours["full"].tolist() == full_ranks(states, table, answers, seen).tolist()
    drawn = torch.from_numpy(candidates.astype(np.int64))
    assert ours["sampled20"].tolist() == sampled_ranks(states, table, answers, drawn).tolist()


def read_set(name: str) -> Sequences:
    root = os.environ.get("SAGE_DATA")
    file = Path(root or ".") / name / "interactions.parquet"
    if root is None or not file.is_file():
        pytest.skip(f"SAGE_DATA names no folder that holds {name}/interactions.parquet")
    frame = pl.read_parquet(file).select(
        user=pl.col("user_id").rank("dense"), item=pl.col("item_id").rank("dense"), place=pl.int_range(pl.len())
    )
    frame = frame.sort("user", "place")
    lengths = np.bincount(frame["user"].to_numpy())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = frame["item"].to_numpy().astype(np.int32)
    users = np.arange(1, len(lengths))
    valid, test = (Cases(users, lengths[1:] - b, values[offsets[users + 1] - b]) for b in (2, 1))
    return Sequences(values, offsets, np.maximum(lengths - 2, 0), valid, test, int(values.max()))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "hr", "ndcg", "masked_hr", "sampled_hr", "sampled_ndcg"),
    [
        ("yelp", 1.00, 0.51, 0.95, 33.9, 18.8),
        ("beauty", 1.14, 0.53, 1.15, 28.8, 14.9),
        ("pantry", 1.24, 0.58, 0.46, 34.2, 18.7),
        ("llmesr_yelp", 2.86, 1.33, 2.99, 52.3, 30.3),
        ("llmesr_fashion", 14.79, 8.46, 0.27, 48.3, 34.0),
    ],
)
def test_floors_of_real_data(
    name: str, hr: float, ndcg: float, masked_hr: float, sampled_hr: float, sampled_ndcg: float
) -> None:
    data = read_set(name)
    candidates = draw(data, data.test, 100, np.random.default_rng(0))
    found = {
        protocol: summarise(ranks, {}) for protocol, ranks in popularity_ranks(data, data.test, candidates).items()
    }
    masked = summarise(popularity_ranks(data, data.test, mask_seen=True)["full"], {})
    percent = [100 * found["full"]["hr@10"], 100 * found["full"]["ndcg@10"], 100 * masked["hr@10"]]
    assert percent == pytest.approx([hr, ndcg, masked_hr], abs=0.1)  # ties were broken by chance there
    sampled = [100 * found["sampled100"]["hr@10"], 100 * found["sampled100"]["ndcg@10"]]
    assert sampled == pytest.approx([sampled_hr, sampled_ndcg], abs=0.6)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "ts_user", "ts_item", "short", "tail"),
    [("llmesr_yelp", 12, 13, 0.793, 0.227), ("llmesr_fashion", 3, 4, 0.565, 0.285)],
)
def test_reference_groups_of_real_data(name: str, ts_user: int, ts_item: int, short: float, tail: float) -> None:
    data = read_set(name)
    groups = Groups(data, data.test, ts_user=ts_user, item_rule="ts_item", ts_item=ts_item, count="all_users")
    assert groups["user_short"].mean() == pytest.approx(short, abs=0.0006)
    assert groups["item_tail"].mean() == pytest.approx(tail, abs=0.0006)
