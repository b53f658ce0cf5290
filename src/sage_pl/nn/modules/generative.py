"""The second LightningModule: the next item is not looked up by an inner product but decoded, code by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.evaluation.ranks import rank
from sage_pl.nn.decoders.collisions import expected_hits
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.search import answer_ranks, beam_search, best, occurs
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.item_encoders.table import ItemVectors
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.generative_step import GenerativeStep, memory
from sage_pl.nn.modules.step import TrainingStep
from sage_pl.types import ItemEncoder, Memory, SeqBatch, SequenceEncoder, Targets, TopK, real

_K = 20  # items for which a test says how many of the likeliest the beams find


class GenerativeRecommender(RecommenderModule):
    """``score(u, i) = log p(c_{i,1}, ..., c_{i,T} | h_u)``: the probability that a user's state is continued with the item's
    codes.

    ``recommend`` searches with beams; ranks come from scoring every item where ``decoder.exhaustive_up_to`` allows it, and
    from what the beams reach above. Candidates are always scored one by one.

    Args:
        item_encoder, sequence_encoder, targets, objective, terms, optimizer, max_len: see :class:`RecommenderModule`.
        decoder: from states to items (``sage_pl.nn.decoders``). Where items are read as codes too, both use the same vectors.
        scorer: must be None.
        start: parts that begin with what another run learned, by any name.

    Raises:
        ValueError: the parts differ in width, the objective is not of decoded items, or a scorer is given.
    """

    exported_parts: ClassVar[tuple[str, ...]] = (*RecommenderModule.exported_parts, "decoder")
    decodes: ClassVar[bool] = True

    def __init__(
        self,
        item_encoder: ItemEncoder,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        decoder: ItemDecoder,
        objective: LossTerm | None = None,
        terms: Mapping[str, LossTerm] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
        max_len: int | None = None,
        scorer: None = None,
        start: Mapping[str, Callable[[nn.Module], None]] | None = None,
    ) -> None:
        if scorer is not None:
            raise ValueError(
                "a scorer adds to inner products, and here items are ranked by probabilities: use scorer=none"
            )
        if sequence_encoder.output_dim != decoder.network.dim:
            raise ValueError(
                f"the sequence encoder's states are {sequence_encoder.output_dim} wide, the decoder's network is "
                f"{decoder.network.dim}; set dim, which both follow"
            )
        if objective is not None and not objective.decodes:
            raise ValueError(
                "items are ranked by their codes, which this objective does not train; use objective=codes"
            )
        super().__init__(item_encoder, sequence_encoder, targets, objective, terms, optimizer, max_len)
        self.decoder = decoder
        if isinstance(item_encoder, CodeEncoder):
            item_encoder.share(decoder.codes)
        for copy_weights in (start or {}).values():
            copy_weights(self)

    def on_before_batch_transfer(self, batch: SeqBatch, dataloader_idx: int) -> SeqBatch:
        batch = super().on_before_batch_transfer(batch, dataloader_idx)
        if self.training and self.decoder.network.whole and batch["targets"][:, :-1].any():
            raise ValueError(
                "the decoder reads the whole sequence, so only the item after its end can be predicted; use targets=prefixes"
            )
        return batch

    def step(self, batch: SeqBatch) -> GenerativeStep:
        step = TrainingStep.run(batch, self.item_encoder, self.sequence_encoder, self.targets)
        return GenerativeStep(**vars(step), decoder=self.decoder)

    # What evaluation, export and serving use: the Recommender contract.

    @torch.no_grad()
    def memory(self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None) -> Memory:
        """What is decoded from after each history."""
        whole = self.decoder.network.whole
        hidden, mask = self.encode(items, users, last_only=not whole)
        rows = torch.arange(len(hidden), device=hidden.device)
        return memory(
            hidden.to(self.decoder.codes.weight.dtype), mask, rows, torch.full_like(rows, hidden.shape[1] - 1), whole
        )

    def states(self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B E"]:
        """The state at the end of each history."""
        return self.memory(items, users).vectors[:, -1]

    @torch.no_grad()
    def output_table(self) -> Float[Tensor, "R E"]:
        """Every item's vector as a history holds it."""
        encoder = self.item_encoder
        return ItemVectors(lambda ids: encoder.output(encoder.views(ids)), encoder.n_items + 2, self.device)[:]

    @torch.no_grad()
    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer: among all items (``full``) and among the sampled candidates, where given."""
        with self._exactly():
            after, found = self._found(batch)
            return self._ranks(batch, after, found)

    @torch.no_grad()
    def recommend(
        self, items: Int[Tensor, "B L"], k: int, exclude_seen: bool = True, users: Int[Tensor, "B"] | None = None
    ) -> TopK:
        """The k likeliest items that beams find after each history, with their log-probabilities."""
        seen = items if exclude_seen else None
        with self._exactly():
            return best(self._search(self.memory(items, users), k, seen), k, seen)

    @torch.no_grad()
    def test_step(self, batch: SeqBatch, batch_idx: int) -> dict[str, Tensor]:
        """Ranks; logs how they came about as ``test/generation/...``, see :meth:`_log_search`."""
        with self._exactly():
            after, found = self._found(batch)
            self._log_search(batch, after, found)
            return self._ranks(batch, after, found)

    def _exactly(self) -> torch.autocast:
        """Full precision: a sum of logarithms over the codes ranks items by less than what 8 bits hold."""
        return torch.autocast(self.device.type, enabled=False)

    def _found(self, batch: SeqBatch) -> tuple[Memory, TopK]:
        """What is decoded from, and every item with its log-probability, or those that beams reach."""
        after = self.memory(batch["items"], batch.get("user"))
        if self.decoder.exhaustive:
            ids = torch.arange(1, self.decoder.n_items + 1, device=self.device)[None]
            return after, TopK(ids, self.decoder.all_log_probs(after))
        return after, self._search(after, _K, batch.get("seen"))

    def _search(self, after: Memory, k: int, seen: Int[Tensor, "B M"] | None = None) -> TopK:
        """What beams reach, more of them where seen items will be left out (:meth:`_beams`)."""
        if seen is None:
            return beam_search(self.decoder, after, self.decoder.width(k))
        beams = self._beams(k, seen)
        groups = [(beams == width, int(width)) for width in beams.unique()]
        found = [beam_search(self.decoder, Memory(*(x[rows] for x in after)), width) for rows, width in groups]
        shape = len(seen), max(part.ids.shape[1] for part in found)
        together = TopK(seen.new_zeros(shape), found[0].scores.new_full(shape, -torch.inf))
        for (rows, _), part in zip(groups, found, strict=True):
            for whole, values in zip(together, part, strict=True):
                whole[rows, : values.shape[1]] = values
        return together

    def _beams(self, k: int, seen: Int[Tensor, "B M"]) -> Int[Tensor, "B"]:
        """Of each user's search for k items that are not in ``seen``: as many more as the user's own history asks for, in
        powers of two, so that nobody's list depends on who else is in the batch."""
        return self.decoder.width(k) + 2 ** real(seen).sum(1).clamp(min=1).log2().ceil().long()

    def _ranks(self, batch: SeqBatch, after: Memory, found: TopK) -> dict[str, Tensor]:
        answers = batch["answer"]
        ranks = {"full": answer_ranks(found, answers, self.decoder.n_items, batch.get("seen"))}
        if "candidates" in batch:
            ids = torch.cat([answers[:, None], batch["candidates"]], 1).long()
            exhaustive = self.decoder.exhaustive
            scores = found.scores.gather(1, ids - 1) if exhaustive else self.decoder.log_probs(after, ids)
            ranks[f"sampled{scores.shape[1] - 1}"] = rank(scores[:, 0], scores[:, 1:])
        return ranks

    def _log_search(self, batch: SeqBatch, after: Memory, found: TopK) -> None:
        """``exhaustive``: 1 where every item was scored, 0 where ranks end with the beams; ``beams``: how many were searched
        with, a user's mean; where every item was scored, ``beam_recall@20``: the share of the 20 likeliest items that the beams
        find; ``collisions``: the share of items that share all their codes with another, and where there are some,
        ``item_hr@k`` and ``item_ndcg@k`` (:func:`sage_pl.nn.decoders.collisions.expected_hits`)."""
        collisions = self.decoder.tree.collisions
        told: dict[str, float | Tensor] = {"exhaustive": self.decoder.exhaustive, "collisions": collisions}
        told["beams"] = self.decoder.width(_K)
        if not self.decoder.exhaustive and "seen" in batch:
            told["beams"] = self._beams(_K, batch["seen"]).float().mean()
        if self.decoder.exhaustive:
            wanted = best(found, _K).ids
            reached = self._search(after, _K).ids
            told[f"beam_recall@{_K}"] = occurs(wanted, reached)[wanted > 0].float().mean()
        if collisions:
            told.update(expected_hits(found, batch["answer"], batch.get("seen")))
        named = {f"test/generation/{name}": torch.as_tensor(value, dtype=torch.float32) for name, value in told.items()}
        self.log_dict(named, batch_size=len(batch["items"]))
