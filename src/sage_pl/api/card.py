"""The model card of a run: its data, its results by group with intervals, its limits, how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

import sage_pl
from sage_pl.artifacts.store import Artifact
from sage_pl.comparison.runs import FinishedRun, read
from sage_pl.errors import SettingError
from sage_pl.escaping import markdown
from sage_pl.report import labels, reading
from sage_pl.report.reading import Record, Subject
from sage_pl.semantic.texts import text_columns

_METRICS, _RESAMPLES = ("ndcg@10", "hr@10"), 1000
_GROUPS = ("overall", "item_head", "item_tail", "item_unseen", "user_short", "user_long", "answer_new", "answer_repeat")


def model_card(folder: Path, licence: str, knows_users: bool) -> str:
    """The README of a folder in the hub's layout.

    Args:
        folder: of a finished run.
        licence: of the weights, by the hub's names, such as ``mit``; ``other`` where it is not known.
        knows_users: whether the model holds ids of users.

    Raises:
        RunError, ReportError: the run has no usable results.
        SettingError: the package huggingface_hub is missing.
    """
    run = read(folder)
    subject = reading.run_subject(run, _METRICS, _RESAMPLES, seed=0)
    lines = [
        f"# {markdown(subject.focus or '')} on {markdown(run.dataset)}",
        "",
        f"A sequential recommender: from the items of a history to those that follow; sage-pl {sage_pl.__version__}.",
        *_section("Load", _load(run)),
        *_section("Data", _data(run)),
        *_section("Results", _results(subject)),
        *_section("Limits", _limits(run, subject, knows_users)),
        *_section("Licence", _licence(licence)),
    ]
    return f"---\n{_facts(run, subject, licence)}\n---\n\n" + "\n".join(lines) + "\n"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from lines


def _facts(run: FinishedRun, subject: Subject, licence: str) -> str:
    """The header that the hub reads."""
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ModuleNotFoundError as error:
        raise SettingError('a model card needs the package huggingface_hub; run: pip install "sage-pl[hub]"') from error
    task: dict[str, Any] = {"task_type": "sequential-recommendation", "task_name": "Sequential recommendation"}
    data: dict[str, Any] = {"dataset_type": run.dataset, "dataset_name": run.dataset, "dataset_split": "test"}
    overall = [(metric, subject.find(subject.focus or "", metric=metric)) for metric in _METRICS]
    results = [
        EvalResult(
            **task, **data, metric_type=metric, metric_name=labels.metric(metric), metric_value=round(record.mean, 5)
        )
        for metric, record in overall
        if record is not None and record.mean is not None
    ]
    about = ModelCardData(
        library_name="sage-pl",
        license=licence,
        tags=["recommender-system", "sequential-recommendation", *map(str, _choices(run).values())],
        model_name=f"{subject.focus} on {run.dataset}",
        eval_results=results,
    )
    return str(about.to_yaml())


def _choices(run: FinishedRun) -> Mapping[str, Any]:
    return {name: run.choices[name] for name in ("method", "backbone") if name in run.choices}


def _load(run: FinishedRun) -> Iterator[str]:
    ids = (
        Artifact.at(run.artifact("sequences")).frame("items").sort("item")["item_id"].head(2).cast(pl.String).to_list()
    )
    yield from (
        "```python",
        "import sage_pl",
        "",
        'model = sage_pl.load(".")  # this folder, or "hf://OWNER/NAME"',
        f"print(model.recommend(history={ids!r}, k=10))",
        "```",
        "",
        "`pip install sage-pl[hub]`. Tables are safetensors, all other files plain JSON and NumPy arrays; none is a pickle.",
    )


def _data(run: FinishedRun) -> Iterator[str]:
    users, items = run.sizes
    artifact = Artifact.at(run.artifact("sequences"))
    columns = text_columns(artifact.frame("items"))
    yield f"{markdown(run.dataset)}: {users:,} users, {items:,} items, {len(artifact.array('values')):,} events."
    yield f"Item texts: {markdown(', '.join(columns)) or 'none'}. Split: {markdown(str(run.choices.get('split')))}."


def _results(subject: Subject) -> Iterator[str]:
    floor = subject.floor() or ""
    yield f"Test cases, {labels.protocol(subject.protocols[0])}; per cent, with 95 % intervals over users."
    yield ""
    yield f"| group | cases | {' | '.join(map(labels.metric, _METRICS))} | {markdown(floor)}, {labels.metric(_METRICS[0])} |"
    yield f"|---|---:|{'---:|' * len(_METRICS)}---:|"
    for group in _GROUPS:
        record = subject.find(subject.focus or "", group)
        if record is None or not record.cases:
            continue
        cells = [_cell(subject.find(subject.focus or "", group, metric=metric)) for metric in _METRICS]
        beside = subject.find(floor, group)
        yield f"| {labels.group(group)} | {record.cases:,} | {' | '.join(cells)} | {labels.percent(beside and beside.mean)} |"


def _cell(record: Record | None) -> str:
    if record is None or record.mean is None:
        return "–"
    return f"{labels.percent(record.mean)} ({labels.between(record.low, record.high)})"


def _limits(run: FinishedRun, subject: Subject, knows_users: bool) -> Iterator[str]:
    model: Any = run.config.get("model") or {}
    overall, base = (subject.find(name) for name in (subject.focus or "", subject.floor() or ""))
    yield f"- One seed ({run.seed}): the intervals are over users and say nothing of other seeds."
    if run.converged is False:
        yield "- Not converged: the best epoch is the last one, so longer training may rank better."
    if overall and base and overall.mean is not None and base.mean is not None and overall.mean <= base.mean:
        yield f"- {markdown(base.system)}, which is not trained, ranks as well or better on this data."
    yield f"- The newest {model.get('max_len')} items of a history are read; other items are unknown until added."
    head, tail = (subject.find(subject.focus or "", group) for group in ("item_head", "item_tail"))
    if head and tail and (tail.mean or 0) < (head.mean or 0):
        yield f"- Tail items rank lower than head items: {labels.percent(tail.mean)} against {labels.percent(head.mean)} above."
    if (coverage := run.metrics.get("test/lists/coverage@10")) is not None:
        yield f"- The ten first items of all test users cover {100 * coverage:.0f} % of the catalogue."
    yield (
        "- The folder holds ids of users, and what the model knows of each."
        if knows_users
        else "- The folder holds no ids and no histories of users; what trained weights reveal of these is not measured."
    )


def _licence(licence: str) -> Iterator[str]:
    yield "The code that loads it: Apache-2.0."
    yield (
        "The weights: not stated; the terms of the data decide."
        if licence == "other"
        else f"The weights: {markdown(licence)}."
    )
