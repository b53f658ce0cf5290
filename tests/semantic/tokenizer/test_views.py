import numpy as np
import pytest

from sage_pl.semantic.tokenizer.views import completed, directions, trust


def test_directions_by_hand() -> None:
    rows = np.array([[3.0, 0], [1, 0], [2, 5], [9, 9]])
    known = np.array([True, True, True, False])
    mean = np.array([2, 5 / 3])
    found = directions(rows, known)
    np.testing.assert_allclose(found[:3], (rows[:3] - mean) / np.linalg.norm(rows[:3] - mean, axis=1, keepdims=True))
    assert found[3].tolist() == [0, 0]  # and it did not move the mean
    assert directions(rows, np.zeros(4, dtype=bool)).tolist() == [[0, 0]] * 4


def test_trust_grows_with_training_events() -> None:
    np.testing.assert_allclose(trust(np.array([0, 1, 5, 45]), 5.0), [0, 1 / 6, 0.5, 0.9])
    np.testing.assert_allclose(trust(np.array([0, 1, 5]), 0.0), [0, 1, 1])


def test_what_is_trusted_stays_and_what_is_unseen_goes_where_its_text_points(rng) -> None:
    """The collaborative direction is a rotation of the text: text predicts it up to the penalty."""
    text = directions(rng.normal(size=(200, 4)), np.ones(200, dtype=bool))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    told = text @ rotation
    believed = np.array([1.0] * 150 + [0.0] * 50)
    given = np.where(believed[:, None] > 0, told, rng.normal(size=told.shape))  # noise where nothing was trained
    found = completed(given, text, believed)
    np.testing.assert_allclose(found[:150], told[:150], atol=1e-12)
    assert (found[150:] * told[150:]).sum(axis=1).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)


def test_noise_of_unseen_items_is_not_read(rng) -> None:
    text, given = rng.normal(size=(2, 30, 4))
    believed = trust(np.repeat([0, 3], 15), 5.0)
    other = given.copy()
    other[:15] = 1e6
    np.testing.assert_array_equal(completed(given, text, believed), completed(other, text, believed))


def test_half_trust_lies_between_by_hand() -> None:
    """Two items of equal text: the fit is their mean, which is the suggestion for both."""
    text = np.array([[1.0], [1.0]])
    given = np.array([[1.0, 0], [0, 1.0]])
    middle = np.array([1, 1]) / np.sqrt(2)
    wanted = given / 2 + middle / 2
    found = completed(given, text, np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-12)


def test_data_without_training_events_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no item occurs in training.*tokenizer=tiger"):
        completed(np.ones((2, 2)), np.ones((2, 2)), np.zeros(2))
