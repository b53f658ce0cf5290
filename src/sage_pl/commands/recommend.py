"""The command recommend: lists of all users into a file, or a few lists on the terminal."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sage_pl import hosts
from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.store import Artifact
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.data.mapped import digest
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.data.sources.lines import numbered_lines
from sage_pl.escaping import visible
from sage_pl.hardware import chosen_device
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.ranges import Count
from sage_pl.runs import checkpoint
from sage_pl.runs.checks import ConfigError, absent_files, check_given, reads_current, refuse
from sage_pl.runs.construct import construct
from sage_pl.runs.hints import suggest
from sage_pl.runs.numbers import setting_problems
from sage_pl.runs.plan import filled_artifacts
from sage_pl.serving.cached_recommender import Answer, CachedRecommender, popular
from sage_pl.serving.exported import model_name
from sage_pl.serving.histories import COLUMNS, Histories, read_events, read_events_as
from sage_pl.serving.new_items import TextSource
from sage_pl.serving.refreshing import refresh
from sage_pl.serving.top_k_cache import Origin, TopKCache, user_hash

log = logging.getLogger(__name__)
_LAST = 10  # items of a history on the terminal


def recommend(config: DictConfig) -> None:
    """Recommend to all users, to some, or after one history, by ``config.checkpoint``.

    Raises:
        ConfigError, MissingFileError: the request or the checkpoint cannot be used.
    """
    check_given(config, "checkpoint")
    request, current = parse_request(config), reads_current(config)
    refuse(absent_files(config, "events", "items"))
    quiet_libraries()
    trained = checkpoint.open_checkpoint(config.checkpoint)
    with hosts.only(config.allow_host):
        prepared = checkpoint.prepared(trained, config.overrides, config.artifacts, current)
        model = checkpoint.trained(prepared, trained).model if config.live else None
        new = None if config["items"] is None else _add_items(config, trained, prepared, model)
    respond(config, request, prepared, model, new)


class Request(NamedTuple):
    """Lists of all users (both None), of some, or of one history."""

    users: list[str] | None
    history: list[str] | None


def parse_request(config: DictConfig) -> Request:
    """The users or the history of the command line.

    Raises:
        ConfigError: none or both, or a setting that is unused or out of range.
    """
    if (config.users is None) == (config.history is None):
        raise ConfigError("say for whom: users=all, users=[ID,ID] or history=[ITEM,ITEM], one of them")
    refuse(setting_problems({"k": Count, "batch_size": Count}, config))
    if config.seen not in (None, "mask", "keep"):
        raise ConfigError(f"seen is {config.seen!r}; wanted mask, keep or null")
    if config.parquet is not None and config.users != "all":
        raise ConfigError("parquet=FILE is for the lists of all users; add users=all")
    if config["items"] is not None and not config.live:
        raise ConfigError("items=FILE is encoded by the model; leave out live=false")
    if config.users == "all" and not config.live:
        raise ConfigError("users=all computes lists, which needs the model; leave out live=false")
    if config.history is None:
        return Request(None if config.users == "all" else _listed(config.users), None)
    if config.events is not None:
        raise ConfigError("history=[...] is the whole history, so events=FILE has no use; leave it out")
    return Request(None, _listed(config.history))


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


def respond(
    config: DictConfig,
    request: Request,
    recipe: DictConfig,
    model: RecommenderModule | None,
    new: pl.DataFrame | None = None,
) -> None:
    """Write or print the lists of a request.

    Args:
        config: of the command.
        request: see :func:`parse_request`.
        recipe: the model's configuration, prepared.
        model: trained; None for cached lists and popularity only.
        new: items appended to the model.

    Raises:
        ConfigError: a user or an item is unknown.
        MissingFileError: neither a model nor a file of cached lists.
    """
    artifact = Artifact.at(recipe.artifacts.sequences)
    names = ItemNames.of(artifact, new)
    if model is not None:
        model.to(chosen_device(config.device)).eval().cache_item_vectors()
    mask = (config.seen or recipe.evaluation.seen) == "mask"
    allowed = _allowed(config, names)
    name = model_name(Path(config.checkpoint), config.overrides, recipe) | _new_name(new)
    if allowed is not None:  # lists among other items are others
        name |= {"allowed": hashlib.sha256(allowed.tobytes()).hexdigest()[:16]}
    origin = Origin(name, mask, digest(names.ids[1:].to_list()))
    file = Path(config.cache or Path(config.checkpoint).with_suffix(".top_k"))
    cache = TopKCache(file) if model is None or file.is_file() else None
    if model is None and cache is not None:
        cache.check_items(origin)
    most = popular(Sequences.load(artifact)) if model is None else None
    recommender = CachedRecommender(cache, origin, model, most, allowed)
    if request.history is not None:
        items = np.array(_numbers(names.numbers(), request.history, "item"))
        _print(names, "after this history", items, recommender.recommend("", items, config.k))
        return
    histories = Histories.of(artifact, None if config.events is None else _events(config.events, recipe))
    if request.users is None and model is not None:
        k = config.k if cache is None else max(config.k, cache.k)  # a longer list holds the shorter ones
        _refresh(file, histories, origin, model, k, config.batch_size, allowed)
        if config.parquet is not None:
            write_parquet(config.parquet, TopKCache(file), histories, names, config.k)
        return
    rows = {user: row for row, user in enumerate(histories.names)}
    for row in _numbers(rows, request.users or [], "user"):
        items, user = histories[row], histories.names[row]
        _print(names, f"user {user}", items, recommender.recommend(user, items, config.k, int(histories.users[row])))


def write_parquet(file: str | Path, cache: TopKCache, histories: Histories, items: ItemNames, k: int) -> None:
    """Write the first k items of every user as ``user_id``, ``rank`` (from 1), ``item_id``, ``score``."""
    by_hash = {user_hash(name): name for name in histories.names}
    users = pl.Series("user_id", [by_hash[int(user)] for user in cache.lists.users])
    ids, scores = cache.lists.ids[:, :k], cache.lists.scores[:, :k]
    user, place = (ids > 0).nonzero()
    frame = pl.DataFrame(
        {
            "user_id": users[user],
            "rank": (place + 1).astype(np.int32),
            "item_id": items.ids[ids[user, place]],
            "score": scores[user, place],
        }
    )
    with whole_file(file) as part:
        frame.write_parquet(part)
    log.info("%d rows written to %s", len(frame), file)


@dataclass(frozen=True)
class ItemNames:
    """Items by the model's id, [N + 1]; row 0 is empty."""

    ids: pl.Series
    titles: pl.Series | None

    @classmethod
    def of(cls, artifact: Artifact, new: pl.DataFrame | None = None) -> ItemNames:
        items = artifact.frame("items").with_columns(pl.col("item_id").cast(pl.String))
        if new is not None:
            items = pl.concat([items, new], how="diagonal_relaxed")
            items = items.with_columns(pl.col("title").fill_null("")) if "title" in items.columns else items
        empty = pl.Series([""])
        titles = pl.concat([empty, items["title"]]) if "title" in items.columns else None
        return cls(pl.concat([empty, items["item_id"].cast(pl.String)]), titles)

    def numbers(self) -> dict[str, int]:
        """Id in the data set -> id in the model."""
        return {name: number for number, name in enumerate(self.ids.to_list()) if number}

    def rows(self, items: IntArray) -> list[tuple[str, str]]:
        """Id and title of each item."""
        rows = np.asarray(items, np.int64)
        titles = [""] * len(rows) if self.titles is None else self.titles[rows].to_list()
        return list(zip(self.ids[rows].to_list(), titles, strict=True))


def _new_name(new: pl.DataFrame | None) -> dict[str, str]:
    """What new items add to the model's name."""
    if new is None:
        return {}
    return {"new_items": hashlib.sha256(new.write_ndjson().encode()).hexdigest()}


def _refresh(
    file: Path,
    histories: Histories,
    origin: Origin,
    model: RecommenderModule,
    k: int,
    batch: int,
    allowed: npt.NDArray[np.bool_] | None,
) -> None:
    counts = refresh(file, histories, origin, model, k, batch, allowed=allowed)
    log.info("%d users: %d lists made, %d were up to date; %.2f s", len(histories), *counts)
    log.info("%d items each in %s, %.1f MB", k, file, file.stat().st_size / 1e6)


def _events(file: str, recipe: DictConfig) -> pl.DataFrame:
    """Later events: in the form of the data set where that is one text file, else ``user_id``, ``item_id``, ``timestamp``."""
    node: Any = OmegaConf.to_container(recipe.dataset, resolve=True)
    columns = (
        pl.read_csv(file, infer_schema=False, n_rows=0, glob=False).columns
        if file.endswith(".csv") and Path(file).is_file()
        else []
    )
    if (
        not str(node["source"]["_target_"]).endswith(".CSV")
        or set(COLUMNS) <= set(columns)
        or file.endswith(".parquet")
    ):
        return read_events(file)
    return read_events_as(construct("dataset.source", node["source"]), file)


def _allowed(config: DictConfig, names: ItemNames) -> npt.NDArray[np.bool_] | None:
    """True for the rows of the item table that ``candidates`` and ``exclude`` leave, [N + 2]; None without both."""
    if config.candidates is None and config.exclude is None:
        return None
    numbers = names.numbers()
    allowed = np.full(len(numbers) + 2, config.candidates is None)
    if config.candidates is not None:
        allowed[_numbers(numbers, _listed(config.candidates), "item")] = True
    if config.exclude is not None:
        allowed[_numbers(numbers, _listed(config.exclude), "item")] = False
    if not allowed[1:-1].any():
        raise ConfigError(
            "candidates and exclude leave no item to recommend; name fewer in exclude or more in candidates"
        )
    return allowed


def _listed(value: Any) -> list[str]:
    """Ids of the command line, or of a text file that it names, one per line."""
    if isinstance(value, str) and Path(value).is_file():
        value = ListConfig([line.strip() for _, line in numbered_lines(Path(value))])
    return _ids(value)


def _ids(value: Any) -> list[str]:
    """Ids of the command line; a single one needs no brackets."""
    ids = list(value) if isinstance(value, ListConfig) else [value]
    if not ids:
        raise ConfigError("the list is empty; name at least one id")
    return [str(one) for one in ids]


def _numbers(number_of: Mapping[str, int], ids: list[str], kind: str) -> list[int]:
    """Each id's number."""
    for one in ids:
        if one not in number_of:
            hint = suggest(one, list(number_of)[:100_000]) or f"ids look like {next(iter(number_of))}"
            if kind == "user":  # never another customer's id
                hint = "events=FILE adds users with their events, and history=[ITEM,ITEM] asks after any history"
            size = len(number_of)
            raise ConfigError(f"the data the model was trained with have no {kind} {one!r}, of {size}; {hint}")
    return [number_of[one] for one in ids]


def _print(names: ItemNames, whose: str, history: IntArray, answer: Answer) -> None:
    console = Console()
    console.print()
    console.print(Text(visible(f"{whose}: {len(history)} items, the last {min(_LAST, len(history))}")))
    for item, title in names.rows(history[-_LAST:]):
        console.print(Text(visible(f"  {item}  {title}"), no_wrap=True, overflow="ellipsis"))
    table = Table(title=f"recommended ({answer.source})", title_justify="left", box=SIMPLE_HEAD)
    for column in ("rank", "item", "title", "score"):
        justify: Literal["left", "right"] = "right" if column in ("rank", "score") else "left"
        table.add_column(column, justify=justify, no_wrap=column != "title")  # only the title is truncated
    for rank, ((item, title), score) in enumerate(zip(names.rows(answer.ids), answer.scores, strict=True), start=1):
        cells = Text(visible(item)), Text(visible(title), no_wrap=True, overflow="ellipsis")
        table.add_row(str(rank), *cells, f"{score:.3f}")
    console.print(table)
