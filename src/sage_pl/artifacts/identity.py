"""What decides a result: one answer for stage keys, resuming, comparisons and serving.

Every setting decides unless it is listed here as indifferent, so a new key counts by default.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

# Groups and values that act only through the parts that refer to them: model, data, callbacks, steps.
SOURCES = frozenset(
    [
        *("backbone", "dataset", "decoder", "describer", "dim", "dropout", "embedder", "freeze", "item_encoder"),
        *("loss", "method", "objective", "products", "scorer", "semantic", "sequence_encoder", "split", "start"),
        *("schedule", "targets", "tokenizer", "ts_item", "ts_user", "without"),
    ]
)
# Where a run lives, how it is displayed, and what has a key of its own.
_WHOLE = (
    "allow_host|artifacts|catalog|choices|evaluated|floors|hydra|logger|paths|refit|report|resume|role|run_dir|search|stages|steps|sweep|"
    "verify|wanted"
)
_TRAINER = (
    "accelerator|default_root_dir|devices|enable_model_summary|enable_progress_bar|log_every_n_steps|logger|"
    "num_sanity_val_steps|profiler|strategy|use_distributed_sampler"
)
_INDIFFERENT = re.compile(
    rf"({_WHOLE})(\..*)?"
    rf"|(.*\.)?trainer\.({_TRAINER})"
    r"|(.*\.)?(eval_batch_size|num_workers|table_mb)"
    r"|(.*\.)?optimizer\.fused"
    r"|(.*\.)?extras\.neighbours\.ratio"
    r"|(.*\.)?source\.missing"
    r"|callbacks\.\w+\.(dirpath|filename|folder|resume)"
)
# Callbacks that observe a run and change nothing in it.
_OBSERVERS = re.compile(
    r"sage_pl\.training\.callbacks\.(at_chance\.AtChance|epoch_lines\.EpochLines|expert_shares\.ExpertShares|footprint\.Footprint"
    r"|gradient_norms\.GradientNorms|progress\.Progress|pruning\.Pruning|spectrum\.Spectrum|speed\.Speed"
    r"|term_gradients\.TermGradients|validation_table\.ValidationTable)"
    r"|pytorch_lightning\.callbacks\.(DeviceStatsMonitor|LearningRateMonitor|ModelCheckpoint|ModelSummary"
    r"|RichModelSummary|RichProgressBar|TQDMProgressBar)"
)


def is_decisive(key: str) -> bool:
    """Whether a setting, by its dotted key in a configuration, can change a result.

    >>> is_decisive("data.batch_size"), is_decisive("data.eval_batch_size"), is_decisive("a_key_of_tomorrow")
    (True, False, True)
    """
    return not _INDIFFERENT.fullmatch(key)


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that decide what it learns and how it is evaluated, by dotted key.

    Args:
        config: a whole configuration with resolved references, as plain values. Values that act through other parts
            (:data:`SOURCES`) count where those parts read them.
    """
    leaves: dict[str, Any] = {}
    for name, part in config.items():
        if name in SOURCES:
            continue
        if name == "callbacks" and isinstance(part, Mapping):
            part = {key: node for key, node in part.items() if not _observes(node)}
        leaves |= dict(flat(part, name))
    return {key: value for key, value in leaves.items() if is_decisive(key)}


def flat(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings with its dotted key; lists and empty mappings are leaves."""
    if not isinstance(config, Mapping) or (not config and path):
        yield path, config
        return
    for key, child in config.items():
        yield from flat(child, f"{path}.{key}" if path else str(key))


def value_at(config: Any, key: str) -> Any:
    """The value at a dotted key of nested mappings; None where there is none."""
    for name in key.split("."):
        if not isinstance(config, Mapping) or name not in config:
            return None
        config = config[name]
    return config


def _observes(node: Any) -> bool:
    return node is None or (isinstance(node, Mapping) and bool(_OBSERVERS.fullmatch(str(node.get("_target_")))))


def identity(value: Any) -> Any:
    """A JSON-ready description of everything in ``value`` that can change a step's result."""
    if hasattr(value, "fingerprint"):
        return {"class": type(value).__qualname__, **value.fingerprint()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__qualname__, **settings(value)}
    if isinstance(value, partial):  # a step's Trainer
        arguments = {key: identity(item) for key, item in value.keywords.items() if is_decisive(f"trainer.{key}")}
        return {"class": value.func.__qualname__, **arguments}
    if isinstance(value, Mapping):
        return {str(k): identity(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [identity(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot hash a {type(value).__name__} into an artifact key: {value!r}; give it fingerprint()")


def settings(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that can change a result, each as its identity."""
    return {f.name: identity(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
