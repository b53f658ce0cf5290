"""The command report: ``report.html`` of a run or of a comparison."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from sage_pl import hosts
from sage_pl.report import make
from sage_pl.report.page import Options
from sage_pl.report.reading import ReportError
from sage_pl.runs.checks import refuse
from sage_pl.runs.numbers import hints, setting_problems

log = logging.getLogger(__name__)


def report(config: DictConfig) -> Path:
    """Write the page of ``config.run`` or of ``config.comparison``.

    Returns:
        The file.

    Raises:
        ConfigError: a number is out of range.
        ReportError: not exactly one of the two is set, or the page cannot be made.
    """
    refuse(setting_problems(hints(Options), {str(key): value for key, value in config.items()}))
    if (config.run is None) == (config.comparison is None):
        raise ReportError("set what the report is about: run=FOLDER or comparison=FOLDER, one of the two")
    options = Options(config.maps, config.layout, config.map_items, config.examples, config.focus, config.seed)
    write, folder = (make.of_run, config.run) if config.run is not None else (make.of_comparison, config.comparison)
    with hosts.only(()):
        file = write(folder, options, config.folder)
    log.info("report      %s", file)
    return file
