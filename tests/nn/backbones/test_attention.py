import pytest
import torch

from sage_pl.nn.backbones.attention import MultiHeadAttention, attention_mask
from tests.golden import naive
from tests.golden.prepared import normal

REAL = torch.tensor([[False, True, True], [False, False, False]])


@pytest.mark.parametrize(
    ("causal", "expected"),
    [
        pytest.param(True, [[[1, 0, 0], [0, 1, 0], [0, 1, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]], id="causal"),
        pytest.param(False, [[[1, 1, 1], [0, 1, 1], [0, 1, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]], id="both sides"),
    ],
)
def test_a_query_sees_real_keys_and_itself(causal: bool, expected: list[list[list[int]]]) -> None:
    assert attention_mask(REAL, causal)[:, 0].int().tolist() == expected


@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_loops_over_heads_and_positions(heads: int, bias: bool) -> None:
    module = MultiHeadAttention(8, heads, bias=bias).double()
    query, source = normal(1, 5, 8, seed=1), normal(1, 5, 8, seed=2)

    result = module(query, source, attention_mask(torch.ones(1, 5, dtype=torch.bool), causal=True))

    expected = naive.attention(module, query[0], source[0], lambda i, j: j <= i)
    torch.testing.assert_close(result[0], expected, atol=1e-12, rtol=0)


def test_attention_weights_are_dropped_in_training_alone() -> None:
    module, x = MultiHeadAttention(8, 2, dropout=0.5).double(), normal(1, 5, 8)
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    torch.manual_seed(0)
    assert not torch.equal(module(x, x, mask), module(x, x, mask))
    module.eval()
    torch.testing.assert_close(module(x, x, mask), module(x, x, mask), atol=0, rtol=0)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim 8 is not divisible by heads 3"):
        MultiHeadAttention(8, heads=3)
