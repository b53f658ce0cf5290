"""The LightningModule: an item encoder, a sequence encoder, targets, an objective and named loss terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import full_ranks, sampled_ranks
from sage_pl.nn.item_encoders.cached import CachedItems
from sage_pl.nn.item_encoders.encoded import ItemVectors
from sage_pl.nn.item_encoders.new_items import new_views
from sage_pl.nn.item_encoders.sharded import ShardedIds
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.products import ItemProducts
from sage_pl.nn.modules.step import TrainingStep
from sage_pl.ranges import Length, Megabytes
from sage_pl.types import ItemEncoder, Schedule, Scorer, SeqBatch, SequenceEncoder, Targets, VectorTable, Views


class SequentialRecommender(ItemProducts, RecommenderModule):
    """``score(u, i) = <h_u, v_i>``: the state of a user's sequence against each item's vector.

    Args:
        item_encoder, sequence_encoder, targets, objective, terms, optimizer, max_len, schedule: see :class:`RecommenderModule`.
        scorer: changes the scores of all items before they rank (``sage_pl.nn.scorers``); None for nothing.
        start: copies weights of another run into parts of this model, by any name.
        table_mb: memory for the items' vectors when ranking, in MiB. A larger catalogue is encoded block by block for every
            batch of users: the same ranks, slower. Raise the evaluation's batch size with it.

    Raises:
        ValueError: the sequence encoder's states and the items' vectors differ in width, or it has a state for each code.
    """

    def __init__(
        self,
        item_encoder: ItemEncoder,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        objective: LossTerm | None = None,
        terms: Mapping[str, LossTerm] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
        max_len: Length | None = None,
        scorer: Scorer | None = None,
        start: Mapping[str, Callable[[nn.Module], None]] | None = None,
        table_mb: Megabytes = 4096,
        schedule: Schedule | None = None,
    ) -> None:
        if getattr(sequence_encoder, "per_code", False):
            raise SettingError(
                "the sequence encoder has a state for each code of a history, and items are ranked by one for each item; use "
                "model=generative decoder=t5, or sequence_encoder=single"
            )
        if sequence_encoder.output_dim != item_encoder.output_dim:
            raise SettingError(
                f"the sequence encoder's states are {sequence_encoder.output_dim} wide, the items' vectors "
                f"{item_encoder.output_dim} (views {dict(item_encoder.input_dims)}); use item_encoder=dual with "
                "sequence_encoder=dual, or item_encoder=id with sequence_encoder=single, of the same dim"
            )
        super().__init__(item_encoder, sequence_encoder, targets, objective, terms, optimizer, max_len, schedule)
        self.scorer = scorer
        self.table_mb = table_mb
        for copy_weights in (start or {}).values():
            copy_weights(self)
        self._table: VectorTable | None = None

    def step(self, batch: SeqBatch) -> TrainingStep:
        return TrainingStep.run(batch, self.item_encoder, self.sequence_encoder, self.targets)

    # The Recommender contract, for evaluation, export and serving.

    def output_table(self) -> VectorTable:
        """Every item's scored vector [R, E]; a tensor up to ``table_mb``, which an evaluation makes once."""
        if self._table is not None:
            return self._table
        encoder = self.item_encoder
        if isinstance(encoder, ShardedIds) and self.ranks_together:
            return encoder.scored()
        vectors = ItemVectors(lambda ids: encoder.output(encoder.views(ids)), encoder.n_items + 2, self.device)
        return vectors[:] if vectors.nbytes <= self.table_mb * 2**20 else vectors

    def ranking_table(self) -> VectorTable:
        """The vectors whose inner products with :meth:`states` score the items, [R, E]."""
        return self.output_table()

    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer: among all items (``full``) and among the sampled candidates, where given."""
        if self.scorer is not None:
            return self.scored_ranks(batch)
        table = self.ranking_table()
        states, answers = self.states(batch["items"], batch.get("user")), batch["answer"]
        ranks = {"full": full_ranks(states, table, answers, batch.get("seen"))}
        if "candidates" in batch:
            candidates = batch["candidates"]
            ranks[f"sampled{candidates.shape[1]}"] = sampled_ranks(states, table, answers, candidates)
        return ranks

    def add_items(self, known: Float[Tensor, "N D"], new: Float[Tensor, "M D"], trained: Bool[Tensor, "N"]) -> None:
        reads = sorted(self.sequence_encoder.reads)
        rows = new_views(self.item_encoder.cpu(), known, new, trained, reads)  # type: ignore[attr-defined]
        self.append_rows(rows, new)

    def append_rows(self, rows: Views, text: Float[Tensor, "M D"]) -> None:
        """Append items by their views and ``output``, each [M, E], and their text, which a scorer reads.

        Their ids are N + 1..N + M, the mask token's moves on.
        """
        items = self.item_encoder
        if not isinstance(items, CachedItems):
            items = CachedItems.of(items, sorted(self.sequence_encoder.reads), torch.device("cpu"))
        self.item_encoder = items.with_new(rows).to(self.device)
        self.targets = self.targets.of_items(self.item_encoder.n_items)
        if self.scorer is not None:
            self.scorer.append(text)
        self.cache_item_vectors()

    def cache_item_vectors(self) -> None:
        self._table = None
        self._table = self.output_table()

    def on_validation_epoch_end(self) -> None:
        self._table = None

    on_validation_epoch_start = on_test_epoch_start = cache_item_vectors
    on_test_epoch_end = on_validation_epoch_end
