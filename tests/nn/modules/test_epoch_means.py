import torch

from sage_pl.nn.modules.epoch_means import EpochMeans


def test_a_mean_weighs_every_row_alike_and_begins_anew() -> None:
    means = EpochMeans()
    assert means.take() == {}
    means.add({"a": torch.tensor(1.0, requires_grad=True), "b": torch.tensor(4.0, dtype=torch.bfloat16)}, rows=1)
    means.add({"a": torch.tensor(3.0), "b": torch.tensor(0.0)}, rows=3)
    taken = means.take()
    assert {name: value.item() for name, value in taken.items()} == {"a": 2.5, "b": 1.0}
    assert not taken["a"].requires_grad
    means.add({"a": torch.tensor(7.0)}, rows=2)
    assert means.take() == {"a": torch.tensor(7.0)}
    assert means.take() == {}
