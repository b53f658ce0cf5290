import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.data.targets import NextItem
from sage_pl.nn.decoders.bilinear import BilinearDecoder
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_groups import CodeGroups
from sage_pl.nn.losses.code_negatives import CodeNegatives
from sage_pl.nn.losses.code_tasks import QueryToCode, TextsToCode, TextToCode
from sage_pl.nn.losses.code_texts import CodeToText, StateToText
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.types import Memory
from tests.golden.prepared import draw, make_backbone, write_rows, write_sequences
from tests.nn.decoders.tiny import CODES, naive_log_probs, random_codes, write_tokens
from tests.nn.losses.coding import N, make_step

EXACT = {"atol": 1e-12, "rtol": 0}


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    """Items 1, 2 and 3 occur in training."""
    return write_sequences(tmp_path / "sequences", [[1, 2, 4, 5], [3, 1, 6, 7], [2, 3, 5, 5]], N)


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    return write_tokens(tmp_path / "tokens")


def of(step: Any, vectors: torch.Tensor, items: list[int]) -> torch.Tensor:
    """Log-probability of each item given one state each."""
    memory = Memory(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool))
    return naive_log_probs(step.decoder, memory, CODES)[torch.arange(len(items)), torch.tensor(items) - 1]


def moved(step: Any, view: str) -> list[int]:
    """Rows of a view that a backward pass reached."""
    grad = getattr(step.items, view).grad
    return [] if grad is None else grad.abs().sum(1).nonzero().flatten().tolist()


@pytest.mark.parametrize(("trained", "expected"), [(True, [1, 2, 3]), (False, [1, 2, 3, 4, 5, 6, 7])])
def test_items_are_drawn_uniformly_and_without_repetition(sequences: str, trained: bool, expected: list[int]) -> None:
    torch.manual_seed(0)
    everything, two = (TextToCode(1.0, sequences, count, trained) for count in (99, 2))
    assert sorted(everything.draw({}, 0).tolist()) == expected
    count = Counter(item for _ in range(700) for item in two.draw({}, 0).tolist())
    assert all(abs(count[item] - 1400 / len(expected)) < 100 for item in expected)
    assert all(len(set(two.draw({}, 0).tolist())) == 2 for _ in range(50))


def test_a_kind_is_what_shares_the_first_code(tokens: str) -> None:
    torch.manual_seed(0)
    groups = CodeGroups(tokens, N)
    for item, own in enumerate(CODES, start=1):
        drawn = Counter(groups.draw(torch.full((600,), item)).tolist())
        kind = [other for other, codes in enumerate(CODES, start=1) if codes[0] == own[0]]
        assert sorted(drawn) == kind
        assert all(abs(drawn[other] - 600 / len(kind)) < 90 for other in kind)
    assert groups.draw(torch.tensor([0, N + 1])).shape == (2,)
    assert groups.levels == 3


def test_text_to_code_by_hand(sequences: str, tmp_path: Path) -> None:
    step, term = make_step(tmp_path), TextToCode(0.1, sequences, count=4)
    drawn = draw(term, step.batch)
    assert [ids.tolist() for ids in term.item_ids(step.batch)] == [drawn.tolist()]
    loss = term(step)
    torch.testing.assert_close(loss, -of(step, step.items.text[drawn], drawn.tolist()).mean(), **EXACT)
    loss.backward()
    assert moved(step, "text") == sorted(drawn.tolist())
    assert step.hidden.grad is None
    assert moved(step, "codes") == []


def test_text_to_code_from_text_as_long_as_a_state(sequences: str, tmp_path: Path) -> None:
    step, term = make_step(tmp_path), TextToCode(0.1, sequences, count=4, layer_norm=True)
    drawn = draw(term, step.batch)
    text = step.items.text[drawn]
    text = (text - text.mean(1, keepdim=True)) / (text.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(term(step), -of(step, text, drawn.tolist()).mean(), **EXACT)


@pytest.mark.parametrize("layer_norm", [False, True], ids=["as adapted", "layer norm"])
def test_text_to_code_learns_beside_the_recommendation_loss(layer_norm: bool, tmp_path: Path) -> None:
    """Fifty steps of Adam, text of length 1: the loss leaves ln N only from text as long as a state."""
    codes, random = random_codes(0, 200, (8, 8, 8)), np.random.default_rng(0)
    n, dim = len(codes), 64
    tokens = write_tokens(tmp_path / "tokens", codes, (8, 8, 8))
    text = random.normal(size=(n, 32))
    folder = write_rows(tmp_path / "text", text / np.linalg.norm(text, axis=1, keepdims=True))
    histories = random.integers(1, n + 1, (100, 8))
    sequences = write_sequences(tmp_path / "sequences", histories.tolist(), n)
    torch.manual_seed(0)
    model = GenerativeRecommender(
        CodeEncoder(n, tokens, dim, folder),
        SingleView(make_backbone("sasrec", dim, 8).train(), "item"),
        NextItem(),
        ItemDecoder(tokens, n, BilinearDecoder(dim)),
        CodeCrossEntropy(sequences),
        {"text_to_code": TextToCode(0.1, sequences, 256, layer_norm=layer_norm)},
    ).float()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    batch: Any = {"items": torch.from_numpy(histories), "user": torch.arange(100)}
    for _ in range(50):
        losses = model.losses(batch)
        optimizer.zero_grad()
        (losses["recommendation"] + 0.1 * losses["text_to_code"]).backward()
        optimizer.step()
    share = losses["text_to_code"].item() / math.log(n)
    assert share < 0.93 if layer_norm else share > 0.97


def test_texts_to_code_by_hand(tmp_path: Path) -> None:
    """The state is twice the text of the item at the position."""
    step = make_step(tmp_path)
    loss = TextsToCode(0.1)(step)
    torch.testing.assert_close(loss, -of(step, 2 * step.items.text[[1, 2, 3]], [2, 5, 7]).mean(), **EXACT)
    loss.backward()
    assert moved(step, "text") == [1, 2, 3]
    assert step.hidden.grad is None


def test_query_to_code_asks_by_an_item_of_the_kind(tokens: str, tmp_path: Path) -> None:
    step, term = make_step(tmp_path), QueryToCode(0.1, tokens, N)
    draw(term, step.batch)
    (asked,) = term.item_ids(step.batch)
    assert asked.shape == step.batch["targets"].shape
    positions = [(0, 0), (0, 1), (1, 1)]
    queries = [int(asked[position]) for position in positions]
    for query, item in zip(queries, [2, 5, 7], strict=True):
        assert CODES[query - 1][0] == CODES[item - 1][0]
    states = torch.stack([step.hidden[position] for position in positions])
    loss = term(step)
    torch.testing.assert_close(loss, -of(step, states + step.items.text[queries], [2, 5, 7]).mean(), **EXACT)


def test_query_to_code_adds_queries_as_long_as_states(tokens: str, tmp_path: Path) -> None:
    step, term = make_step(tmp_path), QueryToCode(0.1, tokens, N, layer_norm=True)
    draw(term, step.batch)
    positions = [(0, 0), (0, 1), (1, 1)]
    text = step.items.text[[int(term.item_ids(step.batch)[0][position]) for position in positions]]
    text = (text - text.mean(1, keepdim=True)) / (text.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    states = torch.stack([step.hidden[position] for position in positions])
    torch.testing.assert_close(term(step), -of(step, states + text, [2, 5, 7]).mean(), **EXACT)


def test_query_to_code_with_written_queries(tokens: str, tmp_path: Path) -> None:
    queries = write_rows(tmp_path / "queries", np.random.default_rng(0).normal(size=(N, 6)))
    step, term = make_step(tmp_path), QueryToCode(0.1, tokens, N, 4, queries).double()
    assert draw(term, step.batch) is None
    assert term.item_ids(step.batch) == []
    states = torch.stack([step.hidden[0, 0], step.hidden[0, 1], step.hidden[1, 1]])
    asked = term.adapter(term.queries(torch.tensor([2, 5, 7])))  # type: ignore[misc]
    torch.testing.assert_close(term(step), -of(step, states + asked, [2, 5, 7]).mean(), **EXACT)


def test_code_to_text_by_hand(sequences: str, tmp_path: Path) -> None:
    step, term = make_step(tmp_path), CodeToText(0.1, sequences, count=3, temperature=0.5)
    draw(term, step.batch)
    drawn = term.item_ids(step.batch)[0].tolist()
    loss = term(step)
    cosines = [
        [torch.cosine_similarity(step.items.codes[i], step.items.text[j], dim=0) / 0.5 for j in drawn] for i in drawn
    ]
    table = torch.stack([torch.stack(row) for row in cosines])
    expected = -(table.log_softmax(0).diagonal() + table.log_softmax(1).diagonal()).mean() / 2
    torch.testing.assert_close(loss, expected, **EXACT)
    loss.backward()
    assert moved(step, "text") == moved(step, "codes") == sorted(drawn)
    assert step.hidden.grad is None


def test_state_to_text_by_hand(tmp_path: Path) -> None:
    """Two of three positions predict item 5, so the other one is no candidate of either."""
    step = make_step(tmp_path, targets=((5, 2), (0, 5)))
    loss = StateToText(0.1, temperature=0.5)(step)
    text, states = step.items.text, [step.hidden[0, 0], step.hidden[0, 1], step.hidden[1, 1]]

    def logit(state: torch.Tensor, item: int) -> torch.Tensor:
        return torch.cosine_similarity(state, text[item], dim=0) / 0.5

    terms = []
    for state, own, candidates in zip(states, [5, 2, 5], [[5, 2], [2, 5, 5], [5, 2]], strict=True):
        logits = torch.stack([logit(state, item) for item in candidates])
        terms.append(logits.exp().sum().log() - logit(state, own))
    torch.testing.assert_close(loss, torch.stack(terms).mean(), **EXACT)
    loss.backward()
    assert moved(step, "text") == [2, 5]
    assert moved(step, "codes") == []
    assert all(weight.grad is None for weight in step.decoder.parameters())


def test_state_to_text_compares_a_sample_of_many_positions(tmp_path: Path) -> None:
    assert StateToText(0.1, max_positions=1)(make_step(tmp_path)) == 0  # one candidate: nothing to tell apart


def test_negatives_by_hand(tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, term = make_step(tmp_path), CodeNegatives(0.05, tokens, N)
    others = {2: [4, 2, 1, 3], 5: [1, 7, 6, 5], 7: [3, 2, 7, 7]}  # an item is not its own negative
    monkeypatch.setattr(term, "negatives", lambda ids: torch.tensor([others[int(i)] for i in ids]))
    draw(term, step.batch, epoch=2)
    states = {2: step.hidden[0, 0], 5: step.hidden[0, 1], 7: step.hidden[1, 1]}
    losses = []
    for item, negatives in others.items():
        for other in (n for n in negatives if n != item):
            scores = of(step, states[item].expand(2, -1), [item, other])
            losses.append(-torch.log(torch.sigmoid((scores[0] - scores[1]) / 3)))
    assert len(losses) == 8
    torch.testing.assert_close(term(step), torch.stack(losses).mean(), **EXACT)


def test_negatives_are_two_of_all_and_two_of_the_kind(tokens: str) -> None:
    torch.manual_seed(0)
    drawn = CodeNegatives(0.05, tokens, N).negatives(torch.full((900, 1), 4))
    assert drawn.shape == (900, 4)
    assert set(drawn[:, :2].flatten().tolist()) == set(range(1, N + 1))
    assert set(drawn[:, 2:].flatten().tolist()) == {4, 5, 6}


def test_negatives_wait_for_their_epoch(tokens: str, tmp_path: Path) -> None:
    term, step = CodeNegatives(0.05, tokens, N, after=2), make_step(tmp_path)
    state = torch.get_rng_state()
    assert draw(term, step.batch, epoch=1) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert term(step) == 0
    assert draw(term, step.batch, epoch=2).shape == (3, 5)
    assert term(step) > 0


@pytest.mark.parametrize(
    "kind", ["text_to_code", "texts_to_code", "query", "code_to_text", "state_to_text", "negatives"]
)
def test_whatever_the_padding_and_without_predictions(kind: str, sequences: str, tokens: str, tmp_path: Path) -> None:
    make: Any = {
        "text_to_code": lambda: TextToCode(0.1, sequences),
        "texts_to_code": lambda: TextsToCode(0.1),
        "query": lambda: QueryToCode(0.1, tokens, N),
        "code_to_text": lambda: CodeToText(0.1, sequences),
        "state_to_text": lambda: StateToText(0.1),
        "negatives": lambda: CodeNegatives(0.1, tokens, N),
    }[kind]
    term = make()
    assert isinstance(term, LossTerm)
    losses = []
    for padding in (0, 3):
        step = make_step(tmp_path, padding=padding)
        torch.manual_seed(1)
        draw(term, step.batch, epoch=9)
        if kind == "query":
            step.batch["draws"] = {term.name: torch.where(step.batch["targets"] > 0, 6, 0)}
        losses.append(term(step))
    torch.testing.assert_close(*losses, **EXACT)
    empty = make_step(tmp_path, targets=((0, 0), (0, 0)))
    draw(term, empty.batch, epoch=9)
    loss = term(empty)
    assert loss.isfinite()
    assert (loss == 0) == (kind not in ("text_to_code", "code_to_text"))
