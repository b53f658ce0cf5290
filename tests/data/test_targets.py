import pytest
import torch
from torch import Tensor

from sage_pl.data.targets import Cloze, LastItem, NextItem
from sage_pl.types import SeqBatch
from tests.golden.prepared import left_pad

N_ITEMS = 50
MASK = N_ITEMS + 1
SEQUENCES = left_pad([[1, 2, 3, 4], [5, 6], [7, 8, 9]])


def batch_of(items: Tensor) -> SeqBatch:
    return {"items": items, "user": torch.arange(1, len(items) + 1)}


def test_next_item_shifts_by_one() -> None:
    batch = NextItem().training(batch_of(SEQUENCES))
    assert batch["items"].tolist() == [[1, 2, 3], [0, 0, 5], [0, 7, 8]]
    assert batch["targets"].tolist() == [[2, 3, 4], [0, 0, 6], [0, 8, 9]]
    assert batch["state_rows"].tolist() == [0, 1, 2]
    assert batch["user"].tolist() == [1, 2, 3]


def test_last_item_labels_the_last_position_alone() -> None:
    batch = LastItem().training(batch_of(SEQUENCES))
    assert batch["items"].tolist() == [[1, 2, 3], [0, 0, 5], [0, 7, 8]]
    assert batch["targets"].tolist() == [[0, 0, 4], [0, 0, 6], [0, 0, 9]]
    assert batch["state_rows"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("targets", [NextItem(), LastItem()], ids=["next item", "last item"])
def test_a_history_is_served_as_it_is(targets: NextItem) -> None:
    assert targets.inference(SEQUENCES) is SEQUENCES


@pytest.mark.parametrize("targets", [NextItem(), LastItem(), Cloze(N_ITEMS)], ids=["next item", "last item", "cloze"])
def test_the_callers_batch_is_left_alone(targets: NextItem) -> None:
    batch = batch_of(SEQUENCES.clone())
    targets.training(batch)
    assert batch.keys() == {"items", "user"}
    assert torch.equal(batch["items"], SEQUENCES)


@pytest.mark.parametrize("probability", [0.1, 0.6, 1.0])
def test_cloze_changes_and_labels_chosen_items_alone(probability: float) -> None:
    torch.manual_seed(0)
    batch = Cloze(N_ITEMS, probability).training(batch_of(SEQUENCES))
    items, targets = batch["items"][:3], batch["targets"][:3]
    chosen = targets > 0
    assert torch.equal(targets[chosen], SEQUENCES[chosen])
    assert torch.equal(items[~chosen], SEQUENCES[~chosen])
    assert not items[SEQUENCES == 0].any()
    assert not targets[SEQUENCES == 0].any()
    if probability == 1:
        assert torch.equal(targets, SEQUENCES)


def test_the_second_half_of_cloze_masks_the_last_item_alone() -> None:
    batch = Cloze(N_ITEMS).training(batch_of(SEQUENCES))
    assert batch["items"][3:].tolist() == [[1, 2, 3, MASK], [0, 0, 5, MASK], [0, 7, 8, MASK]]
    assert batch["targets"][3:].tolist() == [[0, 0, 0, 4], [0, 0, 0, 6], [0, 0, 0, 9]]
    assert batch["state_rows"].tolist() == [3, 4, 5]


def test_the_state_of_cloze_is_trained_as_it_is_served() -> None:
    cloze = Cloze(N_ITEMS)
    batch = cloze.training(batch_of(SEQUENCES))
    assert torch.equal(batch["items"][batch["state_rows"]], cloze.inference(SEQUENCES[:, :-1]))


def test_shares_of_cloze() -> None:
    torch.manual_seed(0)
    original = torch.randint(1, N_ITEMS + 1, (400, 100))
    batch = Cloze(N_ITEMS, 0.6).training(batch_of(original))
    items, chosen = batch["items"][:400], batch["targets"][:400] > 0
    assert chosen.float().mean().item() == pytest.approx(0.6, abs=0.01)
    masked, kept = (items == MASK)[chosen].float().mean(), (items == original)[chosen].float().mean()
    assert masked.item() == pytest.approx(0.8, abs=0.01)
    assert kept.item() == pytest.approx(0.1 + 0.1 / N_ITEMS, abs=0.01)
    replaced = items[chosen & (items != MASK) & (items != original)]
    assert replaced.unique().tolist() == list(range(1, N_ITEMS + 1))


def test_an_empty_sequence_has_nothing_masked() -> None:
    batch = Cloze(N_ITEMS).training(batch_of(torch.tensor([[0, 0], [1, 2]])))
    assert not batch["items"][[0, 2]].any()
    assert not batch["targets"][[0, 2]].any()


def test_cloze_serves_a_history_with_the_mask_token_appended() -> None:
    assert Cloze(N_ITEMS).inference(torch.tensor([[0, 3], [0, 0]])).tolist() == [[0, 3, MASK], [0, 0, MASK]]


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1])
def test_a_share_outside_0_1_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=rf"targets.probability is {probability}, wanted a share in \(0, 1\]"):
        Cloze(N_ITEMS, probability)
