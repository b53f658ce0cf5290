from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sage_pl.nn.item_encoders.fused import FusedEncoder
from sage_pl.nn.item_encoders.projection import TextProjection
from tests.golden.prepared import write_rows

N, DIM, TEXT = 6, 4, 10


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT)))


def test_the_scored_vector_is_the_fusion_of_id_and_text(text: str) -> None:
    encoder, ids = FusedEncoder(N, text, DIM).eval(), torch.tensor([5, 1, N + 1])
    views = encoder.views(ids)
    assert {name: view.shape[-1] for name, view in views.items()} == encoder.input_dims
    assert list(views) == ["id", "text", "fused"]
    rows = torch.from_numpy(np.load(f"{text}/table.npy"))[ids]
    assert torch.equal(views["id"], encoder.table.weight[ids])
    torch.testing.assert_close(views["text"], encoder.adapter(rows))
    linear = encoder.fuse[1]
    fused = F.gelu(torch.cat([views["id"], views["text"]], -1) @ linear.weight.T + linear.bias)
    torch.testing.assert_close(views["fused"], fused)
    assert torch.equal(encoder.output(views), views["fused"])
    assert encoder.output_dim == DIM


def test_gradient_reaches_every_part_and_the_padding_row_stays_zero(text: str) -> None:
    encoder = FusedEncoder(N, text, DIM)
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    encoder.output(encoder.views(torch.arange(N + 2))).pow(3).sum().backward()
    optimizer.step()
    assert [name for name, p in encoder.named_parameters() if torch.equal(p, before[name])] == []
    assert not encoder.table.weight[0].any()


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_text_stays_to_the_bit_and_is_no_part_of_the_checkpoint(text: str, freeze: bool) -> None:
    """The same step moves every item's text where it is not frozen."""
    encoder, before = FusedEncoder(N, text, DIM, freeze=freeze), np.load(f"{text}/table.npy")
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    encoder.output(encoder.views(torch.arange(1, N + 1))).pow(3).sum().backward()
    optimizer.step()
    table = encoder.text.table.detach().numpy()
    assert (table[1:-1] == before[1:-1]).all(1).tolist() == [freeze] * N
    assert ("text.table" in encoder.state_dict()) == (not freeze)
    assert np.load(f"{text}/table.npy").tobytes() == before.tobytes(), "the artifact is never written to"


def test_the_projection_is_a_choice(text: str) -> None:
    assert isinstance(FusedEncoder(N, text, DIM).adapter, TextProjection)
    encoder = FusedEncoder(N, text, DIM, adapter=nn.Linear)
    assert isinstance(encoder.adapter, nn.Linear)
    assert encoder.adapter.weight.shape == (DIM, TEXT)


def test_dropout_in_training_alone(text: str) -> None:
    torch.manual_seed(0)
    encoder, ids = FusedEncoder(N, text, DIM, adapter=nn.Linear, dropout=0.5), torch.arange(1, N + 1)
    assert not torch.equal(encoder.views(ids)["fused"], encoder.views(ids)["fused"])
    encoder.eval()
    assert torch.equal(encoder.views(ids)["fused"], encoder.views(ids)["fused"])


def test_wrong_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"table.npy has {N + 2} rows, wanted {N + 3}"):
        FusedEncoder(N + 1, text, DIM)
    with pytest.raises(ValueError, match=r"item_encoder.dropout is 1\.0"):
        FusedEncoder(N, text, DIM, dropout=1.0)
