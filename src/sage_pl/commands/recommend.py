"""The command recommend: lists of all users into a file, or a few lists on the terminal."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from omegaconf import DictConfig, ListConfig, OmegaConf

from sage_pl import hosts
from sage_pl.artifacts.store import Artifact
from sage_pl.commands.lists import ItemNames, print_list, write_answers, write_kept
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.commands.unread_overrides import name_unread
from sage_pl.data.filters import Filter
from sage_pl.data.later import read_events
from sage_pl.data.mapped import digest
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.data.sources.raw import Source
from sage_pl.hardware import chosen_device
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.ranges import Count
from sage_pl.runs import checkpoint
from sage_pl.runs.checks import ConfigError, absent_files, check_given, reads_current, refuse
from sage_pl.runs.construct import construct, stored
from sage_pl.runs.numbers import setting_problems
from sage_pl.runs.plan import filled_artifacts
from sage_pl.runs.scoring import choose_weights, with_scorer
from sage_pl.serving.cached_recommender import Answer, CachedRecommender, popular
from sage_pl.serving.exported import model_name
from sage_pl.serving.histories import Histories
from sage_pl.serving.history_files import histories_of, ids_of
from sage_pl.serving.kept_events import KeptEvents
from sage_pl.serving.new_items import TextSource
from sage_pl.serving.refreshing import refresh
from sage_pl.serving.restriction import allowed_rows, item_rows
from sage_pl.serving.retrieval import index_of
from sage_pl.serving.top_k_cache import Origin, TopKCache

log = logging.getLogger(__name__)


def recommend(config: DictConfig) -> None:
    """Recommend to all users, to some, or after histories, by ``config.checkpoint``.

    Raises:
        ConfigError, MissingFileError: the request or the checkpoint cannot be used.
    """
    check_given(config, "checkpoint")
    request, current = parse_request(config), reads_current(config)
    refuse(absent_files(config, "events", "items"))
    quiet_libraries()
    trained = checkpoint.open_checkpoint(config.checkpoint)
    with hosts.only(config.allow_host):
        overrides = with_scorer(config)
        prepared = checkpoint.prepared(trained, overrides, config.artifacts, current)
        name_unread(trained, overrides, config, "recommendation")
        parts = checkpoint.trained(prepared, trained) if config.live else None
        model = None if parts is None else parts.model
        if parts is not None:
            choose_weights(parts, overrides)
        new = None if config["items"] is None else _add_items(config, trained, prepared, model)
    artifact = Artifact.at(prepared.artifacts.sequences)
    shop = Shop(artifact, ItemNames.of(artifact, new), trained, prepared.dataset)
    name = model_name(trained.path, overrides, prepared) | _new_name(new)
    config.k = min(config.k, len(shop.names.ids) - 1)  # a list has each item once
    respond(config, request, shop, prepared, model, name)


class Request(NamedTuple):
    """Lists of all users (all None), of some, after one history, or after those of a file."""

    users: list[str] | None = None
    history: list[str] | None = None
    file: Path | None = None


def parse_request(config: DictConfig) -> Request:
    """The users or the histories of the command line.

    Raises:
        ConfigError: none or both, or a setting that is unused or out of range.
    """
    if (config.users is None) == (config.history is None):
        raise ConfigError("say for whom: users=all, users=[ID,ID] or history=[ITEM,ITEM], one of them")
    refuse(setting_problems({"k": Count, "batch_size": Count}, config))
    switches = ("live", "keep_events", "forget_events")
    refuse(f"{key} is {config[key]!r}; wanted true or false" for key in switches if not isinstance(config[key], bool))
    if config.seen not in (None, "mask", "keep"):
        raise ConfigError(f"seen is {config.seen!r}; wanted mask, keep or null")
    if config["items"] is not None and not config.live:
        raise ConfigError("items=FILE is encoded by the model; leave out live=false")
    if config.users == "all" and not config.live:
        raise ConfigError("users=all computes lists, which needs the model; leave out live=false")
    if config.history is None:
        return Request() if config.users == "all" else Request(users=_listed(config.users))
    if config.events is not None or config.forget_events:
        key = "forget_events=true" if config.events is None else "events=FILE"
        raise ConfigError(f"history=[...] is the whole history, so {key} has no use; leave it out")
    file = Path(config.history) if isinstance(config.history, str) else None
    return Request(file=file) if file is not None and file.is_file() else Request(history=_listed(config.history))


def _add_items(
    config: DictConfig, trained: checkpoint.Checkpoint, recipe: DictConfig, model: RecommenderModule | None
) -> pl.DataFrame:
    """Append the items of ``items=FILE`` to the model; their ``item_id`` and ``title``, and a hash of the texts."""
    sequences = Artifact.at(recipe.artifacts.sequences)
    source = TextSource.of(*checkpoint.text_settings(trained, config.overrides), sequences)
    if source is None or model is None:
        raise ConfigError(
            "items=FILE adds items by their text, which this data set lacks; train again with the new items"
        )
    table = source.checked(source.table(config["items"]), ItemNames.of(sequences).ids)
    embed = filled_artifacts(recipe).get("embed")
    known, new, rows = source.vectors(table, None if embed is None else Path(embed), config.allow_host)
    model.add_items(known, new, rows)
    log.info("%d new items from %s are recommended too", len(table), config["items"])
    return table


@dataclass(frozen=True)
class Shop:
    """What a trained model's data set says of users and items.

    Args:
        artifact: its ``sequences``.
        names: of the items, new ones included.
        trained: the checkpoint.
        dataset: node of the configuration.
    """

    artifact: Artifact
    names: ItemNames
    trained: checkpoint.Checkpoint
    dataset: DictConfig

    @cached_property
    def form(self) -> tuple[Source, list[Filter]]:
        """What reads events and histories of the same form, and the filters that say which of them count."""
        with stored(self.trained.path):
            node: Any = OmegaConf.to_container(self.dataset, resolve=True)
            rules = [construct("dataset.filters", rule) for rule in node["filters"]]
            return construct("dataset.source", node["source"]), rules

    def histories(self, config: DictConfig, users: Sequence[str]) -> Histories:
        """Those of all users, with the events that ``config.events`` adds and those that earlier calls added."""
        items = self.names.numbers()
        store = KeptEvents.beside(self.trained.path, self.trained.artifact_keys.get("sequences", self.artifact.key))
        read = None if config.events is None else read_events(*self.form, config.events)
        if config.forget_events:
            log.info("%d logs of events in %s are forgotten", store.forget(), store.folder)
        later = store.events()
        if len(later):
            log.info("%d events in %s count too; forget_events=true removes them", len(later), store.folder)
        if read is not None:
            addition = store.add(read, self.artifact, items, config.keep_events)
            log.info("%s: %s", config.events, addition.summary)
            later = addition.events
        return Histories.of(self.artifact, later, users, self.form[1] if len(later) else (), items)

    def of_request(self, request: Request) -> tuple[list[str], Histories]:
        """Histories of the command line or of a file, and what to call each."""
        items, file = self.names.numbers(), request.file
        histories = request.history if file is None else histories_of(file, *self.form, self.artifact, items)
        if isinstance(histories, Histories):
            return [f"after history {name}" for name in histories.names], histories
        return ["after this history"], Histories.of_lists([""], [item_rows(items, histories or [])])


def respond(
    config: DictConfig,
    request: Request,
    shop: Shop,
    recipe: DictConfig,
    model: RecommenderModule | None,
    name: Mapping[str, Any],
) -> None:
    """Write or print the lists of a request.

    Args:
        config: of the command.
        request: see :func:`parse_request`.
        shop: the data set.
        recipe: the model's configuration, prepared.
        model: trained; None for cached lists and popularity only.
        name: what decides the lists (:func:`sage_pl.serving.exported.model_name`).

    Raises:
        ConfigError, SettingError: a user or an item is unknown.
        MissingFileError: neither a model nor a file of cached lists.
    """
    if model is not None:
        model.to(chosen_device(config.device)).eval().cache_item_vectors()
        model.retrieval = index_of(model, config.retrieval)
    lists = _lists(config, shop, recipe, model, name)
    most = popular(Sequences.load(shop.artifact)) if model is None else None
    recommender = CachedRecommender(lists.cache, lists.origin, model, most, lists.allowed)
    if request.history is not None or request.file is not None:
        whose, histories = shop.of_request(request)
        answers: list[Answer] = []
        for start in range(0, len(histories), config.batch_size):
            rows = np.arange(start, min(start + config.batch_size, len(histories)))
            answers += recommender.recommend_all(histories.padded(rows), histories.users[rows], config.k)
        _hand_over(config, shop.names, whose, histories, answers)
        return
    histories = shop.histories(config, request.users or [])
    if request.users is None and model is not None:
        _refresh(config, shop, histories, model, lists)
        return
    some = histories.subset(_rows_of(histories.names, request.users or []))
    answers = [
        recommender.recommend(user, some[row], config.k, int(some.users[row])) for row, user in enumerate(some.names)
    ]
    _hand_over(config, shop.names, [f"user {user}" for user in some.names], some, answers)


class _Lists(NamedTuple):
    """The kept lists of a command: their file, what decides them, the items that they may hold, and those that there are."""

    file: Path
    origin: Origin
    allowed: npt.NDArray[np.bool_] | None
    cache: TopKCache | None


def _lists(
    config: DictConfig, shop: Shop, recipe: DictConfig, model: RecommenderModule | None, name: Mapping[str, Any]
) -> _Lists:
    if config.retrieval != "exact":  # lists that are found otherwise are others
        name = {**name, "retrieval": config.retrieval}
    allowed = _allowed(config, shop.names)
    if allowed is not None:  # lists among other items are others
        name = {**name, "allowed": hashlib.sha256(allowed.tobytes()).hexdigest()[:16]}
    mask = (config.seen or recipe.evaluation.seen) == "mask"
    origin = Origin(name, mask, digest(shop.names.ids[1:].to_list()))
    file = Path(config.cache or Path(config.checkpoint).with_suffix(".top_k"))
    cache = TopKCache(file) if model is None or file.is_file() else None
    if model is None and cache is not None:
        cache.check_items(origin)
    return _Lists(file, origin, allowed, cache)


def _refresh(config: DictConfig, shop: Shop, histories: Histories, model: RecommenderModule, lists: _Lists) -> None:
    """Bring the lists of all users up to date."""
    k = config.k if lists.cache is None else max(config.k, lists.cache.k)  # a longer list holds the shorter ones
    counts = refresh(lists.file, histories, lists.origin, model, k, config.batch_size, allowed=lists.allowed)
    log.info("%d users: %d lists made, %d were up to date; %.2f s", len(histories), *counts)
    log.info("%d items each in %s, %.1f MB", k, lists.file, lists.file.stat().st_size / 1e6)
    if config.parquet is not None:
        write_kept(config.parquet, TopKCache(lists.file), histories, shop.names, config.k)


def _hand_over(
    config: DictConfig, names: ItemNames, whose: Sequence[str], histories: Histories, answers: Sequence[Answer]
) -> None:
    """Print the answers, or write them where ``config.parquet`` names a file."""
    if config.parquet is not None:
        write_answers(config.parquet, histories.names, answers, names)
        return
    for row, (title, answer) in enumerate(zip(whose, answers, strict=True)):
        print_list(names, title, histories[row], answer)


def _new_name(new: pl.DataFrame | None) -> dict[str, str]:
    """What new items add to the model's name."""
    if new is None:
        return {}
    return {"new_items": hashlib.sha256(new.write_ndjson().encode()).hexdigest()}


def _allowed(config: DictConfig, names: ItemNames) -> npt.NDArray[np.bool_] | None:
    """True for the rows of the item table that ``candidates`` and ``exclude`` leave, [N + 2]; None without both."""
    ids = [None if value is None else _listed(value) for value in (config.candidates, config.exclude)]
    allowed = allowed_rows(names.numbers(), *ids)
    return None if allowed is None else np.array(allowed)


def _listed(value: Any) -> list[str]:
    """Ids of the command line, or of a text file that it names, one per line."""
    return ids_of(Path(value)) if isinstance(value, str) and Path(value).is_file() else _ids(value)


def _ids(value: Any) -> list[str]:
    """Ids of the command line; a single one needs no brackets."""
    ids = list(value) if isinstance(value, ListConfig) else [value]
    if not ids:
        raise ConfigError("the list is empty; name at least one id")
    return [str(one) for one in ids]


def _rows_of(users: Sequence[str], some: Sequence[str]) -> IntArray:
    """The row of each user that is asked for; the error names no other user's id."""
    row_of = {user: row for row, user in enumerate(users)}
    for one in some:
        if one not in row_of:
            raise ConfigError(
                f"the data the model was trained with have no user {one!r}, of {len(users)}; events=FILE adds users with "
                "their events, and history=[ITEM,ITEM] asks after any history"
            )
    return np.array([row_of[one] for one in some], np.int64)
