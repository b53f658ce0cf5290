"""Compare finished runs."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.api.model import Model
from sage_pl.api.pages import Page
from sage_pl.api.running import run_command
from sage_pl.artifacts.plain import read_json
from sage_pl.errors import SettingError
from sage_pl.report.make import MOST_VALUES


@dataclass(frozen=True)
class Compared:
    """A comparison in a folder of its own.

    Args:
        path: the folder: ``comparison.md``, ``.tex``, ``.csv``, ``.json`` and ``report.html``.
    """

    path: Path

    @property
    def table(self) -> pl.DataFrame:
        """A row for each data set, metric, group and system: the values of ``comparison.json`` (docs/comparison.md)."""
        return pl.DataFrame(read_json(self.path / "comparison.json", MOST_VALUES)["values"], infer_schema_length=None)

    def report(self) -> Page:
        """The comparison's page, which a notebook shows."""
        return Page(self.path / "report.html")

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def compare(
    runs: Model | str | Path | Sequence[Model | str | Path],
    by: str | Sequence[str] = "method",
    baseline: str | None = None,
    **settings: Any,
) -> Compared:
    """Compare runs with intervals and paired tests, as ``scripts/compare.py`` does.

    Args:
        runs: models, or folders of runs; a single one needs no list.
        by: what names a system: a group (``method``, ``backbone``) or a key (``loss.gamma``), or several.
        baseline: what the others are tested against, such as ``plain``; None for nothing.
        settings: of ``conf/compare.yaml``, such as ``metrics=["hr@10"]`` or ``folder=DIR``.

    Raises:
        RunError, SettingError: nothing can be compared.

    >>> compared = compare([run_folder], metrics=["hr@10"], report="quick")
    >>> sorted(set(compared.table["metric"]))
    ['hr@10']
    """
    runs = [runs] if isinstance(runs, Model | str | Path) else list(runs)
    if not runs:
        raise SettingError("there are no runs to compare, got an empty list; give models or folders of runs")
    folders = [glob.escape(str(one.path if isinstance(one, Model) else one)) for one in runs]
    names = by if isinstance(by, str) else list(by)
    done = run_command("compare", {"runs": folders, "by": names, "baseline": baseline, **settings})
    return Compared(Path(settings.get("folder", done.folder)))
