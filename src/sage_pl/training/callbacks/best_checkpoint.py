"""A ModelCheckpoint that keeps the best epoch when a run is resumed in a new folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint

from sage_pl import processes
from sage_pl.artifacts.files import whole_file
from sage_pl.errors import MissingFileError


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch's checkpoint, also across a resumption in another folder.

    Lightning drops the best score where the folder has changed, so the first resumed epoch would be the best. Here the
    earlier file is copied into the new folder and the state points to it.

    Args:
        resume: the resumed checkpoint; the best one is expected beside it if its folder has moved.
        dirpath, filename, monitor, mode: see Lightning's ModelCheckpoint.

    Raises:
        MissingFileError: the best checkpoint so far is absent.
    """

    def __init__(self, dirpath: str, filename: str, monitor: str, mode: str, resume: str | None = None) -> None:
        super().__init__(dirpath, filename, monitor, mode=mode, enable_version_counter=False)
        self.resume = resume

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = Path(state_dict["dirpath"]), Path(str(self.dirpath))
        if not state_dict["best_model_path"]:  # interrupted before the first validation
            super().load_state_dict({**state_dict, "dirpath": str(new)})
            return
        best = Path(state_dict["best_model_path"])
        if not best.is_file() and self.resume is not None:
            best = Path(self.resume).parent / best.name
        if not best.is_file():
            raise MissingFileError(f"the best checkpoint so far, {state_dict['best_model_path']}, is gone; put it back")
        if old != new:
            if processes.rank() == 0:
                with whole_file(new / best.name) as part:
                    shutil.copyfile(best, part)
            paths = {path: str(new / Path(path).name) for path in state_dict["best_k_models"]}
            state_dict = {
                **state_dict,
                "dirpath": str(new),
                "best_model_path": str(new / best.name),
                "kth_best_model_path": paths.get(state_dict["kth_best_model_path"], ""),
                "best_k_models": {paths[path]: score for path, score in state_dict["best_k_models"].items()},
            }
        super().load_state_dict(state_dict)
