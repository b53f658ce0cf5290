"""Events that were added to a trained model's histories: kept beside its checkpoint, a file for each log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.locks import locked
from sage_pl.artifacts.store import Artifact
from sage_pl.data.later import SCHEMA
from sage_pl.data.sources.raw import DataError
from sage_pl.serving.histories import item_numbers, known_events, user_ids


class Addition(NamedTuple):
    """What a log brings.

    Args:
        events: by :data:`sage_pl.data.later.SCHEMA`, those kept before and the new ones, in order of arrival.
        summary: of the log, one sentence.
    """

    events: pl.DataFrame
    summary: str


@dataclass(frozen=True)
class KeptEvents:
    """Files ``NUMBER-HASH.parquet`` of a folder, each whole or absent and never changed, in the order of their numbers.

    A file holds those events of one log that were new; ``HASH`` is that of the log.

    Args:
        folder: absent until a log is kept.
    """

    folder: Path

    @classmethod
    def beside(cls, checkpoint: str | Path, key: str) -> KeptEvents:
        """Those of all checkpoints of a folder that were trained on the same ``sequences`` artifact.

        Args:
            checkpoint: one of them.
            key: of the artifact.
        """
        return cls(Path(checkpoint).parent / f"events-{key}")

    def events(self) -> pl.DataFrame:
        """All of them by :data:`sage_pl.data.later.SCHEMA`, in order of arrival.

        Raises:
            DataError: a file is damaged.
        """
        return pl.concat([pl.DataFrame(schema=SCHEMA), *map(_read, self._files())])

    def add(self, read: pl.DataFrame, artifact: Artifact, items: Mapping[str, int], keep: bool = True) -> Addition:
        """Add the events of a log that are not known yet.

        An event with a time is known if the data set or the folder has one of equal user, item and time. A log without times
        is known if an equal log was added before, and as far as it repeats all that is known of every user of the data set.

        Args:
            read: the log, by :data:`sage_pl.data.later.SCHEMA`.
            artifact: the ``sequences`` artifact.
            items: the model's number of each id.
            keep: write them to the folder; other processes wait meanwhile.

        Raises:
            DataError: a file of the folder is damaged.
        """
        users = read["user_id"].unique(maintain_order=True)
        ids = user_ids(artifact)
        data, by_clock = (_of_data(artifact, users, times) for times in ("times", "clock"))
        digest = hashlib.sha256(read.write_csv().encode()).hexdigest()[:16]
        with locked(self.folder / ".lock", f"the events in {self.folder}") if keep else nullcontext():
            earlier = self.events()
            known = pl.concat([data, earlier.filter(pl.col("user_id").is_in(users.implode()))])
            if read["timestamp"].null_count():
                again = any(file.stem.endswith(f"-{digest}") for file in self._files())
                whole = ids.is_in(users.implode()).all()
                new = read.clear() if again else _beyond(read, known, items) if whole else read
            else:
                once = read.unique(maintain_order=True, keep="first")
                new = once.join(pl.concat([known, by_clock]), on=list(SCHEMA), how="anti", maintain_order="left")
            if keep and len(new):
                number = int(self._files()[-1].name.partition("-")[0]) + 1 if len(earlier) else 1
                with whole_file(self.folder / f"{number:06d}-{digest}.parquet") as part:
                    new.write_parquet(part)
        summary = (
            f"{_counts(read, known, ids, items)}; {len(read) - len(new):,} events were known already and count once, "
        )
        place = f"are kept in {self.folder}" if keep else "count this time alone (keep_events=false)"
        return Addition(pl.concat([earlier, new]), f"{summary}{_order(new, known)}; {len(new):,} {place}")

    def forget(self) -> int:
        """Remove all files; returns their number."""
        if not self.folder.is_dir():
            return 0
        with locked(self.folder / ".lock", f"the events in {self.folder}"):
            files = self._files()
            for file in files:
                file.unlink()
        return len(files)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.parquet"), key=lambda file: int(file.name.partition("-")[0]))


def _beyond(read: pl.DataFrame, known: pl.DataFrame, items: Mapping[str, int]) -> pl.DataFrame:
    """What follows in a log that begins, user by user, with the known events of known items; the whole of any other log."""
    in_catalogue = pl.col("item_id").is_in(pl.Series(list(items), dtype=pl.String).implode())
    log = read.with_columns(at=in_catalogue.cum_sum().over("user_id").cast(pl.Int64))
    past = known.filter(in_catalogue).with_columns(at=pl.int_range(1, pl.len() + 1).over("user_id"))
    if log.filter(in_catalogue).join(past, on=["user_id", "item_id", "at"], how="semi").height < len(past):
        return read
    counts = past.group_by("user_id").agg(last=pl.len().cast(pl.Int64))
    further = log.join(counts, on="user_id", how="left", maintain_order="left")
    return further.filter(pl.col("at") > pl.col("last").fill_null(0)).select(read.columns)


def _of_data(artifact: Artifact, users: pl.Series, times: str) -> pl.DataFrame:
    id_of = {number: name for name, number in item_numbers(artifact).items()}
    events = known_events(artifact, users, times)
    return events.select(
        "user_id", pl.col("item").replace_strict(id_of, return_dtype=pl.String).alias("item_id"), "timestamp"
    )


def _counts(read: pl.DataFrame, known: pl.DataFrame, ids: pl.Series, items: Mapping[str, int]) -> str:
    users, item_ids = read["user_id"].unique(), read["item_id"].unique().to_list()
    new = len(users) - int(users.is_in(pl.concat([ids, known["user_id"]]).unique().implode()).sum())
    unknown = sum(one not in items for one in item_ids)
    return (
        f"{len(read):,} events of {len(users):,} users, {new:,} of them new, and {len(item_ids):,} items, {unknown:,} of them "
        "unknown to the model"
    )


def _order(new: pl.DataFrame, known: pl.DataFrame) -> str:
    if new["timestamp"].null_count():
        return "without times, the others follow what is known"
    newest = known.group_by("user_id").agg(newest=pl.col("timestamp").max())
    older = new.join(newest, on="user_id").filter(pl.col("timestamp") < pl.col("newest")).height
    return f"{older:,} are older than the newest known one of their user and take their place by time"


def _read(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, glob=False).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{file}, a log that was kept, is damaged ({error}); remove it and add that log again"
        ) from error
