"""Finished runs in, tables with tests out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sage_pl.comparison import cells as comparison
from sage_pl.comparison import statistics
from sage_pl.comparison.cells import Name, System
from sage_pl.comparison.files import Comparison, ListValue, Section, Table, write
from sage_pl.comparison.published import Layout
from sage_pl.comparison.ranks import RunRanks, read_ranks, same_cases, stacked
from sage_pl.comparison.runs import FinishedRun, RunError, find
from sage_pl.comparison.systems import comparable, systems
from sage_pl.evaluation.groups import FAMILIES, members
from sage_pl.evaluation.popularity import FLOOR

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
    options["by"] = [options["by"]] if isinstance(options["by"], str) else list(options["by"])
    layout = _checked(options)
    found, unfinished = find(options["runs"])
    by_dataset, refused = comparable(found, () if options["head"] == "own" else _HEAD_RULE)
    _warn([*map(str, unfinished)])
    remarks = _warn(refused)
    sections = []
    for dataset, runs in sorted(by_dataset.items()):
        try:
            named, tests = _readable(dataset, runs, options["by"], remarks)
            sections.append(_section(dataset, named, tests, options))
        except RunError as error:
            remarks += _warn([f"{dataset} is left out: {error}"])
            continue
        remarks += _warn(_lacking(dataset, named, options["baseline"]))
    if not sections:
        problems = [*map(str, unfinished), *remarks]
        raise RunError("nothing can be compared:" + "".join(f"\n  {problem}" for problem in problems))
    cells = {section.dataset: [cell for table in section.tables for cell in table.cells] for section in sections}
    sizes = {dataset: by_dataset[dataset][0].sizes for dataset in cells}
    paper = None if layout is None else layout.fill(cells, sizes)
    about = {key: _text(options[key]) for key in ("by", "baseline", "head", "resamples", "seed")}
    failed = [(str(one.folder), one.reason) for one in unfinished]
    result = Comparison(about, sections, paper, failed, remarks)
    write(options["folder"], result)
    log.info("written to %s", Path(options["folder"]) / "comparison.md")
    return result


def _checked(options: Mapping[str, Any]) -> Layout | None:
    """A mistyped option ends here; the layout of a paper's table, if one is wanted."""
    for metric in options["metrics"]:
        statistics.gains(np.ones(1, np.int64), metric)
    if not options["table"]:
        return None
    if options["by"] != ["method", "backbone"]:
        raise RunError(
            f"table=... names its rows by method and backbone, got by={_text(options['by'])}; leave by as it is"
        )
    return Layout(**options["table"])


def _readable(
    dataset: str, runs: Sequence[FinishedRun], by: Sequence[str], remarks: list[str]
) -> tuple[Runs, dict[Path, RunRanks]]:
    """A data set's runs by system, and their tests; what cannot be used is added to ``remarks``."""
    tests: dict[Path, RunRanks] = {}
    for run in runs:
        try:
            tests[run.folder] = read_ranks(run)
        except RunError as error:
            remarks += _warn([str(error)])
    tests, others = same_cases(tests)
    named, notes = systems([run for run in runs if run.folder in tests], by)
    remarks += _warn([f"{dataset}: {note}" for note in [*others, *notes]])
    if not named:
        raise RunError("no run of it can be read")
    for name, ones in named.items():
        log.info("%s: %s, seeds %s", dataset, "/".join(name), ", ".join(str(run.seed) for run in ones))
    if single := ", ".join("/".join(name) for name, ones in named.items() if len(ones) == 1):
        unknown = "the noise of seeds is unknown, so every difference to or from it is marked ~; train more seeds"
        remarks += _warn([f"{dataset}: one seed only of {single}: {unknown}"])
    return named, tests


def _section(dataset: str, named: Runs, tests: Mapping[Path, RunRanks], options: Mapping[str, Any]) -> Section:
    """A data set's tables, and what its protocols agree on."""
    first = tests[next(iter(named.values()))[0].folder]
    thresholds: Any = next(iter(named.values()))[0].config["evaluation"]["groups"]
    protocols = [p for p in first.protocols if all(p in test.protocols for test in tests.values())]
    trained = [
        System(name, stacked([tests[run.folder] for run in ones], protocols)) for name, ones in sorted(named.items())
    ]
    floor = System((FLOOR,), {p: ranks[None] for p, ranks in first.floor().items()}, fixed=True)
    groups = {"overall": np.ones(len(first.frame), bool)} | members(first.facts(options["head"], thresholds))
    families = {title: [name for name in names if name in groups] for title, names in FAMILIES.items()}
    families = dict(list(families.items())[: None if options["all_groups"] else 1])
    families[next(iter(families))].insert(0, "overall")
    shown = {name: groups[name] for names in families.values() for name in names}
    baselines = _baselines(list(named), options["baseline"])
    tables = []
    for protocol in protocols:
        rows = [system for system in (floor, *trained) if protocol in system.ranks]
        draw = options["metrics"], baselines, list(families.values()), options["resamples"], options["seed"]
        cells = comparison.compare(rows, shown, protocol, *draw)
        tables += [Table(protocol, title, [c for c in cells if c.group in names]) for title, names in families.items()]
    every = [cell for table in tables for cell in table.cells]
    agreed = (comparison.agreement(every, m, (protocols[0], p)) for p in protocols[1:] for m in options["metrics"])
    folders = {"/".join(name): [str(run.folder) for run in ones] for name, ones in sorted(named.items())}
    return Section(dataset, tables, [one for one in agreed if one], _lists(named), folders)


def _lists(named: Runs) -> list[ListValue]:
    """Metrics of recommended lists that all runs of a system have."""
    values = []
    for name, runs in sorted(named.items()):
        for metric in sorted(key for key in runs[0].metrics if key.startswith(_LISTS)):
            if all(metric in run.metrics for run in runs):
                by_seed = np.array([run.metrics[metric] for run in runs])
                sd = float(by_seed.std(ddof=1)) if len(runs) > 1 else None
                values.append(
                    ListValue("/".join(name), metric.removeprefix(_LISTS), len(runs), float(by_seed.mean()), sd)
                )
    return values


def _baselines(names: Sequence[Name], baseline: str | None) -> dict[Name, Name]:
    """System -> its baseline, where there is one."""
    if baseline is None:
        return {}
    if baseline == FLOOR:
        return dict.fromkeys(names, (FLOOR,))
    beginnings = {
        "/".join(name[:n]): name[:n] for name in names for n in range(1, len(name) + 1)
    }  # a choice may hold "/"
    first = beginnings.get(str(baseline), (str(baseline),))
    pairs = {name: comparison.baseline_of(name, first) for name in names}
    return {name: base for name, base in pairs.items() if base in names}


def _lacking(dataset: str, named: Runs, baseline: str | None) -> list[str]:
    """A message if the data set has no runs of the baseline."""
    if baseline is None or _baselines(list(named), baseline):
        return []
    known = ", ".join("/".join(name) for name in named)
    return [f"{dataset} has no runs of the baseline {baseline}, so nothing is tested; there are {known}"]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _warn(messages: Sequence[str]) -> list[str]:
    for message in messages:
        log.warning("%s", message)
    return list(messages)
