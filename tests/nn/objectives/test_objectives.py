"""What holds for every objective: candidates, padding, order, empty batches, huge scores."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.objectives.base import Objective, states_and_targets
from sage_pl.nn.objectives.bce import BCE
from sage_pl.nn.objectives.bpr import BPR
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from tests.golden.prepared import HandStep, draw
from tests.nn.objectives.conftest import MakeStep

KINDS: dict[str, type[Objective]] = {"softmax": Softmax, "sampled softmax": SampledSoftmax, "bce": BCE, "bpr": BPR}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def objective(request: pytest.FixtureRequest, sequences: str) -> Any:
    return request.param(sequences)


def loss_of(objective: Any, step: HandStep, negatives: Tensor | None = None) -> Tensor:
    """The loss with the given shared negatives, or those it draws."""
    torch.manual_seed(0)
    draw(objective, step.batch)
    if negatives is not None and isinstance(objective, BCE):
        step.batch["draws"][objective.name] = torch.where(step.batch["targets"] > 0, negatives, 0)
    return objective(step)


@pytest.mark.parametrize(("candidates", "expected"), [("trained", [1, 2, 3]), ("all", [1, 2, 3, 4, 5])])
def test_candidates(candidates: Any, expected: list[int], sequences: str) -> None:
    for kind in KINDS.values():
        objective = kind(sequences, candidates)
        assert objective.candidate_ids.tolist() == expected
        assert not objective.state_dict()


def test_unknown_candidates_are_refused(sequences: str) -> None:
    with pytest.raises(ValueError, match=r"objective\.candidates is 'seen', wanted 'trained' or 'all'"):
        Softmax(sequences, candidates="seen")  # type: ignore[arg-type]


def test_only_labelled_positions_take_part(make_step: MakeStep) -> None:
    step = make_step(padding=2)
    states, targets = states_and_targets(step)
    assert targets.tolist() == [2, 3, 1]
    assert torch.equal(states, step.hidden[[0, 0, 1], [2, 3, 3]])


def test_padding_changes_nothing(objective: Any, make_step: MakeStep) -> None:
    plain, padded = loss_of(objective, make_step(), torch.tensor(3)), loss_of(objective, make_step(4), torch.tensor(3))
    torch.testing.assert_close(padded, plain, atol=1e-12, rtol=0)


def test_unlabelled_states_get_no_gradient(objective: Any, make_step: MakeStep) -> None:
    step = make_step(padding=1)
    loss_of(objective, step, torch.tensor(4)).backward()
    assert step.hidden.grad is not None
    assert step.hidden.grad.any(-1).tolist() == [[False, True, True], [False, False, True]]


def test_the_order_of_users_changes_nothing(objective: Any, make_step: MakeStep) -> None:
    step = make_step()
    batch: Any = {key: step.batch[key].flip(0) for key in ("items", "targets")}
    swapped = HandStep(batch, step.hidden.flip(0), step.id_table)
    plain, other = (loss_of(objective, s, torch.tensor(3)) for s in (step, swapped))
    torch.testing.assert_close(other, plain, atol=1e-12, rtol=0)


def test_a_batch_without_labels_is_zero_with_zero_gradients(objective: Any, make_step: MakeStep) -> None:
    step = make_step()
    step = HandStep({**step.batch, "targets": torch.zeros_like(step.batch["targets"])}, step.hidden, step.id_table)
    loss = loss_of(objective, step)
    loss.backward()
    assert loss.item() == 0
    for tensor in (step.hidden, step.id_table):
        assert tensor.grad is None or not tensor.grad.any()


def test_huge_scores_stay_finite(objective: Any, make_step: MakeStep) -> None:
    step = make_step(dtype=torch.float32, scale=200.0)
    assert (step.hidden.flatten(0, 1) @ step.id_table.T).abs().max() > 1e4
    loss = loss_of(objective, step)
    loss.backward()
    assert loss.isfinite()
    assert step.hidden.grad is not None
    assert step.hidden.grad.isfinite().all()
    assert step.id_table.grad is not None
    assert step.id_table.grad.isfinite().all()


def test_every_asked_vector_is_announced(objective: Any, make_step: MakeStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that encodes single items holds just those named by ``item_ids``."""
    step, asked, outputs = make_step(), [], HandStep.outputs
    draw(objective, step.batch)
    announced = {int(i) for ids in objective.item_ids(step.batch) for i in ids.flatten()}

    def counted(self: HandStep, ids: Tensor) -> Tensor:
        asked.append(ids)
        return outputs(self, ids)

    monkeypatch.setattr(HandStep, "outputs", counted)
    if not objective.catalogue:
        objective(step)
        assert {int(i) for ids in asked for i in ids.flatten()} <= announced
    assert objective.catalogue == (not asked)
