"""Lists by an index: near the exact ones, with exact scores, and never shorter."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import occurs, top_k
from sage_pl.serving.retrieval import ItemIndex, index_of

N, WIDTH, K = 3_000, 16, 10
pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    """Vectors around 40 centres, of unlike lengths; rows 0 and N + 1 are the longest, and no items."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, WIDTH, generator=generator)
    vectors = centres[torch.arange(N + 2) % 40] + 0.7 * torch.randn(N + 2, WIDTH, generator=generator)
    vectors[[0, -1]] *= 50
    return vectors * (0.5 + torch.rand(N + 2, 1, generator=generator))


@pytest.fixture(scope="module")
def states() -> torch.Tensor:
    return torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1))


def recall(top: torch.Tensor, exact: torch.Tensor) -> float:
    return (top[:, :, None] == exact[:, None, :]).any(2).float().mean().item()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("interests", [1, 3])
def test_lists_are_near_the_exact_ones(kind: str, interests: int, table: torch.Tensor, states: torch.Tensor) -> None:
    """Of several interests the best one counts, as in exact lists."""
    asked = states if interests == 1 else states[:48].view(-1, interests, WIDTH)
    index, seen = (
        ItemIndex(table, kind),
        torch.randint(0, N, (len(asked), 30), generator=torch.Generator().manual_seed(2)),
    )
    exact = top_k(asked, table, K, seen)
    top = index.best_items(asked, K, seen)
    assert recall(top.ids, exact.ids) > (0.95 if kind == "hnsw" else 0.4)
    assert not (top.ids[:, :, None] == seen[:, None, :]).any()
    assert all(len(set(row)) == K for row in top.ids.tolist())
    torch.testing.assert_close(
        top.scores, top_k(asked, table, N, seen).scores.gather(1, _places(asked, table, seen, top.ids))
    )
    assert (top.scores.diff(dim=1) <= 0).all()


def _places(states: torch.Tensor, table: torch.Tensor, seen: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    order = top_k(states, table, N, seen).ids
    return (order[:, None, :] == ids[:, :, None]).int().argmax(2)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_items_that_may_not_be_recommended_are_skipped(kind: str, table: torch.Tensor, states: torch.Tensor) -> None:
    index, most, few = ItemIndex(table, kind), torch.ones(N + 2, dtype=torch.bool), torch.zeros(N + 2, dtype=torch.bool)
    most[top_k(states, table, 3).ids.flatten()] = False
    few[5:20] = True
    top = index.best_items(states, K, allowed=most)
    assert most[top.ids].all()
    assert (top.ids > 0).all()
    torch.testing.assert_close(
        index.best_items(states, K, allowed=few).scores, top_k(states, table, K, allowed=few).scores
    )


def test_a_user_for_whom_too_few_are_found_has_all_items_scored(table: torch.Tensor, states: torch.Tensor) -> None:
    small = torch.cat([table[:31], table[-1:]])
    index = ItemIndex(small, "ivf")
    assert index.best_items(states, 30).ids.sort(1).values.tolist() == [list(range(1, 31))] * len(states)
    assert index.best_items(states, 40).ids[:, 30:].eq(0).all(), "and no more than there are"


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_added_items_are_found_and_an_index_is_read_again(kind: str, table: torch.Tensor, tmp_path) -> None:
    index = ItemIndex(table, kind)
    new = torch.nn.functional.normalize(torch.ones(1, WIDTH), dim=1) * table[1:-1].norm(dim=1).max() * 1.5
    index.write(tmp_path / "index")
    other = copy.deepcopy(index)
    longer = torch.cat([table[:-1], new, table[-1:]])
    index.append(longer)
    again = ItemIndex.read(tmp_path / "index", longer, kind)
    for one in (index, again):
        assert one.best_items(new, 1).ids.item() == N + 1
    assert other.best_items(new, 1).ids.item() <= N, "a copy does not grow with the other"
    with pytest.raises(SettingError, match="no index of kind"):
        ItemIndex.read(tmp_path / "index", longer, "ivf" if kind == "hnsw" else "hnsw")


def test_what_is_no_inner_product_is_refused(table: torch.Tensor) -> None:
    fused = SimpleNamespace(scorer=torch.nn.Identity(), ranking_table=lambda: table, retrieval=None)
    with pytest.raises(SettingError, match="Identity reads the score of every item"):
        index_of(fused, "hnsw")
    with pytest.raises(SettingError, match="this model generates codes"):
        index_of(SimpleNamespace(), "ivf")
    with pytest.raises(SettingError, match="wanted exact, hnsw, ivf"):
        index_of(fused, "scann")
    assert index_of(fused, "exact") is None


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_long_histories_leave_out_the_same_items_in_little_memory(kind: str) -> None:
    """A user who has seen most of the items is answered by all of them, and no array has the size of items times history."""
    table = torch.randn(402, 8)
    index, states = ItemIndex(table, kind), torch.randn(3, 8)
    seen = torch.zeros(3, 390, dtype=torch.long)
    seen[0] = torch.randperm(400)[:390] + 1
    seen[1, -5:] = torch.tensor([7, 7, 9, 1, 400])
    found, exact = index.best_items(states, 5, seen), top_k(states, table, 5, seen)
    assert torch.equal(found.ids, exact.ids)
    ids, others = torch.randint(0, 50, (20, 30)), torch.randint(0, 50, (20, 40))
    assert torch.equal(occurs(ids, others), (ids[:, :, None] == others[:, None, :]).any(2))
