"""A model's scores with the text of the last items, item transitions and copies beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.scorers.base import FusedScorer
from sage_pl.nn.scorers.choosing import Objective, chosen_weights
from sage_pl.nn.scorers.fused import Parts, Weights, combine, copies
from sage_pl.nn.scorers.recent_text import RecentText
from sage_pl.nn.scorers.walks import Walks
from sage_pl.ranges import Count, Natural, Probability, Width
from sage_pl.types import Case


class Fusion(FusedScorer):
    """Scores of every item for a user with the history ``h_0`` (latest), ``h_1``, ...::

        F(u, i) = L(u, i) + sd_u(L) (a cos(p_u, x_i) / sd_u(cos) + b log(1 + 200 sum_p w_p W[h_p, i]))

    - ``L``: the model's scores; those of items without training events are filled from their neighbours in text
      (:class:`sage_pl.nn.scorers.filling.Filling`). ``sd_u``: the standard deviation over the trained items; 1 where all scores
      are equal, as for a model without a part of its own.
    - ``cos(p_u, x_i)``: :class:`sage_pl.nn.scorers.recent_text.RecentText`; ``sd_u(cos)`` over all items.
    - ``w_p``: ``recency^p``. ``W``: the item transitions (:class:`sage_pl.nn.scorers.walks.Walks`), w normalised to sum 1.

    Where items recur (``seen = keep``), an item of the history keeps the model's probability and the others share the rest by
    F, a mixture of copying and exploring::

        log p(u, h) = log softmax(L)(h) + c - d log(1 + position of h) + e log(times h occurs) + f min(1, sqrt(3 r_u))
        log p(u, i) = log(1 - sum_h softmax(L)(h)) + log softmax over the other items(F)(i)

    ``r_u``: the share of the history's events that repeat an earlier one; a user who often comes back is likelier to again.

    The six weights a to f are chosen on the validation cases after training (:mod:`sage_pl.nn.scorers.choosing`) and stored in
    the checkpoint. Until then the model's scores rank alone, so the best epoch is the model's.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, T]; None: transitions alone.
        transitions: path of a ``transitions`` artifact; None: text alone.
        seen: ``mask`` excludes the history from the ranking, so there is nothing to copy; ``keep`` mixes.
        recency: weight of an item beside its successor's, in (0, 1].
        width: main directions of the text that are read; None: all.
        neighbours: that fill the scores of an unseen item; 0 leaves them as they are.
        objective: what the weights are chosen for: ``overall``, or ``new``, overall without a loss on new answers.
        sequences: see :class:`FusedScorer`.

    Shape: ``[B, R], [B, L] -> [B, R]``; columns 0 and N + 1 hold no scores.

    Raises:
        SettingError: there is no part beside the model's scores, a number is out of range, or an artifact belongs to another
            data set.

    Source: the mixture is that of RepeatNet (AAAI 2019) with fixed parts; the walk and the text of recent items are
    heuristics without training.
    """

    cases: ClassVar[int] = 4096  # validation cases that every candidate ranks

    weights: Tensor  # Weights, NaN before they are chosen

    def __init__(
        self,
        n_items: Count,
        text: str | None,
        transitions: str | None,
        seen: Literal["keep", "mask"] = "keep",
        recency: Probability = 0.5,
        width: Width | None = None,
        neighbours: Natural = 10,
        objective: Objective = "overall",
        sequences: str | None = None,
    ) -> None:
        if text is None and transitions is None and seen != "keep":
            raise SettingError(
                "scorer=fusion has neither scorer.text nor scorer.transitions, and evaluation.seen=mask leaves nothing to "
                "copy; give one of them, or use scorer=none"
            )
        column = None if text is None else RecentText(text, n_items, width)
        walks = {} if transitions is None else {"walks": Walks(transitions, n_items)}
        super().__init__(n_items, column, walks, neighbours, sequences)
        self.recency = recency
        self.recurs = seen == "keep"
        self.objective = objective
        self.register_buffer("weights", torch.full((len(Weights._fields),), torch.nan, dtype=torch.float64))

    @property
    def chosen(self) -> bool:
        """Whether the weights were chosen."""
        return not bool(self.weights.isnan().any())

    def forward(
        self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"], users: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b R"]:
        if not self.chosen:
            return scores
        return combine(self.parts(scores, items), Weights(*self.weights.tolist()))

    def choose(self, cases: Callable[[], Iterator[Case]]) -> None:
        """Choose the weights on validation cases (:func:`sage_pl.nn.scorers.choosing.chosen_weights`)."""
        weights = chosen_weights(
            lambda case: self.parts(case.scores, case.items), self.rare, cases, self.objective, self.recurs
        )
        self.weights.copy_(torch.tensor(weights, dtype=torch.float64))

    def parts(self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"]) -> Parts:
        """The parts that weights combine (:func:`sage_pl.nn.scorers.fused.combine`)."""
        history = self.history(items)
        recent = history.recent(self.recency, scores.dtype)
        model = self.filled(scores)
        _, deviation = self.moments(model)
        text, spread = (None, 1.0) if self.text is None else self.text(history.items, recent)
        walks = next((walks(history.items, recent) for walks in self.walks), None)
        return Parts(model, text, deviation / spread, walks, deviation, copies(*history) if self.recurs else None)

    def split(self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"]) -> dict[str, Float[Tensor, "b R"]]:
        """The weighted parts; ``repeat`` is what copying adds to an item of the history, 0 for the others."""
        if not self.chosen:
            return {"model": scores}
        parts, weights = self.parts(scores, items), Weights(*self.weights.tolist())
        shares = {"model": scores, "neighbours": parts.model - scores}
        if parts.text is not None:
            shares["text"] = weights.text * parts.text_scale * parts.text
        if parts.walks is not None:
            shares["transitions"] = weights.transitions * parts.walk_scale * parts.walks
        return shares | {"repeat": combine(parts, weights) - sum(shares.values())}
