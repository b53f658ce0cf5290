import pytest
import torch

from sage_pl.data.targets import NextItem, Prefixes
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.modules.step import TrainingStep, prepare_batch
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.single import SingleView
from tests.golden.prepared import N_ITEMS, USERS, left_pad, make_backbone, write_sequences


def test_every_prefix_by_hand() -> None:
    batch = Prefixes().training({"items": torch.tensor([[1, 2, 3], [0, 4, 5]]), "user": torch.tensor([7, 8])})
    assert batch["items"].tolist() == [[0, 1], [1, 2], [0, 4]]
    assert batch["targets"].tolist() == [[0, 2], [0, 3], [0, 5]]
    assert batch["state_rows"].tolist() == [1, 2]  # each user's whole history
    assert batch["user"].tolist() == [7, 8]


@pytest.mark.parametrize("front", [0, 3])
def test_the_labels_are_those_of_every_position(front: int) -> None:
    items = torch.nn.functional.pad(left_pad([[1, 2, 3, 4], [5, 6], [7, 8, 9]]), (front, 0))
    prefixes, positions = Prefixes().training({"items": items}), NextItem().training({"items": items})
    rows, columns = positions["targets"].nonzero(as_tuple=True)
    assert prefixes["targets"][:, -1].tolist() == positions["targets"][rows, columns].tolist()
    for row, column, prefix in zip(rows, columns, prefixes["items"], strict=True):
        given = positions["items"][row, : column + 1]
        assert prefix[prefix > 0].tolist() == given[given > 0].tolist()


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec"])
def test_a_causal_model_learns_the_same_from_prefixes_as_from_positions(backbone: str, tmp_path) -> None:
    sequences = write_sequences(tmp_path / "sequences", USERS, N_ITEMS)
    torch.manual_seed(0)
    items, body = IdEncoder(N_ITEMS, dim=8).double(), make_backbone(backbone, max_len=8)
    objective, losses, gradients = Softmax(sequences, "all"), [], []
    for targets in (NextItem(), Prefixes()):
        items.zero_grad()
        batch: dict = {"items": left_pad(USERS), "user": torch.arange(1, len(USERS) + 1)}
        prepared = prepare_batch(batch, targets, [objective], N_ITEMS + 1)
        loss = objective(TrainingStep.run(prepared, items, SingleView(body), targets))
        loss.backward()
        losses.append(loss)
        gradients.append(items.table.weight.grad.clone())
    torch.testing.assert_close(*losses, atol=1e-12, rtol=0)
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)
