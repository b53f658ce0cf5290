"""Folders of finished runs: find them by pattern and read them.

A finished run holds ``config.yaml``, ``metrics.json`` and ``ranks.parquet``. An evaluation with another scorer is one too; its
configuration is ``evaluation.yaml``. The choices that name it (``method=sage
backbone=sasrec``) are the key ``choices`` of its ``config.yaml``, in older runs of ``.hydra/hydra.yaml``.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sage_pl.artifacts.identity import decisive, flat, is_decisive, value_at
from sage_pl.artifacts.plain import PlainError, read_json, read_yaml
from sage_pl.artifacts.renamed import current
from sage_pl.comparison import epochs
from sage_pl.errors import SettingError

CONFIG, EVALUATION = "config.yaml", "evaluation.yaml"
FILES = (CONFIG, "metrics.json", "ranks.parquet")
_SIGNS = ("train.log", "metrics.json", "ranks.parquet")  # any of these marks the folder of a run, finished or not
# the folders of conf/train.yaml, hydra.run and hydra.sweep
_LAYOUT = r"/(?:\d+_{dataset}_)?(?P<method>[^/]+)-(?P<backbone>[^/-]+)-seed\d+(?:/|$)"
_JOB = re.compile(r"\bjob \d+ \(.*\) (ended with exit code .*); its log is ")
_LONGEST = 200  # characters of a log line in a message


class RunError(SettingError):
    """Runs that cannot be compared."""


class Unfinished(NamedTuple):
    """A run without usable results, and the reason."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.folder} {self.reason}"


@dataclass(frozen=True)
class FinishedRun:
    """A run without its ranks.

    Args:
        folder: of the run that was tested.
        config, choices, metrics: of that run.
        refit: the folder of a refit of it, where this is one; a refit has all else of the run that it repeats.
    """

    folder: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    metrics: Mapping[str, float]
    refit: Path | None = None

    @property
    def place(self) -> Path:
        """The folder that names it: the refit's, or the run's."""
        return self.refit or self.folder

    @property
    def dataset(self) -> str:
        return str(
            value_at(self.config, "dataset.name") or self.choices.get("dataset") or self.artifact("sequences").name
        )

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def converged(self) -> bool | None:
        """See :func:`sage_pl.comparison.epochs.converged`."""
        return epochs.converged(self.folder, self.metrics, self.config)

    @property
    def untrained(self) -> bool:
        """Whether the method has nothing to train, as a floor has."""
        return self.metrics.get("epochs") == 0

    @property
    def sizes(self) -> tuple[int, int]:
        """Users and items; 0 where they are not recorded."""
        users, items = (value_at(self.config, f"catalog.{name}") for name in ("n_users", "n_items"))
        return (users, items) if isinstance(users, int) and isinstance(items, int) else (0, 0)

    @property
    def scorer(self) -> str:
        """The module of the scorer: ``fusion``; ``none`` where the model ranks alone."""
        target = value_at(current(self.config), "model.scorer._target_")
        return "none" if target is None else str(target).rpartition(".")[0].rpartition(".")[2]

    def artifact(self, name: str) -> Path:
        """Folder of an artifact; its last component is the key."""
        return Path(str(value_at(self.config, f"artifacts.{name}")))

    def name_by(self, key: str) -> str:
        """The value of ``key`` in this run: a choice (``method``), else a configuration value (``optimizer.lr``), ``null`` too.

        Raises:
            RunError: the run has no such value.
        """
        if key in self.choices:
            return str(self.choices[key])
        values = dict(flat(self.config))
        if isinstance(values.get(key, {}), Mapping):
            raise RunError(
                f"{self.folder} has no {key!r} to name it by; by takes groups (method, backbone, ...) and "
                "configuration keys that all runs have, such as optimizer.lr"
            )
        return "null" if values[key] is None else str(values[key])

    def setting(self) -> dict[str, str]:
        """Values that must be equal in two runs for their ranks to be comparable."""
        evaluation: Any = self.config.get("evaluation", {})
        keys = {f"artifacts.{name}": self.artifact(name).name for name in ("sequences", "candidates")}
        seen = value_at(self.config, "data.seen") or evaluation.get("seen")
        rules = flat({key: evaluation.get(key) for key in ("sampled", "seed", "groups")}, "evaluation")
        return {**keys, "evaluation.seen": str(seen), **{key: str(value) for key, value in rules}}

    def recipe(self) -> dict[str, str]:
        """The decisive settings beside the seed; artifacts by their keys, other folders by their names.

        The keys of artifacts depend on the seed where a run builds upon stages, which are trained with it. Such a run has the
        settings of its stages and steps in their place.
        """
        config = current(self.config)
        settings = decisive(config)
        if stages := config.get("stages"):
            names = {path: name for name, path in (config.get("artifacts") or {}).items() if path != "???"}
            steps = {name: node for name, node in (config.get("steps") or {}).items() if name in names.values()}
            below = flat({"stages": stages, "steps": steps})
            settings |= {key: value for key, value in below if is_decisive(key.partition(".")[2])}
            settings = {key: names.get(str(value), value) for key, value in settings.items()}
        return {
            key: Path(value).name if isinstance(value, str) else str(value)
            for key, value in settings.items()
            if value is not None and key.rpartition(".")[2] != "seed"
        } | {"scorer": self.scorer}


def find(patterns: str | Sequence[str]) -> tuple[list[FinishedRun], list[Unfinished]]:
    """Finished runs that match the patterns, oldest first, and the unusable ones: failed, interrupted or damaged.

    Stages, which are artifacts, and preparations are no runs and are skipped, and so are evaluations, but for those with
    another scorer (``EVALUATION``). A refit has the results of the run that it repeats.

    Raises:
        RunError: nothing matches.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    matches = {Path(match) for pattern in patterns for match in glob.glob(pattern, recursive=True)}
    folders = sorted(match for match in matches if any((match / sign).is_file() for sign in _SIGNS))
    runs, problems = [], []
    for folder in folders:
        if (folder / "manifest.json").exists() or _of_another_command(folder):
            continue
        try:
            runs.append(read(folder))
        except RunError as error:
            problems.append(Unfinished(folder, " ".join(str(error).removeprefix(f"{folder} ").split())))
    if not runs:
        reasons = "".join(f"\n  {problem}" for problem in problems) or "; no folder there is a run"
        patterns_text = ", ".join(patterns)
        raise RunError(f"no finished run matches {patterns_text} (runs='outputs/**' searches all folders){reasons}")
    return sorted(runs, key=lambda run: ((run.place / "metrics.json").stat().st_mtime_ns, str(run.place))), problems


def read(folder: Path) -> FinishedRun:
    """One run; a refit as the run that it repeats.

    Raises:
        RunError: a file is missing or damaged, or a metric is NaN or infinite.
    """
    file = _config_file(folder)
    config = _yaml(file)
    if config.get("refit") is not None:
        return _repeated(folder, Path(str(config["refit"])))
    if missing := [name for name in (file.name, *FILES[1:]) if not (folder / name).is_file()]:
        raise RunError(f"{folder} is not a finished run (no {', '.join(missing)}){_how_it_ended(folder)}")
    metrics = _metrics(folder / "metrics.json")
    if not (value_at(config, "artifacts.sequences") and value_at(config, "artifacts.candidates")):
        raise RunError(f"{file} names no artifacts.sequences and artifacts.candidates; it is of no run")
    _check_kinds(file, config)
    return FinishedRun(folder, config, _choices(folder, config), metrics)


def _repeated(refit: Path, folder: Path) -> FinishedRun:
    """The run that a refit repeats, in the refit's name."""
    if not (refit / "metrics.json").is_file():
        raise RunError(f"{refit} is not a finished refit (no metrics.json){_how_it_ended(refit)}")
    if not folder.is_dir() or _yaml(folder / "config.yaml").get("refit") is not None:
        raise RunError(
            f"{refit} is a refit on all events, which leave nothing to test it on, and the run that it repeats is not in "
            f"{folder}; put that folder back, or leave the refit out"
        )
    return replace(read(folder), refit=refit)


def _config_file(folder: Path) -> Path:
    """The configuration of a run, or of an evaluation that is one."""
    return folder / (EVALUATION if (folder / EVALUATION).is_file() else CONFIG)


def _of_another_command(folder: Path) -> bool:
    """Whether a folder without a configuration is that of an evaluation or a preparation, by the job that Hydra recorded."""
    if _config_file(folder).is_file():
        return False
    try:
        recorded = _yaml(folder / ".hydra" / "hydra.yaml")
    except RunError:
        return False
    return value_at(recorded, "hydra.job.name") not in (None, "train")


def _check_kinds(file: Path, config: Mapping[str, Any]) -> None:
    """Values that a comparison and a report read are of the kinds that a run writes."""
    for key in ("artifacts", "catalog", "choices", "data", "dataset", "evaluation", "evaluation.groups", "model"):
        value = value_at(config, key)
        if not isinstance(value, Mapping | None):
            raise RunError(f"{file}: {key} is {value!r:.100}, wanted names with values; it is of no run")
    seed = config.get("seed", 0)
    if not isinstance(seed, int):
        hint = "; give it on the command line, where the shell fills it in: seed=$X" if "${" in str(seed) else ""
        raise RunError(f"{file}: seed is {seed!r:.100}, wanted a whole number{hint}")


def how_to_test_again(folder: Path) -> str:
    """The command that tests a run again, as a hint."""
    if (folder / EVALUATION).is_file():
        return f"evaluate the checkpoint that {folder / EVALUATION} names again"
    return f"test it again by its command with resume={folder}/checkpoints/last.ckpt hydra.run.dir={folder}"


def _how_it_ended(folder: Path) -> str:
    """The last line of an unfinished run's log (the error of a failed run), and the way to continue."""
    log, last = folder / "train.log", folder / "checkpoints" / "last.ckpt"
    line = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1] if log.is_file() else ""
    if job := _JOB.search(line):  # a sweep's line on its job, which begins with all of the job's options
        line = job.group(1)
    end = f"; its log ends: {line[:_LONGEST]}{'…' * (len(line) > _LONGEST)}" if line else ""
    return f"{end}; go on from its last epoch with resume={last}" if last.is_file() else f"{end}; run it again"


def _metrics(file: Path) -> Mapping[str, float]:
    try:
        metrics = read_json(file)
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    except (SettingError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(f"{file} cannot be read: {error}; {how_to_test_again(file.parent)}") from error
    if bad:
        raise RunError(f"{file} holds values that are not finite: {', '.join(bad[:3])}; the model diverged")
    return metrics


def _choices(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The choices that name a run; the ``method`` of a stage is the stage's name."""
    choices: Any = config.get("choices")
    if choices is None:
        hydra = _yaml(folder / ".hydra" / "hydra.yaml")
        choices = value_at(hydra, "hydra.runtime.choices") or value_at(hydra, "runtime.choices") or {}
    elif (role := config.get("role", "run")) != "run":
        choices = {**choices, "method": role}
    names = {group: str(choice) for group, choice in choices.items() if choice is not None}
    return names if {"method", "backbone"} <= names.keys() else _names_of_parts(folder, config) | names


def _names_of_parts(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Method and backbone of a run without these choices: from the layout of run folders, else from the parts."""
    layout = re.compile(_LAYOUT.replace("{dataset}", re.escape(str(value_at(config, "dataset.name")))))
    for place in (config.get("run_dir", ""), folder):
        if match := layout.search(f"/{place}"):
            return match.groupdict()
    encoder = str(value_at(config, "model.item_encoder._target_") or "unknown").rsplit(".", 1)[-1]
    terms: Any = value_at(config, "model.terms") or {}
    backbone = str(value_at(config, "backbone._target_") or "unknown").rsplit(".", 1)[-1]
    return {"method": "+".join([encoder, *sorted(terms)]), "backbone": backbone.lower()}


def _yaml(file: Path) -> Mapping[str, Any]:
    """Plain values of a YAML file, {} if it is missing."""
    if not file.is_file():
        return {}
    try:
        content = read_yaml(file)
    except PlainError as error:
        raise RunError(str(error)) from error
    if not isinstance(content, Mapping):
        raise RunError(f"{file} holds no configuration")
    return content
