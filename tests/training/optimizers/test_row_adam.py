import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sage_pl.training.optimizers.row_adam import RowAdam

ROWS, DIM = 7, 3
LOOKUPS = [[1, 2, 2, 5], [5, 1], [2, 6, 6, 6], [1, 2, 5], [3]]
Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def embedding(sparse: bool) -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(ROWS, DIM, padding_idx=0, sparse=sparse).double()


def run(table: nn.Embedding, optimizer: torch.optim.Optimizer, lookups: list[list[int]] = LOOKUPS) -> Tensor:
    """The table after one step per lookup, of a loss whose gradient depends on the table."""
    for ids in lookups:
        optimizer.zero_grad()
        (table(torch.tensor(ids)) + 1).pow(3).sum().backward()
        optimizer.step()
    return table.weight.detach().clone()


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "betas": [0.5, 0.8], "eps": 0.1}], ids=["plain", "all"])
def test_dense_gradients_give_adam(options: dict[str, Any]) -> None:
    ours, theirs = embedding(False), embedding(False)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.05, **options)
    assert torch.equal(run(ours, RowAdam(ours.parameters(), lr=0.05, **options)), run(theirs, adam))


@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.8), "eps": 0.1}], ids=["plain", "all"])
def test_sparse_gradients_give_sparse_adam(options: dict[str, Any]) -> None:
    ours, theirs = embedding(True), embedding(True)
    expected = run(theirs, torch.optim.SparseAdam(theirs.parameters(), lr=0.05, **options))
    found = run(ours, RowAdam(ours.parameters(), lr=0.05, **options))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert not torch.equal(found, embedding(True).weight)


def test_with_every_row_in_every_step_it_is_adam() -> None:
    everything = [list(range(1, ROWS))] * 5
    ours, theirs = embedding(True), embedding(False)
    found = run(ours, RowAdam(ours.parameters(), lr=0.05, eps=0.0), everything)
    expected = run(theirs, RowAdam(theirs.parameters(), lr=0.05, eps=1e-300), everything)  # the padding row has g = 0
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_row_without_a_gradient_stays_to_the_last_bit() -> None:
    table = embedding(True)
    optimizer = RowAdam(table.parameters(), lr=0.05)
    before = run(table, optimizer, [[1, 2, 5]])
    held = {name: optimizer.state[table.weight][name].clone() for name in ("exp_avg", "exp_avg_sq")}
    after = run(table, optimizer, [[5, 6]])
    assert (before != after).any(1).nonzero().flatten().tolist() == [5, 6]
    for name, kept in held.items():
        moved = (kept != optimizer.state[table.weight][name]).any(1)
        assert moved.nonzero().flatten().tolist() == [5, 6]


def test_both_kinds_of_gradient_in_one_model() -> None:
    table, layer = embedding(True), nn.Linear(DIM, 1).double()
    twins = embedding(True), nn.Linear(DIM, 1).double()
    twins[1].load_state_dict(layer.state_dict())
    ours = [RowAdam([*table.parameters(), *layer.parameters()], lr=0.05)]
    theirs = [torch.optim.SparseAdam(twins[0].parameters(), lr=0.05), torch.optim.Adam(twins[1].parameters(), lr=0.05)]
    for (rows, head), optimizers in (((table, layer), ours), (twins, theirs)):
        for ids in LOOKUPS:
            for optimizer in optimizers:
                optimizer.zero_grad()
            head(rows(torch.tensor(ids))).pow(2).sum().backward()
            for optimizer in optimizers:
                optimizer.step()
    torch.testing.assert_close(table.weight, twins[0].weight, atol=1e-12, rtol=0)
    assert torch.equal(layer.weight, twins[1].weight)
    assert torch.equal(layer.bias, twins[1].bias)


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_training_goes_on_exactly_from_a_saved_state(sparse: bool) -> None:
    table = embedding(sparse)
    optimizer = RowAdam(table.parameters(), lr=0.05)
    run(table, optimizer, LOOKUPS[:2])
    file = io.BytesIO()
    torch.save({"table": table.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = run(table, optimizer, LOOKUPS[2:])
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = embedding(sparse)
    resumed.load_state_dict(saved["table"])
    other = RowAdam(resumed.parameters(), lr=0.9)
    other.load_state_dict(saved["optimizer"])
    assert torch.equal(run(resumed, other, LOOKUPS[2:]), expected)


def test_a_parameter_without_a_gradient_is_left_alone_and_a_closure_gives_the_loss() -> None:
    used, idle = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = RowAdam([used, idle], lr=0.05)

    def closure() -> Tensor:
        loss = used.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert used.tolist() == pytest.approx([0.95, 0.95])
    assert idle.tolist() == [1, 1]
    assert idle not in optimizer.state


def test_weight_decay_and_sparse_gradients_are_refused() -> None:
    table = embedding(True)
    with pytest.raises(
        ValueError, match=r"weight_decay is 0.1 .* optimizer.weight_decay=0 or item_encoder.sparse=false"
    ):
        run(table, RowAdam(table.parameters(), weight_decay=0.1))


def test_sparse_entries_are_refused() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.eye(2).to_sparse()
    with pytest.raises(ValueError, match="sparse in 2 dimensions, wanted rows"):
        RowAdam([parameter]).step()


@pytest.mark.parametrize("clip", [nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_], ids=["norm", "value"])
def test_clipping_sparse_gradients_is_an_error_and_not_silent(clip: Callable[..., object]) -> None:
    table = embedding(True)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(NotImplementedError):
        clip(table.parameters(), 0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"lr": 0.0}, "optimizer.lr is 0.0", id="lr"),
        pytest.param({"eps": -1.0}, "optimizer.eps -1.0", id="eps"),
        pytest.param({"weight_decay": -1.0}, "optimizer.weight_decay -1.0", id="weight decay"),
        pytest.param({"betas": [0.9, 1.0]}, r"betas are \[0.9, 1.0\]", id="beta of 1"),
        pytest.param({"betas": [0.9]}, r"betas are \[0.9\]", id="one beta"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RowAdam([nn.Parameter(torch.ones(1))], **options)
