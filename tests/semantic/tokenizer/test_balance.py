import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.semantic.tokenizer.balance import Balanced
from sage_pl.semantic.tokenizer.residual import squared_distances


def naive(distances: np.ndarray, epsilon: float, rounds: int) -> np.ndarray:
    """The reference's form: exponentials in double precision, whole matrix."""
    d = distances.astype(np.float64)
    d = (2 * d - d.min() - d.max()) / (d.max() - d.min())
    q = np.exp(-d / epsilon)
    for _ in range(rounds):
        q /= len(q) * q.sum(axis=1, keepdims=True)
        q /= q.shape[1] * q.sum(axis=0, keepdims=True)
    return q.argmax(axis=1)


def distances(n: int, size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return squared_distances(*(generator.normal(size=(k, 8)).astype(np.float32) for k in (n, size)))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.003, 0.01, 0.1, 1.0]), st.integers(1, 60))
def test_logarithms_give_what_exponentials_in_double_precision_give(seed, epsilon, rounds) -> None:
    d = distances(200, 8, seed)
    assert (Balanced(epsilon, rounds)(d) == naive(d, epsilon, rounds)).mean() > 0.99


def test_single_precision_exponentials_would_overflow() -> None:
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(np.float32(1 / 0.003)))
    d = distances(500, 16).astype(np.float32)
    assert (Balanced()(d) == naive(d, 0.003, 50)).all()


def test_chunks_change_nothing(monkeypatch) -> None:
    d = distances(300, 8)
    whole = Balanced()(d)
    monkeypatch.setattr("sage_pl.semantic.tokenizer.balance.ROWS", 7)
    assert (Balanced()(d) == whole).all()


def test_codes_are_used_about_equally_often() -> None:
    d = distances(4000, 32)
    before, after = (np.bincount(codes, minlength=32) for codes in (d.argmin(axis=1), Balanced()(d)))
    assert before.max() > 2 * 4000 / 32
    assert 4000 / 32 / 2 < after.min() <= after.max() < 2 * 4000 / 32


def test_those_move_who_lose_least_by_hand() -> None:
    """All four are nearest to code 0; the two that hardly prefer it go to code 1."""
    d = np.array([[0, 9], [0, 8], [0, 2], [0, 1]], dtype=np.float32)
    assert Balanced(epsilon=0.1)(d).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_any_scale_is_finite(scale) -> None:
    d = distances(100, 4)
    assert (Balanced()(d * np.float32(scale)) == Balanced()(d)).mean() > 0.98


def test_where_all_is_alike_the_first_code_is_taken() -> None:
    assert Balanced()(np.ones((3, 2), dtype=np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("setting", [{"epsilon": 0.0}, {"rounds": 0}], ids=str)
def test_settings_out_of_range_are_refused(setting) -> None:
    with pytest.raises(ValueError, match="wanted both positive"):
        Balanced(**setting)
