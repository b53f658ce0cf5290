"""The command export: a checkpoint as a folder that serves without text model, adapter or artifacts."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from sage_pl import hosts, serving
from sage_pl.artifacts.store import Artifact
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.commands.unread_overrides import name_unread
from sage_pl.runs import checkpoint, checks
from sage_pl.runs.scoring import choose_weights, with_scorer
from sage_pl.serving.exported import catalogue_of, in_memory, knows_users
from sage_pl.serving.new_items import TextSource
from sage_pl.serving.tower import write_tower

log = logging.getLogger(__name__)


def export(config: DictConfig) -> None:
    """Write ``config.checkpoint`` into ``config.folder``, in the form ``config.format``.

    Raises:
        ConfigError, MissingFileError: the checkpoint or the folder cannot be used.
    """
    checks.check_given(config, "checkpoint", "folder")
    current = checks.reads_current(config)
    quiet_libraries()
    trained = checkpoint.open_checkpoint(config.checkpoint)
    overrides = with_scorer(config)
    with hosts.only(config.allow_host):
        prepared = checkpoint.prepared(trained, overrides, config.artifacts, current)
        name_unread(trained, overrides, config, "export")
        parts = checkpoint.trained(prepared, trained)
        choose_weights(parts, overrides)
    sequences = Artifact.at(prepared.artifacts.sequences)
    if config.format != "folder":
        catalogue = catalogue_of(sequences, prepared.evaluation.seen, knows_users(prepared))
        write_tower(in_memory(parts.model), catalogue, config.folder, config.format)
        log.info("written to %s; its README.md has a program that uses it", config.folder)
        return
    texts = TextSource.of(*checkpoint.text_settings(trained, overrides), sequences)
    name = serving.model_name(trained.path, overrides, prepared)
    serving.save(parts.model, prepared, config.folder, name, texts, retrieval=config.retrieval)
    log.info(
        "written to %s; in Python: sage_pl.serving.load(folder).recommend(history=[ITEM, ITEM], k=10); its README.md has more",
        config.folder,
    )
