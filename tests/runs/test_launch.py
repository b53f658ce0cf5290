"""What a command answers to mistakes, and how a job of a sweep is started."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import utils as hydra_utils
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    InstantiationException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.building import closure
from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.store import ArtifactError
from sage_pl.commands.door import COMMANDS
from sage_pl.data.neighbours import group_ends
from sage_pl.data.split import GlobalTime
from sage_pl.errors import MissingFileError
from sage_pl.runs import launch
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.launch import JobError, in_own_process, one_line_errors

CONF = Path(__file__).parents[2] / "conf"
OF_SWEEPS = ["hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "hydra/launcher=ray", "+hydra.launcher.ray.remote.num_gpus=1"]


def failing(error: BaseException) -> Callable[[DictConfig], None]:
    def job(config: DictConfig) -> None:
        raise error

    return one_line_errors(job)


@pytest.mark.parametrize(
    "error",
    [ConfigError("please set x=..."), ArtifactError("damaged"), MissingFileError("no file a.parquet")],
    ids=lambda error: type(error).__name__,
)
def test_errors_for_the_user_are_one_line(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        failing(error)(OmegaConf.create())
    assert stop.value.code == 1
    assert [record.getMessage() for record in caplog.records] == [str(error)]
    assert not caplog.records[0].exc_info


def test_what_broke_while_a_part_was_built_is_told_without_the_builder(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise InstantiationException("Error in call to target 'x'") from ConfigError("split.valid=2: wanted less")
    except InstantiationException as error:
        with pytest.raises(SystemExit):
            failing(error)(OmegaConf.create())
    assert caplog.messages == ["split.valid=2: wanted less"]


def test_a_full_disk_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def job(config: DictConfig) -> None:
        with whole_file(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit) as stop:
        one_line_errors(job)(OmegaConf.create())
    assert stop.value.code == 1
    assert caplog.messages == [
        f"{tmp_path / 'x'}: the disk is full; free some space, or choose another folder, and run the command again"
    ]
    assert not caplog.records[0].exc_info


def test_hydras_own_files_on_a_full_disk_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def create_the_run_folder() -> None:
        raise OSError(errno.EROFS, "Read-only file system", "/runs")

    with launch.errors_in_words(), pytest.raises(SystemExit) as stop:
        hydra_utils.run_and_report(create_the_run_folder)
    assert stop.value.code == 1
    assert capsys.readouterr().err == "/runs: the file system is read-only; choose another folder\n"


@pytest.mark.parametrize(
    ("error", "lines", "printed"),
    [
        (ConfigCompositionException("a hundred lines"), ["did you mean b?"], "did you mean b?\n"),
        (OverrideParseException("x", "no override"), ["x"], "x\n"),
        (ConfigCompositionException("Hydra's words"), [], "Hydra's words\n\nSet the environment variable"),
        (CompactHydraException("of no configuration"), ["did you mean b?"], "of no configuration\n\nSet"),
    ],
)
def test_an_error_of_composing_is_what_explains_it(
    error: Exception, lines: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def composes() -> None:
        raise error

    with launch.errors_in_words(lambda _: lines), pytest.raises(SystemExit) as stop:
        hydra_utils.run_and_report(composes)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(printed)


@pytest.mark.parametrize("error", [KeyError("bug"), TypeError("bug")], ids=lambda error: type(error).__name__)
def test_other_errors_keep_their_traceback(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(type(error)):
        failing(error)(OmegaConf.create())
    assert caplog.records[0].exc_info


def test_a_traceback_can_be_asked_for(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        failing(ConfigError("wrong"))(OmegaConf.create())
    assert caplog.records[0].exc_info


def test_a_failed_job_is_left_to_hydra(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(JobError):
        failing(JobError("job 3 failed"))(OmegaConf.create())
    assert caplog.messages == ["job 3 failed"]


def test_a_job_without_errors_just_runs(caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    one_line_errors(lambda config: seen.append(config.x))(OmegaConf.create({"x": 1}))
    assert seen == [1]
    assert not caplog.records


def test_a_missing_file_is_the_users_where_the_configuration_names_it(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "a.parquet"
    with pytest.raises(SystemExit):
        one_line_errors(lambda config: file.read_bytes())(OmegaConf.create({"dataset": {"path": str(file)}}))
    assert not caplog.records[-1].exc_info
    with pytest.raises(FileNotFoundError):
        one_line_errors(lambda config: file.read_bytes())(OmegaConf.create({"dataset": {"path": "elsewhere"}}))
    assert caplog.records[-1].exc_info


def test_a_mistake_of_the_user_is_told_by_its_class(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit):
        one_line_errors(lambda config: GlobalTime(valid=2))(OmegaConf.create())
    assert not caplog.records[0].exc_info


@pytest.mark.parametrize(
    "bug",
    [lambda _: closure({"a": 1}, ["a"]), lambda _: list(group_ends("x")), lambda _: launch.last_line(None)],
    ids=["closure", "group_ends", "last_line"],
)
def test_a_bug_in_a_file_of_the_package_keeps_its_traceback(
    bug: Callable[[DictConfig], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises((TypeError, AttributeError)):
        one_line_errors(bug)(OmegaConf.create())
    assert caplog.records[0].exc_info


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """What Hydra knows of the second job of a sweep."""
    task = OmegaConf.create(["method=plain", "loss.gamma=0.1"])
    sources = [
        SimpleNamespace(provider="main", path=f"file://{CONF}"),
        SimpleNamespace(provider="command-line", path="file:///my/conf"),
    ]
    known = SimpleNamespace(
        mode=RunMode.MULTIRUN,
        overrides=SimpleNamespace(hydra=[*OF_SWEEPS, "hydra.verbose=true"], task=task),
        sweep=SimpleNamespace(dir="outputs/sweeps/today"),
        runtime=SimpleNamespace(config_sources=sources, output_dir=str(tmp_path), cwd=str(tmp_path)),
        job=SimpleNamespace(num=1),
    )
    monkeypatch.setattr(launch.HydraConfig, "get", lambda: known)
    monkeypatch.setattr(launch.HydraConfig, "initialized", lambda: True)
    return known


def called(monkeypatch: pytest.MonkeyPatch, code: int) -> list[list[str]]:
    """The commands that would have been run; each ends with the given exit code."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(launch.subprocess, "run", run)
    return commands


def test_a_single_run_stays_in_this_process(hydra: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = called(monkeypatch, 0)
    hydra.mode = RunMode.RUN
    assert not in_own_process(OmegaConf.create(), ("train.py",))
    assert not commands


def test_a_job_gets_its_own_overrides_and_folder(
    hydra: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = called(monkeypatch, 0)
    monkeypatch.setattr(sys, "argv", ["worker.py"])  # of submitit or Ray, not of the command
    assert in_own_process(OmegaConf.create(), ("train.py",))
    assert commands == [
        [
            sys.executable,
            "train.py",
            "--config-dir=/my/conf",
            "method=plain",
            "loss.gamma=0.1",
            "hydra.verbose=true",
            "hydra.mode=RUN",
            "sweep='today'",
            f"hydra.run.dir='{tmp_path}'",
        ]
    ]


@pytest.mark.usefixtures("hydra")
def test_a_job_has_the_directory_of_the_command_and_is_no_task_of_slurm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lightning takes a process in a Slurm task for a rank that the scheduler started, unless its job is interactive."""
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    settings: dict[str, Any] = {}

    def run(command: list[str], **keywords: Any) -> subprocess.CompletedProcess[str]:
        settings.update(keywords)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(launch.subprocess, "run", run)
    assert in_own_process(OmegaConf.create(), ("train.py",))
    assert settings["cwd"] == str(tmp_path)
    assert settings["env"] == {**os.environ, "SLURM_JOB_NAME": "interactive", "SAGE_PL_WORKER": str(os.getpid())}


@pytest.mark.parametrize(
    ("launcher", "accelerator", "overrides", "visible", "sees"),
    [
        ("joblib", "gpu", [], "4, 5,6", "5"),
        ("submitit_local", "auto", [], "4,5,6", "5"),
        ("joblib", "auto", ["item_encoder.init=${artifacts.reduce}"], "4,5", "5"),  # which nothing has made yet
        ("joblib", "auto", [], "4", "4"),
        ("joblib", "gpu", ["trainer.devices=2"], "4,5", "4,5"),
        ("joblib", "cpu", [], "4,5", "4,5"),
        ("ray", "gpu", [], "4,5", "4,5"),
        ("submitit_slurm", "gpu", [], "4,5", "4,5"),
        ("basic", "gpu", [], "4,5", "4,5"),
        ("joblib", "auto", [], "", ""),
    ],
)
def test_jobs_side_by_side_see_one_gpu_each(
    hydra: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    accelerator: str,
    overrides: list[str],
    visible: str,
    sees: str,
) -> None:
    """Job 1 sees the second one; what a launcher or the user has chosen stays."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    hydra.runtime.choices = {"hydra/launcher": launcher}
    hydra.overrides.task += overrides
    seen: list[str] = []

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(env["CUDA_VISIBLE_DEVICES"])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(launch.subprocess, "run", run)
    assert in_own_process(OmegaConf.create({"trainer": {"accelerator": accelerator, "devices": 1}}), ("train.py",))
    assert seen == [sees]


def test_a_machine_without_the_directory_of_the_command_is_named(
    hydra: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = called(monkeypatch, 0)
    hydra.runtime.cwd = "/home/of/another/machine"
    with pytest.raises(JobError, match=r"was sent to .*, which has no /home/of/another/machine; .* one file system"):
        in_own_process(OmegaConf.create(), ("train.py",))
    assert not commands


@pytest.mark.parametrize(
    ("written", "words", "code", "shown"),
    [
        ("12:00:01 epoch 3\n12:00:02 no space left\n\n", "12:00:02 no space left", 3, "3"),
        (None, "it logged nothing", -signal.SIGBUS, "-7 (SIGBUS, a mapped file was cut or its disk failed)"),
    ],
    ids=["log", "no log"],
)
def test_a_failed_job_is_named_with_its_log_and_last_words(
    hydra: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    written: str | None,
    words: str,
    code: int,
    shown: str,
) -> None:
    called(monkeypatch, code)
    if written is not None:
        (tmp_path / "train.log").write_text(written)
    with pytest.raises(JobError) as error:
        in_own_process(OmegaConf.create(), ("train.py",))
    assert str(error.value) == (
        f"job 1 (method=plain loss.gamma=0.1) ended with exit code {shown}: {words}; its log is {tmp_path / 'train.log'}"
    )


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)


@pytest.mark.parametrize(
    "text", ["it's", "a\\b", "a\\", "a\\'b", "a\\\\", "x\ny", "[/b] {a: 1}", "${x}", "=1", "\udcff", ""]
)
def test_a_quoted_text_is_read_by_hydra_as_it_is(text: str) -> None:
    value = OverridesParser.create().parse_override(f"key={launch.quoted(text)}").value()
    assert value == text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_logs_one_line_per_record(command: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        logging_of_jobs = compose(command, return_hydra_config=True).hydra.job_logging
    assert logging_of_jobs.formatters.simple["class"] == "sage_pl.escaping.LogFormatter"
