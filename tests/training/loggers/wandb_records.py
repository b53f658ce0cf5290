"""Records of offline runs, read with W&B's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Record(NamedTuple):
    """What one ``.wandb`` file holds."""

    run: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]
    exit_code: int


def read(folder: Path) -> list[Record]:
    """The records below a run's folder, oldest first."""
    return [_read(file) for file in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def _read(file: Path) -> Record:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    found: dict[str, list[dict[str, Any]]] = {}
    for record in map(json.loads, lines):
        found.setdefault(record["type"], []).append(record[record["type"]])
    updates = [record.get("update", {}) for record in found.get("summary", [])]
    return Record(
        run=found["run"][0],
        config={key: value for record in found.get("config", []) for key, value in record.get("update", {}).items()},
        history=[record["item"] for record in found.get("history", [])],
        summary={key: value for update in updates for key, value in update.items()},
        artifacts={record["name"]: record for record in found.get("artifact", [])},
        exit_code=found["exit"][0].get("exit_code", 0),
    )
