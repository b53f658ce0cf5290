"""New items of a trained model: their texts, encoded as those of the known ones."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from sage_pl import hosts
from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.plain import read_json
from sage_pl.artifacts.store import Artifact
from sage_pl.artifacts.weights import read_tensors
from sage_pl.data.sequences import Sequences
from sage_pl.data.sources.frames import polars_frame
from sage_pl.data.sources.layout import Layout
from sage_pl.data.sources.raw import DataError
from sage_pl.data.sources.table import read_table
from sage_pl.errors import MissingFileError, SettingError
from sage_pl.nn.item_encoders.new_items import new_views
from sage_pl.runs.checks import part_called
from sage_pl.semantic.texts import NO_TEXT, Texts, text_columns
from sage_pl.serving.exported_model import Added
from sage_pl.serving.parts import HERE, built, of_folder, with_place
from sage_pl.types import ItemEncoder

TEXTS, ENCODER = "new_items.json", "item_encoder"  # of an exported folder
_ADAPTER = "artifacts/scft"
_MOST = 50_000_000  # values of the file of known texts


@dataclass(frozen=True)
class TextSource:
    """What turns a table of items into vectors, as plain values.

    Args:
        embed: node of the text encoder.
        columns: of the data set's item table that make an item's text.
        labels: see :class:`sage_pl.semantic.texts.Texts`.
        max_chars: likewise.
        names: what a column is called in the user's files, where that differs.
        known: texts of items 1..N.
        trained: whether an item has training events, [N].
    """

    embed: Mapping[str, Any]
    columns: tuple[str, ...]
    labels: Mapping[str, str] | None
    max_chars: int
    names: Mapping[str, str]
    known: tuple[str, ...]
    trained: tuple[bool, ...]

    @classmethod
    def of(cls, steps: Mapping[str, Any], dataset: Mapping[str, Any], sequences: Artifact) -> TextSource | None:
        """That of a run; None where its data set has no text.

        Args:
            steps: the run's, resolved.
            dataset: likewise.
            sequences: the artifact.
        """
        items, texts = sequences.frame("items").sort("item"), steps["texts"]
        columns = tuple(texts["columns"] or text_columns(items))
        if not columns or "embed" not in steps:
            return None
        labels, most = texts["labels"], texts["max_chars"]
        known = Texts(columns, labels, most).of(items).replace("", NO_TEXT).to_list()
        trained = (Sequences.load(sequences).train_counts[1:-1] > 0).tolist()
        return cls(steps["embed"], columns, labels, most, _file_names(dataset), tuple(known), tuple(trained))

    @property
    def encodes_new(self) -> bool:
        """Whether the text encoder takes further texts."""
        return hasattr(part_called(self.embed["_target_"]), "fitted")

    def write(self, folder: Path) -> None:
        """Write ``new_items.json`` and a copy of the encoder's adapter, if it has one, into an exported folder."""
        embed = dict(self.embed)
        if embed.get("adapter"):
            shutil.copytree(embed["adapter"], folder / _ADAPTER)
            embed["adapter"] = HERE + _ADAPTER
        (folder / TEXTS).write_text(json.dumps({**asdict(self), "embed": embed}))

    @classmethod
    def read(cls, folder: Path) -> TextSource:
        """That of an exported folder."""
        content = read_json(folder / TEXTS, _MOST)
        content["embed"] = with_place(content["embed"], folder)
        plain: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        return cls(**plain)

    def table(self, file: str | Path) -> pl.DataFrame:
        """``item_id`` and the text columns of a file of items: parquet, or text or JSON lines as the data set's own files.

        Raises:
            MissingFileError: there is no such file.
            DataError: it lacks a column.
        """
        path = Path(file)
        if not path.is_file():
            raise MissingFileError(f"there is no file {path}; items=FILE names a table of new items with their texts")
        names = {column: self.names.get(column, column) for column in ("item_id", *self.columns)}
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path, glob=False)
            if missing := [name for name in names.values() if name not in frame.columns]:
                raise DataError(f"{path} has no column {missing[0]}; it has {', '.join(frame.columns)}")
        else:
            help = f"the columns of items=FILE are those of the data set: {', '.join(names.values())}"
            frame = read_table(path, list(names.values()), Layout(), help, list(names.values())[1:]).frame
        return frame.select(pl.col(name).alias(column) for column, name in names.items())

    def checked(self, table: pl.DataFrame, known: Iterable[str]) -> pl.DataFrame:
        """The table with ids as text.

        Raises:
            SettingError: a column is absent, an id is blank, known or twice, or an item has no text.
        """
        if missing := [name for name in ("item_id", *self.columns) if name not in table.columns]:
            raise SettingError(f"the new items lack the column {missing[0]}; wanted item_id, {', '.join(self.columns)}")
        if not len(table):
            raise SettingError("the table of new items has no row; give an item_id and its text in each row")
        titles = [name for name in ("title", *self.columns) if name in table.columns]
        try:
            table = table.with_columns(pl.col(["item_id", *dict.fromkeys(titles)]).cast(pl.String))
        except pl.exceptions.PolarsError as error:
            raise SettingError(
                f"the new items cannot be read ({str(error).partition(chr(10))[0]}); wanted ids and texts as text"
            ) from error
        table = table.with_columns(pl.col("item_id").str.strip_chars())
        ids, existing = table["item_id"], set(known)
        if blank := int((ids.fill_null("") == "").sum()):
            raise SettingError(f"{blank} of {len(ids)} new items have no id; give every item its id in item_id")
        if old := next((one for one in ids if one in existing), None):
            raise SettingError(f"item {old!r} is known to the model already; leave it out of the new items")
        if twice := ids.filter(ids.is_duplicated()).to_list():
            raise SettingError(f"item {twice[0]!r} occurs twice among the new items; give each item one row")
        texts = self._texts().of(table)
        if textless := ids.filter(texts == "").to_list():
            raise SettingError(
                f"new item {textless[0]!r} has no text in {', '.join(self.columns)}, which recommends it"
            )
        return table

    def vectors(
        self, table: pl.DataFrame, known: Path | None, allow_host: str | Iterable[str] = ()
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Vectors of the known items and of the table's, and whether a known one was trained.

        Args:
            table: checked.
            known: folder of the ``embed`` artifact; None encodes the known texts, once per process.
            allow_host: hosts that the text encoder may contact.

        Raises:
            SettingError: the vectors of the known items came from no text encoder.
        """
        with hosts.only(allow_host):
            embedder = built("steps.embed", self.embed)
            if not self.encodes_new:
                reason = getattr(embedder, "no_new_items", f"{type(embedder).__name__} encodes no further texts")
                raise SettingError(
                    f"new items cannot be added: {reason}; train again with them, or with an embedder of texts, such as "
                    "embedder=minilm"
                )
            encoder = _Fitted.of(
                *(json.dumps(one, sort_keys=True) for one in (dict(self.embed), identity(embedder))), self.known
            )
            if known is None:
                old = encoder.known_vectors
            else:
                old = np.load(known / "table.npy", allow_pickle=False)[1:-1].astype(np.float32)
            new = encoder.encode(self._texts().of(table).to_list())
        return torch.from_numpy(old), torch.from_numpy(new), torch.tensor(self.trained)

    def _texts(self) -> Texts:
        return Texts(self.columns, self.labels, self.max_chars)


class _Fitted:
    """A text encoder of the known texts, loaded once, however often items are added."""

    def __init__(self, embed: str, known: tuple[str, ...]) -> None:
        self._known = list(known)
        self._encode = built("steps.embed", json.loads(embed)).fitted(self._known)

    @classmethod
    @functools.lru_cache(1)
    def of(cls, embed: str, identity: str, known: tuple[str, ...]) -> _Fitted:
        """That of a node of JSON; ``identity``, JSON too, changes with the files that the node names."""
        return cls(embed, known)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self._encode(texts), np.float32)

    @functools.cached_property
    def known_vectors(self) -> np.ndarray:
        return self.encode(self._known)


def encoded(
    source: TextSource,
    encoder: ItemEncoder,
    embed: str | None,
    reads: Sequence[str],
    table: Any,
    known_ids: Sequence[str],
    allow_host: Sequence[str],
) -> Added:
    """The items of a table with their vectors.

    Args:
        source: of the data set's texts.
        encoder: the item encoder as it was trained.
        embed: folder of the ``embed`` artifact; None encodes the known texts, once per process.
        reads: views that sequences read.
        table, allow_host: see :meth:`sage_pl.serving.ExportedModel.add_items`.
        known_ids: of the model's items.
    """
    frame = source.table(table) if isinstance(table, str | Path) else polars_frame(table, "the table of new items")
    frame = source.checked(frame, known_ids)
    known, new, trained = source.vectors(frame, None if embed is None else Path(embed), allow_host)
    titles = frame["title"].fill_null("").to_list() if "title" in frame.columns else [""] * len(frame)
    return Added(frame["item_id"].to_list(), titles, new_views(encoder, known, new, trained, reads), new)


def encoded_by_folder(
    place: Path,
    node: Mapping[str, Any],
    reads: Sequence[str],
    table: Any,
    known_ids: Sequence[str],
    allow_host: Sequence[str],
) -> Added:
    """:func:`encoded` by the text source and the item encoder of an exported folder.

    Args:
        place: the folder.
        node: ``new_items`` of its ``model.json``, with paths.
        reads, table, known_ids, allow_host: see :func:`encoded`.
    """
    with of_folder(place):
        encoder = built("item_encoder", node["encoder"])
        encoder.load_state_dict(read_tensors(place, ENCODER))
        source = TextSource.read(place)
    return encoded(source, encoder, node["embed"], reads, table, known_ids, allow_host)


def _file_names(dataset: Mapping[str, Any]) -> dict[str, str]:
    """Columns of the item table whose names in the files are settings of the data set."""
    texts = dataset.get("text")
    names = {"item_id": dataset.get("items_key") or dataset.get("item")}
    names["title"] = texts[0] if isinstance(texts, list) and texts else texts
    return {column: str(name) for column, name in names.items() if isinstance(name, str | int)}
