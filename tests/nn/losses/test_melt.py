"""MELT: contexts and both branches by hand, the tail items' vectors before an epoch, and states when predicting."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.item_contexts import ItemContexts
from sage_pl.nn.losses.melt import ItemBranch, UserBranch
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.melt import EnhancedUsers
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.types import real
from tests.golden.prepared import BACKBONES, N_ITEMS, adam, left_pad, make_backbone, make_targets, write_sequences

USERS = [[1, 2, 3, 8, 9], [2], [1, 1], [4, 1, 2, 1, 5, 8, 9]]  # training: [1 2 3], [2], [1 1], [4 1 2 1 5]
DIM, SHORT = 8, 3


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    return write_sequences(tmp_path / "sequences", USERS, N_ITEMS)


def contexts_of(contexts: ItemContexts, item: int) -> list[list[int]]:
    rows = contexts.sequences(contexts.of(item)).tolist()
    return [[i for i in row if i] for row in rows]


def test_contexts_by_hand(sequences: str) -> None:
    contexts = ItemContexts(sequences, max_len=3)
    assert contexts_of(contexts, 2) == [[1, 2], [3, 2], [2], [4, 1, 2], [5, 1, 2]]
    assert contexts_of(contexts, 3) == [[1, 2, 3], [3]]
    assert contexts_of(contexts, 1)[:4] == [[1], [3, 2, 1], [1], [1, 1]]
    assert contexts_of(contexts, 1)[-2:] == [[1, 2, 1], [5, 1]]
    assert contexts_of(contexts, 8) == []
    assert contexts.frequency[:6].tolist() == [0, 5, 3, 1, 1, 1]
    assert contexts.number[:6].tolist() == [0, 10, 5, 2, 2, 2]


def model_of(backbone: str, sequences: str, **terms: Any) -> SequentialRecommender:
    encoder = EnhancedUsers(make_backbone(backbone, DIM, 12), SHORT, zero_start=False)
    items, targets = IdEncoder(N_ITEMS, DIM), make_targets(backbone)
    return SequentialRecommender(items, encoder, targets, Softmax(sequences), terms, adam).double().train()


def plain_state(model: Any, items: list[int]) -> Tensor:
    """f: the backbone's last state of one history."""
    ids = model.targets.inference(torch.tensor([items]))
    views = EncodedItems.of(model.item_encoder, [ids], ids.device).inputs(ids)
    return SingleView.forward(model.sequence_encoder, views, real(ids), {"items": ids}, last_only=True)[0, -1]


def prepared(model: Any, rows: list[list[int]]) -> Any:
    return model.prepare({"items": left_pad(rows), "user": torch.arange(1, len(rows) + 1)})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_user_branch_by_hand(backbone: str, sequences: str) -> None:
    term = UserBranch(0.1, SHORT, max_len=9, epochs=10)
    model = model_of(backbone, sequences, users=term)
    torch.manual_seed(0)
    batch = prepared(model, [[1, 2, 3, 4, 5], [1, 2], [6, 7, 8, 9], [3, 2, 1]])
    drawn = batch["draws"]["users"]
    whole = {0: [1, 2, 3, 4], 2: [6, 7, 8]}  # before the last item, which is predicted
    assert drawn[:, 0].tolist() == list(whole)
    drawn[:, 1] = 4  # an epoch
    total = 0.0
    for row in drawn.tolist():
        user, _, length, few = row[0], row[1], row[2], [i for i in row[3:] if i]
        assert 1 <= len(few) < SHORT
        items = whole[user]
        assert (length, few) == (len(items), items[-len(few) :])
        weight = abs(math.sin(math.pi / 2 * (4 / 10 + (length - 3) / (9 - 3))))
        gap = model.sequence_encoder.enhance(plain_state(model, few)) - plain_state(model, items)  # type: ignore[operator]
        total += weight * gap.square().mean()
    loss = term(model.step(batch))
    torch.testing.assert_close(loss, torch.as_tensor(total / len(drawn)), atol=1e-6, rtol=0)
    loss.backward()
    assert model.sequence_encoder.enhance.weight.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_item_branch_by_hand(backbone: str, sequences: str) -> None:
    term = ItemBranch(0.4, sequences, DIM, max_len=9, tail=0.5, count=2, epochs=10, zero_start=False)
    assert (term.threshold, term.head.tolist(), term.tail.tolist()) == (1, [1, 2], [3, 4, 5])
    model = model_of(backbone, sequences, items=term)
    torch.manual_seed(1)
    batch = prepared(model, USERS[:1])
    drawn = batch["draws"]["items"]
    drawn[:, 3] = 4
    assert {*drawn[:, 1].tolist()} == {1, 2}
    total = 0.0
    for item in (1, 2):
        rows = [[i for i in row[4:] if i] for row in drawn.tolist() if row[1] == item]
        assert len(rows) == 1, "as many as a tail item has events, at most"
        assert all(row in contexts_of(term.contexts, item) for row in rows)
        enhance: Any = model.sequence_encoder.enhance  # type: ignore[attr-defined]
        z = torch.stack([plain_state(model, row) + enhance(plain_state(model, row)) for row in rows]).mean(0)
        frequency = {1: 5, 2: 3}[item]
        weight = abs(math.sin(math.pi / 2 * 4 / 10 + math.pi / 100 * (frequency - 1 - 1)))
        total += weight * (term.map(z) - model.item_encoder.table.weight[item]).square().mean()  # type: ignore[union-attr]
    loss = term(model.step(batch))
    torch.testing.assert_close(loss, torch.as_tensor(total / 2), atol=1e-6, rtol=0)
    loss.backward()
    assert term.map.weight.grad is not None
    assert model.item_encoder.table.weight.grad[[1, 2]].any(1).all()  # type: ignore[union-attr,index]


def test_an_item_counts_once_whatever_the_number_of_its_contexts(sequences: str) -> None:
    """Items 1 and 2 with up to three contexts each: the mean over items of the error of a mean of states."""
    term = ItemBranch(0.4, sequences, DIM, max_len=9, tail=0.8, count=2, epochs=10, zero_start=False)
    term.head, term.threshold = torch.tensor([1, 2]), 3
    model = model_of("sasrec", sequences, items=term)
    torch.manual_seed(3)
    batch = prepared(model, USERS[:1])
    rows = batch["draws"]["items"].tolist()
    groups = {item: [[i for i in row[4:] if i] for row in rows if row[1] == item] for item in (1, 2)}
    assert sorted(map(len, groups.values())) != [1, 1]
    total = torch.zeros(())
    for item, histories in groups.items():
        states = torch.stack([plain_state(model, one) for one in histories])
        z = (states + model.sequence_encoder.enhance(states)).mean(0)  # type: ignore[operator]
        weight = abs(math.sin(math.pi / 100 * ({1: 5, 2: 3}[item] - 4)))
        total = total + weight * (term.map(z) - model.item_encoder.table.weight[item]).square().mean() / 2  # type: ignore[union-attr]
    torch.testing.assert_close(term(model.step(batch)), total, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_before_an_epoch_tail_items_are_mapped_from_their_contexts(backbone: str, sequences: str) -> None:
    term = ItemBranch(0.4, sequences, DIM, max_len=9, tail=0.5, after=0, zero_start=False)
    model = model_of(backbone, sequences, items=term)
    before = model.item_encoder.table.weight.detach().clone()  # type: ignore[union-attr]
    expected = before.clone()
    with torch.no_grad():
        for item in (3, 4, 5):
            states = [plain_state(model, row) for row in contexts_of(term.contexts, item)]
            expected[item] = term.map(torch.stack(states).mean(0))
    model.on_train_epoch_start()
    assert model.sequence_encoder.training  # type: ignore[attr-defined]
    torch.testing.assert_close(model.item_encoder.table.weight.detach(), expected, atol=1e-10, rtol=0)  # type: ignore[union-attr]
    assert torch.equal(expected[[0, 1, 2, 6, 7, 8, 9, 10, 11]], before[[0, 1, 2, 6, 7, 8, 9, 10, 11]])


def test_it_starts_as_the_plain_model(sequences: str) -> None:
    """Both maps start at zero: states are the backbone's, and an item's error is its own length."""
    encoder, term = EnhancedUsers(make_backbone("sasrec", DIM, 12), SHORT), ItemBranch(0.4, sequences, DIM, tail=0.5)
    states = torch.randn(2, DIM)
    assert not encoder.enhance(states).any()
    assert not term.map(states).any()
    published = EnhancedUsers(make_backbone("sasrec", DIM, 12), SHORT, zero_start=False)
    assert published.enhance(states).any()


def test_the_first_epoch_leaves_tail_items_as_they_are(sequences: str) -> None:
    """The map is random then."""
    model = model_of("sasrec", sequences, items=ItemBranch(0.4, sequences, DIM, max_len=9, tail=0.5))
    before = model.item_encoder.table.weight.detach().clone()  # type: ignore[union-attr]
    model.on_train_epoch_start()
    assert torch.equal(model.item_encoder.table.weight, before)  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_short_histories_are_enhanced_when_predicting_alone(backbone: str, sequences: str) -> None:
    model = model_of(backbone, sequences).eval()
    items = torch.tensor([[0, 1, 2], [1, 2, 3]])
    got = model.states(items)
    for row, history in enumerate(([1, 2], [1, 2, 3])):
        state = plain_state(model, history)
        enhanced = state + model.sequence_encoder.enhance(state)  # type: ignore[operator]
        torch.testing.assert_close(got[row], enhanced if row == 0 else state, atol=1e-12, rtol=0)
    model.train()
    step = model.step(prepared(model, [[1, 2, 3]]))
    torch.testing.assert_close(step.last_states(torch.tensor([[1, 2]]))[0], plain_state(model, [1, 2]))


def test_other_encoders_are_refused(sequences: str) -> None:
    terms: Any = {"users": UserBranch(0.1, 2), "items": ItemBranch(0.4, sequences, DIM, tail=0.5)}
    reader = SingleView(make_backbone("sasrec", DIM, 12))
    model = SequentialRecommender(
        IdEncoder(N_ITEMS, DIM), reader, make_targets("sasrec"), Softmax(sequences), terms, adam
    ).double()
    for term in terms.values():
        with pytest.raises(ValueError, match="found the sequence encoder SingleView, wanted EnhancedUsers"):
            term(model.step(prepared(model, USERS[-1:])))
    with pytest.raises(ValueError, match="SingleView and the items IdEncoder, wanted EnhancedUsers over one table"):
        model.on_train_epoch_start()
