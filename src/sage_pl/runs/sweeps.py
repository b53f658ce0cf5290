"""The comparison of a sweep's jobs at its end."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from glob import escape
from pathlib import Path

from hydra.core.override_parser.types import Override, ParsedElementType, QuotedString

from sage_pl.runs.launch import quoted

log = logging.getLogger(__name__)
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
