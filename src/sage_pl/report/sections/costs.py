"""Where time and memory went: training and validation, peaks, what the model holds, and preparation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage_pl.report import wording
from sage_pl.report.blocks import Block, Column, MissingError, Section, Table, Value
from sage_pl.report.reading import RunFiles, Subject

NAME, TITLE = "costs", "Time and memory"
_NONE = Value("–", tone="muted")


def make(subject: Subject) -> Section:
    """Of each system's first run: measured times, peaks and sizes; of all: what preparation cost and left on disk."""
    first = {name: runs[0] for name, runs in subject.systems.items()}
    tables = [_times(first), _sizes(first), _steps(first)]
    blocks: list[Block] = [table for table in tables if table]
    if not blocks:
        raise MissingError("the runs did not record their time and memory")
    return Section(NAME, TITLE, blocks)


def _times(first: Mapping[str, RunFiles]) -> Table | None:
    columns = [Column("system"), Column("epochs", True), Column("training", True), Column("per epoch", True)]
    columns += [
        Column("users per second", True, "in training"),
        Column("validation", True),
        Column("per validation", True),
    ]
    rows = []
    for name, files in first.items():
        try:
            history = files.history
        except MissingError:
            continue
        if "train/seconds" not in history.columns:
            continue
        trained = history["train/seconds"].drop_nulls()
        tested = history["val/seconds"].drop_nulls() if "val/seconds" in history.columns else trained.clear()
        each = float(tested.mean() or 0)  # type: ignore[arg-type]
        speed = float(history["train/users_per_second"].mean() or 0)  # type: ignore[arg-type]
        numbers = [float(trained.sum()), float(trained.mean() or 0)]  # type: ignore[arg-type]
        rows.append(
            [
                Value(name),
                Value(str(len(trained)), len(trained)),
                *(Value(wording.seconds(s), s) for s in numbers),
                Value(f"{speed:,.0f}", speed),
                *(Value(wording.seconds(s), s) for s in (float(tested.sum()), each)),
            ]
        )
    text = "Wall-clock time of each system's run with the lowest seed; a resumed run counts from where it was resumed."
    return Table(text, columns, rows) if rows else None


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
            own = files.footprint
        except MissingError:
            continue
        parts = sorted(own["parameters"].items(), key=lambda pair: -pair[1])[:3]
        sums = [sum(own[kind].values()) for kind in ("parameters", "constants")]
        rows.append(
            [
                Value(name),
                *(_bytes(own["memory"][place]) for place in ("process", "accelerator")),
                *(Value(f"{n:,}", n) for n in sums),
                Value(", ".join(f"{part.replace('_', ' ')} {n:,}" for part, n in parts)),
                Value(own["device"]),
            ]
        )
    text = "Memory at its peak: of the whole process, with preparation where it ran in it; and of the accelerator's allocator."
    return Table(text, columns, rows) if rows else None


def _bytes(value: int | None) -> Value:
    return _NONE if value is None else Value(wording.size(value), value)


def _steps(first: Mapping[str, RunFiles]) -> Table | None:
    """Preparation, made once and shared: an artifact that several systems use is one row."""
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
        row = [
            Value(step),
            Value(key),
            Value(wording.seconds(manifest["seconds"]), manifest["seconds"]),
            _bytes(n_bytes),
        ]
        rows.append(row + ([Value(", ".join(users[step, key]))] if len(first) > 1 else []))
    if not rows:
        return None
    columns = [Column("step"), Column("key"), Column("time", True), Column("on disk", True)]
    columns += [Column("used by")] if len(first) > 1 else []
    return Table("Preparation, done once and kept for every run that asks for the same.", columns, rows)
