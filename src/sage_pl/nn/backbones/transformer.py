"""The Transformer of SASRec and BERT4Rec, which differ in the attention mask."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.backbones.attention import MultiHeadAttention, attention_mask, start_normal
from sage_pl.ranges import Depth, Deviation, Dropout, Heads, Length, Width


class Block(nn.Module):
    """One layer of the form ``sasrec``: ``q = LN(x); x = q + MHA(q, x, x); y = LN(x); x = y + FFN(y)``.

    Only the query is normalised, and both residuals start from the normalised side, as in the original SASRec (Kang and
    McAuley 2018, section 3.2) and the SAGE reference (docs/deviations.md).
    """

    def __init__(self, dim: Width, heads: Heads, dropout: Dropout) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(dim, eps=1e-8)
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self.inner = nn.Linear(dim, dim)
        self.outer = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.inner, self.outer):
            nn.init.xavier_normal_(layer.weight)

    def forward(
        self, x: Float[Tensor, "B L D"], source: Float[Tensor, "B K D"], mask: Tensor
    ) -> Float[Tensor, "B L D"]:
        query = self.norm_query(x)
        x = query + self.attention(query, source, mask)
        y = self.norm(x)
        return y + self.feed_forward(y)

    def feed_forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self.dropout(self.outer(self.dropout(F.relu(self.inner(x)))))


class PreNormBlock(Block):
    """One layer of the form ``pre``: ``y = LN(x); x = x + MHA(y, y, y); x = x + FFN(LN(x))``.

    Reference: torch.nn.TransformerEncoderLayer with ``norm_first=True`` (Xiong et al. 2020).
    """

    def forward(
        self, x: Float[Tensor, "B L D"], source: Float[Tensor, "B K D"], mask: Tensor
    ) -> Float[Tensor, "B L D"]:
        x = x + self.dropout(self.attention(self.norm_query(x), self.norm_query(source), mask))
        return x + self.feed_forward(self.norm(x))


class PostNormBlock(Block):
    """One layer of the form ``post``: ``x = LN(x + MHA(x, x, x)); x = LN(x + FFN(x))``.

    Reference: torch.nn.TransformerEncoderLayer (Vaswani et al. 2017); SASRec and BERT4Rec as RecBole has them.
    """

    def forward(
        self, x: Float[Tensor, "B L D"], source: Float[Tensor, "B K D"], mask: Tensor
    ) -> Float[Tensor, "B L D"]:
        x = self.norm_query(x + self.dropout(self.attention(x, source, mask)))
        return self.norm(x + self.feed_forward(x))


Norm = Literal["sasrec", "pre", "post"]
_BLOCKS: dict[str, type[Block]] = {"sasrec": Block, "pre": PreNormBlock, "post": PostNormBlock}


class Transformer(nn.Module):
    """A stack of blocks over left-padded sequences, with learned positions.

    Forms ``sasrec`` (:class:`Block`) and ``pre`` (:class:`PreNormBlock`) end in one more LayerNorm; ``post``
    (:class:`PostNormBlock`) has it on its input instead, as BERT, and does not scale the input. Their weights have the same
    names, shapes and start.

    Positions count from the oldest visible item (1, 2, ...), so a training prefix has the same positions as in serving.

    Args:
        dim: width D.
        max_len: longest input (one more position is reserved for an appended mask token).
        layers: number of blocks.
        heads: attention heads per block.
        dropout: on the input, the attention weights and the feed-forward layers.
        causal: a position attends to itself and its past; False: to the whole sequence.
        attend_padding: parity with the SAGE reference, where padding takes part in attention (docs/deviations.md). Padding
            rows are exactly zero there, so all of them together equal one extra zero key whose logit is raised by
            log(number of paddings).
        norm: where a block normalises: ``sasrec``, ``pre`` or ``post``.
        init_std: standard deviation of the start of positions and linear layers, whose biases then start at 0; None for 0.02
            and Xavier's.

    Raises:
        SettingError: ``norm`` is no form, or padding takes part in a form whose zero rows are no zero keys.
    """

    def __init__(
        self,
        dim: Width = 64,
        max_len: Length = 50,
        layers: Depth = 2,
        heads: Heads = 1,
        dropout: Dropout = 0.5,
        causal: bool = True,
        attend_padding: bool = False,
        norm: Norm = "sasrec",
        init_std: Deviation | None = None,
    ) -> None:
        super().__init__()
        if norm not in _BLOCKS or (attend_padding and norm != "sasrec"):
            raise SettingError(
                f"backbone has norm={norm} and attend_padding={attend_padding}, wanted a norm of {', '.join(_BLOCKS)}, and "
                "sasrec with attend_padding=true"
            )
        self.dim = dim
        self.causal = causal
        self.max_len = max_len
        self.attend_padding = attend_padding
        self.position = nn.Embedding(max_len + 2, dim, padding_idx=0)
        nn.init.normal_(self.position.weight, std=0.02 if init_std is None else init_std)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_BLOCKS[norm](dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self.norm_input = norm == "post"
        if init_std is not None:
            start_normal(self.blocks, init_std)

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """``Dropout(sqrt(D) x + P[position])``; form ``post``: ``Dropout(LN(x + P[position]))``."""
        places = self.position(mask.long().cumsum(1) * mask)
        return self.dropout(self.norm(x + places) if self.norm_input else x * self.dim**0.5 + places)

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        keep = mask[..., None].to(x.dtype)
        allowed = attention_mask(mask, self.causal)
        if self.attend_padding:
            allowed = self._with_padding_key(allowed, mask)
        x = x * keep
        for number, block in enumerate(self.blocks, start=1):
            source = F.pad(x, (0, 0, 0, 1)) if self.attend_padding else x
            if last_only and number == len(self.blocks):
                x, allowed, keep = x[:, -1:], allowed[:, :, -1:], keep[:, -1:]
            x = block(x, source, allowed) * keep
        return x if self.norm_input else self.norm(x) * keep

    def _with_padding_key(
        self, allowed: Bool[Tensor, "B 1 L L"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B 1 L K"]:
        """The mask as numbers to add; one more column, log(number of paddings), for the key of all paddings."""
        paddings = (self.max_len - mask.sum(1)).clamp(min=0).to(self.position.weight.dtype)
        column = paddings.log()[:, None, None, None].expand(-1, 1, mask.shape[1], 1)
        scores = torch.zeros_like(allowed, dtype=column.dtype).masked_fill(~allowed, float("-inf"))
        return torch.cat([scores, column], dim=-1)
