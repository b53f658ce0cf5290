import numpy as np
import pytest

from sage_pl.data.sequences import Cases, Sequences
from sage_pl.evaluation.bands import NAMES, length_bands, popularity_bands

from .conftest import MakeSequences


@pytest.mark.parametrize(
    ("events", "band"),
    [
        (0, None),
        (1, "1-4"),
        (4, "1-4"),
        (5, "5-9"),
        (9, "5-9"),
        (10, "10-19"),
        (20, "20-39"),
        (39, "20-39"),
        (40, "40+"),
    ],
)
def test_borders(events: int, band: str | None) -> None:
    cases = Cases(np.array([1]), np.array([events]), np.array([1]))
    assert [name for name, members in length_bands(cases).items() if members[0]] == ([f"user_{band}"] if band else [])


def test_popularity_is_counted_in_the_training_part(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 1, 1, 1, 1, 2, 3], [4, 2, 1], [4, 5, 4], [5, 1, 5]], 5)  # counts 5 0 0 2 1
    bands = popularity_bands(data, data.test)
    assert {name: members.tolist() for name, members in bands.items() if members.any()} == {
        "item_1-4": [False, False, True, True],
        "item_5-9": [False, True, False, False],
    }


def test_every_case_is_in_one_band_but_for_unseen_answers(random_sequences: Sequences) -> None:
    cases = random_sequences.test
    seen = random_sequences.train_counts[cases.answer] > 0
    assert np.array_equal(sum(m.astype(int) for m in popularity_bands(random_sequences, cases).values()), seen)
    assert np.array_equal(sum(m.astype(int) for m in length_bands(cases).values()), np.ones(len(cases)))
    assert [name.split("_")[1] for name in length_bands(cases)] == list(NAMES)
