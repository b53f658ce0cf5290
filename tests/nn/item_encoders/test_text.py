import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sage_pl.nn.item_encoders.adapter import MLPAdapter
from sage_pl.nn.item_encoders.item_text import standardised
from sage_pl.nn.item_encoders.text import TextEncoder
from tests.golden import naive
from tests.golden.prepared import write_rows

N, DIM, TEXT = 6, 4, 10
EVERY = torch.arange(N + 2)


@pytest.fixture
def text(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT)))


def step_on(encoder: Any, ids: torch.Tensor) -> None:
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder.output(encoder.views(ids)).pow(3).sum().backward()
    optimizer.step()


def test_an_item_is_its_adapted_text(text: str) -> None:
    encoder, ids = TextEncoder(N, text, DIM), torch.tensor([5, 1, 5])
    views = encoder.views(ids)
    assert list(views) == list(encoder.input_dims) == ["text"]
    assert encoder.input_dims["text"] == encoder.output_dim == DIM
    vectors = torch.from_numpy(np.load(f"{text}/table.npy"))[ids]
    torch.testing.assert_close(views["text"], naive.adapt(encoder.adapter, vectors))
    assert encoder.output(views) is views["text"]


def test_the_mask_token_has_a_learned_vector_of_its_own(text: str) -> None:
    encoder = TextEncoder(N, text, DIM)
    before = encoder.mask_view.detach().clone()
    assert before.any()
    assert torch.equal(encoder.views(torch.tensor([2, N + 1]))["text"][1], before)

    adapter = {name: value.clone() for name, value in encoder.adapter.state_dict().items()}
    step_on(encoder, torch.tensor([N + 1, N + 1]))
    assert (encoder.mask_view != before).all()
    for name, value in encoder.adapter.state_dict().items():
        assert torch.equal(value, adapter[name]), "the mask token must not train the adapter"


def test_items_do_not_train_the_mask_token(text: str) -> None:
    encoder = TextEncoder(N, text, DIM)
    encoder.views(EVERY[:-1])["text"].sum().backward()
    assert encoder.mask_view.grad is not None, "it is part of every step, so that data-parallel training finds it"
    assert not encoder.mask_view.grad.any()


def test_frozen_text_is_constant_and_no_part_of_the_checkpoint(text: str) -> None:
    encoder, before = TextEncoder(N, text, DIM), np.load(f"{text}/table.npy")
    step_on(encoder, EVERY)
    assert "text.table" not in encoder.state_dict()
    assert "text" not in dict(encoder.named_parameters())
    assert encoder.text.table.numpy().tobytes() == np.load(f"{text}/table.npy").tobytes() == before.tobytes()


def test_unfrozen_text_is_trained_and_stored(text: str) -> None:
    encoder, before = TextEncoder(N, text, DIM, freeze=False), np.load(f"{text}/table.npy")
    step_on(encoder, EVERY)
    assert "text.table" in encoder.state_dict()
    assert (encoder.text.table.detach().numpy()[1:-1] != before[1:-1]).all()
    assert np.array_equal(np.load(f"{text}/table.npy"), before), "the artifact itself must not change"


@pytest.mark.parametrize(
    "adapter",
    [nn.Linear, functools.partial(nn.Linear, bias=False), functools.partial(MLPAdapter, hidden_dim=3, dropout=0.5)],
    ids=["linear", "no-bias", "mlp"],
)
def test_any_module_of_two_widths_is_an_adapter(adapter: Any, text: str) -> None:
    encoder = TextEncoder(N, text, DIM, adapter)
    assert encoder.adapter.training
    encoder.eval()
    expected = encoder.adapter(encoder.text.table)[[4, 2]]
    torch.testing.assert_close(encoder.output(encoder.views(torch.tensor([4, 2]))), expected)


def test_an_adapter_of_another_width_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=rf"Identity maps text of width {TEXT} to {TEXT}, item_encoder.dim is {DIM}"):
        TextEncoder(N, text, DIM, adapter=nn.Identity)
    encoder = TextEncoder(N, text, TEXT, adapter=nn.Identity)
    assert torch.equal(encoder.views(torch.tensor([3]))["text"], encoder.text.table[[3]])


def test_a_table_of_another_data_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"table.npy has {N + 2} rows, wanted {N + 3}.*prepare"):
        TextEncoder(N + 1, text, DIM)


def test_standardising_is_a_switch(text: str) -> None:
    rows = torch.from_numpy(np.load(f"{text}/table.npy"))
    assert torch.equal(TextEncoder(N, text, DIM).text.table, rows)
    assert torch.equal(TextEncoder(N, text, DIM, standardise=True).text.table, standardised(rows))
