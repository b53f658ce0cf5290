"""What a run needs of this machine and what would fail after hours of preparation, found before it begins."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from sage_pl.data.sources.raw import require_file
from sage_pl.errors import MissingFileError, SettingError, UserError
from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.construct import construct
from sage_pl.runs.plan import Plan, resolve_with_placeholders
from sage_pl.runs.sharded import shard_problems
from sage_pl.runs.trainers import end_problems
from sage_pl.training.schedules import NO_END

_FILES = ("path", "adapter")  # keys of steps that name files
_PLACEHOLDER = re.compile(r"<[\w.:]+>")


class Problem(NamedTuple):
    """A sentence, and the dotted paths of the parts that it follows from; none where these are unknown."""

    text: str
    parts: tuple[str, ...] = ()


def check(plan: Plan) -> None:
    """Refuse a run that could not be trained on this machine; nothing is prepared.

    Raises:
        ConfigError: with a sentence for each problem.
    """
    problems = [*_steps(plan), *_trained(plan.config)]
    for stage in plan.stages.values():
        problems += [Problem(problem.text) for problem in _trained(stage.config)]
    _refuse(problems)


def check_steps(plan: Plan) -> None:
    """Refuse to prepare what lacks a package or a file.

    Raises:
        ConfigError: with a sentence for each problem.
    """
    _refuse(_steps(plan))


def check_trainer(config: DictConfig) -> None:
    """Build a plan's trainer and callbacks for nothing, so that what they refuse is said before preparation.

    Raises:
        ConfigError: they cannot be built, or their run would end without a best epoch.
    """
    _refuse(_trainer(config))


@contextmanager
def and_missing_data(recipe: Mapping[str, Any]) -> Iterator[None]:
    """Within it, an error about a recipe names the absent files of its data set too.

    Raises:
        ConfigError: that error.
    """
    try:
        yield
    except ConfigError as error:
        absent = list(_absent("steps.sequences.source", _source_of(recipe)))
        checks.refuse([*error.problems, *(one.text for one in absent)], [*error.causes, *(one.parts for one in absent)])


def _refuse(problems: Iterator[Problem] | list[Problem]) -> None:
    every = list(problems)
    checks.refuse((one.text for one in every), (one.parts for one in every if one.parts))


def _trained(config: DictConfig) -> Iterator[Problem]:
    """Problems of what a run or a stage trains, and by what."""
    model = resolve_with_placeholders(config, ["model"])["model"]
    yield from _trainer(config)
    yield from _parts(model)
    yield from (Problem(line, ("model",)) for line in shard_problems(model, _plain(config.callbacks)))


def _trainer(config: DictConfig) -> Iterator[Problem]:
    trainer, callbacks = (_plain(config[name]) for name in ("trainer", "callbacks"))
    if lines := end_problems(trainer, callbacks):
        yield from (Problem(line, parts) for line, parts in lines.items())
        return
    schedule = config.get("schedule")
    endless = trainer.get("max_epochs") == -1 and (trainer.get("max_steps") or -1) == -1
    if schedule and endless and construct("schedule", _plain(schedule)).needs_end:
        yield Problem(NO_END, ("trainer", "schedule"))
        return
    try:
        built = [construct(f"callbacks.{name}", node) for name, node in callbacks.items()]
        construct("trainer", trainer, callbacks=built, logger=False)
    except InstantiationException as error:
        alone = _fails_alone(trainer)
        yield Problem(f"the trainer cannot be built: {error.__cause__ or error}", ("trainer",) if alone else ())


def _fails_alone(trainer: Any) -> bool:
    """Whether a trainer cannot be built without callbacks either."""
    try:
        construct("trainer", trainer, logger=False)
    except InstantiationException:
        return True
    return False


def _plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=True)


def _steps(plan: Plan) -> Iterator[Problem]:
    """Packages and files that the steps of a plan lack."""
    plain = resolve_with_placeholders(plan.config, ["steps"])
    for name, node in plain["steps"].items():
        if name not in plan.steps:
            continue
        path = f"steps.{name}"
        step = construct(path, node)
        yield from _packages(path, step)
        yield from _absent(f"{path}.source", getattr(step, "source", None))
        yield from _absent(path, step) if hasattr(step, "files") else _absent_values(path, node)


def _packages(path: str, step: Any) -> Iterator[Problem]:
    """Steps name the distributions they use."""
    for package in step.libraries:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            text = f"{path} needs the package {package}, which is not installed; run: pip install {package}"
            yield Problem(text, (path,))


def _absent(path: str, part: Any) -> Iterator[Problem]:
    """Absent files of a part that names its files."""
    if not hasattr(part, "files"):
        return
    try:
        files = part.files().values()
    except MissingFileError as error:  # the package that holds them
        yield Problem(str(error), (path,))
        return
    for file in files:
        try:
            require_file(*file)
        except MissingFileError as error:
            yield Problem(str(error), (path,))


def _absent_values(path: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    for key in _FILES:
        value = node.get(key)
        if isinstance(value, str) and not _PLACEHOLDER.search(value) and not Path(value).exists():
            yield Problem(f"{path}.{key} is {value}, and no file or folder is there; set {path}.{key}=FILE", (path,))


def _source_of(recipe: Mapping[str, Any]) -> Any:
    """The data source of a recipe; None where it cannot be built, which another problem says."""
    try:
        node = resolve_with_placeholders(OmegaConf.create(dict(recipe)), ["dataset"])["dataset"]["source"]
        return None if _PLACEHOLDER.search(str(node)) else construct("dataset.source", node)
    except (UserError, InstantiationException, LookupError, TypeError):
        return None


def _parts(model: Any, path: str = "model") -> Iterator[Problem]:
    """Build each part that reads no artifact, without memory for its weights, so that widths which do not fit are found.

    A part that needs more than artifacts says so itself: ``libraries`` as steps have, and ``problem(settings)``, a sentence.
    """
    for name, node in checks.nodes(model, path):
        part = checks.part_called(node["_target_"])
        if missing := [*_packages(name, part)] if hasattr(part, "libraries") else []:
            yield from missing
        elif (ask := getattr(part, "problem", None)) and (text := ask(node)):
            yield Problem(f"{name}: {text}", (name,))
        if _PLACEHOLDER.search(str(node)) or node.get("_partial_"):
            continue
        try:
            with torch.device("meta"):
                construct(name, node)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - Hydra wraps what a part raises
            cause = error.__cause__ or error
            if isinstance(cause, SettingError):
                yield Problem(f"{name}: {cause}", (name,))
