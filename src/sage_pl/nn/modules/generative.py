"""The LightningModule that decodes the next item, code by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import occurs, rank
from sage_pl.nn.decoders.collisions import expected_hits
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.search import answer_ranks, best
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.item_encoders.encoded import ItemVectors
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.generative_step import GenerativeStep
from sage_pl.nn.modules.searching import ItemSearch
from sage_pl.nn.modules.step import TrainingStep
from sage_pl.ranges import Length
from sage_pl.types import ItemEncoder, Memory, Schedule, Scorer, SeqBatch, SequenceEncoder, Targets, TopK

_K = 20  # length of the lists whose beam recall a test logs


class GenerativeRecommender(ItemSearch, RecommenderModule):
    """``score(u, i) = log p(c_{i,1}, ..., c_{i,T} | h_u)``: the log-probability of the item's codes after a user's state.

    ``recommend`` searches with beams. Ranks come from the scores of every item up to ``decoder.exhaustive_up_to`` items, above
    from beams. Sampled candidates are always scored one by one.

    Args:
        item_encoder, sequence_encoder, targets, objective, terms, optimizer, max_len, schedule: see :class:`RecommenderModule`.
        decoder: from states to items (``sage_pl.nn.decoders``). Where items are read as codes too, both use the same vectors.
        scorer: changes the scores of all items before they rank (``sage_pl.nn.scorers``); for catalogues whose every item is
            scored. None for nothing.
        start: copies weights of another run into parts of this model, by any name.

    Raises:
        ValueError: the parts differ in width, or in what a state is of, the objective is not of decoded items, or a scorer is
            given where beams rank.
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
        max_len: Length | None = None,
        scorer: Scorer | None = None,
        start: Mapping[str, Callable[[nn.Module], None]] | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        if scorer is not None and not decoder.exhaustive:
            raise SettingError(
                f"a scorer reads the score of every item, and beams rank {decoder.n_items} items, more than "
                "decoder.exhaustive_up_to; raise that number or use scorer=none"
            )
        if getattr(sequence_encoder, "per_code", False) and not decoder.network.whole:
            raise SettingError(
                "the sequence encoder has a state for each code of a history, and the decoder reads one for each item; use "
                "decoder=t5 with sequence_encoder=code_tokens, or sequence_encoder=single"
            )
        if sequence_encoder.output_dim != decoder.network.dim:
            raise SettingError(
                f"the sequence encoder's states are {sequence_encoder.output_dim} wide, the decoder's network is "
                f"{decoder.network.dim}; set dim, which both follow"
            )
        if objective is not None and not objective.decodes:
            raise SettingError(
                "items are ranked by their codes, which this objective does not train; use objective=codes"
            )
        super().__init__(item_encoder, sequence_encoder, targets, objective, terms, optimizer, max_len, schedule)
        self.scorer = scorer
        self.decoder = decoder
        if isinstance(item_encoder, CodeEncoder):
            item_encoder.share(decoder.codes)
        for copy_weights in (start or {}).values():
            copy_weights(self)

    def on_before_batch_transfer(self, batch: SeqBatch, dataloader_idx: int) -> SeqBatch:
        batch = super().on_before_batch_transfer(batch, dataloader_idx)
        after_whole = any(term.decodes and not term.reads_itself for term in self.terms.values())
        if self.training and after_whole and self.decoder.network.whole and batch["targets"][:, :-1].any():
            raise SettingError(
                "the decoder reads the whole sequence, so only the item after its end can be predicted; use targets=prefixes"
            )
        return batch

    def step(self, batch: SeqBatch) -> GenerativeStep:
        step = TrainingStep.run(batch, self.item_encoder, self.sequence_encoder, self.targets)
        return GenerativeStep(**vars(step), decoder=self.decoder)

    # The Recommender contract, for evaluation, export and serving.

    @torch.no_grad()
    def output_table(self) -> Float[Tensor, "R E"]:
        """Every item's vector as a history holds it."""
        encoder = self.item_encoder
        return ItemVectors(lambda ids: encoder.output(encoder.views(ids)), encoder.n_items + 2, self.device)[:]

    @torch.no_grad()
    def answer_ranks(self, batch: SeqBatch) -> dict[str, Int[Tensor, "B"]]:
        """1-based rank of each answer: among all items (``full``) and among the sampled candidates, where given."""
        if self.scorer is not None:
            return self.scored_ranks(batch)
        with self._full_precision():
            memory, results = self._score_items(batch)
            return self._ranks(batch, memory, results)

    @torch.no_grad()
    def test_step(self, batch: SeqBatch, batch_idx: int) -> dict[str, Tensor]:
        """Ranks; logs about the search as ``test/generation/...``, see :meth:`_log_search`."""
        with self._full_precision():
            memory, results = self._score_items(batch)
            self._log_search(batch, memory, results)
            return self._ranks(batch, memory, results) if self.scorer is None else self.scored_ranks(batch)

    def _score_items(self, batch: SeqBatch) -> tuple[Memory, TopK]:
        """The states to decode from, and every item with its log-probability, or the items that beams reach."""
        memory = self.memory(batch["items"], batch.get("user"))
        if self.decoder.exhaustive:
            ids = torch.arange(1, self.decoder.n_items + 1, device=self.device)[None]
            return memory, TopK(ids, self.decoder.all_log_probs(memory))
        return memory, self._search(memory, _K, batch.get("seen"))

    def _ranks(self, batch: SeqBatch, memory: Memory, results: TopK) -> dict[str, Tensor]:
        answers = batch["answer"]
        ranks = {"full": answer_ranks(results, answers, self.decoder.n_items, batch.get("seen"))}
        if "candidates" in batch:
            ids = torch.cat([answers[:, None], batch["candidates"]], 1).long()
            exhaustive = self.decoder.exhaustive
            scores = results.scores.gather(1, ids - 1) if exhaustive else self.decoder.log_probs(memory, ids)
            ranks[f"sampled{scores.shape[1] - 1}"] = rank(scores[:, 0], scores[:, 1:])
        return ranks

    def _log_search(self, batch: SeqBatch, memory: Memory, results: TopK) -> None:
        """Logs ``exhaustive``: 1 where every item was scored, 0 where ranks end with the beams; ``beams``: their number, a
        user's mean; where every item was scored, ``beam_recall@20``: the share of the 20 likeliest items that the beams find;
        ``collisions``: the share of items that share all their codes with another, and where there are some, ``item_hr@k`` and
        ``item_ndcg@k`` (:func:`sage_pl.nn.decoders.collisions.expected_hits`)."""
        decoder, collisions = self.decoder, self.decoder.tree.collisions
        values: dict[str, float | Tensor] = {"exhaustive": decoder.exhaustive, "collisions": collisions}
        # beams of a search for 20 items, and how many of these it finds
        values["beams"] = decoder.width(_K)
        if not decoder.exhaustive and "seen" in batch:
            values["beams"] = self._beams(_K, batch["seen"]).float().mean()
        if decoder.exhaustive:
            likeliest = best(results, _K).ids
            beam_ids = self._search(memory, _K).ids
            values[f"beam_recall@{_K}"] = occurs(likeliest, beam_ids)[likeliest > 0].float().mean()
        # hits, where codes stand for several items
        if collisions:
            values.update(expected_hits(results, batch["answer"], batch.get("seen")))
        tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
        values = {f"test/generation/{name}": x for name, x in tensors.items()}
        self.log_dict(values, batch_size=len(batch["items"]), sync_dist=True)
