"""What sections say, on values written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.comparison.runs import FinishedRun
from sage_pl.evaluation.floors import label
from sage_pl.report import labels
from sage_pl.report.blocks import Example, Examples, Folded
from sage_pl.report.reading import Record, RunFiles, Subject
from sage_pl.report.sections import clusters, examples, groups, headline, verdict

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


def test_values_stand_beside_differences_with_intervals() -> None:
    table = headline.table(subject(), "full", "ndcg@10")
    rows = {row[0].text: row for row in table.rows}
    names = [column.label for column in table.columns]
    assert names == ["system", "all", "difference", "tail items", "difference"]
    assert table.columns[3].note == "40† users"
    assert [row[0].text for row in table.rows] == ["sage", "plain", "other", FLOOR]  # the best first
    value, change, _, tail = rows["sage"][1:]
    assert (value.text, value.sort) == ("7.00 ± 1.00", 0.07)
    assert (change.text, change.note, change.mark, change.tone) == ("+2.00", "+1.00 to +3.00", "*", "better")
    assert (tail.text, tail.mark, tail.tone) == ("−0.20", "", "muted")  # within the noise: an interval, and no sign
    assert rows["other"][2].tone == "worse"
    assert rows["other"][3].text == "–"
    assert rows["plain"][2].text == "–"
    assert rows["sage"][0].note == "3 seeds"
    assert rows[FLOOR][0].note == ""
    for meaning in (
        "NDCG@10 in percent",
        "to plain",
        "* is above the noise of seeds",
        "without a sign",
        "†: fewer than 50",
    ):
        assert meaning in table.caption


def test_a_system_stands_beside_its_baseline() -> None:
    pair = headline.duel(subject(), "plain", "sage", "full", "ndcg@10")
    assert [column.label for column in pair.columns] == ["group", "sage", "difference", "relative", "plain"]
    assert [cell.text for cell in pair.rows[0]] == ["all", "7.00 ± 1.00", "+2.00", "+40 %", "5.00 ± 1.00"]
    assert pair.rows[0][2].note == "+1.00 to +3.00"


def test_verdicts_are_a_word_and_honest() -> None:
    first, second = verdict.verdicts(subject())
    assert first.word == "better"
    assert first.text == (
        "sage against plain: NDCG@10 over all users +2.00 points, +40 % (95 % interval +1.00 to +3.00). "
        "Unclear for tail items (from 0)."
    )
    assert second.word == "worse"
    assert second.text.startswith("other against plain: NDCG@10 over all users −1.00 points, −20 %")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mark": "*"}, "better"),
        ({"mark": "*", "difference": -0.02}, "worse"),
        ({"mark": "~"}, "unclear"),
        ({"mark": ""}, "unclear"),
        ({"mark": "*", "converged": False}, "not converged"),
        ({"baseline": FLOOR, "seeds": 1, "mark": "~"}, "better"),
        ({"baseline": FLOOR, "seeds": 1, "difference_low": -0.01}, "unclear"),
        ({"baseline": FLOOR, "seeds": 1, "difference_low": -0.03, "difference_high": -0.01}, "worse"),
    ],
)
def test_the_word_of_a_verdict(changes: dict[str, object], word: str) -> None:
    one = subject().find("sage")
    assert one is not None
    assert verdict.word(subject(), one._replace(**changes)) == word  # type: ignore[arg-type]


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

    from sage_pl.comparison.runs import read
    from sage_pl.report.reading import comparison_subject

    content = json.loads((comparison / "comparison.json").read_text())
    pair = comparison_subject(content, {name: [read(folder)] for name, folder in runs.items()}, "folder")
    blocks = examples.make(pair, 2, 0).blocks
    kinds = [one for block in blocks for one in (block.blocks if isinstance(block, Folded) else [block])]
    frame = {name: pl.read_parquet(folder / "ranks.parquet") for name, folder in runs.items()}
    users = frame["plain"]["user_id"].cast(pl.String).to_list()
    shown = 0
    for one in (user for kind in kinds if isinstance(kind, Examples) for user in kind.examples):
        case = users.index(one.user.removeprefix("User "))
        assert one.earlier + len(one.history) == frame["plain"]["history"][case]
        shown += check_lists(one, frame, case)
    assert shown >= 8
    shares = [kind.share for kind in kinds if isinstance(kind, Examples) and kind.share]
    assert sum(int(share.split(" of ")[0].replace(",", "")) for share in shares) == len(frame["plain"])


def check_lists(one: Example, frame: dict[str, pl.DataFrame], case: int) -> int:
    """Number of lists: the answer is marked at its rank, and items of the history are marked as such."""
    history = {line.title for line in one.history}
    for side in one.lists:
        assert side.rank == frame[side.system]["full"][case]
        hits = [place for place, item in enumerate(side.items, 1) if item.hit]
        assert hits == ([side.rank] if side.rank <= 10 else [])
        assert all(item.title == one.answer.title for item in side.items if item.hit)
        assert all(item.seen for item in side.items if item.title in history)
        assert one.earlier or not any(item.seen for item in side.items if item.title not in history)
    return len(one.lists)


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
    first = verdict.verdicts(changed)[0]
    assert first.word == "not converged"
    assert first.text.startswith("sage against plain: no finding, since sage had not converged")
    assert "‡: not converged" in headline.table(changed, "full", "ndcg@10").caption


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/me/runs/a/ranks.parquet lacks x", "…/a/ranks.parquet lacks x"),
        ("paths.data=/data/sets, run", "paths.data=…/sets, run"),
        ("path: '/home/me/x'", "path: '…/me/x'"),
        ("and/or w/o, 1/2", "and/or w/o, 1/2"),
        ("outputs/runs/beauty/x", "outputs/runs/beauty/x"),
    ],
)
def test_absolute_paths_keep_their_last_names(text: str, short: str) -> None:
    assert labels.without_folders(text) == short
