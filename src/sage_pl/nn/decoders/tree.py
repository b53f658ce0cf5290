"""The tree of all items' codes: which codes may follow which."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor, nn


class Children(NamedTuple):
    """The nodes right below some nodes, padded to the largest number that a node of their depth has."""

    nodes: Int[Tensor, "*P C"]  # of the next depth; node 0 where there is none
    real: Bool[Tensor, "*P C"]


class CodeTree(nn.Module):
    """All prefixes of the items' codes as nodes, depth by depth, and below the last code the items themselves.

    Depth 0 is the root; the nodes of depth t = 1..T are the distinct prefixes of t codes; those of depth T + 1 are the items.
    The children of a node are one run of consecutive nodes of the next depth, so the size of a
    tree does not depend on the vocabularies. A string of codes has one item below it, or several where codes collide.

    Args:
        codes: [R, T]; rows 0 and N + 1 are no items.
        sizes: V_t, the size of each level's vocabulary.

    Attributes:
        collisions: the share of items that share all their codes with another.
        path: [R, T + 1] each item's nodes, from depth 1 to itself; 0 in rows 0 and N + 1.
        items: [N] the item of each node of depth T + 1.
    """

    path: Tensor
    items: Tensor

    def __init__(self, codes: Int[Tensor, "R T"], sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = len(sizes)
        codes = codes[1:-1]
        node, path = torch.zeros(len(codes), dtype=torch.int64), []
        for level, size in enumerate(sizes):
            keys, node = torch.unique(node * size + codes[:, level], return_inverse=True)
            self._register(level, parent=keys // size, code=keys % size)
            path.append(node)
        order = torch.argsort(node, stable=True)
        self._register(self.levels, parent=node[order])
        path.append(torch.argsort(order))
        self.register_buffer("path", F.pad(torch.stack(path, 1), (0, 0, 1, 1)), persistent=False)
        self.register_buffer("items", order + 1, persistent=False)
        count = self.count(self.levels)
        self.collisions = count[count > 1].sum().item() / len(order)

    def _register(self, depth: int, parent: Tensor, code: Tensor | None = None) -> None:
        """Register the edges between the nodes of ``depth`` and those below it."""
        count = torch.bincount(parent)
        edges = {"parent": parent, "code": code, "count": count, "first": count.cumsum(0) - count}
        for name, values in edges.items():
            self.register_buffer(f"{name}_{depth}", values, persistent=False)
        setattr(self, f"width_{depth}", int(count.max()))

    def parent(self, depth: int) -> Int[Tensor, "m"]:
        """The node of ``depth`` above each node of ``depth + 1``."""
        return self.get_buffer(f"parent_{depth}")

    def code(self, depth: int) -> Int[Tensor, "m"]:
        """The code that leads from ``depth`` to each node of ``depth + 1``, for depths 0..T - 1."""
        return self.get_buffer(f"code_{depth}")

    def count(self, depth: int) -> Int[Tensor, "n"]:
        """Number of children of each node of ``depth``."""
        return self.get_buffer(f"count_{depth}")

    def above(self, items: Int[Tensor, "m"], depth: int) -> Bool[Tensor, "n"]:
        """Which nodes of ``depth``, from 1, have one of these items below them."""
        mask = torch.zeros(len(self.count(depth)), dtype=torch.bool, device=items.device)
        mask[self.path[items, depth - 1]] = True
        return mask

    def below(self, depth: int, nodes: Int[Tensor, "*P"]) -> Children:
        """The nodes right below nodes of ``depth``."""
        place = torch.arange(getattr(self, f"width_{depth}"), device=nodes.device)
        real = place < self.count(depth)[nodes][..., None]
        return Children((self.get_buffer(f"first_{depth}")[nodes][..., None] + place) * real, real)
