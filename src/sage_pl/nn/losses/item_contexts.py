"""The histories around an item in training."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sage_pl.data.loader import load_sequences
from sage_pl.data.sequences import windows
from sage_pl.ranges import Length


class ItemContexts:
    """Every training event of an item gives the history up to it, and the rest of the sequence read backwards up to it.

    ``[a b c]`` is ``[a b]`` and ``[c b]`` for item b; a sequence of one item gives it once. Works on the CPU.

    Args:
        sequences: path of the ``sequences`` artifact.
        max_len: items of a context, those nearest to the item.

    Attributes:
        frequency: training events per id, [N + 2].
        number: contexts per id, [N + 2].
    """

    def __init__(self, sequences: str, max_len: Length) -> None:
        data = load_sequences(sequences)
        values, offsets = data.train_csr()
        self.max_len = max_len
        self.frequency = torch.from_numpy(np.array(data.train_counts))
        # events of the training part, with the beginning and end of their sequences
        self._values = np.concatenate([values, values[::-1]])  # the second half is read backwards
        self._begin = np.repeat(offsets[:-1], data.train_end)
        self._end = np.repeat(offsets[1:], data.train_end)
        # contexts 2 e (forwards) and 2 e + 1 (backwards) of event e, item after item
        alone = self._end - self._begin == 1
        contexts = np.flatnonzero(~np.stack([np.zeros_like(alone), alone], 1).flatten())
        self._contexts = contexts[np.argsort(values[contexts // 2], kind="stable")]
        self.number = torch.from_numpy(np.bincount(values[contexts // 2], minlength=data.n_items + 2))
        self._start = (self.number.cumsum(0) - self.number).numpy()

    def of(self, item: int) -> Int[Tensor, "C"]:
        """The contexts of an item, by number."""
        start = self._start[item]
        return torch.from_numpy(self._contexts[start : start + int(self.number[item])])

    def sequences(self, contexts: Int[Tensor, "C"]) -> Int[Tensor, "C L"]:
        """The items of contexts, left-padded; the last one is the item itself."""
        event, backwards = (part.numpy() for part in (contexts // 2, contexts % 2 == 1))
        ends = np.where(backwards, len(self._values) - event, event + 1)
        sizes = np.where(backwards, self._end[event] - event, event + 1 - self._begin[event])
        return torch.from_numpy(windows(self._values, ends, np.minimum(sizes, self.max_len)))
