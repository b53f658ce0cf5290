"""An accelerator computes on while the host prepares, unless the host asks for a number: counted here on the processor."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sage_pl.data.datamodule import SequenceDataModule
from tests.models.conftest import MakeModel

ASKS = ("nonzero", "_local_scalar_dense", "_unique", "masked_select", "equal")


class Asked(TorchDispatchMode):
    """Names the operations whose result's size or value the host must know."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masks or name in ASKS or name == "_unique2":
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec", "gru4rec"])
@pytest.mark.parametrize(("sage", "waits"), [(False, []), (True, ["index", "_unique2"])], ids=["plain", "sage"])
def test_the_host_waits_for_nothing_but_the_aligned_items(
    backbone: str, sage: bool, waits: list[str], make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone, sage)
    batch = model.on_before_batch_transfer(next(iter(datamodule.train_dataloader())), 0)
    with Asked() as asked:
        model.training_step(batch, 0).backward()
    assert asked.names == waits


def test_a_batch_is_presented_before_it_is_moved_and_only_in_training(
    make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model, batch = make_model(), next(iter(datamodule.train_dataloader()))
    presented = model.on_before_batch_transfer(batch, 0)
    assert presented["labels"].tolist() == presented["targets"].flatten().nonzero().flatten().tolist()
    torch.testing.assert_close(model.training_step(presented, 0), model.training_step(batch, 0), rtol=0, atol=0)
    assert model.eval().on_before_batch_transfer(batch, 0) is batch
