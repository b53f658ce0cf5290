"""The jobs of a sweep: their progress, equal failures, equal runs, and the comparison at the end."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, ParsedElementType, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.identity import decisive, flat
from sage_pl.artifacts.plain import read_json, read_yaml
from sage_pl.errors import UserError
from sage_pl.runs.folders import CHECKPOINTS, EVALUATED, METRICS, TABLE, clear_run, keeps_earlier_pass
from sage_pl.runs.launch import quoted
from sage_pl.runs.recorded import recorded, save

log = logging.getLogger(__name__)
Job = Sequence[str]  # overrides
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")
_RESULTS = (*EVALUATED, TABLE, "footprint.json")
_NOT_COMPARED = {"seed", "dataset"}  # averaged, and one section each


def variations(overrides: Iterable[Override]) -> dict[str, list[str]]:
    """The keys that a sweep varies, without seeds and data sets: key -> its values, in order.

    >>> from hydra.core.override_parser.overrides_parser import OverridesParser
    >>> parser = OverridesParser.create()
    >>> variations(parser.parse_overrides(["method=sage,plain", "seed=1,2", "dim=8"]))
    {'method': ['sage', 'plain']}
    """
    values = {}
    for override in overrides:
        key = override.key_or_group + (f"@{override.package}" if override.package else "")
        if override.is_discrete_sweep() and key not in _NOT_COMPARED:
            values[key] = list(map(_text, override.sweep_iterator()))
    return values


class Failures:
    """What failed jobs have in common, so that a sweep leaves out those that would fail alike.

    A job says what its failure follows from where that is known: absent data, a step of the preparation with all that it
    depends on, a part that cannot be built. Every further job in which these parts are equal would repeat it. Otherwise, where
    two jobs end with the same sentence, its cause is in the overrides that both have, and every further job with these would
    repeat it.

    Args:
        part: the value of a part of a job's configuration, by its dotted path; None where there is none.
    """

    def __init__(self, part: Callable[[Job, str], Any]) -> None:
        self._part = part
        self._known: list[tuple[str, dict[str, Any]]] = []  # sentence, the parts that it follows from
        self._shared: dict[str, set[str]] = {}
        self._repeated: set[str] = set()

    def add(self, job: Job, sentence: str, causes: Iterable[Sequence[str]] = ()) -> None:
        """A job that failed, the last words of its log, and the groups of parts of which each alone leads to it."""
        text = _CLOCK.sub("", sentence)
        self._known += [(text, {name: self._part(job, name) for name in names}) for names in causes]
        if text in self._shared:
            self._repeated.add(text)
        self._shared[text] = self._shared.get(text, set(job)) & set(job)

    def expected(self, job: Job) -> str | None:
        """The sentence with which a job would fail."""
        for text, parts in self._known:
            if parts and all(value is not None and self._part(job, name) == value for name, value in parts.items()):
                return text
        return next((text for text in self._repeated if self._shared[text] <= set(job)), None)


def part_of(config: DictConfig, name: str) -> Any:
    """A part of a composed configuration as plain values, by its dotted path; None where it has none that can be resolved."""
    whole = config.copy()
    OmegaConf.set_struct(whole, False)
    whole.run_dir = "<run_dir>"  # each job has its own
    for key, value in flat(OmegaConf.to_container(whole, resolve=False)):
        if value == "???":  # set later, or by preparation
            OmegaConf.update(whole, key, f"<{key}>")
    try:
        part = OmegaConf.select(whole, name)
        return OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
    except OmegaConfBaseException:
        return None


def progress(number: int, total: int, seconds: Sequence[float]) -> str:
    """``job 3 of 12, about 4 min left``.

    Args:
        number: of the job that begins, from 1.
        total: of all jobs.
        seconds: durations of those that ended.

    >>> progress(1, 3, []), progress(3, 12, [20, 28])
    ('job 1 of 3; how long all take is known after it', 'job 3 of 12, about 4 min left')
    """
    if not seconds:
        return f"job {number} of {total}{'; how long all take is known after it' if number < total else ''}"
    left = sum(seconds) / len(seconds) * (total - number + 1)
    text = f"{left / 3600:.1f} h" if left >= 5400 else f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    return f"job {number} of {total}, about {text} left"


def equal_run(config: DictConfig) -> Path | None:
    """The folder of a job of the same sweep that trained with the same decisive settings and artifacts: this job's own, where
    an earlier pass of the sweep ended it, or that of another job of this pass.

    Args:
        config: of this job, its artifacts filled in.
    """
    folder = Path(config.run_dir)
    if not keeps_earlier_pass(config):
        return None
    mine = _decisive(recorded(config))
    if (folder / METRICS).is_file() and _is_of(folder, config.sweep, mine):
        return folder
    started = (folder.parent / "multirun.yaml").stat().st_mtime if (folder.parent / "multirun.yaml").is_file() else 0
    for file in sorted(folder.parent.glob(f"*/{METRICS}")):
        trained = (file.parent / CHECKPOINTS).is_dir() and file.stat().st_mtime >= started
        if file.parent != folder and trained and _is_of(file.parent, config.sweep, mine):
            return file.parent
    return None


def cut_off(config: DictConfig) -> Path | None:
    """The checkpoint to go on from where an earlier pass of the sweep was interrupted in this job, with the same settings.

    Args:
        config: of this job, its artifacts filled in.
    """
    folder = Path(config.run_dir)
    last = folder / CHECKPOINTS / "last.ckpt"
    if not (keeps_earlier_pass(config) and last.is_file()):
        return None
    if not _is_of(folder, config.sweep, _decisive(recorded(config))):
        return None
    from sage_pl.runs.resuming import open_last  # reads with torch, which the sweepers do without

    try:
        checkpoint = open_last(str(last))
    except UserError as error:
        log.warning("this job is trained from its beginning: %s", error)
        return None
    log.info("this job was cut off after %d epochs; it goes on from %s", checkpoint.epochs, checkpoint.path)
    return checkpoint.path


def _is_of(folder: Path, sweep: str, settings: str) -> bool:
    """Whether a folder holds a job of this sweep with these decisive settings and artifacts."""
    if not (folder / "config.yaml").is_file():
        return False
    other = read_yaml(folder / "config.yaml")
    return bool(other.get("sweep") == sweep) and _decisive(other) == settings


def _decisive(config: Mapping[str, Any]) -> str:
    return json.dumps(decisive(config), sort_keys=True, default=str)


def take_results(source: Path, config: DictConfig) -> dict[str, float]:
    """Copy the results of an equal run into this job's folder, in place of what is there; its checkpoints stay where they are.

    Returns:
        The metrics.
    """
    folder = Path(config.run_dir)
    if source == folder:
        log.info("this job has ended in an earlier pass of the sweep; its results stay")
        save(config, folder / "config.yaml")  # which may differ in what decides nothing, and is compared by it
        return read_json(folder / METRICS)
    clear_run(folder, None)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    save(config, folder / "config.yaml")
    for name in sorted(_RESULTS, key=lambda name: name == "metrics.json"):  # the last one marks a finished run
        if (source / name).is_file():
            with whole_file(folder / name) as part:
                shutil.copyfile(source / name, part)
    log.info("this job equals %s, which is trained already; its results are copied", source.name)
    log.info("checkpoint  %s", source / CHECKPOINTS / "best.ckpt")
    metrics: dict[str, float] = read_json(folder / "metrics.json")
    return metrics


def _text(value: ParsedElementType) -> str:
    return value.text if isinstance(value, QuotedString) else str(value)


def compare_jobs(
    folder: Path,
    jobs: Mapping[Path, bool],
    values: Mapping[str, Sequence[str]],
    options: Mapping[str, str | None],
) -> None:
    """Compare the jobs of a grid; the baseline has the first value of the first key that varies.

    Without such a key, methods are listed without a test. A failed job is listed with its reason; where its folder holds
    results, they are those of another process, and it is left out.

    Args:
        folder: of the sweep.
        jobs: folder of each job -> whether it ended without an error.
        values: see :func:`variations`.
        options: see :func:`run_comparison`.
    """
    for job in (job for job, complete in jobs.items() if not complete):
        log.warning("the job %s failed; its log is %s", job.name, job / "train.log")
    mine = [job for job, complete in jobs.items() if complete or not (job / "metrics.json").is_file()]
    if mine:
        baseline = next(iter(values.values()), ["null"])[0]
        run_comparison(folder, [escape(str(job)) for job in mine], list(values) or ["method"], baseline, options)


def run_comparison(
    folder: Path, runs: Sequence[str], by: Sequence[str], baseline: str, options: Mapping[str, str | None]
) -> None:
    """Run ``sage-pl compare`` with its results in ``<folder>/comparison``; a failure is a warning.

    Args:
        folder: of the sweep.
        runs, by, baseline: see ``conf/compare.yaml``.
        options: further keys of it -> values.
    """
    settings = {"baseline": baseline, "hydra.run.dir": str(folder / "comparison"), "group": folder.name, **options}
    arguments = [f"runs=[{','.join(map(quoted, runs))}]", f"by=[{','.join(map(quoted, by))}]"]
    arguments += [f"{key}={'null' if value in (None, 'null') else quoted(value)}" for key, value in settings.items()]
    if subprocess.run([sys.executable, "-m", "sage_pl", "compare", *arguments], check=False).returncode:
        log.warning("the jobs of %s could not be compared; the reason is above", folder)
