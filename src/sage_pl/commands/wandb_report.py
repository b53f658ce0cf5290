"""The command wandb-report: a ready W&B report of a sweep's records."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sage_pl.artifacts.files import write_text
from sage_pl.comparison.runs import find
from sage_pl.training.loggers import wandb_report as reports
from sage_pl.training.loggers.wandb_run import LoggerError, check

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report

log = logging.getLogger(__name__)
_ABOUT = "Make a W&B report of a sweep: results by what varies, parallel coordinates, training, the runs' pages."
_JOB = "run"  # job_type of a run that is not a stage


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    arguments = argparse.ArgumentParser("sage-pl wandb-report", description=_ABOUT)
    arguments.add_argument("project", metavar="ENTITY/PROJECT", help="where the records are")
    arguments.add_argument("--group", metavar="SWEEP", help="name of the sweep's folder; default: all runs")
    arguments.add_argument("--runs", metavar="PATTERN", help="folders of the runs, read in place of W&B's records")
    arguments.add_argument("--offline", metavar="FILE", help="write what would be sent as JSON, and send nothing")
    return arguments


def wandb_report(arguments: Sequence[str], client: Target | None = None) -> str:
    """Make the report and send it, or write it to a file.

    Args:
        arguments: of the command line.
        client: in place of W&B's public API.

    Returns:
        The report's address, or its file.

    Raises:
        LoggerError: a package or the login is missing, or there is no run to report on.
        RunError: no run matches ``--runs``.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    entity, _, project = options.project.partition("/")
    if not (entity and project) or "/" in project:
        raise LoggerError(f"got the project {options.project!r}; wanted ENTITY/PROJECT, as the address of W&B has it")
    target = client or (ToFile(Path(options.offline)) if options.offline else Client())
    records = _of_folders(options.runs) if options.runs else target.records(options.project, options.group)
    address = target.save(reports.make(reports.study(entity, project, options.group, records)))
    log.info("report      %s", address)
    return address


class Target(Protocol):
    """Where records come from and a report goes to."""

    def records(self, project: str, group: str | None) -> list[reports.Record]:
        """The finished runs of a project, or of one of its groups."""

    def save(self, report: Report) -> str:
        """Send a report; its address."""


class ToFile:
    """A file in place of W&B: nothing is sent."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def records(self, project: str, group: str | None) -> list[reports.Record]:
        raise LoggerError("--offline FILE needs the folders of the runs too, as in --runs 'outputs/sweeps/NAME/*'")

    def save(self, report: Report) -> str:
        write_text(self.file, json.dumps(reports.content(report), indent=1) + "\n")
        return f"{self.file}; nothing was sent"


class Client:
    """W&B's public API.

    Raises:
        LoggerError: the package or the login is missing, or W&B is offline.
    """

    def __init__(self) -> None:
        check(what="sage-pl wandb-report")
        import wandb

        if wandb.setup().settings.mode in ("offline", "disabled"):
            raise LoggerError("WANDB_MODE is offline; --offline FILE --runs PATTERN writes what would be sent")
        self._api = wandb.Api()

    def records(self, project: str, group: str | None) -> list[reports.Record]:
        """The finished runs of a project, or of one of its groups."""
        filters = {"jobType": _JOB, "state": "finished"} | ({"group": group} if group else {})
        runs = self._api.runs(project, filters=filters)
        return [reports.Record(run.config, dict(run.summary)) for run in runs]

    def save(self, report: Report) -> str:
        """Send a report; its address."""
        report.save()
        return str(report.url)


def _of_folders(pattern: str) -> list[reports.Record]:
    runs, _ = find(pattern)
    return [reports.Record({**run.config, "choices": run.choices}, run.metrics) for run in runs]
