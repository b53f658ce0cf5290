"""Files of an evaluation: ``metrics.json``, one row per test case in ``ranks.parquet``, ``recommended.npy``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.artifacts.files import whole_file, write_text
from sage_pl.data.sequences import Cases, IntArray
from sage_pl.errors import SettingError
from sage_pl.evaluation.floors import Floors, Ranks
from sage_pl.evaluation.metrics import KS, summarise


def floor_metrics(
    floors: Floors, groups: Mapping[str, npt.NDArray[np.bool_]], ks: Sequence[int] = KS
) -> dict[str, float]:
    """Metrics of the floors: ``floor/popularity/full/ndcg@10/item_tail`` and so on."""
    return {
        f"floor/{floor}/{protocol}/{name}": value
        for floor, ranks in floors.items()
        for protocol, values in ranks.items()
        for name, value in summarise(values, groups, ks).items()
    }


def cases_frame(
    cases: Cases,
    ranks: Ranks,
    floors: Floors | None = None,
    facts: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The table of ``ranks.parquet``, which suffices to compare runs without their data.

    Columns: ``user``, ``answer``, where known ``user_id`` and ``item_id``; one rank per protocol, null where not evaluated;
    ``<floor>/<protocol>``, the rank in a floor; ``sage_pl.evaluation.groups.FACTS``.

    Args:
        cases: the evaluated split's cases, one row each.
        ranks: protocol -> [K], 0 where a case was not evaluated.
        floors: name -> protocol -> [K].
        facts: the columns that define the groups, one row per case.
        users: columns ``user`` and ``user_id``, as in the ``sequences`` artifact.
        items: columns ``item`` and ``item_id``, as in the ``sequences`` artifact.

    Raises:
        SettingError: the number of a protocol's ranks is not that of the cases.
    """
    of_floors = {
        f"{name}/{protocol}": values for name, one in (floors or {}).items() for protocol, values in one.items()
    }
    for protocol, values in {**ranks, **of_floors}.items():
        if len(values) != len(cases):
            raise SettingError(f"{len(values)} ranks of protocol {protocol} for {len(cases)} cases; wanted one each")
    frame = pl.DataFrame({"user": np.asarray(cases.user, np.int64), "answer": np.asarray(cases.answer, np.int64)})
    if users is not None:
        frame = frame.join(users.select("user", "user_id"), on="user", how="left", maintain_order="left")
    if items is not None:
        ids = items.select(pl.col("item").alias("answer"), "item_id")
        frame = frame.join(ids, on="answer", how="left", maintain_order="left")
    columns = [pl.Series(protocol, values, dtype=pl.Int64) for protocol, values in ranks.items()]
    frame = frame.with_columns(pl.when(column > 0).then(column).alias(column.name) for column in columns)
    frame = frame.with_columns(pl.Series(name, values, dtype=pl.Int64) for name, values in of_floors.items())
    return frame if facts is None else frame.hstack(facts)


def write_results(
    folder: str | Path, metrics: Mapping[str, float], frame: pl.DataFrame, lists: IntArray | None = None
) -> None:
    """Write each file atomically; ``metrics.json`` comes last, so that it marks a finished run.

    Args:
        folder: created if absent.
        metrics: name -> value; written flat, with sorted keys and values rounded to 6 decimals.
        frame: see :func:`cases_frame`.
        lists: [K, k] recommended items of every case, best first, 0-padded; written as ``recommended.npy``.

    Raises:
        SettingError: a metric is not a finite number; nothing is written.
    """
    if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise SettingError(f"metrics are not finite: {', '.join(sorted(bad))}; the model diverged, nothing was written")
    text = json.dumps({name: round(float(value), 6) for name, value in metrics.items()}, indent=2, sort_keys=True)
    folder = Path(folder)
    if lists is not None:
        with whole_file(folder / "recommended.npy") as part, part.open("wb") as stream:
            np.save(stream, lists.astype(np.int32), allow_pickle=False)
    with whole_file(folder / "ranks.parquet") as part:
        frame.write_parquet(part)
    write_text(folder / "metrics.json", text + "\n")
