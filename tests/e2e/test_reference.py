"""The presets of the published behaviour train to their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=reference_sage"],
        ["experiment=reference_llm_esr", "backbone=gru4rec_reference"],
        pytest.param(["experiment=reference_pad"], marks=pytest.mark.slow),
        pytest.param(["experiment=reference_sam"], marks=pytest.mark.slow),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_a_preset_trains(overrides: list[str], run_train: Callable[..., Path]) -> None:
    folder = run_train(*overrides, "trainer.max_epochs=1")
    assert (folder / "metrics.json").is_file()
