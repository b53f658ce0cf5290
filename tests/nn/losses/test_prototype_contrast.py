from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.nn.losses.prototype_contrast import PrototypeContrast
from tests.golden.prepared import HandStep, leaf, left_pad, normal, write, write_sequences

N, DIM = 4, 3
MEMBERSHIPS = np.array(
    [[0, 0], [1, 0], [0.5, 0.5], [0.2, 0.8], [0.9, 0.1], [0, 0]]
)  # item 4 is in no training sequence


@pytest.fixture
def term(tmp_path: Path) -> PrototypeContrast:
    clusters = write(tmp_path / "cluster", memberships=MEMBERSHIPS, centres=np.zeros((2, DIM)))
    sequences = write_sequences(tmp_path / "sequences", [[1, 2, 3, 1, 2], [3, 1, 2, 2, 1]], N)
    return PrototypeContrast(0.1, clusters, sequences, DIM).double()


def step_of(rows: list[list[int]], width: int = 0) -> HandStep:
    table = leaf(normal(N + 2, DIM, seed=1))
    return HandStep({"items": left_pad(rows, width)}, torch.zeros(0), table, leaf(normal(N + 2, DIM)), N + 1)


def test_is_the_cross_entropy_of_cosines_with_the_shares(term: PrototypeContrast) -> None:
    step = step_of([[1, 2]])
    table, prototypes = step.id_table.detach().numpy(), term.prototypes.detach().numpy()
    losses = []
    for item in (1, 2, 3):
        cosines = [table[item] @ p / np.linalg.norm(table[item]) / np.linalg.norm(p) / 0.1 for p in prototypes]
        shares = MEMBERSHIPS[item] ** 2 / (MEMBERSHIPS[item] ** 2).sum()
        losses.append(-(shares * (cosines - np.log(np.exp(cosines).sum()))).sum())
    assert term(step).item() == pytest.approx(np.mean(losses), abs=1e-6)


def test_gradient_reaches_trained_items_and_the_prototypes_alone(term: PrototypeContrast) -> None:
    step = step_of([[1, 4]])
    term(step).backward()
    assert step.text_table is not None
    assert step.text_table.grad is None
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).nonzero().flatten().tolist() == [1, 2, 3]
    assert term.prototypes.grad is not None
    assert term.prototypes.grad.any(1).all()


def test_padding_and_the_batch_change_nothing(term: PrototypeContrast) -> None:
    assert term(step_of([[1], [2, 3]], width=7)).item() == term(step_of([[3]])).item()


def test_items_of_a_cluster_come_together_and_an_unseen_one_stays(term: PrototypeContrast) -> None:
    step = step_of([[1]])
    before = step.id_table.detach().clone()
    adam = torch.optim.Adam([step.id_table, term.prototypes], lr=0.05)
    for _ in range(200):
        adam.zero_grad()
        term(step).backward()
        adam.step()
    rows = torch.nn.functional.normalize(step.id_table.detach(), dim=1)
    first, both, second = rows[1:4] @ torch.nn.functional.normalize(term.prototypes.detach(), dim=1).T
    assert first[0] - first[1] > 0.5
    assert second[1] - second[0] > 0.1
    assert abs(both[0] - both[1]) < 0.05
    assert torch.equal(step.id_table[4], before[4])


def test_a_single_cluster_is_refused(tmp_path: Path) -> None:
    clusters = write(tmp_path / "cluster", memberships=MEMBERSHIPS[:, :1], centres=np.zeros((1, DIM)))
    sequences = write_sequences(tmp_path / "sequences", [[1, 2, 3, 1, 2]], N)
    with pytest.raises(ValueError, match="in 1 cluster, and prototypes are contrasted"):
        PrototypeContrast(0.1, clusters, sequences, DIM)
