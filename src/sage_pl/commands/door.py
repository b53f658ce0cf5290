"""The doors of the commands: what ``train.py``, ``scripts/*.py`` and ``sage-pl COMMAND`` open."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig

from sage_pl import hardware
from sage_pl.commands.importing import command_module
from sage_pl.errors import UserError, machine_problem
from sage_pl.escaping import visible
from sage_pl.runs import launch
from sage_pl.runs.hints import hints

COMMANDS = {  # command -> the function that runs it; imported late, so that --help answers at once
    "train": "train.train",
    "prepare": "prepare.prepare",
    "evaluate": "evaluate.evaluate",
    "compare": "compare.compare",
    "recommend": "recommend.recommend",
    "export": "export.export",
    "export_handled": "prepare.export_handled",
    "report": "report.report",
    "data": "data.data",
}
PROGRAMS = {  # those that take options in place of a configuration
    "serve": "serve.serve",
    "explore": "explore.explore",
    "wandb_report": "wandb_report.wandb_report",
}
USAGE = f"""\
usage: sage-pl COMMAND [group=choice] [key=value]
       sage-pl serve|explore FOLDER [--option value]
       sage-pl wandb-report ENTITY/PROJECT [--option value]
commands: {", ".join([*COMMANDS, *PROGRAMS]).replace("_", "-")}
`sage-pl COMMAND --help` lists what a command takes."""


def config_dir() -> Path:
    """``conf/`` beside ``src/`` in a clone, else the copy that the wheel holds."""
    package = Path(__file__).resolve().parent.parent
    clone = package.parent.parent / "conf"
    return clone if (clone / "train.yaml").is_file() else package / "conf"


def job(command: str, program: tuple[str, ...]) -> Callable[[DictConfig], None]:
    """What a command does with its composed configuration.

    Args:
        command: a key of :data:`COMMANDS`.
        program: see :func:`sage_pl.runs.launch.in_own_process`.
    """
    module, _, function = COMMANDS[command].partition(".")

    def run(config: DictConfig) -> None:
        if "sweep" not in config or not launch.in_own_process(config, program):
            launch.end_with_worker()
            getattr(command_module(f"sage_pl.commands.{module}"), function)(config)

    run.__module__ = command  # Hydra names a job after it: hydra.job.name
    return launch.one_line_errors(run)


def without_group(argument: str, conf: Path) -> str:
    """``GROUP=null``, which Hydra cannot read, as the group's choice ``none`` if it has one, else as ``~GROUP``.

    Args:
        argument: of the command line; every other one stays as it is.
        conf: the configuration's folder.
    """
    group, _, choice = argument.partition("=")
    if choice != "null" or not group or not (conf / group).is_dir():
        return argument
    return f"{group}=none" if (conf / group / "none.yaml").is_file() else f"~{group}"


def named(arguments: Sequence[str]) -> list[str]:
    """The arguments of ``data``, whose first may be a bare name, as overrides.

    >>> named(["beauty", "--yes", "paths.data=DIR"])
    ['download=beauty', 'accept=true', 'paths.data=DIR']
    """
    first, *others = list(arguments) or ["download=null"]
    if "=" not in first and not first.startswith("-"):
        first = f"download={first}"
    return ["accept=true" if argument == "--yes" else argument for argument in (first, *others)]


def open_door(command: str, script: str | None = None) -> None:
    """Run a command with the arguments of the command line.

    Where its configuration cannot be composed, each mistyped choice or key is answered with the one that was probably meant.

    Args:
        command: a key of :data:`COMMANDS`.
        script: the file that opens the door; None for ``python -m sage_pl COMMAND``.
    """
    for argument in sys.argv[1:]:
        if any("\ud800" <= character <= "\udfff" for character in argument):  # no file of a run could hold it
            sys.exit(
                f"the argument {visible(argument)} is not UTF-8; write it in UTF-8, or rename the file that it names"
            )
    hardware.wait_asleep()
    program = ("-m", "sage_pl", command) if script is None else (str(Path(script).resolve()),)
    conf = config_dir()
    arguments = named(sys.argv[1:]) if command == "data" else sys.argv[1:]
    sys.argv[1:] = [without_group(argument, conf) for argument in arguments]
    explain = partial(hints, sys.argv[1:], conf, command)
    with launch.errors_in_words(explain):
        hydra.main(version_base="1.3", config_path=str(conf), config_name=command)(job(command, program))()


def open_program(name: str, arguments: Sequence[str]) -> None:
    """Run a command that takes options; an error of the user, or of the machine, is one line.

    Args:
        name: a key of :data:`PROGRAMS`.
        arguments: of the command line.
    """
    hardware.wait_asleep()
    module, _, function = PROGRAMS[name].partition(".")
    try:
        getattr(command_module(f"sage_pl.commands.{module}"), function)(arguments)
    except (UserError, OSError) as error:
        problem = None if isinstance(error, UserError) else machine_problem(error)
        if problem is None and not isinstance(error, UserError):
            raise
        sys.exit(visible(problem or str(error)))


def main() -> None:
    """``sage-pl COMMAND [group=choice] [key=value]``."""
    command, *arguments = sys.argv[1:] or ["--help"]
    name = command.replace("-", "_")
    if command in ("-h", "--help"):
        print(USAGE)
    elif name in COMMANDS:
        sys.argv = [f"{sys.argv[0]} {command}", *arguments]
        open_door(name)
    elif name in PROGRAMS:
        open_program(name, arguments)
    else:
        close = difflib.get_close_matches(name, [*COMMANDS, *PROGRAMS], n=1) or ["--help"]
        sys.exit(f"there is no command {command!r}; try: sage-pl {close[0].replace('_', '-')}")
