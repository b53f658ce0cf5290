"""A model's scores, text, item relations and copies in one score, with weights learned from the validation cases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.evaluation.rows import row_top_k
from sage_pl.nn.scorers.base import FusedScorer
from sage_pl.nn.scorers.choosing import Gains, Objective, admitted, best, case_ranks, measured
from sage_pl.nn.scorers.fitting import fitted
from sage_pl.nn.scorers.fused import Copies, copies
from sage_pl.nn.scorers.recent_text import RecentText
from sage_pl.nn.scorers.walks import Walks
from sage_pl.ranges import Count, Natural, Probability, Width
from sage_pl.types import Case, real

log = logging.getLogger(__name__)
_EDGES = (1, 3, 5, 10, 20, 50)  # training events at which the next group of items begins
_HELD = len(_EDGES) + 1  # the group of the history's items
_GROUPS = _HELD + 1
_NAMES = ("0", "1-2", "3-4", "5-9", "10-19", "20-49", "50+", "held")
_RELATIONS = ("after", "before", "second", "together")
_PRIOR = {"model": 1.0, "text": 0.5, "walks": 0.5}
_CANDIDATES = 100  # of a case, among which its answer is chosen
_ROUNDS = 2
_OWN = 4  # columns of the history's items alone
_HELD_FIRST = 3.0  # bias of the history's items before the first round, so that all are candidates
_HELD_SHIFTS = (0.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0)
_RARE_SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


class Columns(NamedTuple):
    """The columns of a block of users."""

    of_all: list[Float[Tensor, "b R"]]
    own: Copies | None  # the history's items where they are candidates
    of_own: list[Float[Tensor, "b L"]]

    def at(self, ids: Int[Tensor, "b C"]) -> list[Float[Tensor, "b C"]]:
        """The columns at some items."""
        return [column.gather(1, ids) for column in self.of_all]

    def of_own_at(self, ids: Int[Tensor, "b C"]) -> list[Float[Tensor, "b C"]]:
        """The history's own columns at some items; 0 outside the history."""
        if self.own is None:
            return [torch.zeros_like(ids, dtype=self.of_all[0].dtype)] * _OWN
        held = real(self.own.items)
        wide = torch.zeros_like(self.of_all[0])
        return [wide.scatter(1, self.own.items, value.where(held, 0.0)).gather(1, ids) for value in self.of_own]


class LearnedFusion(FusedScorer):
    """Scores of every item, linear in a few columns, with weights that depend on how often the item was bought::

        F(u, i) = sum_f w[g, f] x_f(u, i) + b[g]

    - ``g``: the group of the item, by its training events (0, 1-2, 3-4, 5-9, 10-19, 20-49, 50 and more), or ``held`` where
      items recur and u's history has it.
    - ``model``: the model's scores, standardised over the trained items per user; those of unseen items are filled
      (:class:`sage_pl.nn.scorers.filling.Filling`).
    - ``text``: ``cos(p_u, x_i) / sd_u(cos)``, see :class:`sage_pl.nn.scorers.recent_text.RecentText`.
    - ``walks``, ``after``, ``before``, ``second``, ``together``: ``log(1 + 200 sum_p r^p M[h_p, i])`` with r^p normalised, M a
      matrix of :class:`sage_pl.data.transitions.Transitions` or :class:`sage_pl.data.relations.Relations`.
    - ``popularity``: ``log(1 + training events)``.
    - of the ``held`` group alone: minus the log of places from the end, the log of how often u has it, the user's habit
      (:class:`sage_pl.nn.scorers.fused.Copies`), and the log of the model's probability.

    The weights maximise the likelihood of the validation cases' answers among the 100 best candidates
    (:func:`sage_pl.nn.scorers.fitting.fitted`), in two rounds, as the candidates follow from the weights. Then the bias of the
    held group is shifted to the best NDCG@10 of these cases, and the biases of the groups up to the median item's, with the
    unseen items, by the rule of :func:`sage_pl.nn.scorers.choosing.best`: among shifts within one standard error of the best,
    the best on rare answers. The model alone is a candidate. Until then its scores rank, so the best epoch is the model's.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, T]; None: no text column.
        transitions: path of a ``transitions`` artifact.
        relations: path of a ``relations`` artifact.
        seen: ``mask`` excludes the history from the ranking; ``keep`` ranks its items by the held group's weights.
        recency: r of text, walks and the relations but ``together``, in (0, 1].
        together_recency: r of ``together``, in (0, 1].
        width: main directions of the text that are read; None: all.
        neighbours: that fill the scores of an unseen item; 0 leaves them as they are.
        objective: what the shift is chosen for: ``overall``, or ``new``, overall without a loss on new answers.
        sequences: see :class:`FusedScorer`.

    Shape: ``[B, R], [B, L] -> [B, R]``; columns 0 and N + 1 hold no scores.

    Raises:
        SettingError: transitions or relations are null, a number is out of range, or an artifact belongs to another data set.

    Source: a linear learning-to-rank stage; the fixed form beside it is :class:`sage_pl.nn.scorers.fusion.Fusion`.
    """

    cases: ClassVar[int] = 8192  # validation cases that are read

    weights: Tensor  # [G, F + 5]: columns, the four of the held group, the bias; NaN before they are chosen
    group: Tensor  # [R]

    def __init__(
        self,
        n_items: Count,
        text: str | None,
        transitions: str | None,
        relations: str | None,
        seen: Literal["keep", "mask"] = "keep",
        recency: Probability = 0.5,
        together_recency: Probability = 0.8,
        width: Width | None = None,
        neighbours: Natural = 10,
        objective: Objective = "overall",
        sequences: str | None = None,
    ) -> None:
        if transitions is None or relations is None:
            raise SettingError(
                "scorer=learned_fusion reads scorer.transitions and scorer.relations, got null; leave them as they are, or use "
                "scorer=fusion"
            )
        matrices = {name: Walks(relations, n_items, name) for name in _RELATIONS}
        column = None if text is None else RecentText(text, n_items, width)
        super().__init__(n_items, column, {"walks": Walks(transitions, n_items), **matrices}, neighbours, sequences)
        self.recency = dict.fromkeys(self.matrices, recency) | {"text": recency, "together": together_recency}
        self.recurs = seen == "keep"
        self.objective = objective
        self.known = n_items  # before items are appended
        self.columns = ("model", *(["text"] if self.text else []), *self.matrices, "popularity")
        self.register_buffer(
            "weights", torch.full((_GROUPS, len(self.columns) + _OWN + 1), torch.nan, dtype=torch.float64)
        )

    def _count(self) -> None:
        super()._count()
        edges = torch.tensor(_EDGES, device=self.counts.device)
        self.register_buffer("group", torch.bucketize(self.counts, edges, right=True), persistent=False)

    @property
    def chosen(self) -> bool:
        """Whether the weights were chosen."""
        return not bool(self.weights.isnan().any())

    def forward(
        self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"], users: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b R"]:
        return self._combined(self._columns(scores, items), self.weights) if self.chosen else scores

    def split(self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"]) -> dict[str, Float[Tensor, "b R"]]:
        """The weighted columns; ``repeat`` is what else an item of the history gets, 0 for the others."""
        if not self.chosen:
            return {"model": scores}
        columns = self._columns(scores, items)
        of_item = self.weights.to(scores).T.contiguous()[:, self.group]
        shares = {
            name: column * weight for name, column, weight in zip(self.columns, columns.of_all, of_item, strict=False)
        }
        shares["group"] = of_item[-1].expand_as(scores)
        return shares | {"repeat": self._combined(columns, self.weights) - sum(shares.values())}

    def _combined(self, columns: Columns, weights: Float[Tensor, "G W"]) -> Float[Tensor, "b R"]:
        weights = weights.to(columns.of_all[0])
        of_item = weights.T.contiguous()[:, self.group]  # [W, R]
        fused = of_item[-1].expand_as(columns.of_all[0]).clone()
        for column, weight in zip(columns.of_all, of_item, strict=False):
            fused.addcmul_(column, weight)
        if columns.own is None:
            return fused
        values = torch.stack([*columns.at(columns.own.items), *columns.of_own], -1)
        score = values @ weights[_HELD, :-1] + weights[_HELD, -1]
        score = score.where(real(columns.own.items), -torch.inf)  # goes to column 0, which is no item
        return fused.scatter(1, columns.own.items, score)

    def _columns(self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"]) -> Columns:
        history = self.history(items)
        model = self.filled(scores)
        mean, deviation = self.moments(model)
        of_all = [(model - mean) / deviation]
        if self.text is not None:
            cosines, spread = self.text(history.items, history.recent(self.recency["text"], scores.dtype))
            of_all.append(cosines / spread)
        for name, walks in zip(self.matrices, self.walks, strict=True):
            of_all.append(walks(history.items, history.recent(self.recency[name], scores.dtype)))
        of_all.append(self.counts.to(scores.dtype).log1p().expand_as(scores))
        if not self.recurs:
            return Columns(of_all, None, [])
        own = copies(*history)
        logs = model.gather(1, own.items) - model[:, 1 : self.known + 1].logsumexp(1, keepdim=True)
        of_own = [-own.position, own.times, own.habit.expand_as(own.times), logs]
        return Columns(of_all, own, [column.to(scores.dtype) for column in of_own])

    def choose(self, cases: Callable[[], Iterator[Case]]) -> None:
        """Learn the weights from validation cases."""
        prior = self.weights.new_tensor([_PRIOR.get(name, 0.0) for name in self.columns] + [0.0] * _OWN)
        weights = torch.cat([prior, prior.new_zeros(1)]).repeat(_GROUPS, 1)
        weights[_HELD, -1] = _HELD_FIRST
        for _ in range(_ROUNDS):
            weights = fitted(*self._choices(weights, cases()), prior, _GROUPS)
        alone = torch.zeros_like(weights)
        alone[:, 0] = 1.0
        if self.recurs:
            options = [alone, *(_shifted(weights, [_HELD], by) for by in _HELD_SHIFTS)]
            means = admitted(self._gains(options, cases()), self.objective)
            weights = options[1 + int(means[1:].argmax())]
        last = int(self.group[self.rare & (self.counts > 0)].max()) if self.rare.any() else 0
        options = [alone, *(_shifted(weights, range(last + 1), by) for by in _RARE_SHIFTS)]
        gains = self._gains(options, cases())
        at = best(gains, self.objective, errors=1.0)
        self.weights.copy_(options[at])
        self._report(gains, at)

    def _gains(self, options: Sequence[Float[Tensor, "G W"]], cases: Iterator[Case]) -> Gains:
        """What each table of weights gives on the cases."""

        def ranks(case: Case) -> Int[Tensor, "C b"]:
            columns = self._columns(case.scores, case.items)
            return torch.stack([case_ranks(self._combined(columns, weights), case) for weights in options])

        return measured(ranks, self.rare, cases)

    def _report(self, gains: Gains, at: int) -> None:
        """Log what the chosen weights change, and the weights."""
        means = {"validation cases": gains.values.mean(1)}
        for name, part in (("new", gains.new), ("rare", gains.rare)):
            means[name] = (gains.values * part).sum(1) / part.sum().clamp(min=1)
        changes = [f"{name} {float(value[0]):.4f} -> {float(value[at]):.4f}" for name, value in means.items()]
        log.info("learned fusion: ndcg@10 of %d %s; weights by group:", gains.values.shape[1], ", ".join(changes))
        for line in self.table():
            log.info("%s", line)

    def _choices(
        self, weights: Float[Tensor, "G W"], cases: Iterator[Case]
    ) -> tuple[Float[Tensor, "K C F"], Int[Tensor, "K C"], Bool[Tensor, "K C"], Int[Tensor, "K"]]:
        """Columns and groups of the best candidates of every case whose answer is among them, and the answer's place."""
        choices = []
        for case in cases:
            columns = self._columns(case.scores, case.items)
            ids = row_top_k([(slice(None), self._combined(columns, weights))], _CANDIDATES, case.seen).ids
            hit = (ids == case.answers[:, None]) & real(ids)
            groups, values = self.group[ids], [*columns.at(ids), *columns.of_own_at(ids)]
            if columns.own is not None:
                groups = groups.masked_fill((ids[:, :, None] == columns.own.items[:, None]).any(2), _HELD)
            rows = hit.any(1)
            features = torch.stack(values, -1).double()
            choices.append((features[rows], groups[rows], real(ids)[rows], hit[rows].float().argmax(1)))
        features, groups, candidates, answers = (torch.cat(parts) for parts in zip(*choices, strict=True))
        return features, groups, candidates, answers

    def table(self) -> list[str]:
        """The weights, a line per group of items."""
        names = (*self.columns, "-place", "times", "habit", "probability", "bias")
        lines = ["training events " + " ".join(f"{name:>10s}" for name in names)]
        for name, row in zip(_NAMES, self.weights.tolist(), strict=True):
            lines.append(f"{name:>15s} " + " ".join(f"{value:10.2f}" for value in row))
        return lines if self.recurs else lines[:-1]


def _shifted(weights: Float[Tensor, "G W"], groups: Iterable[int], by: float) -> Float[Tensor, "G W"]:
    """The weights with the biases of some groups raised."""
    shifted = weights.clone()
    shifted[list(groups), -1] += by
    return shifted
