import numpy as np

from sage_pl.semantic.tables import normalised, padded


def test_padded_puts_item_i_into_row_i() -> None:
    table = padded(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, [[0, 0], [1, 2], [3, 4], [0, 0]])


def test_normalised_leaves_zero_rows_zero() -> None:
    np.testing.assert_allclose(normalised(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])
