from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.comparison.ranks import RunRanks, read_ranks, same_cases, stack_ranks
from sage_pl.comparison.runs import FinishedRun, RunError
from sage_pl.comparison.statistics import gains

FRAME = pl.DataFrame(
    {
        "user": [1, 2, 3],
        "answer": [7, 8, 9],
        "user_id": ["a", "b", "c"],
        "sampled5": [1, 2, 6],
        "full": [3, 20, 90],
        "popularity/full": [9, 8, 7],
        "train_count": [0, 4, 50],
        "user_count": [1, 5, 40],
        "history": [2, 3, 4],
        "repeat": [False, True, False],
        "own_day": [None, None, None],
        "item_head": [False, False, True],
        "user_short": [True, True, False],
    },
    schema_overrides={"own_day": pl.Boolean},
)


def write(folder: Path, frame: pl.DataFrame = FRAME, **metrics: float) -> FinishedRun:
    folder.mkdir()
    frame.write_parquet(folder / "ranks.parquet")
    own = {f"test/{p}/ndcg@10": float(gains(FRAME[p].to_numpy(), "ndcg@10").mean()) for p in ("full", "sampled5")}
    own |= {f"test/{p}/count": 3.0 for p in ("full", "sampled5")}
    return FinishedRun(folder, {}, {}, {"test/lists/gini@10": 0.5, "test/generation/beams": 100.0, **own, **metrics})


def test_protocols_are_those_of_the_metrics_full_first(tmp_path: Path) -> None:
    test = read_ranks(write(tmp_path / "run", FRAME.with_columns(note=pl.lit(1))))
    assert test.protocols == ("full", "sampled5")
    assert test.ranks("full").tolist() == [3, 20, 90]
    assert {name: ranks.tolist() for name, ranks in test.floors()["popularity"].items()} == {"full": [9, 8, 7]}


def test_a_run_that_was_never_tested(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    with pytest.raises(
        RunError, match=r"metrics.json has no test/...; test it again by its command with resume=.*run/ch"
    ):
        read_ranks(FinishedRun(run.folder, {}, {}, {"test/lists/gini@10": 0.5}))


def test_a_limited_test_has_the_cases_that_were_ranked(tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.when(pl.col("user") < 3).then(name).alias(name) for name in ("full", "sampled5"))
    counts = {f"test/{p}/count": 2.0 for p in ("full", "sampled5")}
    values = {
        f"test/{p}/ndcg@10": float(gains(FRAME[p].to_numpy()[:2], "ndcg@10").mean()) for p in ("full", "sampled5")
    }
    test = read_ranks(write(tmp_path / "run", frame, **counts, **values))
    assert test.ranks("full").tolist() == [3, 20]
    assert test.floors()["popularity"]["full"].tolist() == [9, 8]


def test_cases_that_are_counted_and_have_no_rank(tmp_path: Path) -> None:
    frame = FRAME.with_columns(full=pl.when(pl.col("user") < 3).then("full"))
    with pytest.raises(RunError, match=r"counts 3 ranked cases under full, but ranks\.parquet has 2; the files are of"):
        read_ranks(write(tmp_path / "run", frame))


def test_metrics_of_another_test(tmp_path: Path) -> None:
    run = write(tmp_path / "run", **{"test/sampled5/ndcg@10": 0.9})
    with pytest.raises(
        RunError, match=r"metrics\.json has test/sampled5/ndcg@10 = 0\.900000, but ranks\.parquet gives 0\.662379"
    ):
        read_ranks(run)


@pytest.mark.parametrize(
    ("head", "wanted"),
    [("own", [False, False, True]), ("ts_item", [False, False, True]), ("reference", [False, True, True])],
)
def test_head_by_three_rules(head: str, wanted: list[bool]) -> None:
    facts = RunRanks(FRAME, ("full",)).facts(head, {"ts_item": 5})  # type: ignore[arg-type]
    assert facts["item_head"].to_list() == wanted
    assert facts.drop("item_head").equals(FRAME.select(facts.columns).drop("item_head"))


@pytest.mark.parametrize(
    ("head", "message"),
    [("top20", "head is 'top20'; choose from own"), ("ts_item", "needs the runs' .*ts_item, which")],
)
def test_a_rule_that_cannot_be_had(head: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        RunRanks(FRAME, ("full",)).facts(head, {"ts_item": None})  # type: ignore[arg-type]


def test_runs_of_other_cases_are_left_out() -> None:
    usual, odd = RunRanks(FRAME, ("full",)), RunRanks(FRAME.reverse(), ("full",))
    kept, messages = same_cases({Path("odd"): odd, Path("a"): usual, Path("b"): usual})
    assert list(kept) == [Path("a"), Path("b")]
    assert messages == ["odd/ranks.parquet is left out: its 3 ranked cases are not those of the other runs"]
    assert same_cases({}) == ({}, [])


def test_stack_ranks() -> None:
    ranks = stack_ranks([RunRanks(FRAME, ("full",)), RunRanks(FRAME.with_columns(full=pl.lit(1)), ("full",))], ["full"])
    assert np.array_equal(ranks["full"], [[3, 20, 90], [1, 1, 1]])
