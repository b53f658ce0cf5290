"""Training a finished run again on all events, for serving: its settings, the number of epochs of its best checkpoint.

Nothing is held out, so nothing is validated or tested: the last epoch's weights are the result, and its metrics are those of
the run that it repeats. The number of epochs is kept, not of steps: an epoch has the run's held-out events too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.artifacts.identity import flat, is_decisive
from sage_pl.artifacts.store import Artifact, Store
from sage_pl.runs.checkpoint import Checkpoint, open_checkpoint
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.folders import CHECKPOINTS, METRICS
from sage_pl.runs.resuming import continued, earlier_cache, is_place

log = logging.getLogger(__name__)

_BEST = "best.ckpt"
_ALL_EVENTS = {"_target_": "sage_pl.data.split.AllEvents"}
_LAST = {
    "_target_": "pytorch_lightning.callbacks.ModelCheckpoint",
    "dirpath": "${run_dir}/checkpoints",
    "filename": "last",
    "save_on_train_epoch_end": True,
    "enable_version_counter": False,
}
_OTHER_ENDS = ("max_steps", "max_time", "min_steps", "min_epochs", "limit_val_batches", "limit_test_batches")


def open_finished(place: Any) -> Checkpoint:
    """The best checkpoint of a finished run.

    Args:
        place: the run's folder, or ``checkpoints/best.ckpt`` in it.

    Raises:
        ConfigError: it is no finished run's.
    """
    if not isinstance(place, str):
        raise ConfigError(f"refit is {place!r}; wanted the folder of a finished run: refit=outputs/runs/.../TIME")
    path = Path(place)
    folder = path.parent.parent if path.name == _BEST else path
    best = folder / CHECKPOINTS / _BEST
    if missing := [str(file) for file in (best, folder / METRICS) if not file.is_file()]:
        raise ConfigError(
            f"refit={place} is no finished run (no {', no '.join(missing)}); name the folder of one: "
            "refit=outputs/runs/.../TIME"
        )
    return open_checkpoint(best)


def repeated(
    checkpoint: Checkpoint, asked: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe of a refit, and the one whose stages it builds upon: the checkpoint's, on all events.

    Places, loggers and devices may be others than the run's.

    Args:
        checkpoint: of :func:`open_finished`.
        asked: the recipe that the command line composes.
        overrides: the command line's own.

    Raises:
        ConfigError: the command line changes a setting, or a stage's epochs are unknown.
    """
    folder = checkpoint.path.parent.parent.resolve()
    recipe = continued(checkpoint, asked, overrides, "refit")
    before, after = dict(flat(checkpoint.recipe)), dict(flat(recipe))
    differing = (key for key in before | after if is_decisive(key) and before.get(key) != after.get(key))
    if changed := [key for key in differing if not is_place(before.get(key), after.get(key))]:
        raise ConfigError(
            f"refit=RUN_FOLDER repeats a run's settings and its {checkpoint.epochs} epochs; leave out {', '.join(changed)}, "
            "or train a new run with them first"
        )
    begun_with = {**checkpoint.begun_with, "paths": recipe["paths"], "dataset": recipe["dataset"]}  # may have moved
    stages = _stages(checkpoint, begun_with)
    whole, first = (
        _ended_by(_on_all_events(one, stages), checkpoint.epochs, folder, one) for one in (recipe, begun_with)
    )
    return whole, first


def _on_all_events(recipe: Mapping[str, Any], stages: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe whose split holds nothing out, with the stages of :func:`_stages`."""
    changed = {
        "split": _ALL_EVENTS,
        "steps": {**recipe["steps"], "sequences": {**recipe["steps"]["sequences"], "split": "${split}"}},
        "data": {**recipe["data"], "candidates": None},
        "callbacks": {**recipe["callbacks"], "last": _LAST},
        "stages": {**(recipe.get("stages") or {}), **stages},
        "resume": None,
    }
    choices = {"choices": {**recipe["choices"], "split": "all"}} if recipe.get("choices") else {}
    return {**recipe, **changed, **choices}


def _stages(checkpoint: Checkpoint, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The stages that the run was built upon, each ended by the epochs of its best checkpoint."""
    store, stages = Store(earlier_cache(checkpoint), also=[recipe["paths"]["artifacts"]]), {}
    for name in (recipe.get("stages") or {}).keys() & checkpoint.artifact_keys.keys():
        key = checkpoint.artifact_keys[name]
        artifact = store.open(name, key)
        if artifact is None:
            raise ConfigError(
                f"{checkpoint.path} builds upon the stage {name} {key}, which is not in {store.root}, so its number of epochs "
                "is unknown; put it back, or name its place with paths.artifacts=FOLDER"
            )
        epochs = open_checkpoint(artifact.path / _BEST).epochs
        stages[name] = _ended_by(recipe["stages"][name], epochs, artifact.path.resolve(), recipe)
    return stages


def _ended_by(node: Mapping[str, Any], epochs: int, repeats: Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recipe, or the parts of a stage, that trains for some epochs and repeats the metrics of a folder.

    A schedule keeps the curve that it had in the run, ``recipe``, whose end lies at that run's ``trainer.max_epochs``.
    """
    trainer = {key: value for key, value in (node.get("trainer") or {}).items() if key not in _OTHER_ENDS}
    ended = {**node, "trainer": {**trainer, "max_epochs": epochs}, "refit": str(repeats)}
    schedule, planned = _schedule(node, recipe), {**recipe["trainer"], **trainer}.get("max_epochs")
    if schedule and schedule.get("epochs") is None and (planned or 0) > 0:
        ended["schedule"] = {**schedule, "epochs": planned}
    return ended


def _schedule(node: Mapping[str, Any], recipe: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schedule of a run or of a stage, whose parts are merged into the run's unless they name a ``_target_``."""
    named = node.get("schedule", {})
    return named if named is None or "_target_" in named else {**(recipe.get("schedule") or {}), **named}


def compare_data(checkpoint: Checkpoint, sequences: Artifact) -> None:
    """Warn where the data are others than those of the run that is repeated, whose metrics are then of other data.

    Args:
        checkpoint: of that run.
        sequences: artifact of the refit.
    """
    key = checkpoint.artifact_keys["sequences"]
    earlier = Store(earlier_cache(checkpoint), also=[sequences.path.parent.parent]).open("sequences", key)
    if earlier is None:
        log.warning("sequences %s of the run are gone, so whether its data have changed is unknown", key)
        return
    if _events(earlier).equals(_events(sequences)):
        return
    before, now = (
        f"{one.height('users'):,} users, {one.height('items'):,} items, {len(one.array('values')):,} events"
        for one in (earlier, sequences)
    )
    log.warning("the data have changed since the run: %s then, %s now; the metrics are of the data then", before, now)


def _events(sequences: Artifact) -> pl.DataFrame:
    """Every event by the ids of user and item, in order."""
    users, items = (sequences.frame(f"{kind}s")[f"{kind}_id"].cast(pl.String) for kind in ("user", "item"))
    lengths = pl.Series(sequences.array("offsets")).diff()[2:]
    user = pl.int_range(len(users), eager=True).repeat_by(lengths).explode()
    return pl.DataFrame({"user": users[user], "item": items[sequences.array("values") - 1]})
