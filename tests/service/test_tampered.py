"""Exported folders whose parts do not fit each other, with hashes that do: refused when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_pl.artifacts.files import MANIFEST, records_of
from sage_pl.errors import UserError
from sage_pl.serving import load


def catalogue(**changes: Callable[[Any], Any]) -> Callable[[Path], object]:
    return lambda folder: _rewrite(folder / "catalogue.json", changes)


def model(**changes: Callable[[Any], Any]) -> Callable[[Path], object]:
    return lambda folder: _rewrite(folder / "model.json", changes)


def table(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "items" / f"{name}.npy", change(np.load(folder / "items" / f"{name}.npy")))


def _rewrite(file: Path, changes: dict[str, Callable[[Any], Any]]) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {key: change(content[key]) for key, change in changes.items()}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (catalogue(ids=lambda ids: ids[:-1], titles=lambda titles: titles[:-1]), "has 40 items, and ids of 39"),
        (catalogue(ids=lambda ids: list(range(len(ids)))), "other values than lists of ids"),
        (catalogue(titles=lambda titles: titles[:5]), "other values than lists of ids"),
        (catalogue(users=lambda users: 5), "other values than lists of ids"),
        (catalogue(seen=lambda seen: "all"), "other values than lists of ids"),
        (table("output", lambda rows: rows[:9]), "a row for each item"),
        (table("output", lambda rows: rows[:, 0]), "a row for each item"),
        (table("output", lambda rows: rows.astype(np.int64)), "a row for each item"),
        (table("output", lambda rows: np.repeat(rows, 2, 1)), "cannot be used"),
        (lambda folder: [file.unlink() for file in (folder / "items").glob("*.npy") if file.stem != "output"], "cannot be"),
        (model(max_len=lambda most: "ten"), "cannot be used"),
        (model(targets=lambda node: None), "cannot be used"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_an_error_of_the_folder(
    change: Callable[[Path], object], message: str, folder: Path
) -> None:
    change(folder)
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(json.dumps({"files": records_of(folder)}))
    with pytest.raises(UserError, match=message):
        load(folder)


def test_a_name_that_no_file_can_have(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"files": {"a" * 5000: {"bytes": 1, "sha256": "0" * 64}}}))
    with pytest.raises(UserError, match="damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("files", "message"), [({}, "does not list model.json"), (None, "lists no files"), ([], "lists no files")]
)
def test_a_manifest_without_the_model(files: object, message: str, folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"files": files}))
    with pytest.raises(UserError, match=message):
        load(folder)
