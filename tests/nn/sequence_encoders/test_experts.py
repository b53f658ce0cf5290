from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.sequence_encoders.experts import Experts
from tests.golden.prepared import BACKBONES, make_backbone, normal

LENGTH, DIMS = 4, {"text": 4, "id": 8, "aligned": 6}
ORDER = ("aligned", "id", "text")


def experts_of(backbone: str, names: tuple[str, ...] = tuple(DIMS)) -> Experts:
    return Experts({name: make_backbone(backbone, DIMS[name]) for name in names}).double()


def views() -> dict[str, Tensor]:
    return {name: normal(2, LENGTH, dim, seed=dim) for name, dim in DIMS.items()}


def padded(given: dict[str, Tensor], n: int, content: float = 0.0) -> tuple[dict[str, Tensor], Tensor, Any]:
    """The views with n padding positions in front, their mask, and a batch."""
    mask = torch.ones(2, n + LENGTH, dtype=torch.bool)
    mask[:, :n] = False
    longer = {
        name: torch.cat([torch.full((2, n, DIMS[name]), content).double(), view], 1) for name, view in given.items()
    }
    return longer, mask, {"items": mask.long()}


def block(states: Tensor, name: str) -> Tensor:
    """The columns of one expert."""
    start = sum(DIMS[before] for before in ORDER[: ORDER.index(name)])
    return states[..., start : start + DIMS[name]]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_each_expert_is_its_backbone_over_the_view_of_its_name(backbone: str) -> None:
    encoder, (given, mask, batch) = experts_of(backbone), padded(views(), 2)
    states = encoder(given, mask, batch)
    assert states.shape == (2, LENGTH + 2, encoder.output_dim)
    assert (encoder.output_dim, encoder.reads) == (18, {"id", "aligned", "text"})
    for name, expert in encoder.experts.items():
        expected = expert(expert.embed(given[name], mask), mask)  # type: ignore[operator]
        assert torch.equal(block(states, name), expected)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_last_state_alone_is_the_last_of_all(backbone: str) -> None:
    encoder, given = experts_of(backbone), padded(views(), 2)
    torch.testing.assert_close(encoder(*given, last_only=True), encoder(*given)[:, -1:], atol=1e-12, rtol=0)


def test_the_order_in_which_experts_are_given_does_not_matter() -> None:
    one, other = experts_of("sasrec"), experts_of("sasrec", ("id", "aligned", "text"))
    given = padded(views(), 0)
    swapped = {name: given[0][name] for name in reversed(given[0])}
    assert torch.equal(one(*given), other(swapped, *given[1:]))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_stays_with_its_expert(backbone: str) -> None:
    encoder = experts_of(backbone)
    given, mask, batch = padded({name: view.requires_grad_() for name, view in views().items()}, 0)
    block(encoder(given, mask, batch), "id").pow(2).sum().backward()
    touched = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"id"}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_padding_changes_nothing(backbone: str) -> None:
    encoder, given = experts_of(backbone), views()
    plain = encoder(*padded(given, 0))
    for n, content in ((2, 0.0), (2, 50.0)):
        torch.testing.assert_close(encoder(*padded(given, n, content))[:, n:], plain, atol=1e-12, rtol=0)


def test_experts_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"experts is empty"):
        Experts({})
    shared = make_backbone("sasrec")
    with pytest.raises(ValueError, match="id, text share a backbone"):
        Experts({"id": shared, "text": shared})
    with pytest.raises(ValueError, match=r"causal differs.*'id': True, 'text': False"):
        Experts({"id": shared, "text": make_backbone("bert4rec")})
