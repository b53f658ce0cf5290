import pytest
import torch

from sage_pl.nn.sequence_encoders.single import SingleView
from tests.golden.prepared import make_backbone, normal

MASK = torch.tensor([[False, True, True], [True, True, True]])


@pytest.mark.parametrize("view", ["id", "text"])
def test_the_state_is_the_backbones_over_the_chosen_view(view: str) -> None:
    backbone = make_backbone("sasrec")
    encoder = SingleView(backbone, view)
    views = {"id": normal(2, 3, 8, seed=1), "text": normal(2, 3, 8, seed=2)}
    expected = backbone(backbone.embed(views[view], MASK), MASK)
    assert torch.equal(encoder(views, MASK, {"items": MASK.long()}), expected)
    assert encoder.output_dim == 8
    last = encoder(views, MASK, {"items": MASK.long()}, last_only=True)
    torch.testing.assert_close(last, expected[:, -1:], atol=1e-12, rtol=0)


def test_a_view_the_items_do_not_have_is_named() -> None:
    with pytest.raises(KeyError, match="text"):
        SingleView(make_backbone("sasrec"), "text")({"id": normal(2, 3, 8)}, MASK, {"items": MASK.long()})
