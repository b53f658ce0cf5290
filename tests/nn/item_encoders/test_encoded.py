from collections.abc import Collection, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.item_encoders import encoded
from sage_pl.nn.item_encoders.encoded import EncodedItems, ItemVectors
from sage_pl.nn.item_encoders.id import IdEncoder

N, DIM = 9, 4
IDS = [torch.tensor([[0, 3, 3], [7, 3, 10]]), torch.tensor([7, 1])]


class Counting(IdEncoder):
    """Remembers what it was asked to encode, and squares it so that a second encoding would show."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(N, DIM)
        self.asked: list[Tensor] = []
        self.names: list[Collection[str] | None] = []

    def views(self, ids: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
        self.asked.append(ids)
        self.names.append(names)
        return {"id": self.table(ids) ** 2}


def test_each_item_is_encoded_once() -> None:
    encoder = Counting()
    items = EncodedItems.of(encoder, IDS, torch.device("cpu"))
    for ids in IDS:
        items.inputs(ids)
        items.outputs(ids)
    assert [ids.tolist() for ids in encoder.asked] == [[0, 1, 3, 7, 10]]


def test_single_items_equal_the_whole_catalogue_in_value_and_gradient() -> None:
    results, gradients = [], []
    for make in (EncodedItems.of, lambda encoder, ids, device: EncodedItems(encoder, None, device)):
        encoder: Any = Counting().double()
        items = make(encoder, IDS, torch.device("cpu"))
        results.append([items.outputs(ids) for ids in IDS])
        loss = torch.stack([out.pow(3).sum() for out in results[-1]]).sum()
        gradients.append(torch.autograd.grad(loss, encoder.table.weight)[0])
    for single, whole in zip(*results, strict=True):
        torch.testing.assert_close(single, whole, atol=0, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-12, rtol=0)
    assert gradients[0][[1, 3, 7, 10]].any(-1).all()
    assert not gradients[0][[0, 2, 4, 5, 6, 8, 9]].any()


def test_the_whole_catalogue_is_every_row() -> None:
    encoder = Counting()
    table = EncodedItems(encoder, None, torch.device("cpu")).all_outputs()
    assert torch.equal(table, encoder.table.weight**2)


def test_all_outputs_needs_the_whole_catalogue() -> None:
    items = EncodedItems.of(IdEncoder(N, DIM), IDS, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="must set catalogue = True"):
        items.all_outputs()


def test_one_view_of_every_item_equals_the_whole_catalogue_in_value_and_gradient() -> None:
    views, gradients = [], []
    for single in (True, False):
        encoder: Any = Counting().double()
        items = EncodedItems(encoder, torch.tensor([0, 3]) if single else None, torch.device("cpu"))
        views.append(items.whole("id"))
        loss = views[-1].pow(3).sum() + items.outputs(torch.tensor([3, 3])).sum()
        gradients.append(torch.autograd.grad(loss, encoder.table.weight)[0])
        assert encoder.names == ([None, {"id"}] if single else [None])
    torch.testing.assert_close(views[0], views[1], atol=0, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-12, rtol=0)


@pytest.fixture
def every_warning() -> Iterator[None]:
    """Torch shows some warnings once per process only; here every time."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("every_warning")
def test_slices_are_looked_up_without_complaint() -> None:
    items = EncodedItems.of(Counting(), IDS, torch.device("cpu"))
    assert items.inputs(IDS[0][:, 1:])["id"].shape == (2, 2, DIM)


@pytest.mark.parametrize("block", [1, 3, 4, 100])
@pytest.mark.parametrize(
    "rows",
    [slice(None), slice(1, -1), slice(2, 7), slice(3, 3), torch.tensor([7, 0, 7]), torch.tensor([[1, 10], [4, 4]])],
    ids=["all", "items", "run", "none", "ids", "pairs"],
)
def test_vectors_made_in_blocks_equal_the_whole_table(rows: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "_BLOCK", block)
    encoder = Counting()
    whole = EncodedItems(encoder, None, torch.device("cpu")).all_outputs().detach()
    encoder.asked.clear()
    vectors = ItemVectors(lambda ids: encoder.views(ids)["id"], N + 2, torch.device("cpu"))
    assert (len(vectors), vectors.shape, vectors.nbytes) == (N + 2, (N + 2, DIM), whole.nbytes)
    assert torch.equal(vectors[rows], whole[rows])
    assert not vectors[rows].requires_grad
    assert len({len(ids) for ids in encoder.asked}) == 1, "blocks of one size, so that a row is always the same"
    assert len(encoder.asked[0]) <= block


def test_equal_items_have_equal_vectors_whatever_they_are_asked_for_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "_BLOCK", 100)
    torch.manual_seed(0)
    weight, rows = torch.randn(64, 384), torch.randn(301, 384)
    rows[[17, 299]] = rows[3].clone()
    vectors = ItemVectors(lambda ids: rows[ids] @ weight.T, len(rows), torch.device("cpu"))
    for ids in ([3], [17], [299], [5, 17, 9], list(range(290, 301))):
        for row, vector in zip(ids, vectors[torch.tensor(ids)], strict=True):
            assert torch.equal(vector, vectors[:][row])
    assert torch.equal(vectors[:][[3, 17, 299]], vectors[torch.tensor([17])].expand(3, -1))


def test_vectors_are_not_rounded_by_autocast() -> None:
    weight, rows = torch.randn(8, 16), torch.randn(20, 16)
    with torch.autocast("cpu", torch.bfloat16):
        vectors = ItemVectors(lambda ids: rows[ids] @ weight.T, 20, torch.device("cpu"))[:]
    torch.testing.assert_close(vectors, rows @ weight.T)
