import math

import pytest
import torch
import torch.nn.functional as F

from sage_pl.nn.objectives.softmax import Softmax
from tests.golden.prepared import HandStep
from tests.nn.objectives.conftest import MakeStep


def test_two_users_by_hand(sequences: str) -> None:
    """Scores are the items' numbers times the state, and items 1, 2, 3 are candidates."""
    table = torch.tensor([9.0, 1.0, 2.0, 4.0, 9.0, 9.0, 9.0], dtype=torch.float64)[:, None]
    hidden = torch.tensor([[[1.0], [0.5]], [[9.0], [0.0]]], dtype=torch.float64)
    step = HandStep({"items": torch.tensor([[1, 2], [0, 3]]), "targets": torch.tensor([[2, 3], [0, 1]])}, hidden, table)
    first = math.log(math.exp(1) + math.exp(2) + math.exp(4)) - 2
    second = math.log(math.exp(0.5) + math.exp(1) + math.exp(2)) - 2
    third = math.log(3)
    assert Softmax(sequences)(step).item() == pytest.approx((first + second + third) / 3, abs=1e-12)


@pytest.mark.parametrize(("memory_mb", "block"), [(0.0, 0), (57 / 2**20, 2), (16.0, 2**24 // 28)])
def test_equals_cross_entropy_with_all_items_as_candidates(
    memory_mb: float, block: int, sequences: str, make_step: MakeStep
) -> None:
    step = make_step()
    scores = step.hidden[[0, 0, 1], [0, 1, 1]] @ step.id_table[1:-1].T
    expected = F.cross_entropy(scores, torch.tensor([2, 3, 1]) - 1)
    softmax = Softmax(sequences, candidates="all", memory_mb=memory_mb)
    assert softmax.block(7, torch.device("cpu")) == block
    torch.testing.assert_close(softmax(step), expected, atol=1e-12, rtol=0)


def test_an_accelerator_holds_more_logits_unless_told_otherwise(sequences: str) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert Softmax(sequences).block(2**20, cpu) == 4
    assert Softmax(sequences).block(2**20, cuda) == 256
    assert Softmax(sequences, memory_mb=8.0).block(2**20, cuda) == 2


def test_an_unknown_type_of_products_is_refused(sequences: str) -> None:
    with pytest.raises(ValueError, match="products is 'half', wanted one of float32, bfloat16"):
        Softmax(sequences, products="half")  # type: ignore[arg-type]


def test_untrained_items_are_not_pushed_down(sequences: str, make_step: MakeStep) -> None:
    step = make_step()
    Softmax(sequences)(step).backward()
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).tolist() == [False, True, True, True, False, False, False]
