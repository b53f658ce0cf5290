from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders import item_text
from sage_pl.nn.item_encoders.item_text import ItemText, every_row, load_table, standardised
from tests.golden.prepared import write_rows


def test_standardised_text_by_hand() -> None:
    table = torch.tensor([[0.0, 0], [3, 1], [1, 1], [2, 4], [0, 0]])
    centred = torch.tensor([[1.0, -1], [-1, -1], [0, 2]])  # mean (2, 2); squared lengths 2, 2, 4
    expected = torch.zeros(5, 2)
    expected[1:-1] = centred / (8 / 3) ** 0.5
    torch.testing.assert_close(standardised(table), expected)
    assert not standardised(torch.ones(4, 2)).any()


def test_items_of_which_nothing_is_known_stay_zero_and_count_for_nothing() -> None:
    known = standardised(torch.tensor([[0.0, 0], [3, 1], [1, 1], [2, 4], [0, 0]]))
    with_zeros = standardised(torch.tensor([[0.0, 0], [0, 0], [3, 1], [1, 1], [0, 0], [2, 4], [0, 0]]))
    torch.testing.assert_close(with_zeros[[0, 2, 3, 5, 6]], known)
    assert not with_zeros[[1, 4]].any()
    assert not standardised(torch.zeros(4, 2)).any()


def test_writing_to_a_table_does_not_reach_its_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "embed", np.ones((3, 4)))
    table = load_table(path, 3)
    assert table.shape == (5, 4)
    table[1] = 7
    assert np.load(f"{path}/table.npy").max() == 1


IDS = torch.tensor([[0, 3], [5, 3]])


@pytest.fixture
def half(tmp_path: Path) -> str:
    """Five items' vectors in float16."""
    path = write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(5, 4)))
    np.save(f"{path}/table.npy", np.load(f"{path}/table.npy").astype(np.float16))
    return path


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "trained"])
def test_the_whole_table_is_read_without_a_copy(freeze: bool, tmp_path: Path) -> None:
    text = ItemText(write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(5, 4))), 5, freeze)
    rows = every_row(7, torch.device("cpu"))
    assert rows.tolist() == list(range(7))
    whole, copied = text(rows), text(rows.clone())
    assert whole.data_ptr() == text.table.data_ptr() != copied.data_ptr()
    assert torch.equal(whole, copied)
    assert torch.equal(text(rows[:3]), text.table[:3])
    assert torch.equal(text(every_row(6, torch.device("cpu"))), text.table[:6]), "every row of another table"
    if not freeze:
        gradients = [torch.autograd.grad(rows.pow(2).sum(), text.table)[0] for rows in (whole, copied)]
        assert torch.equal(*gradients)


def test_the_whole_table_is_read_in_the_models_type_and_through_its_file(
    half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = every_row(7, torch.device("cpu"))
    expected = torch.from_numpy(np.load(f"{half}/table.npy")).float()
    assert torch.equal(ItemText(half, 5)(rows), expected)
    monkeypatch.setattr(item_text, "_RESIDENT", 0)
    mapped = ItemText(half, 5)
    before = mapped.table
    assert torch.equal(mapped(rows), expected)
    assert mapped.table is not before, "what is read of a mapped file is counted"


def test_rows_made_without_gradients_can_be_trained_with() -> None:
    every_row.cache_clear()
    with torch.inference_mode():
        rows = every_row(3, torch.device("cpu"))
    table = torch.ones(3, 2, requires_grad=True)
    torch.nn.functional.embedding(rows, table).sum().backward()
    assert table.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_half_precision_text_is_read_in_the_models_type(dtype: torch.dtype, half: str) -> None:
    text, rows = ItemText(half, 5), torch.from_numpy(np.load(f"{half}/table.npy"))
    assert text.table.dtype == torch.float16
    assert text.width == 4
    found = text.to(dtype)(IDS)
    assert found.dtype == dtype
    assert torch.equal(found, rows[IDS].to(dtype))


def test_half_precision_text_is_trained_and_standardised_in_single_precision(half: str) -> None:
    rows = torch.from_numpy(np.load(f"{half}/table.npy")).float()
    trained = ItemText(half, 5, freeze=False).table
    assert isinstance(trained, torch.nn.Parameter)
    assert torch.equal(trained, rows)
    assert trained.dtype == torch.float32
    torch.testing.assert_close(ItemText(half, 5, standardise=True).table, standardised(rows))


def test_pages_that_were_read_are_given_back(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_text, "_RESIDENT", 5 * 2**10)
    monkeypatch.setattr(item_text, "_AROUND", 2**10)
    small = ItemText(half, 5)
    monkeypatch.setattr(item_text, "_RESIDENT", 0)
    text, first = ItemText(half, 5), small.table
    monkeypatch.setattr(item_text, "_RESIDENT", 5 * 2**10)
    before, rows = text.table, text(IDS)
    assert text.table is before
    assert torch.equal(text(IDS), rows)
    assert text.table is not before
    assert torch.equal(text(IDS[0]), rows[0])
    assert [small(IDS).sum() for _ in range(3)]
    assert small.table is first, "a table that fits stays open"


def test_text_that_has_moved_is_never_read_from_its_file_again(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_text, "_RESIDENT", 0)
    text = ItemText(half, 5).double()
    text.table[3] = 7
    assert (text(IDS)[0, 1] == 7).all()
