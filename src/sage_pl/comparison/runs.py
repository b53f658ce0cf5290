"""Folders of finished runs: found by pattern, read, and checked to be of one experiment.

A finished run holds ``config.yaml``, ``metrics.json`` and ``ranks.parquet``. The choices that name it (``method=sage
backbone=sasrec``) are the key ``choices`` of its ``config.yaml``, or in older runs in ``.hydra/hydra.yaml``.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sage_pl.artifacts.identity import decisive
from sage_pl.artifacts.renamed import current
from sage_pl.errors import SettingError

FILES = ("config.yaml", "metrics.json", "ranks.parquet")
_SIGNS = ("train.log", "metrics.json", "ranks.parquet")  # any of these makes a folder a run, finished or not
_LAYOUT = (
    r"/(?:\d+_{dataset}_)?(?P<method>[^/]+)-(?P<backbone>[^/-]+)-seed\d+(?:/|$)"  # conf/train.yaml, hydra.run and sweep
)
_JOB = re.compile(r"\bjob \d+ \(.*\) (ended with exit code .*); its log is ")
_LONGEST = 200  # characters of a log line that are shown


class RunError(SettingError):
    """Runs that cannot be compared; the message says why."""


class Unfinished(NamedTuple):
    """A run that cannot be used, and why."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.folder} {self.reason}"


@dataclass(frozen=True)
class FinishedRun:
    """What is known of a run without its ranks."""

    folder: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def dataset(self) -> str:
        return str(_at(self.config, "dataset.name") or self.choices.get("dataset") or self.artifact("sequences").name)

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def sizes(self) -> tuple[int, int]:
        """Users and items; 0 where they are not recorded."""
        users, items = (_at(self.config, f"catalog.{name}") for name in ("n_users", "n_items"))
        return (users, items) if isinstance(users, int) and isinstance(items, int) else (0, 0)

    def artifact(self, name: str) -> Path:
        """Folder of an artifact; its last component is the key."""
        return Path(str(_at(self.config, f"artifacts.{name}")))

    def named(self, key: str) -> str:
        """What ``key`` is in this run: a choice (``method``), else a configuration value (``optimizer.lr``).

        Raises:
            RunError: the run has neither.
        """
        if key in self.choices:
            return str(self.choices[key])
        value = _at(self.config, key)
        if value is None or isinstance(value, Mapping):
            raise RunError(
                f"{self.folder} has no {key!r} to name it by; by takes groups (method, backbone, ...) and "
                "configuration keys that all runs have, such as optimizer.lr"
            )
        return str(value)

    def setting(self) -> dict[str, str]:
        """What must be equal for ranks of two runs to be comparable."""
        evaluation: Any = self.config.get("evaluation", {})
        keys = {f"artifacts.{name}": self.artifact(name).name for name in ("sequences", "candidates")}
        seen = _at(self.config, "data.seen") or evaluation.get("seen")
        return {
            **keys,
            "evaluation.seen": str(seen),
            **_flat({key: evaluation.get(key) for key in ("sampled", "seed", "groups")}, "evaluation"),
        }

    def recipe(self) -> dict[str, str]:
        """The settings that decide the result beside the seed; artifacts by their keys, other folders by their names."""
        return {
            key: Path(value).name if isinstance(value, str) else str(value)
            for key, value in decisive(current(self.config)).items()
            if value is not None and key.rpartition(".")[2] != "seed"
        }


def find(patterns: str | Sequence[str]) -> tuple[list[FinishedRun], list[Unfinished]]:
    """Finished runs below the patterns, oldest first, and those that cannot be used: failed, interrupted or damaged.

    Preceding runs kept as artifacts (``manifest.json``) are passed over.

    Raises:
        RunError: nothing matches.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    matches = {Path(match) for pattern in wanted for match in glob.glob(pattern, recursive=True)}
    folders = sorted(match for match in matches if any((match / sign).is_file() for sign in _SIGNS))
    runs, problems = [], []
    for folder in folders:
        if (folder / "manifest.json").exists():
            continue
        try:
            runs.append(read(folder))
        except RunError as error:
            problems.append(Unfinished(folder, str(error).removeprefix(f"{folder} ")))
    if not runs:
        found = "".join(f"\n  {problem}" for problem in problems) or "; no folder there is a run"
        raise RunError(f"no finished run matches {', '.join(wanted)} (runs='outputs/**' looks everywhere below){found}")
    return sorted(runs, key=lambda run: ((run.folder / "metrics.json").stat().st_mtime_ns, str(run.folder))), problems


def read(folder: Path) -> FinishedRun:
    """One run.

    Raises:
        RunError: a file is missing, damaged or holds metrics that are not finite.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise RunError(f"{folder} is not a finished run (no {', '.join(missing)}){_how_it_ended(folder)}")
    config = _yaml(folder / "config.yaml")
    metrics = _metrics(folder / "metrics.json")
    if not (_at(config, "artifacts.sequences") and _at(config, "artifacts.candidates")):
        raise RunError(f"{folder}/config.yaml names no artifacts.sequences and artifacts.candidates; it is of no run")
    return FinishedRun(folder, config, _choices(folder, config), metrics)


def how_to_test_again(folder: Path) -> str:
    """The command that tests a run again, as a hint."""
    return f"test it again by its command with resume={folder}/checkpoints/last.ckpt hydra.run.dir={folder}"


def _how_it_ended(folder: Path) -> str:
    """The last line of an unfinished run's log, which is its error if it failed, and how to go on."""
    log, last = folder / "train.log", folder / "checkpoints" / "last.ckpt"
    said = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1] if log.is_file() else ""
    if job := _JOB.search(said):  # a sweep's word on its job, which begins with all of the job's options
        said = job.group(1)
    end = f"; its log ends: {said[:_LONGEST]}" if said else ""
    return f"{end}; go on from its last epoch with resume={last}" if last.is_file() else f"{end}; run it again"


def _metrics(file: Path) -> Mapping[str, float]:
    try:
        metrics = json.loads(file.read_text())
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{file} cannot be read: {error}; {how_to_test_again(file.parent)}") from error
    if bad:
        raise RunError(f"{file} holds values that are not finite: {', '.join(bad[:3])}; the model diverged")
    return metrics


def _choices(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The choices that name a run; a stage has its own name in place of a method."""
    choices: Any = config.get("choices")
    if choices is None:
        hydra = _yaml(folder / ".hydra" / "hydra.yaml")
        choices = _at(hydra, "hydra.runtime.choices") or _at(hydra, "runtime.choices") or {}
    elif (role := config.get("role", "run")) != "run":
        choices = {**choices, "method": role}
    names = {group: str(choice) for group, choice in choices.items() if choice is not None}
    return names if {"method", "backbone"} <= names.keys() else _names_of_parts(folder, config) | names


def _names_of_parts(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Method and backbone of a run without these choices: from the layout of run folders, else from the parts."""
    layout = re.compile(_LAYOUT.replace("{dataset}", re.escape(str(_at(config, "dataset.name")))))
    for place in (config.get("run_dir", ""), folder):
        if found := layout.search(f"/{place}"):
            return found.groupdict()
    encoder = str(_at(config, "model.item_encoder._target_") or "unknown").rsplit(".", 1)[-1]
    terms: Any = _at(config, "model.terms") or {}
    backbone = str(_at(config, "backbone._target_") or "unknown").rsplit(".", 1)[-1]
    return {"method": "+".join([encoder, *sorted(terms)]), "backbone": backbone.lower()}


def _yaml(file: Path) -> Mapping[str, Any]:
    """Plain values of a YAML file, {} if it is missing; the reader in C, as a folder of runs holds many."""
    import yaml

    if not file.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(file.read_text(), Loader=loader)
    except yaml.YAMLError as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise RunError(f"{file} holds no configuration")
    return content


def _at(config: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return None
        config = config[part]
    return config


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(child, f"{path}.{key}" if path else str(key)) for key, child in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {path: str(value)}
