from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.artifacts.store import Artifact, Store
from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.candidates import Candidates, draw

from .conftest import MakeSequences, leave_one_out


def touched(data: Sequences, user: int) -> set[int]:
    return set(data.values[data.offsets[user] : data.offsets[user + 1]].tolist())


@settings(max_examples=40)
@given(
    users=st.lists(st.lists(st.integers(1, 12), min_size=3, max_size=8), min_size=1, max_size=6),
    n=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_distinct_and_never_touched(users: list[list[int]], n: int, seed: int) -> None:
    data = leave_one_out(users, 12)
    drawn = draw(data, data.test, n, np.random.default_rng(seed))
    assert drawn.shape == (len(users), n)
    assert drawn.dtype == np.int32
    for user, row in zip(data.test.user.tolist(), drawn.tolist(), strict=True):
        assert len(set(row)) == n
        assert set(row) <= set(range(1, 13)) - touched(data, user)


def test_all_that_is_left_is_drawn(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 2, 3, 7], [4, 4, 4, 5]], 8)
    drawn = draw(data, data.test, 4, np.random.default_rng(0))
    assert drawn[0].tolist() == [4, 5, 6, 8]


def test_every_untouched_item_is_equally_likely(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 2, 10]] * 3000, 10)  # 7 items left, 3 drawn: each in 3/7 of the rows
    drawn = draw(data, data.test, 3, np.random.default_rng(0))
    share = np.bincount(drawn.ravel(), minlength=11)[3:10] / 3000
    assert share == pytest.approx(np.full(7, 3 / 7), abs=4 * np.sqrt(3 / 7 * 4 / 7 / 3000))


def test_too_small_a_catalogue(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 2, 1], [1, 2, 3, 4]], 8)
    with pytest.raises(ValueError, match="user 2 has touched all but 4 of 8 items, but 5 candidates") as error:
        draw(data, data.test, 5, np.random.default_rng(0))
    assert "evaluation.sampled to at most 4" in str(error.value)


def test_refuses_no_candidates() -> None:
    with pytest.raises(ValueError, match="n is 0"):
        Candidates(n=0)


@pytest.fixture
def artifact(tmp_path: Path, random_sequences: Sequences) -> Artifact:
    data, folder = random_sequences, tmp_path / "sequences"
    folder.mkdir()
    arrays = {"values": data.values, "offsets": data.offsets, "train_end": data.train_end}
    for split, cases in {"valid": data.valid, "test": data.test}.items():
        arrays |= {f"{split}_user": cases.user, f"{split}_at": cases.at}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    pl.DataFrame({"item": range(1, data.n_items + 1)}).write_parquet(folder / "items.parquet")
    return Artifact("0" * 16, folder, {})


def test_step_is_reproducible_and_splits_differ(tmp_path: Path, artifact: Artifact) -> None:
    parents = {"sequences": artifact}
    first = Store(tmp_path / "a").get(Candidates(n=7, seed=1), parents)
    again = Store(tmp_path / "b").get(Candidates(n=7, seed=1), parents)
    other = Store(tmp_path / "a").get(Candidates(n=7, seed=2), parents)
    assert first.array("test").shape == (40, 7)
    assert np.array_equal(first.array("test"), again.array("test"))
    assert np.array_equal(first.array("valid"), again.array("valid"))
    assert not np.array_equal(first.array("test"), first.array("valid"))
    assert other.key != first.key
    assert not np.array_equal(first.array("test"), other.array("test"))
