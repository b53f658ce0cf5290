"""Items of large inner products found without scoring all: approximate lists, whose scores are exact."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import occurs, scores_of, top_k
from sage_pl.types import PADDING, TopK, VectorTable

INDEX = "index.faiss"  # of an exported folder
KINDS = ("exact", "hnsw", "ivf")
_LINKS, _WHEN_BUILT, _WHEN_ASKED = 32, 80, 256  # of HNSW: neighbours of an item, and candidates held
_LISTS = 4  # of IVF, times sqrt(N)
_PER_LIST, _ITERATIONS = 64, 10  # items of a list to train on, and rounds of k-means
_LISTS_READ, _MOST_READ = 0.1, 128  # share of the lists that are read, and their number at most
_ALLOWED = 0.5  # below this share of the items, all of them are scored


def index_of(model: Any, kind: str, file: Path | None = None) -> ItemIndex | None:
    """What finds the items of a model: its ``retrieval``.

    Args:
        model: of :mod:`sage_pl.nn.modules.served`, or a LightningModule.
        kind: ``exact`` for None, which scores every item; ``hnsw`` (a graph of near items) or ``ivf`` (lists around the centres
            of k-means) for an index.
        file: of an index of this kind that was written before; None builds one.

    Raises:
        SettingError: another kind, or the model does not rank by inner products alone.
    """
    if kind not in KINDS:
        raise SettingError(f"retrieval is {kind!r}, wanted {', '.join(KINDS)}")
    if kind == "exact":
        return None
    if not hasattr(model, "ranking_table"):
        raise SettingError(
            f"retrieval={kind} finds items by inner products, and this model generates codes; leave it out"
        )
    if model.scorer is not None:
        raise SettingError(
            f"retrieval={kind} finds items by inner products alone, and {type(model.scorer).__name__} reads the score of every "
            "item; leave it out, or take scorer=none"
        )
    table = model.ranking_table()
    return ItemIndex(table, kind) if file is None else ItemIndex.read(file, table, kind)


class ItemIndex:
    """An index of faiss over the items' vectors.

    HNSW and IVF search by Euclidean distance in one more dimension, ``x' = [x ; sqrt(R² - |x|²)]`` and ``h' = [h ; 0]``, where
    the nearest item is that of the largest inner product (Bachrach et al. 2014); R is the longest vector's length. A later item
    longer than R is found as if it had the length R. What is found is ranked by exact scores.

    Args:
        table: the items' vectors [R, E]; rows 0 and N + 1 are no items.
        kind: ``hnsw`` or ``ivf``.

    Raises:
        SettingError: the package faiss is missing.
    """

    def __init__(self, table: VectorTable, kind: str) -> None:
        faiss = _faiss()
        vectors = self._set(table, kind)
        width = vectors.shape[1] + 1
        if kind == "hnsw":
            self.index = faiss.IndexHNSWFlat(width, _LINKS)
            self.index.hnsw.efConstruction = _WHEN_BUILT
        else:
            lists = max(1, min(len(vectors) // 8, round(_LISTS * math.sqrt(len(vectors)))))
            self.index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, lists)
            self.index.cp.niter, self.index.cp.max_points_per_centroid = _ITERATIONS, _PER_LIST
            self.index.cp.min_points_per_centroid = 1
            self.index.train(self._lifted(vectors))
        self.index.add(self._lifted(vectors))

    @classmethod
    def read(cls, file: Path, table: VectorTable, kind: str) -> ItemIndex:
        """An index that was written for the first items of a table; the others are added.

        Raises:
            SettingError: faiss is missing, or the file is no index of this kind.
        """
        faiss = _faiss()
        self = cls.__new__(cls)
        vectors = self._set(table, kind)
        self.index = faiss.read_index(str(file))
        wanted = {"hnsw": faiss.IndexHNSWFlat, "ivf": faiss.IndexIVFFlat}[kind]
        if (
            not isinstance(self.index, wanted)
            or self.index.d != vectors.shape[1] + 1
            or self.index.ntotal > len(vectors)
        ):
            raise SettingError(
                f"{file} is no index of kind {kind} over these items; export the model again with retrieval={kind}"
            )
        self.append(table)
        return self

    def write(self, file: Path) -> None:
        _faiss().write_index(self.index, str(file))

    def _set(self, table: VectorTable, kind: str) -> np.ndarray:
        """Keep the table on the CPU; the items' vectors."""
        self.table, self.kind = table[:].cpu(), kind
        vectors = self.table[1:-1].float().numpy()
        self.square = float((vectors**2).sum(1).max())
        return vectors

    def __deepcopy__(self, memo: Mapping[int, Any]) -> ItemIndex:
        """One over the same vectors; items that are added to one of the two are unknown to the other."""
        other = copy.copy(self)
        other.index = _faiss().clone_index(self.index)
        return other

    def append(self, table: VectorTable) -> None:
        """The items of a longer table whose first ones are those of the index."""
        self.table = table[:].cpu()
        added = self.table[1 + self.index.ntotal : -1].float().numpy()
        if len(added):
            self.index.add(self._lifted(added))

    def best_items(
        self,
        states: Float[Tensor, "B *I E"],
        k: int,
        seen: Int[Tensor, "B M"] | None = None,
        allowed: Bool[Tensor, "R"] | None = None,
    ) -> TopK:
        """As :func:`sage_pl.evaluation.ranks.top_k`, of the items that are found.

        Every state of a user searches. More are asked for where items of the history are left out, items that may not be
        recommended are skipped during the search, and a user for whom too few are found has all items scored.
        """
        place, n_items = states.device, len(self.table) - 2
        states = states.cpu()
        seen, allowed = (None if one is None else one.cpu() for one in (seen, allowed))
        top = self._top_k(states, k, seen, allowed, n_items)
        return TopK(top.ids.to(place), top.scores.to(place))

    def _top_k(
        self,
        states: Float[Tensor, "B *I E"],
        k: int,
        seen: Int[Tensor, "B M"] | None,
        allowed: Bool[Tensor, "R"] | None,
        n_items: int,
    ) -> TopK:
        if allowed is not None and allowed[1:-1].sum() < _ALLOWED * n_items:
            return top_k(states, self.table, k, seen, allowed=allowed)
        if k < 1:
            raise SettingError(f"k must be at least 1, got {k}")
        depth = min(n_items, k + (0 if seen is None else int((seen != PADDING).sum(1).max())))
        if seen is not None and depth > max(k, _ALLOWED * n_items):
            return top_k(states, self.table, k, seen, allowed=allowed)
        queries = states.float().reshape(-1, states.shape[-1])
        if torch.isnan(queries).any():
            raise SettingError("cannot recommend by NaN scores; check the model's weights and inputs")
        places = self._search(queries.numpy(), depth, allowed)
        ids = torch.from_numpy(places).view(len(states), -1) + 1  # 0 where fewer were found
        ids = _once(ids)
        if seen is not None:
            ids = ids.masked_fill(occurs(ids, seen), PADDING)
        scores = scores_of(states, self.table, ids, None).masked_fill(ids == PADDING, -torch.inf)
        best = scores.topk(min(k, scores.shape[1]), dim=1)
        top = TopK(ids.gather(1, best.indices), best.values)
        return self._completed(top, states, k, seen, allowed)

    def _completed(
        self,
        top: TopK,
        states: Float[Tensor, "B *I E"],
        k: int,
        seen: Int[Tensor, "B M"] | None,
        allowed: Bool[Tensor, "R"] | None,
    ) -> TopK:
        """Users with fewer than k items, with all items scored."""
        if top.ids.shape[1] < k:
            return top_k(states, self.table, k, seen, allowed=allowed)
        short = (top.ids == PADDING).any(1)
        if short.any():
            rest = None if seen is None else seen[short]
            top.ids[short], top.scores[short] = top_k(states[short], self.table, k, rest, allowed=allowed)
        return top

    def _search(
        self, queries: np.ndarray, depth: int, allowed: Bool[Tensor, "R"] | None
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        faiss = _faiss()
        lifted = np.concatenate([queries, np.zeros((len(queries), 1), np.float32)], 1)
        selector = {}
        if allowed is not None:
            bits = np.packbits(allowed[1:-1].numpy(), bitorder="little")
            selector = {"sel": faiss.IDSelectorBitmap(bits)}
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(_WHEN_ASKED, 2 * depth), **selector)
        else:
            lists = max(4, min(_MOST_READ, round(_LISTS_READ * self.index.nlist)))
            parameters = faiss.SearchParametersIVF(nprobe=lists, **selector)
        return self.index.search(lifted, depth, params=parameters)[1]

    def _lifted(self, vectors: np.ndarray) -> np.ndarray:
        rest = np.sqrt(np.maximum(self.square - (vectors**2).sum(1, keepdims=True), 0))
        return np.ascontiguousarray(np.concatenate([vectors, rest], 1), np.float32)


def _once(ids: Int[Tensor, "B K"]) -> Int[Tensor, "B K"]:
    """Each row's ids once, in ascending order; 0 in place of a repetition."""
    ordered = ids.sort(1).values
    repeats = ordered.diff(dim=1, prepend=torch.full_like(ordered[:, :1], -1)) == 0
    return ordered.masked_fill(repeats, PADDING)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise SettingError('retrieval=hnsw and ivf need the package faiss; run: pip install "sage-pl[ann]"') from error
    return faiss
