from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.data.loader import HeldOutCases, LengthGroupedSampler, TrainingUsers, load_candidates, load_sequences
from sage_pl.data.neighbours import Neighbours
from sage_pl.data.sequences import Sequences
from tests.golden.prepared import write, write_sequences

USERS = [[1, 2, 3, 4, 5, 6], [7, 8, 9, 1], [2, 3, 4], [5, 4, 3, 2, 1, 9, 8, 7], [6, 1, 2, 3, 4]]
MakeNeighbours = Callable[..., Neighbours]


@pytest.fixture
def sequences(tmp_path: Path) -> Sequences:
    return load_sequences(write_sequences(tmp_path / "sequences", USERS, n_items=9))


@pytest.fixture
def make_neighbours(tmp_path: Path) -> MakeNeighbours:
    """User 3 trains on one item, so that nothing is left as its input; user 4 has nobody."""
    table = np.array([[0, 0, 0], [2, 3, 5], [4, 1, 0], [1, 2, 4], [0, 0, 0], [3, 4, 1]], dtype=np.int32)
    path = write(tmp_path / "retrieve", neighbours=table)
    return lambda **settings: Neighbours(path, **settings)


def naive_teachers(user: int, k: int, max_len: int) -> list[list[int]]:
    similar = {1: [2, 3, 5], 2: [4, 1], 3: [1, 2, 4], 4: [], 5: [3, 4, 1]}[user][:k]
    inputs = [USERS[other - 1][:-2][:-1][-max_len:] for other in similar]
    return [items for items in inputs if items]


@pytest.mark.parametrize("max_len", [2, 50])
@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_are_those_of_the_table(
    sequences: Sequences, make_neighbours: MakeNeighbours, k: int, max_len: int
) -> None:
    users = np.array([5, 1, 4, 2, 3])
    batch = make_neighbours(k=k)(users, sequences, max_len)
    rows = [row[row > 0].tolist() for part in batch["neighbour_items"] for row in part]
    for user, places in zip(users.tolist(), batch["neighbours"].tolist(), strict=True):
        found = [rows[place] for place in places if place >= 0]
        assert found == naive_teachers(user, k, max_len)
        assert len(places) == k
    assert batch["users_with_teachers"].tolist() == [
        i for i, user in enumerate(users) if naive_teachers(user, k, max_len)
    ]
    assert len(rows) == len({tuple(row) for row in rows}) == batch["neighbours"].max() + 1, "each of them once"


@pytest.mark.parametrize("max_len", [5, 50])
def test_neighbours_are_grouped_so_that_less_than_half_is_padding(max_len: int, tmp_path: Path) -> None:
    users = [[1] * n for n in (4, 5, 6, 7, 8, 11, 12, 19, 20, 40)]
    data = load_sequences(write_sequences(tmp_path / "s", users, n_items=1))
    path = write(
        tmp_path / "n", neighbours=np.array([[0] * 9, *[[j for j in range(1, 11) if j != i] for i in range(1, 11)]])
    )
    groups = Neighbours(path, k=9)(np.arange(1, 11), data, max_len)["neighbour_items"]
    lengths = [(group > 0).sum(1).tolist() for group in groups]
    assert [n for group in lengths for n in group] == [min(len(user) - 3, max_len) for user in users]
    assert all(max(group) < 2 * min(group) for group in lengths)
    assert all(group.shape[1] == max(n) for group, n in zip(groups, lengths, strict=True))


def test_a_wider_ratio_makes_fewer_groups_of_the_same_teachers(
    sequences: Sequences, make_neighbours: MakeNeighbours
) -> None:
    users = np.array([5, 1, 2, 3])
    fine, coarse = (make_neighbours(k=3, ratio=ratio)(users, sequences, 50) for ratio in (1.01, 100.0))
    assert len(coarse["neighbour_items"]) <= 2 < len(fine["neighbour_items"])
    rows = [[r[r > 0].tolist() for part in batch["neighbour_items"] for r in part] for batch in (fine, coarse)]
    assert rows[0] == rows[1]
    assert torch.equal(fine["neighbours"], coarse["neighbours"])
    with pytest.raises(ValueError, match=r"neighbours.ratio is 1.0, wanted a factor above 1"):
        make_neighbours(ratio=1.0)


def test_an_accelerator_gets_fewer_groups_of_the_same_teachers(tmp_path: Path) -> None:
    path = write(tmp_path / "n", neighbours=np.array([[0] * 9, *[list(range(2, 11))] * 10]))
    data = load_sequences(write_sequences(tmp_path / "s", [[1] * n for n in range(4, 44, 4)], n_items=1))

    def group(ratio: float | None, device: str) -> list[list[int]]:
        batch = TrainingUsers(data, 50, [Neighbours(path, 9, ratio)], device)[np.array([1])]
        return [(part > 0).sum(1).tolist() for part in batch["neighbour_items"]]

    on_processor, on_gpu = group(None, "cpu"), group(None, "cuda")
    assert on_processor == group(1.25, "cuda")
    assert on_gpu == group(4, "cpu")
    assert len(on_gpu) <= 3 < len(on_processor)
    assert [n for part in on_gpu for n in part] == [n for part in on_processor for n in part]


def test_nobody_similar_leaves_nobody_to_encode(sequences: Sequences, make_neighbours: MakeNeighbours) -> None:
    batch = make_neighbours(k=2)(np.array([4, 4]), sequences, 50)
    assert batch["neighbours"].tolist() == [[-1, -1], [-1, -1]]
    assert batch["users_with_teachers"].tolist() == []
    assert batch["neighbour_items"] == []
    assert batch.keys() == Neighbours.provides


def test_more_neighbours_than_prepared_are_refused(make_neighbours: MakeNeighbours) -> None:
    with pytest.raises(ValueError, match=r"k is 10, but 3 neighbours are prepared; raise steps.retrieve.k"):
        make_neighbours()


@pytest.mark.parametrize("max_len", [2, 50])
def test_a_training_batch_holds_training_items_alone(
    sequences: Sequences, make_neighbours: MakeNeighbours, max_len: int
) -> None:
    users = np.array([4, 2])
    batch = TrainingUsers(sequences, max_len, [make_neighbours(k=2)])[users]
    rows = [row[row > 0].tolist() for row in batch["items"]]
    assert rows == [USERS[3][:-2][-(max_len + 1) :], USERS[1][:-2][-(max_len + 1) :]]
    assert batch["user"].tolist() == [4, 2]
    assert batch.keys() == {"items", "user", "neighbours", "users_with_teachers", "neighbour_items"}


@pytest.mark.parametrize(("split", "back"), [("valid", 2), ("test", 1)])
def test_a_held_out_batch(sequences: Sequences, split: str, back: int) -> None:
    cases = getattr(sequences, split)
    candidates = np.arange(10).reshape(5, 2)
    batch = HeldOutCases(sequences, cases, 3, candidates, mask_seen=True)[np.array([3, 0])]
    assert [row[row > 0].tolist() for row in batch["items"]] == [USERS[u][:-back][-3:] for u in (3, 0)]
    assert [row[row > 0].tolist() for row in batch["seen"]] == [USERS[u][:-back] for u in (3, 0)]
    assert batch["answer"].tolist() == [USERS[u][-back] for u in (3, 0)]
    assert batch["user"].tolist() == [4, 1]
    assert batch["case"].tolist() == [3, 0]
    assert batch["candidates"].tolist() == [[6, 7], [0, 1]]


def test_candidates_and_seen_items_are_there_where_asked(sequences: Sequences) -> None:
    batch = HeldOutCases(sequences, sequences.test, 3)[np.array([1])]
    assert batch.keys() == {"items", "user", "answer", "case"}


def test_no_candidates() -> None:
    assert load_candidates(None) == {"valid": None, "test": None}


ROWS, LENGTHS = np.arange(100, 357), np.random.default_rng(0).integers(1, 50, 257)
LENGTH = dict(zip(ROWS.tolist(), LENGTHS.tolist(), strict=True))


def batches_of(seed: int = 1, epoch: int = 0, block: int = 4, shuffle: bool = True) -> list[list[int]]:
    sampler = LengthGroupedSampler(ROWS, LENGTHS, 16, seed, block, shuffle)
    sampler.set_epoch(epoch)
    assert len(sampler) == 17
    return [batch.tolist() for batch in sampler]


@pytest.mark.parametrize("block", [1, 4, 16, 1000])
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "fixed"])
def test_every_row_once_in_as_many_batches_as_announced(block: int, shuffle: bool) -> None:
    batches = batches_of(block=block, shuffle=shuffle)
    assert sorted(row for batch in batches for row in batch) == ROWS.tolist()
    assert len(batches) == 17
    assert all(batches)


@pytest.mark.parametrize(("block", "shuffle"), [(1, True), (4, False)], ids=["not grouped", "fixed"])
def test_batches_of_the_asked_number_of_rows(block: int, shuffle: bool) -> None:
    assert sorted(map(len, batches_of(block=block, shuffle=shuffle))) == [1] + [16] * 16


def test_grouped_batches_hold_equal_numbers_of_items() -> None:
    batches = [batch for batch in batches_of(block=16) if len(batch) > 1]  # the 257th row is a block of its own
    items = [sum(LENGTH[row] for row in batch) for batch in batches]
    assert len(batches) == 16
    assert max(items) - min(items) <= 2 * LENGTHS.max()
    assert max(map(len, batches)) > 16 > min(map(len, batches)), "short sequences share a batch with more others"


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param([1] * 31 + [1000], id="one giant"),
        pytest.param([1] + [1000] * 31, id="one dwarf"),
        pytest.param([7] * 32, id="all equal"),
        pytest.param([2 ** (i // 2) for i in range(32)], id="doubling"),
    ],
)
def test_no_batch_is_empty_however_lengths_differ(lengths: list[int]) -> None:
    sampler = LengthGroupedSampler(np.arange(32), np.array(lengths), batch_size=4, block=8)
    batches = [batch.tolist() for batch in sampler]
    assert len(batches) == len(sampler) == 8
    assert all(batches)
    assert sorted(row for batch in batches for row in batch) == list(range(32))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    np.random.seed(3)
    first = batches_of()
    np.random.seed(4)
    assert batches_of() == first
    assert batches_of(epoch=1) != first
    assert batches_of(seed=2) != first
    assert batches_of(seed=1, epoch=2) != batches_of(seed=2, epoch=1)


@pytest.mark.parametrize("world", [2, 3, 16])
def test_processes_rank_the_batches_of_one_each_once(world: int) -> None:
    whole = batches_of(shuffle=False)
    samplers = [LengthGroupedSampler(ROWS, LENGTHS, 16, shuffle=False, rank=r, world=world) for r in range(world)]
    parts = [[batch.tolist() for batch in sampler] for sampler in samplers]
    assert [len(part) for part in parts] == list(map(len, samplers))
    assert sorted(batch for part in parts for batch in part) == sorted(whole)


def test_a_process_without_a_batch_repeats_the_last_one() -> None:
    parts = [list(LengthGroupedSampler(ROWS, LENGTHS, 200, shuffle=False, rank=r, world=4)) for r in range(4)]
    assert [len(part) for part in parts] == [1, 1, 1, 1]
    assert parts[3][0].tolist() == parts[1][0].tolist()


def test_each_iteration_of_an_epoch_is_the_same() -> None:
    sampler = LengthGroupedSampler(ROWS, LENGTHS, 16)
    assert [b.tolist() for b in sampler] == [b.tolist() for b in sampler]


def padding_share(batches: list[list[int]]) -> float:
    slots = sum(len(batch) * max(LENGTH[row] for row in batch) for batch in batches)
    return 1 - sum(LENGTHS.tolist()) / slots


def test_grouping_saves_padding_and_still_mixes() -> None:
    ungrouped, grouped = padding_share(batches_of(block=1)), padding_share(batches_of(block=8))
    assert grouped < ungrouped / 2
    assert len({frozenset(batch) for epoch in range(5) for batch in batches_of(epoch=epoch, block=8)}) > 4 * 17


def test_the_fixed_order_is_shortest_first() -> None:
    order = [row for batch in batches_of(shuffle=False) for row in batch]
    lengths = LENGTHS[np.array(order) - 100]
    assert (np.diff(lengths) >= 0).all()
