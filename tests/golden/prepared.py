"""Tiny hand-made artifacts, models and loss contexts for the tests of the model parts."""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from sage_pl.data.targets import Cloze, NextItem
from sage_pl.nn.backbones.bert4rec import BERT4Rec
from sage_pl.nn.backbones.gru4rec import GRU4Rec
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.backbones.transformer import Norm
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.items import real_items
from sage_pl.types import ItemTable, SeqBatch

USERS = [[1, 2, 3, 4, 5, 6], [2, 2, 3, 1], [5, 4, 3, 2, 1, 7, 8, 2], [1, 2, 3], [3, 1, 4, 1, 5, 9, 2, 6, 5]]
N_ITEMS = 10
BACKBONES = ("sasrec", "bert4rec", "gru4rec")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def write(folder: Path, /, **arrays: npt.NDArray[Any]) -> str:
    """An artifact that holds these arrays; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "manifest.json").write_text(json.dumps({"key": "k"}))
    return str(folder)


def write_sequences(folder: Path, users: list[list[int]], n_items: int) -> str:
    """Leave-one-out ``sequences`` artifact; users with fewer than three events are training data alone."""
    lengths = np.array([0, *map(len, users)], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    held = np.flatnonzero(lengths >= 3)
    train_end = lengths.copy()
    train_end[held] -= 2
    values = np.array([item for items in users for item in items], dtype=np.int32)
    cases = {
        f"{split}_{column}": array
        for split, back in (("valid", 2), ("test", 1))
        for column, array in (("user", held), ("at", lengths[held] - back))
    }
    write(folder, values=values, offsets=offsets, train_end=train_end, **cases)
    pl.DataFrame({"item": np.arange(1, n_items + 1)}).write_parquet(folder / "items.parquet")
    return str(folder)


def write_rows(folder: Path, rows: npt.NDArray[Any]) -> str:
    """A ``table`` artifact: zero rows for padding and mask token around the given rows."""
    return write(folder, table=np.pad(rows, ((1, 1), (0, 0))).astype(np.float32))


def write_clusters(folder: Path, n_items: int, n_clusters: int, dim: int, seed: int = 0) -> str:
    random = np.random.default_rng(seed)
    memberships = np.pad(random.dirichlet(np.ones(n_clusters), n_items), ((1, 1), (0, 0)))
    return write(
        folder,
        memberships=memberships.astype(np.float32),
        centres=random.normal(size=(n_clusters, dim)).astype(np.float32),
    )


def make_backbone(name: str, dim: int = 8, max_len: int = 6, dropout: float = 0.0, norm: Norm = "sasrec") -> Any:
    """A small backbone in float64, positions and final bias large enough to matter."""
    torch.manual_seed(1)
    if name == "gru4rec":
        return GRU4Rec(dim, layers=2, dropout=dropout).double()
    transformer = SASRec if name == "sasrec" else BERT4Rec
    backbone = transformer(dim, max_len, layers=2, heads=2, dropout=dropout, norm=norm)
    backbone.position.weight.data[1:] *= 20
    nn.init.normal_(backbone.norm.bias)
    return backbone.double()


def make_targets(backbone: str, n_items: int = N_ITEMS) -> NextItem | Cloze:
    return Cloze(n_items) if backbone == "bert4rec" else NextItem()


@dataclass
class Artifacts:
    """Paths of one tiny data set's artifacts."""

    sequences: str
    text: str
    start: str
    clusters: str
    neighbours: str

    @classmethod
    def write(cls, folder: Path, dim: int = 8, text_dim: int = 12) -> "Artifacts":
        random = np.random.default_rng(3)
        neighbours = np.array([[0, 0], [2, 3], [4, 0], [1, 5], [0, 0], [3, 1]])  # user 4 has nobody
        return cls(
            write_sequences(folder / "sequences", USERS, N_ITEMS),
            write_rows(folder / "embed", random.normal(size=(N_ITEMS, text_dim))),
            write_rows(folder / "reduce", random.normal(size=(N_ITEMS, dim))),
            write_clusters(folder / "cluster", N_ITEMS, 3, dim),
            write(folder / "retrieve", neighbours=neighbours),
        )


@dataclass
class HandStep:
    """A loss context made of plain tensors; a teacher's state is the constant mean of its items' outputs."""

    batch: SeqBatch
    hidden: Tensor
    id_table: Tensor
    text_table: Tensor | None = None
    mask_token: int = N_ITEMS + 1
    encoded: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.items: ItemTable = self
        self.sequence_encoder: Any = None  # of the losses tested with it, none asks for it
        if "targets" in self.batch:
            self.batch["labels"] = self.batch["targets"].flatten().nonzero().squeeze(1)
            self.batch["distinct_targets"] = real_items(self.batch["targets"], self.mask_token).unique()
        self.batch["distinct_items"] = real_items(self.batch["items"], self.mask_token).unique()

    def inputs(self, ids: Tensor) -> dict[str, Tensor]:
        views = {"id": self.id_table[ids]}
        return views if self.text_table is None else {**views, "text": self.text_table[ids]}

    def outputs(self, ids: Tensor) -> Tensor:
        return torch.cat(list(self.inputs(ids).values()), dim=-1)

    def all_outputs(self) -> Tensor:
        return self.outputs(torch.arange(len(self.id_table)))

    def whole(self, view: str) -> Tensor:
        return self.inputs(torch.arange(len(self.id_table)))[view]

    def user_states(self, again: bool = False) -> Tensor:
        if again:
            return self.mean_output(self.batch["items"][self.batch["state_rows"]])
        return self.hidden[self.batch["state_rows"], -1]

    def last_states(self, ids: Tensor) -> Tensor:
        return self.mean_output(ids)

    def encode(self, groups: list[Tensor], dropout: bool = False) -> Tensor:
        self.encoded += groups
        return torch.cat([self.mean_output(items) for items in groups])

    def mean_output(self, items: Tensor) -> Tensor:
        sums = (self.outputs(items) * (items > 0)[..., None]).sum(1)
        return (sums / (items > 0).sum(1, keepdim=True)).detach()


def draw(term: LossTerm, batch: SeqBatch, epoch: int = 0) -> Any:
    """What a loss draws, entered into the batch."""
    drawn = term.draw(batch, epoch)
    batch["draws"] = {} if drawn is None else {term.name: drawn}
    return drawn


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def left_pad(rows: list[list[int]], width: int = 0) -> Tensor:
    """int64 [B, L] with at least ``width`` columns."""
    width = max(width, *map(len, rows))
    return torch.tensor([[0] * (width - len(row)) + row for row in rows])


adam = functools.partial(torch.optim.Adam, lr=0.01)


def context(**values: Any) -> Any:
    """A loss context of the given members, for terms that ask for no others: their values are None and their calls fail."""
    members = dict.fromkeys(("batch", "hidden", "items", "sequence_encoder", "mask_token"))
    calls = dict.fromkeys(("user_states", "last_states", "encode"), _unasked)
    return SimpleNamespace(**(members | calls | values))


def _unasked(*_: Any, **__: Any) -> Any:
    raise AssertionError("this term was not meant to ask for it")
