"""Descriptions of every user's groups of items."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.errors import SettingError
from sage_pl.semantic.interests.grouping import grouped_users, refuse_leaks
from sage_pl.semantic.interests.protocol import Describer, Groups
from sage_pl.semantic.language_models.answers import Answers
from sage_pl.semantic.texts import item_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phrases:
    """One phrase per group of every user.

    Only training items are described: a group with another item is an error, and texts of items without training events are
    masked. Users with equal groups share a request. Answers of slow or paid describers are stored in ``answers.sqlite`` beside
    the artifacts, user by user, by the hash of the request: an interrupted run resumes there, and unchanged groups need no
    further request.

    Args:
        describer: of all users.
        fallback: describer of users without a usable answer; their number is logged. None makes them an error.

    Writes:
        ``phrases.parquet``: user, group (0..K_u - 1), phrase, by (the describer's class), ordered by user and group.

    Raises:
        LeakError: a group has an item outside its user's training events.
        SettingError: an answer was unusable and there is no fallback.
    """

    describer: Describer
    fallback: Describer | None = None

    name: ClassVar[str] = "phrases"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences", "texts", "groups")

    @property
    def libraries(self) -> tuple[str, ...]:
        return self.describer.libraries + (() if self.fallback is None else self.fallback.libraries)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        sequences = Sequences.load(inputs["sequences"])
        groups = grouped_users(inputs["groups"])
        refuse_leaks(groups, sequences)
        visible = ["", *item_texts(inputs["texts"]), ""]
        texts = [text if n else "" for text, n in zip(visible, sequences.train_counts, strict=True)]
        users = [user for user in range(len(groups)) if groups[user]]
        answers = self._describe(texts, [groups[user] for user in users], out.parent / "answers.sqlite")
        rows = [
            (user, group, phrase, by)
            for user, (phrases, by) in zip(users, answers, strict=True)
            for group, phrase in enumerate(phrases)
        ]
        schema = {"user": pl.Int64, "group": pl.Int64, "phrase": pl.String, "by": pl.String}
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(out / "phrases.parquet")

    def _describe(self, texts: Sequence[str], users: Sequence[Groups], file: Path) -> list[tuple[list[str], str]]:
        """Each user's phrases and the class of their describer."""
        first = type(self.describer).__name__
        answers = _answers(self.describer, texts, users, file)
        useless = [row for row, answer in enumerate(answers) if answer is None]
        phrases = {row: (answer, first) for row, answer in enumerate(answers) if answer is not None}
        if useless and self.fallback is not None:
            other = type(self.fallback).__name__
            log.warning("no usable answer for %d of %d users; %s describes them", len(useless), len(users), other)
            second = _answers(self.fallback, texts, [users[row] for row in useless], file)
            phrases |= {row: (answer, other) for row, answer in zip(useless, second, strict=True) if answer is not None}
        if len(phrases) < len(users):
            raise SettingError(
                f"{first} gave no usable answer for {len(users) - len(phrases)} of {len(users)} users, and "
                f"steps.phrases.fallback is {self.fallback}; take describer=keywords, another model, or "
                "a fallback that always answers"
            )
        return [phrases[row] for row in range(len(users))]


def _answers(describer: Describer, texts: Sequence[str], users: Sequence[Groups], file: Path) -> list[list[str] | None]:
    """The describer's answer for every user, from ``file`` where it is stored; None for an unusable one."""
    if not describer.stores_answers:
        return [phrases for _, phrases in sorted(describer.describe(texts, users), key=lambda answer: answer[0])]
    store = Answers(file)
    keys = [store.key(describer, [[texts[i] for i in group] for group in groups]) for groups in users]
    answers = store.read(keys)
    missing = {key: groups for key, groups in zip(keys, users, strict=True) if key not in answers}
    log.info("%d of %d distinct histories have a stored answer", len({*keys}) - len(missing), len({*keys}))
    missing_keys = list(missing)
    for row, phrases in describer.describe(texts, list(missing.values())):
        store.write(missing_keys[row], phrases)
        answers[missing_keys[row]] = phrases
    return [answers[key] for key in keys]
