"""Codes as further tokens of a small causal language model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.rows import gather_rows
from sage_pl.ranges import Count, Dropout, Natural, Width
from sage_pl.semantic.language_models.loading import load_config, load_decoder
from sage_pl.semantic.scft.lora import Lora
from sage_pl.types import Memory

SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M"
PROMPT = "Items that a user chose, from the oldest to the newest:"
PAD = -1  # in rows of mixed tokens: words are 0, 1, ...; code r is -2 - r
Past = tuple[tuple[Tensor, Tensor], ...]  # keys and values of each layer


class PrefixState(NamedTuple):
    """P prefixes as leaves of one tree of tokens, whose keys and values are kept once: the history's, then every code read."""

    past: Past
    visible: Bool[Tensor, "B P K"]  # the kept tokens that belong to a prefix
    position: Int[Tensor, "B 1"]  # of a prefix's last token
    output: Float[Tensor, "B P D"]


class LanguageModelNetwork(nn.Module):
    """A causal language model after a prompt of words: it reads the vectors of a history's codes, then those of the item's.

    The history is read once for all prefixes of all levels, and each code once for all prefixes that go on from it: a
    prefix's token attends to the history and to the codes before it in the tree (a key-value cache with a mask).

    Weights of the language model are frozen and not part of ``state_dict``; its adapters are, and a digest of the frozen
    weights, so that a checkpoint is refused beside another language model.

    Args:
        model: from transformers, with adapters.
        prompt: the words' tokens, at least one.

    Shape: ``begin(memory [B, S, D])``, S the codes of a history, left-padded; D the model's width.

    Raises:
        SettingError: a history has more tokens than the model has positions.
    """

    whole = True
    levels = 16  # no limit of the model's own

    def __init__(self, model: Any, prompt: Sequence[int]) -> None:
        super().__init__()
        self.model = model.train()  # the adapters' dropout; load_decoder leaves evaluation mode
        self.dim: int = model.get_input_embeddings().embedding_dim
        config = model.config
        self.per_prefix = 2 * config.num_hidden_layers * self.dim + 10 * self.dim
        self._frozen = tuple(f"model.{name}" for name in model.state_dict() if "lora_" not in name)
        self.register_buffer("prompt", torch.tensor(list(prompt)), persistent=False)
        self.register_buffer("base", _digest(model))
        self.prompt: Tensor
        self.base: Tensor
        self.register_state_dict_post_hook(_without_frozen)
        self.register_load_state_dict_post_hook(_frozen_may_be_missing)

    def words(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P D"]:
        """The vectors of words of the model's own vocabulary."""
        return self.model.get_input_embeddings()(ids)

    def word_logits(self, states: Float[Tensor, "*P D"]) -> Float[Tensor, "*P W"]:
        """Logits of the model's own vocabulary."""
        head = self.model.get_output_embeddings()
        return head(states.to(head.weight.dtype)).float()

    def read(self, x: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """The states of rows that are padded on either side; each token sees those before it."""
        return self._run(x, _causal(mask), _positions(mask))[0]

    def read_history(self, vectors: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B n D"]:
        """The states after the prompt and after each code, n = S + 1."""
        x, mask = self._after_prompt(vectors, mask)
        return self.read(x, mask)[:, len(self.prompt) - 1 :]

    def begin(self, memory: Memory) -> PrefixState:
        x, mask = self._after_prompt(memory.vectors, memory.mask)
        positions = _positions(mask)
        hidden, past = self._run(x, _causal(mask), positions, keep=True)
        places = torch.arange(mask.shape[1], device=mask.device)
        end = torch.where(mask, places, 0).amax(1)  # of an empty history the prompt's
        return PrefixState(
            past, mask[:, None], positions[:, -1:], hidden[torch.arange(len(end), device=end.device), end, None]
        )

    def outputs(self, state: PrefixState) -> Float[Tensor, "B P D"]:
        return state.output

    def products(
        self, state: PrefixState, rows: Int[Tensor, "C"], tokens: Float[Tensor, "C D"]
    ) -> Float[Tensor, "B C"]:
        return (state.output[:, rows] * tokens).sum(-1)

    def advance(self, state: PrefixState, tokens: Float[Tensor, "#A C D"], parents: Int[Tensor, "#A C"]) -> PrefixState:
        users, count = len(state.output), parents.shape[1]
        own = torch.eye(count, dtype=torch.bool, device=parents.device).expand(users, -1, -1)
        before = gather_rows(state.visible, parents).expand(users, -1, -1)
        visible, position = torch.cat([before, own], 2), state.position + 1
        hidden, past = self._run(
            tokens.expand(users, -1, -1), visible, position.expand(-1, count), state.past, keep=True
        )
        return PrefixState(past, visible, position, hidden)

    def _after_prompt(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        words = self.words(self.prompt).to(vectors.dtype).expand(len(vectors), -1, -1)
        return torch.cat([words, vectors], 1), F.pad(mask, (len(self.prompt), 0), value=True)

    def _run(
        self, x: Tensor, visible: Bool[Tensor, "B S K"], positions: Tensor, past: Past | None = None, keep: bool = False
    ) -> tuple[Tensor, Past]:
        from transformers import DynamicCache

        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and visible.shape[2] > limit and past is None:
            raise SettingError(
                f"a sequence has {visible.shape[2]} tokens with its prompt, the language model reads at most {limit}; lower "
                "data.max_len, or loss.newest and loss.max_words of its tasks"
            )
        dtype = self.words(self.prompt[:1]).dtype
        bias = torch.zeros(visible.shape, dtype=dtype, device=x.device)
        bias = bias.masked_fill(~visible, torch.finfo(dtype).min)[:, None]
        cache: Any = DynamicCache(past) if keep else None
        result = self.model.base_model(
            inputs_embeds=x.to(dtype),
            attention_mask=bias,
            position_ids=positions,
            past_key_values=cache,
            use_cache=keep,
        )
        kept = () if cache is None else tuple((layer.keys, layer.values) for layer in cache.layers)
        return result.last_hidden_state.to(x.dtype), kept

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        base = state_dict.get(f"{prefix}base")
        if base is not None and not torch.equal(base.to(self.base.device), self.base):
            raise SettingError(
                "the checkpoint's adapters belong to another language model than decoder.model names; name theirs, in the "
                "same precision (decoder.bf16)"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class LanguageModelDecoder(ItemDecoder):
    """An :class:`ItemDecoder` whose network is a language model with LoRA; codes are tokens of its input and of its output.

    A code's vector starts at the mean of the words' vectors, with their spread.

    Args:
        tokens, n_items, normalise, exhaustive_up_to: see :class:`ItemDecoder`.
        model: a causal language model: name on the hub, a local folder, or ``smollm2`` for the one in its package.
        dim: the width of the run's vectors, which is to be the model's.
        rank, alpha, dropout: see :class:`sage_pl.semantic.scft.lora.Lora`; of all linear layers.
        prompt: words before every history.
        beams: beams of a search, or the number of its items, if that is more.
        bf16: hold the frozen weights in bfloat16.
        offline: refuse to download.

    Raises:
        ModelError: the model cannot be loaded, or peft is missing.
        SettingError: ``dim`` is not the model's width.

    Reference: LC-Rec (LoRA r 8, alpha 32, dropout 0.05), the public neighbour of Semantic Convergence. Differs: beams follow
    the tree of items, and the softmax is over the codes of a level.
    """

    libraries: ClassVar[tuple[str, ...]] = ("transformers", "peft")
    network: Any  # a LanguageModelNetwork

    def __init__(
        self,
        tokens: str,
        n_items: Count,
        model: str = SMOLLM2_HUB,
        dim: Width = 576,
        rank: Width = 8,
        alpha: Width = 32,
        dropout: Dropout = 0.05,
        prompt: str = PROMPT,
        normalise: Literal["children", "codes"] = "children",
        beams: Count = 20,
        exhaustive_up_to: Natural = 0,
        bf16: bool = False,
        offline: bool = False,
    ) -> None:
        remedy = "name a local folder of a causal language model (decoder.model), or allow the network to download it"
        language_model, tokenizer = load_decoder(model, bf16, "cpu", offline, remedy)
        Lora(rank, alpha, dropout).add_to(language_model)
        if problem := _other_width(model, language_model.config, dim):
            raise SettingError(problem)
        network = LanguageModelNetwork(language_model, tokenizer(prompt)["input_ids"])
        super().__init__(tokens, n_items, network, normalise, beams, exhaustive_up_to)
        words = network.model.get_input_embeddings().weight.detach().float()
        with torch.no_grad():
            self.codes.weight.normal_().mul_(words.std(0)).add_(words.mean(0))

    @staticmethod
    def problem(settings: Mapping[str, Any]) -> str | None:
        """What is wrong with the model that settings name, before anything is prepared for it.

        Raises:
            ModelError: there is none of that name.
        """
        model = settings.get("model", SMOLLM2_HUB)
        return _other_width(model, load_config(model, settings.get("offline", False)), settings.get("dim", 576))

    def width(self, k: int) -> int:
        """Beams of a search for k items: a beam costs a pass of a token through the language model."""
        return max(self.beams, k)

    def embed(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P D"]:
        """The vectors of words and codes, mixed (:data:`PAD`)."""
        words = self.network.words(ids.clamp(min=0)).to(self.codes.weight.dtype)
        codes = F.embedding((PAD - 1 - ids).clamp(min=0), self.codes.weight)
        return torch.where(ids[..., None] < PAD, codes, words)

    def log_probs_after(
        self, states: Float[Tensor, "M T D"], ids: Int[Tensor, "M"], among: Int[Tensor, "C"] | None = None
    ) -> Float[Tensor, "M"]:
        """Log-probability of an item for each row, from the states before each of its codes."""
        total = states.new_zeros(len(ids))
        for level in range(self.codes.levels):
            nodes = self.tree.path[ids, level - 1, None] if level else torch.zeros_like(ids[:, None])
            logits = (states[:, level, None] @ self.codes.table(level).T).to(self.codes.weight.dtype)
            logit = logits[:, 0].gather(1, self.codes.codes[ids, level, None])
            total = total + (logit - self.log_norm(level, nodes, logits, among))[:, 0]
        return total - self.log_shares(total)[self.tree.path[ids, -2]]


def _other_width(model: str, config: Any, dim: int) -> str | None:
    width = config.hidden_size
    return None if width == dim else f"the language model {model} is {width} wide, dim is {dim}; set dim={width}"


def _causal(mask: Bool[Tensor, "B S"]) -> Bool[Tensor, "B S S"]:
    """Each token sees the real ones up to itself."""
    return torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril() & mask[:, None]


def _positions(mask: Bool[Tensor, "B S"]) -> Int[Tensor, "B S"]:
    return (mask.cumsum(1) - 1).clamp(min=0)


def _digest(model: nn.Module) -> UInt8[Tensor, "32"]:
    """sha256 of the frozen weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if "lora_" not in name:
            digest.update(weight.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _without_frozen(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in module._frozen:
        state.pop(prefix + name, None)


def _frozen_may_be_missing(module: Any, keys: Any) -> None:
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(module._frozen)]
