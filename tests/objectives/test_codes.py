from pathlib import Path

import pytest
import torch

from sage_pl.objectives.codes import CodeCrossEntropy
from sage_pl.types import LossTerm
from tests.decoders.tiny import CODES, NETWORKS, naive_log_probs
from tests.losses.coding import make_step


@pytest.mark.parametrize("name", NETWORKS)
def test_by_hand(name: str, tmp_path: Path) -> None:
    step = make_step(tmp_path, name)
    memory, ids = step.predictions()
    scores = naive_log_probs(step.decoder, memory, CODES)
    expected = -torch.stack([scores[row, item - 1] for row, item in enumerate(ids.tolist())]).mean()
    torch.testing.assert_close(CodeCrossEntropy()(step), expected, atol=1e-12, rtol=0)


def test_it_is_a_loss_term_and_no_prediction_costs_nothing(tmp_path: Path) -> None:
    assert isinstance(CodeCrossEntropy(), LossTerm)
    assert CodeCrossEntropy()(make_step(tmp_path, targets=[[0, 0], [0, 0]])) == 0


def test_padding_and_the_order_of_users_change_nothing(tmp_path: Path) -> None:
    loss = CodeCrossEntropy()
    one = loss(make_step(tmp_path))
    torch.testing.assert_close(loss(make_step(tmp_path, padding=3)), one, atol=1e-12, rtol=0)
    torch.testing.assert_close(loss(make_step(tmp_path, flipped=True)), one, atol=1e-12, rtol=0)


def test_gradients_reach_the_predicting_states_alone(tmp_path: Path) -> None:
    step = make_step(tmp_path, targets=[[2, 0], [0, 6]])
    CodeCrossEntropy()(step).backward()
    assert (step.hidden.grad.abs().sum(-1) > 0).tolist() == [[True, False], [False, True]]
