import numpy as np
import pytest

from sage_pl.semantic import tables
from sage_pl.semantic.tables import neighbours, normalised, padded, write_padded


def test_padded_puts_item_i_into_row_i() -> None:
    table = padded(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, [[0, 0], [1, 2], [3, 4], [0, 0]])


def test_normalised_leaves_zero_rows_zero() -> None:
    np.testing.assert_allclose(normalised(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


@pytest.mark.parametrize(("given", "written"), [("f8", "f4"), ("f4", "f4"), ("f2", "f2"), ("i4", "f4")])
@pytest.mark.parametrize("block", [1, 2, 5, 100])
def test_a_table_written_in_blocks_is_the_same(rng, given, written, block, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK", block)
    rows = (10 * rng.normal(size=(5, 3))).astype(given)
    write_padded(rows, tmp_path / "table.npy")
    table = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert table.dtype == written
    np.testing.assert_array_equal(table, padded(rows))


@pytest.mark.parametrize("k", [1, 10, 99])
def test_neighbours_equal_a_full_sort(rng, k) -> None:
    rows = rng.normal(size=(60, 5))
    among = np.sort(rng.permutation(60)[:40])
    found = neighbours(rows, among, among, k)
    assert found.shape == (40, min(k, 39))
    for item, near in zip(among, found, strict=True):
        scores = {other: rows[item] @ rows[other] for other in among if other != item}
        assert set(near) == set(sorted(scores, key=scores.__getitem__)[-k:])
