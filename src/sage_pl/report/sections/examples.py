"""Single users: history, answer and recommendations, including users for whom the system is worse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import Sequences
from sage_pl.report import labels
from sage_pl.report.blocks import Block, Example, Examples, Folded, Line, Prose, RecommendedList, Section
from sage_pl.report.reading import RunFiles, Subject

NAME, TITLE = "examples", "Example users"
_HISTORY = 8  # items of a history
_K = 10
_Ranks = npt.NDArray[np.int64]


def make(subject: Subject, n: int, seed: int) -> Section:
    """``n`` users of each kind, drawn at random among those of the kind, tail answers first; the first of all stands open.

    Args:
        subject: with two systems or more, baseline and focus side by side.
        n: users of each kind.
        seed: of the draw.

    Raises:
        MissingError: a run lacks the recommended items.
    """
    names = [name for name in (subject.baseline, subject.focus) if name and name in subject.systems]
    names = names or list(subject.systems)[:1]
    runs = {name: subject.first(name) for name in names}
    files = next(iter(runs.values()))
    data = Sequences.load(files.artifact("sequences"))
    protocol = files.protocols[0]
    ranks = [one.ranks(protocol) for one in runs.values()]
    kinds = _pair(names, *ranks) if len(names) > 1 else _single(*ranks)
    tail = ~files.frame["item_head"].to_numpy()
    blocks: list[Block] = [Prose(_intro(subject, names, runs))]
    generator = np.random.default_rng(seed)
    for title, members in kinds:
        places = np.flatnonzero(members)
        if not len(places):
            continue
        order = generator.permutation(places)
        order = order[np.argsort(~tail[order], kind="stable")][:n]
        share = len(places) / len(tail)
        text = (
            f"{len(places):,} of {len(tail):,} users ({100 * share:.1f} %), "
            f"{100 * tail[places].mean():.0f} % of them with a tail answer."
        )
        users = [_example(int(case), data, runs, protocol) for case in order]
        if len(blocks) == 1 and users:
            blocks.append(Examples(title, text, users[:1]))
            users, title, text = users[1:], f"More of this kind: {title[0].lower()}{title[1:]}", ""
        if users:
            blocks.append(Folded(title, [Examples("", text, users)]))
    return Section(NAME, TITLE, blocks)


def _pair(names: Sequence[str], base: _Ranks, focus: _Ranks) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    a, b = base <= _K, focus <= _K
    return [
        (f"{names[1]} finds the answer, {names[0]} does not", b & ~a),
        (f"{names[0]} finds the answer, {names[1]} does not", a & ~b),
        ("Both find it", a & b),
        ("Neither finds it", ~a & ~b),
    ]


def _single(ranks: _Ranks) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    return [
        (f"The answer is among the first {_K}", ranks <= _K),
        ("Nearly: ranks 11 to 50", (ranks > _K) & (ranks <= 50)),
        ("Far off: ranks beyond 500", ranks > 500),
    ]


def _intro(subject: Subject, names: Sequence[str], runs: dict[str, RunFiles]) -> str:
    seeds = {files.run.seed for files in runs.values()}
    several = f"{' and '.join(names)}, seed {' and '.join(map(str, sorted(seeds)))}"
    which = several if len(subject.systems) > 1 else "This run"
    return (
        f"{which}. Users are drawn at random within each kind, those with a tail answer first: they show what "
        "recommendations look like, not how good they are on average. The number behind a title counts its training events."
    )


def _example(case: int, data: Sequences, runs: dict[str, RunFiles], protocol: str) -> Example:
    files = next(iter(runs.values()))
    user, at, answer = (int(part[case]) for part in (data.test.user, data.test.at, data.test.answer))
    start = int(data.offsets[user])
    earlier = max(at - _HISTORY, 0)
    titles, counts = files.titles, data.train_counts
    before = set(data.values[start : start + at].tolist())

    def line(item: int, hit: bool = False, seen: bool = False) -> Line:
        return Line(labels.shorten(titles[item]), int(counts[item]), hit, seen)

    lists = []
    for name, one in runs.items():
        items = [line(int(i), int(i) == answer, int(i) in before) for i in one.recommended_items[case] if i]
        lists.append(RecommendedList(name, int(one.ranks(protocol)[case]), items))
    history = [line(int(i)) for i in data.values[start + earlier : start + at]]
    names = files.frame["user_id"] if "user_id" in files.frame.columns else files.frame["user"]
    return Example(f"User {names[case]}", earlier, history, line(answer), lists)
