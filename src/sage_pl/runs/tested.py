"""A trained model tested, and its results written and printed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console

from sage_pl.artifacts.store import Artifact
from sage_pl.comparison.cells import UNCONVERGED
from sage_pl.data.mapped import in_words, mapped_counts
from sage_pl.evaluation.floors import best_floor, label, standing
from sage_pl.evaluation.lists import word_vectors
from sage_pl.evaluation.results import cases_frame, write_results
from sage_pl.evaluation.table import results_table, select
from sage_pl.runs.floors import floors_of
from sage_pl.runs.parts import Parts
from sage_pl.semantic.texts import text_columns
from sage_pl.training.callbacks.recommended import RecommendedLists

log = logging.getLogger(__name__)
_WIDTH = 100  # of lines where there is no terminal


def test(
    config: DictConfig,
    parts: Parts,
    folder: Path,
    cache: str | Path | None,
    ended: Mapping[str, float] = MappingProxyType({}),  # noqa: PT028 - no test of pytest
) -> dict[str, float]:
    """Test a trained model, and write metrics and ranks into ``folder``.

    Args:
        config: prepared.
        parts: of it, the model trained.
        folder: of the results.
        cache: where missing floors are made; None: the run's.
        ended: of the training, ``epochs``, ``best_epoch`` and ``converged``; {} where they are not known.
    """
    datamodule, model, evaluation = parts
    evaluation.floors = floors_of(config, datamodule, model.stored["artifact_keys"], cache)
    lists = lists_of(config, parts)
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
        devices=1,
        logger=False,
        callbacks=[evaluation, lists],
        enable_model_summary=False,
        default_root_dir=folder,
        enable_progress_bar=sys.stderr.isatty(),
    )
    trainer.test(model, datamodule, verbose=False)
    return write(folder, config, parts, lists, trainer, ended)


def lists_of(config: DictConfig, parts: Parts) -> RecommendedLists:
    """The callback that stores the recommended lists of a test."""
    data, groups = parts.datamodule, parts.evaluation.groups["test"]
    items = Artifact.at(config.artifacts.sequences).frame("items")
    prompt = text_columns(items) if config.dataset.prompt is None else config.dataset.prompt
    words = word_vectors(items, [name for name in prompt if name in items.columns])
    return RecommendedLists(data.sequences, groups.tail_items, words, data.mask_seen)


def write(
    folder: Path,
    config: DictConfig,
    parts: Parts,
    lists: RecommendedLists,
    trainer: pl.Trainer,
    ended: Mapping[str, float],
) -> dict[str, float]:
    """Write metrics, ranks and recommended lists, print them beside the best floor of the cases that were ranked.

    ``ended``: how the training ended; {} where it is not known.
    """
    datamodule, _, evaluation = parts
    cases, facts = datamodule.sequences.test, evaluation.groups["test"].facts
    tested = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    metrics = tested | evaluation.floor_metrics("test") | dict(ended)
    artifact = Artifact.at(config.artifacts.sequences)
    if counts := mapped_counts(artifact):
        metrics |= {"data/current": 1.0, **{f"data/{name}": float(count) for name, count in counts.items()}}
        log.warning("these are results on other data than the model was trained with: %s", in_words(counts))
    ids = artifact.frame("users"), artifact.frame("items")
    frame = cases_frame(cases, evaluation.test_ranks, evaluation.floors["test"], facts, *ids)
    write_results(folder, metrics, frame, lists.lists)
    name = "this run" if metrics.get("converged", 1) else f"this run {UNCONVERGED}"
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for protocol in evaluation.test_ranks:
        floor = best_floor(metrics, protocol)
        rows = {label(floor): select(metrics, f"floor/{floor}"), name: select(metrics, "test")}
        console.print(results_table(rows, protocol))
        console.print(standing(metrics, protocol))
    if name != "this run":
        console.print(f"{UNCONVERGED} not converged: the best epoch is the last")
    of_lists = select(metrics, "test/lists")
    log.info("recommended: %s", ", ".join(f"{name} {value:.3f}" for name, value in of_lists.items()))
    return metrics
