"""Small sets of codes, decoders over them with random weights, and second implementations of both networks.

The second implementations read one prefix at a time, keep nothing and use plain loops.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sage_pl.nn.decoders.bilinear import BilinearDecoder
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.transformer import TransformerDecoder
from sage_pl.types import Memory
from tests.golden.naive import attention, linear
from tests.golden.prepared import normal

DIM = 4
NETWORKS = ("bilinear", "transformer", "t5")
SIZES = (3, 2, 3)
CODES = [[0, 0, 0], [0, 0, 2], [0, 1, 1], [2, 0, 1], [2, 1, 0], [2, 1, 2], [1, 1, 1]]  # items 1..7
SHARED = [[0, 0], [1, 1], [0, 0], [0, 1], [1, 1], [1, 1]]  # items 1 and 3, and 2, 5 and 6, collide


def write_tokens(folder: Path, codes: Any = CODES, sizes: Any = SIZES) -> str:
    """A ``tokens`` artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", np.pad(np.array(codes, np.int32), ((1, 1), (0, 0)), constant_values=-1))
    (folder / "sizes.json").write_text(json.dumps({"sizes": list(sizes)}))
    return str(folder)


def random_codes(seed: int, n_items: int, sizes: tuple[int, ...], unique: bool = True) -> list[list[int]]:
    random = np.random.default_rng(seed)
    codes = np.stack([random.integers(0, size, n_items) for size in sizes], 1)
    return random.permutation(np.unique(codes, axis=0) if unique else codes).tolist()


def make_network(name: str, dim: int = DIM) -> Any:
    if name == "bilinear":
        return BilinearDecoder(dim, hidden=3)
    return TransformerDecoder(dim, layers=2, heads=2, hidden=5, whole=name == "t5")


def make_decoder(
    folder: Path, name: str = "bilinear", codes: Any = CODES, sizes: Any = SIZES, **choices: Any
) -> ItemDecoder:
    """In float64, every weight random."""
    decoder = ItemDecoder(write_tokens(folder, codes, sizes), len(codes), make_network(name), **choices).double().eval()
    for seed, weight in enumerate(decoder.parameters()):
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(seed))
    return decoder


def make_memory(decoder: ItemDecoder, users: int = 5, seed: int = 0) -> Memory:
    """One state per user, or for networks that read whole sequences three, the first of which is padding for user 0."""
    states = 3 if decoder.network.whole else 1
    mask = torch.ones(users, states, dtype=torch.bool)
    mask[0, :-1] = False
    return Memory(normal(users, states, DIM, seed=seed), mask)


def rms_norm(layer: Any, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt() * layer.weight


def bilinear(network: BilinearDecoder, memory: Tensor, tokens: list[Tensor]) -> Tensor:
    (state,) = memory
    prefix = state.new_zeros(network.hidden)
    reader = network.reader
    for token in tokens:
        given = (reader.weight_ih @ (token * DIM**0.5) + reader.bias_ih).chunk(3)
        kept = (reader.weight_hh @ prefix + reader.bias_hh).chunk(3)
        reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
        prefix = (1 - update) * torch.tanh(given[2] + reset * kept[2]) + update * prefix
    turned = state + network.turn[len(tokens)] @ state
    return turned * (1 + linear(network.gate, prefix)) + linear(network.shift, prefix)


def transformer(network: TransformerDecoder, memory: Tensor, tokens: list[Tensor]) -> Tensor:
    read = [network.start, *(token + network.position[place] for place, token in enumerate(tokens))]
    x = torch.stack(read) * DIM**0.5
    for block in network.blocks:
        source = rms_norm(block.norm_own, x)
        x = x + attention(block.own, source, source, lambda i, j: j <= i)
        x = x + attention(block.cross, rms_norm(block.norm_cross, x), memory, lambda i, j: True)
        x = x + linear(block.outer, linear(block.inner, rms_norm(block.norm, x)).clamp(min=0))
    return rms_norm(network.norm, x[-1])


def naive_output(decoder: ItemDecoder, memory: Tensor, tokens: list[Tensor]) -> Tensor:
    network: Any = decoder.network
    return (bilinear if isinstance(network, BilinearDecoder) else transformer)(network, memory, tokens)


def naive_log_probs(decoder: ItemDecoder, memory: Memory, codes: list[list[int]]) -> Tensor:
    """[B, N], every item of every user by itself."""
    rows = []
    for vectors, mask in zip(memory.vectors, memory.mask, strict=True):
        row = []
        for own in codes:
            total = -torch.tensor(codes.count(own), dtype=torch.float64).log()
            for level in range(len(own)):
                tokens = [decoder.codes.table(t)[own[t]] for t in range(level)]
                logits = decoder.codes.table(level) @ naive_output(decoder, vectors[mask], tokens)
                allowed = sorted({c[level] for c in codes if c[:level] == own[:level]})
                among = logits if decoder.normalise == "codes" else logits[allowed]
                total = total + logits[own[level]] - among.exp().sum().log()
            row.append(total)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def prefixes(codes: list[list[int]]) -> int:
    """Distinct strings of all but the last code: so many beams reach everything."""
    return len({tuple(own[:-1]) for own in codes})
