"""The LightningModule: an item encoder, a sequence encoder, targets, an objective and named loss terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.evaluation.ranks import full_ranks, sampled_ranks, top_k
from sage_pl.item_encoders.table import EncodedItems
from sage_pl.models.step import TrainingStep
from sage_pl.types import ItemEncoder, LossTerm, Scorer, SeqBatch, SequenceEncoder, Targets, TopK, real


class SequentialRecommender(pl.LightningModule):
    """``score(u, i) = <h_u, v_i>``: the state of a user's sequence against each item's vector.

    A step encodes every item it needs once, encodes the sequences, and adds up ``weight x term`` over the objective and
    the named terms; each is logged unweighted as ``train/loss/<name>``.

    Args:
        item_encoder: what an item is (``sage_pl.item_encoders``).
        sequence_encoder: what a sequence of items is (``sage_pl.sequence_encoders``).
        targets: what is predicted (``sage_pl.data.targets``).
        objective: the recommendation loss (``sage_pl.objectives``), logged as ``recommendation``; None for a model that is
            not trained.
        terms: further losses by name (``sage_pl.losses``).
        optimizer: called with the trainable parameters.
        max_len: longest history that is read when predicting; older items are cut off.
        scorer: what is added to scores when predicting (``sage_pl.scorers``); None for nothing.
        start: parts that begin with what another run learned, by any name.

    Raises:
        ValueError: the sequence encoder's states and the items' vectors differ in width, or a part reads a view the
            items do not have.
    """

    def __init__(
        self,
        item_encoder: ItemEncoder,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        objective: LossTerm | None = None,
        terms: Mapping[str, LossTerm] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
        max_len: int | None = None,
        scorer: Scorer | None = None,
        start: Mapping[str, Callable[[nn.Module], None]] | None = None,
    ) -> None:
        super().__init__()
        if sequence_encoder.output_dim != item_encoder.output_dim:
            raise ValueError(
                f"the sequence encoder's states are {sequence_encoder.output_dim} wide, the items' vectors "
                f"{item_encoder.output_dim} (views {dict(item_encoder.input_dims)}); use item_encoder=dual with "
                "sequence_encoder=dual, or item_encoder=id with sequence_encoder=single, of the same dim"
            )
        self.terms: dict[str, LossTerm] = {} if objective is None else {"recommendation": objective}
        self.terms |= terms or {}
        readers = {"sequence encoder": sequence_encoder.reads}
        readers |= {name: term.reads for name, term in self.terms.items()}
        for name, views in readers.items():
            if missing := views - item_encoder.input_dims.keys():
                raise ValueError(
                    f"{name} reads the view {', '.join(sorted(missing))} of the items, which have "
                    f"{', '.join(item_encoder.input_dims)}; use item_encoder=dual, or leave that part out"
                )
        self.stored: dict[str, Any] = {}  # plain values a checkpoint carries: what it can be rebuilt from
        self.item_encoder = item_encoder
        self.sequence_encoder = sequence_encoder
        self.targets = targets
        self.term_modules = nn.ModuleList(self.terms.values())  # type: ignore[arg-type]  # registers their buffers
        self.optimizer = optimizer
        self.max_len = max_len
        self.scorer = scorer
        for copy_weights in (start or {}).values():
            copy_weights(self)
        self._table: Tensor | None = None

    @property
    def needs(self) -> frozenset[str]:
        """Keys the losses read from a training batch."""
        return frozenset[str]().union(*(term.needs for term in self.terms.values()))

    def training_step(self, batch: SeqBatch, batch_idx: int) -> Tensor:
        step = TrainingStep.run(batch, self.item_encoder, self.sequence_encoder, self.targets, self.terms.values())
        losses = {name: term(step) for name, term in self.terms.items()}
        total = torch.stack([self.terms[name].weight * loss for name, loss in losses.items()]).sum()
        named = {f"train/loss/{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(
            {**named, "train/loss": total.detach()}, on_step=False, on_epoch=True, batch_size=len(batch["items"])
        )
        return total

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sage_pl"] = self.stored

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.optimizer is None:
            raise ValueError("this model was built without an optimizer, to be served and not trained")
        return self.optimizer(p for p in self.parameters() if p.requires_grad)

    # What evaluation, export and serving use: the Recommender contract.

    @torch.no_grad()
    def output_table(self) -> Float[Tensor, "R E"]:
        """Every item's scored vector."""
        return EncodedItems(self.item_encoder, None, self.device).all_outputs()

    @torch.no_grad()
    def states(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B F"]:
        """The state each history is served with."""
        ids = self.targets.inference(items if self.max_len is None else items[:, -self.max_len :])
        views = EncodedItems.of(self.item_encoder, [ids], ids.device).inputs(ids)
        hidden = self.sequence_encoder(views, real(ids), {"items": ids}, last_only=True)[:, -1]
        return hidden if self.scorer is None else self.scorer.states(hidden, items)

    @torch.no_grad()
    def ranking_table(self) -> Float[Tensor, "R F"]:
        """The vectors whose inner products with :meth:`states` rank the items."""
        outputs = self.output_table()
        return outputs if self.scorer is None else self.scorer.table(outputs)

    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer: among all items (``full``) and among the sampled candidates, where given."""
        table = self.ranking_table() if self._table is None else self._table
        states, answers = self.states(batch["items"]), batch["answer"]
        ranks = {"full": full_ranks(states, table, answers, batch.get("seen"))}
        if "candidates" in batch:
            candidates = batch["candidates"]
            ranks[f"sampled{candidates.shape[1]}"] = sampled_ranks(states, table, answers, candidates)
        return ranks

    def recommend(self, items: Int[Tensor, "B L"], k: int, exclude_seen: bool = True) -> TopK:
        """The k best items after each history, with their scores."""
        table = self.ranking_table() if self._table is None else self._table
        return top_k(self.states(items), table, k, items if exclude_seen else None)

    def validation_step(self, batch: SeqBatch, batch_idx: int) -> dict[str, Tensor]:
        return self.answer_ranks(batch)

    test_step = validation_step

    def on_validation_epoch_start(self) -> None:
        self._table = self.ranking_table()

    def on_validation_epoch_end(self) -> None:
        self._table = None

    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end
