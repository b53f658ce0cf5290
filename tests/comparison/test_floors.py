"""The floor of a table, among stored floors and runs without training."""

from __future__ import annotations

import numpy as np
import polars as pl

from sage_pl.comparison.cells import System, make_cells
from sage_pl.comparison.floors import standing, stored, with_floor
from sage_pl.comparison.ranks import RunRanks

N = 60


def ranks(share: float) -> np.ndarray:
    return np.where(np.arange(N) < share * N, 1, 99)


def system(name: str, share: float, **more: bool) -> System:
    return System((name,), {"full": ranks(share)[None]}, **more)


def test_of(**floors: float) -> RunRanks:
    columns = {f"{name}/full": ranks(share) for name, share in floors.items()}
    return RunRanks(pl.DataFrame({"user": range(N), "full": ranks(0.5), **columns}), ("full",))


test_of.__test__ = False  # type: ignore[attr-defined]
PLAIN, SAGE = system("plain", 0.5), system("sage", 0.2)
FLOORS = stored([test_of(popularity=0.1, transitions=0.2), test_of(popularity=0.1, neighbours=0.3)])


def names(systems: list[System]) -> list[str]:
    return [one.label for one in systems]


def test_one_floor_is_shown_the_best_of_any_run() -> None:
    assert names(with_floor([PLAIN, SAGE], FLOORS, "full", "ndcg@10")) == ["floor: neighbours", "plain", "sage"]
    named = with_floor([PLAIN, SAGE], FLOORS, "full", "ndcg@10", "popularity")
    assert names(named) == ["floor: popularity", "plain", "sage"]
    assert names(with_floor([PLAIN], FLOORS, "sampled100", "ndcg@10")) == []
    assert names(with_floor([PLAIN], [], "full", "ndcg@10")) == ["plain"]


def test_a_run_of_a_method_without_training_is_listed_once() -> None:
    neighbours, transitions = system("neighbours", 0.3, fixed=True), system("transitions", 0.2, fixed=True)
    rows = with_floor([neighbours, PLAIN], FLOORS, "full", "ndcg@10")
    assert names(rows) == ["neighbours", "plain"]
    rows = with_floor([PLAIN, transitions], FLOORS, "full", "ndcg@10")
    assert names(rows) == ["floor: neighbours", "plain", "transitions"]
    rows = with_floor([PLAIN, system("text_knn", 0.4, fixed=True)], FLOORS, "full", "ndcg@10")
    assert names(rows) == ["text_knn", "plain"]


def test_what_is_below_the_floor_is_said() -> None:
    rows = with_floor([PLAIN, SAGE, system("transitions", 0.2, fixed=True)], FLOORS, "full", "hr@10")
    floors, below = standing(rows, FLOORS, "full", "hr@10")
    assert floors.startswith("Floors under full by hr@10: neighbours 30.00, transitions 20.00")
    assert below == "Below the floor: neighbours under full: sage 20.00."
    assert standing([PLAIN], [], "full", "hr@10") == []


def test_a_floor_has_no_seeds_and_is_not_unconverged() -> None:
    rows = with_floor([PLAIN], FLOORS, "full", "hr@10")
    cells = make_cells(rows, {"overall": np.ones(N, bool)}, "full", ["hr@10"], {("plain",): rows[0].name})
    floor, plain = cells
    assert (floor.system, floor.seeds, floor.converged) == ("floor: neighbours", 0, None)
    assert plain.against is not None
    assert plain.against.baseline == "floor: neighbours"
