"""Several interests of a user instead of one state."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.types import Backbone, SeqBatch, Views

Readout = Literal["mean", "attention", "max"]


class Interests(NamedTuple):
    """Interests of a user and the share of each in the whole; a share of 0 marks a place without interest."""

    vectors: Float[Tensor, "B K D"]
    shares: Float[Tensor, "B K"]


@runtime_checkable
class Extractor(Protocol):
    """Finds interests in a sequence."""

    per_user: bool  # True where it reads more of the user than the sequence

    def __call__(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], users: Int[Tensor, "B"] | None
    ) -> Interests: ...


class InterestEncoder(nn.Module):
    """The last state of a sequence is read from its interests ``z_1 .. z_K``; the other states are the backbone's.

    ``mean``: ``u = sum_k s_k z_k`` with the shares s. ``attention``: ``u = sum_k softmax_k(<z_k, w>) z_k`` with a learned w.
    ``max``: K states ``u_k = z_k``; an item scores ``max_k <u_k, v>``, and the one nearest to the target is trained (ComiRec).
    With ``residual`` each of them is ``h + gamma u``, h the backbone's last state and gamma a learned number. It starts at 0,
    so that the model starts as ``method=plain``.

    An extractor that knows its user may have learned from events that come after a position. Its interests are made of all
    training items but the last. So they are used only where the last is predicted, the last position of ``state_rows``.

    Args:
        backbone: the sequence model whose states are read.
        extractor: how interests are found.
        readout: ``mean``, ``attention`` or ``max``.
        residual: keep the backbone's last state.
        view: which view of the items is read.

    Raises:
        SettingError: the readout is none of the three.

    Reference: SAM's code reads the mean and knows no backbone (``backbone=none``); the residual is ours.
    """

    def __init__(
        self,
        backbone: Backbone,
        extractor: Extractor,
        readout: Readout = "mean",
        residual: bool = True,
        view: str = "id",
    ) -> None:
        super().__init__()
        if readout not in get_args(Readout):
            raise SettingError(f"sequence_encoder.readout is {readout!r}, wanted one of {', '.join(get_args(Readout))}")
        self.backbone = backbone
        self.extractor = extractor
        self.readout = readout
        self.view = view
        self.reads = frozenset({view})
        self.output_dim = backbone.dim
        self.gamma = nn.Parameter(torch.zeros(())) if residual else None
        self.attention = nn.Linear(backbone.dim, 1, bias=False) if readout == "attention" else None

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B T *I E"]:
        hidden = self.backbone(self.backbone.embed(views[self.view], mask), mask)
        rows = batch.get("state_rows") if self.extractor.per_user else None
        # interests at the last position of every sequence
        if rows is None:
            last = self._read(hidden[:, -1], self.extractor(hidden, mask, batch.get("user")))
        # or of the users' rows alone, where the other rows keep the backbone's state
        else:
            users = hidden[rows]
            states = self._read(users[:, -1], self.extractor(users, mask[rows], batch.get("user")))
            last = _repeated(hidden[:, -1].to(states.dtype), states).index_copy(0, rows, states)
        # the backbone's states before it
        if last_only:
            return last[:, None]
        return torch.cat([_repeated(hidden[:, :-1], last), last[:, None]], dim=1)

    def _read(self, last: Float[Tensor, "B D"], interests: Interests) -> Float[Tensor, "B *I D"]:
        vectors, shares = interests
        if self.readout == "max":
            # a repeated interest changes no maximum
            states = torch.where(shares[..., None] > 0, vectors, vectors[:, :1])
        elif self.attention is None:
            states = (shares[..., None] * vectors).sum(1)
        else:
            scores = self.attention(vectors).masked_fill(shares[..., None] == 0, -torch.inf)
            states = (scores.softmax(1) * vectors).sum(1)
        return states if self.gamma is None else _repeated(last, states) + self.gamma * states


def _repeated(states: Tensor, several: Tensor) -> Tensor:
    """States [*P, D], each repeated K times [*P, K, D] where ``several`` are [B, K, D]."""
    return states if several.ndim == 2 else states.unsqueeze(-2).expand(*states.shape[:-1], *several.shape[1:])
