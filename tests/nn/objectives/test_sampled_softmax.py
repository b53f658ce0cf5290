import math

import pytest
import torch

from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from tests.golden.prepared import HandStep, draw
from tests.nn.objectives.conftest import MakeStep


@pytest.mark.parametrize("times", [1, 3])
def test_every_candidate_as_negative_is_the_full_softmax(times: int, sequences: str, make_step: MakeStep) -> None:
    step, full = make_step(), Softmax(sequences, "all")
    sampled = SampledSoftmax(sequences, "all", negatives=5 * times)
    step.batch["draws"] = {sampled.name: sampled.candidate_ids.repeat(times)}
    loss, expected = sampled(step), full(step)
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=0)
    wanted = [step.hidden, step.id_table]
    for mine, want in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(mine, want, atol=1e-12, rtol=0)


def test_many_draws_come_near_the_full_softmax(sequences: str, make_step: MakeStep) -> None:
    torch.manual_seed(0)
    step, sampled = make_step(), SampledSoftmax(sequences, "all", negatives=50_000)
    draw(sampled, step.batch)
    assert sampled(step).item() == pytest.approx(Softmax(sequences, "all")(step).item(), rel=0.01)


def test_two_negatives_by_hand(sequences: str, make_step: MakeStep) -> None:
    step, sampled = make_step(), SampledSoftmax(sequences, negatives=2)
    step.batch["draws"] = {sampled.name: torch.tensor([3, 2])}
    expected = []
    for state, target, negatives in (
        (step.hidden[0, 0], 2, [3]),
        (step.hidden[0, 1], 3, [2]),
        (step.hidden[1, 1], 1, [3, 2]),
    ):
        score = (step.id_table @ state).tolist()
        others = sum(math.exp(score[j]) * 3 / 2 for j in negatives)
        expected.append(-math.log(math.exp(score[target]) / (math.exp(score[target]) + others)))
    assert sampled(step).item() == pytest.approx(sum(expected) / 3, abs=1e-12)


def test_negatives_that_all_equal_the_target_cost_nothing(sequences: str, make_step: MakeStep) -> None:
    step, sampled = make_step(), SampledSoftmax(sequences, negatives=4)
    step = HandStep({**step.batch, "targets": torch.tensor([[0, 2], [0, 2]])}, step.hidden, step.id_table)
    step.batch["draws"] = {sampled.name: torch.full((4,), 2)}
    loss = sampled(step)
    loss.backward()
    assert loss.item() == 0
    assert step.hidden.grad is not None
    assert not step.hidden.grad.any()


def test_negatives_are_candidates(sequences: str, make_step: MakeStep) -> None:
    sampled = SampledSoftmax(sequences, negatives=200)
    drawn = draw(sampled, make_step().batch)
    assert drawn.unique().tolist() == [1, 2, 3]
    assert len(drawn) == 200
