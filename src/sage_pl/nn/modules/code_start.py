"""Item vectors of a finished run as the start of a model over codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.data.loader import load_sequences
from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.ranges import Positive


class CodeStart:
    """Codes' vectors in the place of the item vectors v of a finished run, over the items with training events::

        E = argmin sum_i |v_i - sum_t E_t[c_(i,t)]|^2 + ridge |E|^2

    They are the tokenizer's codebooks at the scale of that run, for any tokenizer. Own vectors (``item_encoder.add_id``) start
    as the rest, ``v_i - sum_t E_t[c_(i,t)]``, and the mask token's as v's: histories are read as that run reads them. The own
    vectors of items without training events, whose v are noise, start at 0.

    Args:
        run: folder of the run, with ``item_table.npy`` [R, D]: ``${artifacts.<stage>}``.
        sequences: path of the ``sequences`` artifact.
        ridge: items' worth of evidence that a vector is 0; decides where codes occur together alone.

    Raises:
        SettingError: the model's items are no codes, or the run has vectors of another shape.

    Reference: MME-SID, whose codes' vectors start from the codebooks, of the width of its model.
    """

    def __init__(self, run: str, sequences: str, ridge: Positive = 1.0) -> None:
        self.run = run
        self.sequences = sequences
        self.ridge = ridge

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> None:
        encoder = model.item_encoder
        if not isinstance(encoder, CodeEncoder):
            raise SettingError(
                "start.codes is for items of codes (item_encoder=codes); leave it out with start.codes=null"
            )
        items = torch.from_numpy(np.load(Path(self.run) / "item_table.npy", allow_pickle=False)).double()
        weight, rows = encoder.codes.weight, encoder.codes.rows
        if items.shape != (len(rows), weight.shape[1]):
            raise SettingError(
                f"{self.run} holds item vectors {list(items.shape)}, and the codes' vectors are {weight.shape[1]} wide, of "
                f"{len(rows) - 2} items; give both runs the same dim, or leave this start out with start.codes=null"
            )
        counts = torch.from_numpy(np.array(load_sequences(self.sequences).train_counts))
        counts[[0, -1]] = 0
        trained = counts.nonzero()[:, 0]
        vectors = least_squares(rows[trained], items[trained], len(weight), self.ridge)
        weight.copy_(vectors)
        encoder.mask_view.copy_(items[-1])
        if encoder.own is not None:
            own = torch.zeros_like(items).index_copy_(0, trained, items[trained] - vectors[rows[trained]].sum(1))
            encoder.own.weight.copy_(own)


def least_squares(
    rows: Int[Tensor, "M T"], items: Float[Tensor, "M D"], n_codes: int, ridge: float
) -> Float[Tensor, "C D"]:
    """Vectors of all codes whose sums, T of them for each item, are nearest to the items'."""
    together = torch.zeros(n_codes * n_codes, dtype=items.dtype)
    sums = items.new_zeros(n_codes, items.shape[1])
    for code in rows.T:
        sums.index_add_(0, code, items)
        for other in rows.T:
            together += torch.bincount(code * n_codes + other, minlength=len(together))
    normal = together.view(n_codes, n_codes) + ridge * torch.eye(n_codes, dtype=items.dtype)
    return torch.cholesky_solve(sums, torch.linalg.cholesky(normal))
