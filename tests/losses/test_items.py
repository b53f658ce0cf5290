import pytest
import torch

from sage_pl.losses.items import real_items

IDS = torch.tensor([[0, 4, 2], [9, 2, 4]])  # 9 is the mask token


@pytest.mark.parametrize(("unique", "wanted"), [(True, [2, 4]), (False, [4, 2, 2, 4])])
def test_padding_and_mask_token_are_no_items(unique: bool, wanted: list[int]) -> None:
    assert real_items(IDS, 9, unique).tolist() == wanted


def test_more_than_asked_for_are_sampled_down() -> None:
    drawn = real_items(torch.arange(100), 99, max_items=7)
    assert len(set(drawn.tolist())) == 7
    assert set(drawn.tolist()) <= set(range(1, 99))
    assert real_items(torch.arange(8), 9, max_items=7).tolist() == list(range(1, 8))


def test_nothing_but_padding_is_nothing() -> None:
    assert real_items(torch.zeros(2, 3, dtype=torch.long), 9, max_items=4).tolist() == []
