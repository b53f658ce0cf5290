import pytest
import torch

from sage_pl.nn.losses.items import compared_items, real_items
from tests.golden.prepared import HandStep

IDS = torch.tensor([[0, 4, 2], [9, 2, 4]])  # 9 is the mask token


def step_of(items: torch.Tensor, targets: torch.Tensor = IDS, mask_token: int = 9) -> HandStep:
    return HandStep({"items": items, "targets": targets}, torch.zeros(0), torch.zeros(0), mask_token=mask_token)


def test_padding_and_mask_token_are_no_items() -> None:
    assert real_items(IDS, 9).tolist() == [4, 2, 2, 4]
    assert real_items(torch.zeros(2, 3, dtype=torch.long), 9).tolist() == []


@pytest.mark.parametrize(("unique", "wanted"), [(True, [2, 4]), (False, [4, 2, 2, 4])])
def test_items_or_targets_once_or_as_they_occur(unique: bool, wanted: list[int]) -> None:
    step = step_of(IDS, torch.tensor([[0, 7], [7, 3]]))
    assert compared_items(step, "items", unique).tolist() == wanted
    assert compared_items(step, "targets", unique).tolist() == ([3, 7] if unique else [7, 7, 3])


def test_more_than_asked_for_are_sampled_down() -> None:
    drawn = compared_items(step_of(torch.arange(100), mask_token=99), "items", max_items=7)
    assert len(set(drawn.tolist())) == 7
    assert set(drawn.tolist()) <= set(range(1, 99))
    assert compared_items(step_of(torch.arange(8)), "items", max_items=7).tolist() == list(range(1, 8))
