"""Attribute-dropped views of an item's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from sage_pl.errors import SettingError
from sage_pl.ranges import Dropout, Seed
from sage_pl.semantic.texts import SEPARATOR, attributes

Attributes = tuple[str, ...]
Pair = tuple[str, str]  # two views of one item


def attribute_lists(
    items: pl.DataFrame, columns: Sequence[str], labels: Mapping[str, str] | None, each_value: bool = False
) -> list[Attributes]:
    """The distinct texts as lists of labelled attributes, in the order of their first item.

    Items without attributes are left out. Equal texts are merged: in a batch they would be each other's negatives.

    Args:
        items: the data set's items table.
        columns: of that table.
        labels: prefix of each column's value, as in :class:`sage_pl.semantic.texts.Texts`.
        each_value: every value of a list is an attribute, instead of all of them as one.
    """
    if each_value:
        items, columns, labels = _in_columns(items, columns, labels or {})
    pieces = pl.concat_list(attributes(items, columns, labels)).list.drop_nulls().alias("pieces")
    lists = items.sort("item").select(pieces)["pieces"].to_list()
    return list(dict.fromkeys(tuple(pieces) for pieces in lists if pieces))


def _in_columns(
    items: pl.DataFrame, columns: Sequence[str], labels: Mapping[str, str]
) -> tuple[pl.DataFrame, list[str], dict[str, str]]:
    """The same items with a column for each place in a list, under the label of the list's column."""
    parts: dict[str, tuple[pl.Expr, str]] = {}
    for column in columns:
        label = labels.get(column, "" if column == "title" else column.replace("_", " "))
        if isinstance(items.schema[column], pl.List):
            longest = int(items[column].list.len().max() or 0)  # type: ignore[arg-type]
            parts |= {f"{column}.{at}": (pl.col(column).list.get(at, null_on_oob=True), label) for at in range(longest)}
        else:
            parts[column] = (pl.col(column), label)
    table = items.select("item", *(part.alias(name) for name, (part, _) in parts.items()))
    return table, list(parts), {name: label for name, (_, label) in parts.items()}


@dataclass(frozen=True)
class AttributeDropout:
    """A view of an item: ``max(1, K - floor(K r))`` of its K attributes, in random order, after the instruction.

    At r below one half two attributes both stay. Views of a single attribute are equal; only the encoder's dropout
    distinguishes them.

    Args:
        ratio: r, the share of attributes dropped.
        static: draw each item's pair of views once, not at every access.

    Raises:
        ValueError: the ratio is not within 0..1.

    Reference: LLMEmb, equations 2 and 3, and its code, which shuffles too. Differs: its code draws each pair once
    (``static``) and can drop an item's only attribute.
    """

    ratio: Dropout = 0.4
    static: bool = False

    each_value: ClassVar[bool] = False  # every value of a list is an attribute

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise SettingError(f"steps.scft.views.ratio is {self.ratio}, wanted a share from 0 to 1")

    def draw(self, attributes: Sequence[str], generator: np.random.Generator) -> str:
        """One view."""
        size = len(attributes) - self.dropped(len(attributes))
        return SEPARATOR.join(attributes[i] for i in generator.permutation(len(attributes))[:size])

    def dropped(self, n: int) -> int:
        """How many of n attributes a view lacks."""
        return n - max(1, n - int(n * self.ratio))


@dataclass(frozen=True)
class ValueDropout(AttributeDropout):
    """As :class:`AttributeDropout`, with every value of a list as an attribute, and at least one of two or more dropped.

    ``K - max(1, floor(K r))`` attributes stay for K >= 2 and r > 0. With the floor alone nothing is ever dropped from items of
    two attributes, so that their two views are the same words.
    """

    each_value: ClassVar[bool] = True

    def dropped(self, n: int) -> int:
        return max(super().dropped(n), 1) if n > 1 and self.ratio else super().dropped(n)


class ViewPairs:
    """Two independent views of each item, drawn at every access.

    Args:
        items: the attributes of each item.
        dropout: draws a view.
        instruction: a line before every view, or None.
        seed: of the draws.
    """

    def __init__(
        self, items: Sequence[Attributes], dropout: AttributeDropout, instruction: str | None = None, seed: Seed = 0
    ) -> None:
        self.items = items
        self.dropout = dropout
        self.instruction = instruction
        self.generator = np.random.default_rng(seed)
        self._drawn = [self._draw(index) for index in range(len(items))] if dropout.static else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Pair:
        return self._draw(index) if self._drawn is None else self._drawn[index]

    def _draw(self, index: int) -> Pair:
        first, second = (self.dropout.draw(self.items[index], self.generator) for _ in range(2))
        return instructed(first, self.instruction), instructed(second, self.instruction)


class ViewBatches:
    """Batches of pairs of views; each epoch is a permutation of the items, cut into full batches.

    Lightning stores ``state_dict`` in checkpoints, so that training resumes within an epoch.

    Args:
        pairs: two views of each item.
        size: items in a batch; capped at their number.
        seed: of the permutations, a function of (seed, epoch).
    """

    def __init__(self, pairs: ViewPairs, size: int, seed: Seed) -> None:
        self.pairs = pairs
        self.size = min(size, len(pairs))
        self.seed = seed
        self._done = 0  # batches, of all epochs

    def __len__(self) -> int:
        return len(self.pairs) // self.size

    def __iter__(self) -> Iterator[list[Pair]]:
        """The remaining batches of the epoch."""
        epoch, first = divmod(self._done, len(self))
        generator = np.random.default_rng(self.seed)
        order = [generator.permutation(len(self.pairs)) for _ in range(epoch + 1)][-1]
        for batch in range(first, len(self)):
            self._done += 1
            yield [self.pairs[i] for i in order[batch * self.size : (batch + 1) * self.size]]

    def state_dict(self) -> dict[str, Any]:
        """Number of batches so far, and the state of the pairs' generator."""
        return {"done": self._done, "pairs": dict(self.pairs.generator.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self._done = state["done"]
        self.pairs.generator.bit_generator.state = state["pairs"]


def instructed(text: str, instruction: str | None) -> str:
    """The text after the instruction's line."""
    return f"{instruction}\n{text}" if instruction else text
