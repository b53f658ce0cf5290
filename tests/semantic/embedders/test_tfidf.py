import numpy as np
import polars as pl
import pytest

from sage_pl.semantic.embedders.tfidf import TfidfEmbedder

TEXTS = ["green tea", "black tea leaves", "garden hose", "garden hose green", "green tea"]


def test_table_has_unit_rows_in_id_order(make_artifact, out) -> None:
    texts = pl.DataFrame({"item": [5, 4, 3, 2, 1], "text": TEXTS[::-1]})
    TfidfEmbedder(dim=3).run({"texts": make_artifact("texts", texts=texts)}, out)
    table = np.load(out / "table.npy")
    assert table.shape == (7, 3)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table[1:-1], TfidfEmbedder(dim=3).encode(TEXTS))
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), [0, 1, 1, 1, 1, 1, 0], atol=1e-6)


def test_like_texts_are_near_and_equal_texts_equal() -> None:
    rows = TfidfEmbedder(dim=3).encode(TEXTS)
    similar = rows @ rows.T
    assert similar[0, 1] > similar[0, 2]
    assert similar[0, 4] == pytest.approx(1)


def test_a_text_without_terms_has_a_zero_row() -> None:
    assert not TfidfEmbedder(dim=2).encode([*TEXTS, "!"])[-1].any()


@pytest.mark.parametrize("dim", [0, 5, 384])
def test_a_width_the_texts_do_not_allow_is_refused(dim) -> None:
    with pytest.raises(ValueError, match=r"of 5 texts with \d+ distinct terms; set steps\.embed\.dim to 1\.\.4"):
        TfidfEmbedder(dim=dim).encode(TEXTS)
