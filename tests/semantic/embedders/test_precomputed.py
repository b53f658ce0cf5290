import pickle

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.embedders.precomputed import PrecomputedEmbedder

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def table(file, sequences, out) -> np.ndarray:
    PrecomputedEmbedder(str(file)).run({"sequences": sequences}, out)
    return np.load(out / "table.npy")


@pytest.fixture
def sequences(make_sequences):
    return make_sequences([[1, 2, 3]], item_ids=["a", "b", "c"])


def test_numpy_rows_are_in_id_order(tmp_path, sequences, out) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    found = table(tmp_path / "rows.npy", sequences, out)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0, 0], [1, 2], [3, 4], [5, 6], [0, 0]])


def test_half_precision_stays_half(tmp_path, sequences, out) -> None:
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float16))
    found = table(tmp_path / "rows.npy", sequences, out)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[1:-1], ROWS)


@pytest.mark.parametrize("fixed", [True, False], ids=["array", "list"])
def test_parquet_rows_are_joined_by_id(tmp_path, sequences, out, fixed) -> None:
    frame = pl.DataFrame({"item_id": ["c", "other", "a", "b"], "embedding": [[5.0, 6], [9.0, 9], [1.0, 2], [3.0, 4]]})
    kind = pl.Array(pl.Float32, 2) if fixed else pl.List(pl.Float64)
    frame.with_columns(pl.col("embedding").cast(kind)).write_parquet(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(table(tmp_path / "rows.parquet", sequences, out)[1:-1], ROWS)


def test_parquet_ids_may_be_numbers_or_text(tmp_path, make_sequences, out) -> None:
    pl.DataFrame({"item_id": ["30", "10"], "embedding": [[3.0], [1.0]]}).write_parquet(tmp_path / "rows.parquet")
    found = table(tmp_path / "rows.parquet", make_sequences([[1, 2]], item_ids=[10, 30]), out)
    np.testing.assert_array_equal(found.ravel(), [0, 1, 3, 0])


def test_pickled_rows_belong_to_the_sources_ids(tmp_path, make_sequences, out) -> None:
    (tmp_path / "itm_emb_np.pkl").write_bytes(pickle.dumps(ROWS))
    found = table(tmp_path / "itm_emb_np.pkl", make_sequences([[1, 2, 3]], item_ids=[2, 3, 1]), out)
    np.testing.assert_array_equal(found[1:-1], ROWS[[1, 2, 0]])


def test_pickled_rows_need_numbered_items(tmp_path, sequences, out) -> None:
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(ROWS))
    with pytest.raises(ValueError, match=r"belong to the item ids 1\.\.3"):
        table(tmp_path / "rows.pkl", sequences, out)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(ROWS[:2], "has 2 rows, wanted 3, one per item of the data set and none for padding", id="rows"),
        pytest.param(ROWS[0], r"float64 array \(2,\), wanted a matrix of numbers \[3, D\]", id="vector"),
        pytest.param(np.zeros((3, 0)), "wanted a matrix of numbers", id="no width"),
        pytest.param(ROWS.astype(str), "wanted a matrix of numbers", id="text"),
        pytest.param(np.array([[1, 2], [np.nan, 0], [0, np.inf]]), r"of 2 items hold NaN .*items 2, 3", id="NaN"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, sequences, out, rows, message) -> None:
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ValueError, match=message):
        table(tmp_path / "rows.npy", sequences, out)
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"item_id": ["a"]}, "lacks the column embedding; it has item_id", id="column"),
        pytest.param(
            {"item_id": ["a"], "embedding": [[1.0]]}, r"no embedding for 2 of 3 items \(item_id b, c\)", id="missing"
        ),
        pytest.param(
            {"item_id": list("abc"), "embedding": [[1.0], None, [1.0]]}, r"for 1 of 3 items \(item_id b\)", id="null"
        ),
        pytest.param(
            {"item_id": list("abca"), "embedding": [[1.0]] * 4},
            r"more than one row for 1 items \(item_id a\)",
            id="twice",
        ),
        pytest.param(
            {"item_id": list("abc"), "embedding": [[1.0], [1.0, 2], [1.0]]}, "have the widths 1, 2", id="widths"
        ),
    ],
)
def test_unfit_tables_are_refused(tmp_path, sequences, out, columns, message) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=message):
        table(tmp_path / "rows.parquet", sequences, out)


def test_absent_and_unknown_files_are_refused(tmp_path, sequences, out) -> None:
    with pytest.raises(FileNotFoundError, match=r"set steps\.embed\.path=FILE"):
        table(tmp_path / "rows.npy", sequences, out)
    (tmp_path / "rows.txt").write_text("1 2")
    with pytest.raises(ValueError, match=r"of no known kind; wanted \.parquet, \.npy or \.pkl"):
        table(tmp_path / "rows.txt", sequences, out)


def test_identity_is_the_content_not_the_place(tmp_path) -> None:
    for name, rows in {"one": ROWS, "two": ROWS, "three": ROWS + 1}.items():
        np.save(tmp_path / f"{name}.npy", rows)
    one, two, three = (identity(PrecomputedEmbedder(str(tmp_path / f"{n}.npy"))) for n in ("one", "two", "three"))
    assert one == two != three
