"""The number of a user's interests, and the items of each."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Bit, Count, Silhouette, Weight
from sage_pl.semantic.interests.linkage import average_linkage, cosine_distances, silhouettes
from sage_pl.semantic.tables import FloatArray, normalised

log = logging.getLogger(__name__)

CHUNK = 1024  # users in a chunk


@dataclass(frozen=True)
class Grouping:
    """Groups every user's training history by text; the number of groups adapts to the user.

    Text vectors are centred by the mean over the items of the training part and scaled to norm 1. A user's last ``max_items``
    distinct items are joined by average linkage over cosine distances, and

        ``K_u = argmax_K silhouette(K)`` for ``K = 2 .. max(1, min(max_interests, ceil(log2(1 + n))))``,

    among those K whose groups are all at least ``min_distance`` apart and whose silhouette is at least ``min_silhouette``;
    1 if no K qualifies or there are fewer than 3 distinct items, 0 without items. The result is deterministic. A user's groups
    are in descending order of their items' summed recency (1 for the oldest, n for the newest).

    The last training item of every user is excluded: it is predicted from the interests and must not be among them (the leak
    rule; :mod:`sage_pl.nn.sequence_encoders.interests`).

    Args:
        max_interests: most groups of a user.
        max_items: number of the most recent distinct items that are grouped.
        min_silhouette: least silhouette of two or more groups.
        min_distance: least mean cosine distance between the items of two groups; unrelated items are about 1 apart. Silhouettes
            are relative, so they split near twins as readily as strangers.
        fixed: this many groups for every user (at most as many as distinct items); None chooses.
        held_back: training items excluded at the end of a history; 0, as in the reference, lets the last training target into
            the interests it is predicted from.

    Writes:
        ``items.npy`` int32 [M] every user's grouped items, oldest first, ``labels.npy`` int16 [M] their groups 0..K_u - 1,
        ``offsets.npy`` int64 [U + 2] the first row of each user.

    Raises:
        SettingError: a number is out of range.

    Reference: SAM's description. Differs: its code chooses K by capsules with untrained weights, which is noise, and uses K
    alone; docs/methods/sam.md.
    """

    max_interests: Count = 6
    max_items: Count = 20
    min_silhouette: Silhouette = 0.1
    min_distance: Weight = 0.5
    fixed: Count | None = None
    held_back: Bit = 1

    name: ClassVar[str] = "groups"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences", "embed")
    libraries: ClassVar[tuple[str, ...]] = ()
    READ_WITH: ClassVar = dict.fromkeys(("max_interests", "min_silhouette", "min_distance"), ("fixed", None))

    def __post_init__(self) -> None:
        counts = (self.max_interests, self.max_items, 1 if self.fixed is None else self.fixed)
        if min(counts) < 1 or self.held_back not in (0, 1):
            raise SettingError(
                f"steps.groups has max_interests={self.max_interests}, max_items={self.max_items}, fixed={self.fixed} and "
                f"held_back={self.held_back}; wanted at least 1 each, and 0 or 1 items held back"
            )

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        sequences = Sequences.load(inputs["sequences"])
        table = np.asarray(inputs["embed"].array("table"), dtype=np.float64)
        trained = sequences.train_counts > 0
        vectors = normalised(table - table[trained].mean(0)) if trained.any() else table
        histories = self.histories(sequences)
        sizes = np.array([len(items) for items in histories])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        items = np.concatenate([np.zeros(0, np.int64), *histories]).astype(np.int32)
        labels = np.zeros(len(items), np.int16)
        for n in np.unique(sizes[sizes > 0]):
            users = np.flatnonzero(sizes == n)
            for start in range(0, len(users), CHUNK):
                places = offsets[users[start : start + CHUNK], None] + np.arange(n)
                labels[places] = self.group(vectors[items[places]])
        for name, array in (("items", items), ("labels", labels), ("offsets", offsets)):
            np.save(out / f"{name}.npy", array)
        counts = np.bincount([labels[a:b].max(initial=-1) + 1 for a, b in pairwise(offsets[1:])])  # row 0 is padding
        log.info("users by number of interests: %s", ", ".join(f"{k}: {n}" for k, n in enumerate(counts) if n))

    def histories(self, sequences: Sequences) -> list[IntArray]:
        """Each user's items to group, oldest first; row 0 is empty."""
        values, offsets = sequences.train_csr()
        ends = np.maximum(offsets[1:] - self.held_back, offsets[:-1])
        newest_first = (dict.fromkeys(values[a:b][::-1].tolist()) for a, b in zip(offsets[:-1], ends, strict=True))
        return [np.array(list(items)[: self.max_items][::-1], dtype=np.int64) for items in newest_first]

    def group(self, points: FloatArray) -> IntArray:
        """Labels of users with equally many items, [B, n, D] -> [B, n]; a group's label is its place in the user's order."""
        n_sets, n, _ = points.shape
        distances = cosine_distances(points)
        if self.fixed is not None:
            return ranked(average_linkage(distances, min(self.fixed, n))[0][-1])
        limit = max(1, min(self.max_interests, math.ceil(math.log2(1 + n)))) if n >= 3 else 1
        cuts, gaps = average_linkage(distances, limit)
        one = np.full(n_sets, self.min_silhouette - 1e-6)  # score of a single group
        scores = np.stack([one, *(silhouettes(distances, cut) for cut in cuts[1:])])
        scores[gaps < self.min_distance] = -np.inf
        return ranked(cuts[np.round(scores, 9).argmax(0), np.arange(n_sets)])


def ranked(labels: IntArray) -> IntArray:
    """Labels numbered by the summed recency of their points, largest first; of equal sums the one with the newest point."""
    n = labels.shape[1]
    member = labels[:, :, None] == np.arange(n)
    age = np.arange(1, n + 1)[None, :, None]
    weight = (member * age).sum(1) * (n + 1) + (member * age).max(1)
    place = (-weight).argsort(1, kind="stable").argsort(1, kind="stable")
    return np.take_along_axis(place, labels, 1)


def grouped_users(groups: Artifact) -> list[list[list[int]]]:
    """The items of each group of each user, oldest first; row 0 is empty."""
    items, labels, offsets = (groups.array(name).tolist() for name in ("items", "labels", "offsets"))
    users: list[list[list[int]]] = []
    for start, stop in pairwise(offsets):
        users.append([[] for _ in range(1 + max(labels[start:stop], default=-1))])
        for item, label in zip(items[start:stop], labels[start:stop], strict=True):
            users[-1][label].append(item)
    return users


def refuse_leaks(users: list[list[list[int]]], sequences: Sequences) -> None:
    """Check that interests are built from training items alone.

    Raises:
        LeakError: a user has a grouped item outside its training part.
    """
    values, offsets = sequences.train_csr()
    for user, groups in enumerate(users):
        leaks = {item for group in groups for item in group} - set(values[offsets[user] : offsets[user + 1]].tolist())
        if leaks:
            raise LeakError(
                f"the interests of user {user} would be built from item {min(leaks)}, which is not in the user's training "
                "part: held-out events must not be described; make the groups anew with scripts/prepare.py"
            )


class LeakError(SettingError):
    """Held-out events would reach the training."""
