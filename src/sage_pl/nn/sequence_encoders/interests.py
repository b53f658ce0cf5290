"""Several interests of a user instead of one state."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Signed
from sage_pl.types import Backbone, SeqBatch, Views

Readout = Literal["mean", "attention", "max"]


class Interests(NamedTuple):
    """Interests of a user and the share of each in the whole; a share of 0 marks padding."""

    vectors: Float[Tensor, "B K D"]
    shares: Float[Tensor, "B K"]


@runtime_checkable
class Extractor(Protocol):
    """Finds interests in a sequence."""

    per_user: bool  # True where it reads the user's id beside the sequence

    def __call__(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], users: Int[Tensor, "B"] | None
    ) -> Interests: ...


class InterestEncoder(nn.Module):
    """The last state of a sequence is read from its interests ``z_1 .. z_K``; the other states are the backbone's.

    ``mean``: ``u = sum_k s_k z_k`` with the shares s. ``attention``: ``u = sum_k softmax_k(<z_k, w>) z_k`` with a learned w.
    ``max``: K states ``u_k = z_k``; an item scores ``max_k <u_k, v>``, and the one nearest to the target is trained (ComiRec).
    With ``residual`` each of them is ``h + gamma u``, h the backbone's last state and gamma a learned number. Started at 0,
    the model starts as ``method=plain`` and learns to read interests late: u has no gradient before gamma has grown.

    The interests of a ``per_user`` extractor are made of all training items but the last, so at earlier positions they would
    leak later events. They are used only where the last item is predicted: at the last position of ``state_rows``.

    Args:
        backbone: the sequence model whose states are read.
        extractor: from states to interests.
        readout: ``mean``, ``attention`` or ``max``.
        residual: add the backbone's last state.
        view: the view of the items that is read.
        gamma: where gamma starts.

    Raises:
        SettingError: the readout is unknown.

    Reference: SAM's code reads the mean and has no backbone (``backbone=none``); the residual is ours.
    """

    READ_WITH: ClassVar = {"gamma": ("residual", True)}

    def __init__(
        self,
        backbone: Backbone,
        extractor: Extractor,
        readout: Readout = "mean",
        residual: bool = True,
        view: str = "id",
        gamma: Signed = 0.0,
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
        self.gamma = nn.Parameter(torch.tensor(float(gamma))) if residual else None
        self.attention = nn.Linear(backbone.dim, 1, bias=False) if readout == "attention" else None

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B T *I E"]:
        hidden = self.backbone(self.backbone.embed(views[self.view], mask), mask)
        rows = batch.get("state_rows") if self.extractor.per_user else None
        # interests at the last position of every sequence
        if rows is None:
            last = self._read(hidden[:, -1], self.extractor(hidden, mask, batch.get("user")))
        # or at that of the users' rows alone; the other rows keep the backbone's state
        else:
            users = hidden[rows]
            states = self._read(users[:, -1], self.extractor(users, mask[rows], batch.get("user")))
            last = _repeat(hidden[:, -1].to(states.dtype), states).index_copy(0, rows, states)
        # the backbone's states before it
        if last_only:
            return last[:, None]
        return torch.cat([_repeat(hidden[:, :-1], last), last[:, None]], dim=1)

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
        return states if self.gamma is None else _repeat(last, states) + self.gamma * states


def _repeat(states: Tensor, several: Tensor) -> Tensor:
    """States [*P, D], repeated K times [*P, K, D] where ``several`` are [B, K, D]."""
    return states if several.ndim == 2 else states.unsqueeze(-2).expand(*states.shape[:-1], *several.shape[1:])
