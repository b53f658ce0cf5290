from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.neighbours import Neighbours
from tests.golden.prepared import write, write_sequences

USERS = [[1, 2, 3, 4, 5], [6, 5, 4], [3, 2], [1, 2, 3, 4, 5, 6, 1]]


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    return write_sequences(tmp_path / "sequences", USERS, n_items=6)


@pytest.fixture
def candidates(tmp_path: Path) -> str:
    return write(tmp_path / "candidates", valid=np.full((3, 2), 1), test=np.full((3, 2), 2))


def test_training_users_have_something_to_read_and_to_predict(sequences: str) -> None:
    loader = SequenceDataModule(sequences, max_len=3, batch_size=2).train_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == 2
    assert sorted(user for batch in batches for user in batch["user"].tolist()) == [1, 3, 4]
    assert all(batch["items"].dtype == torch.int64 for batch in batches)
    assert max(batch["items"].shape[1] for batch in batches) == 4, "max_len inputs and one item to predict"


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_held_out_cases(sequences: str, candidates: str, split: str, seen: Any) -> None:
    data = SequenceDataModule(sequences, candidates, max_len=2, eval_batch_size=2, seen=seen)
    batches = list(data.val_dataloader() if split == "valid" else data.test_dataloader())
    answers = {u: a for b in batches for u, a in zip(b["user"].tolist(), b["answer"].tolist(), strict=True)}
    assert answers == {user: USERS[user - 1][-2 if split == "valid" else -1] for user in (1, 2, 4)}
    assert all(batch["candidates"].unique().tolist() == [1 if split == "valid" else 2] for batch in batches)
    assert all(("seen" in batch) == (seen == "mask") for batch in batches)
    assert all(batch["items"].shape[1] <= 2 for batch in batches)


def test_the_order_follows_the_seed_and_the_epoch(sequences: str) -> None:
    def users(seed: int, epoch: int) -> list[list[int]]:
        loader = SequenceDataModule(sequences, batch_size=1, seed=seed).train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return [batch["user"].tolist() for batch in loader]

    assert users(1, 0) == users(1, 0)
    assert len({str(users(seed, epoch)) for seed in range(4) for epoch in range(4)}) > 3


def test_what_a_batch_provides(sequences: str, tmp_path: Path) -> None:
    path = write(tmp_path / "retrieve", neighbours=np.zeros((5, 2), dtype=np.int32))
    plain, similar = (SequenceDataModule(sequences, extras=e) for e in (None, {"similar": Neighbours(path, k=1)}))
    assert plain.provides == {"items", "user"}
    assert similar.provides == {"items", "user", "neighbours", "users_with_teachers", "neighbour_items"}
    for data in (plain, similar):
        assert next(iter(data.train_dataloader())).keys() == data.provides


def test_extras_are_told_what_the_batches_are_for(sequences: str) -> None:
    class Told:
        provides = frozenset({"device"})

        def __call__(self, users: Any, data: Any, max_len: int, device: str = "cpu") -> dict[str, Any]:
            return {"device": device}

    data = SequenceDataModule(sequences, extras={"told": Told()})
    assert next(iter(data.train_dataloader()))["device"] == "cpu"
    strategy = SimpleNamespace(root_device=torch.device("cuda:1"))
    data.trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    assert next(iter(data.train_dataloader()))["device"] == "cuda"


def test_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    data = SequenceDataModule(write_sequences(tmp_path / "s", [[1, 2, 3], [2]], n_items=3))
    with pytest.raises(ValueError, match=r"no user has two training items.*dataset.filters"):
        data.train_dataloader()


@pytest.mark.parametrize("split", ["valid", "test"])
def test_an_empty_split_is_refused(tmp_path: Path, split: str) -> None:
    data = SequenceDataModule(write_sequences(tmp_path / "s", [[1, 2], [2, 1]], n_items=3))
    with pytest.raises(ValueError, match=rf"the {split} split holds no case.*leave-one-out needs 3"):
        data.val_dataloader() if split == "valid" else data.test_dataloader()


def test_an_unknown_treatment_of_seen_items_is_refused(sequences: str) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.seen is 'drop', wanted 'keep' or 'mask'"):
        SequenceDataModule(sequences, seen="drop")  # type: ignore[arg-type]
