"""A SAGE step, all four terms, against plain loops over users, positions and items."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.data.loader import TrainingUsers, load_sequences
from sage_pl.data.neighbours import Neighbours
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.losses.alignment import Alignment
from sage_pl.nn.losses.distillation import UserDistillation
from sage_pl.nn.losses.prototype import Prototype
from sage_pl.nn.modules.step import TrainingStep, prepare_batch
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.semantic.memberships import prototypes
from sage_pl.types import SeqBatch
from tests.golden import naive
from tests.golden.prepared import BACKBONES, N_ITEMS, USERS, Artifacts, make_backbone, make_targets

WEIGHTS = {"recommendation": 1.0, "distillation": 0.3, "alignment": 0.2, "prototype": 0.5}
MASK = N_ITEMS + 1
MAX_LEN = 6


class Naive:
    """The same step without batches: one user, one position, one item after the other."""

    def __init__(self, items: DualEncoder, sequences: DualView) -> None:
        self.items = items
        self.sequences = sequences

    def item(self, i: int) -> tuple[Tensor, Tensor]:
        return self.items.table.weight[i], naive.adapt(self.items.adapter, self.items.text.table[i])

    def vector(self, i: int) -> Tensor:
        return torch.cat(self.item(i))

    def states(self, row: list[int]) -> Tensor:
        views = [self.item(i) for i in row]
        ids, text = (torch.stack([v[side] for v in views]) for side in (0, 1))
        return naive.dual_view(self.sequences, ids, text, [i == MASK for i in row])

    def recommendation(self, rows: list[list[int]], labels: list[list[int]]) -> Tensor:
        trained = {item for items in USERS for item in items[:-2]}
        vectors = {item: self.vector(item) for item in trained}
        losses = []
        for row, targets in zip(rows, labels, strict=True):
            states = self.states(row)
            losses += [naive.cross_entropy(states[t], vectors, target) for t, target in enumerate(targets) if target]
        return torch.stack(losses).mean()

    def distillation(self, students: list[list[int]], teachers: list[list[int]], bidirectional: bool) -> Tensor:
        """``teachers[u]`` are the users similar to user u."""
        pairs = []
        for row, similar in zip(students, teachers, strict=True):
            inputs = [USERS[user - 1][:-2][:-1][-MAX_LEN:] for user in similar]
            inputs = [[*items, MASK] if bidirectional else items for items in inputs if items]
            if inputs:
                mean = torch.stack([self.states(items)[-1] for items in inputs]).mean(0).detach()
                pairs.append((self.states(row)[-1], mean))
        return naive.squared_distance(pairs)

    def alignment(self, rows: list[list[int]]) -> Tensor:
        items = sorted({i for row in rows for i in row} - {MASK})
        views = [self.item(i) for i in items]
        return naive.soft_contrastive(torch.stack([v[1] for v in views]), torch.stack([v[0] for v in views]))

    def prototype(self, targets: Tensor) -> Tensor:
        return naive.squared_distance([(self.item(i)[0], targets[i]) for i in range(1, N_ITEMS + 1)])


def stripped(values: Tensor, items: Tensor) -> list[list[int]]:
    """Each row's values where its item is real."""
    return [row[real].tolist() for row, real in zip(values, items > 0, strict=True)]


def naive_losses(model: Naive, batch: SeqBatch, artifacts: Artifacts, bidirectional: bool) -> dict[str, Tensor]:
    rows, labels = stripped(batch["items"], batch["items"]), stripped(batch["targets"], batch["items"])
    users, similar = batch["user"].tolist(), np.load(f"{artifacts.neighbours}/neighbours.npy")
    u, centres = (np.load(f"{artifacts.clusters}/{name}.npy") for name in ("memberships", "centres"))
    targets = torch.from_numpy(prototypes(u, centres, fuzzy_m=2.0)).float().double()
    return {
        "recommendation": model.recommendation(rows, labels),
        "distillation": model.distillation(
            rows[-len(users) :], [[u for u in similar[user] if u] for user in users], bidirectional
        ),
        "alignment": model.alignment(rows),
        "prototype": model.prototype(targets),
    }


@pytest.mark.parametrize("own_position", [None, 2.0], ids=["published", "own position"])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_sage_step_equals_plain_loops_in_every_loss_and_gradient(
    name: str, own_position: float | None, tmp_path: Path
) -> None:
    artifacts = Artifacts.write(tmp_path)
    items = DualEncoder(N_ITEMS, artifacts.text, artifacts.start, dim=8).double()
    sequences = DualView(make_backbone(name, max_len=MAX_LEN), heads=2, own_position=own_position).double()
    terms: dict[str, Any] = {
        "recommendation": Softmax(artifacts.sequences),
        "distillation": UserDistillation(WEIGHTS["distillation"]),
        "alignment": Alignment(WEIGHTS["alignment"]),
        "prototype": Prototype(WEIGHTS["prototype"], artifacts.clusters).double(),
    }
    data = TrainingUsers(load_sequences(artifacts.sequences), MAX_LEN, [Neighbours(artifacts.neighbours, k=2)])
    parameters = {**dict(items.named_parameters(prefix="items")), **dict(sequences.named_parameters(prefix="states"))}

    torch.manual_seed(0)
    targets = make_targets(name)
    batch = prepare_batch(data[np.array([5, 2, 1, 3])], targets, terms.values(), N_ITEMS + 1)
    step = TrainingStep.run(batch, items, sequences, targets)
    losses = {key: term(step) for key, term in terms.items()}
    total = torch.stack([WEIGHTS[key] * loss for key, loss in losses.items()]).sum()
    gradients = torch.autograd.grad(total, list(parameters.values()))

    expected = naive_losses(Naive(items, sequences), step.batch, artifacts, name == "bert4rec")
    expected_total = torch.stack([WEIGHTS[key] * loss for key, loss in expected.items()]).sum()
    expected_gradients = torch.autograd.grad(expected_total, list(parameters.values()))

    for key, loss in losses.items():
        assert loss.item() == pytest.approx(expected[key].item(), abs=1e-9), key
    for key, ours, theirs in zip(parameters, gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0, msg=f"gradient of {key}")
