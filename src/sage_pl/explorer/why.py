"""What a score is made of: parts that sum to it, and what it loses without an item of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.item_encoders.gated import GATE
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.products import ItemProducts
from sage_pl.nn.scorers.base import Splits

_TOLERANCE = 1e-4  # of the parts' sum, beside the whole vector
_REST = "of every item"


class Share(NamedTuple):
    """A named part of a score."""

    name: str
    value: float


def scores(model: RecommenderModule, items: Int[Tensor, "B L"], users: Int[Tensor, "B"]) -> Float[Tensor, "B R"]:
    """The scores that rank, of every item."""
    blocks = model.item_scores(items, users) if model.scorer is None else model.scored(items, users)
    return torch.cat([block for _, block in blocks])


def ranking_shares(
    model: RecommenderModule, items: Int[Tensor, "1 L"], users: Int[Tensor, "1"], item: int
) -> list[Share]:
    """The scorer's columns with their weights, which sum to the score; none for a model without a scorer."""
    if model.scorer is None:
        return []
    own = torch.cat([block for _, block in model.item_scores(items, users)])
    history = model.read(items)
    if isinstance(model.scorer, Splits):
        parts = model.scorer.split(own, history)
        return [Share(name, float(part[0, item])) for name, part in parts.items() if float(part[0, item])]
    value = float(own[0, item])
    return [Share("model", value), Share("scorer", float(model.scorer(own, history, users)[0, item]) - value)]


def vector_shares(
    model: RecommenderModule, items: Int[Tensor, "1 L"], users: Int[Tensor, "1"], item: int
) -> list[Share]:
    """The inner product of the state with each part of the item's vector; one share where the vector has one part.

    A model without inner products, which generates codes, has none.
    """
    if not isinstance(model, ItemProducts):
        return []
    states = model.states(items, users)[0]
    parts = vector_parts(model.item_encoder, torch.tensor([item]))
    if states.ndim == 2:  # several interests: the best one scores the item
        states = states[(states @ sum(parts.values())[0]).argmax()]  # type: ignore[index]
    return [Share(name, float(states @ part[0])) for name, part in parts.items()]


def vector_parts(encoder: Any, ids: Int[Tensor, "M"]) -> dict[str, Float[Tensor, "M E"]]:
    """Parts whose sum is the items' vector: a part per view, or the trained vector and its text, where these add up.

    Parts are what the vector has with one view alone, beyond what it has with none. Where they do not sum to the vector, as
    after a nonlinear layer, there is one part, called by the views together.
    """
    views = encoder.views(ids)
    whole = encoder.output(views)
    names = [name for name in views if name != GATE]
    empty = {name: torch.zeros_like(view) if name != GATE else view for name, view in views.items()}
    rest = encoder.output(empty)
    parts = {name: encoder.output({**empty, name: views[name]}) - rest for name in names}
    parts = {name: part for name, part in parts.items() if bool(part.abs().max() > 0)}
    if set(parts) == {"id"} and (text := _text_of(encoder, ids, whole)) is not None:
        parts = {"id": whole - text - rest, "text": text}
    if bool(rest.abs().max() > 0):
        parts[_REST] = rest
    total = sum(parts.values(), torch.zeros_like(whole))
    if bool((total - whole).abs().max() > _TOLERANCE * whole.abs().max().clamp(min=1e-9)):
        return {" and ".join(name for name in names if name != "fused") or "vector": whole}
    return parts


def without_each(
    model: RecommenderModule,
    history: Sequence[int],
    users: Int[Tensor, "1"],
    item: int,
    groups: Sequence[Sequence[int]],
) -> list[float]:
    """What an item's score loses when some of the history's items are left out, for each of several groups of them."""
    longest = max(len(history), 1)
    rows = [list(history), *([one for one in history if one not in group] for group in map(set, groups))]
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    values = scores(model, padded, users.expand(len(rows)))[:, item]
    return [float(values[0] - value) for value in values[1:]]


def _text_of(encoder: Any, ids: Int[Tensor, "M"], whole: Float[Tensor, "M E"]) -> Float[Tensor, "M E"] | None:
    """What a vector loses without its text, where the encoder reads text inside its only view."""
    text = getattr(encoder, "text", None)
    if not isinstance(text, ItemText):
        return None
    handle = text.register_forward_hook(lambda module, arguments, output: torch.zeros_like(output))
    try:
        return whole - encoder.output(encoder.views(ids))
    finally:
        handle.remove()
