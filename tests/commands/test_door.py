"""The doors of the commands."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sage_pl.commands import door
from sage_pl.runs import launch


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


def test_the_door_and_the_sweepers_load_no_heavy_library() -> None:
    """Every command looks for Hydra's plugins before it answers, ``--help`` too."""
    heavy = ("torch", "pytorch_lightning", "polars", "scipy")
    code = f"import sys, sage_pl.commands.door, hydra_plugins.sage_pl_sweepers; print(*set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == []


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
