"""What the sweepers make of launchers: several jobs at once, and workers that end without a result."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from hydra_plugins import sage_pl_sweepers as sweepers
from sage_pl.artifacts.locks import locked
from sage_pl.runs.search import SearchError


class Launcher:
    """Launches nothing; ends as told."""

    def __init__(self, end: Exception | list[JobReturn]) -> None:
        self.end, self.jobs = end, list[Any]()

    def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        self.jobs = jobs
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


# Hydra's discovery of plugins loads their classes anew, so they are looked up late, and none is initialised.


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    sweeper = sweepers.Grid.__new__(sweepers.Grid)
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": "sweep"}}})
    monkeypatch.setattr(sweeper, "_place", lambda job, number: tmp_path / "sweep" / str(number))
    return sweeper


def test_jobs_get_the_folder_of_the_sweep_wherever_they_run(grid: Any, tmp_path: Path) -> None:
    config = OmegaConf.create({"hydra": {"runtime": {"output_dir": f"{tmp_path}/sweep/0_x"}}})
    grid.launcher = Launcher([JobReturn(hydra_cfg=config, status=JobStatus.COMPLETED)])
    ((folder, job),) = grid.launch([["seed=1"]], 0)
    assert grid.launcher.jobs == [["seed=1", f"hydra.sweep.dir='{tmp_path}/sweep'"]]
    assert folder == tmp_path / "sweep" / "0_x"
    assert sweepers._succeeded(folder, job)


def test_a_worker_that_ends_leaves_what_the_other_jobs_have_written(
    grid: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sweep" / "4").mkdir(parents=True)
    (tmp_path / "sweep" / "4" / "metrics.json").write_text("{}")
    grid.launcher = Launcher(RuntimeError("a worker was killed"))
    with caplog.at_level(logging.ERROR):
        jobs = grid.launch([["seed=1"], ["seed=2"]], 3)
    assert [(folder.name, job, sweepers._succeeded(folder, job)) for folder, job in jobs] == [
        ("3", None, False),
        ("4", None, True),
    ]
    assert "Launcher ended without the results of its jobs: a worker was killed" in caplog.text
    with locked(tmp_path / "sweep" / "3" / ".lock", "the job", wait=False):  # it was waited for and released
        pass


def test_an_error_of_the_configuration_is_none_of_a_worker(grid: Any) -> None:
    grid.launcher = Launcher(ConfigCompositionException("no such method"))
    with pytest.raises(ConfigCompositionException):
        grid.launch([["method=nonsense"]], 0)


def test_trials_at_once_need_a_launcher() -> None:
    sweeper = sweepers.Search.__new__(sweepers.Search)
    sweeper.config = OmegaConf.create(
        {"search": {"trials": 4, "startup": 2, "warmup": 1, "parallel": 2, "storage": None}}
    )
    sweeper.launcher = sweepers.BasicLauncher.__new__(sweepers.BasicLauncher)
    with pytest.raises(SearchError, match=r"search\.parallel is 2, but Hydra's own launcher .*hydra/launcher=joblib"):
        sweeper.sweep([])
