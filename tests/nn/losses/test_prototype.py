from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.losses.prototype import Prototype
from tests.golden.prepared import HandStep, leaf, left_pad, normal, write

N, DIM = 3, 2
MEMBERSHIPS = np.array([[0, 0], [1, 0], [0.5, 0.5], [0.2, 0.8], [0, 0]])
CENTRES = np.array([[1.0, 0.0], [0.0, 2.0]])


@pytest.fixture
def clusters(tmp_path: Path) -> str:
    return write(tmp_path / "cluster", memberships=MEMBERSHIPS, centres=CENTRES)


def step_of(rows: list[list[int]], width: int = 0) -> HandStep:
    table = leaf(normal(N + 2, DIM, seed=1))
    return HandStep({"items": left_pad(rows, width)}, torch.zeros(0), table, leaf(normal(N + 2, DIM)), N + 1)


def prototype(item: int, m: float, normalise: bool) -> np.ndarray:
    if item > N:
        return np.zeros(DIM)
    powers = MEMBERSHIPS[item] ** m
    centre = powers[0] * CENTRES[0] + powers[1] * CENTRES[1]
    return centre / powers.sum() if normalise else centre


@pytest.mark.parametrize("m", [2.0, 1.8])
@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "as the reference"])
@pytest.mark.parametrize("offset", [0, 1], ids=["own row", "off by one"])
@pytest.mark.parametrize(
    ("scope", "ids"), [("catalogue", [1, 2, 3]), ("batch", [2, 3, 2, 1, 2])], ids=["catalogue", "batch"]
)
def test_is_the_squared_distance_to_the_prototypes(
    clusters: str, m: float, normalise: bool, offset: int, scope: Any, ids: list[int]
) -> None:
    step = step_of([[2, 3, 2], [1, 2, N + 1]])
    term = Prototype(0.1, clusters, m, scope, normalise, offset)
    table = step.id_table.detach().numpy()
    expected = np.mean([(table[i] - prototype(i + offset, m, normalise)) ** 2 for i in ids])
    assert term.double()(step).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("scope", "reached"), [("catalogue", [1, 2, 3]), ("batch", [1, 3])], ids=["catalogue", "batch"]
)
def test_gradient_reaches_the_id_table_alone(clusters: str, scope: Any, reached: list[int]) -> None:
    step, term = step_of([[0, 3], [1, N + 1]]), Prototype(0.1, clusters, scope=scope).double()
    assert not term.catalogue
    term(step).backward()
    assert step.text_table is not None
    assert step.text_table.grad is None
    assert not list(term.parameters())
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).nonzero().flatten().tolist() == reached


def test_padding_and_order_change_nothing(clusters: str) -> None:
    term = Prototype(0.1, clusters, scope="batch").double()
    plain = term(step_of([[2, 3, 2], [1]]))
    torch.testing.assert_close(term(step_of([[1], [2, 3, 2]], width=7)), plain, atol=1e-12, rtol=0)


def test_a_batch_without_items_is_zero(clusters: str) -> None:
    assert Prototype(0.1, clusters, scope="batch")(step_of([[0, N + 1]])).item() == 0


def test_the_prototypes_are_no_part_of_the_checkpoint(clusters: str) -> None:
    assert not Prototype(0.1, clusters).state_dict()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        pytest.param({"scope": "items"}, "scope is 'items', wanted 'catalogue' or 'batch'", id="scope"),
        pytest.param({"fuzzy_m": 1.0}, "fuzzy_m is 1.0, wanted more than 1", id="fuzzy_m"),
        pytest.param({"index_offset": 2}, "index_offset is 2, wanted 0", id="index_offset"),
    ],
)
def test_what_is_refused(clusters: str, argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prototype(0.1, clusters, **argument)
