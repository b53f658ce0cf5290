"""Ranks of finished runs: read from ``ranks.parquet``, checked, and stacked over the runs of a system."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.comparison import statistics
from sage_pl.comparison.runs import FinishedRun, RunError, how_to_test_again
from sage_pl.evaluation.groups import FACTS

Head = Literal["own", "ts_item", "reference"]
_COUNTS = {"ts_item": "train_count", "reference": "user_count"}
_TOLERANCE = 2e-6  # metrics.json is rounded to 6 decimals
_PROTOCOL = re.compile(r"test/([^/]+)/count")  # other test/.../ belong to recommended lists or to the model's ranking


class RunRanks(NamedTuple):
    """The test of one run, one row per case."""

    frame: pl.DataFrame
    protocols: tuple[str, ...]  # ``full`` first

    def ranks(self, protocol: str) -> npt.NDArray[np.int64]:
        """1-based, [K]."""
        return self.frame[protocol].to_numpy()

    def floors(self) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
        """Floor -> protocol -> [K] ranks."""
        return floors_in(self.frame, self.protocols)

    def facts(self, head: Head, thresholds: Mapping[str, int | None]) -> pl.DataFrame:
        """The input of :func:`sage_pl.evaluation.groups.members`.

        Args:
            head: rule of head answers. ``own``: as in the run; ``ts_item``: training events >= ``ts_item``;
                ``reference``: users >= ``ts_item``, held-out events included, as in published tables.
            thresholds: ``ts_item``.

        Raises:
            RunError: another ``head``, or ``ts_item`` is unset.
        """
        if head not in get_args(Head):
            raise RunError(f"head is {head!r}; choose from {', '.join(get_args(Head))}")
        facts = self.frame.select(FACTS)
        if head == "own":
            return facts
        if not thresholds.get("ts_item"):
            raise RunError(f"head={head} needs the runs' evaluation.groups.ts_item, which is not set; take head=own")
        return facts.with_columns(item_head=pl.col(_COUNTS[head]) >= thresholds["ts_item"])


def floors_in(frame: pl.DataFrame, protocols: Sequence[str]) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
    """The floors in ``ranks.parquet``, columns ``<floor>/<protocol>``: floor -> protocol -> [K] ranks."""
    floors: dict[str, dict[str, npt.NDArray[np.int64]]] = {}
    for column in frame.columns:
        name, _, protocol = column.partition("/")
        if protocol in protocols:
            floors.setdefault(name, {})[protocol] = frame[column].to_numpy()
    return floors


def read_ranks(run: FinishedRun) -> RunRanks:
    """The checked test of a run: the cases that it ranked, which are a part of them with ``trainer.limit_test_batches``.

    Raises:
        RunError: the table cannot be read or lacks columns, no case has a rank, or metrics.json contradicts it.
    """
    file = run.folder / "ranks.parquet"
    try:
        frame = pl.read_parquet(file, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RunError(f"{file} cannot be read ({error}); {how_to_test_again(run.folder)}") from error
    protocols = sorted(match.group(1) for name in run.metrics if (match := _PROTOCOL.fullmatch(name)))
    if not protocols:
        raise RunError(f"{run.folder}/metrics.json has no test/...; {how_to_test_again(run.folder)}")
    if missing := [name for name in ("user", "answer", *FACTS, *protocols) if name not in frame.columns]:
        raise RunError(f"{file} is left out: it has no column {', '.join(missing)}; {how_to_test_again(run.folder)}")
    ranked = frame.filter(pl.all_horizontal(pl.col(protocols) >= 1))
    for protocol in protocols:
        counted = int(run.metrics[f"test/{protocol}/count"])
        if len(ranked) != counted or not counted:
            raise RunError(
                f"{run.folder} is left out: metrics.json counts {counted} ranked cases under {protocol}, but ranks.parquet "
                f"has {len(ranked)}; the files are of different tests: {how_to_test_again(run.folder)}"
            )
        _check_metrics(run, protocol, ranked[protocol].to_numpy())
    return RunRanks(ranked, tuple(sorted(protocols, key=lambda name: name != "full")))


def same_cases(tests: Mapping[Path, RunRanks]) -> tuple[dict[Path, RunRanks], list[str]]:
    """The runs whose rows are the same cases as most runs', and a message for each other one."""
    cases = {folder: _hashes(test.frame.select("user", "answer")) for folder, test in tests.items()}
    common = Counter(cases.values()).most_common(1)[0][0] if cases else b""
    odd = [folder for folder, hashes in cases.items() if hashes != common]
    messages = [
        f"{folder}/ranks.parquet is left out: its {len(tests[folder].frame)} ranked cases are not those of the other runs"
        for folder in odd
    ]
    return {folder: test for folder, test in tests.items() if folder not in odd}, messages


def stack_ranks(tests: Sequence[RunRanks], protocols: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Protocol -> [n_seeds, K] ranks of a system's runs."""
    return {protocol: np.stack([test.ranks(protocol) for test in tests]) for protocol in protocols}


def _hashes(frame: pl.DataFrame) -> bytes:
    return frame.hash_rows(seed=0).to_numpy().tobytes()


def _check_metrics(run: FinishedRun, protocol: str, ranks: npt.NDArray[np.int64]) -> None:
    name = f"test/{protocol}/ndcg@10"
    computed = float(statistics.gains(ranks, "ndcg@10").mean())
    if abs(run.metrics.get(name, computed) - computed) > _TOLERANCE:
        raise RunError(
            f"{run.folder} is left out: metrics.json has {name} = {run.metrics[name]:.6f}, but ranks.parquet gives "
            f"{computed:.6f}; the files are of different tests: {how_to_test_again(run.folder)}"
        )
