"""An accelerator computes on while the host prepares, unless the host asks for a number: counted here on the processor."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.neighbours import Neighbours, NeighbourUsers
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.alignment import Alignment
from sage_pl.nn.losses.distillation import UserDistillation
from sage_pl.nn.losses.distillation_bank import BankDistillation
from sage_pl.nn.losses.mmd import MMD
from sage_pl.nn.losses.prototype import Prototype
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.bce import BCE
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.optimizers.row_adam import RowAdam
from sage_pl.types import LossTerm, SeqBatch
from tests.golden.prepared import BACKBONES, N_ITEMS, Artifacts, make_backbone, make_targets
from tests.nn.modules.conftest import MAX_LEN, MakeModel

ASKS = ("nonzero", "_local_scalar_dense", "_unique", "_unique2", "masked_select", "equal", "_coalesce")
ADAM, ROW_ADAM = functools.partial(torch.optim.Adam, fused=True), functools.partial(RowAdam, lr=0.01)
OBJECTIVES = {"softmax": Softmax, "sampled": SampledSoftmax, "bce": BCE}
TERMS: dict[str, Callable[[Artifacts], LossTerm]] = {
    "exact": lambda made: UserDistillation(0.3),
    "bank": lambda made: BankDistillation(0.3, 5),
    "contrasted bank": lambda made: BankDistillation(0.3, 5, "cl"),
    "alignment": lambda made: Alignment(0.2),
    "occurrences": lambda made: Alignment(0.2, unique=False),
    "mmd": lambda made: MMD(0.2),
    "prototype": lambda made: Prototype(0.5, made.clusters),
    "prototype of the batch": lambda made: Prototype(0.5, made.clusters, scope="batch"),
}


class Asked(TorchDispatchMode):
    """Names the operations whose result's size or value the host must know."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masks or name in ASKS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def batch_of(model: SequentialRecommender, artifacts: Artifacts) -> SeqBatch:
    """The batch of all users as a step gets it."""
    extras = {"exact": Neighbours(artifacts.neighbours, k=2), "bank": NeighbourUsers(artifacts.neighbours, k=2)}
    loader = SequenceDataModule(artifacts.sequences, max_len=MAX_LEN, batch_size=5, extras=extras).train_dataloader()
    return model.on_before_batch_transfer(next(iter(loader)), 0)


def waits(model: SequentialRecommender, artifacts: Artifacts) -> list[str]:
    """What the host asks for in the second step."""
    optimizer = model.configure_optimizers()
    for _ in range(2):
        batch = batch_of(model, artifacts)
        with Asked() as asked:
            model.training_step(batch, 0).backward()
            optimizer.step()
    return asked.names


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_host_never_waits_for_a_plain_step(backbone: str, objective: str, artifacts: Artifacts) -> None:
    chosen = OBJECTIVES[objective](artifacts.sequences)
    encoder, reader = IdEncoder(N_ITEMS, 8), SingleView(make_backbone(backbone))
    model = SequentialRecommender(encoder, reader, make_targets(backbone), chosen, {}, ADAM).float()
    assert waits(model, artifacts) == []


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        *((name, []) for name in ("exact", "bank", "alignment", "mmd", "prototype")),
        ("contrasted bank", ["nonzero"]),
        ("occurrences", ["index"]),
        ("prototype of the batch", ["index"]),
    ],
)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_host_waits_for_few_terms(
    term: str, expected: list[str], backbone: str, objective: str, artifacts: Artifacts
) -> None:
    chosen = OBJECTIVES[objective](artifacts.sequences)
    encoder = DualEncoder(N_ITEMS, artifacts.text, artifacts.start, dim=8)
    targets, named = make_targets(backbone), {term: TERMS[term](artifacts)}
    model = SequentialRecommender(encoder, DualView(make_backbone(backbone)), targets, chosen, named, ADAM).float()
    assert waits(model, artifacts) == expected


def test_sparse_gradients_make_the_host_wait_three_times(artifacts: Artifacts) -> None:
    """Torch leaves the padding row out of the gradient, and brings its rows in order; counts of steps are the host's own."""
    encoder, reader = IdEncoder(N_ITEMS, 8, sparse=True), SingleView(make_backbone("sasrec"))
    objective = SampledSoftmax(artifacts.sequences)
    model = SequentialRecommender(encoder, reader, make_targets("sasrec"), objective, {}, ROW_ADAM).float()
    assert [name for name in waits(model, artifacts) if name != "_local_scalar_dense"] == [
        "index",
        "index",
        "_coalesce",
    ]


def test_a_batch_is_presented_before_it_is_moved_and_only_in_training(
    make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model, batch = make_model(), next(iter(datamodule.train_dataloader()))
    presented = model.on_before_batch_transfer(batch, 0)
    assert presented["labels"].tolist() == presented["targets"].flatten().nonzero().flatten().tolist()
    assert presented["distinct_items"].tolist() == sorted(set(presented["items"].flatten().tolist()) - {0})
    assert "encoded" not in presented, "the softmax reads every item"
    torch.testing.assert_close(model.training_step(presented, 0), model.training_step(batch, 0), rtol=0, atol=0)
    assert model.eval().on_before_batch_transfer(batch, 0) is batch


@pytest.mark.parametrize("training", [True, False])
def test_a_gpu_copies_from_pinned_memory(
    training: bool, make_model: MakeModel, datamodule: SequenceDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = make_model("bert4rec").train(training), []
    batch = next(iter(datamodule.train_dataloader()))

    def pin(tensor: Tensor) -> Tensor:
        assert tensor.is_contiguous(), "other memory is copied once more, and that copy is not pinned"
        kept.append(tensor)
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    model.on_before_batch_transfer(batch, 0)
    assert not kept, "without a GPU there is nothing to pin for"
    monkeypatch.setattr(SequentialRecommender, "device", torch.device("cuda"))
    moved: Any = model.on_before_batch_transfer(batch, 0)
    assert ("labels" in moved) == training
    tensors = [tensor for value in moved.values() for tensor in (value if isinstance(value, list) else [value])]
    assert {id(tensor) for tensor in tensors} == {id(tensor) for tensor in kept}
    assert len(tensors) >= len(moved)
