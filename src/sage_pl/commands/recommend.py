"""The command recommend: lists of all users in a file, or a few lists on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.store import Artifact
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.hardware import chosen_device
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.runs import checkpoint
from sage_pl.runs.checks import ConfigError, check_given
from sage_pl.runs.hints import suggest
from sage_pl.serving.cached_recommender import CachedRecommender, Served, popular
from sage_pl.serving.exported import model_name
from sage_pl.serving.histories import Histories, read_events
from sage_pl.serving.refreshing import refresh
from sage_pl.serving.top_k_cache import Origin, TopKCache, user_hash

log = logging.getLogger(__name__)
_SHOWN = 10  # last items of a history on the terminal


def recommend(config: DictConfig) -> None:
    """Recommend to all users, to some, or after one history, by ``config.checkpoint``.

    Raises:
        ConfigError, MissingFileError: the request or the checkpoint cannot be used.
    """
    check_given(config, "checkpoint")
    request = parse_request(config)
    quiet_libraries()
    trained = checkpoint.open_checkpoint(config.checkpoint)
    prepared = checkpoint.prepared(trained, config.overrides)
    model = checkpoint.trained(prepared, trained).model if config.live else None
    respond(config, request, prepared, model)


class Request(NamedTuple):
    """Lists of all users (both None), of some, or of one history."""

    users: list[str] | None
    history: list[str] | None


def parse_request(config: DictConfig) -> Request:
    """What the command asks for.

    Raises:
        ConfigError: nothing, two things at once, or a setting that has no use or is out of range.
    """
    if (config.users is None) == (config.history is None):
        raise ConfigError("say for whom: users=all, users=[ID,ID] or history=[ITEM,ITEM], one of them")
    if config.k < 1 or config.batch_size < 1:
        raise ConfigError(f"k and batch_size must be at least 1, got k={config.k}, batch_size={config.batch_size}")
    if config.seen not in (None, "mask", "keep"):
        raise ConfigError(f"seen is {config.seen!r}; wanted mask, keep or null")
    if config.parquet is not None and config.users != "all":
        raise ConfigError("parquet=FILE is for the lists of all users; ask with users=all")
    if config.users == "all" and not config.live:
        raise ConfigError("users=all makes lists, and live=false leaves the model out; drop one of them")
    if config.history is None:
        return Request(None if config.users == "all" else _ids(config.users), None)
    if config.events is not None:
        raise ConfigError("history=[...] is the whole history, so events=FILE has no use; leave one of them out")
    return Request(None, _ids(config.history))


@dataclass(frozen=True)
class ItemNames:
    """Items by the model's id, [N + 1]; row 0 is empty."""

    ids: pl.Series
    titles: pl.Series | None

    @classmethod
    def of(cls, artifact: Artifact) -> ItemNames:
        items = artifact.frame("items")
        empty = pl.Series([""])
        titles = pl.concat([empty, items["title"]]) if "title" in items.columns else None
        return cls(pl.concat([empty, items["item_id"].cast(pl.String)]), titles)

    def numbers(self) -> dict[str, int]:
        """From an item's id in the data set to the model's."""
        return {name: number for number, name in enumerate(self.ids.to_list()) if number}

    def rows(self, items: IntArray) -> list[tuple[str, str]]:
        """Id and title of each item."""
        rows = np.asarray(items, np.int64)
        titles = [""] * len(rows) if self.titles is None else self.titles[rows].to_list()
        return list(zip(self.ids[rows].to_list(), titles, strict=True))


def respond(config: DictConfig, request: Request, recipe: DictConfig, model: RecommenderModule | None) -> None:
    """Write or show what was asked for.

    Args:
        config: the command's.
        request: see :func:`parse_request`.
        recipe: the model's configuration, prepared.
        model: trained; None to answer from kept lists and popularity.

    Raises:
        ConfigError: a user or an item is not in the data.
        MissingFileError: there is neither a model nor a file of kept lists.
    """
    artifact = Artifact.at(recipe.artifacts.sequences)
    catalogue = ItemNames.of(artifact)
    if model is not None:
        model.to(chosen_device(config.device)).eval().cache_item_vectors()
    origin = Origin(
        model_name(Path(config.checkpoint), config.overrides, recipe), (config.seen or recipe.evaluation.seen) == "mask"
    )
    file = Path(config.cache or Path(config.checkpoint).with_suffix(".top_k"))
    cache = TopKCache(file) if model is None or file.is_file() else None
    most = popular(Sequences.load(artifact)) if model is None else None
    recommender = CachedRecommender(cache, origin, model, most)
    if request.history is not None:
        items = np.array(_found(catalogue.numbers(), request.history, "item"))
        _show(catalogue, "after this history", items, recommender.recommend("", items, config.k))
        return
    histories = Histories.of(artifact, None if config.events is None else read_events(config.events))
    if request.users is None and model is not None:
        k = config.k if cache is None else max(config.k, cache.k)  # longer lists answer for shorter ones
        _refresh(file, histories, origin, model, k, config.batch_size)
        if config.parquet is not None:
            write_parquet(config.parquet, TopKCache(file), histories, catalogue, config.k)
        return
    rows = {user: row for row, user in enumerate(histories.names)}
    for row in _found(rows, request.users or [], "user"):
        items, user = histories[row], histories.names[row]
        served = recommender.recommend(user, items, config.k, int(histories.users[row]))
        _show(catalogue, f"user {user}", items, served)


def write_parquet(file: str | Path, cache: TopKCache, histories: Histories, catalogue: ItemNames, k: int) -> None:
    """The first k of every user's kept items as ``user_id``, ``rank`` (from 1), ``item_id``, ``score``."""
    names = {user_hash(user): user for user in histories.names}
    users = pl.Series("user_id", [names[int(user)] for user in cache.lists.users])
    ids, scores = cache.lists.ids[:, :k], cache.lists.scores[:, :k]
    user, place = (ids > 0).nonzero()
    frame = pl.DataFrame(
        {
            "user_id": users[user],
            "rank": (place + 1).astype(np.int32),
            "item_id": catalogue.ids[ids[user, place]],
            "score": scores[user, place],
        }
    )
    with whole_file(file) as part:
        frame.write_parquet(part)
    log.info("%d rows written to %s", len(frame), file)


def _refresh(file: Path, histories: Histories, origin: Origin, model: RecommenderModule, k: int, batch: int) -> None:
    done = refresh(file, histories, origin, model, k, batch)
    told = "%d users: %d lists made, %d were up to date; %.2f s"
    log.info(told, len(histories), done.made, done.kept, done.seconds)
    log.info("%d items each in %s, %.1f MB", k, file, file.stat().st_size / 1e6)


def _ids(listed: Any) -> list[str]:
    """Ids of the command line; one alone needs no brackets."""
    ids = [listed] if isinstance(listed, str | int) else list(listed)
    if not ids:
        raise ConfigError("the list is empty; name at least one id")
    return [str(one) for one in ids]


def _found(known: Mapping[str, int], ids: list[str], kind: str) -> list[int]:
    """Each id's number."""
    for one in ids:
        if one not in known:
            hint = suggest(one, list(known)[:100_000]) or f"ids look like {next(iter(known))}"
            raise ConfigError(f"the data the model was trained with have no {kind} {one!r}, of {len(known)}; {hint}")
    return [known[one] for one in ids]


def _show(catalogue: ItemNames, whose: str, history: IntArray, served: Served) -> None:
    console = Console()
    console.print(f"\n{whose}: {len(history)} items, the last {min(_SHOWN, len(history))}", highlight=False)
    for item, title in catalogue.rows(history[-_SHOWN:]):
        console.print(f"  {item}  {title}", highlight=False, markup=False, no_wrap=True, overflow="ellipsis")
    table = Table(title=f"recommended ({served.source})", title_justify="left", box=SIMPLE_HEAD)
    for column in ("rank", "item", "title", "score"):
        justify: Literal["left", "right"] = "right" if column in ("rank", "score") else "left"
        table.add_column(column, justify=justify, no_wrap=column != "title")  # the only one to give way
    for rank, ((item, title), score) in enumerate(zip(catalogue.rows(served.ids), served.scores, strict=True), start=1):
        table.add_row(str(rank), item, Text(title, no_wrap=True, overflow="ellipsis"), f"{score:.3f}")
    console.print(table)
