"""The vocabulary every part shares: shapes, ids, batches and the protocols of the replaceable parts.

Shape letters
    B users in a batch, L sequence length, N real items, R = N + 2 table rows, D width of one view,
    E width of the scored vector, K candidates, S neighbours, C clusters, M any ragged count, P any leading axes.
Ids
    0 is padding, 1..N are items, N + 1 is the mask token, for every backbone, so tables never change shape.
    Users are 1..U; row 0 of a user array is empty. Sequences are left-padded, oldest to newest: ``[0, 0, 5, 9]``.

This module imports nothing of the project; every other module may import it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PADDING = 0


class SeqBatch(TypedDict):
    """One batch; a plain dict at run time, so it collates, pins and moves to a device as it is."""

    items: Int[Tensor, "B L"]
    user: NotRequired[Int[Tensor, "B"]]
    targets: NotRequired[Int[Tensor, "B L"]]  # 0 where nothing is predicted
    state_rows: NotRequired[Int[Tensor, "B"]]  # rows whose last position holds the state a user is served with
    neighbours: NotRequired[Int[Tensor, "B S"]]  # rows of the concatenated neighbour chunks, -1 where none
    neighbour_items: NotRequired[list[Int[Tensor, "M L"]]]  # neighbours' training inputs, grouped by length
    neighbour_users: NotRequired[Int[Tensor, "B S"]]  # their ids, 0 where none
    answer: NotRequired[Int[Tensor, "B"]]  # held-out item
    case: NotRequired[Int[Tensor, "B"]]  # row of the split's evaluation cases
    candidates: NotRequired[Int[Tensor, "B K"]]  # sampled negatives, drawn once per split
    seen: NotRequired[Int[Tensor, "B M"]]  # the whole history, 0-padded


Views = dict[str, Float[Tensor, "*P D"]]
"""One representation of an item per view: ``{"id": ...}`` or ``{"id": ..., "text": ...}``."""


class TopK(NamedTuple):
    """Recommended items, best first; id 0 where fewer than k items could be recommended."""

    ids: Int[Tensor, "B K"]
    scores: Float[Tensor, "B K"]


@runtime_checkable
class ItemEncoder(Protocol):
    """What an item is: what a sequence reads (``views``) and what is scored (``output``)."""

    n_items: int
    input_dims: Mapping[str, int]
    output_dim: int

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        """The views called ``names``, None for all; more may be given where they cost nothing."""
        ...

    def output(self, views: Views) -> Float[Tensor, "*P E"]: ...


@runtime_checkable
class Backbone(Protocol):
    """A sequence model over one view; padding (False in ``mask``) never influences a real position."""

    dim: int
    causal: bool

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Scale, add positions, drop out: what happens before views are mixed."""
        ...

    def __call__(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        """States of all positions (K = L), or with ``last_only`` of the last one (K = 1), which costs less."""
        ...


@runtime_checkable
class SequenceEncoder(Protocol):
    """Fuses the views of a sequence and contains the backbone(s)."""

    output_dim: int
    reads: frozenset[str]  # views of the items it takes

    def train(self, mode: bool = True) -> object: ...

    def eval(self) -> object: ...

    def __call__(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]: ...


@runtime_checkable
class Targets(Protocol):
    """What a sequence is trained to predict, and how a history is presented when predicting."""

    def training(self, batch: SeqBatch) -> SeqBatch: ...

    def inference(self, items: Int[Tensor, "B L"]) -> Int[Tensor, "B M"]: ...


@runtime_checkable
class ItemTable(Protocol):
    """The items of one step, each encoded once (``sage_pl.item_encoders.table``)."""

    def inputs(self, ids: Int[Tensor, "*P"]) -> Views: ...

    def outputs(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P E"]: ...

    def all_outputs(self) -> Float[Tensor, "R E"]: ...

    def whole(self, view: str) -> Float[Tensor, "R D"]:
        """One view of every item, whatever the step encoded; the other views are not made for it."""
        ...


@runtime_checkable
class LossContext(Protocol):
    """All that a loss may touch in a step; not the module itself."""

    batch: SeqBatch
    hidden: Float[Tensor, "B L E"]
    items: ItemTable
    mask_token: int

    def user_states(self) -> Float[Tensor, "B E"]:
        """State each user is served with (``state_rows`` at the last position), with gradient."""
        ...

    def encode(self, items: Int[Tensor, "M L"]) -> Float[Tensor, "M E"]:
        """Last states of other sequences in inference form, without gradient and without dropout."""
        ...


@runtime_checkable
class LossTerm(Protocol):
    """One named, weighted loss: an unweighted mean over valid entries, 0 where there are none."""

    weight: float
    needs: frozenset[str]  # batch keys it reads
    reads: frozenset[str]  # views of the items it takes
    catalogue: bool  # True: calls all_outputs(), so the step encodes the whole catalogue once, in all views

    def __call__(self, step: LossContext) -> Float[Tensor, ""]: ...

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        """Ids, beyond the sequences', whose vectors this term will ask for."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Adds to every score when items are ranked: F - E more columns of states and table, still one inner product."""

    def table(self, outputs: Float[Tensor, "R E"]) -> Float[Tensor, "R F"]: ...

    def states(self, hidden: Float[Tensor, "B E"], items: Int[Tensor, "B L"]) -> Float[Tensor, "B F"]: ...


@runtime_checkable
class Recommender(Protocol):
    """What evaluation, export and serving know of a model."""

    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer, per protocol (``full``, and ``sampled100`` where candidates are given)."""
        ...

    def recommend(self, items: Int[Tensor, "B L"], k: int, exclude_seen: bool) -> TopK: ...


def real(items: Int[Tensor, "*P"]) -> Bool[Tensor, "*P"]:
    """True where an id is not padding."""
    return torch.ne(items, PADDING)
