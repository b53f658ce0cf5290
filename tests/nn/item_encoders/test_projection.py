import pytest
import torch
import torch.nn.functional as F

from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.projection import TextProjection
from tests.golden.prepared import normal


@pytest.mark.parametrize("layers", [0, 1, 4])
def test_equals_its_formula(layers: int) -> None:
    projection, x = TextProjection(12, 4, layers).double().eval(), normal(2, 3, 12)
    linears = [layer for layer in projection.stack if isinstance(layer, torch.nn.Linear)]
    assert [layer.weight.shape for layer in linears] == [(4, 12), *[(4, 4)] * layers]
    y = x
    for layer in linears:
        y = F.gelu(y @ layer.weight.T + layer.bias)
    torch.testing.assert_close(projection(x), y, atol=1e-12, rtol=0)


def test_biases_start_at_zero() -> None:
    assert not TextProjection(12, 4)(torch.zeros(12)).any()


def test_dropout_is_between_the_layers_and_in_training_alone() -> None:
    torch.manual_seed(0)
    projection, x = TextProjection(12, 32, dropout=0.5), normal(12).float()
    assert not torch.equal(projection(x), projection(x))
    projection.eval()
    assert torch.equal(projection(x), projection(x))
    alone = TextProjection(12, 32, layers=0, dropout=0.5)
    assert torch.equal(alone(x), alone(x))


@pytest.mark.parametrize(("settings", "message"), [({"dropout": 1.0}, "dropout is 1"), ({"layers": -1}, "are -1")])
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextProjection(12, 4, **settings)  # type: ignore[arg-type]


def test_text_of_length_1_leaves_almost_nothing_of_a_stack_of_gelus() -> None:
    """Near 0 each GELU halves a layer; two affine layers keep the length, as does the stack at the scale of the reference."""
    torch.manual_seed(0)
    text = F.normalize(torch.randn(200, 384), dim=1)
    length = lambda module, scale=1.0: module.eval()(scale * text).norm(dim=1).mean().item()  # noqa: E731
    assert length(TextProjection(384, 64)) < 0.05
    assert length(Adapter(384, 64)) > 0.5
    assert length(TextProjection(384, 64), 384**0.5) > 0.5
