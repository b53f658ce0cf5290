"""The doors of the commands."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
from hydra.errors import CompactHydraException, ConfigCompositionException, OverrideParseException
from omegaconf import OmegaConf

from sage_pl.commands import door
from sage_pl.runs import launch
from sage_pl.runs.checks import ConfigError


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch):
    """``ending(job)``: the command does this in place of composing and running."""

    def end(job) -> None:
        monkeypatch.setattr(sys, "argv", ["train.py", "loss.gama=1"])
        monkeypatch.setattr(door.hydra, "main", lambda **_: lambda run: job)

    return end


def exits(error: Exception | None, code: int | None = 1):
    """What Hydra does after an error: it exits while it handles it."""

    def job() -> None:
        try:
            if error is not None:
                raise error
        except Exception:  # noqa: BLE001 - as Hydra does
            sys.exit(code)
        sys.exit(code)

    return job


@pytest.mark.parametrize(
    ("error", "code", "hinted"),
    [
        (ConfigCompositionException("no key"), 1, True),
        (OverrideParseException("x", "no override"), 1, True),
        (CompactHydraException("the disk is full"), 1, False),
        (RuntimeError("a bug"), 1, False),
        (None, 1, False),
        (None, 0, False),
        (None, None, False),
    ],
)
def test_hints_are_given_only_where_composing_failed(
    ending, capsys: pytest.CaptureFixture[str], error: Exception | None, code: int | None, hinted: bool
) -> None:
    ending(exits(error, code))
    with pytest.raises(SystemExit) as stop:
        door.open_door("train")
    assert stop.value.code == code
    assert ("did you mean loss.gamma" in capsys.readouterr().err) is hinted


def test_a_job_that_ran_and_logged_its_error_gets_no_hints(ending, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(config: object) -> None:
        raise ConfigError("wrong")

    ending(lambda: launch.one_line_errors(wrong)(OmegaConf.create()))
    with pytest.raises(SystemExit):
        door.open_door("train")
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("command", door.COMMANDS)
def test_every_command_has_a_configuration_and_a_function(command: str) -> None:
    import importlib

    module, _, function = door.COMMANDS[command].partition(".")
    assert (door.config_dir() / f"{command}.yaml").is_file()
    assert callable(getattr(importlib.import_module(f"sage_pl.commands.{module}"), function))


def test_a_job_carries_its_program_into_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker of submitit or Ray unpickles the job and has a program of its own in ``sys.argv``."""
    cloudpickle = pytest.importorskip("cloudpickle")
    programs = []
    monkeypatch.setattr(launch, "in_own_process", lambda config, program: programs.append(program) or True)
    carried = cloudpickle.dumps(door.job("train", ("/repo/train.py",)))
    monkeypatch.setattr(sys, "argv", ["worker.py"])
    pickle.loads(carried)(OmegaConf.create({"sweep": None}))  # noqa: S301 - made above
    assert programs == [("/repo/train.py",)]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("trian", "there is no command 'trian'; try: sage-pl train"),
        ("export_handle", "there is no command 'export_handle'; try: sage-pl export-handled"),
        ("zzz", "there is no command 'zzz'; try: sage-pl --help"),
    ],
)
def test_an_unknown_command_is_one_line(word: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sage-pl", word])
    with pytest.raises(SystemExit) as stop:
        door.main()
    assert stop.value.code == answer


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]], ids=str)
def test_help_lists_every_command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sage-pl", *arguments])
    door.main()
    words = capsys.readouterr().out
    assert all(command.replace("_", "-") in words for command in door.COMMANDS)


@pytest.mark.parametrize("command", door.COMMANDS)
def test_a_job_is_named_after_its_command_whichever_door_opens_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = ["--cfg", "hydra", "--package", "hydra.job.name"]
    for word in (command, command.replace("_", "-")):
        monkeypatch.setattr(sys, "argv", ["sage-pl", word, *show])
        door.main()
        assert capsys.readouterr().out.strip() == command
    monkeypatch.setattr(sys, "argv", ["script.py", *show])
    door.open_door(command, "script.py")
    assert capsys.readouterr().out.strip() == command


def test_an_argument_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "dataset.name=x\udcff"])
    with pytest.raises(
        SystemExit, match=r"^the argument dataset.name=x\\udcff is not UTF-8; write it in UTF-8, or rename"
    ):
        door.open_door("train")


def test_a_command_with_options_says_what_to_install_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for command in ("serve", "explore"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "fastapi", None)
            with pytest.raises(SystemExit, match=r'needs the package fastapi: pip install "sage-pl\[serve\]"'):
                door.open_program(command, [str(tmp_path)])
    with pytest.raises(SystemExit, match=r"has no checkpoints/best\.ckpt; name the folder of a finished run"):
        door.open_program("explore", [str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        door.open_program("serve", [str(tmp_path), "--port", "70000"])
    assert stop.value.code == 2
