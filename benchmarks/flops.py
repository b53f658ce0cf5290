"""FLOPs of the matrix products, attentions and recurrent layers that run, by the type of their operands."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


def recurrent(x: Tensor, weights: list[Tensor]) -> int:
    """Of a forward pass: every matrix times the input or the state of every position; a backward pass has twice as many."""
    return 2 * prod(x.shape[:-1]) * sum(weight.numel() for weight in weights if weight.ndim == 2)


OWN: dict[Any, Any] = {  # what torch's counter does not know
    aten._cudnn_rnn: lambda x, weights, *_, **__: recurrent(x, weights),
    aten._cudnn_rnn_backward: lambda x, weights, *_, **__: 2 * recurrent(x, weights),
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q.shape, k.shape, v.shape
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(
        grad.shape, q.shape, k.shape, v.shape
    ),
}


class Flops(TorchDispatchMode):
    """``with Flops() as flops: ...; flops.by_type``: FLOPs by the type of the operands, e.g. ``torch.bfloat16``."""

    def __init__(self) -> None:
        super().__init__()
        self.by_type: Counter[torch.dtype] = Counter()

    def total(self) -> int:
        return sum(self.by_type.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, operation = func(*args, **(kwargs or {})), func.overloadpacket
        if operation in OWN:
            self.by_type[args[0].dtype] += OWN[operation](*args)
        elif operation in flop_registry:
            self.by_type[args[0].dtype] += flop_registry[operation](*args, **(kwargs or {}), out_val=out)
        return out
