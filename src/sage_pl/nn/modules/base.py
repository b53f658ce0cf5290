"""The base class of the LightningModules: parts, named losses, a checkpoint that rebuilds the model, ranks for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl import processes
from sage_pl.errors import SettingError
from sage_pl.evaluation.rows import row_ranks
from sage_pl.nn.item_encoders.sharded import in_every_process, shards_of
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.epoch_means import EpochMeans
from sage_pl.nn.modules.gathering import average_gradients
from sage_pl.nn.modules.histories import HistoryReader
from sage_pl.nn.modules.parts import losses_of, part_of
from sage_pl.nn.modules.step import DISTINCT, map_tensors, prepare_batch
from sage_pl.ranges import Length
from sage_pl.types import (
    Case,
    ItemEncoder,
    LossContext,
    Schedule,
    SeqBatch,
    SequenceEncoder,
    Targets,
    VectorTable,
)


class RecommenderModule(HistoryReader, pl.LightningModule):
    """Trains ``sum_k weight_k loss_k`` over the objective and the named terms; each is logged unweighted, its
    mean over an epoch, as ``train/loss/<name>``, the objective as ``recommendation``.

    A subclass defines one step (:meth:`step`) and the ranking of items (:class:`sage_pl.types.Recommender`).

    Args:
        item_encoder: what an item is (``sage_pl.nn.item_encoders``).
        sequence_encoder: what a sequence of items is (``sage_pl.nn.sequence_encoders``).
        targets: what is predicted (``sage_pl.data.targets``).
        objective: the recommendation loss; None for a model that is not trained.
        terms: further losses by name (``sage_pl.nn.losses``).
        optimizer: called with the trainable parameters.
        schedule: of the learning rate (``sage_pl.training.schedules``), stepped with the optimizer; None keeps the rate.
        max_len: items of a history that are read when predicting, the newest ones; None reads all.

    Raises:
        ValueError: a part reads a view that the items lack, or a loss decodes items in a model that ranks by products.
    """

    exported_parts: ClassVar[tuple[str, ...]] = ("sequence_encoder", "targets")  # exported beside item tables
    decodes: ClassVar[bool] = False  # True where a step is a CodeContext
    READ_WITH: ClassVar = dict.fromkeys(("optimizer", "schedule"), ("objective", bool))

    def __init__(
        self,
        item_encoder: ItemEncoder,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        objective: LossTerm | None,
        terms: Mapping[str, LossTerm] | None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None,
        max_len: Length | None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.terms: dict[str, LossTerm] = {} if objective is None else {"recommendation": objective}
        self.terms |= terms or {}
        for name, term in self.terms.items():
            term.name = name
        readers = {"sequence encoder": sequence_encoder.reads}
        readers |= {name: term.reads for name, term in self.terms.items()}
        for name, views in readers.items():
            if missing := views - item_encoder.input_dims.keys():
                raise SettingError(
                    f"{name} reads the view {', '.join(sorted(missing))} of the items, which have "
                    f"{', '.join(item_encoder.input_dims)}; use item_encoder=dual, or leave that part out"
                )
        if not self.decodes and (codes := [name for name, term in self.terms.items() if term.decodes]):
            raise SettingError(
                f"{', '.join(codes)}: for items that are decoded, and here items are ranked by inner products; use "
                "model=generative as method=semantic_convergence does, or other losses"
            )
        self.stored: dict[str, Any] = {}  # plain values in a checkpoint, from which the model is rebuilt
        self.item_encoder = item_encoder
        self.sequence_encoder = sequence_encoder
        self.targets = targets
        self.term_modules = nn.ModuleList(self.terms.values())  # registers their buffers
        self.optimizer = optimizer
        self.schedule = schedule
        self.max_len = max_len
        self.scorer = None
        self.means = EpochMeans()
        self.weighted_losses: dict[str, Tensor] = {}  # of the current step, for callbacks

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """A checkpoint holds the configuration that builds its parts, which Lightning does not read.

        Raises:
            SettingError: naming the call that does.
        """
        raise SettingError(
            f"{cls.__name__}.load_from_checkpoint cannot build the parts that a checkpoint names; call "
            f"sage_pl.load({str(checkpoint_path)!r}), whose .module is the {cls.__name__} with its weights"
        )

    @property
    def needs(self) -> frozenset[str]:
        """Keys of a loaded training batch that the losses read."""
        return frozenset[str]().union(*(term.needs for term in self.terms.values())).difference(DISTINCT)

    @property
    def ranks_together(self) -> bool:
        """Whether each of several processes ranks its items for every case, and not every item for its cases."""
        return bool(shards_of(self))

    def step(self, batch: SeqBatch) -> LossContext:
        """The losses' view of a prepared training batch."""
        raise NotImplementedError

    def output_table(self) -> VectorTable:
        """Every item's vector [R, E]."""
        raise NotImplementedError

    def scored_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """:meth:`answer_ranks` of a model with a scorer."""
        scores = self.scored(batch["items"], batch.get("user"))
        return row_ranks(scores, batch["answer"], batch.get("seen"), batch.get("candidates"))

    def cases(self, batches: Iterable[SeqBatch]) -> Iterator[Case]:
        """Evaluation batches with the model's own scores, for :meth:`sage_pl.types.Scorer.choose`."""
        for loaded in batches:
            batch = self.transfer_batch_to_device(loaded, self.device, 0)
            history = self.read(batch["items"])
            for rows, scores in self.item_scores(batch["items"], batch.get("user")):
                seen = batch["seen"][rows] if "seen" in batch else None
                yield Case(scores, history[rows], batch["answer"][rows], seen)

    def cache_item_vectors(self) -> None:
        """Compute once what calls of ``recommend`` with the same weights share."""

    def add_items(self, known: Float[Tensor, "N D"], new: Float[Tensor, "M D"], trained: Bool[Tensor, "N"]) -> None:
        """Append new items N + 1..N + M; see :func:`sage_pl.nn.item_encoders.new_items.new_views`."""
        raise SettingError(
            f"new items cannot be added to a {type(self).__name__}, which generates the codes of items it was trained with; "
            "train again with the new items"
        )

    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer, per protocol."""
        raise NotImplementedError

    def on_before_batch_transfer(self, batch: SeqBatch, dataloader_idx: int) -> SeqBatch:
        if self.training:
            batch = self.prepare(batch)
        if self.device.type != "cuda":
            return batch
        # copies from pinned memory run beside the CPU
        return map_tensors(batch, lambda tensor: tensor.contiguous().pin_memory())

    def prepare(self, batch: SeqBatch) -> SeqBatch:
        """A training batch with all that a step reads (:func:`prepare_batch`), and the part of this process of several."""
        mask_token, terms = self.item_encoder.n_items + 1, self.terms.values()
        with processes.same_draws():
            ready = prepare_batch(batch, self.targets, terms, mask_token, self.current_epoch)
        if processes.world() == 1:
            return ready
        return {**ready, "part": part_of(ready, terms, processes.rank(), processes.world())}

    def transfer_batch_to_device(self, batch: SeqBatch, device: torch.device, dataloader_idx: int) -> SeqBatch:
        return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def losses(self, batch: SeqBatch) -> dict[str, Float[Tensor, ""]]:
        """Every term of one batch, unweighted, by name; the objective as ``recommendation``.

        Of several processes, the mean over them is the term.
        """
        batch = batch if "labels" in batch else self.prepare(batch)
        if "part" in batch:
            return losses_of(self.step(batch["part"]), batch, self.terms.values())
        step = self.step(batch)
        return {name: term(step) for name, term in self.terms.items()}

    def training_step(self, batch: SeqBatch, batch_idx: int) -> Tensor:
        losses = self.losses(batch)
        self.weighted_losses = {name: self.terms[name].weight * loss for name, loss in losses.items()}
        total = torch.stack(list(self.weighted_losses.values())).sum()
        values = {f"train/loss/{name}": loss for name, loss in losses.items()}
        self.means.add({**values, "train/loss": total}, len(batch["items"]))
        return total

    def on_after_backward(self) -> None:
        if processes.world() > 1:
            average_gradients(in_every_process(self))

    def on_train_epoch_start(self) -> None:
        self.means.take()  # drop those of an interrupted epoch
        for term in self.terms.values():
            term.begin_epoch(self)

    def on_train_batch_end(self, outputs: Any, batch: SeqBatch, batch_idx: int) -> None:
        self.weighted_losses = {}  # frees their graph
        if self.trainer.is_last_batch or self.trainer.global_step == self.trainer.max_steps:
            values: dict[str, Any] = {**self.means.take()}
            if self.schedule is not None:  # the rate of the step that follows
                values["train/lr"] = self.trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0]
            self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sage_pl"] = self.stored

    def on_fit_start(self) -> None:
        """Forget the scorer's weights of a checkpoint that is resumed, and check the clipping of gradients before any work.

        Raises:
            ValueError: gradients are clipped, and some are sparse.
        """
        for name, value in self.state_dict().items():
            if name.startswith("scorer."):  # chosen for an earlier end of this run, and to be chosen for the new one
                value.fill_(torch.nan)
        sparse = [name for name, part in self.named_modules() if getattr(part, "sparse", False)]
        if sparse and self.trainer.gradient_clip_val:
            raise SettingError(
                f"trainer.gradient_clip_val={self.trainer.gradient_clip_val} cannot clip the sparse gradients of "
                f"{', '.join(sparse)}; set trainer.gradient_clip_val=null, or item_encoder.sparse=false"
            )

    def on_train_start(self) -> None:
        """Check the clipping of gradients once the optimizer exists.

        Raises:
            ValueError: gradients are clipped in mixed precision, which a fused optimizer does not support.
        """
        fused = any(group.get("fused") for optimizer in self.trainer.optimizers for group in optimizer.param_groups)
        if fused and self.trainer.gradient_clip_val and str(self.trainer.precision).endswith("-mixed"):
            raise SettingError(
                f"trainer.gradient_clip_val={self.trainer.gradient_clip_val} with trainer.precision="
                f"{self.trainer.precision} cannot clip the gradients of a fused optimizer; set optimizer.fused=false"
            )

    def configure_optimizers(self) -> Any:
        if self.optimizer is None:
            raise SettingError("this model was built without an optimizer: it serves and cannot be trained")
        optimizer = self.optimizer(p for p in self.parameters() if p.requires_grad)
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer, self.trainer.estimated_stepping_batches, self.trainer.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def validation_step(self, batch: SeqBatch, batch_idx: int) -> dict[str, Tensor]:
        return self.answer_ranks(batch)

    test_step = validation_step
