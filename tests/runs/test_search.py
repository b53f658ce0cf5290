"""The loop of a search, with functions in place of runs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser

from sage_pl.errors import SettingError
from sage_pl.runs.search import NAME, Search, SearchError, distribution, failed, finished, storage

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

SPACE = ("x=interval(0,10)", "kind=a,b")
Objective = Callable[[Any], float]


def overrides(*texts: str) -> dict[str, Any]:
    return {o.key_or_group: o for o in OverridesParser.create().parse_overrides(list(texts))}


def search(
    folder: Path, seed: int = 0, settings: tuple[str, ...] = ("dataset=tea",), default: Any = 2.0, **more: Any
) -> Search:
    return Search(folder, overrides(*SPACE), settings, {"x": default, "kind": "a"}, startup=3, seed=seed, **more)


def runs(objective: Objective, ends: Callable[[int], bool] = lambda number: True) -> Any:
    """Reports ``objective / 2`` and ``objective``, and ends as told."""

    def run(trial: Any) -> tuple[bool, Path]:
        for epoch, share in enumerate((0.5, 1, 0.75)):
            trial.report(objective(trial.params) * share, epoch)
        return ends(trial.number), Path(f"/runs/{trial.number}")

    return lambda trials: list(map(run, trials))


def near_seven(params: dict[str, Any]) -> float:
    return 10 - abs(params["x"] - 7) - (params["kind"] == "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=a,b", CategoricalDistribution(["a", "b"])),
        ("x=choice(1,2.5,true)", CategoricalDistribution([1, 2.5, True])),
        ("x=range(16,65,16)", CategoricalDistribution([16, 32, 48, 64])),
        ("x=interval(0.1,0.7)", FloatDistribution(0.1, 0.7)),
        ("x=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("x=int(interval(1,5))", IntDistribution(1, 5)),
    ],
)
def test_places_to_draw_from(text: str, expected: Any) -> None:
    assert distribution(overrides(text)["x"]) == expected


def test_the_first_trial_has_the_defaults_and_the_best_validation_counts(tmp_path: Path) -> None:
    study = search(tmp_path).run(12, runs(near_seven))
    assert study.trials[0].params == {"x": 2.0, "kind": "a"}
    assert study.trials[0].value == 5  # the best of 2.5, 5, 3.75
    best = finished(study)[0]
    assert best.value == max(trial.value for trial in study.trials) > 8
    rows = list(csv.DictReader((tmp_path / "search.csv").open()))
    assert len(rows) == 12
    assert (int(rows[0]["trial"]), float(rows[0]["x"]), rows[0]["kind"]) == (best.number, *best.params.values())
    assert rows[0]["folder"] == f"/runs/{best.number}"


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole").run(6, runs(near_seven))
    search(tmp_path / "halves").run(4, runs(near_seven))
    halves = search(tmp_path / "halves").run(6, runs(near_seven))
    assert [trial.params for trial in halves.trials] == [trial.params for trial in whole.trials]
    other = search(tmp_path / "other", seed=1).run(2, runs(near_seven))
    assert other.trials[1].params != whole.trials[1].params


def test_a_trial_that_was_cut_off_is_repeated(tmp_path: Path) -> None:
    def cut_off(number: int) -> bool:
        if number == 1:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run(3, runs(near_seven, cut_off))
    study = search(tmp_path).run(4, runs(near_seven))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[2].params == study.trials[1].params
    assert not failed(study)


def test_trials_that_fail_or_are_given_up_are_told_apart(tmp_path: Path) -> None:
    def run(trial: Any) -> tuple[bool, Path]:
        if trial.number == 1:
            trial.set_user_attr("pruned", 3)
        trial.report(1.0, 0)
        return trial.number in (0, 3), Path("/somewhere")

    study = search(tmp_path).run(4, lambda trials: list(map(run, trials)))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [trial.number for trial in failed(study)] == [2]
    assert [trial.number for trial in finished(study)] == [0, 3]


def test_a_search_whose_first_trial_fails_ends_and_begins_with_the_defaults_again(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"no trial has finished yet.*/runs/0/train\.log"):
        search(tmp_path).run(5, runs(near_seven, lambda number: False))
    first, second = search(tmp_path).run(2, runs(near_seven)).trials
    assert first.params == second.params == {"x": 2.0, "kind": "a"}


@pytest.mark.parametrize("default", [99.0, None], ids=["elsewhere", "none"])
def test_a_default_outside_the_space_is_drawn_instead(tmp_path: Path, default: float | None) -> None:
    study = search(tmp_path, default=default).run(1, runs(near_seven))
    assert 0 <= study.trials[0].params["x"] <= 10
    assert study.trials[0].params["kind"] == "a"


def test_a_folder_keeps_to_one_search(tmp_path: Path) -> None:
    search(tmp_path).run(1, runs(near_seven))
    with pytest.raises(SearchError, match=r"other settings \(all trials: dataset=tea -> dataset=coffee\)"):
        search(tmp_path, settings=("dataset=coffee",)).run(2, runs(near_seven))


def test_a_folder_keeps_to_one_process(tmp_path: Path) -> None:
    with FileLock(tmp_path / f"{NAME}.lock"), pytest.raises(SearchError, match="another process"):
        search(tmp_path).run(1, runs(near_seven))


def test_the_study_is_a_file_others_can_open(tmp_path: Path) -> None:
    search(tmp_path).run(1, runs(near_seven))
    assert len(optuna.load_study(study_name=NAME, storage=storage(tmp_path)).trials) == 1


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(SearchError, match=r"pip install 'sage-pl\[search\]'"):
        search(tmp_path)


def test_texts_of_the_table_are_no_formulas(tmp_path: Path) -> None:
    space = overrides("kind='=1+1','-0.5'")
    Search(tmp_path, space, (), {"kind": "=1+1"}, startup=3, seed=0).run(6, runs(lambda _: 1.0))
    rows = list(csv.DictReader((tmp_path / "search.csv").open()))
    assert {row["kind"].strip("'\"") for row in rows} <= {"=1+1", "-0.5"}
    assert not any(row["kind"].startswith("=") for row in rows)


def test_trials_are_asked_for_at_once(tmp_path: Path) -> None:
    sizes: list[int] = []

    def run(trials: Any) -> Any:
        sizes.append(len(trials))
        return runs(near_seven)(trials)

    study = search(tmp_path, parallel=3).run(7, run)
    assert sizes == [3, 3, 1]
    assert study.trials[0].params == {"x": 2.0, "kind": "a"}
    assert len({trial.params["x"] for trial in study.trials}) == 7


ADDRESSES = pytest.mark.parametrize(
    "address", ["sqlite:///{}/study.db", "{}/study.journal"], ids=["database", "journal"]
)


@ADDRESSES
def test_two_searches_share_a_study(tmp_path: Path, address: str) -> None:
    """The second one adds what is missing, counts the trials that run in the first, and sees its results."""
    shared = address.format(tmp_path)
    trials_of_second: list[int] = []

    def first_runs(trials: Any) -> Any:
        results = runs(near_seven)(trials)
        if trials[0].number == 2:
            study = search(tmp_path / "second", parallel=2, shared=shared).run(6, second_runs)
            assert [trial.state.name for trial in study.trials].count("RUNNING") == 2
        return results

    def second_runs(trials: Any) -> Any:
        trials_of_second.extend(trial.number for trial in trials)
        return runs(near_seven)(trials)

    study = search(tmp_path / "first", parallel=2, shared=shared).run(6, first_runs)
    assert trials_of_second == [4, 5]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 6
    assert len(list(csv.DictReader((tmp_path / "first" / "search.csv").open()))) == 6


@ADDRESSES
def test_trials_of_a_search_that_ended_are_repeated_by_another(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only without a sign of life; what the first one reports later is left out."""
    monkeypatch.setattr("sage_pl.runs.study.GRACE", 60.0)
    shared = address.format(tmp_path)

    def slow(trials: Any) -> Any:
        results = runs(near_seven)(trials)
        if trials[0].number == 1:
            other = search(tmp_path / "other", shared=shared)
            assert len(other.run(2, runs(near_seven)).trials) == 2  # this trial shows that it runs
            monkeypatch.setattr("sage_pl.runs.study.GRACE", -1.0)
            states = [trial.state.name for trial in other.run(3, runs(near_seven)).trials]
            assert states == ["COMPLETE", "FAIL", "COMPLETE"]
            monkeypatch.setattr("sage_pl.runs.study.GRACE", 60.0)
        return results

    study = search(tmp_path / "first", shared=shared).run(3, slow)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].params == study.trials[1].params
    assert study.trials[2].user_attrs["folder"] == "/runs/2"


def test_a_password_in_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds a password"):
        search(tmp_path, shared="postgresql://me:secret@host/studies")
