import pytest
import torch

from sage_pl.item_encoders.adapter import Adapter
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
