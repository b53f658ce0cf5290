"""Output folders: new ones are never shared, used ones hold no earlier results."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.locks import locked
from sage_pl.runs import folders
from sage_pl.runs.launch import Stopped

CONF = Path(__file__).parents[2] / "conf"


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["dataset=folder", "dataset.path=x", *overrides], return_hydra_config=True)


def used(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in (
        "metrics.json",
        "ranks.parquet",
        "recommended.npy",
        "report.html",
        "config.yaml",
        "metrics.csv",
        "notes.txt",
    ):
        (folder / name).write_text("earlier")
    (folder / "checkpoints" / "last.ckpt").write_text("earlier")
    return folder


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_two_commands_in_the_same_microsecond_get_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    import hydra.core.utils as utils

    class Clock(dt.datetime):
        day = 1

        @classmethod
        def now(cls, tz: Any = None) -> dt.datetime:
            return dt.datetime(2020, 1, cls.day, tzinfo=tz)

    def forget(config: DictConfig, clear: Any = OmegaConf.clear_cache) -> None:
        Clock.day += 1
        clear(config)

    monkeypatch.setattr(utils, "datetime", Clock)
    monkeypatch.setattr(folders.OmegaConf, "clear_cache", forget)
    configs = [
        composed(f"paths.outputs={tmp_path}", f"{key}={tmp_path}/${{now:%Y-%m-%d_%H-%M-%S-%f}}") for _ in range(2)
    ]
    made = [folders.new_folder(config, key) for config in configs]
    assert Clock.day == 2
    assert made[0] != made[1]
    assert [path.is_dir() for path in made] == [True, True]


def test_a_folder_in_use_is_refused_and_keeps_its_results(tmp_path: Path) -> None:
    folder = used(tmp_path / "run")
    config = composed(f"hydra.run.dir={folder}")
    with locked(folder / ".lock", "it"), pytest.raises(Stopped, match=r"in use by process \d+ .*hydra.run.dir=\.\.\."):
        folders.RunFolder().on_run_start(config)
    assert (folder / "metrics.json").read_text() == "earlier"


def test_a_used_folder_loses_its_results_before_anything_is_written(tmp_path: Path) -> None:
    folder = used(tmp_path / "run")
    callback = folders.RunFolder()
    callback.on_run_start(composed(f"hydra.run.dir={folder}"))
    assert {path.name for path in folder.glob("[!.]*")} == {"checkpoints", "notes.txt"}
    callback.on_run_end(composed())
    folders.RunFolder().on_run_start(composed(f"hydra.run.dir={folder}"))  # its lock is free again


def test_a_run_that_continues_in_its_folder_keeps_the_epochs(tmp_path: Path) -> None:
    folder = used(tmp_path / "run")
    last = folder / "checkpoints" / "last.ckpt"
    folders.RunFolder().on_run_start(composed(f"hydra.run.dir={folder}", f"resume={last}"))
    assert {path.name for path in folder.glob("[!.]*")} == {"checkpoints", "metrics.csv", "notes.txt"}


def test_an_evaluation_does_not_replace_the_results_of_a_run(tmp_path: Path) -> None:
    folder = used(tmp_path / "run")
    with pytest.raises(Stopped, match="is the folder of a run"):
        folders.EvaluationFolder().on_run_start(composed(f"hydra.run.dir={folder}"))
    assert (folder / "metrics.json").is_file()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Stopped, match="no folder can be made for this command"):
        folders.RunFolder().on_run_start(composed(f"hydra.run.dir={tmp_path}/file"))
