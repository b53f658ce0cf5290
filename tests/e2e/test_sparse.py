import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

SPARSE = ["objective=sampled_softmax", "objective.negatives=8", "item_encoder.sparse=true", "optimizer=row_adam"]


@pytest.mark.parametrize("method", ["plain", pytest.param("sage", marks=pytest.mark.slow)])
def test_a_run_with_sparse_tables_trains_and_is_ranked(method: str, run_train: Callable[..., Path]) -> None:
    folder = run_train(f"method={method}", *SPARSE)
    assert 0 < json.loads((folder / "metrics.json").read_text())["test/full/ndcg@10"] < 1
    (last,) = folder.rglob("last.ckpt")
    (state,) = torch.load(last, weights_only=True)["optimizer_states"]
    assert all(entry["step"] == state["state"][0]["step"] > 0 for entry in state["state"].values())
