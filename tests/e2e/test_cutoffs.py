"""Cut-offs without 10, by which the epoch is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_other_cut_offs_are_measured_beside_the_one_that_is_watched(run_train: Callable[..., Path]) -> None:
    folder = run_train("method=plain", "evaluation.ks=[100]", "trainer.max_epochs=1")
    values = json.loads((folder / "metrics.json").read_text())
    assert values["test/full/hr@100"] >= values["test/full/hr@10"]
