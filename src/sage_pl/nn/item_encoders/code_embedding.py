"""Items as short strings of codes, and one trained vector per code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Width


def load_codes(tokens: str, n_items: int) -> tuple[Int[Tensor, "R T"], tuple[int, ...]]:
    """The codes and the size V_t of each level of a ``tokens`` artifact.

    Raises:
        SettingError: the codes do not belong to this data set, or one lies outside its vocabulary.
    """
    codes = np.load(Path(tokens) / "codes.npy", allow_pickle=False).astype(np.int64)
    sizes = tuple(json.loads((Path(tokens) / "sizes.json").read_text())["sizes"])
    if codes.shape != (n_items + 2, len(sizes)):
        raise SettingError(
            f"{tokens}/codes.npy is {list(codes.shape)}, wanted [{n_items + 2}, {len(sizes)}] (N + 2 rows, a column per "
            "level) for this data set; run scripts/prepare.py 'wanted=[tokens]' for it"
        )
    if ((codes[1:-1] < 0) | (codes[1:-1] >= sizes)).any():
        raise SettingError(f"{tokens}/codes.npy has codes outside 0..V - 1 of their level, V = {list(sizes)}")
    return torch.from_numpy(codes), sizes


class CodeEmbedding(nn.Module):
    """T codes per item, one out of each level's own vocabulary, and a vector [D] per code, N(0, 0.02²).

    Codes of different levels never share a vector: code c of level t is row ``offset_t + c`` of one table.

    A checkpoint contains the codes; one with other codes is refused, since its vectors mean nothing under another tokenisation.

    Args:
        tokens: path of the ``tokens`` artifact: ``codes.npy`` [R, T], -1 in rows 0 and N + 1, and ``sizes.json``, the
            size V_t of each level.
        n_items: N.
        dim: D.

    Raises:
        SettingError: the codes do not belong to this data set, or one lies outside its vocabulary.
    """

    def __init__(self, tokens: str, n_items: Count, dim: Width = 64) -> None:
        super().__init__()
        codes, self.sizes = load_codes(tokens, n_items)
        self.register_buffer("codes", codes)
        self.codes: Tensor
        self.dim = dim
        self.offsets = tuple(np.cumsum([0, *self.sizes[:-1]]).tolist())
        self.register_buffer("rows", codes.clamp(min=0) + torch.tensor(self.offsets), persistent=False)
        self.rows: Tensor
        self.weight = nn.Parameter(torch.empty(sum(self.sizes), dim).normal_(std=0.02))

    @property
    def levels(self) -> int:
        return len(self.sizes)

    def table(self, level: int) -> Float[Tensor, "V D"]:
        """The vectors of one level's codes."""
        return self.weight[self.offsets[level] : self.offsets[level] + self.sizes[level]]

    def forward(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P T D"]:
        """The vectors of items' codes; zero for padding and the mask token."""
        return F.embedding(self.rows[ids], self.weight) * (self.codes[ids, :1] >= 0)[..., None]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        codes = state_dict.get(f"{prefix}codes")
        if codes is not None and not torch.equal(codes.to(self.codes.device), self.codes):
            raise SettingError(
                "the checkpoint's model was trained with other item codes than the tokens artifact holds; evaluate it "
                "with the settings of steps.tokens, embedder and data it was trained with, or train again"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)
