"""Run folders and comparisons as a report reads them: each file is read on first use."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.artifacts.files import whole_lines
from sage_pl.artifacts.plain import read_json
from sage_pl.artifacts.store import Artifact, ArtifactError
from sage_pl.comparison import cells as comparison
from sage_pl.comparison import floors
from sage_pl.comparison.ranks import RunRanks
from sage_pl.comparison.runs import FinishedRun
from sage_pl.errors import SettingError
from sage_pl.evaluation.floors import is_floor
from sage_pl.evaluation.groups import FACTS, FAMILIES, members
from sage_pl.report.blocks import MissingError

_IDS = {"user", "answer", "user_id", "item_id"}


class ReportError(SettingError):
    """A report cannot be made."""


class Record(NamedTuple):
    """One value of a comparison: a system's metric in a group, as in ``comparison.json``."""

    protocol: str
    metric: str
    system: str
    group: str
    family: str
    cases: int
    seeds: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: str | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_holm: float | None = None
    mark: str | None = None
    converged: bool | None = None  # False: a run's best epoch is its last
    refit: bool | None = None


@dataclass(frozen=True)
class RunFiles:
    """The files of one run."""

    run: FinishedRun

    @cached_property
    def history(self) -> pl.DataFrame:
        """Logged values, one row per epoch; columns without any value are dropped."""
        file = self.run.folder / "metrics.csv"
        if not file.is_file():
            raise MissingError("the run has no values by epoch (logger=csv writes them)")
        rows = pl.read_csv(whole_lines(file), infer_schema_length=None)
        values = [name for name in rows.columns if name not in ("epoch", "step") and rows[name].dtype.is_numeric()]
        return rows.group_by("epoch").agg(pl.col(values).drop_nulls().last()).sort("epoch")

    @cached_property
    def frame(self) -> pl.DataFrame:
        """``ranks.parquet``, the cases that were ranked."""
        frame = self._cases.filter(self._ranked)
        if missing := [name for name in FACTS if name not in frame.columns]:
            raise MissingError(
                f"{self.run.folder}/ranks.parquet lacks {', '.join(missing)}, which older versions did not write; "
                "scripts/evaluate.py checkpoint=... tests the run again"
            )
        return frame

    @cached_property
    def _cases(self) -> pl.DataFrame:
        return pl.read_parquet(self.run.folder / "ranks.parquet", glob=False)

    @cached_property
    def _ranked(self) -> pl.Series:
        """[K] whether a case has a rank under every protocol."""
        names = [n for n in self._cases.columns if n not in _IDS and n not in FACTS and "/" not in n]
        return self._cases.select(ranked=pl.all_horizontal(pl.col(names).is_not_null()))["ranked"]

    @cached_property
    def protocols(self) -> list[str]:
        """Names of the rankings, ``full`` first."""
        names = [n for n in self.frame.columns if n not in _IDS and n not in FACTS and "/" not in n]
        return sorted((n for n in names if self.frame[n].null_count() == 0), key=lambda name: name != "full")

    def ranks(self, protocol: str) -> npt.NDArray[np.int64]:
        """[K]; of a floor for ``<floor>/<protocol>``."""
        return self.frame[protocol].to_numpy()

    @cached_property
    def recommended_items(self) -> npt.NDArray[np.int32]:
        """[K, 10] item ids of every case, best first."""
        file = self.run.folder / "recommended.npy"
        if not file.is_file():
            raise MissingError(
                f"{self.run.folder} holds no recommended.npy; scripts/evaluate.py checkpoint=... writes it for older runs"
            )
        lists = np.load(file, mmap_mode="r", allow_pickle=False)
        return lists if self._ranked.all() else lists[self._ranked.to_numpy()]

    def artifact(self, name: str) -> Artifact:
        """An artifact that this run reads.

        Raises:
            MissingError: the run reads none of that name, or its folder is missing.
        """
        if self.run.artifact(name).name in ("???", "None"):
            raise MissingError(f"nothing in this run uses the artifact {name}")
        try:
            return Artifact.at(self.run.artifact(name), verify=True)
        except ArtifactError as error:
            raise MissingError(str(error)) from error

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """The existing ones by name."""
        names: Any = self.run.config.get("artifacts", {})
        artifacts = {}
        for name in names:
            with contextlib.suppress(MissingError):
                artifacts[name] = self.artifact(name)
        return artifacts

    @cached_property
    def titles(self) -> list[str]:
        """By item id; ``item <id>`` where there is no title."""
        items = self.artifact("sequences").frame("items").sort("item")
        ids = items["item_id"] if "item_id" in items.columns else items["item"]
        titles = items["title"].cast(pl.String) if "title" in items.columns else [None] * len(ids)
        return ["", *((title or "").strip() or f"item {i}" for title, i in zip(titles, ids, strict=True)), ""]

    @cached_property
    def footprint(self) -> Mapping[str, Any]:
        """``footprint.json``."""
        file = self.run.folder / "footprint.json"
        if not file.is_file():
            raise MissingError(f"{self.run.folder} holds no footprint.json (callbacks.footprint writes it)")
        return read_json(file)


@dataclass(frozen=True)
class Subject:
    """The subject of a chapter: systems on one data set, each with its runs in order of seeds.

    Args:
        dataset: its name.
        systems: label -> runs.
        records: all values, including the floors'.
        bases: system -> its baseline; the floor of the first protocol for a single run.
        focus: label of the system beside its baseline.
        lines: statements of the comparison.
    """

    dataset: str
    systems: Mapping[str, Sequence[RunFiles]]
    records: Sequence[Record]
    bases: Mapping[str, str]
    focus: str | None = None
    lines: Sequence[str] = ()

    @property
    def baseline(self) -> str | None:
        """The baseline of the system in focus, if it is a system of this subject."""
        base = self.bases.get(self.focus or "")
        return base if base in self.systems else None

    def first(self, system: str | None = None) -> RunFiles:
        """The run with the lowest seed, of one system or of the one in focus."""
        return self.systems[system or self.focus or next(iter(self.systems))][0]

    @cached_property
    def styles(self) -> dict[str, str]:
        """System -> style class: the floor grey, the baseline quiet, the focus blue, then the others, the best first."""
        order = [name for name in (self.baseline, self.focus) if name and name in self.systems]
        scores = {name: (r.mean or 0) if (r := self.find(name)) else 0 for name in self.systems}
        order += sorted((name for name in self.systems if name not in order), key=lambda name: -scores[name])
        start = 0 if self.baseline in self.systems else 1
        floor_rows = {record.system: "floor" for record in self.records if is_floor(record.system)}
        return floor_rows | {name: f"s{(start + i) % 8}" for i, name in enumerate(order)}

    def floor(self, protocol: str = "") -> str | None:
        """The row of the floor, which is the first ranker without training; by default of the first protocol."""
        protocol = protocol or self.protocols[0]
        return next((r.system for r in self.records if r.protocol == protocol and not r.seeds), None)

    @property
    def protocols(self) -> list[str]:
        return list(dict.fromkeys(record.protocol for record in self.records))

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(record.metric for record in self.records))

    def find(self, system: str, group: str = "overall", protocol: str = "", metric: str = "") -> Record | None:
        """One value; by default of the first protocol and metric."""
        return self._by_place.get((protocol or self.protocols[0], metric or self.metrics[0], system, group))

    @cached_property
    def _by_place(self) -> dict[tuple[str, str, str, str], Record]:
        return {(r.protocol, r.metric, r.system, r.group): r for r in self.records}


def run_subject(run: FinishedRun, metrics: Sequence[str], resamples: int, seed: int) -> Subject:
    """A run against the best floor.

    Raises:
        ReportError: its ranks are unusable.
    """
    files = RunFiles(run)
    label = "/".join([run.choices.get(key, "") for key in ("method", "backbone")] + (["refit"] if run.refit else []))
    try:
        groups = {"overall": np.ones(len(files.frame), bool)} | members(files.frame)
    except MissingError as reason:
        raise ReportError(str(reason)) from reason
    if not files.protocols or files.frame.is_empty():
        raise ReportError(f"{run.folder} ranked no test case; scripts/evaluate.py checkpoint=FILE ranks them")
    families = {title: [n for n in names if n in groups] for title, names in FAMILIES.items()}
    families = {"all": ["overall"]} | {title: names for title, names in families.items() if names}
    title_of = {name: title for title, names in families.items() for name in names}
    stored = floors.stored([RunRanks(files.frame, tuple(files.protocols))])
    records: list[Record] = []
    bases: dict[str, str] = {}
    lines: list[str] = []
    for protocol in files.protocols:
        ranks = {protocol: files.ranks(protocol)[None]}
        system = comparison.System((label,), ranks, converged=run.converged, refit=run.refit is not None)
        rows = [*floors.with_floor([], stored, protocol, metrics[0]), system]
        against: dict[comparison.Name, comparison.Name] = {} if rows[0] is system else {system.name: rows[0].name}
        lines += floors.standing(rows, stored, protocol, metrics[0])
        draw = metrics, against, list(families.values()), resamples, seed
        cells = comparison.make_cells(rows, groups, protocol, *draw)
        records += [_record(cell, title_of[cell.group]) for cell in cells]
        if against:
            bases.setdefault(label, rows[0].label)
    return Subject(run.dataset, {label: [files]}, records, bases, label, lines)


def comparison_subject(
    content: Mapping[str, Any], runs: Mapping[str, Sequence[FinishedRun]], dataset: str, focus: str | None = None
) -> Subject:
    """A data set of a comparison.

    Args:
        content: of ``comparison.json``.
        runs: system -> its readable runs.
        dataset: its name.
        focus: the system beside the baseline; None for the best by the first metric.

    Raises:
        ReportError: there is no system of that name.
    """
    values = [value for value in content["values"] if value["dataset"] == dataset]
    records = [Record(**{name: value.get(name) for name in Record._fields}) for value in values]
    systems = {name: [RunFiles(run) for run in members] for name, members in runs.items()}
    bases = {record.system: record.baseline for record in records if record.baseline}
    scores = {r.system: r.mean or 0 for r in reversed(records) if r.group == "overall" and r.system in systems}
    others = {name: score for name, score in scores.items() if name in bases} or scores
    if focus is None and others:
        focus = max(others, key=lambda name: others[name])
    elif focus is not None and focus not in others:
        raise ReportError(f"focus is {focus!r}, wanted one of {', '.join(others)}")
    return Subject(dataset, systems, records, bases, focus, content["lines"].get(dataset, []))


def _record(cell: comparison.Cell, family: str) -> Record:
    values = {key: value for key, value in cell._asdict().items() if key != "against"}
    if a := cell.against:
        values |= {"baseline": a.baseline, "difference": a.difference, "p_holm": a.p_holm, "mark": a.mark}
        values |= {"difference_low": a.low, "difference_high": a.high}
    return Record(family=family, **values)
