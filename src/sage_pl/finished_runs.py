"""Folders of finished runs: found by pattern, read, and checked to be of one experiment.

A finished run holds ``config.yaml``, ``metrics.json`` and ``ranks.parquet``. What a run was called on the command line
(``method=sage backbone=sasrec``) is in its ``.hydra/hydra.yaml``; without it, names are taken from the folder's name or the
configuration.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = ("config.yaml", "metrics.json", "ranks.parquet")
_SIGNS = ("train.log", "metrics.json", "ranks.parquet")  # any of these makes a folder a run, finished or not
_LAYOUT = (
    r"/(?:\d+_{dataset}_)?(?P<method>[^/]+)-(?P<backbone>[^/-]+)-seed\d+(?:/|$)"  # conf/train.yaml, hydra.run and sweep
)
_RECIPE = (
    "model",
    "optimizer",
    "trainer",
    "data",
    "matmul_precision",
)  # what makes two runs one system, but for the seed
_ELSEWHERE = re.compile(r"(^|\.)(seed|default_root_dir|accelerator|devices|num_workers|eval_batch_size)$")
_MISSING = "nothing"


class RunError(ValueError):
    """Runs that cannot be compared; the message says why."""


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
        """What decides the result beside the seed; artifacts by their keys, other folders left out."""
        flat = _flat({part: self.config.get(part) for part in _RECIPE})
        decisive = {key: value for key, value in flat.items() if value != "None" and not _ELSEWHERE.search(key)}
        return {key: Path(value).name for key, value in decisive.items()}


def find(patterns: str | Sequence[str]) -> tuple[list[FinishedRun], list[str]]:
    """Finished runs below the patterns, oldest first, and one line for each that cannot be used.

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
            problems.append(str(error))
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
        raise RunError(f"{folder} is not a finished run (no {', '.join(missing)}); finish it with resume=.../last.ckpt")
    config, hydra = (_yaml(folder / name) for name in ("config.yaml", ".hydra/hydra.yaml"))
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{folder}/metrics.json cannot be read: {error}; test the run again") from error
    if bad:
        raise RunError(
            f"{folder}/metrics.json holds values that are not finite: {', '.join(bad[:3])}; the model diverged"
        )
    if not (_at(config, "artifacts.sequences") and _at(config, "artifacts.candidates")):
        raise RunError(f"{folder}/config.yaml names no artifacts.sequences and artifacts.candidates; it is of no run")
    known: Any = _at(hydra, "hydra.runtime.choices") or _at(hydra, "runtime.choices") or {}
    choices = {key: str(value) for key, value in known.items() if value is not None}
    return FinishedRun(folder, config, _derived_names(folder, config) | choices, metrics)


def comparable(runs: Iterable[FinishedRun]) -> tuple[dict[str, list[FinishedRun]], list[str]]:
    """Runs by data set, without those that differ from the others in data, candidates or evaluation.

    The setting most runs of a data set share is kept. Without a majority nothing says which runs are meant, and the
    whole data set is refused.

    Returns:
        Data set -> its runs, and a message for each run or data set that is left out.
    """
    by_dataset: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_dataset.setdefault(run.dataset, []).append(run)
    kept, problems = {}, []
    for name, members in by_dataset.items():
        settings = [tuple(sorted(run.setting().items())) for run in members]
        (common, votes), *others = Counter(settings).most_common()
        odd = [run for run, setting in zip(members, settings, strict=True) if setting != common]
        texts = [f"{run.folder} ({_differences(run.setting(), dict(common))})" for run in odd]
        if others and others[0][1] == votes:
            base = members[settings.index(common)].folder
            problems.append(
                f"{name} is left out: its runs are not comparable, and no setting has the majority. Against {base}: "
                f"{'; '.join(texts)}. Choose by runs=[...]"
            )
            continue
        if odd:
            problems.append(f"{name}: left out as not comparable with the other {votes} runs: {'; '.join(texts)}")
        kept[name] = [run for run in members if run not in odd]
    return kept, problems


def systems(
    runs: Sequence[FinishedRun], by: Sequence[str]
) -> tuple[dict[tuple[str, ...], list[FinishedRun]], list[str]]:
    """Runs of one data set by their names in ``by``: one per seed, the newest where a seed occurs twice.

    Args:
        runs: oldest first.
        by: what names a system, such as ``["method", "backbone"]``.

    Returns:
        Name -> runs in order of seeds, and remarks: runs set aside, and systems whose runs differ in more than the seed.
    """
    newest: dict[tuple[str, ...], dict[int, FinishedRun]] = {}
    remarks = []
    for run in runs:
        name = tuple(run.named(key) for key in by)
        older = newest.setdefault(name, {}).get(run.seed)
        if older is not None:
            remarks.append(
                f"{'/'.join(name)} has seed {run.seed} twice: {run.folder} is used, the older {older.folder} is not"
                f"{_recipe_hint(older, run, by)}"
            )
        newest[name][run.seed] = run
    grouped = {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in newest.items()}
    for name, (first, *others) in grouped.items():
        for other in others:
            if hint := _recipe_hint(first, other, by):
                remarks.append(f"{'/'.join(name)}: {first.folder} and {other.folder} are averaged{hint}")
                break
    return grouped, remarks


def _recipe_hint(a: FinishedRun, b: FinishedRun, by: Sequence[str]) -> str:
    one, other = a.recipe(), b.recipe()
    keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    if not keys:
        return ""
    keys.sort(key=lambda key: (key not in one or key not in other, key.startswith("model."), key))  # clearest first
    shown = [f"{key}: {one.get(key, _MISSING)} / {other.get(key, _MISSING)}" for key in keys[:3]]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    apart = f" (to tell them apart: by=[{','.join([*by, keys[0]])}])" if keys[0] in one and keys[0] in other else ""
    return f"; they differ in {', '.join(shown)}{more}{apart}"


def _differences(own: Mapping[str, str], common: Mapping[str, str]) -> str:
    keys = sorted(key for key in own.keys() | common.keys() if own.get(key) != common.get(key))
    return ", ".join(f"{key} is {own.get(key, _MISSING)} instead of {common.get(key, _MISSING)}" for key in keys)


def _derived_names(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Method and backbone of a run without ``.hydra``: from the house layout of folders, else from the parts."""
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
