import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.training.callbacks.expert_shares import ExpertShares


class Items:
    """Two experts; the shares of the five items, and one row each for padding and mask token, which do not count."""

    n_items = 5
    names = ("id", "text")

    def __init__(self, share: float) -> None:
        self.input_dims = {"id": 1, "text": 1, "gate": 2}
        self.shares = torch.tensor([[0.5, 0.5], *[[1 - share, share]] * 5, [0.5, 0.5]])

    def views(self, ids: Tensor, names: Any = None) -> dict[str, Tensor]:
        return {"gate": self.shares[ids]}


def validate(encoder: Any, times: int = 2, sanity: bool = False) -> dict[str, float]:
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(
        item_encoder=encoder,
        device=torch.device("cpu"),
        log=lambda name, value, **_: logged.update({name: float(value)}),
    )
    callback = ExpertShares()
    for _ in range(times):
        callback.on_validation_epoch_end(SimpleNamespace(sanity_checking=sanity), module)  # type: ignore[arg-type]
    return logged


@pytest.mark.parametrize(("share", "lines"), [(0.005, 1), (0.02, 0)])
def test_an_expert_under_one_percent_gets_one_line(share: float, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sage_pl"):
        logged = validate(Items(share))
    assert logged == pytest.approx({"val/share/id": 1 - share, "val/share/text": share})
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == lines
    assert all("the expert text has 0.5 % of the items' scores" in message for message in messages)


def test_items_without_a_gate_and_the_sanity_check_log_nothing() -> None:
    assert validate(SimpleNamespace(input_dims={"id": 8})) == {}
    assert validate(Items(0.005), sanity=True) == {}
