"""What the command recommend prints or writes: items with their ids and titles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray
from sage_pl.escaping import visible
from sage_pl.serving.cached_recommender import Answer
from sage_pl.serving.histories import Histories
from sage_pl.serving.top_k_cache import Scores, TopKCache, user_hash

log = logging.getLogger(__name__)
_LAST = 10  # items of a history on the terminal


@dataclass(frozen=True)
class ItemNames:
    """Items by the model's id, [N + 1]; row 0 is empty."""

    ids: pl.Series
    titles: pl.Series | None

    @classmethod
    def of(cls, artifact: Artifact, new: pl.DataFrame | None = None) -> ItemNames:
        items = artifact.frame("items").with_columns(pl.col("item_id").cast(pl.String))
        if new is not None:
            items = pl.concat([items, new], how="diagonal_relaxed")
            items = items.with_columns(pl.col("title").fill_null("")) if "title" in items.columns else items
        empty = pl.Series([""])
        titles = pl.concat([empty, items["title"]]) if "title" in items.columns else None
        return cls(pl.concat([empty, items["item_id"].cast(pl.String)]), titles)

    def numbers(self) -> dict[str, int]:
        """Id in the data set -> id in the model."""
        return {name: number for number, name in enumerate(self.ids.to_list()) if number}

    def rows(self, items: IntArray) -> list[tuple[str, str]]:
        """Id and title of each item."""
        rows = np.asarray(items, np.int64)
        titles = [""] * len(rows) if self.titles is None else self.titles[rows].to_list()
        return list(zip(self.ids[rows].to_list(), titles, strict=True))


def print_list(names: ItemNames, whose: str, history: IntArray, answer: Answer) -> None:
    """Print the end of a history and the items recommended after it."""
    console = Console()
    console.print()
    console.print(Text(visible(f"{whose}: {len(history)} items, the last {min(_LAST, len(history))}")))
    for item, title in names.rows(history[-_LAST:]):
        console.print(Text(visible(f"  {item}  {title}"), no_wrap=True, overflow="ellipsis"))
    table = Table(title=f"recommended ({answer.source})", title_justify="left", box=SIMPLE_HEAD)
    for column in ("rank", "item", "title", "score"):
        justify: Literal["left", "right"] = "right" if column in ("rank", "score") else "left"
        table.add_column(column, justify=justify, no_wrap=column != "title")  # only the title is truncated
    for rank, ((item, title), score) in enumerate(zip(names.rows(answer.ids), answer.scores, strict=True), start=1):
        cells = Text(visible(item)), Text(visible(title), no_wrap=True, overflow="ellipsis")
        table.add_row(str(rank), *cells, f"{score:.3f}")
    console.print(table)


def write_kept(file: str | Path, cache: TopKCache, histories: Histories, items: ItemNames, k: int) -> None:
    """Write the first k items of every user of a file of kept lists, see :func:`write_lists`."""
    by_hash = {user_hash(name): name for name in histories.names}
    users = [by_hash[int(user)] for user in cache.lists.users]
    write_lists(file, users, cache.lists.ids[:, :k], cache.lists.scores[:, :k], items)


def write_answers(file: str | Path, users: Sequence[str], answers: Sequence[Answer], items: ItemNames) -> None:
    """Write one list for each user, see :func:`write_lists`."""
    width = max((len(answer.ids) for answer in answers), default=0)
    ids, scores = np.zeros((len(answers), width), np.int32), np.zeros((len(answers), width), np.float32)
    for row, answer in enumerate(answers):
        ids[row, : len(answer.ids)], scores[row, : len(answer.ids)] = answer.ids, answer.scores
    write_lists(file, users, ids, scores, items)


def write_lists(file: str | Path, users: Sequence[str], ids: IntArray, scores: Scores, items: ItemNames) -> None:
    """Write lists as ``user_id``, ``rank`` (from 1), ``item_id``, ``score``.

    Args:
        file: parquet.
        users: [U].
        ids: [U, k] best first; 0 for none.
        scores: [U, k].
        items: names of the ids.
    """
    user, place = (ids > 0).nonzero()
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(users, dtype=pl.String)[user],
            "rank": (place + 1).astype(np.int32),
            "item_id": items.ids[ids[user, place]],
            "score": scores[user, place],
        }
    )
    with whole_file(file) as part:
        frame.write_parquet(part)
    log.info("%d rows written to %s", len(frame), file)
