"""Train a model on frames or on a data set of ``conf/dataset``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from rich import get_console

from sage_pl.api.frames import Columns, write_dataset
from sage_pl.api.model import Model
from sage_pl.api.opening import load
from sage_pl.api.running import arguments_of, composing, run_command
from sage_pl.commands.door import config_dir
from sage_pl.errors import SettingError

_BAR = {  # rich draws in a notebook only where ipywidgets are installed
    "callbacks.progress": None,
    "+callbacks.notebook._target_": "pytorch_lightning.callbacks.TQDMProgressBar",
}


def fit(
    interactions: Any,
    items: Any = None,
    method: str = "sage",
    backbone: str | None = None,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = "timestamp",
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Model:
    """Train a model: prepare what is missing, train, test the best epoch, write the run's folder.

    It is the run of ``python train.py dataset=folder dataset.path=DIR method=... backbone=...`` with the frames written to DIR,
    ``outputs/frames/HASH``: the same configuration, folder and artifacts, so the commands take it too.

    Args:
        interactions: a frame of polars, pandas or Arrow with a row for each event; or the name of a data set in
            ``conf/dataset``, such as ``"journey"``.
        items: a frame with the items' ``title`` and any other text columns; None for no text, which ``sage`` needs.
        method: of ``conf/method``.
        backbone: of ``conf/backbone``; None for the method's own, which is SASRec where it names none.
        user: name of the column of user ids.
        item: likewise, of item ids, in both frames.
        time: likewise, of times: whole numbers or dates; None for the order of the rows.
        overrides: choices and values by dotted key, such as ``{"trainer.max_epochs": 3}``.
        settings: likewise, where the key is a name of Python: ``seed=1``, ``scorer="fusion"``.

    Returns:
        the trained model.

    Raises:
        ConfigError: the configuration cannot be run; every problem is named.
        DataError, SettingError: the frames, or what is given beside a data set's name, cannot be used.

    >>> model = fit(events, texts, method="plain", overrides={"trainer.max_epochs": 1, "dim": 8}, seed=7)
    >>> model.recommend(history=["tea-1", "tea-2"], k=2).columns
    ['rank', 'item_id', 'title', 'score']
    """
    chosen = {"method": method, **({} if backbone is None else {"backbone": backbone}), **(overrides or {}), **settings}
    if isinstance(interactions, str):
        if items is not None or Columns(user, item, time) != Columns():
            raise SettingError(
                f"items=, user=, item= and time= belong to a frame of interactions, got the data set {interactions!r}, which "
                "has its own; leave them out"
            )
        dataset = {"dataset": interactions}
    else:
        folder = _outputs(chosen) / "frames"
        path = write_dataset(interactions, items, Columns(user, item, time), folder.resolve())
        dataset = {"dataset": "folder", "dataset.path": str(path)}
    bar = _BAR if get_console().is_jupyter else {}
    run = run_command("train", {**dataset, **chosen, **bar})
    return load(run.folder)


def _outputs(settings: Mapping[str, Any]) -> Path:
    """``paths.outputs`` of a run with these settings."""
    conf = config_dir()
    arguments = arguments_of({"dataset": "folder", "dataset.path": ".", **settings})
    with composing(arguments, "train"), initialize_config_dir(str(conf), version_base="1.3"):
        return Path(compose("train", arguments).paths.outputs)
