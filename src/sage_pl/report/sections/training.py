"""How training went: validation by epoch, every loss term, and the spectrum of the item vectors."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sage_pl.report import drawing, wording
from sage_pl.report.blocks import Block, Figure, MissingError, Prose, Section
from sage_pl.report.charts import Chart
from sage_pl.report.drawing import Series
from sage_pl.report.reading import RunFiles, Subject
from sage_pl.report.sections.groups import chosen, legend

NAME, TITLE = "training", "Training"
_WATCHED = {"": "All users", "/item_head": "Head items", "/item_tail": "Tail items"}
_LOSS, _SPECTRUM, _NORM = "train/loss/", "val/spectrum/", "train/grad_norm"
_MONITOR = "val/full/ndcg@10"
_MOST = 9  # curves in a chart, and the floor


def make(subject: Subject) -> Section:
    """Charts by epoch; of several seeds the first run's."""
    runs = {name: subject.first(name) for name in chosen(subject, _MOST) if name in subject.systems}
    histories = _histories(runs)
    blocks: list[Block] = []
    best = _best_epochs(runs, histories)
    validation = [
        chart
        for suffix, title in _WATCHED.items()
        if (chart := _chart(subject, histories, _MONITOR + suffix, title, 100, _mark(best)))
    ]
    key = legend(subject, list(runs)) if len(runs) > 1 else {}
    if validation:
        said = f"NDCG@10 in percent on the validation answers, {wording.protocol('full')}, by epoch."
        blocks.append(Figure("Validation", said + _best_text(best), validation, key))
    terms = _columns(histories, _LOSS)
    losses = [chart for name in terms if (chart := _chart(subject, histories, name, _term(runs, name)))]
    if losses:
        said = "Each term by epoch, before it is multiplied by its weight; every chart has its own scale."
        blocks.append(Figure("Loss terms", said, losses, key))
    spectra = [
        chart
        for name in _spectra(histories)
        if (chart := _chart(subject, histories, name, _figure(name.removeprefix(_SPECTRUM))))
    ]
    if spectra:
        said = (
            "Effective rank: how many directions the scored item vectors use, exp of the entropy of their singular values; "
            "a fall towards 1 is a collapse. Largest share: of the strongest direction. A name before it: of that view of "
            "the items."
        )
        blocks.append(Figure("Spectrum of the item vectors", said, spectra, key))
    norms = [
        chart
        for name in _columns(histories, _NORM)
        if (
            chart := _chart(
                subject, histories, name, name.removeprefix(_NORM).strip("/").replace("_", " ") or "whole model"
            )
        )
    ]
    if norms:
        said = "Norm of the gradient before clipping, of the model and of its parts: mean over the measured steps of an epoch."
        blocks.append(Figure("Gradient norms", said, norms, key))
    if not blocks:
        raise MissingError("the runs kept no values by epoch")
    if len(runs) > 1:
        blocks.insert(0, Prose("Of each system the run with the lowest seed."))
    return Section(NAME, TITLE, blocks)


def _histories(runs: dict[str, RunFiles]) -> dict[str, pl.DataFrame]:
    """System -> values by epoch, where the run kept them."""
    found, reasons = {}, []
    for name, files in runs.items():
        try:
            found[name] = files.history
        except MissingError as reason:
            reasons.append(reason)
    if not found:
        raise reasons[0]
    return found


def _columns(histories: dict[str, pl.DataFrame], prefix: str) -> list[str]:
    names = [name for frame in histories.values() for name in frame.columns if name.startswith(prefix)]
    return list(dict.fromkeys(sorted(names, key=lambda name: (name != f"{_LOSS}recommendation", name))))


def _chart(
    subject: Subject,
    histories: dict[str, pl.DataFrame],
    column: str,
    title: str,
    factor: float = 1,
    rule: tuple[float, str] | None = None,
) -> Chart | None:
    series = []
    for name, frame in histories.items():
        if column not in frame.columns:
            continue
        known = frame.select("epoch", pl.col(column) * factor).drop_nulls()
        if len(known):
            series.append(Series(subject.styles[name], name, known["epoch"].to_list(), known[column].to_list()))
    return drawing.lines(title, series, "epoch", rule=rule) if series else None


def _spectra(histories: dict[str, pl.DataFrame]) -> list[str]:
    """All of the scored vectors, then of each view its effective rank."""
    names = _columns(histories, _SPECTRUM)
    own = [name for name in names if "/" not in name.removeprefix(_SPECTRUM)]
    return own + [name for name in names if name not in own and name.endswith("/effective_rank")]


def _figure(name: str) -> str:
    """``text/effective_rank`` as ``Text: effective rank``."""
    return name.replace("/", ": ").replace("_", " ").capitalize()


def _term(runs: dict[str, RunFiles], column: str) -> str:
    """A term's name with its weight, if all runs that have it agree."""
    name = column.removeprefix(_LOSS)
    weights = {
        float(term["weight"])
        for files in runs.values()
        if (term := (files.run.config.get("model", {}).get("terms") or {}).get(name)) and "weight" in term
    }
    shown = f", weight {weights.pop():g}" if len(weights) == 1 else ""
    return f"{name.replace('_', ' ').capitalize()}{shown}"


def _best_epochs(runs: dict[str, RunFiles], histories: dict[str, pl.DataFrame]) -> list[tuple[str, int, float]]:
    """System, its tested epoch, and the figure by which that was chosen."""
    found = []
    for name, frame in histories.items():
        best = runs[name].run.config.get("callbacks", {}).get("best", {})
        monitor, highest = best.get("monitor", _MONITOR), best.get("mode", "max") == "max"
        if monitor in frame.columns and len(known := frame.select("epoch", monitor).drop_nulls()):
            epoch, value = known.sort(monitor, descending=highest, maintain_order=True).row(0)
            found.append((name, int(epoch), float(value)))
    return found


def _mark(best: Sequence[tuple[str, int, float]]) -> tuple[float, str] | None:
    return (best[0][1], "best epoch") if len(best) == 1 else None


def _best_text(best: Sequence[tuple[str, int, float]]) -> str:
    if len(best) == 1:
        return f" The epoch that was tested: {best[0][1]} ({wording.percent(best[0][2])} %)."
    return " Tested epochs: " + ", ".join(f"{name} {epoch}" for name, epoch, _ in best) + "." if best else ""
