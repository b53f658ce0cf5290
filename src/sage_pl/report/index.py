"""``index.html`` of the folder of outputs: every finished run with its main figures, sortable, and links to the reports."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import whole_file, write_text
from sage_pl.artifacts.locks import locked
from sage_pl.comparison.runs import RunError, read
from sage_pl.errors import UserError, machine_problem
from sage_pl.report.page import environment

log = logging.getLogger(__name__)
PAGE, RECORDS = "index.html", ".index.json"
CHOICES = ("dataset", "method", "backbone", "seed")
FIGURES = {  # column -> metric, in percent
    "ndcg@10": "ndcg@10",
    "head": "ndcg@10/item_head",
    "tail": "ndcg@10/item_tail",
    "unseen": "ndcg@10/item_unseen",
    "hr@10": "hr@10",
}
_KNOWN = ("runs/*/*/*/metrics.json", "sweeps/*/*/metrics.json")  # of runs that no index has listed yet
_REPORT = "report.html"
Record = Mapping[str, Any]
_EMPTY: Record = {**dict.fromkeys((*CHOICES, *FIGURES, "ended", "sweep"), ""), "converged": True}


def refresh(outputs: str | Path, folder: str | Path | None = None) -> Path | None:
    """Add a run to the index of ``outputs``, leave out those that are gone, and write the page. A failure is a warning.

    The first index has every run below ``outputs``, later ones read the new run alone. One process writes at a time.

    Args:
        outputs: folder of the page.
        folder: of the new run, which may lie elsewhere; None: only links and vanished runs are brought up to date.

    Returns:
        The page; None where it could not be written.
    """
    place = Path(outputs).absolute()
    try:
        with locked(place / ".index.lock", "index of the runs"):
            records = _records(place, [] if folder is None else [Path(folder).absolute()])
            write_text(place / RECORDS, json.dumps(records, indent=1))
            with whole_file(place / PAGE) as part:
                part.write_text(_html(place, records))
    except (UserError, OSError) as error:
        log.warning("no index of the runs in %s: %s", place, machine_problem(error) or error)
        return None
    return place / PAGE


def _records(place: Path, new: Iterable[Path]) -> dict[str, Record]:
    """Path of each run from ``place`` on -> what the page shows of it."""
    known = _read(place / RECORDS)
    if known is None:
        known, new = {}, [*(file.parent for pattern in _KNOWN for file in place.glob(pattern)), *new]
    for folder in new:
        try:
            known[os.path.relpath(folder, place)] = _record(folder)
        except RunError as error:
            log.debug("%s", error)  # a refit whose run is gone, or a folder of an earlier version
    present = {path: record for path, record in known.items() if (place / path / "metrics.json").is_file()}
    return dict(sorted(present.items(), key=lambda one: str(one[1]["ended"]), reverse=True))


def _read(file: Path) -> dict[str, Record] | None:
    """The records of an earlier page; None where there are none that can be read."""
    try:
        content = json.loads(file.read_text())
        return {str(path): {**_EMPTY, **record} for path, record in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _record(folder: Path) -> Record:
    run = read(folder)
    names = {name: str(run.choices.get(name) or "") for name in CHOICES}
    ended = dt.datetime.fromtimestamp((folder / "metrics.json").stat().st_mtime)
    figures = {name: run.metrics.get(f"test/full/{metric}") for name, metric in FIGURES.items()}
    others = {"ended": f"{ended:%Y-%m-%d %H:%M}", "sweep": str(run.config.get("sweep") or "")}
    return {
        **names,
        "dataset": run.dataset,
        "seed": str(run.seed),
        **figures,
        **others,
        "converged": run.converged is not False,
    }


def _html(place: Path, records: Mapping[str, Record]) -> str:
    rows = [{**record, "path": path, "links": _links(place, path)} for path, record in records.items()]
    return environment().get_template("index.html.j2").render(rows=rows, choices=CHOICES, figures=list(FIGURES))


def _links(place: Path, path: str) -> dict[str, str]:
    """Label -> address of what there is beside a run: its report, and that of the comparison of its sweep."""
    files = {"report": Path(path) / _REPORT, "comparison": Path(path).parent / "comparison" / _REPORT}
    return {label: file.as_posix() for label, file in files.items() if (place / file).is_file()}
