from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sage_pl.data.loader import TrainingUsers, load_sequences
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.losses.prototype import Prototype
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.dual import DualView
from tests.golden.prepared import (
    N_ITEMS,
    Artifacts,
    HandStep,
    leaf,
    left_pad,
    make_backbone,
    make_targets,
    normal,
    write,
    write_sequences,
)

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


def test_items_without_training_events_are_left_out(clusters: str, tmp_path: Path) -> None:
    sequences = write_sequences(tmp_path / "sequences", [[1, 3, 1, 2, 2]], N)  # trained with 1 and 3
    step, term = step_of([[1]]), Prototype(0.1, clusters, sequences=sequences).double()
    table = step.id_table.detach().numpy()
    expected = np.mean([(table[i] - prototype(i, 2.0, True)) ** 2 for i in (1, 3)])
    loss = term(step)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).nonzero().flatten().tolist() == [1, 3]


@pytest.mark.parametrize("form", ["published", "default"])
def test_unseen_items_stay_apart_after_a_hundred_steps(form: str, tmp_path: Path) -> None:
    """Without another gradient, Adam takes the term's tiny one at full size."""
    torch.manual_seed(0)
    artifacts = Artifacts.write(tmp_path)
    sequences = None if form == "published" else artifacts.sequences
    term = Prototype(1e-4, artifacts.clusters, sequences=sequences)
    items = DualEncoder(N_ITEMS, artifacts.text, artifacts.start, dim=8)
    with torch.no_grad():  # near their prototypes, yet apart
        items.table.weight.copy_(term.table + 0.04 * torch.randn(term.table.shape))
    adam = instantiate(OmegaConf.load("conf/optimizer/adam.yaml"))
    model = SequentialRecommender(
        items,
        DualView(make_backbone("sasrec").float(), own_position=5.0),
        make_targets("sasrec"),
        Softmax(artifacts.sequences),
        {"prototype": term},
        adam,
    )
    data = load_sequences(artifacts.sequences)
    batch = model.prepare(TrainingUsers(data, 6)[np.arange(1, 6)])
    unseen = np.flatnonzero(data.train_counts[1:-1] == 0) + 1
    distance = lambda: (items.table.weight - term.table)[unseen].norm(dim=1).mean().item()  # noqa: E731
    before, optimizer = distance(), model.configure_optimizers()
    for _ in range(100):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
    assert len(unseen) == 3
    if form == "default":
        assert distance() == before
    else:
        assert distance() < 0.3 * before
