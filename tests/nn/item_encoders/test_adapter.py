import pytest
import torch
from torch import nn

from sage_pl.nn.item_encoders.adapter import Adapter, MLPAdapter
from tests.golden import naive
from tests.golden.prepared import leaf, normal


@pytest.mark.parametrize(("hidden", "width"), [(None, 6), (3, 3), (20, 20)], ids=["half", "narrow", "wide"])
def test_the_folded_layers_equal_two_layers_in_value_and_gradient(hidden: int | None, width: int) -> None:
    adapter, x = Adapter(12, 4, hidden).double(), leaf(normal(5, 12))
    assert adapter.down.weight.shape == (width, 12)

    folded, layered = adapter(x), naive.adapt(adapter, x)

    torch.testing.assert_close(folded, layered, atol=1e-10, rtol=0)
    wanted = [x, *adapter.parameters()]
    ours, theirs = (torch.autograd.grad(y.pow(3).sum(), wanted) for y in (folded, layered))
    for mine, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, want, atol=1e-10, rtol=1e-10)


def test_any_leading_axes() -> None:
    adapter = Adapter(6, 4).double()
    assert adapter(normal(2, 3, 6)).shape == (2, 3, 4)


def test_an_activation_stands_between_the_layers_of_the_mlp() -> None:
    adapter, x = MLPAdapter(6, 4, activation=nn.ReLU()).double(), normal(2, 3, 6)
    hidden = naive.linear(adapter.down, x)
    assert adapter.down.weight.shape == (3, 6)
    torch.testing.assert_close(adapter(x), naive.linear(adapter.out, hidden.clamp(min=0)))
    gelu = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    adapter.activation = MLPAdapter(6, 4).activation
    torch.testing.assert_close(adapter(x), naive.linear(adapter.out, gelu))


def test_the_mlp_drops_out_in_training_alone() -> None:
    adapter, x = MLPAdapter(6, 4, hidden_dim=50, dropout=0.5).double(), normal(3, 6)
    assert adapter.down.weight.shape == (50, 6)
    assert not torch.equal(adapter(x), adapter(x))
    adapter.eval()
    assert torch.equal(adapter(x), adapter(x))


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_that_is_no_share_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=rf"item_encoder.adapter.dropout is {dropout}, wanted a share"):
        MLPAdapter(6, 4, dropout=dropout)
