"""The fused score against the formula, item by item in float64; what it may read; how its weights are chosen."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Cases, Sequences
from sage_pl.data.transitions import Transitions, walks
from sage_pl.nn.modules.untrained import untrained
from sage_pl.nn.scorers.choosing import Gains, best, chosen_weights
from sage_pl.nn.scorers.filling import Filling
from sage_pl.nn.scorers.fused import Weights
from sage_pl.nn.scorers.fusion import Fusion
from sage_pl.nn.scorers.recent_text import RecentText
from sage_pl.types import Case
from tests.golden.prepared import left_pad, normal, write_rows, write_sequences

N, TEXT = 9, 5
TRAIN = [[1, 2, 3, 1], [2, 3, 4], [5, 1, 2, 6, 5]]  # items 7, 8, 9 are unseen
HISTORIES = [[3, 1, 3], [2, 7, 6, 5, 4], [6], [9, 9, 2, 1]]
WEIGHTS = Weights(0.7, 0.4, 1.5, 0.6, 0.9, 0.8)


def sequences(held_out: int = 4) -> Sequences:
    """The training events of TRAIN, each followed by two held-out events of another item."""
    users = [[*items, held_out, held_out] for items in TRAIN]
    offsets = np.concatenate([[0, 0], np.cumsum([len(items) for items in users])])
    nobody = Cases(*(np.zeros(0, np.int64) for _ in range(3)))
    ends = np.array([0, *(len(items) for items in TRAIN)])
    return Sequences(np.concatenate(users), offsets, ends, nobody, nobody, N)


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT), loc=0.2))


@pytest.fixture
def transitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    out = tmp_path / "transitions"
    out.mkdir()
    monkeypatch.setattr(Sequences, "load", staticmethod(lambda artifact: sequences()))
    Transitions().run({"sequences": Artifact("", out, {})}, out)
    return str(out)


def dense_walks() -> NDArray[np.float64]:
    counts = np.zeros((N + 2, N + 2))
    for items in TRAIN:
        for one, next_one in itertools.pairwise(items):
            counts[one, next_one] += 1
    both = counts + 0.5 * counts.T
    step = np.divide(both, both.sum(1, keepdims=True), out=np.zeros_like(both), where=both.sum(1, keepdims=True) > 0)
    return step + 0.3 * step @ step


def naive(scores: Tensor, text: str, weights: Weights, recurs: bool) -> list[list[float]]:
    """The formula of the class, one user and one item at a time."""
    table = np.load(f"{text}/table.npy").astype(np.float64)
    has_text = table.any(1)
    x = np.where(has_text[:, None], table - table[has_text].mean(0), 0)
    x = x / np.where(has_text, np.linalg.norm(x, axis=1), 1)[:, None]
    trained = sorted({item for items in TRAIN for item in items})
    walk, result = dense_walks(), []
    for row, history in enumerate(HISTORIES):
        own = [float(value) for value in scores[row]]
        for item in {*range(1, N + 1)} - {*trained} - {*np.flatnonzero(~has_text)}:
            near = sorted(((x[item] @ x[other], other) for other in trained if has_text[other]), reverse=True)[:3]
            shares = [math.exp(cosine / 0.1) for cosine, _ in near]
            own[item] = sum(s * float(scores[row, o]) for s, (_, o) in zip(shares, near, strict=True)) / sum(shares)
        sd = np.std([own[item] for item in trained])
        recent = [0.5**age for age in range(len(history))]
        profile = sum(w * x[item] for w, item in zip(recent, reversed(history), strict=True))
        cosines = [float(profile @ x[item] / np.linalg.norm(profile)) for item in range(1, N + 1)]
        fused = {}
        for item in range(1, N + 1):
            reach = sum(w * walk[h, item] for w, h in zip(recent, reversed(history), strict=True)) / sum(recent)
            fused[item] = own[item] + sd * (
                weights.text * cosines[item - 1] / np.std(cosines) + weights.transitions * math.log(1 + 200 * reach)
            )
        if recurs:
            total = sum(math.exp(own[item]) for item in range(1, N + 1))
            mass = sum(math.exp(own[item]) / total for item in set(history))
            others = sum(math.exp(fused[item]) for item in fused if item not in history)
            for item in fused:
                if item in history:
                    age = list(reversed(history)).index(item)
                    bonus = weights.copy - weights.position * math.log(1 + age)
                    bonus += weights.habit * min(1, math.sqrt(3 * (1 - len(set(history)) / len(history))))
                    fused[item] = (
                        math.log(math.exp(own[item]) / total) + bonus + weights.times * math.log(history.count(item))
                    )
                else:
                    fused[item] = math.log(1 - mass) + fused[item] - math.log(others)
        result.append([fused[item] for item in range(1, N + 1)])
    return result


@pytest.mark.parametrize("without_text", [[], [2, 8]], ids=["texts", "two_without"])
@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_it_equals_the_formula_item_by_item(
    tmp_path: Path, transitions: str, seen: Literal["keep", "mask"], without_text: list[int]
) -> None:
    rows = np.random.default_rng(0).normal(size=(N, TEXT), loc=0.2)
    rows[[item - 1 for item in without_text]] = 0  # of a trained and an unseen item
    text = write_rows(tmp_path / "embed", rows)
    scorer = Fusion(N, text, transitions, seen, neighbours=3).double()
    scorer.weights.copy_(torch.tensor(WEIGHTS))
    scores = normal(len(HISTORIES), N + 2)
    got = scorer(scores, left_pad(HISTORIES))[:, 1:-1]
    expected = torch.tensor(naive(scores, text, WEIGHTS, seen == "keep"))
    # scores of one user are equal up to a constant, which ranks do not see
    torch.testing.assert_close(got - got[:, :1], expected - expected[:, :1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_its_parts_sum_to_it(text: str, transitions: str, seen: Literal["keep", "mask"]) -> None:
    scorer, scores = Fusion(N, text, transitions, seen, neighbours=3).double(), normal(len(HISTORIES), N + 2)
    scorer.weights.copy_(torch.tensor(WEIGHTS))
    items = left_pad(HISTORIES)
    parts = {name: part[:, 1:-1] for name, part in scorer.split(scores, items).items()}
    torch.testing.assert_close(sum(parts.values()), scorer(scores, items)[:, 1:-1])
    assert set(parts) == {"model", "neighbours", "text", "transitions", "repeat"}
    held = torch.tensor([[item in history for item in range(1, N + 1)] for history in HISTORIES])
    torch.testing.assert_close(parts["repeat"][~held], torch.zeros_like(parts["repeat"][~held]), atol=1e-12, rtol=0)
    assert not parts["neighbours"][:, :6].any(), "trained items keep the model's score"


def test_without_weights_the_models_scores_rank(text: str, transitions: str) -> None:
    scorer, scores = Fusion(N, text, transitions), normal(len(HISTORIES), N + 2)
    assert not scorer.chosen
    assert scorer(scores, left_pad(HISTORIES)) is scores


def test_zero_weights_rank_as_the_model_where_items_recur(text: str, transitions: str) -> None:
    """The mixture alone shares the mass as the model does."""
    scorer, scores = Fusion(N, text, transitions, "keep", neighbours=0).double(), normal(len(HISTORIES), N + 2)
    scorer.weights.copy_(torch.tensor(Weights()))
    got = scorer(scores, left_pad(HISTORIES))[:, 1:-1]
    torch.testing.assert_close(got - got[:, :1], scores[:, 1:-1] - scores[:, 1:2], atol=1e-9, rtol=0)


def test_a_history_of_every_item_ranks_them_as_copies(text: str, transitions: str) -> None:
    """There is nothing else to explore, so the items keep their order, and none is left out."""
    scorer, scores = Fusion(N, text, transitions, "keep").double(), normal(1, N + 2)
    scorer.weights.copy_(torch.tensor(Weights(copy=1.0)))
    scorer.filling = None
    got = scorer(scores, torch.arange(1, N + 1)[None])[:, 1:-1]
    assert got.isfinite().all()
    torch.testing.assert_close(got - got[:, :1], scores[:, 1:-1] - scores[:, 1:2], atol=1e-9, rtol=0)


def test_the_weights_of_a_resumed_checkpoint_are_chosen_anew(text: str, transitions: str) -> None:
    """Else a run that goes on from best.ckpt would be validated by the scorer of its earlier end."""
    model = untrained(N, 5, Fusion(N, text, transitions))
    model.scorer.weights.copy_(torch.tensor(WEIGHTS))
    model.on_fit_start()
    assert not model.scorer.chosen


def test_a_single_validation_case_is_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    gains = Gains(torch.tensor([[0.0], [0.5]]).double(), torch.ones(1).double(), torch.ones(1).double())
    assert best(gains, "overall") == 1
    assert not recwarn


def test_padding_and_the_mask_token_change_nothing(text: str, transitions: str) -> None:
    scorer, scores = Fusion(N, text, transitions).double(), normal(len(HISTORIES), N + 2)
    scorer.weights.copy_(torch.tensor(WEIGHTS))
    expected = scorer(scores, left_pad(HISTORIES))[:, 1:-1]
    torch.testing.assert_close(scorer(scores, left_pad(HISTORIES, width=12))[:, 1:-1], expected, atol=1e-12, rtol=0)
    masked = torch.nn.functional.pad(left_pad(HISTORIES), (0, 1), value=N + 1)
    got = scorer(scores, masked[:, 1:])[:, 1:-1]
    torch.testing.assert_close(got[[0, 2]], expected[[0, 2]], atol=1e-12, rtol=0)


def test_held_out_events_are_not_read() -> None:
    """Another item in the held-out events changes neither transitions nor counts."""
    one, other = (walks(sequences(item), 0.5, 0.3, 100).toarray() for item in (4, 9))
    np.testing.assert_array_equal(one, other)
    assert not one[9].any()
    np.testing.assert_allclose(one, dense_walks(), atol=1e-6)


def test_only_the_largest_entries_of_a_row_stay() -> None:
    whole, capped = walks(sequences(), 0.5, 0.3, 100).toarray(), walks(sequences(), 0.5, 0.3, 2).toarray()
    for all_of, some in zip(whole, capped, strict=True):
        np.testing.assert_allclose(np.sort(some)[::-1][:2], np.sort(all_of)[::-1][:2])
        assert (some > 0).sum() <= 2


def test_equal_texts_and_scores_tie(tmp_path: Path, transitions: str) -> None:
    rows = np.random.default_rng(1).normal(size=(N, TEXT))
    rows[8] = rows[7]
    scorer = Fusion(N, write_rows(tmp_path / "twins", rows), transitions)
    scorer.weights.copy_(torch.tensor(WEIGHTS))
    got = scorer(torch.zeros(len(HISTORIES), N + 2), left_pad(HISTORIES))
    assert torch.equal(got[:3, 8], got[:3, 9])


def test_weights_are_those_that_rank_the_validation_cases_best(text: str, transitions: str) -> None:
    """Where the answers are what the last item's text says, text is weighted; where they follow transitions, those."""
    scorer = Fusion(N, text, transitions, "mask", neighbours=0)
    items = torch.tensor([[one] for one in (1, 2, 3, 5, 6)] * 20)
    noise = 3 * normal(len(items), N + 2).float()
    for part in ("text", "transitions"):
        alone = Weights(**{part: 50.0})
        scorer.weights.copy_(torch.tensor(alone))
        fused = scorer(torch.zeros_like(noise), items).clone()
        fused[:, [0, -1]] = -torch.inf
        answers = fused.scatter(1, items, -torch.inf).argmax(1)
        scorer.choose(lambda answers=answers: iter([Case(noise, items, answers, items)]))
        weights = Weights(*scorer.weights.tolist())
        assert getattr(weights, part) >= 0.5, (part, weights)


def test_the_flat_side_of_the_optimum_helps_rare_answers() -> None:
    values = torch.tensor([[0.1] * 100, [0.5, 0.3] * 50, [0.3, 0.48] * 50, [0.0, 1.0] * 10 + [0.0] * 80]).double()
    rare = torch.tensor([0.0, 1.0] * 50).double()
    assert best(Gains(values, torch.ones(100).double(), rare), "overall") == 2, (
        "within two errors of the best, better on rare ones"
    )
    new = torch.tensor([0.0, 1.0] * 50).double()
    values[0] = torch.tensor([0.1, 0.45] * 50)
    assert best(Gains(values, new, torch.zeros(100).double()), "new") == 2, (
        "candidate 1 ranks new answers below the model"
    )


def test_text_alone_knows_which_items_are_trained(text: str, transitions: str, tmp_path: Path) -> None:
    users = [[*items, 4, 4] for items in TRAIN]
    path = write_sequences(tmp_path / "sequences", users, N)
    both, alone = Fusion(N, text, transitions), Fusion(N, text, None, sequences=path)
    for name in ("trained", "rare", "counts"):
        assert getattr(alone, name).tolist() == getattr(both, name).tolist(), name
    scores = normal(2, N + 2).float()
    assert torch.equal(alone.filled(scores), both.filled(scores))
    assert not torch.equal(alone.filled(scores), scores), "items 7, 8 and 9 are unseen"
    assert Fusion(N, text, None).filling is None, "without the sequences every item counts as trained"
    alone.append(torch.ones(2, TEXT))
    assert alone.trained.tolist() == [False, *[True] * 6, *[False] * 6]


def test_nothing_is_chosen_by_an_answer_that_is_masked(text: str, transitions: str) -> None:
    scorer = Fusion(N, text, transitions, "mask")
    items = torch.tensor([[1, 2]])
    weights = chosen_weights(
        lambda case: scorer.parts(case.scores, case.items),
        scorer.rare,
        lambda: iter([Case(torch.zeros(1, N + 2), items, torch.tensor([2]), items)] * 2),
        "overall",
        copies=False,
    )
    assert weights == Weights(), "every candidate ranks it last, and the first of equals is the model alone"


def test_a_scorer_needs_a_part_and_the_right_data(text: str, transitions: str) -> None:
    with pytest.raises(ValueError, match=r"neither scorer\.text nor scorer\.transitions"):
        Fusion(N, None, None, "mask")
    with pytest.raises(ValueError, match=f"has {N + 2} items, wanted {N + 3}"):
        Fusion(N + 1, None, transitions)


def test_only_the_weights_are_stored(text: str, transitions: str) -> None:
    scorer = Fusion(N, text, transitions)
    assert not list(scorer.parameters())
    assert list(scorer.state_dict()) == ["weights"]


@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_each_part_works_alone(text: str, transitions: str, seen: Literal["keep", "mask"]) -> None:
    scores = normal(len(HISTORIES), N + 2).float()
    for parts in ((text, None), (None, transitions)):
        scorer = Fusion(N, *parts, seen)
        scorer.weights.copy_(torch.tensor(WEIGHTS))
        assert scorer(scores, left_pad(HISTORIES))[:, 1:-1].isfinite().all()


def test_appended_items_score_as_items_without_events(text: str, transitions: str, tmp_path: Path) -> None:
    """Known items keep their scores; a new one has the text of a known one, and no transitions."""
    scorer = Fusion(N, text, transitions, "mask", neighbours=2)
    scorer.weights.copy_(torch.tensor(Weights(0.7, 0.4)))
    scores, items = normal(len(HISTORIES), N + 2).float(), left_pad(HISTORIES)
    before = scorer(scores.clone(), items)
    new = torch.from_numpy(np.load(f"{text}/table.npy"))[[2, 4]].float()
    wide = torch.cat([scores[:, :-1], torch.zeros(len(scores), 2), scores[:, -1:]], 1)
    scorer.append(new)
    after = scorer(wide, items)
    assert after.shape == (len(HISTORIES), N + 4)
    torch.testing.assert_close(after[:, 1 : N + 1], before[:, 1 : N + 1])
    walks = Fusion(N, text, transitions, "mask", neighbours=2)
    walks.weights.copy_(torch.tensor(Weights(0.7)))
    filled = walks.filling
    assert filled is not None
    assert after[:, N + 1 : N + 3].isfinite().all()
    cosine = scorer.text(items, torch.ones(items.shape))[0]  # type: ignore[misc]
    assert torch.equal(cosine[:, N + 1], cosine[:, 2])
    assert not next(scorer.walks)(items, torch.ones(items.shape))[:, N + 1 : N + 3].any()


def test_where_no_item_has_text_the_models_scores_stay(tmp_path: Path) -> None:
    trained = torch.tensor([False, True, True, False, False])
    filling = Filling(RecentText(str(write_rows(tmp_path / "embed", np.zeros((3, 2)))), 3), trained, k=2)
    scores = normal(2, 5)
    torch.testing.assert_close(filling(scores), scores)
