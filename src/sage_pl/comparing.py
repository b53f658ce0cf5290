"""The story of the command compare: finished runs in, tables with tests out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts import Artifact, ArtifactError
from sage_pl.data.sequences import Sequences
from sage_pl.evaluation import bands, comparison, comparison_files, statistics
from sage_pl.evaluation.comparison import Name, System
from sage_pl.evaluation.groups import Groups
from sage_pl.evaluation.popularity import popularity_ranks
from sage_pl.finished_runs import FinishedRun, RunError, comparable, find, systems

log = logging.getLogger(__name__)
FLOOR = "popularity"
_COLUMNS = {"user", "answer", "user_id", "item_id"}  # of ranks.parquet; all others are protocols
_TOLERANCE = 2e-6  # metrics.json is rounded to 6 decimals
_Ranks = dict[str, npt.NDArray[np.int64]]


def compare(config: DictConfig) -> list[comparison_files.Section]:
    """Compare the runs that ``config.runs`` finds and write the tables into ``config.folder``.

    Raises:
        RunError: nothing can be compared, or no data set has the baseline.
    """
    options: Any = OmegaConf.to_container(config, resolve=True)
    by = [options["by"]] if isinstance(options["by"], str) else list(options["by"])
    for metric in options["metrics"]:
        statistics.gains(np.ones(1, np.int64), metric)  # a mistyped name ends here
    found, problems = find(options["runs"])
    by_dataset, refused = comparable(found)
    remarks = _warn([*problems, *refused])
    sections, missing = [], []
    for dataset, runs in sorted(by_dataset.items()):
        try:
            section, lacking = _dataset(dataset, runs, by, options, remarks)
        except (RunError, ArtifactError) as error:
            remarks += _warn([f"{dataset} is left out: {error}"])
            continue
        sections.append(section)
        missing += lacking
    if not sections:
        raise RunError("nothing can be compared:" + "".join(f"\n  {remark}" for remark in remarks))
    if len(missing) == len(sections):
        raise RunError(f"{'; '.join(missing)}; choose baseline=... among them, or baseline=null")
    remarks += _warn(missing)
    about = {key: _text(options[key]) for key in ("by", "baseline", "resamples", "seed")}
    comparison_files.write(options["folder"], sections, about, remarks)
    log.info("written to %s", Path(options["folder"]) / "comparison.md")
    return sections


def _dataset(
    dataset: str, runs: Sequence[FinishedRun], by: Sequence[str], options: Mapping[str, Any], remarks: list[str]
) -> tuple[comparison_files.Section, list[str]]:
    """A data set's tables, and a message if the baseline is missing; remarks are added to ``remarks``."""
    data = Sequences.load(_artifact(runs, "sequences"))
    ranks: dict[Path, _Ranks] = {}
    for run in runs:
        try:
            ranks[run.folder] = read_ranks(run, data)
        except RunError as error:
            remarks += _warn([str(error)])
    named, notes = systems([run for run in runs if run.folder in ranks], by)
    remarks += _warn([f"{dataset}: {note}" for note in notes])
    if not named:
        raise RunError("no run of it can be read")
    for name, members in named.items():
        log.info("%s: %s, seeds %s", dataset, "/".join(name), ", ".join(str(run.seed) for run in members))
    first = next(iter(named.values()))[0]
    protocols = [
        p for p in ranks[first.folder] if all(p in ranks[run.folder] for runs in named.values() for run in runs)
    ]
    trained = [
        System(name, {p: np.stack([ranks[run.folder][p] for run in members]) for p in protocols})
        for name, members in sorted(named.items())
    ]
    floor = System((FLOOR,), {p: r[None] for p, r in _floor(first, runs, data).items() if p in protocols}, fixed=True)
    baselines, lacking = _baselines(dataset, list(named), options["baseline"])
    families = _families(first, data, options["bands"])
    return _section(dataset, [floor, *trained], families, protocols, baselines, options), lacking


def _section(
    dataset: str,
    rows: Sequence[System],
    families: Mapping[str, comparison.Groups],
    protocols: Sequence[str],
    baselines: Mapping[Name, Name],
    options: Mapping[str, Any],
) -> comparison_files.Section:
    groups = {name: members for family in families.values() for name, members in family.items()}
    tables: list[comparison_files.Table] = []
    cells: list[comparison.Cell] = []
    for protocol in protocols:
        present = [system for system in rows if protocol in system.ranks]
        own = comparison.compare(
            present,
            groups,
            protocol,
            options["metrics"],
            baselines,
            [list(family) for family in families.values()],
            options["resamples"],
            options["seed"],
        )
        tables += [
            comparison_files.Table(protocol, title, [cell for cell in own if cell.group in family])
            for title, family in families.items()
        ]
        cells += own
    lines = [
        str(agreed)
        for other in protocols[1:]
        for metric in options["metrics"][:1]
        if (agreed := comparison.agreement(cells, metric, (protocols[0], other)))
    ]
    return comparison_files.Section(dataset, tables, lines)


def read_ranks(run: FinishedRun, data: Sequences) -> _Ranks:
    """Protocol -> [K] ranks of all test cases, in the order of the cases.

    Raises:
        RunError: the rows are not the test cases, a case has no rank, or metrics.json says something else.
    """
    file = run.folder / "ranks.parquet"
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RunError(f"{file} cannot be read ({error}); test the run again") from error
    protocols = [name for name in frame.columns if name not in _COLUMNS]
    if not protocols or not {"user", "answer"} <= set(frame.columns):
        raise RunError(f"{file} has columns {', '.join(frame.columns)}; wanted user, answer and a protocol's ranks")
    for name, wanted in (("user", data.test.user), ("answer", data.test.answer)):
        if not np.array_equal(frame[name].to_numpy(), wanted):
            raise RunError(
                f"{file} is left out: its rows are not the {len(data.test)} test cases of sequences {data.key} ({name} differs)"
            )
    tested = {name.split("/")[1] for name in run.metrics if name.startswith("test/")}
    if gone := sorted(tested - set(protocols)):
        raise RunError(f"{file} is left out: metrics.json has {', '.join(gone)}, but there are no ranks of it")
    for protocol in protocols:
        if absent := len(frame) - int((frame[protocol] >= 1).sum()):
            raise RunError(
                f"{file} is left out: {absent} of {len(frame)} cases have no rank under {protocol}; test the whole split "
                "(scripts/evaluate.py)"
            )
    ranks = {protocol: frame[protocol].cast(pl.Int64).to_numpy() for protocol in protocols}
    _check_metrics(run, ranks)
    return dict(sorted(ranks.items(), key=lambda pair: pair[0] != "full"))


def _check_metrics(run: FinishedRun, ranks: _Ranks) -> None:
    for protocol, values in ranks.items():
        name = f"test/{protocol}/ndcg@10"
        counted = float(statistics.gains(values, "ndcg@10").mean())
        if abs(run.metrics.get(name, counted) - counted) > _TOLERANCE:
            raise RunError(
                f"{run.folder} is left out: metrics.json has {name} = {run.metrics[name]:.6f}, but ranks.parquet gives "
                f"{counted:.6f}; the files are of different tests"
            )


def _artifact(runs: Sequence[FinishedRun], name: str) -> Artifact:
    """The artifact all runs share, wherever one of them finds it."""
    places = dict.fromkeys(run.artifact(name) for run in runs)
    for place in places:
        if (place / "manifest.json").is_file():
            return Artifact.at(place)
    raise ArtifactError(
        f"the artifact {name} is in none of {', '.join(map(str, places))}; scripts/prepare.py with the runs' dataset and "
        "paths makes it again"
    )


def _floor(run: FinishedRun, runs: Sequence[FinishedRun], data: Sequences) -> _Ranks:
    """The popularity floor under the runs' own evaluation; without sampled candidates where those are gone."""
    candidates = None
    try:
        candidates = _artifact(runs, "candidates").array("test")
    except ArtifactError as error:
        if run.artifact("candidates").name != "???":
            log.warning("no popularity floor for sampled candidates: %s", error)
    return popularity_ranks(data, data.test, candidates, run.setting()["evaluation.seen"] == "mask")


def _families(run: FinishedRun, data: Sequences, with_bands: bool) -> dict[str, comparison.Groups]:
    """Title -> groups that are tested together."""
    rules: Any = run.config["evaluation"]["groups"]
    everyone = {"overall": np.ones(len(data.test), bool)}
    families: dict[str, comparison.Groups] = {"head and tail": everyone | dict(Groups(data, data.test, **rules))}
    if with_bands:
        families["training events of the answer"] = bands.popularity_bands(data, data.test)
        families["events before the answer"] = bands.length_bands(data.test)
    return families


def _baselines(dataset: str, names: Sequence[Name], baseline: str | None) -> tuple[dict[Name, Name], list[str]]:
    """System -> its baseline, and a message where there is none."""
    if baseline is None:
        return {}, []
    if baseline == FLOOR:
        return dict.fromkeys(names, (FLOOR,)), []
    wanted = tuple(str(baseline).split("/"))
    pairs = {name: comparison.baseline_of(name, wanted) for name in names}
    found = {name: base for name, base in pairs.items() if base in names}
    known = ", ".join("/".join(name) for name in names)
    return found, [] if found else [f"{dataset} has no runs of the baseline {baseline}; there are {known}"]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _warn(messages: Sequence[str]) -> list[str]:
    for message in messages:
        log.warning("%s", message)
    return list(messages)
