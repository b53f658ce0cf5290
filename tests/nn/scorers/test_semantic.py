from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from sage_pl.evaluation.ranks import full_ranks
from sage_pl.evaluation.rows import row_ranks
from sage_pl.nn.scorers.semantic import SemanticSimilarity
from sage_pl.runs.checks import target_problems
from tests.golden.prepared import left_pad, normal, write_rows

N, TEXT, E = 7, 5, 4
HISTORIES = [[3, 1, 3], [2, 7, 6, 5, 4], [6]]


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT), loc=0.2))


POOLS = pytest.mark.parametrize("pool", ["max", "mean"])


def make(text: str, weight: float, pool: Literal["max", "mean"]) -> SemanticSimilarity:
    return SemanticSimilarity(N, text, weight, pool).double()


def scores(scorer: SemanticSimilarity, hidden: Tensor, outputs: Tensor, items: Tensor) -> Tensor:
    return scorer(hidden @ outputs.T, items)


@POOLS
def test_it_equals_the_formula_item_by_item(text: str, pool: Literal["max", "mean"]) -> None:
    hidden, outputs, rows = normal(3, E), normal(N + 2, E, seed=1), np.load(f"{text}/table.npy").astype(np.float64)
    got = scores(make(text, 1.5, pool), hidden, outputs, left_pad(HISTORIES))
    for user, history in enumerate(HISTORIES):
        read = rows[history] if pool == "max" else rows[history].mean(0, keepdims=True)
        for item in range(1, N + 1):
            cosine = max(x @ rows[item] / np.linalg.norm(x) / np.linalg.norm(rows[item]) for x in read)
            assert got[user, item].item() == pytest.approx((hidden[user] @ outputs[item]).item() + 1.5 * cosine)


def test_another_pool_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"scorer\.pool is 'sum'"):
        SemanticSimilarity(N, text, 1.0, "sum")  # type: ignore[arg-type]


@POOLS
def test_weight_zero_ranks_as_without(text: str, pool: Literal["max", "mean"]) -> None:
    hidden, outputs, answers = normal(3, E), normal(N + 2, E, seed=1), torch.tensor([1, 7, 2])
    plain = full_ranks(hidden, outputs, answers)
    for weight, same in ((0.0, True), (100.0, False)):
        scorer = make(text, weight, pool)
        rows = scores(scorer, hidden, outputs, left_pad(HISTORIES))
        assert torch.equal(row_ranks([(slice(None), rows)], answers)["full"], plain) is same


@POOLS
def test_padding_and_the_mask_token_change_nothing(text: str, pool: Literal["max", "mean"]) -> None:
    scorer, hidden = make(text, 2.0, pool), normal(3, E)
    outputs = normal(N + 2, E, seed=1)
    expected = scores(scorer, hidden, outputs, left_pad(HISTORIES))
    assert torch.equal(expected, scores(scorer, hidden, outputs, left_pad(HISTORIES, width=9)))
    masked = left_pad([[*items, N + 1] for items in HISTORIES])
    torch.testing.assert_close(expected, scores(scorer, hidden, outputs, masked), atol=1e-12, rtol=0)


@POOLS
def test_a_history_or_an_item_without_text_adds_nothing(text: str, pool: Literal["max", "mean"]) -> None:
    scorer, hidden, outputs = make(text, 2.0, pool), normal(1, E), normal(N + 2, E, seed=1)
    plain = hidden @ outputs.T
    empty = scores(scorer, hidden, outputs, torch.zeros(1, 3, dtype=torch.long))
    torch.testing.assert_close(empty, plain, atol=1e-12, rtol=0)
    without = scores(scorer, hidden, outputs, torch.tensor([[1, 2]]))[0, [0, -1]]
    torch.testing.assert_close(without, plain[0, [0, -1]], atol=1e-12, rtol=0)


def test_it_has_nothing_to_train_and_nothing_to_store(text: str) -> None:
    scorer = SemanticSimilarity(N, text, 1.0)
    assert not list(scorer.parameters())
    assert not scorer.state_dict()
    assert "text.table" in dict(scorer.named_buffers()), "so that it moves with the model"


def test_half_precision_scores_stay_half_precision(text: str) -> None:
    assert SemanticSimilarity(N, text, 1.0)(normal(3, N + 2).half(), left_pad(HISTORIES)).dtype == torch.float16


def test_half_precision_text_scores_alike(text: str) -> None:
    hidden, outputs = normal(3, E).float(), normal(N + 2, E, seed=1).float()
    exact = scores(SemanticSimilarity(N, text, 2.0), hidden, outputs, left_pad(HISTORIES))
    np.save(f"{text}/table.npy", np.load(f"{text}/table.npy").astype(np.float16))
    half = scores(SemanticSimilarity(N, text, 2.0), hidden, outputs, left_pad(HISTORIES))
    torch.testing.assert_close(half, exact, atol=5e-3, rtol=0)


def test_a_table_of_another_data_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"table.npy has {N + 2} rows, wanted {N + 3}"):
        SemanticSimilarity(N + 1, text, 1.0)


def test_the_choices_name_it_or_nothing() -> None:
    conf = Path(__file__).parents[3] / "conf" / "scorer"
    node: Any = OmegaConf.to_container(OmegaConf.load(conf / "semantic.yaml"), resolve=False)
    assert not target_problems({"scorer": node})
    assert node["text"] == "${artifacts.embed}"
    assert OmegaConf.load(conf / "none.yaml") == {"scorer": None}
