"""Two views that look at each other, then pass one backbone, shared or not."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.nn.backbones.attention import MultiHeadAttention, attention_mask
from sage_pl.types import Backbone, SeqBatch, Views


class DualView(nn.Module):
    """``z_id = Attn(x_text, x_id); z_text = Attn(x_id, x_text); h = [backbone(z_id) ; backbone(z_text)]``.

    ``Attn(x, y)`` takes queries from x, keys and values from y, without residual or norm. Both views run through a shared
    backbone as one batch of 2B sequences.

    Args:
        backbone: the sequence model.
        heads: heads of the cross-attention.
        cross_attention: False leaves the views apart until they are scored (LLM-ESR's "w/o cross-attention").
        residual: add what a view was before it looked at the other, ``z_id = x_id + Attn(x_text, x_id)``; False in the paper,
            where a position becomes a mixture of the history and may lose its own item (docs/results.md).
        shared: False gives the text view a backbone of its own, which starts as a copy (LLM-ESR's "w/o share").

    Reference: LLM-ESR, section 3.3; SAGE code line (docs/deviations.md). Differs: the cross-attention is causal wherever
    the backbone is, since it would otherwise hand every position its own label.
    """

    reads = frozenset({"id", "text"})

    def __init__(
        self,
        backbone: Backbone,
        heads: int = 2,
        cross_attention: bool = True,
        residual: bool = False,
        shared: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.text_backbone = None if shared else copy.deepcopy(backbone)
        self.output_dim = 2 * backbone.dim
        self.cross_attention = cross_attention
        self.residual = residual
        if cross_attention:
            self.id_from_text = MultiHeadAttention(backbone.dim, heads, bias=False)
            self.text_from_id = MultiHeadAttention(backbone.dim, heads, bias=False)

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        own = self.text_backbone or self.backbone
        ids, text = self.backbone.embed(views["id"], mask), own.embed(views["text"], mask)
        if self.cross_attention:
            allowed = attention_mask(mask, self.backbone.causal)
            mixed = self.id_from_text(text, ids, allowed), self.text_from_id(ids, text, allowed)
            ids, text = (ids + mixed[0], text + mixed[1]) if self.residual else mixed
        if self.text_backbone is None:
            hidden = self.backbone(torch.cat([ids, text]), mask.repeat(2, 1), last_only).chunk(2)
        else:
            hidden = self.backbone(ids, mask, last_only), self.text_backbone(text, mask, last_only)
        return torch.cat(hidden, dim=-1)
