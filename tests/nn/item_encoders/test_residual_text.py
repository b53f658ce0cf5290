from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.item_text import standardised
from sage_pl.nn.item_encoders.residual_text import ResidualText
from tests.golden.prepared import write_rows

N, DIM, TEXT = 6, 4, 10
EVERY = torch.arange(N + 2)


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT), loc=0.5))


def test_it_starts_as_the_plain_model_and_draws_no_random_number_more(text: str) -> None:
    torch.manual_seed(3)
    plain, next_plain = IdEncoder(N, DIM), torch.rand(1)
    torch.manual_seed(3)
    encoder, next_number = ResidualText(N, text, DIM), torch.rand(1)

    assert torch.equal(encoder.views(EVERY)["id"], plain.views(EVERY)["id"])
    assert torch.equal(next_number, next_plain)
    assert encoder.input_dims == plain.input_dims
    assert encoder.output_dim == plain.output_dim


def test_the_text_is_added_by_one_linear_map(text: str) -> None:
    encoder = ResidualText(N, text, DIM)
    torch.nn.init.normal_(encoder.weight)
    rows, ids = np.load(f"{text}/table.npy"), torch.tensor([5, 2, 5])
    expected = [
        encoder.table.weight[i].detach().numpy() + encoder.weight.detach().numpy() @ rows[i] for i in ids.tolist()
    ]
    views = encoder.views(ids)
    np.testing.assert_allclose(views["id"].detach().numpy(), np.stack(expected), atol=1e-6)
    assert torch.equal(encoder.output(views), views["id"])


def test_padding_and_the_mask_token_have_no_text(text: str) -> None:
    encoder = ResidualText(N, text, DIM, standardise=True)
    torch.nn.init.normal_(encoder.weight)
    assert torch.equal(encoder.views(EVERY)["id"][[0, -1]], encoder.table.weight[[0, -1]])
    assert not encoder.views(EVERY)["id"][0].any()


def test_the_map_leaves_zero_at_once_and_frozen_text_stays(text: str) -> None:
    encoder, before = ResidualText(N, text, DIM), np.load(f"{text}/table.npy")
    encoder.output(encoder.views(EVERY)).pow(3).sum().backward()
    torch.optim.Adam(encoder.parameters(), lr=0.1).step()
    assert (encoder.weight != 0).all()
    assert encoder.state_dict().keys() == {"table.weight", "weight"}
    assert encoder.text.table.numpy().tobytes() == before.tobytes()


def test_unfrozen_text_is_trained_once_the_map_is_not_zero(text: str) -> None:
    encoder, before = ResidualText(N, text, DIM, freeze=False), np.load(f"{text}/table.npy")
    torch.nn.init.normal_(encoder.weight)
    encoder.output(encoder.views(EVERY)).pow(3).sum().backward()
    torch.optim.Adam(encoder.parameters(), lr=0.1).step()
    assert (encoder.text.table.detach().numpy()[1:-1] != before[1:-1]).all()
    assert np.array_equal(np.load(f"{text}/table.npy"), before)


def test_standardising_is_a_switch(text: str) -> None:
    rows = torch.from_numpy(np.load(f"{text}/table.npy"))
    assert torch.equal(ResidualText(N, text, DIM).text.table, rows)
    assert torch.equal(ResidualText(N, text, DIM, standardise=True).text.table, standardised(rows))
