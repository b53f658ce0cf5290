"""Cross-attention between two views, then a backbone, shared or one for each."""

from __future__ import annotations

import copy
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.nn.backbones.attention import attention_mask
from sage_pl.nn.sequence_encoders.cross_attention import CrossAttention, own_positions
from sage_pl.ranges import Count, Divides, Signed
from sage_pl.types import Backbone, SeqBatch, Views


class DualView(nn.Module):
    """``z_id = Attn(x_text, x_id); z_text = Attn(x_id, x_text); h = [backbone(z_id) ; backbone(z_text)]``.

    ``Attn(x, y)`` takes queries from x, keys and values from y, without residual or norm. Both views run through a shared
    backbone as one batch of 2B sequences.

    Args:
        backbone: the sequence model.
        heads: heads of the cross-attention.
        cross_attention: False keeps the views apart until they are scored (LLM-ESR's "w/o cross-attention").
        residual: add a view to its cross-attention, ``z_id = x_id + Attn(x_text, x_id)``; False in the paper, where a position
            becomes a mixture of the history and may lose its own item (docs/results/pantry.md).
        shared: False gives the text view a separate backbone, which starts as a copy (LLM-ESR's "w/o share").
        own_position: start of the number that is added to a query's product with its own item
            (:class:`sage_pl.nn.sequence_encoders.cross_attention.CrossAttention`); None is the published form, which starts
            as mean pooling.

    Reference: LLM-ESR, section 3.3; SAGE code line (docs/deviations.md). Differs: the cross-attention is causal wherever
    the backbone is, since it would otherwise leak each position's label into its state.
    """

    reads = frozenset({"id", "text"})
    READ_WITH: ClassVar = dict.fromkeys(("heads", "own_position", "residual"), ("cross_attention", True))

    def __init__(
        self,
        backbone: Backbone,
        heads: Annotated[Count, Divides("backbone.dim")] = 2,
        cross_attention: bool = True,
        residual: bool = False,
        shared: bool = True,
        own_position: Signed | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.text_backbone = None if shared else copy.deepcopy(backbone)
        self.output_dim = 2 * backbone.dim
        self.cross_attention = cross_attention
        self.residual = residual
        if cross_attention:
            self.id_from_text = CrossAttention(backbone.dim, heads, own_position)
            self.text_from_id = CrossAttention(backbone.dim, heads, own_position)

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        text_backbone = self.text_backbone or self.backbone
        ids, text = self.backbone.embed(views["id"], mask), text_backbone.embed(views["text"], mask)
        if self.cross_attention:
            allowed = attention_mask(mask, self.backbone.causal)
            own = own_positions(mask, batch.get("masked"))
            cross = self.id_from_text(text, ids, allowed, own), self.text_from_id(ids, text, allowed, own)
            ids, text = (ids + cross[0], text + cross[1]) if self.residual else cross
        if self.text_backbone is None:
            hidden = self.backbone(torch.cat([ids, text]), mask.repeat(2, 1), last_only).unflatten(0, (2, -1)).unbind()
        else:
            hidden = self.backbone(ids, mask, last_only), self.text_backbone(text, mask, last_only)
        return torch.cat(hidden, dim=-1)
