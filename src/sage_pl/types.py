"""The vocabulary of all parts: shapes, ids, batches and the protocols of the replaceable parts.

Shape letters
    B users in a batch, L sequence length, N real items, R = N + 2 table rows, D width of one view,
    E width of the scored vector, K candidates, S neighbours, C clusters, M any ragged count, P any leading axes, I states of
    one position: several interests of a user, of which the best one scores an item.
Ids
    0 is padding, 1..N are items, N + 1 is the mask token, for every backbone, so tables never change shape.
    Users are 1..U; row 0 of a user array is empty. Sequences are left-padded, oldest to newest: ``[0, 0, 5, 9]``.

This module imports nothing of the project; every other module may import it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

PADDING = 0


class SeqBatch(TypedDict):
    """One batch; a plain dict at run time, so it collates, pins and moves to a device as it is."""

    items: Int[Tensor, "B L"]
    masked: NotRequired[Bool[Tensor, "B L"]]  # where a mask token stands, for sequence encoders
    user: NotRequired[Int[Tensor, "B"]]
    # loaded for losses over similar users
    neighbours: NotRequired[Int[Tensor, "B S"]]  # rows of the concatenated neighbour chunks, -1 where none
    users_with_teachers: NotRequired[Int[Tensor, "M"]]  # rows of the users that have neighbours
    neighbour_items: NotRequired[list[Int[Tensor, "M L"]]]  # neighbours' training inputs, grouped by length
    neighbour_users: NotRequired[Int[Tensor, "B S"]]  # their ids, 0 where none
    # added for training
    targets: NotRequired[Int[Tensor, "B L"]]  # 0 where nothing is predicted
    state_rows: NotRequired[Int[Tensor, "B"]]  # rows whose last position has the state a user is served with
    user_items: NotRequired[Int[Tensor, "B L"]]  # all items of a row's user, where the row holds some of them
    labels: NotRequired[Int[Tensor, "M"]]  # where the flattened targets are not 0
    distinct_items: NotRequired[Int[Tensor, "M"]]  # the real items of the inputs, each once, ascending
    distinct_targets: NotRequired[Int[Tensor, "M"]]  # the items that are predicted, likewise
    draws: NotRequired[dict[str, Int[Tensor, "..."]]]  # the losses' random draws, by the name of the loss
    encode_ids: NotRequired[Int[Tensor, "M"]]  # ids the step encodes, ascending; absent for the whole catalogue
    part: NotRequired[SeqBatch]  # what this process reads of the batch, where several train together
    # loaded for evaluation
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
    """From item ids to the vectors that a sequence reads (``views``) and the vector that is scored (``output``)."""

    n_items: int
    input_dims: Mapping[str, int]
    output_dim: int

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        """The views called ``names``, None for all; may return more where they cost nothing."""
        ...

    def output(self, views: Views) -> Float[Tensor, "*P E"]: ...


@runtime_checkable
class Backbone(Protocol):
    """A sequence model over one view; padding (False in ``mask``) influences no real position."""

    dim: int
    causal: bool

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Scale, add positions, drop out, before views are mixed."""
        ...

    def __call__(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        """States of all positions (K = L), or with ``last_only`` of the last one (K = 1), at less cost."""
        ...


@runtime_checkable
class SequenceEncoder(Protocol):
    """Fuses the views of a sequence and contains the backbone(s)."""

    output_dim: int
    reads: frozenset[str]  # views of the items

    def modules(self) -> Iterator[nn.Module]: ...

    def eval(self) -> object: ...

    def __call__(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B T *I E"]:
        """States of all positions (T = L), or with ``last_only`` of the last one (T = 1); [B, T, I, E] where a position has
        several, of which the best one scores an item. When predicting, ``batch`` has ``items`` and ``masked``, and ``user`` for
        known users.
        """
        ...


@runtime_checkable
class Targets(Protocol):
    """The training targets of a sequence, and the form of a history when predicting."""

    def training(self, batch: SeqBatch) -> SeqBatch: ...

    def inference(self, items: Int[Tensor, "B L"]) -> Int[Tensor, "B M"]: ...

    def of_items(self, n_items: int) -> Targets:
        """The same for a catalogue of ``n_items``, whose mask token is ``n_items + 1``."""
        ...


@runtime_checkable
class ItemTable(Protocol):
    """The items of one step, each encoded once (``sage_pl.nn.item_encoders.encoded``)."""

    def inputs(self, ids: Int[Tensor, "*P"]) -> Views: ...

    def outputs(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P E"]: ...

    def all_outputs(self) -> Float[Tensor, "R E"]: ...

    def whole(self, view: str) -> Float[Tensor, "R D"]:
        """One view of every item, computed alone where the step encoded single items."""
        ...


@runtime_checkable
class VectorTable(Protocol):
    """Every item's vector [R, E] as a ranking reads it, row by row: a tensor, or rows computed on access
    (:class:`sage_pl.nn.item_encoders.encoded.ItemVectors`)."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Tensor:
        """The rows of a slice [M, E] or of a tensor of ids [*P, E]."""
        ...


@runtime_checkable
class LossContext(Protocol):
    """The interface of a training step for losses (:class:`sage_pl.nn.losses.base.LossTerm`)."""

    batch: SeqBatch
    hidden: Float[Tensor, "B L *I E"]  # I: a position has several states, of which the best one scores an item
    items: ItemTable
    sequence_encoder: SequenceEncoder
    mask_token: int

    def user_states(self, again: bool = False) -> Float[Tensor, "B E"]:
        """Each user's state for serving (``state_rows`` at the last position), with gradient.

        Args:
            again: from a further pass over these rows, with a dropout of its own and without what else a batch says of the
                user, such as interests; False: that of the step's one pass.
        """
        ...

    def last_states(self, ids: Int[Tensor, "M L"]) -> Float[Tensor, "M E"]:
        """Last states of other histories, as in training: with gradient and with dropout."""
        ...

    def encode(self, groups: Sequence[Int[Tensor, "_ _"]], dropout: bool = False) -> Float[Tensor, "M E"]:
        """Last states of other sequences in inference form, group after group, without gradient, with dropout or without."""
        ...


class Memory(NamedTuple):
    """The states that the decoding of one item's codes attends to: one, or all of a sequence's."""

    vectors: Float[Tensor, "B S D"]
    mask: Bool[Tensor, "B S"]


@runtime_checkable
class DecoderNetwork(Protocol):
    """Reads codes one by one, for P prefixes of each of B users at once; a *state* represents the prefixes."""

    dim: int
    levels: int  # the most codes an item may have
    whole: bool  # attends to all states of a sequence; False: to the one that predicts
    per_prefix: int  # floats per user and prefix when all items are scored, about

    def begin(self, memory: Memory) -> Any:
        """The state before the first code; P = 1."""
        ...

    def outputs(self, state: Any) -> Float[Tensor, "B P D"]:
        """The vectors whose products with the next level's codes are the logits."""
        ...

    def products(self, state: Any, rows: Int[Tensor, "C"], tokens: Float[Tensor, "C D"]) -> Float[Tensor, "B C"]:
        """``<outputs[:, rows_c], tokens_c>``: the logit of code c after the prefix ``rows_c``, which all users share."""
        ...

    def advance(self, state: Any, tokens: Float[Tensor, "#A C D"], parents: Int[Tensor, "#A C"]) -> Any:
        """The state of C prefixes, each one of ``state`` (``parents``) and one more code (``tokens``); A is B or 1."""
        ...


class CodeContext(LossContext, Protocol):
    """:class:`LossContext` of a model that decodes items; a loss that reads it has ``decodes = True``."""

    def predictions(self) -> tuple[Memory, Int[Tensor, "M"]]:
        """The memory from which each labelled position decodes its item, and that item."""
        ...

    def predictions_from(self, view: str) -> Memory:
        """The memory of :meth:`predictions`, with the sequences read through another view of the items."""
        ...

    def log_probs(
        self, memory: Memory, ids: Int[Tensor, "M K"], among: Int[Tensor, "C"] | None = None
    ) -> Float[Tensor, "M K"]:
        """Log-probability of K items each, out of the items ``among`` or all."""
        ...


class Case(NamedTuple):
    """Held-out cases with a model's scores, R = N + 2 columns, of which 0 and N + 1 hold none."""

    scores: Float[Tensor, "B R"]
    items: Int[Tensor, "B L"]  # the history
    answers: Int[Tensor, "B"]
    seen: Int[Tensor, "B M"] | None  # excluded from the ranking; None where every item is a candidate


@runtime_checkable
class Scorer(Protocol):
    """From a model's scores of every item to those that rank after a history; ``users`` as in :class:`Recommender`."""

    @property
    def cases(self) -> int:
        """How many validation cases :meth:`choose` reads at most."""
        ...

    @property
    def chosen(self) -> bool:
        """False: :meth:`choose` is to be called after training."""
        ...

    def __call__(
        self, scores: Float[Tensor, "B R"], items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B R"]: ...

    def choose(self, cases: Callable[[], Iterator[Case]]) -> None:
        """Choose the scorer's numbers on validation cases; ``cases`` is called once a round."""
        ...

    def append(self, text: Float[Tensor, "M T"]) -> None:
        """Add new items N + 1..N + M by their text vectors; the mask token's row stays the last one."""
        ...


@runtime_checkable
class Schedule(Protocol):
    """From an optimizer, the run's steps and its epochs to a scheduler of the learning rate, stepped with the optimizer."""

    def __call__(
        self, optimizer: torch.optim.Optimizer, steps: float, epochs: int | None
    ) -> torch.optim.lr_scheduler.LRScheduler: ...


@runtime_checkable
class Recommender(Protocol):
    """The interface of a model for evaluation, export and serving."""

    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer, per protocol (``full``, and ``sampled100`` where candidates are given)."""
        ...

    def recommend(
        self,
        items: Int[Tensor, "B L"],
        k: int,
        exclude_seen: bool,
        users: Int[Tensor, "B"] | None = None,
        allowed: Bool[Tensor, "R"] | None = None,
    ) -> TopK:
        """The k best items after each history.

        Args:
            items: histories, left-padded.
            k: items per history.
            exclude_seen: leave out the items of the history.
            users: their ids, for models that read them beside the history.
            allowed: True for the rows of the item table that may be recommended; None for all items.
        """
        ...


def real(items: Int[Tensor, "*P"]) -> Bool[Tensor, "*P"]:
    """True where an id is not padding."""
    return torch.ne(items, PADDING)
