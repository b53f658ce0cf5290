"""Finished runs in, tables with tests out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sage_pl.comparison import cells as comparison
from sage_pl.comparison import floors, statistics
from sage_pl.comparison.cells import Name, System
from sage_pl.comparison.files import Comparison, ListValue, Section, Table, write
from sage_pl.comparison.published import Layout
from sage_pl.comparison.ranks import RunRanks, read_ranks, same_cases, stack_ranks
from sage_pl.comparison.runs import FinishedRun, RunError, find
from sage_pl.comparison.systems import comparable, systems
from sage_pl.comparison.terminal import show
from sage_pl.evaluation.groups import FAMILIES, members

log = logging.getLogger(__name__)
_LISTS = "test/lists/"
_HEAD_RULE = ("evaluation.groups.item_rule", "evaluation.groups.count")
Runs = Mapping[Name, Sequence[FinishedRun]]


def compare_runs(options: dict[str, Any]) -> Comparison:
    """Compare the runs that ``options["runs"]`` finds and write the tables into ``options["folder"]``.

    Args:
        options: the keys of ``conf/compare.yaml``.

    Raises:
        RunError: nothing can be compared, or an option does not fit.
    """
    for key in ("by", "average_over"):
        options[key] = [options[key]] if isinstance(options[key], str) else list(options[key])
    options["groups"] = [options["groups"]] if isinstance(options["groups"], str) else options["groups"]
    layout = _check(options)
    finished, unfinished = find(options["runs"])
    ignored = () if options["head"] == "own" else _HEAD_RULE
    by_dataset, problems = comparable(finished, ignored)
    _warn([*map(str, unfinished)])
    remarks = _warn(problems)
    sections = []
    for dataset, runs in sorted(by_dataset.items()):
        try:
            by_system, tests = _read(dataset, runs, options["by"], (*ignored, *options["average_over"]), remarks)
            sections.append(_section(dataset, by_system, tests, options))
        except RunError as error:
            remarks += _warn([f"{dataset} is left out: {error}"])
            continue
        remarks += _warn(_without_baseline(dataset, by_system, tests, options))
    if not sections:
        reasons = [*map(str, unfinished), *remarks]
        raise RunError("nothing can be compared:" + "".join(f"\n  {reason}" for reason in reasons))
    cells = {section.dataset: [cell for table in section.tables for cell in table.cells] for section in sections}
    sizes = {dataset: by_dataset[dataset][0].sizes for dataset in cells}
    paper = None if layout is None else layout.fill(cells, sizes)
    about = {key: _text(options[key]) for key in ("by", "baseline", "head", "resamples", "seed")}
    about |= {"average over": _text(options["average_over"])} if options["average_over"] else {}
    failures = [(str(run.folder), run.reason) for run in unfinished]
    result = Comparison(about, sections, paper, failures, remarks)
    write(options["folder"], result)
    show(result)
    log.info("written to %s", Path(options["folder"]) / "comparison.md")
    return result


def _check(options: Mapping[str, Any]) -> Layout | None:
    """The layout of a paper's table, if ``table`` is set; a mistyped option raises here."""
    for metric in options["metrics"]:
        statistics.gains(np.ones(1, np.int64), metric)
    known = ["overall", *(name for names in FAMILIES.values() for name in names)]
    if unknown := [name for name in options["groups"] or [] if name not in known]:
        raise RunError(f"groups has {', '.join(map(str, unknown))}; choose from {', '.join(known)}")
    if not options["table"]:
        return None
    if options["by"] != ["method", "backbone"]:
        by = _text(options["by"])
        raise RunError(f"table=... names its rows by method and backbone, got by={by}; leave out by=")
    return Layout(**options["table"])


def _read(
    dataset: str, runs: Sequence[FinishedRun], by: Sequence[str], ignored: Sequence[str], remarks: list[str]
) -> tuple[Runs, dict[Path, RunRanks]]:
    """A data set's runs by system, and their tests; each unusable run adds a line to ``remarks``."""
    tests: dict[Path, RunRanks] = {}
    for run in runs:
        try:
            tests[run.folder] = read_ranks(run)
        except RunError as error:
            remarks += _warn([str(error)])
    tests, others = same_cases(tests)
    by_system, notes = systems([run for run in runs if run.folder in tests], by, ignored)
    remarks += _warn([f"{dataset}: {note}" for note in [*others, *notes]])
    if not by_system:
        raise RunError("no run of it can be read")
    trained = {name: ones for name, ones in by_system.items() if not _untrained(ones)}
    seeds = {"/".join(name): [str(run.seed) for run in ones] for name, ones in trained.items()}
    for label, numbers in seeds.items():
        log.info("%s: %s, seeds %s", dataset, label, ", ".join(numbers))
    if single := ", ".join(label for label, numbers in seeds.items() if len(numbers) == 1):
        unknown = "the noise of seeds is unknown, so every difference to or from it is marked ~; train more seeds"
        remarks += _warn([f"{dataset}: one seed only of {single}: {unknown}"])
    if early := ", ".join("/".join(name) for name, ones in by_system.items() if _converged(ones) is False):
        text = "the best epoch is the last one, so no gain is claimed; raise trainer.max_epochs"
        remarks += _warn([f"{dataset}: not converged: {early}: {text}"])
    return by_system, tests


def _section(dataset: str, by_system: Runs, tests: Mapping[Path, RunRanks], options: Mapping[str, Any]) -> Section:
    """A data set's tables, and the agreement of its protocols."""
    run = next(iter(by_system.values()))[0]
    first, thresholds = tests[run.folder], run.config["evaluation"]["groups"]
    protocols = [p for p in first.protocols if all(p in test.protocols for test in tests.values())]
    models = [_system(name, runs, tests, protocols) for name, runs in sorted(by_system.items())]
    groups = {"overall": np.ones(len(first.frame), bool)} | members(first.facts(options["head"], thresholds))
    families = _families(groups, options)
    columns = {name: groups[name] for names in families.values() for name in names}
    baselines = _baselines(list(by_system), options["baseline"], len(options["by"]))
    named, stored = _floor_named(by_system, tests, options), floors.stored(tests.values())
    tables, lines = [], []
    for protocol in protocols:
        rows = floors.with_floor(models, stored, protocol, options["metrics"][0], named or floors.ANY)
        lines += floors.standing(rows, stored, protocol, options["metrics"][0])
        pairs = dict.fromkeys(by_system, rows[0].name) if named else baselines
        draw = options["metrics"], pairs, list(families.values()), options["resamples"], options["seed"]
        cells = comparison.make_cells(rows, columns, protocol, *draw)
        tables += [Table(protocol, title, [c for c in cells if c.group in names]) for title, names in families.items()]
    every = [cell for table in tables for cell in table.cells]
    agreements = (comparison.agreement(every, m, (protocols[0], p)) for p in protocols[1:] for m in options["metrics"])
    folders = {"/".join(name): [str(run.place) for run in runs] for name, runs in sorted(by_system.items())}
    return Section(dataset, tables, [one for one in agreements if one], _lists(by_system), folders, lines)


def _system(
    name: Name, runs: Sequence[FinishedRun], tests: Mapping[Path, RunRanks], protocols: Sequence[str]
) -> System:
    """A system's ranks by seed; one that is not trained has no seeds."""
    fixed = _untrained(runs)
    ranks = stack_ranks([tests[run.folder] for run in (runs[-1:] if fixed else runs)], protocols)
    return System(name, ranks, fixed, None if fixed else _converged(runs), runs[0].refit is not None)


def _untrained(runs: Sequence[FinishedRun]) -> bool:
    return all(run.untrained for run in runs)


def _families(groups: Collection[str], options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Title of a table -> its groups, ``overall`` first; groups that the data do not have are left out."""
    families = FAMILIES if options["all_groups"] else dict(list(FAMILIES.items())[:1])
    if options["groups"]:
        families = {"chosen groups": tuple(options["groups"])}
    tables = {
        title: [name for name in names if name in groups and name != "overall"] for title, names in families.items()
    }
    tables[next(iter(tables))].insert(0, "overall")
    return tables


def _converged(runs: Sequence[FinishedRun]) -> bool | None:
    """Whether all runs of a system are converged; None where no run is known not to be, and one is unknown."""
    states = [run.converged for run in runs]
    return False if False in states else None if None in states else True


def _lists(by_system: Runs) -> list[ListValue]:
    """Metrics of recommended lists that all runs of a system have."""
    values = []
    for name, runs in sorted(by_system.items()):
        for metric in sorted(key for key in runs[0].metrics if key.startswith(_LISTS)):
            if all(metric in run.metrics for run in runs):
                by_seed = np.array([run.metrics[metric] for run in runs])
                sd = float(by_seed.std(ddof=1)) if len(runs) > 1 else None
                values.append(
                    ListValue("/".join(name), metric.removeprefix(_LISTS), len(runs), float(by_seed.mean()), sd)
                )
    return values


def _baselines(names: Sequence[Name], baseline: str | None, parts: int) -> dict[Name, Name]:
    """System -> its baseline; systems without one are left out.

    A name of more than ``parts`` parts is one of several systems of a name. It has the baseline with the same settings, and
    otherwise the only system of the baseline's name.
    """
    if baseline is None:
        return {}
    # keyed by text, as a choice may hold "/"
    beginnings = {"/".join(name[:n]): name[:n] for name in names for n in range(1, len(name) + 1)}
    first = beginnings.get(str(baseline), (str(baseline),))
    pairs = {}
    for name in names:
        same = comparison.baseline_of(name, first)
        pairs[name] = same if same in names else same[:parts]
    return {name: base for name, base in pairs.items() if base in names}


def _floor_named(by_system: Runs, tests: Mapping[Path, RunRanks], options: Mapping[str, Any]) -> str | None:
    """The floor that ``baseline`` names, unless a system has that name."""
    baseline, names = options["baseline"], {floors.ANY}.union(*(test.floors() for test in tests.values()))
    return baseline if baseline in names and not _baselines(list(by_system), baseline, len(options["by"])) else None


def _without_baseline(
    dataset: str, by_system: Runs, tests: Mapping[Path, RunRanks], options: Mapping[str, Any]
) -> list[str]:
    """A message if the data set has no runs of the baseline."""
    baseline = options["baseline"]
    against = _baselines(list(by_system), baseline, len(options["by"])) or _floor_named(by_system, tests, options)
    if baseline is None or against:
        return []
    names = ", ".join("/".join(name) for name in by_system)
    return [f"{dataset} has no runs of the baseline {baseline}, so nothing is tested; there are {names}"]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _warn(messages: Sequence[str]) -> list[str]:
    for message in messages:
        log.warning("%s", message)
    return list(messages)
