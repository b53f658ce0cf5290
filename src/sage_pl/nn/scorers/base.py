"""What the fused scorers share: text, item transitions, and the model's scores with those of unseen items filled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.data.loader import load_sequences
from sage_pl.nn.scorers.filling import Filling
from sage_pl.nn.scorers.recent_text import RecentText
from sage_pl.nn.scorers.walks import Walks
from sage_pl.types import real

_NEGLIGIBLE = 1e-4  # recency weights below this count as 0


@runtime_checkable
class Splits(Protocol):
    """A scorer whose scores are a sum of named parts."""

    def split(self, scores: Float[Tensor, "b R"], items: Int[Tensor, "b L"]) -> dict[str, Float[Tensor, "b R"]]:
        """Parts that sum to the scores of every item; arguments as for the scores."""
        ...


class History(NamedTuple):
    """The items of histories, padded on the left, and how many places from the end each stands."""

    items: Int[Tensor, "b L"]
    age: Int[Tensor, "b L"]

    def recent(self, recency: float, dtype: torch.dtype) -> Float[Tensor, "b L"]:
        """``recency^age``, 0 where that is below 0.0001."""
        weights = torch.where(real(self.items), recency ** self.age.to(dtype), 0.0)
        return weights.where(weights >= _NEGLIGIBLE, 0.0)


class FusedScorer(nn.Module):
    """Base of the scorers that set other knowledge beside a model's scores.

    Args:
        n_items: N.
        text: the text column, or None.
        walks: item matrices by name; those of one artifact have the same counts.
        neighbours: trained items whose scores fill those of an unseen item; 0 leaves them as they are.
        sequences: path of the ``sequences`` artifact, for the training events of every item where no matrix holds them; None:
            without a matrix every item counts as trained.
    """

    READ_WITH: ClassVar = dict.fromkeys(("width", "neighbours"), ("text", bool))

    trained: Tensor  # [R]
    rare: Tensor  # [R] trained at most as often as the median item
    counts: Tensor  # [R] training events

    def __init__(
        self,
        n_items: int,
        text: RecentText | None,
        walks: dict[str, Walks],
        neighbours: int,
        sequences: str | None = None,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.text = text
        self.matrices = nn.ModuleDict(walks)
        self.neighbours = neighbours
        self.register_buffer("counts", self._training_events(sequences), persistent=False)
        self._count()

    @property
    def walks(self) -> Iterator[Walks]:
        for matrix in self.matrices.values():
            assert isinstance(matrix, Walks)
            yield matrix

    def _training_events(self, sequences: str | None) -> Int[Tensor, "R"]:
        for walks in self.walks:
            return walks.counts.clone()
        if sequences is None:
            return torch.ones(self.n_items + 2, dtype=torch.long)
        return torch.from_numpy(load_sequences(sequences).train_counts)

    def _count(self) -> None:
        """What follows from the training events of every item."""
        counts = self.counts
        trained = (counts > 0).index_fill(0, torch.tensor([0, self.n_items + 1], device=counts.device), False)
        self.register_buffer("trained", trained, persistent=False)
        self.register_buffer("rare", counts <= counts[trained].median(), persistent=False)
        fills = self.text is not None and self.neighbours > 0 and not trained[1:-1].all()
        self.filling = Filling(self.text, trained, self.neighbours) if self.text is not None and fills else None

    def append(self, text: Float[Tensor, "M T"]) -> None:
        """Add items without training events by their text vectors."""
        self.n_items += len(text)
        if self.text is not None:
            self.text.append(text)
        for walks in self.walks:
            walks.append(len(text))
        self.counts = torch.cat([self.counts[:-1], self.counts.new_zeros(len(text)), self.counts[-1:]])
        self._count()

    def history(self, items: Int[Tensor, "b L"]) -> History:
        """The real items; the mask token is none."""
        items = items.where(items <= self.n_items, 0)
        return History(items, real(items).flip(1).cumsum(1).flip(1) - 1)

    def filled(self, scores: Float[Tensor, "b R"]) -> Float[Tensor, "b R"]:
        """A model's scores, those of unseen items from their neighbours in text."""
        return scores if self.filling is None else self.filling(scores)

    def moments(self, scores: Float[Tensor, "b R"]) -> tuple[Float[Tensor, "b 1"], Float[Tensor, "b 1"]]:
        """Mean and standard deviation over the trained items; a deviation of 0 is 1."""
        share = self.trained.to(scores.dtype)
        mean = (scores @ share / share.sum())[:, None]
        deviation = torch.linalg.vector_norm((scores - mean) * share, dim=1, keepdim=True) / share.sum().sqrt()
        level = deviation <= 1e-6 * mean.abs()  # equal scores, up to rounding
        return mean, deviation.masked_fill(level, 1.0)
