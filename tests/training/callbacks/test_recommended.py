from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.lists import list_metrics
from sage_pl.evaluation.ranks import top_k
from sage_pl.training.callbacks.recommended import RecommendedLists
from sage_pl.types import TopK


class Decoder(pl.LightningModule):
    """Of a model only ``recommend``: the sum of the history's and the user's vectors chooses the items."""

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(n_items + 2, 4, generator=torch.Generator().manual_seed(0)))

    def recommend(self, items: Tensor, k: int, exclude_seen: bool, users: Tensor) -> TopK:
        states = (self.table[items] * (items > 0)[..., None]).sum(1) + self.table[users]
        return top_k(states, self.table, k, items if exclude_seen else None)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        return None


def run(callback: RecommendedLists, data: Sequences, order: list[int]) -> dict[str, float]:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = pl.Trainer(accelerator="cpu", devices=1, callbacks=[callback], **quiet)
    loader: Any = DataLoader([{"case": case} for case in order], batch_size=7)  # type: ignore[arg-type]
    (logged,) = trainer.test(Decoder(data.n_items), loader, verbose=False)
    return dict(logged)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_lists_are_by_case_and_see_the_whole_history(random_sequences: Sequences, exclude_seen: bool) -> None:
    data, tail = random_sequences, np.arange(62) > 30
    callback = RecommendedLists(data, tail, exclude_seen=exclude_seen, k=5)
    logged = run(callback, data, np.random.default_rng(0).permutation(40).tolist())
    model, seen = Decoder(data.n_items), 0
    for user, at, found in zip(data.test.user, data.test.at, callback.lists, strict=True):
        history = data.values[data.offsets[user] :][:at]
        items = torch.from_numpy(history[None].astype(np.int64))
        wanted = model.recommend(items, 5, exclude_seen, torch.tensor([user])).ids[0]
        assert found.tolist() == wanted.tolist()
        seen += len(set(history) & set(found))
    assert (seen == 0) is exclude_seen
    metrics = list_metrics(callback.lists, data.train_counts, tail)
    assert logged == pytest.approx({f"test/lists/{name}": value for name, value in metrics.items()}, rel=1e-6)


def test_a_second_test_starts_afresh_and_cases_left_out_do_not_count(random_sequences: Sequences) -> None:
    callback = RecommendedLists(random_sequences, np.ones(62, bool))
    run(callback, random_sequences, list(range(40)))
    logged = run(callback, random_sequences, [3])
    assert np.flatnonzero(callback.lists.any(1)).tolist() == [3]
    assert logged["test/lists/coverage@10"] == pytest.approx(10 / 60)


def test_cases_spread_over_processes_are_brought_together(random_sequences: Sequences) -> None:
    callback, logged = RecommendedLists(random_sequences, np.ones(62, bool), k=2), {}
    other = torch.zeros(40, 2, dtype=torch.int64)
    other[20:] = torch.tensor([4, 5])

    def reduce(lists: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "max"
        return torch.maximum(lists, other)

    stage = SimpleNamespace(strategy=SimpleNamespace(reduce=reduce))
    module = SimpleNamespace(device="cpu", log=lambda name, value, **_: logged.update({name: value}))
    module.recommend = lambda items, *_: TopK(torch.tensor([[1, 2]] * len(items)), torch.zeros(20, 2))
    callback.on_test_batch_end(stage, module, None, {"case": torch.arange(20)}, 0)  # type: ignore[arg-type, typeddict-item]
    callback.on_test_epoch_end(stage, module)  # type: ignore[arg-type]
    assert callback.lists.tolist() == [[1, 2]] * 20 + [[4, 5]] * 20
    assert logged["test/lists/coverage@2"] == 4 / 60
