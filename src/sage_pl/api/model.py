"""A trained model: recommends, finds similar items and users, takes new items, is evaluated, reported and saved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from sage_pl.api.card import model_card
from sage_pl.api.frames import events_of, is_frame
from sage_pl.api.hub import upload, write_layout
from sage_pl.api.nearest import directions, nearest, pairs, portions, rows_of
from sage_pl.api.pages import Page
from sage_pl.api.running import run_command
from sage_pl.api.sources import Source
from sage_pl.api.tables import metrics_table
from sage_pl.artifacts.plain import read_json
from sage_pl.data.sources.frames import polars_frame
from sage_pl.errors import SettingError
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.serving.exported_model import ExportedModel, Recommendation
from sage_pl.serving.histories import Histories
from sage_pl.serving.restriction import ids_given, item_rows
from sage_pl.serving.tower import FILES, write_tower


class Model:
    """A trained model with the ids of its data; made by :func:`sage_pl.fit` and :func:`sage_pl.load`.

    Attributes:
        served: answers to histories, see :class:`sage_pl.serving.ExportedModel`.
    """

    def __init__(self, served: ExportedModel, source: Source) -> None:
        self.served = served
        self._source = source

    @property
    def path(self) -> Path:
        """The folder of the run, or the exported one."""
        return self._source.path

    @property
    def module(self) -> RecommenderModule:
        """The LightningModule with the checkpoint's weights; items that were added are in ``served`` alone.

        Raises:
            SettingError: the model was loaded from an exported folder.
        """
        return self._source.module

    @property
    def items(self) -> pl.DataFrame:
        """``item_id`` and, where the data have titles, ``title`` of every item, by the model's number."""
        catalogue = self.served.catalogue
        titles = {"title": catalogue.titles[1:]} if catalogue.titles else {}
        return pl.DataFrame({"item_id": catalogue.ids[1:], **titles}, schema_overrides={"item_id": pl.String})

    def recommend(
        self,
        history: Any = None,
        *,
        users: Sequence[str] | str | None = None,
        k: int = 10,
        exclude: Sequence[str] | None = None,
        candidates: Sequence[str] | None = None,
        seen: str | None = None,
    ) -> pl.DataFrame:
        """The k best items after one history, after those of known users, or after those of a frame.

        Args:
            history: ids of items, oldest first; or a frame of events, one history for each user in it, with the columns that
                ``fit`` was given or ``user_id``, ``item_id`` and ``timestamp``.
            users: ids of users of the data, whose histories are all their events; or ``"all"``.
            k: items for each; fewer where fewer remain.
            exclude: ids of items that are not recommended.
            candidates: ids of the only items that are; None for all.
            seen: ``mask`` leaves items of the history out, ``keep`` recommends them too; None for the rule of the evaluation.

        Returns:
            ``user_id`` (not for one history), ``rank`` from 1, ``item_id``, ``title`` (where the data have titles), ``score``.

        Raises:
            SettingError: an item or a user is unknown, or not one of ``history`` and ``users`` is given.

        >>> answer = model.recommend(history=["tea-1", "tea-2"], k=3, exclude=["tea-3"])
        >>> answer["rank"].to_list()
        [1, 2, 3]
        >>> model.recommend(users=["u1"], k=1).columns
        ['user_id', 'rank', 'item_id', 'title', 'score']
        """
        if (history is None) == (users is None):
            raise SettingError("give history=[ITEM, ITEM], a frame of events, or users=[USER, USER], one of them")
        restriction: dict[str, Any] = {"k": k, "exclude": exclude, "candidates": candidates, "seen": seen}
        if users is None and not is_frame(history):
            return self._table([None], [self.served.recommend(history, **restriction)])
        answers: list[list[Recommendation]] = []
        if users is None:
            names, histories = events_of(history, self._source.columns, self.served.catalogue.numbers)
            for rows in portions(len(names)):
                some_names, some = [names[row] for row in rows], [histories[row] for row in rows]
                answers += self.served.recommend(histories=some, users=some_names, **restriction)
            return self._table(names, answers)
        known = self._histories(users)
        for rows in portions(len(known)):
            items = [known[row].tolist() for row in rows]
            answers += self.served.recommend_rows(items, known.users[rows].tolist(), **restriction)
        return self._table(known.names, answers)

    def similar(self, items: Sequence[str], k: int = 10) -> pl.DataFrame:
        """The k items nearest to each of some, by the cosine of the vectors that are scored.

        Returns:
            ``item_id``, ``rank``, ``similar_id``, ``title`` of the similar one (where the data have titles), ``score``.

        Raises:
            SettingError: an item is unknown.

        >>> model.similar(["tea-1"], k=2).columns
        ['item_id', 'rank', 'similar_id', 'title', 'score']
        """
        catalogue = self.served.catalogue
        rows = [row - 1 for row in item_rows(catalogue.numbers, items)]
        vectors = directions(self.served.model.output_table()[1:-1])
        neighbours = nearest(vectors, rows, k)
        return pairs(
            "item_id", [catalogue.ids[row + 1] for row in rows], neighbours, catalogue.ids[1:], catalogue.titles[1:]
        )

    def similar_users(self, users: Sequence[str], k: int = 10) -> pl.DataFrame:
        """The k users nearest to each of some, by the cosine of the states after their histories.

        A user of several interests is compared by the two that agree best.

        Returns:
            ``user_id``, ``rank``, ``similar_id``, ``score``.

        Raises:
            SettingError: a user is unknown, or the model was loaded from an exported folder.

        >>> model.similar_users(["u1"], k=2).shape
        (2, 4)
        """
        names, states = self._states
        rows = rows_of(names, users)
        return pairs("user_id", [names[row] for row in rows], nearest(states, rows, k), names)

    def add_items(self, items: Any, allow_host: Sequence[str] = ()) -> Model:
        """Recommend new items too, by their text, without training; see :meth:`sage_pl.serving.ExportedModel.add_items`.

        Args:
            items: a frame with ``item_id`` and the text columns of the data set, or a file of such a table.
            allow_host: hosts that the text encoder may contact.

        Returns:
            this model.

        Raises:
            SettingError: the model cannot take new items, or an item is known, blank or without text.

        >>> grown = load(run_folder).add_items({"item_id": ["tea-99"], "title": ["green leaf tea"]})
        >>> "tea-99" in grown.items["item_id"]
        True
        """
        columns = self._source.columns
        if not isinstance(items, str | Path):
            frame = polars_frame(items, "the table of new items")
            items = frame.rename({columns.item: "item_id"}) if "item_id" not in frame.columns else frame
        self.served.add_items(items, allow_host)
        return self

    def evaluate(self, **settings: Any) -> pl.DataFrame:
        """Test the model again, as ``scripts/evaluate.py`` does, which writes a folder of results.

        A model that was loaded with ``overrides`` is tested with them.

        Args:
            settings: of ``conf/evaluate.yaml``, such as ``scorer="fusion"`` or ``overrides={"evaluation": {"seen": "keep"}}``.

        Returns:
            ``protocol``, ``group``, ``cases`` and a column for each metric.

        Raises:
            SettingError: the model was loaded from an exported folder.

        >>> model.evaluate().columns[:3]
        ['protocol', 'group', 'cases']
        """
        settings = {"checkpoint": self._source.checkpoint("an evaluation"), **settings}
        if self._source.overrides:
            changes = OmegaConf.merge(self._source.overrides, settings.get("overrides", {}))
            settings["overrides"] = OmegaConf.to_container(changes)
        return metrics_table(run_command("evaluate", settings).result)

    @property
    def metrics(self) -> pl.DataFrame:
        """Those of the run's test, as :meth:`evaluate` returns them, without a new one."""
        return metrics_table(read_json(self._source.checkpoint("metrics").parent.parent / "metrics.json"))

    def report(self, **settings: Any) -> Page:
        """The run's page: ``report.html``, which a notebook shows.

        Args:
            settings: of ``conf/report.yaml``, such as ``maps=False``, which takes seconds.

        Raises:
            ReportError: the page cannot be made.

        >>> model.report(maps=False).path.name
        'report.html'
        """
        run = self._source.checkpoint("a report").parent.parent
        return Page(run_command("report", {"run": run, **settings}).result)

    def save(self, path: str | Path, format: str = "folder", licence: str = "other") -> Path:
        """Write the model as a folder of its own, items that were added included; :func:`sage_pl.load` reads it anywhere.

        Args:
            path: must not exist.
            format: ``folder``; ``hub`` for the same with safetensors and a model card; ``onnx`` or ``torch`` for the user tower
                alone and the item vectors, which other programs serve (docs/serving.md).
            licence: of the weights, for the card, by the hub's names, such as ``mit``.

        Raises:
            SettingError: it exists or is no path, the format is unknown, or the model has no tower.

        >>> folder = model.save(somewhere / "shop")
        >>> load(folder).recommend(history=["tea-1"]).equals(model.recommend(history=["tea-1"]))
        True
        """
        if not isinstance(path, str | os.PathLike):
            raise SettingError(f"path is {path!r}, wanted the path of a folder that does not exist yet")
        if format not in (forms := ("folder", "hub", *FILES)):
            raise SettingError(f"format is {format!r}, wanted {', '.join(forms[:-1])} or {forms[-1]}")
        if format == "folder":
            self._source.write(Path(path), self.served)
        elif format == "hub":
            self._write_layout(Path(path), licence)
        else:
            write_tower(self.served.model, self.served.catalogue, path, format)
        return Path(path)

    def push_to_hub(self, repo: str, licence: str = "other", private: bool = True, token: str | None = None) -> str:
        """Upload the model to the Hugging Face hub with a card made of the run; ``sage_pl.load("hf://OWNER/NAME")`` reads it.

        Args:
            repo: OWNER/NAME.
            licence: of the weights, by the hub's names, such as ``mit``.
            private: of a repository that is made now.
            token: None for that of ``hf auth login``.

        Returns:
            the repository's address.

        Raises:
            SettingError: the model was loaded from an exported folder, or the hub refuses.
        """
        return upload(lambda folder: self._write_layout(folder, licence), repo, private, token)

    def _write_layout(self, folder: Path, licence: str) -> None:
        run = self._source.checkpoint("a model card").parent.parent
        card = model_card(run, licence, bool(self.served.catalogue.users))
        facts = {"library_name": "sage-pl", "architectures": [type(self.served.model).__name__]}
        write_layout(lambda place: self._source.write(place, self.served), card, facts, folder)

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, {len(self.served.catalogue.ids) - 1:,} items)"

    def _histories(self, users: Sequence[str] | str) -> Histories:
        if isinstance(users, str) and users == "all":
            return self._source.histories()
        names = ids_given(users, "users")
        every = self._source.histories(names)
        return every.subset(rows_of(every.names, names))

    @cached_property
    def _states(self) -> tuple[Sequence[str], Float[Tensor, "U I E"]]:
        """Every user, and the directions of the states after the histories."""
        every, model = self._source.histories(), self.served.model
        states = []
        for rows in portions(len(every)):
            items, users = (torch.from_numpy(one.astype(np.int64)) for one in (every.padded(rows), every.users[rows]))
            with torch.inference_mode():
                some = model.states(items, users).float()
            states.append(directions(some))
        return every.names, torch.cat(states)

    def _table(self, names: Sequence[str | None], answers: Sequence[Sequence[Recommendation]]) -> pl.DataFrame:
        rows = [
            (name, rank, *item)
            for name, answer in zip(names, answers, strict=True)
            for rank, item in enumerate(answer, 1)
        ]
        kinds = {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "title": pl.String, "score": pl.Float32}
        table = pl.DataFrame(rows, schema=kinds, orient="row")
        unused = [] if self.served.catalogue.titles else ["title"]
        return table.drop(unused if names != [None] else ["user_id", *unused])
