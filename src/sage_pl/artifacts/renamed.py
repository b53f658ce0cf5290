"""Earlier addresses of classes, for checkpoints and run folders of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOVED = {  # beginning of an earlier `_target_` -> its beginning now; the first that fits is taken
    "sage_pl.sequence_encoders.interest_attention.": "sage_pl.nn.sequence_encoders.sam.",
    "sage_pl.sequence_encoders.self_attentive.": "sage_pl.nn.sequence_encoders.comirec.",
    "sage_pl.sequence_encoders.sparse_interests.": "sage_pl.nn.sequence_encoders.sine.",
    "sage_pl.backbones.": "sage_pl.nn.backbones.",
    "sage_pl.item_encoders.": "sage_pl.nn.item_encoders.",
    "sage_pl.sequence_encoders.": "sage_pl.nn.sequence_encoders.",
    "sage_pl.decoders.": "sage_pl.nn.decoders.",
    "sage_pl.losses.": "sage_pl.nn.losses.",
    "sage_pl.objectives.": "sage_pl.nn.objectives.",
    "sage_pl.scorers.": "sage_pl.nn.scorers.",
    "sage_pl.models.": "sage_pl.nn.modules.",
    "sage_pl.callbacks.": "sage_pl.training.callbacks.",
    "sage_pl.loggers.": "sage_pl.training.loggers.",
    "sage_pl.optimizers.": "sage_pl.training.optimizers.",
    "sage_pl.data.prefixes.": "sage_pl.data.targets.",
    "sage_pl.data.loader.Neighbour": "sage_pl.data.neighbours.Neighbour",
    "sage_pl.data.sources.handled.": "sage_pl.reference.source.",
    "sage_pl.semantic.intermediate.": "sage_pl.semantic.reduce.",
    "pytorch_lightning.loggers.CSVLogger": "sage_pl.training.loggers.metrics_table.MetricsTable",
    "sage_pl.semantic.precomputed.": "sage_pl.reference.steps.",
}


def current(config: Any) -> Any:
    """The same plain values with the present name in every ``_target_``."""
    if isinstance(config, Mapping):
        return {key: _name(value) if key == "_target_" else current(value) for key, value in config.items()}
    return [current(value) for value in config] if isinstance(config, list) else config


def _name(target: Any) -> Any:
    if isinstance(target, str):
        for before, now in _MOVED.items():
            if target.startswith(before):
                return now + target.removeprefix(before)
    return target
