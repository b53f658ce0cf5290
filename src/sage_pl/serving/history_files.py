"""Ids and histories in a file: one id per line, a history per line, or a table of events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sage_pl.artifacts.store import Artifact
from sage_pl.data.filters import Filter
from sage_pl.data.later import is_parquet, read_events
from sage_pl.data.sources.lines import numbered_lines
from sage_pl.data.sources.raw import DataError, Source
from sage_pl.serving.histories import Histories
from sage_pl.serving.restriction import item_rows

_FIELDS = re.compile(r"[\t,;|{ ]|::")  # in a line of a table
_WANTED = 'wanted ["ITEM", "ITEM"] on each line'


def ids_of(file: Path) -> list[str]:
    """The ids of a text file, one per line, without the blanks around them.

    Raises:
        DataError: it has none.
    """
    ids = [line.strip() for _, line in numbered_lines(file)]
    if not ids:
        raise DataError(f"{file} is empty; wanted one id per line")
    return ids


def histories_of(
    file: Path, source: Source, rules: Sequence[Filter], artifact: Artifact, items: Mapping[str, int]
) -> Histories | list[str]:
    """Histories of many users, or the item ids of the only one.

    A file whose first line is a JSON list has a history on each line, such as ``["SKU-1", "SKU-2"]``; its users are the lines'
    numbers. One whose first line has several fields, and is no item, is a table of events
    (:func:`sage_pl.data.later.read_events`). Any other has one item per line.

    Args:
        file: it exists.
        source: of the data set.
        rules: its filters.
        artifact: its ``sequences``.
        items: the model's number of each id.

    Raises:
        SettingError: it cannot be read, or an item of a JSON list is unknown.
    """
    if is_parquet(file):
        return Histories.of_events(artifact, read_events(source, rules, file, "history"), rules, items)
    first = next((line.strip() for _, line in numbered_lines(file)), "")
    if first.startswith("["):
        return _of_lists(file, items)
    if first in items or not _FIELDS.search(first):
        return ids_of(file)
    return Histories.of_events(artifact, read_events(source, rules, file, "history"), rules, items)


def _of_lists(file: Path, items: Mapping[str, int]) -> Histories:
    names, rows = [], []
    for number, line in numbered_lines(file):
        try:
            ids = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}, line {number}: no JSON list ({error}); {_WANTED}") from error
        if not isinstance(ids, list) or not all(isinstance(one, str | int) for one in ids):
            raise DataError(f"{file}, line {number}: {line.strip()[:80]!r}, {_WANTED}")
        names.append(str(number))
        rows.append(item_rows(items, ids))
    return Histories.of_lists(names, rows)
