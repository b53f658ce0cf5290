"""With a randomly initialised decoder of two layers; no weights and no network are needed."""

import logging

import numpy as np
import pytest
import torch

from sage_pl.data.sequences import Sequences
from sage_pl.semantic.embedders.tslrec import IdentityReader, TslrecEmbedder, item_categories, preferences
from sage_pl.semantic.scft.lora import Lora
from tests.semantic.scft.tiny import write_llama

# Two kinds of users: items 1 2 3 and items 4 5 6; item 7 occurs only where it is held out.
USERS = [[1, 2, 3, 1, 7, 7], [3, 2, 1, 3, 4, 4], [4, 5, 6, 4, 1, 1], [6, 5, 4, 6, 7, 2]] * 3
QUICK = {"steps": 60, "batch_size": 4, "lr": 0.02, "categories": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return write_llama(tmp_path_factory.mktemp("tslrec") / "tiny-llama")


@pytest.fixture
def inputs(make_sequences, make_artifact):
    table = np.zeros((9, 4), dtype=np.float32)
    table[1:4, 0], table[4:7, 1] = 1, 1
    table += np.random.default_rng(0).normal(scale=0.1, size=table.shape).astype(np.float32)
    return {"sequences": make_sequences(USERS), "plain": make_artifact("plain", item_table=table)}


def reader_of(llama, seed: int = 0) -> IdentityReader:
    torch.manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(7, 4), dim=1)
    return TslrecEmbedder(llama, **QUICK)._reader(vectors.numpy(), 2)


def test_categories_and_preferences_by_hand(inputs) -> None:
    sequences = Sequences.load(inputs["sequences"])
    vectors = inputs["plain"].array("item_table")[1:-1]
    categories = item_categories(vectors, sequences.train_counts[1:-1] > 0, 2, seed=0)
    first, second = categories[0], categories[3]
    assert categories.tolist() == [first] * 3 + [second] * 3 + [-1]
    assert {first, second} == {0, 1}
    by_hand = preferences(sequences, np.array([0, 0, 1, 1, 2, 2, -1]))
    assert by_hand[0].tolist() == [0, 0, 0]
    assert by_hand[1].tolist() == [0.75, 0.25, 0], "training items 1 2 3 1"
    assert by_hand[2].tolist() == [0.5, 0.5, 0], "training items 3 2 1 3"


def test_padding_and_other_users_change_no_state(llama) -> None:
    reader = reader_of(llama).eval()
    with torch.no_grad():
        together = reader.states(torch.tensor([[0, 0, 3], [1, 2, 5]]))
        alone = reader.states(torch.tensor([[3]]))[0], reader.states(torch.tensor([[0, 1, 2, 5]]))[0]
    for row in range(2):
        torch.testing.assert_close(together[row], alone[row], atol=1e-5, rtol=0)
    assert not torch.allclose(together[1], reader.states(torch.tensor([[2, 1, 5]]))[0])


def test_the_state_is_that_of_the_last_token_of_the_prompt(llama) -> None:
    reader = reader_of(llama).eval()
    with torch.no_grad():
        soft = reader.vectors[[0, 4]] @ reader.project.weight.T + reader.project.bias
        tokens = torch.cat([reader.before, soft, reader.after])[None]
        expected = reader.model(inputs_embeds=tokens, output_hidden_states=True).hidden_states[-1][0, -1]
        torch.testing.assert_close(reader.states(torch.tensor([[1, 5]]))[0], expected, atol=1e-5, rtol=0)


def test_the_loss_is_the_divergence_of_the_preferences(llama) -> None:
    reader = reader_of(llama).eval()
    items, tastes = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    logits = reader.head(reader.states(items)).log_softmax(1)
    first = -logits[0, 0]
    second = 0.25 * (np.log(0.25) - logits[1, 0]) + 0.75 * (np.log(0.75) - logits[1, 1])
    torch.testing.assert_close(reader.loss(items, tastes), (first + second) / 2)


@pytest.mark.parametrize("lora", [None, Lora(r=2, alpha=4, dropout=0.0)], ids=["frozen", "lora"])
def test_items_of_one_taste_are_near_and_an_unseen_one_has_no_vector(lora, llama, inputs, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        TslrecEmbedder(llama, lora=lora, **QUICK).run(inputs, tmp_path)
    table = np.load(tmp_path / "table.npy")
    assert (table.shape, table.dtype) == ((9, 16), np.float32)
    assert not table[[0, 7, 8]].any()
    assert "1 of 7 items have no training event and get zero rows" in caplog.text
    before, after = (
        float(part.split()[-1].rstrip(","))
        for part in caplog.text.split("divergence ")[1].splitlines()[0].split(", after")
    )
    assert after < 0.5 * before
    centred = table[1:7] - table[1:7].mean(0)
    similar = centred @ centred.T
    assert similar[:3, :3].min() > similar[:3, 3:].max()


def test_two_runs_agree_to_the_bit(llama, inputs, tmp_path) -> None:
    tables = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        torch.manual_seed(len(tables))  # a state of the caller's own changes nothing
        TslrecEmbedder(llama, lora=Lora(r=2), **{**QUICK, "steps": 5}).run(inputs, tmp_path / name)
        tables.append(np.load(tmp_path / name / "table.npy"))
    np.testing.assert_array_equal(*tables)


def test_only_projector_head_and_adapters_are_trained(llama, inputs, tmp_path, monkeypatch) -> None:
    readers, make = [], TslrecEmbedder._reader
    monkeypatch.setattr(TslrecEmbedder, "_reader", lambda *given: readers.append(make(*given)) or readers[-1])
    TslrecEmbedder(llama, **{**QUICK, "steps": 3}).run(inputs, tmp_path)
    assert all(not weight.requires_grad and weight.grad is None for weight in readers[0].model.parameters())
    assert readers[0].project.weight.grad.any()


def test_data_without_training_events_are_refused(llama, make_sequences, make_artifact, tmp_path) -> None:
    sequences = make_sequences([[1, 2, 3]], n_items=3)
    np.save(sequences.path / "train_end.npy", np.array([0, 0]))
    plain = make_artifact("plain", item_table=np.ones((5, 4), np.float32))
    with pytest.raises(ValueError, match="no item has training events"):
        TslrecEmbedder(llama).run({"sequences": sequences, "plain": plain}, tmp_path)
