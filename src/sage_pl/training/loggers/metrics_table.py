"""``metrics.csv``: losses and metrics by epoch, which a continued run goes on with."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from sage_pl.artifacts.files import whole_file

Row = Mapping[str, Any]


class MetricsTable(CSVLogger):
    """Lightning's CSVLogger, whose table is kept when a run continues in its folder.

    Rows of the epochs that are trained again are replaced. The file is rewritten whole where columns are new, so that a
    killed process leaves no half table. Arguments: those of CSVLogger.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        table = self._experiment or _Table(self.log_dir)
        self._experiment = table
        return table  # type: ignore[return-value]  # Lightning declares a base class of what it stores here


class _Table(ExperimentWriter):
    """Rows of earlier parts of the run, then those of this one."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.file = Path(self.metrics_file_path)
        self.rows: list[Row] = read_rows(self.file)
        self.columns: list[str] = []  # of the file as this process wrote it

    def _check_log_dir_exists(self) -> None:
        """Lightning's deletes the table."""

    def save(self) -> None:
        if not self.metrics:
            return
        new, self.metrics = self.metrics, []
        if not self.columns:
            first = float(new[0].get("epoch", math.inf))
            self.rows = [row for row in self.rows if float(row.get("epoch") or math.inf) < first]
        self.rows += new
        columns = sorted({*self.columns, *(name for row in (new if self.columns else self.rows) for name in row)})
        if columns == self.columns:
            with self.file.open("a", newline="") as stream:
                csv.DictWriter(stream, columns).writerows(new)
            return
        self.columns = columns
        with whole_file(self.file) as part, part.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(self.rows)


def read_rows(file: Path) -> list[Row]:
    """The rows of a table, as texts; a last line that was cut off is left out."""
    if not file.is_file():
        return []
    lines = file.read_text().splitlines(keepends=True)
    return list(csv.DictReader(line for line in lines if line.endswith("\n")))
