"""FLOPs that the benchmarks count, by hand."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn


@pytest.fixture
def flops(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    yield importlib.import_module("flops")
    sys.modules.pop("flops", None)


def test_products_are_counted_by_the_type_of_their_operands(flops: ModuleType) -> None:
    x, weight = torch.randn(5, 3), torch.randn(3, 7, requires_grad=True)
    with flops.Flops() as counted:
        (x @ weight).sum().backward()  # and the gradient of the weight
        with torch.autocast("cpu", torch.bfloat16):
            x @ weight.detach()
    assert counted.by_type == {torch.float32: 2 * 2 * 5 * 3 * 7, torch.bfloat16: 2 * 5 * 3 * 7}
    assert counted.total() == 3 * 2 * 5 * 3 * 7


def test_attention_is_two_products_and_five_backward(flops: ModuleType) -> None:
    q, k, v = (torch.randn(2, 4, 6, 8, requires_grad=True) for _ in range(3))
    one = 2 * (2 * 4) * 6 * 6 * 8
    with flops.Flops() as counted:
        F.scaled_dot_product_attention(q, k, v).sum().backward()
    assert counted.total() == 7 * one, "the logits are made once more on the way back"


def test_recurrent_layers_as_the_processor_computes_them_step_by_step(flops: ModuleType) -> None:
    batch, length, dim, hidden = 4, 6, 5, 8
    gru = nn.GRU(dim, hidden, 2, batch_first=True)
    x = torch.randn(batch, length, dim, requires_grad=True)
    weights = list(gru.parameters())
    with flops.Flops() as forward:
        out, _ = gru(x)
    with flops.Flops() as backward:
        out.sum().backward()
    assert forward.total() == flops.recurrent(x, weights)
    first = 2 * 2 * batch * 3 * hidden * hidden  # the first state of either layer is a constant
    assert backward.total() == 2 * flops.recurrent(x, weights) - first
    own = flops.OWN[torch.ops.aten._cudnn_rnn_backward]
    assert own(x, weights) == 2 * flops.OWN[torch.ops.aten._cudnn_rnn](x, weights) == 2 * flops.recurrent(x, weights)
