import torch
import torch.nn.functional as F

from sage_pl.nn.objectives.bpr import BPR
from tests.nn.objectives.conftest import MakeStep


def test_two_users_by_hand(sequences: str, make_step: MakeStep) -> None:
    step, objective = make_step(), BPR(sequences)
    step.batch["draws"] = {objective.name: torch.tensor([[3, 1], [0, 2]])}
    gaps = [
        step.hidden[b, t] @ step.id_table[i] - step.hidden[b, t] @ step.id_table[j]
        for b, t, i, j in ((0, 0, 2, 3), (0, 1, 3, 1), (1, 1, 1, 2))
    ]
    expected = -F.logsigmoid(torch.stack(gaps)).mean()
    torch.testing.assert_close(objective(step), expected, atol=1e-12, rtol=0)
