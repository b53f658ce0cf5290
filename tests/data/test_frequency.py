"""Buckets of equal mass, and the published ones of Prime Pantry."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.data.frequency import equal_mass_buckets, equal_mass_edges, least_of_head
from sage_pl.data.interactions import Interactions
from sage_pl.data.sequences import Sequences
from sage_pl.data.split import LeaveOneOut


def with_ends(*counts: int) -> npt.NDArray[np.int64]:
    """Counts of all ids: zero for padding and mask token."""
    return np.array([0, *counts, 0])


def greedy(descending: list[int], n_buckets: int) -> list[int]:
    """Edges by the rule as it is told: item by item, a fresh counter per bucket."""
    edges, own, total = [0], 0, sum(descending)
    for position, count in enumerate(descending, start=1):
        own += count
        if own * n_buckets >= total and len(edges) < n_buckets:
            edges.append(position)
            own = 0
    return edges + [len(descending)] * (n_buckets + 1 - len(edges))


def test_the_head_by_hand() -> None:
    assert least_of_head(np.array([9, 0, 8, 1, 2, 3, 0])) == 9  # one of the five that have a count
    assert least_of_head(np.array([9, 8, 7, 1, 2, 3])) == 8  # two of six: a fifth, rounded up
    with pytest.raises(ValueError, match="no item has a count"):
        least_of_head(np.zeros(3, int))


def test_by_hand() -> None:
    assert equal_mass_edges(np.array([5, 3, 2, 1, 1]), 3).tolist() == [0, 1, 3, 5]  # 12 events: 4 a bucket
    assert equal_mass_buckets(with_ends(1, 5, 2, 1, 3), 3).tolist() == [0, 3, 1, 2, 3, 2, 0]


@pytest.mark.parametrize("n_buckets", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_rule_item_by_item(seed: int, n_buckets: int) -> None:
    counts = np.sort(np.random.default_rng(seed).geometric(0.1, 40) - 1)[::-1]
    assert equal_mass_edges(counts, n_buckets).tolist() == greedy(counts.tolist(), n_buckets)


def test_what_a_bucket_has_too_much_is_no_less_for_the_next() -> None:
    # 10 events, 2.5 a bucket: cutting the running total at 2.5, 5 and 7.5 would give edges 0 1 2 3
    assert equal_mass_edges(np.array([4, 2, 2, 1, 1]), 4).tolist() == [0, 1, 3, 5, 5]


def test_ties_go_by_id() -> None:
    assert equal_mass_buckets(with_ends(2, 2, 2, 2), 2).tolist() == [0, 1, 1, 2, 2, 0]


def test_items_that_were_never_trained_may_have_a_bucket_of_their_own() -> None:
    counts = with_ends(3, 0, 1, 0)
    assert equal_mass_buckets(counts, 2).tolist() == [0, 1, 2, 2, 2, 0]
    assert equal_mass_buckets(counts, 2, zero_bucket=True).tolist() == [0, 1, 3, 2, 3, 0]


def test_without_events_or_buckets_there_is_nothing_to_cut() -> None:
    with pytest.raises(ValueError, match=r"no item occurs in training.*item_encoder/gate=shared"):
        equal_mass_buckets(with_ends(0, 0))
    with pytest.raises(ValueError, match="n_buckets is 0"):
        equal_mass_buckets(with_ends(1, 2), 0)


@pytest.mark.real_data
def test_the_published_buckets_of_prime_pantry(tmp_path: Path) -> None:
    if "SAGE_DATA" not in os.environ:
        pytest.skip("SAGE_DATA does not name the folder of the data sets")
    conf = Path(__file__).parents[2] / "conf" / "dataset" / "pantry.yaml"
    config = OmegaConf.create({"paths": {"data": os.environ["SAGE_DATA"]}, "dataset": OmegaConf.load(conf)})
    parts = instantiate(config.dataset, _convert_="all")
    Interactions(parts["source"], LeaveOneOut(), parts["filters"], parts["expect"]).run({}, tmp_path)
    data = Sequences.load(Artifact("pantry", tmp_path, {}))

    counts = data.train_counts
    edges = equal_mass_edges(np.sort(counts[1:-1])[::-1], 10)
    assert edges.tolist() == [0, 35, 100, 205, 361, 585, 898, 1357, 2074, 3348, 8347]
    buckets = equal_mass_buckets(counts)
    mass = np.bincount(buckets, weights=counts)
    assert mass.tolist() == [0, 8957, 9000, 8966, 8959, 8930, 8932, 8932, 8927, 8928, 8731]
    rare = equal_mass_buckets(counts, zero_bucket=True)
    assert np.bincount(rare)[[0, 10, 11]].tolist() == [2, 4999 - 909, 909]
