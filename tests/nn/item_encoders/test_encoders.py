from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from tests.golden.prepared import write_rows

N, DIM, TEXT = 6, 4, 10


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT)))


@pytest.fixture
def start(tmp_path: Path) -> str:
    return write_rows(tmp_path / "reduce", np.random.default_rng(1).normal(size=(N, DIM)))


def step_on_every_item(encoder: Any) -> None:
    """One optimiser step whose loss asks for every row, padding and mask token included."""
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder.output(encoder.views(torch.arange(N + 2))).pow(3).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", ["id", "dual"])
def test_the_padding_row_stays_zero_and_the_others_move(kind: str, text: str) -> None:
    encoder: Any = IdEncoder(N, DIM) if kind == "id" else DualEncoder(N, text, None, DIM)
    before = encoder.table.weight.detach().clone()
    assert not before[0].any()
    step_on_every_item(encoder)
    assert not encoder.table.weight[0].any()
    assert (encoder.table.weight[1:] != before[1:]).all()


def test_the_id_encoder_scores_what_it_reads() -> None:
    encoder, ids = IdEncoder(N, DIM), torch.tensor([3, 0, 3])
    views = encoder.views(ids)
    assert list(views) == list(encoder.input_dims) == ["id"]
    assert torch.equal(encoder.output(views), encoder.table.weight[ids])
    assert encoder.output_dim == DIM


def test_the_dual_encoder_scores_both_views(text: str, start: str) -> None:
    encoder, ids = DualEncoder(N, text, start, DIM), torch.tensor([5, 1])
    views = encoder.views(ids)
    assert {name: view.shape[-1] for name, view in views.items()} == encoder.input_dims == {"id": DIM, "text": DIM}
    torch.testing.assert_close(views["text"], encoder.adapter(torch.from_numpy(np.load(f"{text}/table.npy")))[ids])
    assert torch.equal(encoder.output(views), torch.cat([views["id"], views["text"]], -1))
    assert encoder.output_dim == 2 * DIM


def test_the_table_starts_from_the_reduced_text(text: str, start: str) -> None:
    encoder = DualEncoder(N, text, start, DIM)
    assert np.array_equal(encoder.table.weight.detach().numpy(), np.load(f"{start}/table.npy"))


def test_frozen_text_is_constant_and_no_part_of_the_checkpoint(text: str) -> None:
    encoder, before = DualEncoder(N, text, None, DIM), np.load(f"{text}/table.npy")
    step_on_every_item(encoder)
    assert encoder.text.table.grad is None
    assert "text.table" not in encoder.state_dict()
    assert "text" not in dict(encoder.named_parameters())
    assert encoder.text.table.numpy().tobytes() == np.load(f"{text}/table.npy").tobytes() == before.tobytes()


def test_unfrozen_text_is_trained_and_stored(text: str) -> None:
    encoder, before = DualEncoder(N, text, None, DIM, freeze=False), np.load(f"{text}/table.npy")
    step_on_every_item(encoder)
    assert "text.table" in encoder.state_dict()
    assert (encoder.text.table.detach().numpy()[1:-1] != before[1:-1]).all()
    assert np.array_equal(np.load(f"{text}/table.npy"), before), "the artifact itself must not change"


@pytest.mark.parametrize("wrong", ["text", "start"])
def test_a_table_of_another_data_set_is_refused(wrong: str, text: str, start: str) -> None:
    tables: dict[str, Any] = {"text": text, "start": start}
    np.save(f"{tables[wrong]}/table.npy", np.zeros((N + 3, DIM), np.float32))
    with pytest.raises(ValueError, match=f"table.npy has {N + 3} rows, wanted {N + 2}.*prepare"):
        DualEncoder(N, tables["text"], tables["start"], DIM)


def test_a_start_of_another_width_is_refused(text: str, start: str) -> None:
    with pytest.raises(ValueError, match=rf"{DIM} wide, item_encoder.dim is 8; set steps.reduce.dim=8"):
        DualEncoder(N, text, start, dim=8)


@pytest.mark.parametrize("standardise", [False, True])
def test_a_direction_that_all_texts_share_tells_no_item_from_another(standardise: bool, tmp_path: Path) -> None:
    """Vectors with a common part as large as that of a sentence encoder: adapted as they are, items look alike."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(50, TEXT)) + 3 * random.normal(size=TEXT)
    torch.manual_seed(0)
    encoder = DualEncoder(50, write_rows(tmp_path / "embed", rows), None, 32, standardise=standardise)
    views = encoder.views(torch.arange(51))["text"]
    common = torch.nn.functional.normalize(views[1:] - views[0], dim=1).mean(0).norm().item()
    assert common < 0.3 if standardise else common > 0.8
