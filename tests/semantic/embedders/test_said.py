"""With a randomly initialised decoder of two layers; no weights and no network are needed."""

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from sage_pl.semantic.embedders.said import IGNORED, SaidEmbedder, losses_per_token, regenerate
from sage_pl.semantic.language_models.loading import ModelError
from tests.semantic.scft.tiny import write_bert, write_llama

TEXTS = ["name1 brand2", "name3", "name1 brand2", "sort4 size5 shade6 name7", "shade8"]
QUICK = {"steps": 5, "lr": 0.1, "device": "cpu"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return write_llama(tmp_path_factory.mktemp("said") / "tiny-llama")


@pytest.fixture
def model(llama):
    return SaidEmbedder(llama, **QUICK)._load()[0]


def test_the_loss_is_that_of_teacher_forcing_token_by_token(model) -> None:
    rows, vectors = [[3, 9, 4, 1], [7, 1]], torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([rows[0], [*rows[1], IGNORED, IGNORED]])
    got = losses_per_token(model, vectors, tokens)
    for row, vector, loss in zip(rows, vectors, got, strict=True):
        total = 0.0
        for t, token in enumerate(row):
            read = torch.cat([vector[None], model.get_input_embeddings()(torch.tensor(row[:t], dtype=torch.long))])
            total -= F.log_softmax(model(inputs_embeds=read[None]).logits[0, -1], dim=0)[token].item()
        assert loss.item() == pytest.approx(total / len(row), abs=1e-5)


def test_only_the_vectors_are_trained_and_the_text_becomes_likelier(model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    vectors, losses = regenerate(model, [[3, 9, 1], [7, 1]], steps=30, lr=0.1)
    assert (losses[-1] < 0.8 * losses[0]).all()
    assert len(losses) == 30
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    start = model.get_input_embeddings().weight.mean(0)
    assert (vectors - start).abs().max() > 0.1


def test_one_step_moves_every_number_by_the_rate(model) -> None:
    vectors, _ = regenerate(model, [[3, 9, 1]], steps=1, lr=0.1)
    start = model.get_input_embeddings().weight.mean(0)
    torch.testing.assert_close((vectors - start).abs(), torch.full((1, 16), 0.1), atol=1e-4, rtol=0)


def test_rows_are_in_id_order_and_do_not_depend_on_batches(llama, make_artifact, tmp_path) -> None:
    texts = make_artifact("texts", texts=pl.DataFrame({"item": range(5, 0, -1), "text": TEXTS[::-1]}))
    tables = []
    for budget in (1, 1000):
        folder = tmp_path / str(budget)
        folder.mkdir()
        SaidEmbedder(llama, **QUICK, batch_tokens=budget).run({"texts": texts}, folder)
        tables.append(np.load(folder / "table.npy"))
    np.testing.assert_allclose(*tables, atol=1e-3)
    table = tables[0]
    assert table.shape == (7, 16)
    assert table.dtype == np.float32
    assert not table[[0, -1]].any()
    np.testing.assert_array_equal(table[1], table[3])
    apart = np.linalg.norm(table[1:-1, None] - table[None, 1:-1], axis=-1)
    assert (apart > 1e-2).sum() == 25 - 5 - 2  # all but each with itself and the two equal texts


def test_two_runs_agree_to_the_bit(llama) -> None:
    first, second = (SaidEmbedder(llama, **QUICK).encode(TEXTS) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_texts_are_cut_behind_so_many_tokens(llama) -> None:
    a, b, c = SaidEmbedder(llama, **QUICK, max_tokens=3).encode(
        ["name1 name2 name3", "name1 name2 name4", "name1 name5"]
    )
    np.testing.assert_array_equal(a, b)
    assert abs(a - c).max() > 1e-2


def test_a_vector_tells_its_text_from_others(llama, model) -> None:
    """After training, a text is likelier behind its own vector than behind those of other texts."""
    rows = [[3, 9, 1], [7, 12, 1], [20, 5, 1]]
    vectors, _ = regenerate(model, rows, steps=40, lr=0.1)
    losses = torch.stack([losses_per_token(model, vectors[i].repeat(3, 1), torch.tensor(rows)) for i in range(3)])
    assert losses.argmin(0).tolist() == [0, 1, 2]


def test_a_model_that_does_not_fit_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match="cannot load the language model 'nobody/nothing'; name a local folder of a decoder"
    ):
        SaidEmbedder("nobody/nothing", offline=True).encode(["a"])
    bert = write_bert(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"is no decoder with an end token; try steps\.embed\.model=smollm2"):
        SaidEmbedder(bert).encode(["a"])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}, {"max_tokens": 1}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"steps\.embed has steps="):
        SaidEmbedder(**wrong)
