"""An exported model with the data set's own ids: histories in, recommended items out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl.artifacts.plain import read_json
from sage_pl.errors import SettingError
from sage_pl.nn.modules.sharing import shared_copy
from sage_pl.serving.restriction import allowed_rows, item_rows, list_length
from sage_pl.types import PADDING, Views

CATALOGUE, ADDED = "catalogue.json", "added"
_MOST = 50_000_000  # values of a catalogue


class Added(NamedTuple):
    """Items that came after training."""

    ids: Sequence[str]
    titles: Sequence[str]  # "" where there is none
    views: Views  # as sequences read them, and ``output``, each [M, E]
    text: Float[Tensor, "M T"]  # of the text encoder, which a scorer reads


Adder = Callable[[Any, Sequence[str], Sequence[str]], Added]
"""From a table, the known ids and allowed hosts to its items with their vectors."""


class Recommendation(NamedTuple):
    """One recommended item."""

    id: str
    title: str  # "" where the data set has none
    score: float


@dataclass(frozen=True)
class Catalogue:
    """What numbers of a model mean, and how the model was evaluated.

    Args:
        ids: of the items in the data set, [N + 1]; row 0 is empty.
        titles: likewise; empty where the data set has none.
        users: ids of the users a model knows beside their histories, [U + 1]; empty for a model that reads histories alone.
        seen: ``mask`` leaves out items of the history, ``keep`` recommends them too.
    """

    ids: Sequence[str]
    titles: Sequence[str]
    users: Sequence[str]
    seen: str

    @classmethod
    def read(cls, folder: Path) -> Catalogue | None:
        """That of an exported folder; None for a folder of an earlier version, which has none.

        Raises:
            PlainError: the file is damaged.
            SettingError: it holds other values than :class:`Catalogue` describes.
        """
        file = folder / CATALOGUE
        if not file.is_file():
            return None
        read = cls(**read_json(file, _MOST))
        named = all(isinstance(part, list) and {str} >= set(map(type, part)) for part in (read.ids, read.users))
        titled = isinstance(read.titles, list) and {str, type(None)} >= set(map(type, read.titles))
        if not named or not titled or len(read.titles) not in (0, len(read.ids)) or read.seen not in ("mask", "keep"):
            raise SettingError(
                f"{file} holds other values than lists of ids, of as many titles and of users, and mask or keep; export the "
                "model again"
            )
        return read

    def with_new(self, new: Added) -> Catalogue:
        """These items, then new ones."""
        titles = [*self.titles, *new.titles] if self.titles else []
        return replace(self, ids=[*self.ids, *new.ids], titles=titles)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate(self.ids) if number}

    @cached_property
    def user_numbers(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate(self.users) if number}

    def items(self, history: Sequence[str]) -> list[int]:
        """The model's numbers of items.

        Raises:
            SettingError: the first that is unknown, with the nearest known ids.
        """
        return item_rows(self.numbers, history)


class ExportedModel:
    """Recommends after histories of the data set's own item ids.

    Args:
        model: with the tensor interface ``recommend(items, k)``, over the model's item numbers.
        catalogue: ids, titles and the rule for seen items; None for a folder of an earlier version.
        adder: encodes new items; None where the folder cannot.
        added: the newest items of ``catalogue``, which the model has already.

    Attributes:
        added: items that came after training, in the order of their numbers.
    """

    def __init__(
        self, model: Any, catalogue: Catalogue | None, adder: Adder | None = None, added: Sequence[Added] = ()
    ) -> None:
        self._adder = adder
        self.added = list(added)
        self.model = model
        self._catalogue = catalogue
        model.cache_item_vectors()

    @property
    def catalogue(self) -> Catalogue:
        """Ids and titles.

        Raises:
            SettingError: an earlier version wrote the folder.
        """
        if self._catalogue is None:
            raise SettingError(
                "an earlier version wrote this folder, without ids; export the checkpoint again, or use .model with numbers"
            )
        return self._catalogue

    def recommend(
        self,
        history: Sequence[str] | None = None,
        k: int = 10,
        *,
        histories: Sequence[Sequence[str]] | None = None,
        user: str | None = None,
        users: Sequence[str] | None = None,
        seen: str | None = None,
        candidates: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> Any:
        """The k best items after one history, or after each of several.

        Args:
            history: item ids, oldest first; the model reads the newest, as many as in training.
            k: items per history, at least 1; fewer where fewer remain.
            histories: several of them, instead of ``history``.
            user: id of the user of ``history``, for a model that knows its users (``sam``); an unknown one is a new user.
            users: likewise, of each of ``histories``.
            seen: ``mask`` or ``keep`` items of the history; None for the rule of the evaluation.
            candidates: ids of the only items that are recommended; None for all.
            exclude: ids of items that are not.

        Returns:
            a list of :class:`Recommendation`, best first; for ``histories`` a list of such lists.

        Raises:
            SettingError: an item is unknown, none remains, k is below 1, or not one of ``history`` and ``histories`` is given.
        """
        if (history is None) == (histories is None):
            raise SettingError("give history=[ITEM, ITEM] or histories=[[ITEM], [ITEM, ITEM]], one of them")
        if histories is not None and user is not None:
            raise SettingError("user= belongs to history=; with histories= give users=[USER, USER] or leave it out")
        if users is not None and (histories is None or len(users) != len(histories)):
            raise SettingError("users= names the user of each of histories=; give as many, or leave it out")
        chosen = histories if history is None else [history]
        rows = [self.catalogue.items(one) for one in chosen]  # type: ignore[union-attr]
        names: Sequence[str | None] = [user] * len(rows) if users is None else users
        numbers = [self.catalogue.user_numbers.get(str(one), 0) for one in names]
        answers = self.recommend_rows(rows, numbers, k, seen=seen, candidates=candidates, exclude=exclude)
        return answers[0] if histories is None else answers

    def recommend_rows(
        self,
        histories: Sequence[Sequence[int]],
        users: Sequence[int],
        k: int = 10,
        *,
        seen: str | None = None,
        candidates: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> list[list[Recommendation]]:
        """:meth:`recommend` after histories of the model's item numbers.

        Args:
            histories: oldest first.
            users: the model's numbers of their users; 0 for a new one.
            k, seen, candidates, exclude: see :meth:`recommend`.
        """
        if seen not in (None, "mask", "keep"):
            raise SettingError(f"seen is {seen!r}, wanted 'mask', 'keep' or None")
        allowed = allowed_rows(self.catalogue.numbers, candidates, exclude)
        masked, k = (seen or self.catalogue.seen) == "mask", list_length(k, len(self.catalogue.numbers))
        return self._answers(histories, users, k, masked, allowed) if histories else []

    def add_items(self, table: Any, allow_host: Sequence[str] = ()) -> None:
        """Recommend new items too, by their text, without training; a second call adds to the first.

        A method that reads text encodes the new one by its own text encoder and adapter. An ID vector is the weighted mean
        of those of the nearest items in text (:func:`sage_pl.nn.item_encoders.new_items.new_views`).

        Args:
            table: a file as ``items=FILE`` of scripts/recommend.py, or a table with ``item_id`` and the text columns of the
                data set, such as ``{"item_id": ["SKU-9"], "title": ["green tea"]}``.
            allow_host: hosts that the text encoder may contact.

        Raises:
            SettingError: the model generates codes, the data set had no text, or an item is known, blank or without text.
        """
        catalogue = self.catalogue
        if self._adder is None:
            raise SettingError(
                "new items cannot be added to this model: it generates codes of the items it was trained with, or its data set "
                "had no text; train again with the new items"
            )
        new = self._adder(table, catalogue.ids[1:], allow_host)
        self.model.append_rows(new.views, new.text)
        self._catalogue, self.added = catalogue.with_new(new), [*self.added, new]

    def copy(self) -> ExportedModel:
        """The same model over the same tensors; items that are added to one of the two are unknown to the other."""
        network: Any = self.model
        return ExportedModel(shared_copy(network), self._catalogue, self._adder, self.added)

    def _answers(
        self,
        rows: Sequence[Sequence[int]],
        users: Sequence[int],
        k: int,
        exclude_seen: bool,
        allowed: list[bool] | None,
    ) -> list[list[Recommendation]]:
        longest = max(1, *map(len, rows))
        items = torch.tensor([[PADDING] * (longest - len(row)) + list(row) for row in rows])
        with torch.inference_mode():
            top = self.model.recommend(
                items, k, exclude_seen, torch.tensor(users), *(() if allowed is None else (torch.tensor(allowed),))
            )
        return [
            [self._named(item, score) for item, score in zip(*pair, strict=True) if item != PADDING]
            for pair in zip(top.ids.tolist(), top.scores.tolist(), strict=True)
        ]

    def _named(self, item: int, score: float) -> Recommendation:
        titles = self.catalogue.titles
        return Recommendation(self.catalogue.ids[item], titles[item] if titles else "", score)
