"""The questions of the page, answered by the models."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.explorer.opening import OpenedRun
from sage_pl.explorer.why import ranking_shares, scores, vector_shares, without_each
from sage_pl.explorer.world import World
from sage_pl.nn.modules.products import ItemProducts
from sage_pl.report.blocks import MissingError
from sage_pl.report.maps import LEAST, project
from sage_pl.semantic.tables import normalised

SAMPLE = 2000  # users who are compared, and who are asked about a new item
READ = 30  # last items of a history that are left out one by one
MAP = 3000  # items of a map
_NEAR = 8


class Explorer:
    """Answers of some runs over one data set; one question at a time.

    Args:
        runs: with different names.
        plane: ``umap`` or ``pca``, which draws the map.
    """

    def __init__(self, runs: Sequence[OpenedRun], plane: str = "umap") -> None:
        self.runs = {run.name: run for run in runs}
        if len(self.runs) < len(runs):
            raise SettingError("two of the runs have one name; rename a folder, or name another run")
        self.world = World.of(runs)
        self.plane = plane
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the page says of runs and data, and the columns of a new item's text."""
        columns = next((run.texts.columns for run in self.runs.values() if run.texts is not None), ())
        world = self.world
        return {
            "runs": [
                {"name": run.name, "new_items": run.texts is not None and run.texts.encodes_new}
                for run in self.runs.values()
            ],
            "items": world.n_items,
            "users": len(world.histories),
            "clusters": world.cluster_names,
            "columns": list(columns),
            "sample": min(SAMPLE, len(world.histories)),
            "first_user": world.histories.names[int(np.argmax(world.histories.lengths >= 8))],
        }

    def item(self, row: int, **more: Any) -> dict[str, Any]:
        """An item as the page shows it."""
        world = self.world
        count = int(world.counts[row])
        return {
            "id": world.ids[row],
            "title": world.titles[row],
            "count": count,
            "cluster": int(world.clusters[row]),
            **more,
        }

    def history(self, user: str) -> dict[str, Any]:
        """A user's items without the last one, which is the answer that lists are compared with."""
        rows = [int(row) for row in self.world.histories[self._user_row(user)]]
        return {"history": [self.item(row) for row in rows[:-1]], "answer": self.item(rows[-1]) if rows else None}

    def lists(self, history: Sequence[str], user: str | None, answer: str | None, k: int) -> dict[str, Any]:
        """The k best items of every run."""
        rows = self._rows(history)
        with self._lock, torch.inference_mode():
            return {name: self._list(run, rows, user, answer, k) for name, run in self.runs.items()}

    def why(self, name: str, history: Sequence[str], user: str | None, item: str) -> dict[str, Any]:
        """What a run's score of an item is made of."""
        model, rows, row = self._run(name).model, self._rows(history), self._rows([item])[0]
        items, users = _padded(rows), self._users(user)
        distinct = list(dict.fromkeys(reversed(rows)))[:READ]
        labels = self.world.clusters
        same = [one for one in set(rows) if labels[one] == labels[row]]
        with self._lock, torch.inference_mode():
            values = scores(model, items, users)[0]
            lost = without_each(model, rows, users, row, [*([one] for one in distinct), same])
            ranking = ranking_shares(model, items, users, row)
            vector = vector_shares(model, items, users, row)
            values[[0, -1]] = -torch.inf
        drops = [self.item(one, value=value) for one, value in zip(distinct, lost, strict=False)]
        return {
            "item": self.item(row),
            "score": float(values[row]),
            "rank": int((values > values[row]).sum()) + 1,
            "ranking": [share._asdict() for share in ranking],
            "vector": [share._asdict() for share in vector],
            "history": sorted(drops, key=lambda drop: -abs(drop["value"])),
            "cluster": {
                "name": self.world.cluster_names[labels[row]],
                "items": len(same),
                "of": len(set(rows)),
                "value": lost[-1],
            },
        }

    def similar_items(self, name: str, item: str) -> list[dict[str, Any]]:
        """The items of the largest cosines to one, by a run's scored vectors."""
        row = self._rows([item])[0]
        with self._lock, torch.inference_mode():
            table = self._directions(name)
            cosines = table @ table[row]
            cosines[[0, -1, row]] = -torch.inf
        best = cosines.topk(min(_NEAR, self.world.n_items - 1))
        return [self.item(int(one), value=float(value)) for one, value in zip(best.indices, best.values, strict=True)]

    def similar_users(self, name: str, history: Sequence[str]) -> list[dict[str, Any]]:
        """The users of the sample whose states are nearest to that of a history; by shared items for a model without states."""
        rows, model = self._rows(history), self._run(name).model
        with self._lock, torch.inference_mode():
            if isinstance(model, ItemProducts):
                near = self._states(name) @ _direction(model.states(_padded(rows)))[0]
            else:
                near = torch.tensor([_shared(self.world.histories[user], rows) for user in self.sample])
        best = near.topk(min(_NEAR, len(near)))
        answers = []
        for place, value in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            items = [int(one) for one in self.world.histories[self.sample[place]]]
            user = self.world.histories.names[self.sample[place]]
            answers.append(
                {"user": user, "value": value, "items": len(items), "last": [self.item(one) for one in items[-3:]]}
            )
        return answers

    def new_item(self, name: str, texts: dict[str, str], k: int) -> dict[str, Any]:
        """Who of the sample would get an item that does not exist, by its text; and the known items nearest to it."""
        run = self._run(name)
        with self._lock, torch.inference_mode():
            model = run.with_item(texts, self.world.ids[1:])
            new, ranks, histories = self.world.n_items + 1, [], self.world.histories
            for first in range(0, len(self.sample), 128):
                users = self.sample[first : first + 128]
                items, rows = histories.padded(users), torch.from_numpy(histories.users[users])
                values = scores(model, torch.from_numpy(items), rows)
                values[:, [0, -1]] = -torch.inf
                ranks += ((values > values[:, new, None]).sum(1) + 1).tolist()
            table = F.normalize(model.output_table()[:].float(), dim=-1)
            near = (table[1:new] @ table[new]).topk(min(_NEAR, new - 1))
        order = np.argsort(ranks, kind="stable")[:_NEAR]
        return {
            "within": sum(rank <= k for rank in ranks),
            "k": k,
            "sample": len(ranks),
            "users": [self._reached(int(self.sample[place]), ranks[place]) for place in order],
            "near": [
                self.item(int(row) + 1, value=float(value))
                for row, value in zip(near.indices, near.values, strict=True)
            ],
        }

    @cached_property
    def map(self) -> dict[str, Any]:
        """Items on a plane: the most bought ones, and as many others as there is room for."""
        world = self.world
        rows = np.arange(1, world.n_items + 1)
        if len(rows) > MAP:
            order = np.argsort(-world.counts[1:-1], kind="stable") + 1
            others = np.random.default_rng(0).choice(order[MAP // 2 :], MAP - MAP // 2, replace=False)
            rows = np.sort(np.concatenate([order[: MAP // 2], others]))
        vectors, plane = np.asarray(world.vectors[rows], np.float32), self.plane
        try:
            positions = project(vectors, None, 0) if plane == "umap" and len(rows) >= LEAST else _main_plane(vectors)
            plane = plane if len(rows) >= LEAST else "pca"
        except MissingError:
            positions, plane = _main_plane(vectors), "pca"
        low, high = positions.min(0), positions.max(0)
        positions = (positions - low) / np.maximum(high - low, 1e-9)
        items = [
            self.item(int(row), x=round(float(x), 4), y=round(float(y), 4))
            for row, (x, y) in zip(rows, positions, strict=True)
        ]
        return {"items": items, "plane": plane, "of": world.n_items}

    @cached_property
    def sample(self) -> np.ndarray:
        """Rows of the users who are compared."""
        n = len(self.world.histories)
        return np.arange(n) if n <= SAMPLE else np.sort(np.random.default_rng(0).choice(n, SAMPLE, replace=False))

    def _list(
        self, run: OpenedRun, rows: list[int], user: str | None, answer: str | None, k: int
    ) -> list[dict[str, Any]]:
        top = run.model.recommend(_padded(rows), k, run.seen == "mask", self._users(user))
        return [
            self.item(row, score=value, hit=self.world.ids[row] == answer, known=row in rows)
            for row, value in zip(top.ids[0].tolist(), top.scores[0].tolist(), strict=True)
            if row
        ]

    def _reached(self, user: int, rank: int) -> dict[str, Any]:
        items = [int(one) for one in self.world.histories[user]]
        return {"user": self.world.histories.names[user], "rank": rank, "last": [self.item(one) for one in items[-3:]]}

    def _run(self, name: str) -> OpenedRun:
        if name not in self.runs:
            raise SettingError(f"there is no run {name!r}; the page shows {', '.join(self.runs)}")
        return self.runs[name]

    def _rows(self, ids: Sequence[str]) -> list[int]:
        if unknown := next((one for one in ids if one not in self.world.numbers), None):
            raise SettingError(
                f"there is no item {unknown!r} among {self.world.n_items}; search the titles for another"
            )
        return [self.world.numbers[one] for one in ids]

    def _user_row(self, user: str) -> int:
        if user not in self.world.user_rows:
            raise SettingError(f"there is no user {user!r} among {len(self.world.histories)}; search for another id")
        return self.world.user_rows[user]

    def _users(self, user: str | None) -> Int[Tensor, "1"]:
        return torch.tensor([0 if user is None else int(self.world.histories.users[self._user_row(user)])])

    def _directions(self, name: str) -> Tensor:
        table = self._run(name).model.output_table()
        return F.normalize(table[:].float(), dim=-1)

    def _states(self, name: str) -> Tensor:
        """Directions of the sample's states, made once."""
        if name not in self._of_sample:
            model, histories, parts = self._run(name).model, self.world.histories, []
            for first in range(0, len(self.sample), 128):
                items = torch.from_numpy(histories.padded(self.sample[first : first + 128]))
                parts.append(_direction(model.states(items)))  # type: ignore[operator]
            self._of_sample[name] = torch.cat(parts)
        return self._of_sample[name]

    @cached_property
    def _of_sample(self) -> dict[str, Tensor]:
        return {}


def _padded(rows: Sequence[int]) -> Int[Tensor, "1 L"]:
    return torch.tensor([list(rows) or [0]])


def _direction(states: Tensor) -> Tensor:
    """[B, E] of length 1; several interests of a user are averaged."""
    return F.normalize((states.mean(1) if states.ndim == 3 else states).float(), dim=-1)


def _shared(items: np.ndarray, rows: Sequence[int]) -> float:
    """The share of items that two histories have in common."""
    one, two = {int(item) for item in items}, set(rows)
    return len(one & two) / max(len(one | two), 1)


def _main_plane(vectors: np.ndarray) -> np.ndarray:
    """The two main directions of unit vectors."""
    unit = normalised(vectors)
    centred = unit - unit.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
