"""Randomly initialised text encoders of two layers and the items they read; no weights and no network are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

WORDS = [f"{kind}{n}" for kind in ("name", "brand", "sort", "size", "shade") for n in range(12)]
PUNCTUATION = [".", ":", "brand", "sort", "size", "shade"]


def write_bert(folder: Path, words: Sequence[str] = WORDS) -> str:
    """An encoder 16 wide with dropout, for 32 tokens, that knows these words."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PUNCTUATION, *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            initializer_range=0.5,
        )
        transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    return str(folder)


def write_llama(folder: Path) -> str:
    """A decoder 16 wide whose tokenizer has no padding token and pads on the left."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    pytest.importorskip("peft")
    vocabulary = ["<unk>", "</s>", *PUNCTUATION, *WORDS]
    words = tokenizers.models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="</s>",
        padding_side="left",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.3,
            eos_token_id=1,
            bos_token_id=None,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def columns(n: int) -> dict[str, list[str]]:
    """So many items of five attributes; no two share a title."""
    return {
        "title": [f"name{i % 12} name{(i // 12) % 12}" for i in range(n)],
        **{
            kind: [f"{kind}{(i * step) % 12}" for i in range(n)]
            for kind, step in zip(KINDS, (1, 5, 7, 11), strict=True)
        },
    }


KINDS = ("brand", "sort", "size", "shade")
COLUMNS = ("title", *KINDS)
