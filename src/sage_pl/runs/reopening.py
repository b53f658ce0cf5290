"""A checkpoint whose artifacts are gone in part: they are made again so that its numbers mean what they meant, or refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf, flag_override

from sage_pl.artifacts.store import Artifact, ArtifactError, Store
from sage_pl.data.changes import changed_files
from sage_pl.data.mapped import Ids, Mapped, in_words, mapped_counts
from sage_pl.errors import UserError
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.construct import construct
from sage_pl.runs.plan import Plan, artifacts_of, fill_in_artifacts, resolve_with_placeholders
from sage_pl.runs.preparation import prepare, store_of

if TYPE_CHECKING:
    from sage_pl.runs.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def made_again(checkpoint: Checkpoint, plan: Plan, changed: set[str], cache: str | Path, current: bool) -> DictConfig:
    """The plan's configuration with artifacts of which some were gone, damaged or changed.

    Args:
        checkpoint: of the model.
        plan: to use it.
        changed: names of the steps that are made otherwise than for the training.
        cache: where artifacts are made; the plan's own is read alone.
        current: read the data as they are now, and map them by id onto the numbers of the model.

    Raises:
        ConfigError: the data have changed and ``current`` is not set, or what the model reads cannot be had again.
    """
    keys, also = checkpoint.artifact_keys, [plan.config.paths.artifacts]
    store = store_of(plan, cache, also)
    trained_with = _open(store, "sequences", keys.get("sequences", "?"))
    opened = _opened(checkpoint, store, changed)
    ids = checkpoint.ids or (None if trained_with is None else Ids.of(trained_with))
    mapped = None
    if current or "sequences" not in opened:
        made = prepare(plan, cache, also, only=["sequences"])["sequences"]
        if made.key != keys.get("sequences"):
            known = _mappable(checkpoint, made, ids, current)
            made = mapped = store.get(Mapped(known), {"sequences": made})
            opened = {name: artifact for name, artifact in opened.items() if name in _read_by_model(plan)}
            log.warning("%s", in_words(mapped_counts(mapped)))
        opened["sequences"] = made
    if not current:
        note_changes(plan.config, opened["sequences"])
    artifacts = prepare(plan, cache, also, opened)
    trained_on = _read_by_model(plan) & keys.keys()  # a scorer that came later may read more
    for name in sorted(trained_on - changed - {"sequences"}):
        if keys[name] != artifacts[name].key:
            raise ConfigError(
                f"the artifact {name} {keys[name]} that the model reads is gone, and made again it is "
                f"{artifacts[name].key}, since its inputs or libraries changed; put it back into the folder of artifacts, or "
                "train the model again"
            )
    filled = fill_in_artifacts(plan.config, artifacts)
    return (
        filled
        if mapped is None or ids is None
        else _with_counts_of_training(plan, filled, artifacts, trained_with, ids)
    )


def note_changes(config: DictConfig, sequences: Artifact) -> None:
    """Say which files of the data have changed since the training, whose artifact answers in their place.

    Nothing is said of files that are gone, or of a source that cannot be built: the artifact needs neither.

    Args:
        config: of a trained model's plan.
        sequences: that the model was trained with.
    """
    plain = resolve_with_placeholders(config, ["dataset"])
    with suppress(UserError):
        if changed := changed_files(construct("dataset.source", plain["dataset"]["source"]), sequences):
            log.warning(
                "%s changed after the training, and the data of the training are used; data=current reads what is there now",
                ", ".join(map(str, changed)),
            )


def _with_counts_of_training(
    plan: Plan, filled: DictConfig, artifacts: Mapping[str, Artifact], trained_with: Artifact | None, ids: Ids
) -> DictConfig:
    """A configuration with mapped data whose model reads its numbers of users, and counts of events, of the training data."""
    if trained_with is None and "sequences" in _read_by_model(plan):
        raise ConfigError(
            "the model weighs items by their events in the training data, whose artifact sequences is gone; put it back into "
            "the folder of artifacts, or train the model again"
        )
    with flag_override(filled, ["readonly", "struct"], [False, False]):
        filled.catalog.n_users = len(ids.users)
        if trained_with is not None:
            as_trained = fill_in_artifacts(plan.config, {**artifacts, "sequences": trained_with})
            filled.model = OmegaConf.to_container(as_trained.model, resolve=True)
    return filled


def _opened(checkpoint: Checkpoint, store: Store, changed: set[str]) -> dict[str, Artifact]:
    """The artifacts that are whole and made as they were for the training, by name."""
    opened = {name: _open(store, name, key) for name, key in checkpoint.artifact_keys.items() if name not in changed}
    return {name: artifact for name, artifact in opened.items() if artifact is not None}


def _open(store: Store, name: str, key: str) -> Artifact | None:
    with suppress(ArtifactError):  # a damaged one is made again
        return store.open(name, key)
    return None


def _read_by_model(plan: Plan) -> set[str]:
    """Names of the artifacts that the model reads beside the objective."""
    config = plan.config.copy()
    with flag_override(config, ["readonly", "struct"], [False, False]):
        config.model.objective = None
    return set(artifacts_of(resolve_with_placeholders(config, ["model"])))


def _mappable(checkpoint: Checkpoint, made: Artifact, ids: Ids | None, current: bool) -> Ids:
    """The model's ids; an error where these are unknown, or where data that changed were not asked for."""
    if ids is None:
        raise ConfigError(
            f"the data have changed since {checkpoint.path} was trained, which holds no ids of its items, as an earlier "
            "version wrote it; put the data or the artifact sequences back, or train the model again"
        )
    if not current:
        now, known = Ids.of(made).items, set(ids.items)
        new = sum(one not in known for one in now)
        raise ConfigError(
            f"the data have changed since {checkpoint.path} was trained: {len(ids.items):,} items then and {len(now):,} now, "
            f"{new:,} of them new; put the data or the artifact sequences back, or set data=current to map them by id"
        )
    return ids
