"""Sequences of changed data under the numbers that a trained model knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.interactions import LEFT_OUT
from sage_pl.data.sequences import IntArray
from sage_pl.data.sources.raw import DataError


@dataclass(frozen=True)
class Ids:
    """The data set's ids as text, by number: ``items[i - 1]`` is item i, ``users[u - 1]`` is user u."""

    items: Sequence[str]
    users: Sequence[str]

    @classmethod
    def of(cls, artifact: Artifact) -> Ids:
        """Those of a ``sequences`` artifact."""
        tables = artifact.frame("items")["item_id"], artifact.frame("users")["user_id"]
        return cls(*(column.cast(pl.String).to_list() for column in tables))

    def fingerprint(self) -> dict[str, str]:
        return {"items": digest(self.items), "users": digest(self.users)}


def digest(ids: Sequence[str]) -> str:
    """A hash of ids in order: that of two lists is equal where every number means the same."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]


class _Cases(NamedTuple):
    user: IntArray
    at: IntArray


@dataclass(frozen=True)
class Mapped:
    """A step: the ``sequences`` artifact of other data with the numbers of ``ids``, as a trained model reads them.

    Events of items that are not among ``ids`` are left out, and so are the held-out cases whose answer is one of them or whose
    history is empty without them. Users among ``ids`` keep their numbers, with an empty sequence where the data have none;
    others follow. ``report.json`` has the counts under ``mapped``.

    Args:
        ids: that the model was trained with.

    Raises:
        DataError: no test case remains.
    """

    ids: Ids

    name: ClassVar[str] = "mapped"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ()

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        source = inputs["sequences"]
        present = Ids.of(source)
        users = [*self.ids.users, *(new := _absent(present.users, self.ids.users))]
        item_of, user_of = _numbers(present.items, self.ids.items), _numbers(present.users, users)
        values, offsets = source.array("values"), source.array("offsets")
        lengths = np.diff(offsets)
        user, item = user_of[np.repeat(np.arange(len(lengths)), lengths)], item_of[values]
        known = item > 0
        before = np.concatenate([[0], np.cumsum(known)])  # [n + 1] known events before each event
        order = np.argsort(user[known], kind="stable")

        def train_end() -> IntArray:
            ends = np.zeros(len(users) + 1, np.int64)
            start = offsets[:-1]
            ends[user_of] = before[start + source.array("train_end")] - before[start]
            ends[0] = 0
            return ends

        def cases(split: str) -> _Cases:
            row, at = source.array(f"{split}_user"), source.array(f"{split}_at")
            position = before[offsets[row] + at] - before[offsets[row]]
            kept_cases = known[offsets[row] + at] & (position > 0)
            return _Cases(user_of[row][kept_cases], position[kept_cases])

        splits = {split: cases(split) for split in ("valid", "test")}
        if not len(splits["test"].user):
            raise _strange(source, present)
        arrays = {"values": item[known][order].astype(np.int32), "train_end": train_end()}
        arrays["offsets"] = np.concatenate([[0], np.cumsum(np.bincount(user[known], minlength=len(users) + 1))])
        arrays |= {name: source.array(name)[known][order] for name in ("times", "clock") if _has(source, name)}
        arrays |= {f"{split}_user": part.user for split, part in splits.items()}
        arrays |= {f"{split}_at": part.at for split, part in splits.items()}
        for name, array in arrays.items():
            np.save(out / f"{name}.npy", array)
        _table("user", users).write_parquet(out / "users.parquet")
        self._items(source).write_parquet(out / "items.parquet")
        if (source.path / LEFT_OUT).is_file():
            others = pl.read_parquet(source.path / LEFT_OUT, glob=False)
            others = others.with_columns(item=item_of[others["item"].to_numpy()])
            others.filter(pl.col("item") > 0).write_parquet(out / LEFT_OUT)
        counts = {
            "unknown_items": len(_absent(present.items, self.ids.items)),
            "items_without_events": len(_absent(self.ids.items, present.items)),
            "new_users": len(new),
            "events_left_out": int((~known).sum()),
            "test_cases_left_out": len(source.array("test_user")) - len(splits["test"].user),
        }
        report: dict[str, Any] = json.loads((source.path / "report.json").read_text())
        (out / "report.json").write_text(json.dumps({**report, "mapped": counts}, indent=2))

    def _items(self, source: Artifact) -> pl.DataFrame:
        """The model's items with the texts that the data have now; '' and empty lists where they have none."""
        texts = source.frame("items").drop("item").with_columns(pl.col("item_id").cast(pl.String))
        table = _table("item", self.ids.items).join(texts, on="item_id", how="left", maintain_order="left")
        lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List)]
        words = [name for name, kind in table.schema.items() if kind == pl.String]
        return table.with_columns(pl.col(words).fill_null(""), pl.col(lists).fill_null([]))


def _strange(source: Artifact, present: Ids) -> DataError:
    return DataError(
        f"none of {len(source.array('test_user'))} test cases of the data has an answer and a history that the model "
        f"knows, of {len(present.items)} items; check that the data are of the model's shop, or train again"
    )


def _absent(ids: Sequence[str], known: Sequence[str]) -> list[str]:
    """The ids that are not known, in order."""
    present = set(known)
    return [one for one in ids if one not in present]


def _numbers(ids: Sequence[str], known: Sequence[str]) -> IntArray:
    """Number among ``known`` of each id, [n + 1]; 0 for one that is not, and in row 0."""
    number_of = {one: number for number, one in enumerate(known, 1)}
    return np.array([0, *(number_of.get(one, 0) for one in ids)], np.int64)


def _table(name: str, ids: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({name: np.arange(1, len(ids) + 1), f"{name}_id": pl.Series(ids, dtype=pl.String)})


def _has(artifact: Artifact, name: str) -> bool:
    return (artifact.path / f"{name}.npy").is_file()


def mapped_counts(sequences: Artifact) -> dict[str, int]:
    """What the mapping onto a model's ids left out; empty for the data of its training."""
    counts: dict[str, int] = json.loads((sequences.path / "report.json").read_text()).get("mapped", {})
    return counts


def in_words(counts: Mapping[str, int]) -> str:
    """The counts of :func:`mapped_counts` as a sentence."""
    return (
        "the data as they are now, mapped by id onto the items of the model: {unknown_items:,} items are unknown to it and "
        "their {events_left_out:,} events left out, {items_without_events:,} of its items have no events, {new_users:,} users "
        "are new, {test_cases_left_out:,} test cases left out"
    ).format(**counts)
