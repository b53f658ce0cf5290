"""What an evaluation with another scorer records, so that a comparison takes it as a run of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.plain import read_json
from sage_pl.comparison.runs import EVALUATION
from sage_pl.errors import SettingError
from sage_pl.runs.checkpoint import Checkpoint, recipe_with
from sage_pl.runs.folders import METRICS
from sage_pl.runs.idle_parts import drop_idle_parts
from sage_pl.runs.plan import filled_artifacts
from sage_pl.runs.recorded import recorded

log = logging.getLogger(__name__)
_FACTS = ("epochs", "best_epoch", "converged")


def as_a_run(
    checkpoint: Checkpoint, overrides: Mapping[str, Any], scorer: str | None, prepared: DictConfig
) -> dict[str, Any]:
    """The configuration of a run trained with these overrides, and the checkpoint as ``evaluated``.

    Such a run has the same weights and results where validation does not read the scorer (``fusion``); ``semantic`` may choose
    another best epoch in training.

    Args:
        checkpoint: that is evaluated.
        overrides: changes to its recipe.
        scorer: the choice of the group, which names the run.
        prepared: the configuration that is evaluated (:func:`sage_pl.runs.checkpoint.prepared`).
    """
    changed = recipe_with(checkpoint.recipe, overrides)
    choices = {**(changed.get("choices") or {}), "scorer": scorer}
    run_dir = str(checkpoint.path.parent.parent)
    whole = {**changed, "choices": choices, "run_dir": run_dir, "resume": None, "logger": {}}
    config, _ = drop_idle_parts(OmegaConf.create(whole))
    cache = Path(config.paths.artifacts)
    trained_with = {name: str(cache / name / key) for name, key in checkpoint.artifact_keys.items()}
    config.artifacts.update(trained_with | filled_artifacts(prepared))
    config.stages = {name: node for name, node in (config.get("stages") or {}).items() if name in trained_with}
    config.catalog, config.evaluated = prepared.catalog, str(checkpoint.path.resolve())
    return recorded(config)


def record(config: Mapping[str, Any], folder: Path) -> None:
    """Write the configuration of :func:`as_a_run` beside the results."""
    with whole_file(folder / EVALUATION) as part:
        OmegaConf.save(OmegaConf.create(dict(config)), part)


def training_facts(checkpoint: Checkpoint) -> dict[str, float]:
    """``epochs``, ``best_epoch`` and ``converged`` of the run whose best checkpoint this is; {} where its folder does not tell.

    Without them a comparison holds it for unknown whether the run had converged.
    """
    file = checkpoint.path.parent.parent / METRICS
    try:
        metrics = read_json(file) if file.is_file() else {}
        facts = {name: float(metrics[name]) for name in _FACTS if name in metrics}
    except (SettingError, TypeError, ValueError) as error:
        log.warning("whether the training had converged is unknown: %s", error)
        return {}
    return facts if facts.get("best_epoch") == checkpoint.epochs - 1 else {}
