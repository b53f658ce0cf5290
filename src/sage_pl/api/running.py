"""A command in this process: composed, run and recorded as from the command line, with errors as exceptions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sage_pl.commands.door import COMMANDS, config_dir, without_group
from sage_pl.commands.importing import command_module
from sage_pl.escaping import LogFormatter
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.hints import hints, of_composing
from sage_pl.runs.launch import Stopped, quoted

_ONE_AT_A_TIME = threading.RLock()


class Done(NamedTuple):
    """What a command returned, and its output folder."""

    result: Any
    folder: Path


def run_command(command: str, settings: Mapping[str, Any]) -> Done:
    """Run a command of :data:`sage_pl.commands.door.COMMANDS` with these settings.

    Its folder, with ``.hydra/`` and the log, is that which the command line makes.

    Args:
        command: such as ``train``.
        settings: choices of groups and values by dotted key; a key may begin with ``+`` or ``~`` as on the command line.

    Raises:
        ConfigError: the settings cannot be composed, or the folder is in use.
        KeyboardInterrupt: the command was interrupted.
        UserError: of the command.
    """
    arguments = arguments_of(settings)
    module, _, function = COMMANDS[command].partition(".")

    def task(config: DictConfig) -> Any:
        with _logged(Path(HydraConfig.get().runtime.output_dir) / f"{command}.log"):
            try:
                return getattr(command_module(f"sage_pl.commands.{module}"), function)(config)
            except Exception as error:  # noqa: BLE001 - raised below; Hydra would print the overrides first
                return error

    with composing(arguments, command), initialize_config_dir(str(config_dir()), job_name=command, version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        done = hydra.run(command, task, list(arguments), with_log_configuration=False)
    if isinstance(done.return_value, Exception):
        raise done.return_value
    folder: Any = done.hydra_cfg
    return Done(done.return_value, Path(folder.hydra.runtime.output_dir))


def arguments_of(settings: Mapping[str, Any]) -> list[str]:
    """The command line of these settings."""
    conf = config_dir()
    lines = (
        key if key.startswith("~") and value is None else f"{key}={_text(value)}" for key, value in settings.items()
    )
    return [without_group(line, conf) for line in lines]


@contextmanager
def composing(arguments: Sequence[str], command: str) -> Iterator[None]:
    """Within it, what ends a command on a terminal is an exception, and Hydra is this call's alone.

    Hydra's state belongs to the process: a call from another thread waits, and that of a program around it is put back.

    Raises:
        ConfigError: the arguments cannot be composed, with the keys that were probably meant; or the folder is in use.
        KeyboardInterrupt: the command was interrupted.
    """
    with _ONE_AT_A_TIME:
        outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        try:
            yield
        except Stopped as error:  # of the folder
            raise ConfigError(str(error)) from None
        except SystemExit as error:
            if error.code != 130:
                raise
            raise KeyboardInterrupt from None
        except Exception as error:
            if not of_composing(error):
                raise
            lines = hints(list(arguments), config_dir(), command, error)
            raise ConfigError(*(lines or [" ".join(str(error).split())])) from error
        finally:
            GlobalHydra.instance().hydra = outer


def _text(value: Any) -> str:
    r"""A value of Python in Hydra's grammar.

    >>> print(_text({"ks": [5, 10], "name": "it's", "on": True, "none": None}))
    {ks:[5,10],name:'it\'s',on:true,none:null}
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "{" + ",".join(f"{key}:{_text(one)}" for key, one in value.items()) + "}"
        case list() | tuple():
            return f"[{','.join(map(_text, value))}]"
        case str() | Path():
            return quoted(str(value))
        case Number():
            return str(value)
        case _ if hasattr(value, "tolist"):  # an array, or a number of one
            return _text(value.tolist())
        case _:
            raise ConfigError(
                f"a setting is {value!r}, a {type(value).__name__}; wanted a number, a text, True, False, None, or lists and "
                "mappings of these"
            )


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Within it, the project's log is written to a file; without handlers of the user's, warnings go to stderr as ever."""
    root, own = logging.getLogger(), logging.getLogger("sage_pl")
    handlers: list[logging.Handler] = [logging.FileHandler(file)]
    if not root.handlers:
        handlers.append(logging.StreamHandler())
        handlers[-1].setLevel(logging.WARNING)
    level = own.level
    own.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(LogFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(handler)
    try:
        yield
    finally:
        own.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
