"""What all explored runs share: the items and users of one data set."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.explorer.opening import OpenedRun
from sage_pl.semantic.kmeans import repeatable_kmeans
from sage_pl.semantic.tables import normalised
from sage_pl.serving.histories import Histories, item_numbers

CLUSTERS = 10
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class World:
    """Items, users and histories, by the models' numbers.

    Args:
        ids: of the items, [N + 1]; row 0 is empty.
        titles: likewise; the id where an item has no title.
        counts: training events, [R].
        histories: all events of every user, held-out ones included.
        vectors: [R, D] of the first run's items, which clusters and maps are made of.
    """

    ids: Sequence[str]
    titles: Sequence[str]
    counts: IntArray
    histories: Histories
    vectors: npt.NDArray[np.floating]

    @classmethod
    def of(cls, runs: Sequence[OpenedRun]) -> World:
        """That of some runs.

        Raises:
            SettingError: their data number the items differently.
        """
        first = runs[0].sequences
        items = first.frame("items").sort("item")
        ids = ["", *items["item_id"].cast(pl.String)]
        for run in runs[1:]:
            if list(item_numbers(run.sequences)) != ids[1:]:
                raise SettingError(
                    f"{run.name} was trained on other items than {runs[0].name}; explore runs of one data set together"
                )
        texts = ["", *items["title"]] if "title" in items.columns else ids
        titles = [title or one for title, one in zip(texts, ids, strict=True)]
        counts = np.asarray(Sequences.load(first).train_counts)
        return cls(ids, titles, counts, Histories.of(first), _vectors(runs, first))

    @property
    def n_items(self) -> int:
        return len(self.ids) - 1

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.ids) if number}

    @cached_property
    def user_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.histories.names)}

    @cached_property
    def clusters(self) -> IntArray:
        """The cluster of every row, [R]; -1 for padding and the mask token."""
        labels = np.full(len(self.vectors), -1)
        labels[1:-1] = repeatable_kmeans(normalised(np.asarray(self.vectors[1:-1], np.float32)), CLUSTERS, 0).labels_
        return labels

    @cached_property
    def cluster_names(self) -> list[str]:
        """The three words that set each cluster's titles apart."""
        words = [set(_WORD.findall(title.lower())) for title in self.titles]
        overall = Counter(word for one in words[1:] for word in one)
        names = []
        for label in range(int(self.clusters.max()) + 1):
            members = np.flatnonzero(self.clusters == label)
            here = Counter(word for item in members for word in words[item])
            weight = {
                word: n * np.log(self.n_items * n / (overall[word] * len(members))) for word, n in here.items() if n > 1
            }
            best = sorted(weight, key=lambda word: (-weight[word], word))[:3]
            names.append(", ".join(best) or f"cluster {label + 1}")
        return names

    def find_items(self, text: str, most: int) -> list[int]:
        """Items whose id or title has every word of a text, those with most training events first."""
        words = text.lower().split()
        found = [row for row in range(1, len(self.ids)) if all(word in self._searched[row] for word in words)]
        return sorted(found, key=lambda row: -self.counts[row])[:most]

    def find_users(self, text: str, most: int) -> list[str]:
        """Users whose id begins with a text, then those that contain it."""
        names = self.histories.names
        begin = [name for name in names if name.startswith(text)][:most]
        return begin + [name for name in names if text in name and not name.startswith(text)][: most - len(begin)]

    @cached_property
    def _searched(self) -> list[str]:
        return [f"{one}\n{title}".lower() for one, title in zip(self.ids, self.titles, strict=True)]


def _vectors(runs: Sequence[OpenedRun], sequences: Artifact) -> npt.NDArray[np.floating]:
    """The text vectors of the first run that reads text, else the vectors of the first run's scores."""
    for run in runs:
        if run.embed is not None:
            return Artifact.at(run.embed).array("table")
    table: npt.NDArray[np.floating] = runs[0].model.output_table()[:].numpy()
    return table
