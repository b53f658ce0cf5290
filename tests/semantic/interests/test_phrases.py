"""Every user described by whoever describes; what may be seen; what is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
import pytest

from sage_pl.semantic.interests.grouping import LeakError
from sage_pl.semantic.interests.keywords import Keywords
from sage_pl.semantic.interests.phrases import Phrases
from sage_pl.semantic.interests.protocol import Groups
from sage_pl.semantic.language_models.answers import Answers

HISTORIES = [
    [1, 2, 3, 5, 5],
    [2, 1, 5, 5],
    [1, 2, 3, 5, 5],
    [4],
]  # users 1 and 3 are alike; of user 4 nothing is grouped
GROUPS = {"items": [1, 2, 3, 2, 1, 2, 3], "labels": [0, 1, 0, 0, 0, 1, 0], "offsets": [0, 0, 3, 4, 7, 7]}
TEXTS = ["tea green", "bike chain", "tea black", "lamp", "secret"]  # item 5 is held out everywhere


@dataclass(frozen=True)
class Spy:
    """Joins the texts of a group, and remembers what it was shown."""

    sign: str = "+"
    useless: bool = False
    shown: list[Any] = field(default_factory=list, compare=False)
    stores_answers: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ()

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        self.shown.append((list(texts), [[list(group) for group in groups] for groups in users]))
        for row in reversed(range(len(users))):
            yield row, None if self.useless else [self.sign.join(texts[i] for i in group) for group in users[row]]


@dataclass(frozen=True)
class Fleeting(Spy):
    stores_answers: ClassVar[bool] = False


@pytest.fixture
def inputs(make_sequences, make_artifact):
    return {
        "sequences": make_sequences(HISTORIES),
        "texts": make_artifact("texts", texts=pl.DataFrame({"item": range(1, 6), "text": TEXTS})),
        "groups": make_artifact("groups", **GROUPS),
    }


def phrases(out) -> list[tuple[Any, ...]]:
    return pl.read_parquet(out / "phrases.parquet").rows()


@pytest.mark.parametrize("kind", [Spy, Fleeting])
def test_every_group_has_its_phrase(kind, inputs, out) -> None:
    Phrases(kind()).run(inputs, out)
    by = kind.__name__
    assert phrases(out) == [
        (1, 0, "tea green+tea black", by),
        (1, 1, "bike chain", by),
        (2, 0, "bike chain", by),
        (3, 0, "tea green+tea black", by),
        (3, 1, "bike chain", by),
    ]


def test_texts_of_items_without_training_events_are_not_shown(inputs, out) -> None:
    spy = Spy()
    Phrases(spy).run(inputs, out)
    ((texts, users),) = spy.shown
    assert texts == ["", *TEXTS[:4], "", ""]
    assert users == [[[1, 3], [2]], [[2]]]  # equal histories are asked about once


def test_a_planted_leak_is_refused(inputs, out, make_artifact) -> None:
    spy = Spy()
    leaky = {**inputs, "groups": make_artifact("leaky", **{**GROUPS, "items": [1, 5, 3, 2, 1, 2, 3]})}
    with pytest.raises(LeakError, match="user 1 would be built from item 5"):
        Phrases(spy).run(leaky, out)
    assert not spy.shown
    assert not list(out.iterdir())


def test_what_is_known_is_not_asked_for(inputs, out, make_artifact) -> None:
    Phrases(Spy()).run(inputs, out)
    again = Spy()
    Phrases(again).run(inputs, out)
    assert again.shown[0][1] == []
    changed = {**inputs, "groups": make_artifact("changed", **{**GROUPS, "labels": [0, 0, 0, 0, 0, 1, 0]})}
    Phrases(again).run(changed, out)
    assert again.shown[1][1] == [[[1, 2, 3]]]  # user 1 alone
    other = Spy(sign="-")
    Phrases(other).run(inputs, out)
    assert len(other.shown[0][1]) == 2  # another describer is asked anew
    assert phrases(out)[0][2] == "tea green-tea black"


def test_the_whole_of_what_is_asked_decides_about_equality() -> None:
    long = "x" * 500
    keys = {
        Answers.key(Spy(), [[long, "a"]]),
        Answers.key(Spy(), [[long, "b"]]),
        Answers.key(Spy(), [[long], ["a"]]),
        Answers.key(Spy("-"), [[long, "a"]]),
        Answers.key(Fleeting(), [[long, "a"]]),
    }
    assert len(keys) == 5


def test_who_described_is_written_and_a_fallback_is_no_secret(inputs, out, caplog) -> None:
    Phrases(Spy(useless=True), Keywords(min_count=1)).run(inputs, out)
    assert {row[3] for row in phrases(out)} == {"Keywords"}
    assert "no usable answer for 3 of 3 users; Keywords describes them" in caplog.text
    with pytest.raises(
        ValueError, match=r"Spy gave no usable answer for 3 of 3 users, and steps\.phrases\.fallback is None"
    ):
        Phrases(Spy(useless=True)).run(inputs, out)


def test_an_answer_survives_a_crash_in_the_next(inputs, out) -> None:
    @dataclass(frozen=True)
    class Dying(Spy):
        def describe(self, texts, users):
            for answer in super().describe(texts, users):
                yield answer
                if len(users) > 1:
                    raise KeyboardInterrupt

    step, shown = Phrases(Dying()), []
    with pytest.raises(KeyboardInterrupt):
        step.run(inputs, out)
    step = Phrases(Dying(shown=shown))
    step.run(inputs, out)
    assert shown[0][1] == [[[1, 3], [2]]]  # the last one was answered first
