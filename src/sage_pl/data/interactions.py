"""From raw interactions to the ``sequences`` artifact: filtered, sorted by time, numbered and split."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, get_args

import numpy as np
import polars as pl

from sage_pl.artifacts.identity import settings
from sage_pl.artifacts.store import Artifact
from sage_pl.data.changes import states_of, write_states
from sage_pl.data.events import Events, encode
from sage_pl.data.filters import Filter
from sage_pl.data.item_table import described, numbered, without_events
from sage_pl.data.sources.raw import CLOCK, COLUMNS, Catalogue, DataError, Source
from sage_pl.data.split import IntArray, Split, SplitRule, are_positions, refuse_positions
from sage_pl.errors import SettingError
from sage_pl.ranges import Natural

log = logging.getLogger(__name__)
LEFT_OUT = "left_out.parquet"

_ALL = "dataset.catalogue=all makes them candidates"


@dataclass(frozen=True)
class Interactions:
    """Makes the sequences every other part reads (:class:`sage_pl.data.sequences.Sequences`).

    Users are numbered 1..U by their first row in the source, items 1..N by first appearance in the sequences, user after
    user, then those without events in the order of their table. A user's events are sorted by time; equal times keep the
    source's order. Repeats stay unless a filter drops them.
    Internally ids are dense 32-bit codes, so filters and sorts cost the same for any type of id. Tables beyond one part are
    streamed through the disk (:mod:`sage_pl.data.events`).

    Args:
        source: where the interactions come from.
        filters: applied in order.
        split: which events are held out.
        expect: counts (``users``, ``items`` with events, ``interactions``) that must result, for a known data set; None checks
            nothing.
        catalogue: ``bought``: the items with events after the filters. ``all``: also every other item of the source's table
            that has a text; the model knows them by their text alone.

    Files written:
        ``values.npy`` int32 item ids of all users in turn; ``offsets.npy`` int64 [U + 2]; ``times.npy`` int64; where the
        source has ``unix_time``, ``clock.npy`` int64, -1 where it is unknown;
        ``train_end.npy`` int64 [U + 1]; ``valid_user``, ``valid_at``, ``test_user``, ``test_at`` ``.npy`` int64;
        ``users.parquet`` (user, user_id); ``items.parquet`` (item, item_id, texts); ``report.json``. Where filters left out
        users, ``left_out.parquet`` (user_id as text, item, timestamp): the events that these have with the items that remain.
        ``source.json``, sizes and times of change of the source's files.

    Raises:
        DataError: a table of the source is unfit, a filter leaves nothing, the split finds no case, or ``expect`` is not met.
        SettingError: ``catalogue`` is unknown, or ``all`` without a table of items.
    """

    name: ClassVar[str] = "sequences"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    source: Source
    split: SplitRule
    filters: Sequence[Filter] = ()
    expect: Mapping[str, Natural] | None = field(default=None, compare=False)
    catalogue: Catalogue = "bought"

    def __post_init__(self) -> None:
        if self.catalogue not in get_args(Catalogue):
            raise SettingError(
                f"dataset.catalogue is {self.catalogue!r}, wanted one of {', '.join(get_args(Catalogue))}"
            )

    def fingerprint(self) -> dict[str, Any]:
        """The settings for artifact keys; those of ``bought`` are older than the choice."""
        return {name: value for name, value in settings(self).items() if (name, value) != ("catalogue", "bought")}

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        with TemporaryDirectory(dir=out, prefix=".parts-") as parts:
            self._run(out, Path(parts))

    def _run(self, out: Path, parts: Path) -> None:
        columns, states = self._filter_columns(), states_of(self.source)
        raw = self.source.load(*columns)
        events, ids = encode(raw, columns, parts)
        warnings = [text for part in ids if (text := two_spellings(part))]
        for text in warnings:
            log.warning("%s", text)
        if self.split.needs_clock:  # before the filters, which leave gaps in positions
            _refuse_positions(events)

        events, aside, stages = self._filtered(events)
        self._check(stages[-1])

        # Number, write the events and split.
        users, items = events.numbers()
        item_of = _number(items, len(ids.item))
        table = _Columns(parts, stages[-1]["interactions"], CLOCK in raw.interactions.collect_schema())
        for part in events:
            table.add(part, item_of)
        offsets = np.concatenate([[0, 0], np.cumsum(events.tally()[0][users])])
        split = self.split(offsets, table.arrays["times"])
        for name in table.arrays:
            (parts / f"{name}.npy").rename(out / f"{name}.npy")
        for name, array in (split._asdict() | {"offsets": offsets}).items():
            np.save(out / f"{name}.npy", array.astype(np.int64, copy=False))

        # Write the tables.
        rest = without_events(raw.items, ids.item[items])
        item_table = described(self._chosen(raw.items, ids.item[items], rest), raw.items)
        numbered("user", ids.user[users]).write_parquet(out / "users.parquet")
        item_table.write_parquet(out / "items.parquet")
        others = [_others(part, ids.user, item_of) for left in aside for part in left]
        if any(part.height for part in others):
            pl.concat(others).rechunk().write_parquet(out / LEFT_OUT)
        report = {
            "stages": stages,
            "left_out": left_out(stages),
            "source": [*raw.notes, *warnings],
            **_describe(offsets, table, split),
            "items_without_events": len(rest),
            "items_without_title": int((item_table["title"] == "").sum()) if "title" in item_table.columns else None,
        }
        (out / "report.json").write_text(json.dumps(report, indent=2))
        write_states(out, states)

    def _filtered(self, events: Events) -> tuple[Events, list[Events], list[dict[str, Any]]]:
        """What the filters leave, the events of the users whom each of them left out, and the counts after each."""
        stages: list[dict[str, Any]] = [{"stage": "source", **events.counts()}]
        aside: list[Events] = []
        for rule in self.filters:
            before, events = events, rule.over(events)
            aside = [part.each(rule.keep) for part in aside] if rule.of_history else [*aside, _absent(before, events)]
            before.discard()
            stages.append({"stage": str(rule), **events.counts()})
        return events, aside, stages

    def _chosen(self, table: pl.DataFrame | None, bought: pl.Series, rest: pl.Series) -> pl.Series:
        """Ids of the items in order: those with events, then, if the catalogue is all of the table, the rest.

        Raises:
            SettingError: the catalogue is ``all``, and the source has no table of items.
        """
        if self.catalogue == "all" and table is None:
            raise SettingError(
                "dataset.catalogue=all takes the items of a table, and this data set has none; use bought"
            )
        if len(rest):
            what = f"left out; {_ALL}" if self.catalogue == "bought" else "candidates by their text alone"
            log.info("%s items of the table have a text and no events: %s", f"{len(rest):,}", what)
        return bought if self.catalogue == "bought" else pl.concat([bought, rest])

    def _filter_columns(self) -> list[str]:
        """What the filters read beside ids and times.

        Raises:
            DataError: a filter asks for an id or a time.
        """
        columns = list(dict.fromkeys(column for rule in self.filters for column in rule.columns))
        if coded := [column for column in columns if column in (*COLUMNS, CLOCK)]:
            raise DataError(f"a filter reads {coded[0]}, which is numbered or a time; filter times with Period")
        return columns

    def _check(self, counts: Mapping[str, Any]) -> None:
        if wrong := {key: n for key, n in (self.expect or {}).items() if counts[key] != n}:
            texts = ", ".join(f"{counts[key]} {key} where {n} are known" for key, n in wrong.items())
            raise DataError(f"after the filters the data have {texts}; check the files, or set dataset.expect=null")


class _Columns:
    """The events of all users in turn, written part by part into mapped files; ties and repeats are counted meanwhile.

    Args:
        folder: of the files.
        n: number of events.
        clock: whether there are real times beside positions.
    """

    def __init__(self, folder: Path, n: int, clock: bool) -> None:
        kinds = {"values": np.int32, "times": np.int64} | ({"clock": np.int64} if clock else {})
        self.arrays = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (n,)) for name, kind in kinds.items()
        }
        self.n = self.ties = self.of = self.repeats = 0

    def add(self, part: pl.DataFrame, item_of: IntArray) -> None:
        """Append users; items are numbered by code."""
        here = slice(self.n, self.n + part.height)
        user, item, time = (part[name].to_numpy() for name in COLUMNS)
        self.arrays["values"][here] = item_of[item]
        self.arrays["times"][here] = time
        if "clock" in self.arrays:
            self.arrays["clock"][here] = part[CLOCK].fill_null(-1).to_numpy()
        later = user[1:] == user[:-1]  # the first event of a user has none before it
        self.ties += int((later & (time[1:] == time[:-1])).sum())
        self.of += int(later.sum())
        self.repeats += part.height - pl.Series(user.astype(np.int64) * len(item_of) + item).n_unique()
        self.n = here.stop


def _refuse_positions(events: Events) -> None:
    """See :func:`sage_pl.data.split.refuse_positions`; parts without any are enough."""
    for part in events.read("user_id", "timestamp"):
        if not are_positions(_offsets(part["user_id"].to_numpy(), events.n_users), part["timestamp"].to_numpy()):
            return
    refuse_positions(np.zeros(1, np.int64), np.zeros(0, np.int64))


def _absent(events: Events, rest: Events) -> Events:
    """The rows of users who have none in ``rest``."""
    return events.rows(rest.tally()[0] == 0, np.ones(events.n_items, bool))


def _others(part: pl.DataFrame, user_ids: pl.Series, item_of: IntArray) -> pl.DataFrame:
    """Events of users that were left out with items that were not."""
    numbered = part.with_columns(item=pl.Series(item_of[part["item_id"].to_numpy()])).filter(pl.col("item") > 0)
    ids = user_ids[numbered["user_id"]].cast(pl.String)
    return numbered.select(ids.alias("user_id"), "item", "timestamp")


def _number(codes: IntArray, n_codes: int) -> IntArray:
    """Ids 1, 2, ... in the order of ``codes``, indexed by code; 0 for absent codes."""
    ids = np.zeros(n_codes, dtype=np.int32)
    ids[codes] = np.arange(1, len(codes) + 1)
    return ids


def _offsets(users: IntArray, n_rows: int) -> IntArray:
    """Start of each user 0..n_rows - 1 in a column of users, and the end."""
    return np.concatenate([[0], np.cumsum(np.bincount(users, minlength=n_rows))])


def left_out(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each filter dropped, as one sentence each; nothing for a filter that dropped nothing.

    Args:
        stages: counts before the filters and after each of them, as in ``report.json``.
    """
    texts = []
    for before, after in pairwise(stages):
        users, items, events = (before[key] - after[key] for key in ("users", "items", "interactions"))
        if events:
            texts.append(
                f"{after['stage']}: {users:,} of {before['users']:,} users, {items:,} of {before['items']:,} items, "
                f"{events:,} of {before['interactions']:,} events left out; dataset.filters=[] keeps them"
            )
    return texts


def two_spellings(ids: pl.Series) -> str | None:
    """A warning if some text ids are whole numbers and others are such numbers with ``.0``: 12 and 12.0 are two ids.

    Args:
        ids: each id once.
    """
    if ids.dtype != pl.String:
        return None
    whole = ids.filter(ids.str.contains(r"^\d+$"))
    floats = ids.filter(ids.str.contains(r"^\d+\.0+$"))
    if whole.is_empty() or floats.is_empty():
        return None
    both = floats.str.replace(r"\.0+$", "").is_in(whole.implode()).sum()
    return (
        f"{ids.name}: {len(floats):,} ids are written as {floats[0]} and {len(whole):,} as {whole[0]}; {both:,} occur in "
        "both spellings and count as two: write the column without .0"
    )


def _describe(offsets: IntArray, table: _Columns, split: Split) -> dict[str, Any]:
    """Lengths, ties, repeats and the sizes of the parts."""
    lengths = np.diff(offsets)[1:]
    quantiles = {f"q{q}": float(np.percentile(lengths, q)) for q in (10, 25, 50, 75, 90, 95, 99)}
    return {
        "lengths": {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max()), **quantiles},
        "ties": {"pairs": table.ties, "of": table.of},
        "repeats": table.repeats,
        "split": {"train": int(split.train_end.sum()), "valid": len(split.valid_user), "test": len(split.test_user)},
    }
