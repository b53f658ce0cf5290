import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.semantic.tokenizer import residual
from sage_pl.semantic.tokenizer.residual import decoded, nearest, residual_codes, squared_distances

# level 1 tells left from right, level 2 below from above
BOOKS = np.array([[[-10, 0], [10, 0]], [[0, -1], [0, 1]]], dtype=np.float32)


def test_codes_by_hand() -> None:
    latent = np.array([[-9, 2], [11, -3], [-10, 0.5]], dtype=np.float32)
    codes, left = residual_codes(latent, BOOKS)
    assert codes.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert left.tolist() == [[1, 2], [1, -3], [0, 0.5]]  # what level 2 has to describe
    assert decoded(codes, BOOKS).tolist() == [[-10, 1], [10, -1], [-10, 1]]


def test_a_suffix_stands_for_nothing() -> None:
    assert decoded(np.array([[0, 1, 7]]), BOOKS).tolist() == [[-10, 1]]


def test_distances_by_hand() -> None:
    found = squared_distances(np.array([[0.0, 0], [3, 4]]), np.array([[0.0, 0], [0, 4]]))
    assert found.tolist() == [[0, 16], [25, 9]]


def test_rows_are_worked_on_in_chunks(rng, monkeypatch) -> None:
    rows, centres = rng.normal(size=(50, 3)), rng.normal(size=(7, 3))
    naive = [int(np.argmin([((row - centre) ** 2).sum() for centre in centres])) for row in rows]
    monkeypatch.setattr(residual, "CHUNK", 8)
    assert nearest(rows, centres).tolist() == naive


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6))
def test_the_vector_is_its_codebook_rows_and_the_last_residual(seed, levels, size) -> None:
    generator = np.random.default_rng(seed)
    latent, books = generator.normal(size=(30, 5)), generator.normal(size=(levels, size, 5))
    codes, left = residual_codes(latent, books)
    remainder = left - books[-1][codes[:, -1]]
    np.testing.assert_allclose(latent - decoded(codes, books), remainder, atol=1e-12)
    assert (((remainder**2).sum(axis=1)[:, None]) <= squared_distances(left, books[-1]) + 1e-9).all()


def test_one_more_level_never_hurts_where_a_code_is_zero(rng) -> None:
    latent = rng.normal(size=(40, 5))
    books = rng.normal(size=(4, 6, 5))
    books[:, 0] = 0
    errors = [((latent - decoded(residual_codes(latent, books[:t])[0], books[:t])) ** 2).sum(axis=1) for t in (1, 2, 4)]
    assert (errors[0] >= errors[1] - 1e-9).all()
    assert (errors[1] >= errors[2] - 1e-9).all()
    assert errors[2].sum() < errors[0].sum()
