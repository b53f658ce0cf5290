"""Texts encoded in batches of like length."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sage_pl.semantic.texts import each_once

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)
EVERY = 60.0  # seconds between lines of the log


def encode(
    model: SentenceTransformer, texts: Sequence[str], normalize: bool, batch_tokens: int, bfloat16: bool = False
) -> npt.NDArray[np.float32]:
    """One row per text, in their order, float32 [len(texts), D]; each distinct text is encoded once.

    Args:
        model: a loaded model.
        normalize: scale vectors to norm 1.
        batch_tokens: padded tokens of a batch.
        bfloat16: round the operands of matrix products to bfloat16; all else keeps the model's type.
    """
    import torch
    from tqdm import tqdm

    distinct, position = each_once(texts)
    sizes = lengths(model, distinct.tolist())
    batches = list(batches_of_like_length(sizes, batch_tokens))
    vectors = np.zeros((len(distinct), model.get_embedding_dimension() or 0), dtype=np.float32)
    start = last_line = time.perf_counter()
    done, total = 0, max(1, int(sizes.sum()))  # tokens
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):  # outside the loop: weights are cast once
        for batch in tqdm(batches, desc="encode", unit="batch", disable=not sys.stderr.isatty()):
            vectors[batch] = model.encode(
                distinct[batch].tolist(),
                batch_size=len(batch),
                normalize_embeddings=normalize,
                show_progress_bar=False,
            )
            done, now = done + int(sizes[batch].sum()), time.perf_counter()
            if now - last_line >= EVERY:
                last_line, left = now, (now - start) * (total - done) / max(1, done)
                log.info("encoded %d %% of the tokens, about %.1f min left", 100 * done // total, left / 60)
    seconds = time.perf_counter() - start
    rate = len(distinct) / max(seconds, 1e-9)
    log.info("encoded %d distinct of %d texts, %.0f per second", len(distinct), len(texts), rate)
    return vectors[position]


def batches_of_like_length(sizes: npt.NDArray[np.int64], budget: int) -> Iterator[npt.NDArray[np.int64]]:
    """Positions, longest first, cut so that ``longest x count`` stays within the budget, or to a single one."""
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, budget // max(int(sizes[order[start]]), 1))
        yield order[start : start + count]
        start += count


def lengths(model: SentenceTransformer, texts: list[str]) -> npt.NDArray[np.int64]:
    """Number of tokens of each text, truncated to the model's limit."""
    tokens = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]
    return np.fromiter((len(row) for row in tokens), dtype=np.int64, count=len(texts))
