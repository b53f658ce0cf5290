"""Time and memory: training and validation, peaks, the model's parts, preparation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from sage_pl.report import labels
from sage_pl.report.blocks import Block, Column, MissingError, Section, Table, Value
from sage_pl.report.reading import RunFiles, Subject

NAME, TITLE = "costs", "Time and memory"
_NONE = Value("–", tone="muted")


def make(subject: Subject) -> Section:
    """Of each system's first run: times, peaks and sizes; of all: time and disk space of preparation."""
    first = {name: runs[0] for name, runs in subject.systems.items()}
    tables = [_times(first), _sizes(first), _steps(first)]
    blocks: list[Block] = [table for table in tables if table]
    if not blocks:
        raise MissingError("the runs have no record of their time and memory")
    return Section(NAME, TITLE, blocks)


def _times(first: Mapping[str, RunFiles]) -> Table | None:
    columns = [Column("system"), Column("epochs", True), Column("training", True), Column("per epoch", True)]
    columns += [Column("users per second", True, "in training")]
    columns += [Column("validation", True), Column("per validation", True)]
    rows = []
    for name, files in first.items():
        try:
            history = files.history
        except MissingError:
            continue
        if "train/seconds" not in history.columns:
            continue
        training = history["train/seconds"].drop_nulls()
        validation = history["val/seconds"].drop_nulls() if "val/seconds" in history.columns else training.clear()
        speed = float(history["train/users_per_second"].mean() or 0)  # type: ignore[arg-type]
        rows.append(
            [
                Value(name),
                Value(str(len(training)), len(training)),
                *_sum_and_mean(training),
                Value(f"{speed:,.0f}", speed),
                *_sum_and_mean(validation),
            ]
        )
    text = "Wall-clock time of each system's run with the lowest seed; of a resumed run, since it was resumed."
    return Table(text, columns, rows) if rows else None


def _sum_and_mean(seconds: pl.Series) -> list[Value]:
    numbers = float(seconds.sum()), float(seconds.mean() or 0)  # type: ignore[arg-type]
    return [Value(labels.seconds(number), number) for number in numbers]


def _sizes(first: Mapping[str, RunFiles]) -> Table | None:
    columns = [
        Column("system"),
        Column("peak memory", True, "process"),
        Column("peak memory", True, "accelerator"),
        Column("parameters", True, "trained"),
        Column("constants", True, "such as text"),
        Column("largest parts"),
        Column("device"),
    ]
    rows = []
    for name, files in first.items():
        try:
            footprint = files.footprint
        except MissingError:
            continue
        parts = sorted(footprint["parameters"].items(), key=lambda pair: -pair[1])[:3]
        sums = [sum(footprint[kind].values()) for kind in ("parameters", "constants")]
        rows.append(
            [
                Value(name),
                *(_bytes(footprint["memory"][place]) for place in ("process", "accelerator")),
                *(Value(f"{n:,}", n) for n in sums),
                Value(", ".join(f"{part.replace('_', ' ')} {n:,}" for part, n in parts)),
                Value(footprint["device"]),
            ]
        )
    text = "Peak memory of the whole process, including preparation within it, and of the accelerator's allocator."
    return Table(text, columns, rows) if rows else None


def _bytes(value: int | None) -> Value:
    return _NONE if value is None else Value(labels.size(value), value)


def _steps(first: Mapping[str, RunFiles]) -> Table | None:
    """Preparation: an artifact that several systems share is one row."""
    users: dict[tuple[str, str], list[str]] = {}
    manifests: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, files in first.items():
        for step, artifact in files.artifacts.items():
            users.setdefault((step, artifact.key), []).append(name)
            manifests[step, artifact.key] = artifact.manifest
    rows = []
    for (step, key), manifest in manifests.items():
        if "seconds" not in manifest:
            continue
        n_bytes = sum(file["bytes"] for file in manifest["files"].values())
        seconds = Value(labels.seconds(manifest["seconds"]), manifest["seconds"])
        row = [Value(step), Value(key), seconds, _bytes(n_bytes)]
        rows.append(row + ([Value(", ".join(users[step, key]))] if len(first) > 1 else []))
    if not rows:
        return None
    columns = [Column("step"), Column("key"), Column("time", True), Column("on disk", True)]
    columns += [Column("used by")] if len(first) > 1 else []
    return Table("Preparation, cached for every run with the same settings.", columns, rows)
