"""Positions with several states: the one nearest the target is trained."""

from typing import Any

import pytest
import torch

from sage_pl.nn.objectives.base import states_and_targets
from sage_pl.nn.objectives.bce import BCE
from sage_pl.nn.objectives.bpr import BPR
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from tests.golden.prepared import HandStep, draw, leaf, normal
from tests.nn.objectives.conftest import MakeStep

KINDS = {"softmax": Softmax, "sampled softmax": SampledSoftmax, "bce": BCE, "bpr": BPR}


def several(step: HandStep, n: int = 3, seed: int = 5) -> HandStep:
    """The step with n states a position, of which the first is the step's own."""
    others = normal(*step.hidden.shape[:2], n - 1, step.hidden.shape[2], seed=seed).to(step.hidden.dtype)
    hidden = torch.cat([step.hidden.detach()[:, :, None], others], 2)
    return HandStep(step.batch, leaf(hidden), leaf(step.id_table.detach()))


def test_the_nearest_state_by_hand(make_step: MakeStep) -> None:
    step = make_step()
    table = torch.zeros(7, 2).double()
    table[1], table[2], table[3] = torch.tensor([1.0, 0]), torch.tensor([0.0, 1]), torch.tensor([-1.0, 0])
    states = torch.tensor([[3.0, 1], [1, 2], [-2, -2]]).double()
    step = HandStep(step.batch, states.expand(2, 2, 3, 2), table)
    chosen, targets = states_and_targets(step)
    assert targets.tolist() == [2, 3, 1]
    assert chosen.tolist() == [[1, 2], [-2, -2], [3, 1]]


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_the_loss_is_that_of_the_nearest_states_and_only_they_learn(
    kind: Any, make_step: MakeStep, sequences: str
) -> None:
    step = several(make_step(padding=1))
    objective = kind(sequences)
    torch.manual_seed(0)
    if draw(objective, step.batch) is not None and isinstance(objective, BCE):
        step.batch["draws"][objective.name] = torch.where(step.batch["targets"] > 0, 4, 0)  # which is nobody's target
    loss = objective(step)
    loss.backward()
    rows = step.batch["targets"] > 0
    scores = (step.hidden * step.id_table[step.batch["targets"]][:, :, None]).sum(-1)
    nearest = scores.argmax(2)
    moved = step.hidden.grad.any(-1)
    for b in range(2):
        for t in range(3):
            expected = [bool(rows[b, t]) and k == int(nearest[b, t]) for k in range(3)]
            assert moved[b, t].tolist() == expected
    single = HandStep(
        step.batch, step.hidden.detach().take_along_dim(nearest[:, :, None, None], 2)[:, :, 0], step.id_table
    )
    torch.testing.assert_close(objective(single), loss, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_scores_of_ten_thousand_stay_finite_and_a_bad_negative_is_corrected(
    kind: Any, make_step: MakeStep, sequences: str
) -> None:
    for sign in (1.0, -1.0):
        step = several(make_step(dtype=torch.float32, scale=200.0))
        step.hidden.data *= sign
        assert (step.hidden.flatten(0, 2) @ step.id_table.T).abs().max() > 1e4
        objective = kind(sequences)
        draw(objective, step.batch)
        loss = objective(step)
        loss.backward()
        assert loss.isfinite()
        assert all(x.grad is not None and x.grad.isfinite().all() for x in (step.hidden, step.id_table))


def test_the_gradient_of_a_negative_with_a_high_score_is_one(sequences: str) -> None:
    """The reference's -log(1 - sigmoid(s) + 1e-24) has none from s = 17 on in single precision."""
    table = torch.zeros(7, 1)
    table[1] = 1.0
    batch: Any = {"items": torch.tensor([[2]]), "targets": torch.tensor([[3]]), "labels": torch.tensor([0])}
    step, objective = HandStep(batch, leaf(torch.full((1, 1, 2, 1), 40.0)), leaf(table)), BCE(sequences)
    step.batch["draws"] = {objective.name: torch.tensor([[1]])}
    objective(step).backward()
    assert step.id_table.grad[1].item() == pytest.approx(40.0)  # 1 times the state
    assert step.hidden.grad[0, 0, 0].item() == pytest.approx(1.0)
