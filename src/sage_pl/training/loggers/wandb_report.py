"""A sweep's records as a W&B report: results by what varies, parallel coordinates, training, the runs' own pages."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sage_pl.artifacts.identity import flat, is_decisive
from sage_pl.training.loggers.wandb_run import RESULTS, LoggerError

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import PanelGrid, Report, Runset
    from wandb_workspaces.reports.v2.interface import Panel

_GROUPS = ("choices", "data", "loss", "optimizer", "trainer")  # whose values may be an axis, beside whole values
METHOD = "choices.method"
_NO_CHOICE = ("callbacks", "debug", "experiment", "local", "logger", "paths", "trainer")
_MOST = 8  # axes of parallel coordinates beside the results
CURVES = {
    "val/full/ndcg@10": "Validation, NDCG@10",
    "val/full/ndcg@10/item_tail": "Validation, tail items",
    "train/loss": "Training loss",
    "val/spectrum/effective_rank": "Directions that item vectors use",
    "train/grad_norm": "Gradient norm",
    "train/seconds": "Seconds of an epoch",
}


class Record(NamedTuple):
    """A run's configuration, and the results of its summary."""

    config: Mapping[str, Any]
    summary: Mapping[str, Any]


class Study(NamedTuple):
    """What a report is about.

    Args:
        entity, project: of the records.
        group: the sweep; None for all runs of the project.
        runs: their number.
        varied: dotted key of the configuration -> its values.
        results: names in the summary -> titles.
    """

    entity: str
    project: str
    group: str | None
    runs: int
    varied: Mapping[str, Sequence[Any]]
    results: Mapping[str, str]


def study(entity: str, project: str, group: str | None, records: Sequence[Record]) -> Study:
    """What varies between the records, and which results they have.

    Raises:
        LoggerError: there is no record, or none has a result.
    """
    place = f"{entity}/{project}" + (f", group {group}" if group else "")
    if not records:
        raise LoggerError(f"{place} has no finished run; the groups of W&B are the names of the sweeps' folders")
    results = {}
    for short, name in RESULTS.items():
        for column in (short, name):  # records of older versions have the long name alone
            if any(column in record.summary for record in records):
                results[column] = short.partition("/")[2]
                break
    if not results:
        raise LoggerError(f"no run of {place} has {next(iter(RESULTS.values()))}; wait for the end of one")
    return Study(entity, project, group, len(records), varied([record.config for record in records]), results)


def varied(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The keys whose values differ between runs that all have them: the method, other choices, settings, the seed.

    What follows from one of the choices before it is left out, as a method's losses do.

    >>> varied([{"seed": 1, "dim": 8, "loss": {"alpha": 0}}, {"seed": 2, "dim": 8, "loss": {"alpha": 0.1}}])
    {'loss.alpha': [0, 0.1], 'seed': [1, 2]}
    """
    settings = [{key: value for key, value in flat(config) if _is_axis(key, value)} for config in configs]
    shared = [key for key in settings[0] if all(key in one for one in settings)]
    columns = {key: [one[key] for one in settings] for key in shared if len({one[key] for one in settings}) > 1}
    axes: dict[str, list[Any]] = {}
    for key in sorted(columns, key=lambda key: (key == "seed", key != METHOD, not key.startswith("choices."))):
        choices = [columns[one] for one in axes if one.startswith("choices.")]
        if not any(_follows(columns[key], choice) for choice in choices):
            axes[key] = list(dict.fromkeys(columns[key]))
    return axes


def _follows(values: Sequence[Any], choice: Sequence[Any]) -> bool:
    """Whether runs of equal choice have equal values."""
    return len(set(zip(choice, values, strict=True))) == len(set(choice))


def _is_axis(key: str, value: Any) -> bool:
    first, _, rest = key.partition(".")
    if not isinstance(value, int | float | str) or rest.endswith(("_target_", "seed")):
        return False
    if first == "choices":
        return rest not in _NO_CHOICE
    return is_decisive(key) and (first in _GROUPS or not rest)


def make(what: Study) -> Report:
    """The report; nothing is sent.

    Raises:
        LoggerError: the package wandb-workspaces is not installed.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise LoggerError("sage-pl wandb-report needs the package wandb-workspaces: pip install 'sage-pl[wandb]'")
    import wandb_workspaces.reports.v2 as wr

    name = what.group or what.project
    keys = ", ".join(f"{key} ({', '.join(map(str, values))})" for key, values in what.varied.items())
    about = f"{what.runs} runs; varied: {keys}." if keys else f"{what.runs} runs with equal settings."
    blocks: Any = [
        wr.P(about),
        wr.H1("Results"),
        _grid([_runset(what, by=_by(what))], _results(what)),
        wr.H1("Every run"),
        _grid([_runset(what)], [_coordinates(what), wr.RunComparer(diff_only=True)]),
        wr.H1("Training"),
        _grid([_runset(what, by=_by(what))], [_curve(key, title) for key, title in CURVES.items()]),
        wr.H1("Pages of the runs"),
        _grid([_runset(what)], [wr.MediaBrowser(media_keys=["report"], layout=wr.Layout(w=24, h=14))]),
    ]
    return wr.Report(what.project, what.entity, title=f"{name}: {what.runs} runs", blocks=blocks, width="fluid")


def content(report: Report) -> dict[str, Any]:
    """What :func:`make`'s report sends to W&B, as plain values."""
    model = report._to_model()  # the package writes its own file of none
    spec = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    names = {"entityName": report.entity, "projectName": report.project, "displayName": report.title}
    return {**names, "type": "runs", "spec": spec}


def _by(what: Study) -> list[str]:
    """The keys that group runs, so that seeds are averaged."""
    return [key for key in what.varied if key != "seed"][:3] or [METHOD]


def _grid(runsets: list[Runset], panels: list[Any]) -> PanelGrid:
    import wandb_workspaces.reports.v2 as wr

    return wr.PanelGrid(runsets=runsets, panels=panels)


def _runset(what: Study, by: Sequence[str] = ()) -> Runset:
    """The finished runs of the sweep, the best first; columns: what varies, and the results."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    filters = [expr.Metric("JobType") == "run"] + ([expr.Metric("Group") == what.group] if what.group else [])
    columns = [_column(key) for key in what.varied] + [f"summary:{name}" for name in what.results]
    return wr.Runset(
        name="by " + ", ".join(by) if by else "runs",
        filters=filters,
        groupby=[f"config.{key}" for key in by],
        order=[wr.OrderBy(wr.SummaryMetric(next(iter(what.results))), ascending=False)],
        pinned_columns=["run:displayName"],
        visible_columns=columns,
        column_order=["run:displayName", *columns],
        lock_columns=True,
    )


def _column(key: str) -> str:
    first, _, rest = key.partition(".")
    return f"config:{first}.value" + (f".{rest}" if rest else "")


def _results(what: Study) -> list[Panel]:
    """Bars of each result by the first key that varies, seeds averaged; importance of what varies."""
    import wandb_workspaces.reports.v2 as wr

    key = wr.Config(_by(what)[0])
    bars = [
        wr.BarPlot(title=title, metrics=[name], groupby=key, groupby_aggfunc="mean", groupby_rangefunc="stddev")
        for name, title in what.results.items()
    ]
    several = len([key for key in what.varied if key != "seed"]) > 1
    return [*bars, *([wr.ParameterImportancePlot(with_respect_to=next(iter(what.results)))] if several else [])]


def _coordinates(what: Study) -> Panel:
    import wandb_workspaces.reports.v2 as wr

    column = wr.ParallelCoordinatesPlotColumn
    axes = [column(wr.Config(key), display_name=key) for key in list(what.varied)[:_MOST]]
    axes += [column(wr.SummaryMetric(name), display_name=title) for name, title in what.results.items()]
    return wr.ParallelCoordinatesPlot(title="Every run", columns=axes, layout=wr.Layout(w=24, h=10))


def _curve(key: str, title: str) -> Panel:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(title=title, x="epoch", y=[key], title_x="epoch")
