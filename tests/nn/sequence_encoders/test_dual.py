import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.sequence_encoders.dual import DualView
from tests.golden import naive
from tests.golden.prepared import BACKBONES, make_backbone, normal

LENGTH, DIM = 4, 8


def encoder_of(
    backbone: str, cross_attention: bool = True, residual: bool = False, own_position: float | None = None
) -> DualView:
    return DualView(make_backbone(backbone, DIM), 2, cross_attention, residual, own_position=own_position).double()


def views(n: int = 2) -> dict[str, Tensor]:
    return {"id": normal(n, LENGTH, DIM, seed=1), "text": normal(n, LENGTH, DIM, seed=2)}


def padded(given: dict[str, Tensor], n: int, content: float = 0.0) -> tuple[dict[str, Tensor], Tensor, Any]:
    """The views with n padding positions in front, their mask, and a batch."""
    front = torch.full((len(given["id"]), n, DIM), content, dtype=torch.float64)
    mask = torch.ones(len(front), n + LENGTH, dtype=torch.bool)
    mask[:, :n] = False
    return {name: torch.cat([front, view], 1) for name, view in given.items()}, mask, {"items": mask.long()}


@pytest.mark.parametrize(
    ("cross_attention", "residual", "own_position"),
    [(True, False, None), (True, False, 2.0), (True, True, None), (False, False, None)],
    ids=["published", "own position", "with residual", "views apart"],
)
@pytest.mark.parametrize("name", BACKBONES)
def test_equals_two_passes_of_the_backbone(
    name: str, cross_attention: bool, residual: bool, own_position: float | None
) -> None:
    encoder, given = encoder_of(name, cross_attention, residual, own_position), views()
    states = encoder(*padded(given, 3))
    for row, state in enumerate(states):
        expected = naive.dual_view(encoder, given["id"][row], given["text"][row])
        torch.testing.assert_close(state[3:], expected, atol=1e-12, rtol=0)
    assert states.shape[-1] == encoder.output_dim == 2 * DIM


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("view", ["id", "text"])
def test_a_later_item_reaches_earlier_states_only_where_the_backbone_looks_both_ways(name: str, view: str) -> None:
    encoder, given = encoder_of(name), views()
    changed = {**given, view: given[view].index_add(1, torch.tensor([2]), torch.ones(2, 1, DIM, dtype=torch.float64))}
    before, after = (encoder(*padded(v, 0)) for v in (given, changed))
    differs = (before - after).abs().amax(-1) > 1e-9
    assert differs[:, 2:].all()
    assert differs[:, :2].any() == (not encoder.backbone.causal)


@pytest.mark.parametrize("own_position", [None, 5.0], ids=["published", "own position"])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_last_state_alone_is_the_last_of_all(name: str, own_position: float | None) -> None:
    encoder, given = encoder_of(name, own_position=own_position), padded(views(), 2)
    torch.testing.assert_close(encoder(*given, last_only=True), encoder(*given)[:, -1:], atol=1e-12, rtol=0)


def test_views_meet_in_cross_attention_alone() -> None:
    given = views()
    changed = {**given, "text": given["text"] + normal(2, LENGTH, DIM, seed=5)}
    for cross_attention in (True, False):
        encoder = encoder_of("sasrec", cross_attention)
        before, after = (encoder(*padded(v, 0)) for v in (given, changed))
        assert torch.equal(before[..., :DIM], after[..., :DIM]) != cross_attention
        assert not torch.allclose(before[..., DIM:], after[..., DIM:])


def test_without_cross_attention_there_are_no_weights_for_it() -> None:
    assert all(name.startswith("backbone.") for name, _ in encoder_of("sasrec", False).named_parameters())


@pytest.mark.parametrize("own_position", [None, 5.0], ids=["published", "own position"])
@pytest.mark.parametrize("name", BACKBONES)
def test_padding_changes_nothing(name: str, own_position: float | None) -> None:
    encoder, given = encoder_of(name, own_position=own_position), views()
    plain = encoder(*padded(given, 0))
    for n, content in ((2, 0.0), (7, 0.0), (2, 50.0)):
        states = encoder(*padded(given, n, content))
        torch.testing.assert_close(states[:, n:], plain, atol=1e-12, rtol=0)
        assert not states[:, :n].any()


@pytest.mark.parametrize("own_position", [None, 5.0], ids=["published", "own position"])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_row_of_padding_is_finite(name: str, own_position: float | None) -> None:
    encoder = encoder_of(name, own_position=own_position)
    states = encoder(views(), torch.zeros(2, LENGTH, dtype=torch.bool), {"items": torch.zeros(2, LENGTH).long()})
    assert not states.any()
    states.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("missing", ["id", "text"])
def test_a_missing_view_is_named(missing: str) -> None:
    given = views()
    del given[missing]
    _, mask, batch = padded(views(), 0)
    with pytest.raises(KeyError, match=missing):
        encoder_of("sasrec")(given, mask, batch)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_of_their_own_start_as_one_and_part(name: str) -> None:
    shared = encoder_of(name, cross_attention=False)
    apart = DualView(copy.deepcopy(shared.backbone), 2, cross_attention=False, shared=False).double()
    given = padded(views(), 2)
    torch.testing.assert_close(apart(*given), shared(*given), atol=1e-12, rtol=0)
    with torch.no_grad():
        for parameter in apart.text_backbone.parameters():
            parameter.mul_(1.5)
    changed = (apart(*given) - shared(*given)).abs()[:, 2:]
    assert changed[..., :DIM].max() < 1e-12
    assert changed[..., DIM:].max() > 1e-6
