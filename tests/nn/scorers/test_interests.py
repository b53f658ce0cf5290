"""Described interests matched with candidates, and what they change."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.nn.scorers.interests import InterestMatch
from sage_pl.types import Scorer
from tests.golden.prepared import normal, write, write_rows

N, TEXT = 6, 5
COUNTS = [0, 2, 0, 1]  # interests of user 0 (nobody), 1, 2, 3
ITEMS = torch.tensor([[1, 2], [0, 3], [4, 5]])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Texts of the items, and interests of three users; the interest of user 3 has the text of item 4."""
    random = np.random.default_rng(0)
    texts = random.normal(size=(N, TEXT)) + 3  # a common direction, which centring removes
    values = random.normal(size=(sum(COUNTS), TEXT)) + 3
    values[2] = texts[3]
    offsets = np.concatenate([[0], np.cumsum(COUNTS)])
    return write_rows(tmp_path / "embed", texts), write(tmp_path / "interests", values=values, offsets=offsets)


def test_the_nearest_interest_counts(folders: tuple[str, str]) -> None:
    text, interests = folders
    scorer, scores = InterestMatch(N, 3, text, interests, weight=2.0), normal(3, N + 2)
    got = scorer(scores, ITEMS, torch.tensor([1, 2, 3]))
    table, values = np.load(Path(text) / "table.npy")[1:-1], np.load(Path(interests) / "values.npy")
    centre = table.mean(0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - centre, b - centre
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    for row, mine in enumerate([values[:2], values[:0], values[2:]]):
        for item in range(1, N + 1):
            nearest = max((cosine(interest, table[item - 1]) for interest in mine), default=0.0)
            assert got[row, item].item() == pytest.approx(scores[row, item].item() + 2 * nearest, abs=1e-5)
    assert isinstance(scorer, Scorer)
    assert scorer.chosen


def test_an_item_that_an_interest_names_ranks_higher(folders: tuple[str, str]) -> None:
    scorer = InterestMatch(N, 3, *folders, weight=2.0)
    level = torch.zeros(1, N + 2)
    assert scorer(level, ITEMS[:1], torch.tensor([3]))[0, 1:-1].argmax() + 1 == 4
    for user in (1, 2):  # nobody else's list has that item first by its interests
        rows = scorer(level, ITEMS[:1], torch.tensor([user]))[0, 1:-1]
        assert not rows.any() or rows[3] < 1.99


@pytest.mark.parametrize("users", [None, [0, 0, 0], [2, 9, 2]], ids=["no ids", "new", "without interests or unknown"])
def test_who_has_no_interests_keeps_the_models_scores(users: list[int] | None, folders: tuple[str, str]) -> None:
    scorer, scores = InterestMatch(N, 3, *folders, weight=2.0), normal(3, N + 2)
    assert torch.equal(scorer(scores, ITEMS, None if users is None else torch.tensor(users)), scores)


def test_new_items_are_matched_by_their_texts(folders: tuple[str, str]) -> None:
    scorer = InterestMatch(N, 3, *folders, weight=2.0)
    before = scorer(torch.zeros(1, N + 2), ITEMS[:1], torch.tensor([3]))
    named = torch.from_numpy(np.load(Path(folders[1]) / "values.npy")[2:]).float()
    scorer.append(named)
    after = scorer(torch.zeros(1, N + 3), ITEMS[:1], torch.tensor([3]))
    torch.testing.assert_close(after[:, : N + 1], before[:, :-1])
    assert after[0, N + 1].item() == pytest.approx(2.0, abs=1e-5)


def test_interests_of_another_encoder_are_refused(folders: tuple[str, str], tmp_path: Path) -> None:
    narrow = write_rows(tmp_path / "reduce", np.ones((N, 2)))
    with pytest.raises(ValueError, match=r"interests are 5 wide and the items' texts 2.*scorer=none"):
        InterestMatch(N, 3, narrow, folders[1], weight=2.0)
