"""Second implementations of the model parts: one sequence at a time, no padding, plain loops, weights read directly."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sage_pl.nn.backbones.gru4rec import GRU4Rec
from sage_pl.nn.backbones.transformer import PostNormBlock, PreNormBlock

Look = Callable[[int, int], bool]


def linear(layer: Any, x: Tensor) -> Tensor:
    y = x @ layer.weight.T
    return y if layer.bias is None else y + layer.bias


def layer_norm(layer: Any, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias


def attention(module: Any, query: Tensor, source: Tensor, may_look: Look, own: Sequence[int] | None = None) -> Tensor:
    """Query [L, D] and source [K, D] of one sequence; ``own[i]`` is the key that gets the head's own number."""
    dim = query.shape[1]
    width = dim // module.heads
    q, kv = linear(module.query, query), linear(module.key_value, source)
    k, v = kv[:, :dim], kv[:, dim:]
    rows = []
    for i in range(len(query)):
        keys = [j for j in range(len(source)) if may_look(i, j)]
        heads = []
        for h in range(module.heads):
            part = slice(h * width, (h + 1) * width)
            logits = torch.stack([(q[i, part] * k[j, part]).sum() / width**0.5 for j in keys])
            if own is not None:
                logits = torch.stack(
                    [x + module.own[h] if j == own[i] else x for x, j in zip(logits, keys, strict=True)]
                )
            weights = logits.exp() / logits.exp().sum()
            heads.append(torch.stack([w * v[j, part] for w, j in zip(weights, keys, strict=True)]).sum(0))
        rows.append(torch.cat(heads))
    return linear(module.out, torch.stack(rows))


def look_of(backbone: Any) -> Look:
    return (lambda i, j: j <= i) if backbone.causal else (lambda i, j: True)


def feed_forward(module: Any, x: Tensor) -> Tensor:
    return linear(module.outer, linear(module.inner, x).clamp(min=0))


def block(module: Any, x: Tensor, may_look: Look) -> Tensor:
    if isinstance(module, PreNormBlock):
        y = layer_norm(module.norm_query, x)
        x = x + attention(module.attention, y, y, may_look)
        return x + feed_forward(module, layer_norm(module.norm, x))
    if isinstance(module, PostNormBlock):
        x = layer_norm(module.norm_query, x + attention(module.attention, x, x, may_look))
        return layer_norm(module.norm, x + feed_forward(module, x))
    q = layer_norm(module.norm_query, x)
    x = q + attention(module.attention, q, x, may_look)
    y = layer_norm(module.norm, x)
    return y + feed_forward(module, y)


def transformer(backbone: Any, x: Tensor) -> Tensor:
    for module in backbone.blocks:
        x = block(module, x, look_of(backbone))
    return x if backbone.norm_input else layer_norm(backbone.norm, x)


def padded_transformer(backbone: Any, x: Tensor) -> Tensor:
    """The SAGE code line (docs/deviations.md): zero rows up to ``max_len`` in front, and no mask of any kind."""
    paddings = backbone.max_len - len(x)
    real = torch.tensor([0.0] * paddings + [1.0] * len(x), dtype=x.dtype)[:, None]
    x = torch.cat([x.new_zeros(paddings, x.shape[1]), x])
    for module in backbone.blocks:
        x = block(module, x, lambda i, j: True) * real
    return layer_norm(backbone.norm, x)[paddings:]


def gru(backbone: GRU4Rec, x: Tensor) -> Tensor:
    weights = dict(backbone.gru.named_parameters())
    for layer in range(backbone.gru.num_layers):
        w_in, w_state, b_in, b_state = (
            weights[f"{name}_l{layer}"].chunk(3) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, states = x.new_zeros(x.shape[1]), []
        for row in x:
            given = [w @ row + b for w, b in zip(w_in, b_in, strict=True)]
            kept = [w @ state + b for w, b in zip(w_state, b_state, strict=True)]
            reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
            new = torch.tanh(given[2] + reset * kept[2])
            state = (1 - update) * new + update * state
            states.append(state)
        x = torch.stack(states)
    return x


def run_backbone(backbone: Any, x: Tensor) -> Tensor:
    """States [L, D] of one sequence's embedded inputs [L, D]."""
    return gru(backbone, x) if isinstance(backbone, GRU4Rec) else transformer(backbone, x)


def embed(backbone: Any, x: Tensor) -> Tensor:
    if isinstance(backbone, GRU4Rec):
        return x
    places = backbone.position.weight[1 : len(x) + 1]
    return layer_norm(backbone.norm, x + places) if backbone.norm_input else x * backbone.dim**0.5 + places


def own_of(masked: Sequence[bool]) -> list[int]:
    """A position's own item: itself, or the last item before a mask token."""
    return [max([j for j in range(i + 1) if not masked[j]], default=i) for i in range(len(masked))]


def dual_view(encoder: Any, ids: Tensor, text: Tensor, masked: Sequence[bool] | None = None) -> Tensor:
    """States [L, 2D] of one sequence, each view [L, D] going through the backbone on its own."""
    ids, text = embed(encoder.backbone, ids), embed(encoder.backbone, text)
    if encoder.cross_attention:
        look = look_of(encoder.backbone)
        given = (ids, text) if encoder.residual else (0, 0)
        own = None if encoder.id_from_text.own is None else own_of(masked or [False] * len(ids))
        mixed = (
            attention(encoder.id_from_text, text, ids, look, own),
            attention(encoder.text_from_id, ids, text, look, own),
        )
        ids, text = given[0] + mixed[0], given[1] + mixed[1]
    return torch.cat([run_backbone(encoder.backbone, ids), run_backbone(encoder.backbone, text)], dim=1)


def adapt(adapter: Any, x: Tensor) -> Tensor:
    return linear(adapter.out, linear(adapter.down, x))


def soft_contrastive(x: Tensor, y: Tensor, temperature: float = 1.0, detach_targets: bool = True) -> Tensor:
    """The formula of docs/deviations.md, pair by pair."""
    n = len(x)
    score = [[(x[i] * y[j]).sum() / temperature for j in range(n)] for i in range(n)]
    within = [[((x[i] * x[j]).sum() + (y[i] * y[j]).sum()) / 2 * temperature for j in range(n)] for i in range(n)]
    total = x.new_zeros(())
    for i in range(n):
        for j in range(n):
            target = within[i][j].exp() / sum(v.exp() for v in within[i])
            other = within[j][i].exp() / sum(v.exp() for v in within[j])
            if detach_targets:
                target, other = target.detach(), other.detach()
            forward = score[i][j] - torch.stack(score[i]).exp().sum().log()
            backward = score[j][i] - torch.stack([score[k][i] for k in range(n)]).exp().sum().log()
            total = total - (target * forward + other * backward) / 2
    return total / n


def squared_distance(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean over pairs and widths."""
    return torch.stack([(x - y).square().mean() for x, y in pairs]).mean()


def cross_entropy(state: Tensor, vectors: dict[int, Tensor], target: int) -> Tensor:
    logits = {item: (state * vector).sum() for item, vector in vectors.items()}
    return torch.stack(list(logits.values())).exp().sum().log() - logits[target]
