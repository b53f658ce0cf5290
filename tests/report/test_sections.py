"""What sections say, on values written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sage_pl.comparison.runs import FinishedRun
from sage_pl.evaluation.floors import label
from sage_pl.report import labels
from sage_pl.report.blocks import Examples
from sage_pl.report.reading import Record, RunFiles, Subject
from sage_pl.report.sections import clusters, examples, groups, headline

FLOOR = label("popularity")


def files(name: str) -> RunFiles:
    return RunFiles(FinishedRun(Path(name), {}, {}, {}))


def record(system: str, group: str, mean: float | None, cases: int = 100, seeds: int = 3, **more: object) -> Record:
    return Record("full", "ndcg@10", system, group, "head and tail", cases, seeds, mean, 0.01, **more)  # type: ignore[arg-type]


def subject() -> Subject:
    against = {"baseline": "plain", "difference_low": 0.01, "difference_high": 0.03}
    records = [
        record(FLOOR, "overall", 0.02, seeds=0),
        record("plain", "overall", 0.05),
        record("sage", "overall", 0.07, difference=0.02, mark="*", **against),
        record("sage", "item_tail", 0.01, 40, difference=-0.002, mark="~", **against),
        record("other", "overall", 0.04, difference=-0.01, mark="*", **against),
        record("other", "item_tail", None, 40),
    ]
    systems = {name: [files(name)] for name in ("other", "plain", "sage")}
    return Subject("tea", systems, records, {"sage": "plain", "other": "plain"}, "sage")


def test_values_carry_interval_mark_and_tone() -> None:
    table = headline.table(subject(), "full")
    rows = {row[0].text: row for row in table.rows}
    assert [column.label for column in table.columns] == ["system", "metric", "all", "tail items"]
    assert table.columns[3].note == "40†"
    sage, tail = rows["sage"][2:]
    assert (sage.text, sage.mark, sage.tone, sage.sort) == ("7.00 ± 1.00", "*", "better", 0.07)
    assert (tail.mark, tail.tone) == ("~", "")
    assert rows["other"][2].tone == "worse"
    assert rows["other"][3].text == "–"
    assert rows["sage"][0].note == "3 seeds"
    assert rows[FLOOR][0].note == ""
    for told in (
        "the difference to plain",
        "* is above the noise of seeds",
        "~ is within the noise",
        "†: fewer than 50",
    ):
        assert told in table.caption


def test_findings_are_best_first_and_honest() -> None:
    first, second = headline.findings(subject())
    assert first == (
        "sage against plain: NDCG@10 over all users +2.00 points (95 % interval +1.00 to +3.00); "
        "for tail items −0.20 points (95 % interval +1.00 to +3.00; within the noise of seeds)."
    )
    assert second.startswith("other against plain: NDCG@10 over all users −1.00 points")


def test_styles_are_fixed_by_role() -> None:
    assert subject().styles == {FLOOR: "floor", "plain": "s0", "sage": "s1", "other": "s2"}
    assert groups.charted_systems(subject()) == [FLOOR, "plain", "sage", "other"]


def test_kinds_of_users_include_where_the_system_is_worse() -> None:
    base, focus = np.array([1, 1, 20, 30]), np.array([2, 11, 3, 40])
    kinds = {title: list(np.flatnonzero(found)) for title, found in examples._pair(["plain", "sage"], base, focus)}
    assert kinds == {
        "sage finds the answer, plain does not": [2],
        "plain finds the answer, sage does not": [1],
        "Both find it": [0],
        "Neither finds it": [3],
    }


def test_examples_are_what_the_runs_recommended(runs: dict[str, Path], comparison: Path) -> None:
    import json

    import polars as pl

    from sage_pl.comparison.runs import read
    from sage_pl.report.reading import comparison_subject

    content = json.loads((comparison / "comparison.json").read_text())
    pair = comparison_subject(content, {name: [read(folder)] for name, folder in runs.items()}, "folder")
    kinds = [block for block in examples.make(pair, 2, 0).blocks if isinstance(block, Examples)]
    frame = {name: pl.read_parquet(folder / "ranks.parquet") for name, folder in runs.items()}
    shown = 0
    for kind in kinds:
        for one in kind.examples:
            case = frame["plain"]["user"].to_list().index(int(one.user.removeprefix("User ")))
            assert one.earlier + len(one.history) == frame["plain"]["history"][case]
            for side in one.lists:
                assert side.rank == frame[side.system]["full"][case]
                hits = [place for place, item in enumerate(side.items, 1) if item.hit]
                assert hits == ([side.rank] if side.rank <= 10 else [])
                assert all(item.title == one.answer.title for item in side.items if item.hit)
                shown += 1
    assert shown >= 8
    assert sum(int(kind.share.split(" of ")[0]) for kind in kinds) == len(frame["plain"])


def test_typical_items_belong_most_firmly_then_are_popular() -> None:
    strength, counts = np.array([0, 0.9, 1, 1, 0.2]), np.array([0, 99, 1, 5, 99])
    assert list(clusters.typical(np.array([1, 2, 3, 4]), strength, counts, 3)) == [3, 2, 1]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (labels.group("item_10-19"), "10–19"),
        (labels.group("user_short_item_tail"), "short history, tail item"),
        (labels.group("something_new"), "something new"),
        (labels.protocol("sampled100"), "100 sampled candidates"),
        (labels.points(-0.0042), "−0.42"),
        (labels.percent(None), "–"),
        (labels.seconds(3.14), "3.1 s"),
        (labels.seconds(200), "3 min 20 s"),
        (labels.seconds(7500), "2 h 5 min"),
        (labels.size(999), "999 B"),
        (labels.size(3_400_000), "3.4 MB"),
        (labels.shorten("a" * 100, 10), "aaaaaaaaa…"),
    ],
)
def test_labels(shown: str, wanted: str) -> None:
    assert shown == wanted


def test_no_finding_is_claimed_from_a_system_that_is_not_converged() -> None:
    whole = subject()
    early = [r._replace(converged=False) if r.system == "sage" else r for r in whole.records]
    changed = Subject("tea", whole.systems, early, whole.bases, "sage")
    first = headline.findings(changed)[0]
    assert first == "sage against plain: no finding, since sage had not converged (the best epoch is the last)."
    assert "‡: not converged" in headline.table(changed, "full").caption
