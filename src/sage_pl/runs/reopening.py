"""A checkpoint whose artifacts are gone in part: they are made again so that its numbers mean what they meant, or refused."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, flag_override

from sage_pl.artifacts.store import Artifact, ArtifactError, Store
from sage_pl.data.mapped import Ids, Mapped, in_words, mapped_counts
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.plan import PARTS, Plan, artifacts_of, fill_in_artifacts, resolve_with_placeholders
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
    store = store_of(plan, cache, [plan.config.paths.artifacts])
    opened = _opened(checkpoint, store, changed)
    trained_with = _open(store, "sequences", checkpoint.artifact_keys.get("sequences", "?"))
    ids = checkpoint.ids or (None if trained_with is None else Ids.of(trained_with))
    if current or "sequences" not in opened:
        made = prepare(plan, cache, [plan.config.paths.artifacts], only=["sequences"])["sequences"]
        if made.key != checkpoint.artifact_keys.get("sequences"):
            _check_mapping(checkpoint, made, ids, current)
            assert ids is not None
            opened = {name: artifact for name, artifact in opened.items() if name in _read_by_model(plan)}
            made = store.get(Mapped(ids), {"sequences": made})
            log.warning("%s", in_words(mapped_counts(made)))
        opened["sequences"] = made
    final = prepare(plan, cache, [plan.config.paths.artifacts], opened)
    for name in sorted(_read_by_model(plan) - changed):
        if (key := checkpoint.artifact_keys.get(name)) not in (None, final[name].key):
            raise ConfigError(
                f"the artifact {name} {key} that the model reads is gone, and made again it is {final[name].key}, since its "
                "inputs or libraries changed; put it back into the folder of artifacts, or train the model again"
            )
    filled = fill_in_artifacts(plan.config, final)
    if ids is not None:  # tables of the model have a row for each of these, and none for users who came later
        with flag_override(filled, ["readonly", "struct"], [False, False]):
            filled.catalog.n_users = len(ids.users)
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
    return set(artifacts_of(resolve_with_placeholders(plan.config, [PARTS[0]])))


def _check_mapping(checkpoint: Checkpoint, made: Artifact, ids: Ids | None, current: bool) -> None:
    """Other data than the model was trained with are read only when asked for, and if its ids are known."""
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
