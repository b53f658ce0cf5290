from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sage_pl.data.targets import Prefixes
from sage_pl.nn.objectives.bce import BCE
from sage_pl.types import SeqBatch
from tests.golden.prepared import draw, write_sequences
from tests.nn.objectives.conftest import MakeStep


def test_two_users_by_hand(sequences: str, make_step: MakeStep) -> None:
    step, objective = make_step(), BCE(sequences)
    step.batch["draws"] = {objective.name: torch.tensor([[3, 1], [0, 2]])}
    scores = [(step.hidden[b, t] * step.id_table[i]).sum() for b, t, i in ((0, 0, 2), (0, 1, 3), (1, 1, 1))]
    against = [(step.hidden[b, t] * step.id_table[i]).sum() for b, t, i in ((0, 0, 3), (0, 1, 1), (1, 1, 2))]
    expected = F.binary_cross_entropy_with_logits(torch.stack(scores), torch.ones(3, dtype=torch.float64))
    expected += F.binary_cross_entropy_with_logits(torch.stack(against), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(objective(step), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("candidates", ["trained", "all"])
def test_a_negative_is_a_candidate_outside_the_sequence(candidates: str, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "s", [[*range(1, 31), 39, 40]], n_items=40)
    objective = BCE(data, candidates)  # type: ignore[arg-type]
    batch: SeqBatch = {
        "items": torch.tensor([[0, 0, 1, 2, 3, 41], [4, 5, 6, 7, 8, 9]]).repeat(100, 1),
        "targets": torch.tensor([[0, 0, 2, 3, 4, 10], [0, 0, 0, 0, 0, 12]]).repeat(100, 1),
    }
    torch.manual_seed(0)
    drawn, targets = draw(objective, batch), batch["targets"]
    assert all(map(torch.equal, objective.item_ids(batch), (targets, drawn)))
    assert torch.equal(drawn > 0, targets > 0)
    top = 30 if candidates == "trained" else 40
    first, second = drawn[::2][:, 2:], drawn[1::2][:, -1:]
    assert set(first.unique().tolist()) == set(range(1, top + 1)) - {1, 2, 3, 4, 10}
    assert set(second.unique().tolist()) <= set(range(1, top + 1)) - {4, 5, 6, 7, 8, 9, 12}


def test_prefixes_draw_none_of_their_users_later_items(tmp_path: Path) -> None:
    """A row holds a prefix alone, and its user's whole sequence says what is no negative."""
    objective = BCE(write_sequences(tmp_path / "s", [[*range(1, 31), 1, 2]], n_items=30))
    whole: SeqBatch = {"items": torch.tensor([[1, 2, 3, 4, 5, 6], [0, 0, 0, 7, 8, 7]]).repeat(100, 1)}
    batch = Prefixes().training(whole)
    torch.manual_seed(0)
    drawn = draw(objective, batch)[:, -1].view(100, 7)
    assert set(drawn[:, :5].unique().tolist()) == set(range(7, 31))
    assert set(drawn[:, 5:].unique().tolist()) == set(range(1, 31)) - {7, 8}


def test_a_user_who_has_every_candidate_still_gets_negatives(sequences: str) -> None:
    batch: SeqBatch = {"items": torch.tensor([[1, 2]]), "targets": torch.tensor([[2, 3]])}
    drawn = draw(BCE(sequences), batch)
    assert ((drawn >= 1) & (drawn <= 3)).all()
