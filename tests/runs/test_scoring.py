"""When a scorer's weights are chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from sage_pl.nn.modules.untrained import untrained
from sage_pl.runs.scoring import choose_weights
from sage_pl.types import Case


class Scorer(nn.Module):
    """Counts how often its weights are chosen."""

    cases = 1

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([torch.nan]))
        self.choices = 0

    @property
    def chosen(self) -> bool:
        return self.choices > 0

    def forward(self, scores: torch.Tensor, *history: Any) -> torch.Tensor:
        return scores

    def choose(self, cases: Any) -> None:
        assert all(isinstance(case, Case) for case in cases())
        self.choices += 1


@pytest.mark.parametrize("overrides", [{"scorer": {"objective": "new"}}, {"scorer": {"_target_": "another"}}])
def test_weights_are_chosen_anew_where_a_command_changes_the_scorer(overrides: dict[str, Any]) -> None:
    scorer: Any = Scorer()
    batch = {"items": torch.tensor([[1]]), "answer": torch.tensor([2])}
    data: Any = SimpleNamespace(sequences=SimpleNamespace(valid=[0]), held_out=lambda split, most: [batch])
    parts: Any = SimpleNamespace(datamodule=data, model=untrained(3, 5, scorer))
    assert choose_weights(parts)
    assert not choose_weights(parts)
    assert not choose_weights(parts, {"evaluation": {"sampled": 10}})
    assert choose_weights(parts, overrides)
    assert scorer.choices == 2
