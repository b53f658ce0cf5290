from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.groups import Groups
from sage_pl.evaluation.metrics import summarise
from sage_pl.training.callbacks.ranking_evaluation import RankingEvaluation


class FixedRanks(pl.LightningModule):
    """Returns, for case c, the c-th rank."""

    def __init__(self, ranks: dict[str, Tensor]) -> None:
        super().__init__()
        self.ranks = ranks
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.weight

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return {protocol: ranks[batch["case"]] for protocol, ranks in self.ranks.items()}

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def groups(random_sequences: Sequences) -> dict[str, Groups]:
    data = random_sequences
    return {"valid": Groups(data, data.valid, ts_user=5), "test": Groups(data, data.test, ts_user=5)}


@pytest.fixture
def module() -> FixedRanks:
    generator = torch.Generator().manual_seed(0)
    return FixedRanks({name: torch.randint(1, 30, (40,), generator=generator) for name in ("full", "sampled100")})


def trainer(callback: RankingEvaluation, **arguments: Any) -> pl.Trainer:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return pl.Trainer(accelerator="cpu", devices=1, callbacks=[callback], **(quiet | arguments))


def cases(order: list[int]) -> DataLoader[Any]:
    return DataLoader([{"case": case} for case in order], batch_size=7)  # type: ignore[arg-type]


def test_test_metrics_and_ranks_are_by_case(groups: dict[str, Groups], module: FixedRanks) -> None:
    callback = RankingEvaluation(groups, ks=(5, 10))
    order = np.random.default_rng(0).permutation(40).tolist()
    (logged,) = trainer(callback).test(module, cases(order), verbose=False)
    assert callback.test_ranks.keys() == {"full", "sampled100"}
    for protocol, ranks in module.ranks.items():
        assert np.array_equal(callback.test_ranks[protocol], ranks)
        expected = summarise(ranks.numpy(), groups["test"], (5, 10))
        found = {name: logged[f"test/{protocol}/{name}"] for name in expected}
        assert found == pytest.approx(expected, abs=1e-6)
    assert "test/full/ndcg@10/item_tail" in logged
    assert len(logged) == 2 * len(expected)


def test_validation_in_a_fit_and_no_sanity_check(groups: dict[str, Groups], module: FixedRanks) -> None:
    callback = RankingEvaluation(groups)
    seen: list[set[str]] = []

    class Watch(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append(set(trainer.callback_metrics))

    run = trainer(callback, max_epochs=1, num_sanity_val_steps=2)
    run.callbacks.append(Watch())  # type: ignore[attr-defined]
    run.fit(module, cases([0]), cases(list(range(40))))
    assert seen == [set()]
    assert "val/full/ndcg@10" in run.callback_metrics
    assert run.callback_metrics["val/full/count"] == 40
    assert callback.test_ranks == {}


def test_cases_spread_over_processes_count_once(groups: dict[str, Groups]) -> None:
    other = torch.zeros(40, dtype=torch.int64)
    other[20:] = 3
    other[0] = 1  # repeated to even out the shares

    def reduce(ranks: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "max"
        return torch.maximum(ranks, other)

    logged: dict[str, float] = {}
    stage = SimpleNamespace(strategy=SimpleNamespace(reduce=reduce), sanity_checking=False)
    here = SimpleNamespace(device="cpu", log=lambda name, value, **_: logged.update({name: value}))
    callback = RankingEvaluation(groups)
    outputs, batch = {"full": torch.ones(20, dtype=torch.int64)}, {"case": torch.arange(20)}
    callback.on_test_epoch_start(stage, here)  # type: ignore[arg-type]
    callback.on_test_batch_end(stage, here, outputs, batch, 0)  # type: ignore[arg-type]
    callback.on_test_epoch_end(stage, here)  # type: ignore[arg-type]
    assert logged["test/full/count"] == 40
    assert logged["test/full/mrr@10"] == pytest.approx((1 + 1 / 3) / 2)
    assert callback.test_ranks["full"].tolist() == [1] * 20 + [3] * 20


def test_refuses_groups_without_a_split(groups: dict[str, Groups]) -> None:
    with pytest.raises(ValueError, match=r"given for \['test'\], but not for \['valid'\]"):
        RankingEvaluation({"test": groups["test"]})


def test_refuses_a_step_without_ranks(groups: dict[str, Groups], module: FixedRanks) -> None:
    module.test_step = lambda batch, batch_idx: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(TypeError, match="test step must return protocol -> ranks, got NoneType"):
        trainer(RankingEvaluation(groups)).test(module, cases([0]), verbose=False)
