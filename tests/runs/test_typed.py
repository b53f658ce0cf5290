"""The overrides of a command as they were typed."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from sage_pl.commands.door import config_dir
from sage_pl.runs.typed import typed_overrides


def test_a_reference_stays_as_it_was_typed() -> None:
    typed = ["method=llm_init", "item_encoder.init=${artifacts.reduce}"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("train", typed, return_hydra_config=True)
    assert typed_overrides(config.hydra) == typed


def test_without_a_command_nothing_was_typed() -> None:
    assert typed_overrides() == []
