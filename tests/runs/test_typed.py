"""The overrides of a command as they were typed."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from sage_pl.commands.door import config_dir
from sage_pl.runs.typed import typed_overrides


def test_a_reference_stays_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["method=llm_init", "item_encoder.init=${artifacts.reduce}"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("train", typed, return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert typed_overrides() == []
    HydraConfig.instance().set_config(config)
    assert typed_overrides() == typed
