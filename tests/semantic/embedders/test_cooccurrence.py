import logging

import numpy as np
import pytest
from scipy.sparse import csr_array

from sage_pl.semantic.embedders.cooccurrence import CooccurrenceEmbedder, cooccurrences, positive_pmi

# Two groups of items that never meet: 1 2 3 and 4 5 6; item 7 occurs only where it is held out.
USERS = [[1, 2, 3, 1, 2, 7, 7], [3, 2, 1, 3, 4, 4], [4, 5, 6, 4, 1, 1], [6, 5, 4, 6, 2, 2]] * 2


@pytest.mark.parametrize("window", [1, 2, 5, 50])
def test_counts_equal_a_loop_over_all_pairs(rng, window) -> None:
    users = [rng.integers(1, 8, size=rng.integers(0, 9)) for _ in range(20)]
    wanted = np.zeros((7, 7))
    for items in users:
        for i, a in enumerate(items):
            for j, b in enumerate(items):
                if i != j and abs(i - j) <= window and a != b:
                    wanted[a - 1, b - 1] += 1
    offsets = np.concatenate([[0], np.cumsum([len(user) for user in users])])
    np.testing.assert_array_equal(cooccurrences(np.concatenate(users), offsets, window, 7).toarray(), wanted)


@pytest.mark.parametrize("shift", [1.0, 1.5])
def test_positive_pmi_by_hand(shift) -> None:
    counts = np.array([[0, 3, 1], [3, 0, 0], [1, 0, 0.0]])  # sums 4, 3, 1; total 8
    found = positive_pmi(csr_array(counts), shift).toarray()
    wanted = np.log(2 / shift)  # 3 * 8 / (4 * 3) = 1 * 8 / (4 * 1) = 2
    np.testing.assert_allclose(found, [[0, wanted, wanted], [wanted, 0, 0], [wanted, 0, 0]])


def test_items_met_together_are_near_and_held_out_events_play_no_part(make_sequences, out, caplog) -> None:
    with caplog.at_level(logging.INFO):
        CooccurrenceEmbedder(dim=3).run({"sequences": make_sequences(USERS)}, out)
    table = np.load(out / "table.npy")
    assert table.shape == (9, 3)
    assert table.dtype == np.float32
    assert "1 of 7 items have no neighbour" in caplog.text
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), [0, 1, 1, 1, 1, 1, 1, 0, 0], atol=1e-5)
    similar = table[1:7] @ table[1:7].T
    assert abs(similar[:3, 3:]).max() < 1e-5


def test_two_runs_agree(make_sequences, out, tmp_path) -> None:
    sequences = make_sequences(USERS)
    CooccurrenceEmbedder(dim=3).run({"sequences": sequences}, out)
    CooccurrenceEmbedder(dim=3).run({"sequences": sequences}, tmp_path)
    np.testing.assert_array_equal(np.load(out / "table.npy"), np.load(tmp_path / "table.npy"))


def test_too_many_dimensions_are_refused(make_sequences, out) -> None:
    with pytest.raises(ValueError, match=r"128 dimensions of 7 items; set steps\.embed\.dim to 1\.\.6"):
        CooccurrenceEmbedder().run({"sequences": make_sequences(USERS)}, out)


def test_data_without_company_are_refused(make_sequences, out) -> None:
    with pytest.raises(ValueError, match="no two items occur together"):
        CooccurrenceEmbedder(dim=2).run({"sequences": make_sequences([[1], [2], [3, 3]])}, out)
    assert not list(out.iterdir())


@pytest.mark.parametrize("fields", [{"window": 0}, {"shift": 0.0}], ids=["window", "shift"])
def test_unfit_fields_are_refused(fields) -> None:
    with pytest.raises(ValueError, match=r"wanted steps\.embed\.window >= 1, shift > 0"):
        CooccurrenceEmbedder(**fields)
