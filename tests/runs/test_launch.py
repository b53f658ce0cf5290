"""What a command answers to mistakes, and how a job of a sweep is started."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.store import ArtifactError
from sage_pl.data.split import GlobalTime
from sage_pl.runs import launch
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.launch import JobError, in_own_process, one_line_errors

CONF = Path(__file__).parents[2] / "conf"


def failing(error: BaseException) -> Callable[[DictConfig], None]:
    def job(config: DictConfig) -> None:
        raise error

    return one_line_errors(job)


def foreign() -> None:
    raise ValueError("of somebody else")


def ours() -> None:
    GlobalTime(valid=2)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["loss.gama=1"], ["loss.gama: no such key; did you mean loss.gamma"]),
        (["backbon=sasrec"], ["backbon: no such key; did you mean backbone"]),
        (["dataset=csv", "dataset.seperator=;"], ["dataset.seperator: no such key; did you mean dataset.separator"]),
        (["gamma=1", "trainer.max_epoch=3"], ["gamma: no such key; did you mean", "trainer.max_epoch: no such key"]),
        (["+loss.gama=1"], ["loss.gama: no such key; did you mean loss.gamma"]),
        (["dataset=csv", "dataset.separator=;", "loss.gamma=1", "backbone=gru4rec"], []),
        (["-m", "--cfg=job", "backbone=gru4rec,sasrec"], []),
        (["zzzzzz=1"], []),
        (["+loss/term@loss.terms.x=alignment"], []),
        (["hydra.mode=RUN", "hydra.run.dir=x"], []),
        (["without=prototype"], ["without=prototype: no such choice; did you mean without=sage/prototype?"]),
        (
            ["without=freeze"],
            ["without=freeze: no such choice; did you mean without=llm_esr/freeze or without=llmemb/fr"],
        ),
        (["dataset=beuty", "loss.gama=1"], []),  # Hydra's message lists the data sets
    ],
    ids=" ".join,
)
def test_hints_name_the_key_that_was_probably_meant(arguments: list[str], lines: list[str]) -> None:
    found = launch._hints(arguments, CONF, "train")
    assert len(found) == len(lines)
    for got, wanted in zip(found, lines, strict=True):
        assert got.startswith(wanted)


@pytest.mark.parametrize(("code", "hinted"), [(1, True), (0, False), (None, False)])
def test_a_command_that_could_not_be_composed_ends_with_hints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int | None, hinted: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "loss.gama=1"])
    monkeypatch.setattr(launch.HydraConfig, "initialized", lambda: False)

    def job() -> None:
        sys.exit(code)

    with pytest.raises(SystemExit) as stop:
        launch.run(job, CONF, "train")
    assert stop.value.code == code
    assert ("did you mean loss.gamma" in capsys.readouterr().err) is hinted


def test_a_command_that_ran_gets_no_hints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "loss.gama=1"])
    monkeypatch.setattr(launch.HydraConfig, "initialized", lambda: True)
    with pytest.raises(SystemExit):
        launch.run(lambda: sys.exit(1), CONF, "train")
    assert not capsys.readouterr().err


def test_a_job_that_ran_and_told_its_error_gets_no_hints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "loss.gama=1"])
    monkeypatch.setattr(launch.HydraConfig, "initialized", lambda: False)
    with pytest.raises(SystemExit):
        launch.run(lambda: failing(ConfigError("wrong"))(OmegaConf.create()), CONF, "train")
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [ConfigError("please set x=..."), ArtifactError("damaged"), FileNotFoundError("no file a.parquet")],
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


@pytest.mark.parametrize(("raiser", "answer"), [(ours, True), (foreign, False)], ids=["package", "elsewhere"])
def test_a_value_error_is_ours_if_the_package_raised_it(raiser: Callable[[], None], answer: bool) -> None:
    with pytest.raises(ValueError, match=r"of somebody else|split\.valid") as caught:
        raiser()
    assert launch._ours(caught.value) is answer


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """What Hydra knows of the second job of a sweep."""
    task = ["method=plain", "loss.gamma=0.1"]
    sources = [
        SimpleNamespace(provider="main", path=f"file://{CONF}"),
        SimpleNamespace(provider="command-line", path="file:///my/conf"),
    ]
    known = SimpleNamespace(
        mode=RunMode.MULTIRUN,
        overrides=SimpleNamespace(hydra=["hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "hydra.verbose=true"], task=task),
        sweep=SimpleNamespace(dir="outputs/sweeps/today"),
        runtime=SimpleNamespace(config_sources=sources, output_dir=str(tmp_path)),
        job=SimpleNamespace(num=1),
    )
    monkeypatch.setattr(launch.HydraConfig, "get", lambda: known)
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
    assert not in_own_process(OmegaConf.create())
    assert not commands


def test_a_job_gets_its_own_overrides_and_folder(
    hydra: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = called(monkeypatch, 0)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "method=plain,sage"])
    assert in_own_process(OmegaConf.create())
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


@pytest.mark.parametrize(
    ("written", "words"),
    [("12:00:01 epoch 3\n12:00:02 no space left\n\n", "12:00:02 no space left"), (None, "it logged nothing")],
    ids=["log", "no log"],
)
def test_a_failed_job_is_named_with_its_log_and_last_words(
    hydra: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str | None, words: str
) -> None:
    called(monkeypatch, 3)
    if written is not None:
        (tmp_path / "train.log").write_text(written)
    with pytest.raises(JobError) as error:
        in_own_process(OmegaConf.create())
    assert str(error.value) == (
        f"job 1 (method=plain loss.gamma=0.1) ended with exit code 3: {words}; its log is {tmp_path / 'train.log'}"
    )


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
