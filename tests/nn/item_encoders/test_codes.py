from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders.code_embedding import CodeEmbedding
from sage_pl.nn.item_encoders.codes import CodeEncoder
from tests.golden.prepared import write_rows
from tests.nn.decoders.tiny import CODES, SIZES, write_tokens

N, DIM, TEXT = len(CODES), 4, 6
ALL = torch.arange(N + 2)


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    return write_tokens(tmp_path / "tokens")


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT)))


def own_rows(codes: CodeEmbedding, item: int) -> torch.Tensor:
    return torch.stack([codes.table(level)[code] for level, code in enumerate(CODES[item - 1])])


def test_levels_share_no_vector(tokens: str) -> None:
    codes = CodeEmbedding(tokens, N, DIM)
    assert codes.weight.shape == (sum(SIZES), DIM)
    assert [codes.table(level).shape[0] for level in range(3)] == list(SIZES)
    torch.testing.assert_close(torch.cat([codes.table(level) for level in range(3)]), codes.weight)
    for item in range(1, N + 1):
        torch.testing.assert_close(codes(torch.tensor(item)), own_rows(codes, item))
    assert not codes(torch.tensor([0, N + 1])).any()


@pytest.mark.parametrize("add_id", [False, True], ids=["codes", "id"])
@pytest.mark.parametrize("add_text", [False, True], ids=["", "text"])
def test_an_item_is_the_sum_of_its_parts(tokens: str, text: str, add_text: bool, add_id: bool) -> None:
    encoder = CodeEncoder(N, tokens, DIM, text, add_text=add_text, add_id=add_id)
    views = encoder.views(ALL)
    for item in range(1, N + 1):
        rows = own_rows(encoder.codes, item)
        torch.testing.assert_close(views["tokens"][item], rows.flatten())
        torch.testing.assert_close(views["codes"][item], rows.sum(0))
        whole = rows.sum(0)
        if add_text:
            whole = whole + encoder.adapter(encoder.text(torch.tensor([item])))[0]
        if encoder.own is not None:
            whole = whole + encoder.own.weight[item]
        torch.testing.assert_close(views["item"][item], whole)
    assert encoder.output(views) is views["item"]
    assert views["item"].shape[1] == encoder.output_dim == encoder.input_dims["item"]
    torch.testing.assert_close(views["codes"][-1], encoder.mask_view)  # the mask token has no codes


def test_only_the_views_asked_for_touch_the_text(tokens: str, text: str) -> None:
    encoder: Any = CodeEncoder(N, tokens, DIM, text)
    encoder.views(ALL, {"item"})["item"].sum().backward()
    assert all(weight.grad is None for weight in encoder.adapter.parameters())
    encoder.views(ALL, {"text"})["text"].sum().backward()
    assert all(weight.grad is not None for weight in encoder.adapter.parameters())


def test_without_text_there_is_no_view_of_it(tokens: str) -> None:
    encoder = CodeEncoder(N, tokens, DIM)
    assert "text" not in encoder.input_dims
    assert "text" not in encoder.views(ALL)
    with pytest.raises(ValueError, match="add_text needs text vectors"):
        CodeEncoder(N, tokens, DIM, add_text=True)


def test_codes_can_be_shared_where_they_are_the_same(tokens: str, tmp_path: Path) -> None:
    encoder, other = CodeEncoder(N, tokens, DIM), CodeEmbedding(tokens, N, DIM)
    encoder.share(other)
    assert encoder.codes is other
    for stranger in (CodeEmbedding(tokens, N, 2 * DIM), CodeEmbedding(write_tokens(tmp_path, CODES[::-1]), N, DIM)):
        with pytest.raises(ValueError, match="give item_encoder and decoder the same tokens and dim"):
            encoder.share(stranger)
