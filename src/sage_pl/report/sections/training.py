"""The course of training: validation by epoch, every loss term, spectrum of the item vectors, gradient norms."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sage_pl.report import drawing, labels
from sage_pl.report.blocks import Block, Figure, MissingError, Prose, Section
from sage_pl.report.charts import Chart
from sage_pl.report.drawing import Series
from sage_pl.report.reading import RunFiles, Subject
from sage_pl.report.sections.groups import charted_systems, legend

NAME, TITLE = "training", "Training"
_MONITOR = "val/full/ndcg@10"
_WATCHED = {_MONITOR: "All users", f"{_MONITOR}/item_head": "Head items", f"{_MONITOR}/item_tail": "Tail items"}
_LOSS, _SPECTRUM, _NORM = "train/loss/", "val/spectrum/", "train/grad_norm"
_LOSS_TEXT = "Each term by epoch, before its weight; every chart has its own scale."
_SPECTRUM_TEXT = (
    "Effective rank: the number of directions that the scored item vectors use, exp of the entropy of their singular values; "
    "a fall towards 1 is a collapse. Largest share: of the strongest direction. A name before it: of that view of the items."
)
_NORM_TEXT = (
    "Norm of the gradient before clipping, of the model and of its parts: mean over the measured steps of an epoch."
)
_MOST = 9  # curves in a chart, and the floor


def make(subject: Subject) -> Section:
    """Charts by epoch; of several seeds the first run's."""
    runs = {name: subject.first(name) for name in charted_systems(subject, most=_MOST) if name in subject.systems}
    histories = _histories(runs)
    best = _best_epochs(runs, histories)
    losses = {name: _term(runs, name) for name in _columns(histories, _LOSS)}
    spectra = {name: _figure(name.removeprefix(_SPECTRUM)) for name in _spectra(histories)}
    norms = {name: _part(name.removeprefix(_NORM)) for name in _columns(histories, _NORM)}
    validation = f"NDCG@10 in percent on the validation answers, {labels.protocol('full')}, by epoch.{_best_text(best)}"
    mark = _mark(best)
    figures = [
        (
            "Validation",
            validation,
            [_chart(subject, histories, *row, "NDCG@10, %", 100, mark) for row in _WATCHED.items()],
        ),
        ("Loss terms", _LOSS_TEXT, [_chart(subject, histories, *row, "loss") for row in losses.items()]),
        (
            "Spectrum of the item vectors",
            _SPECTRUM_TEXT,
            [
                _chart(subject, histories, *row, "directions" if "rank" in row[0] else "share")
                for row in spectra.items()
            ],
        ),
        ("Gradient norms", _NORM_TEXT, [_chart(subject, histories, *row, "L2 norm") for row in norms.items()]),
    ]
    key = legend(subject, list(histories)) if len(runs) > 1 else {}
    blocks: list[Block] = []
    for title, text, charts in figures:
        if present := [chart for chart in charts if chart]:
            blocks.append(Figure(title, text, present, key))
    if not blocks:
        raise MissingError("the runs have no values by epoch")
    if len(runs) > 1:
        blocks.insert(0, Prose("Of each system the run with the lowest seed."))
    return Section(NAME, TITLE, blocks)


def _histories(runs: dict[str, RunFiles]) -> dict[str, pl.DataFrame]:
    """System -> values by epoch, where the run has them."""
    histories, reasons = {}, []
    for name, files in runs.items():
        try:
            histories[name] = files.history
        except MissingError as reason:
            reasons.append(reason)
    if not histories:
        raise reasons[0]
    return histories


def _columns(histories: dict[str, pl.DataFrame], prefix: str) -> list[str]:
    names = [name for frame in histories.values() for name in frame.columns if name.startswith(prefix)]
    return list(dict.fromkeys(sorted(names, key=lambda name: (name != f"{_LOSS}recommendation", name))))


def _chart(
    subject: Subject,
    histories: dict[str, pl.DataFrame],
    column: str,
    title: str,
    unit: str,
    factor: float = 1,
    rule: tuple[float, str] | None = None,
) -> Chart | None:
    series = []
    for name, frame in histories.items():
        if column not in frame.columns:
            continue
        points = frame.select("epoch", pl.col(column) * factor).drop_nulls()
        if len(points):
            series.append(Series(subject.styles[name], name, points["epoch"].to_list(), points[column].to_list()))
    return drawing.lines(title, series, "epoch", rule=rule, y_name=unit) if series else None


def _spectra(histories: dict[str, pl.DataFrame]) -> list[str]:
    """All of the scored vectors, then of each view its effective rank."""
    names = _columns(histories, _SPECTRUM)
    scored = [name for name in names if "/" not in name.removeprefix(_SPECTRUM)]
    return scored + [name for name in names if name not in scored and name.endswith("/effective_rank")]


def _figure(name: str) -> str:
    """``text/effective_rank`` as ``Text: effective rank``."""
    return name.replace("/", ": ").replace("_", " ").capitalize()


def _part(name: str) -> str:
    """``/item_encoder`` as ``item encoder``."""
    return name.strip("/").replace("_", " ") or "whole model"


def _term(runs: dict[str, RunFiles], column: str) -> str:
    """A term's name with its weight, if all runs that have it agree."""
    name = column.removeprefix(_LOSS)
    weights = {
        float(term["weight"])
        for files in runs.values()
        if (term := (files.run.config.get("model", {}).get("terms") or {}).get(name)) and "weight" in term
    }
    weight = f", weight {weights.pop():g}" if len(weights) == 1 else ""
    return f"{name.replace('_', ' ').capitalize()}{weight}"


def _best_epochs(runs: dict[str, RunFiles], histories: dict[str, pl.DataFrame]) -> list[tuple[str, int, float]]:
    """System, its tested epoch, and the value that selected it."""
    epochs = []
    for name, frame in histories.items():
        best = runs[name].run.config.get("callbacks", {}).get("best", {})
        monitor, highest = best.get("monitor", _MONITOR), best.get("mode", "max") == "max"
        if monitor in frame.columns and len(rows := frame.select("epoch", monitor).drop_nulls()):
            epoch, value = rows.sort(monitor, descending=highest, maintain_order=True).row(0)
            epochs.append((name, int(epoch), float(value)))
    return epochs


def _mark(best: Sequence[tuple[str, int, float]]) -> tuple[float, str] | None:
    return (best[0][1], "best epoch") if len(best) == 1 else None


def _best_text(best: Sequence[tuple[str, int, float]]) -> str:
    if len(best) == 1:
        return f" The epoch that was tested: {best[0][1]} ({labels.percent(best[0][2])} %)."
    return " Tested epochs: " + ", ".join(f"{name} {epoch}" for name, epoch, _ in best) + "." if best else ""
