from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sage_pl.artifacts.store import Artifact, ArtifactError
from sage_pl.data.sequences import Sequences
from tests.golden.prepared import write_sequences

USERS = [[1, 2, 3, 4, 5], [6, 6], [2, 1, 7], [8]]


@pytest.fixture
def sequences(tmp_path: Path) -> Sequences:
    return Sequences.load(Artifact.at(write_sequences(tmp_path, USERS, n_items=9)))


def test_events_stay_in_their_file(sequences: Sequences) -> None:
    """Training maps the events, so that their number is not bounded by memory."""
    assert isinstance(sequences.values.base, np.memmap)
    assert isinstance(sequences.offsets.base, np.memmap)


def test_an_artifact_is_opened(sequences: Sequences) -> None:
    assert (sequences.n_users, sequences.n_items) == (4, 9)
    assert sequences.lengths.tolist() == [0, 5, 2, 3, 1]
    assert [list(case) for case in (sequences.valid.user, sequences.valid.at, sequences.valid.answer)] == [
        [1, 3],
        [3, 1],
        [4, 1],
    ]
    assert [list(case) for case in (sequences.test.user, sequences.test.at, sequences.test.answer)] == [
        [1, 3],
        [4, 2],
        [5, 7],
    ]
    assert len(sequences.test) == 2


@pytest.mark.parametrize("block", [1, 3, 2**22])
def test_counts_are_those_of_the_training_part(
    sequences: Sequences, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage_pl.data.sequences.BLOCK", block)
    assert sequences.train_mask.tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1]
    assert sequences.train_counts.tolist() == [0, 1, 2, 1, 0, 0, 2, 0, 1, 0, 0]


def test_the_training_part_alone(sequences: Sequences) -> None:
    values, offsets = sequences.train_csr()
    users = [values[a:b].tolist() for a, b in pairwise(offsets.tolist())]
    assert users == [[], [1, 2, 3], [6, 6], [2], [8]]


def naive_window(users: list[int], ends: list[int], length: int) -> list[list[int]]:
    rows = [([] if user == 0 else USERS[user - 1][:end])[-length:] for user, end in zip(users, ends, strict=True)]
    width = max(1, *map(len, rows))
    return [[0] * (width - len(row)) + row for row in rows]


@pytest.mark.parametrize("length", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("users", "ends"),
    [
        pytest.param([1, 2, 3, 4], [5, 2, 3, 1], id="whole sequences"),
        pytest.param([3, 1, 3], [1, 4, 0], id="any order, one empty"),
        pytest.param([2, 4], [0, 0], id="all empty"),
        pytest.param([0, 4], [0, 1], id="no user"),
        pytest.param([4], [1], id="the last user"),
    ],
)
def test_a_window_equals_slices(sequences: Sequences, users: list[int], ends: list[int], length: int) -> None:
    window = sequences.window(np.array(users), np.array(ends), length)
    assert window.tolist() == naive_window(users, ends, length)
    assert window.dtype == np.int64


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not a finished artifact .*scripts/prepare.py"):
        Artifact.at(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_sequences(tmp_path, USERS, n_items=9)
    (tmp_path / "offsets.npy").unlink()
    with pytest.raises(ArtifactError, match=r"has no file offsets.npy; delete that folder"):
        Sequences.load(Artifact.at(tmp_path))
