"""What a run needs of this machine and what would fail after hours of preparation, found before it begins."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from sage_pl.errors import SettingError
from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.construct import construct
from sage_pl.runs.numbers import trainer_problems
from sage_pl.runs.plan import Plan, resolve_with_placeholders

_FILES = ("path", "adapter")  # keys of steps that name files
_PLACEHOLDER = re.compile(r"<[\w.:]+>")


def check(plan: Plan) -> None:
    """Refuse a run that could not be trained on this machine; nothing is prepared.

    Raises:
        ConfigError: with a sentence for each problem.
    """
    for each in (plan, *plan.stages.values()):
        check_trainer(each.config)
    plain = resolve_with_placeholders(plan.config, ["steps", "model"])
    steps = {name: node for name, node in plain["steps"].items() if name in plan.steps}
    problems = [*_packages(steps), *_files(steps), *_parts(plain["model"])]
    for stage in plan.stages.values():
        problems += _parts(resolve_with_placeholders(stage.config, ["model"])["model"])
    checks.refuse(problems)


def check_trainer(config: DictConfig) -> None:
    """Build a plan's trainer and callbacks for nothing, so that what they refuse is said before preparation.

    Raises:
        ConfigError: they cannot be built, or their run would end without a best epoch.
    """
    plain: Any = {name: OmegaConf.to_container(config[name], resolve=True) for name in ("trainer", "callbacks")}
    checks.refuse(trainer_problems(plain["trainer"], plain["callbacks"]))
    try:
        callbacks = [construct(f"callbacks.{name}", node) for name, node in plain["callbacks"].items()]
        construct("trainer", plain["trainer"], callbacks=callbacks, logger=False)
    except InstantiationException as error:
        raise ConfigError(f"the trainer cannot be built: {error.__cause__ or error}") from error


def _packages(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Steps name the distributions they use."""
    for name, node in steps.items():
        step = construct(f"steps.{name}", node)
        for package in step.libraries:
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                yield f"steps.{name} needs the package {package}, which is not installed; run: pip install {package}"


def _files(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, node in steps.items():
        for key in _FILES:
            value = node.get(key)
            if isinstance(value, str) and not _PLACEHOLDER.search(value) and not Path(value).exists():
                yield f"steps.{name}.{key} is {value}, and no file or folder is there; set steps.{name}.{key}=FILE"


def _parts(model: Any, path: str = "model") -> Iterator[str]:
    """Build each part that reads no artifact, without memory for its weights, so that widths which do not fit are found."""
    for name, node in checks.nodes(model, path):
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
                yield f"{name}: {cause}"
