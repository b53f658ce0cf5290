import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.decoders.bilinear import BilinearDecoder
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.transformer import TransformerDecoder
from sage_pl.types import Memory
from tests.nn.decoders.tiny import (
    CODES,
    NETWORKS,
    SHARED,
    make_decoder,
    make_memory,
    naive_log_probs,
    naive_output,
    write_tokens,
)

NORMALISE = ("children", "codes")


def ids_of(decoder: ItemDecoder, users: int = 5) -> torch.Tensor:
    return torch.arange(1, decoder.n_items + 1).expand(users, -1)


def test_by_hand(tmp_path: Path) -> None:
    """Three items 00, 01, 10 and a network that hands on the state (1, 0): what counts is the codes' first coordinate."""
    decoder = ItemDecoder(write_tokens(tmp_path, [[0, 0], [0, 1], [1, 0]], [2, 3]), 3, BilinearDecoder(2)).double()
    with torch.no_grad():
        decoder.codes.weight.copy_(torch.tensor([[2.0, 5], [1, -3], [0.5, 1], [-1, 2], [4, 0]]))
    memory = Memory(torch.tensor([[[1.0, 0]]]).double(), torch.ones(1, 1, dtype=torch.bool))
    first = [math.exp(2) / (math.exp(2) + math.exp(1)), math.exp(1) / (math.exp(2) + math.exp(1))]
    second = math.exp(0.5) / (math.exp(0.5) + math.exp(-1))
    expected = [first[0] * second, first[0] * (1 - second), first[1]]  # 10 is the only item below 1
    assert decoder.all_log_probs(memory).exp()[0].tolist() == pytest.approx(expected)
    decoder.normalise = "codes"
    lost = sum(math.exp(logit) for logit in (0.5, -1, 4))
    expected = [first[0] * math.exp(0.5) / lost, first[0] * math.exp(-1) / lost, first[1] * math.exp(0.5) / lost]
    assert decoder.all_log_probs(memory).exp()[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("codes", [CODES, SHARED], ids=["unique", "shared"])
@pytest.mark.parametrize("normalise", NORMALISE)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_way_of_scoring_equals_one_item_at_a_time(
    name: str, normalise: str, codes: list[list[int]], tmp_path: Path
) -> None:
    decoder = make_decoder(tmp_path, name, codes, (3, 2, 3)[: len(codes[0])], normalise=normalise)
    memory = make_memory(decoder)
    expected = naive_log_probs(decoder, memory, codes)
    exact = {"atol": 1e-10, "rtol": 0}
    torch.testing.assert_close(decoder.log_probs(memory, ids_of(decoder)), expected, **exact)
    for floats in (1, 50_000_000):  # one user at a time, all at once
        torch.testing.assert_close(decoder.all_log_probs(memory, floats), expected.detach(), **exact)
    if normalise == "children":
        torch.testing.assert_close(expected.exp().sum(1), torch.ones(5).double(), **exact)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_reads_each_prefix_for_itself(name: str, tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path, name)
    memory, table = make_memory(decoder), decoder.codes.table
    state = decoder.network.begin(memory)
    state = decoder.network.advance(state, table(0)[[2, 0]][None], torch.tensor([[0, 0]]))
    state = decoder.network.advance(state, table(1)[[1, 0, 1]][None], torch.tensor([[1, 0, 0]]))
    outputs = decoder.network.outputs(state)
    for user, (vectors, mask) in enumerate(zip(memory.vectors, memory.mask, strict=True)):
        for place, (first, second) in enumerate([(0, 1), (2, 0), (2, 1)]):
            expected = naive_output(decoder, vectors[mask], [table(0)[first], table(1)[second]])
            torch.testing.assert_close(outputs.expand(5, -1, -1)[user, place], expected, atol=1e-12, rtol=0)
    rows, codes = torch.tensor([2, 0, 2, 1]), table(2)[[0, 2, 1, 1]]
    products = decoder.network.products(state, rows, codes)
    torch.testing.assert_close(products, (outputs[:, rows] * codes).sum(-1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_weight_and_the_memory(name: str, tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path, name)
    memory = make_memory(decoder)
    states = memory.vectors.requires_grad_()
    decoder.log_probs(memory, torch.tensor([[1], [2], [3], [4], [5]])).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in decoder.parameters())
    reached = states.grad.abs().sum(-1) > 0
    assert torch.equal(reached, memory.mask)  # padding has no influence
    used = decoder.codes.weight.grad.abs().sum(1)[:3] > 0
    assert used.all()  # every first code is an alternative


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_finite_at_large_states(name: str, tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path, name)
    memory = make_memory(decoder)
    scores = decoder.all_log_probs(Memory(memory.vectors * 1e4, memory.mask))
    assert scores.isfinite().all()
    assert (scores <= 1e-9).all()


def test_an_unknown_normalisation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"normalise is 'tree', wanted 'children' or 'codes'"):
        make_decoder(tmp_path, normalise="tree")


def test_a_checkpoint_of_other_codes_is_refused(tmp_path: Path) -> None:
    one, other = make_decoder(tmp_path / "a"), make_decoder(tmp_path / "b", codes=CODES[::-1])
    with pytest.raises(ValueError, match=r"other item codes than the tokens artifact holds"):
        one.load_state_dict(other.state_dict())
    one.load_state_dict(make_decoder(tmp_path / "c").state_dict())


def test_codes_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"codes.npy is \[9, 3\], wanted \[11, 3\]"):
        ItemDecoder(write_tokens(tmp_path), 9, BilinearDecoder(4))
    outside = np.array(CODES)
    outside[2, 1] = 2
    with pytest.raises(ValueError, match=r"outside 0..V - 1 of their level, V = \[3, 2, 3\]"):
        ItemDecoder(write_tokens(tmp_path, outside), 7, BilinearDecoder(4))


@pytest.mark.parametrize("network", [BilinearDecoder(4, levels=2), TransformerDecoder(4, levels=2)])
def test_more_codes_than_a_network_reads_are_refused(tmp_path: Path, network: Any) -> None:
    with pytest.raises(ValueError, match=r"items have 3 codes.*at most 2; use \+decoder\.network\.levels=3"):
        ItemDecoder(write_tokens(tmp_path), len(CODES), network)
