"""One export with the items that were added to it: never changed, so requests read it while the next one is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.artifacts.files import MANIFEST
from sage_pl.errors import SettingError
from sage_pl.serving import ExportedModel, Recommendation, load
from sage_pl.types import PADDING, TopK


class UnknownItemError(SettingError):
    """An id is no item of the model."""


class Query(NamedTuple):
    """What the model answers; queries with equal :attr:`kind` are answered together.

    Args:
        generation: that ``items`` number.
        items: the history, oldest first.
        user: row of the user in the model's table; 0 for a new user.
        k: items of the list.
        exclude_seen: leave out the items of the history.
        candidates: the only items listed; None for all.
        exclude: items never listed.
    """

    generation: Generation
    items: Sequence[int]
    user: int
    k: int
    exclude_seen: bool
    candidates: frozenset[int] | None = None
    exclude: frozenset[int] = frozenset()

    @property
    def kind(self) -> tuple[object, ...]:
        return id(self.generation), self.exclude_seen, self.candidates, self.exclude


class Generation:
    """A model that answers by the data set's own ids.

    Args:
        exported: the model.
        version: the export's name.
        n_trained: items of the export itself; None: all.
    """

    def __init__(self, exported: ExportedModel, version: str, n_trained: int | None = None) -> None:
        self.exported = exported
        self.version = version
        self.catalogue = exported.catalogue
        self.network: Any = exported.model
        self.n_trained = self.n_items if n_trained is None else n_trained

    @classmethod
    def of(cls, folder: Path, allow_host: Sequence[str] = ()) -> Generation:
        """That of an exported folder; errors are those of :func:`sage_pl.serving.load`."""
        return cls(load(folder, allow_host), version_of(folder))

    def with_items(self, items: Sequence[tuple[str, Mapping[str, str]]]) -> Generation:
        """The same with further items by their texts; this one stays as it is.

        Raises:
            SettingError: an item is known or has no text, or the model takes none.
        """
        columns = sorted({column for _, texts in items for column in texts})
        table: dict[str, list[str]] = {"item_id": [item for item, _ in items]}
        table |= {column: [texts.get(column, "") for _, texts in items] for column in columns}
        exported = self.exported.copy()
        exported.add_items(table)
        return Generation(exported, self.version, self.n_trained)

    @property
    def n_items(self) -> int:
        return len(self.catalogue.ids) - 1

    @property
    def trained_ids(self) -> Sequence[str]:
        """Ids of the items of the export itself."""
        return self.catalogue.ids[1 : self.n_trained + 1]

    def rows(self, ids: Iterable[str]) -> list[int]:
        """The model's numbers of items.

        Raises:
            UnknownItemError: one is unknown.
        """
        numbers, rows = self.catalogue.numbers, []
        for one in ids:
            if (row := numbers.get(one)) is None:
                raise UnknownItemError(
                    f"the model has no item {one!r} among its {self.n_items}; POST /items adds items"
                )
            rows.append(row)
        return rows

    def known_rows(self, ids: Iterable[str]) -> list[int]:
        """The model's numbers of those items that it knows."""
        numbers = self.catalogue.numbers
        return [numbers[one] for one in ids if one in numbers]

    def user(self, name: str | None) -> int:
        return 0 if name is None else self.catalogue.user_numbers.get(name, 0)

    def rank(self, queries: Sequence[Query]) -> list[list[Recommendation]]:
        """Lists of queries of one kind."""
        first = queries[0]
        histories = [self._needed(query) for query in queries]
        longest = max(1, *map(len, histories))
        items = torch.tensor([[PADDING] * (longest - len(items)) + list(items) for items in histories])
        users = torch.tensor([query.user for query in queries])
        k = min(max(query.k for query in queries), self.n_items)
        with torch.inference_mode():
            top = self.network.recommend(items, k, first.exclude_seen, users, *self._allowed(first))
        return [self.named(ids, values, query.k) for query, ids, values in zip(queries, *_lists(top), strict=True)]

    def similar(self, rows: Sequence[int], k: int) -> list[Recommendation]:
        """The items of the largest cosine to the mean direction of some items, these left out."""
        table = self._directions
        with torch.inference_mode():
            cosines = table @ F.normalize(table[list(rows)].mean(0), dim=0)
            cosines[[0, len(table) - 1, *rows]] = -torch.inf
            best = cosines.topk(min(k, len(table)))
        kept = torch.isfinite(best.values)
        return self.named(best.indices[kept].tolist(), best.values[kept].tolist(), k)

    def named(self, ids: Sequence[int], scores: Sequence[float], k: int) -> list[Recommendation]:
        """Ids and titles of ranked items; 0 is none."""
        names, titles = self.catalogue.ids, self.catalogue.titles
        return [
            Recommendation(names[item], (titles[item] or "") if titles else "", score)
            for item, score in zip(ids[:k], scores[:k], strict=True)
            if item != PADDING
        ]

    @cached_property
    def _directions(self) -> Float[Tensor, "R E"]:
        with torch.inference_mode():
            return F.normalize(self.network.output_table().float(), dim=-1)

    def _needed(self, query: Query) -> Sequence[int]:
        """The newest items, which the model reads, after each older one once, where it is left out of the list.

        A search with beams counts all of them.
        """
        most = self.network.max_len
        if most is None or len(query.items) <= most or not hasattr(self.network, "ranking_table"):
            return query.items
        older = dict.fromkeys(query.items[:-most]) if query.exclude_seen else ()
        return [*older, *query.items[-most:]]

    def _allowed(self, query: Query) -> tuple[Tensor, ...]:
        if query.candidates is None and not query.exclude:
            return ()
        allowed = torch.full((self.n_items + 2,), query.candidates is None)
        allowed[list(query.candidates or ())] = True
        allowed[list(query.exclude)] = False
        return (allowed,)


def version_of(folder: Path) -> str:
    """The name of an export: a hash of its list of files and hashes, or of its ``model.json`` where it has no list."""
    file = folder / MANIFEST
    content = (file if file.is_file() else folder / "model.json").read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _lists(top: TopK) -> tuple[list[list[int]], list[list[float]]]:
    return top.ids.tolist(), top.scores.tolist()
