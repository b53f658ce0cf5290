"""The alignment tasks of a language model over codes, as prompts."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.artifacts.store import Artifact
from sage_pl.errors import SettingError
from sage_pl.nn.decoders.language_model import PAD, SMOLLM2_HUB
from sage_pl.nn.item_encoders.code_embedding import CodeEmbedding
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_groups import CodeGroups
from sage_pl.ranges import Count, Weight
from sage_pl.semantic.language_models.loading import load_tokenizer
from sage_pl.semantic.texts import item_texts
from sage_pl.types import SeqBatch

_SLOT = re.compile(r"\{(\w+)\}")
Slots = Mapping[str, Sequence[int]]  # tokens, words and codes mixed, by the name of a slot


class PromptTask(LossTerm):
    """``-log p(response | prompt)``: the mean over rows of an item's codes, or over the words of a text.

    A prompt is words with slots in braces. Rows are written on the CPU (:meth:`draw`), as tokens of words and of codes,
    padded on the left.

    Args:
        weight: factor of this loss.
        prompt: the template.
        response: a template of words, or ``{item}`` for the codes of the row's item.
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
        texts: path of the ``texts`` artifact.
        model, offline: of the decoder, for its tokenizer (:class:`sage_pl.nn.decoders.language_model.LanguageModelDecoder`).
        count: rows of a step.
        max_words: tokens kept of a text.
        newest: items kept of a history.

    Raises:
        SettingError: a template has an unknown slot.

    Reference: LC-Rec's tasks; the texts of Semantic Convergence's prompts are not public.
    """

    extent = "users"
    decodes = True
    reads_itself = True
    slots: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        weight: Weight,
        prompt: str,
        response: str,
        tokens: str,
        n_items: Count,
        texts: str,
        model: str = SMOLLM2_HUB,
        count: Count = 16,
        max_words: Count = 24,
        newest: Count = 10,
        offline: bool = False,
    ) -> None:
        super().__init__(weight)
        for template in (prompt, response):
            if unknown := set(_SLOT.findall(template)) - self.slots:
                raise SettingError(f"{template!r} has the slot {sorted(unknown)[0]}, wanted {sorted(self.slots)}")
        self.prompt, self.response = prompt, response
        self.count, self.max_words, self.newest = count, max_words, newest
        self.tokenizer = load_tokenizer(model, offline)
        self.texts = ["", *item_texts(Artifact.at(texts))]
        codes = CodeEmbedding(tokens, n_items, 1)
        self.codes = (PAD - 1 - codes.rows).tolist()
        self.groups = CodeGroups(tokens, n_items)

    @abstractmethod
    def rows(self, batch: SeqBatch) -> list[tuple[int, Slots]]:
        """The item of each row, and what its slots hold."""

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "M S"]:
        """A row each: its item, the length of its response, and its tokens."""
        written = []
        for item, slots in self.rows(batch):
            response = self._written(self.response, slots)
            written.append((item, len(response), self._written(self.prompt, slots) + response))
        longest = max(len(row) for _, _, row in written)
        return torch.tensor([[item, end, *[PAD] * (longest - len(row)), *row] for item, end, row in written])

    def forward(self, step: Any) -> Float[Tensor, ""]:
        item, length, ids = step.batch["draws"][self.name].tensor_split([1, 2], 1)
        decoder, item = step.decoder, item[:, 0]
        states = decoder.network.read(decoder.embed(ids), ids != PAD)
        if self.response == "{item}":
            return -decoder.log_probs_after(states[:, -decoder.codes.levels - 1 : -1], item).mean()
        width = min(ids.shape[1] - 1, self.max_words)  # no response is longer
        words = ids[:, -width:].masked_fill(torch.arange(width, 0, -1, device=ids.device) > length, PAD)
        logits = decoder.network.word_logits(states[:, -width - 1 : -1])
        total = F.cross_entropy(logits.transpose(1, 2), words, ignore_index=PAD, reduction="sum")
        return total / (words != PAD).sum().clamp(min=1)

    def words(self, text: str) -> list[int]:
        return self._tokens(text)[: self.max_words]

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _written(self, template: str, slots: Slots) -> list[int]:
        parts = _SLOT.split(template)  # words and names in turn
        written = [self.words(part) if place % 2 == 0 else slots[part] for place, part in enumerate(parts) if part]
        return [token for part in written for token in part]


class ItemPrompt(PromptTask):
    """A task about one item, drawn uniformly: rare ones as often as popular ones, those without events too.

    Slots: ``{item}`` its codes, ``{text}`` its text.
    """

    slots = frozenset({"item", "text"})

    def rows(self, batch: SeqBatch) -> list[tuple[int, Slots]]:
        items = (torch.randperm(len(self.texts) - 1)[: self.count] + 1).tolist()
        return [(item, {"item": self.codes[item], "text": self.words(self.texts[item])}) for item in items]


class HistoryPrompt(PromptTask):
    """A task about a history and the item after it, at labelled positions drawn from the batch.

    Slots: ``{history}`` the codes of the newest items, ``{titles}`` their texts, ``{item}`` the codes of the item after them,
    ``{text}`` its text, ``{query}`` the text of an item of its group, ``{candidate}`` the codes of that item or, as often, of
    another, every second of the same group, ``{answer}``: yes or no.
    """

    slots = frozenset({"history", "titles", "item", "text", "query", "candidate", "answer"})

    def rows(self, batch: SeqBatch) -> list[tuple[int, Slots]]:
        labels, width = batch["labels"], batch["items"].shape[1]
        places = labels[torch.randperm(len(labels))[: self.count]]
        items = batch["targets"].flatten()[places]
        kin = self.groups.draw(items[:, None])[:, 0].tolist()
        written = []
        for place, item, other in zip(places.tolist(), items.tolist(), kin, strict=True):
            row, end = divmod(place, width)
            history = [i for i in batch["items"][row, : end + 1].tolist() if i][-self.newest :]
            written.append((item, self._slots(history, item, other)))
        return written

    def _slots(self, history: list[int], item: int, kin: int) -> Slots:
        yes, near, anywhere = torch.rand(3).tolist()
        other = kin if near < 0.5 else 1 + int(anywhere * (len(self.texts) - 1))
        candidate = item if yes < 0.5 else other
        titles = ", ".join(self.texts[i] for i in history)
        return {
            "history": [code for i in history for code in self.codes[i]],
            "titles": self._tokens(titles)[-self.newest * self.max_words :],
            "item": self.codes[item],
            "text": self.words(self.texts[item]),
            "query": self.words(self.texts[kin]),
            "candidate": self.codes[candidate],
            "answer": self.words(" yes" if candidate == item else " no"),
        }
