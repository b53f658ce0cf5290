from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders.id import IdEncoder
from tests.golden.prepared import write_rows

N, DIM = 6, 4


@pytest.fixture
def start(tmp_path: Path) -> str:
    return write_rows(tmp_path / "reduce", np.random.default_rng(1).normal(size=(N, DIM), scale=0.3))


def seeded(*arguments: object) -> IdEncoder:
    torch.manual_seed(0)
    return IdEncoder(N, DIM, *arguments)  # type: ignore[arg-type]


def test_the_table_starts_from_reduced_text_and_the_mask_token_at_random(start: str) -> None:
    plain, encoder, rows = seeded(), seeded(start), torch.from_numpy(np.load(f"{start}/table.npy"))
    assert torch.equal(encoder.table.weight[1:-1], rows[1:-1])
    assert not encoder.table.weight[0].any()
    assert torch.equal(encoder.table.weight[-1], plain.table.weight[-1])
    assert encoder.table.weight[-1].all()


def test_the_start_is_trained_and_the_artifact_is_not(start: str) -> None:
    encoder, before = seeded(start), np.load(f"{start}/table.npy")
    encoder.output(encoder.views(torch.arange(N + 2))).pow(2).sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=0.1).step()
    assert (encoder.table.weight[1:].detach().numpy() != before[1:]).all()
    assert np.array_equal(np.load(f"{start}/table.npy"), before)


def test_the_start_can_be_rescaled_without_changing_directions(start: str) -> None:
    kept, scaled = (seeded(start, std).table.weight.detach() for std in (None, 0.02))
    assert scaled[1:-1].square().mean().sqrt().item() == pytest.approx(0.02)
    ratio = scaled[1:-1] / kept[1:-1]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))
    assert torch.equal(scaled[-1], kept[-1])


@pytest.mark.parametrize(("init", "std"), [(False, 0.02), (True, 0.0), (True, -1.0)])
def test_an_idle_or_impossible_scale_is_refused(init: bool, std: float, start: str) -> None:
    with pytest.raises(
        ValueError, match=rf"item_encoder.init_std is {std} .*item_encoder.init='\$\{{artifacts.reduce\}}'"
    ):
        IdEncoder(N, DIM, start if init else None, std)


def test_a_start_of_another_shape_is_refused(start: str) -> None:
    with pytest.raises(ValueError, match=rf"{DIM} wide, item_encoder.dim is 8; set steps.reduce.dim=8"):
        IdEncoder(N, 8, start)
    with pytest.raises(ValueError, match=f"table.npy has {N + 2} rows, wanted {N + 3}.*prepare"):
        IdEncoder(N + 1, DIM, start)
