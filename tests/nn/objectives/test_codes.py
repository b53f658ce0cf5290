from pathlib import Path
from typing import Literal

import pytest
import torch

from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from tests.golden.prepared import write_sequences
from tests.nn.decoders.tiny import CODES, NETWORKS, naive_log_probs
from tests.nn.losses.coding import make_step

TRAINED = [2, 3, 5, 7]  # items with training events, of the seven


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    return write_sequences(tmp_path / "sequences", [[*TRAINED, 1, 4], [*TRAINED, 6, 4]], n_items=len(CODES))


@pytest.mark.parametrize("name", NETWORKS)
def test_by_hand(name: str, sequences: str, tmp_path: Path) -> None:
    step = make_step(tmp_path, name)
    memory, ids = step.predictions()
    scores = naive_log_probs(step.decoder, memory, CODES)
    expected = -torch.stack([scores[row, item - 1] for row, item in enumerate(ids.tolist())]).mean()
    torch.testing.assert_close(CodeCrossEntropy(sequences)(step), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_among_trained_items_as_if_there_were_no_others(name: str, sequences: str, tmp_path: Path) -> None:
    step = make_step(tmp_path, name)
    memory, ids = step.predictions()
    scores = naive_log_probs(step.decoder, memory, [CODES[item - 1] for item in TRAINED])
    expected = -torch.stack([scores[row, TRAINED.index(item)] for row, item in enumerate(ids.tolist())]).mean()
    torch.testing.assert_close(CodeCrossEntropy(sequences, "trained")(step), expected, atol=1e-12, rtol=0)


def test_it_is_a_loss_term_and_no_prediction_costs_nothing(sequences: str, tmp_path: Path) -> None:
    loss = CodeCrossEntropy(sequences)
    assert isinstance(loss, LossTerm)
    assert loss(make_step(tmp_path, targets=[[0, 0], [0, 0]])) == 0


@pytest.mark.parametrize("candidates", ["all", "trained"])
def test_padding_and_the_order_of_users_change_nothing(
    candidates: Literal["all", "trained"], sequences: str, tmp_path: Path
) -> None:
    loss = CodeCrossEntropy(sequences, candidates)
    one = loss(make_step(tmp_path))
    torch.testing.assert_close(loss(make_step(tmp_path, padding=3)), one, atol=1e-12, rtol=0)
    torch.testing.assert_close(loss(make_step(tmp_path, flipped=True)), one, atol=1e-12, rtol=0)


def test_gradients_reach_the_predicting_states_alone(sequences: str, tmp_path: Path) -> None:
    step = make_step(tmp_path, targets=[[2, 0], [0, 6]])
    CodeCrossEntropy(sequences)(step).backward()
    assert (step.hidden.grad.abs().sum(-1) > 0).tolist() == [[True, False], [False, True]]
