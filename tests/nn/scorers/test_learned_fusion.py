"""The learned fusion against its formula, item by item in float64; what its weights learn, and what they may not change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.artifacts.store import Artifact
from sage_pl.data.relations import Relations
from sage_pl.data.sequences import Sequences
from sage_pl.nn.modules.untrained import untrained
from sage_pl.nn.scorers.learned_fusion import LearnedFusion
from sage_pl.types import Case
from tests.golden.prepared import left_pad, normal
from tests.nn.scorers.test_fusion import HISTORIES, TEXT, TRAIN, N, sequences, text, transitions  # noqa: F401 - fixtures

COLUMNS = ("model", "text", "walks", "after", "before", "second", "together", "popularity")


@pytest.fixture
def relations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    out = tmp_path / "relations"
    out.mkdir()
    monkeypatch.setattr(Sequences, "load", staticmethod(lambda artifact: sequences()))
    Relations().run({"sequences": Artifact("", out, {})}, out)
    return str(out)


Make = Literal["keep", "mask"]


def scorer_of(text: str | None, transitions: str, relations: str, seen: Make = "keep") -> LearnedFusion:  # noqa: F811
    return LearnedFusion(N, text, transitions, relations, seen, neighbours=3)


def dense(folder: str, matrix: str) -> np.ndarray:
    prefix = f"{matrix}_" if matrix else ""
    offsets, items, values = (np.load(f"{folder}/{prefix}{part}.npy") for part in ("offsets", "items", "values"))
    rows = np.zeros((N + 2, N + 2))
    for row in range(N + 2):
        for at in range(offsets[row], offsets[row + 1]):
            rows[row, items[at]] = values[at]
    return rows


def naive(scores: Tensor, paths: tuple[str, str, str], weights: Tensor, recurs: bool) -> list[list[float]]:
    """The formula of the class, one user and one item at a time."""
    table = np.load(f"{paths[0]}/table.npy").astype(np.float64)
    x = table - table[1:-1].mean(0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    counts = [sum(items.count(item) for items in TRAIN) for item in range(N + 2)]
    trained = [item for item in range(1, N + 1) if counts[item]]
    matrices = [dense(paths[1], ""), *(dense(paths[2], name) for name in ("after", "before", "second", "together"))]
    edges, result = (1, 3, 5, 10, 20, 50), []
    for row, history in enumerate(HISTORIES):
        own = [float(value) for value in scores[row]]
        for item in set(range(1, N + 1)) - set(trained):
            near = sorted(((x[item] @ x[other], other) for other in trained), reverse=True)[:3]
            shares = [math.exp(cosine / 0.1) for cosine, _ in near]
            own[item] = sum(s * float(scores[row, o]) for s, (_, o) in zip(shares, near, strict=True)) / sum(shares)
        of_trained = [own[item] for item in trained]
        late = history[::-1]
        profile = sum(0.5**p * x[item] for p, item in enumerate(late))
        cosines = np.array([float(profile @ x[item] / np.linalg.norm(profile)) for item in range(1, N + 1)])
        ranked = []
        for item in range(1, N + 1):
            columns = [(own[item] - np.mean(of_trained)) / np.std(of_trained), cosines[item - 1] / cosines.std()]
            for number, matrix in enumerate(matrices):
                r = 0.8 if number == 4 else 0.5
                reach = sum(r**p * matrix[h, item] for p, h in enumerate(late)) / sum(r**p for p in range(len(late)))
                columns.append(math.log(1 + 200 * reach))
            columns.append(math.log(1 + counts[item]))
            group, held = sum(counts[item] >= edge for edge in edges), [0.0] * 4
            if recurs and item in history:
                group = 7
                repeats = 1 - len(set(history)) / len(history)
                log_p = own[item] - math.log(sum(math.exp(own[other]) for other in range(1, N + 1)))
                held = [
                    -math.log(1 + late.index(item)),
                    math.log(history.count(item)),
                    min(1, math.sqrt(3 * repeats)),
                    log_p,
                ]
            values = [*columns, *held, 1.0]
            ranked.append(sum(float(w) * v for w, v in zip(weights[group], values, strict=True)))
        result.append(ranked)
    return result


@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_it_equals_the_formula_item_by_item(text: str, transitions: str, relations: str, seen: Make) -> None:  # noqa: F811
    scorer = scorer_of(text, transitions, relations, seen).double()
    scorer.weights.copy_(normal(8, len(COLUMNS) + 5))
    scores = normal(len(HISTORIES), N + 2)
    got = scorer(scores, left_pad(HISTORIES))[:, 1:-1]
    expected = naive(scores, (text, transitions, relations), scorer.weights, seen == "keep")
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_its_columns_sum_to_it(text: str, transitions: str, relations: str, seen: Make) -> None:  # noqa: F811
    scorer, scores = scorer_of(text, transitions, relations, seen).double(), normal(len(HISTORIES), N + 2)
    scorer.weights.copy_(normal(8, len(COLUMNS) + 5))
    items = left_pad(HISTORIES)
    parts = {name: part[:, 1:-1] for name, part in scorer.split(scores, items).items()}
    assert set(parts) == {*COLUMNS, "group", "repeat"}
    torch.testing.assert_close(sum(parts.values()), scorer(scores, items)[:, 1:-1])
    held = torch.tensor([[item in history for item in range(1, N + 1)] for history in HISTORIES])
    torch.testing.assert_close(parts["repeat"][~held], torch.zeros_like(parts["repeat"][~held]), atol=1e-12, rtol=0)


def test_without_weights_the_models_scores_rank(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer, scores = scorer_of(text, transitions, relations), normal(len(HISTORIES), N + 2)
    assert not scorer.chosen
    assert scorer(scores, left_pad(HISTORIES)) is scores
    assert list(scorer.state_dict()) == ["weights"]


def test_padding_and_the_mask_token_change_nothing(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer, scores = scorer_of(text, transitions, relations).double(), normal(len(HISTORIES), N + 2)
    scorer.weights.copy_(normal(8, len(COLUMNS) + 5))
    expected = scorer(scores, left_pad(HISTORIES))[:, 1:-1]
    torch.testing.assert_close(scorer(scores, left_pad(HISTORIES, width=12))[:, 1:-1], expected, atol=1e-12, rtol=0)
    masked = torch.nn.functional.pad(left_pad(HISTORIES), (0, 1), value=N + 1)[:, 1:]
    got = scorer(scores, masked)[:, 1:-1]
    torch.testing.assert_close(got[[0, 2]], expected[[0, 2]], atol=1e-12, rtol=0)


def cases_by(column: str, scorer: LearnedFusion, count: int = 200) -> Iterator[Case]:
    """Cases whose answers are the best items by one column, beside noise as the model's scores."""
    items = torch.tensor([[one] for one in (1, 2, 3, 5, 6)] * (count // 5))
    noise = normal(len(items), N + 2).float()
    values = scorer._columns(noise, items).of_all[COLUMNS.index(column)].clone()
    values[:, [0, -1]] = -torch.inf
    if not scorer.recurs:
        values.scatter_(1, items, -torch.inf)
    yield Case(noise, items, values.argmax(1), None if scorer.recurs else items)


@pytest.mark.parametrize("column", ["model", "text", "after", "together"])
def test_the_column_that_says_the_answers_is_weighted(
    column: str,
    text: str,  # noqa: F811
    transitions: str,  # noqa: F811
    relations: str,
) -> None:
    scorer = scorer_of(text, transitions, relations, "mask")
    scorer.choose(lambda: cases_by(column, scorer))
    (case,) = cases_by(column, scorer)
    ranked = scorer(case.scores, case.items).scatter(1, case.items, -torch.inf)[:, 1:-1].argmax(1) + 1
    assert (ranked == case.answers).float().mean() > 0.7


def test_rare_and_frequent_items_have_their_own_weights(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    """Where the model knows the frequent items and text the others, one weight for all cannot say so."""
    scorer = scorer_of(text, transitions, relations, "mask")
    items = torch.tensor([[one] for one in (1, 2, 3, 5, 6)] * 60)
    noise = normal(len(items), N + 2).float()
    columns = scorer._columns(noise, items).of_all
    frequent = scorer.group >= 1
    values = 5 * columns[0].where(frequent, 0) + 5 * columns[1].where(~frequent, 0)
    values[:, [0, -1]] = -torch.inf
    case = Case(noise, items, values.scatter(1, items, -torch.inf).argmax(1), items)
    scorer.choose(lambda: iter([case]))
    unseen, known = scorer.weights[0], scorer.weights[1]
    assert known[0] > unseen[0] + 0.3, "the model's scores"
    assert unseen[1] > known[1] + 0.3, "text"


def test_a_model_that_is_right_alone_stays_alone(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer = scorer_of(text, transitions, relations, "mask")
    items = torch.tensor([[1], [2], [3], [5]])
    scores = 0.01 * normal(4, N + 2).float()
    answers = torch.tensor([6, 6, 6, 6])
    scores[:, 6] = 0.1
    scorer.choose(lambda: iter([Case(scores, items, answers, items)]))
    assert (scorer(scores, items)[:, 1:-1].argmax(1) + 1).tolist() == answers.tolist()


def test_the_objective_new_admits_no_loss_on_new_answers(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    """Most answers repeat the history; the shift that puts them all first costs the new ones."""
    histories = torch.tensor([[1, 2]] * 30)
    scores = 0.1 * normal(30, N + 2).float()
    answers = torch.tensor([2] * 20 + [6] * 10)
    scores[torch.arange(30), answers] += 3
    bias = {}
    for objective in ("overall", "new"):
        scorer = scorer_of(text, transitions, relations)
        scorer.objective = objective  # type: ignore[assignment]
        scorer.choose(lambda: iter([Case(scores, histories, answers, None)]))
        ranks = scorer(scores, histories)[20:, 1:-1].argsort(1, descending=True).argsort(1)[:, 5]
        bias[objective] = ranks.float().mean()
    assert bias["new"] == 0
    assert bias["new"] <= bias["overall"]


def test_appended_items_are_of_the_group_without_events(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer = scorer_of(text, transitions, relations, "mask")
    scorer.weights.copy_(normal(8, len(COLUMNS) + 5))
    scores, items = normal(len(HISTORIES), N + 2).float(), left_pad(HISTORIES)
    before = scorer(scores.clone(), items)
    scorer.append(torch.from_numpy(np.load(f"{text}/table.npy"))[[2, 4]].float())
    wide = torch.cat([scores[:, :-1], torch.zeros(len(scores), 2), scores[:, -1:]], 1)
    after = scorer(wide, items)
    assert after.shape == (len(HISTORIES), N + 4)
    torch.testing.assert_close(after[:, 1 : N + 1], before[:, 1 : N + 1])
    assert scorer.group[N + 1 : N + 3].tolist() == [0, 0]
    assert after[:, N + 1 : N + 3].isfinite().all()


def test_appended_items_leave_the_order_of_the_known_ones(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    """Where items recur, the model's probability of the history's items is that among the items of the training."""
    scorer = scorer_of(text, transitions, relations)
    scorer.weights.copy_(normal(8, len(COLUMNS) + 5))
    scores, items = normal(len(HISTORIES), N + 2).float(), left_pad(HISTORIES)
    before = scorer(scores, items)[:, 1 : N + 1]
    scorer.append(torch.from_numpy(np.load(f"{text}/table.npy"))[[2] * 50].float())
    wide = torch.cat([scores[:, :-1], torch.zeros(len(scores), 50), scores[:, -1:]], 1)
    torch.testing.assert_close(scorer(wide, items)[:, 1 : N + 1], before)


def test_what_it_reads_is_named_where_it_is_absent(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    for paths in ((None, relations), (transitions, None)):
        with pytest.raises(ValueError, match=r"reads scorer\.transitions and scorer\.relations, got null"):
            LearnedFusion(N, text, *paths)


def test_scores_far_from_0_have_their_deviation(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer, scores = scorer_of(text, transitions, relations), 0.05 * normal(3, N + 2).float()
    expected = scorer.moments(scores.double())[1]
    torch.testing.assert_close(scorer.moments(scores + 100)[1].double(), expected, rtol=1e-3, atol=0)
    assert torch.equal(scorer.moments(torch.full_like(scores, 7.3))[1], torch.ones(3, 1))


def test_scores_in_float64_are_read(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer = scorer_of(text, transitions, relations).double()
    scorer.choose(lambda: iter([Case(normal(4, N + 2), left_pad(HISTORIES), torch.tensor([3, 7, 6, 5]), None)]))
    assert scorer.chosen


def test_mixed_precision_leaves_it_as_it_was_chosen(text: str, transitions: str, relations: str) -> None:  # noqa: F811
    scorer, items = scorer_of(text, transitions, relations), left_pad(HISTORIES)
    scorer.weights.copy_(normal(*scorer.weights.shape))
    model = untrained(N, 5, scorer)
    expected = [scores for _, scores in model.scored(items)]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close([scores for _, scores in model.scored(items)], expected, rtol=0, atol=0)


def test_it_works_without_text(transitions: str, relations: str) -> None:  # noqa: F811
    scorer = scorer_of(None, transitions, relations)
    scorer.choose(lambda: iter([Case(normal(4, N + 2).float(), left_pad(HISTORIES), torch.tensor([2, 3, 4, 5]), None)]))
    assert scorer.weights.shape == (8, len(COLUMNS) - 1 + 5)
    assert scorer(normal(4, N + 2).float(), left_pad(HISTORIES))[:, 1:-1].isfinite().all()
