"""Learning rates by step, by hand and beside torch's own schedulers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from sage_pl.errors import SettingError
from sage_pl.training.optimizers.row_adam import RowAdam
from sage_pl.training.schedules import Cosine, Linear, Warmed


def optimizer(kind: Any = torch.optim.Adam) -> torch.optim.Optimizer:
    return kind([torch.nn.Parameter(torch.ones(2))], lr=0.1)


def rates(
    schedule: Warmed, steps: float, epochs: int | None = 10, ahead: int = 0, kind: Any = torch.optim.Adam
) -> list[float]:
    """The rate of each step, and of ``ahead`` further ones."""
    adam = optimizer(kind)
    scheduler, seen = schedule(adam, steps, epochs), []
    for _ in range(int(steps) + ahead):
        seen.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("warmup", [4, 0.4])
def test_a_warm_up_by_hand(warmup: float) -> None:
    assert rates(Warmed(warmup), 10) == pytest.approx([0.025, 0.05, 0.075, *[0.1] * 7])


def test_a_line_and_half_a_cosine_by_hand() -> None:
    assert rates(Linear(2, end=0.5), 6, ahead=3) == pytest.approx([0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, *[0.05] * 3])
    expected = [0.05, 0.1, *(0.1 * (1 + math.cos(math.pi * x / 4)) / 2 for x in range(4)), 0]
    assert rates(Cosine(2), 6, ahead=1) == pytest.approx(expected)


def test_without_a_warm_up_they_are_those_of_torch() -> None:
    for ours, theirs in (
        (Cosine(0, end=0.1), lambda adam: CosineAnnealingLR(adam, 8, eta_min=0.01)),
        (Linear(0, end=0.25), lambda adam: LinearLR(adam, 1.0, 0.25, 8)),
    ):
        adam = optimizer()
        scheduler, expected = theirs(adam), []
        for _ in range(8):
            expected.append(adam.param_groups[0]["lr"])
            adam.step()
            scheduler.step()
        assert rates(ours, 8) == pytest.approx(expected)


def test_it_schedules_row_adam() -> None:
    assert rates(Linear(0), 4, kind=RowAdam) == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_a_curve_may_end_before_or_after_the_run() -> None:
    assert rates(Linear(0, epochs=5), 8)[:5] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0])
    assert rates(Linear(0, epochs=20), 8) == pytest.approx([0.1 * (1 - n / 16) for n in range(8)])


def test_a_scheduler_that_is_loaded_goes_on_where_it_was_and_a_longer_run_takes_the_longer_curve() -> None:
    whole = rates(Cosine(2), 10)
    for steps in (10, 20):
        first = optimizer()
        scheduler = Cosine(2)(first, 10, 10)
        for _ in range(4):
            first.step()
            scheduler.step()
        again = optimizer()
        later = Cosine(2)(again, steps, 10)
        again.load_state_dict(first.state_dict())
        later.load_state_dict(scheduler.state_dict())
        again.step()
        later.step()
        expected = whole[5] if steps == 10 else rates(Cosine(2), 20)[5]
        assert again.param_groups[0]["lr"] == expected


@pytest.mark.parametrize("schedule", [Cosine(5), Linear(5), Warmed(0.1), Warmed(0.0)])
def test_a_curve_that_needs_an_end_says_so(schedule: Warmed) -> None:
    assert schedule.needs_end
    with pytest.raises(SettingError, match=r"trainer\.max_epochs is -1; set trainer\.max_epochs=N"):
        schedule(optimizer(), math.inf, -1)


def test_a_warm_up_over_a_number_of_steps_needs_none() -> None:
    assert not Warmed(3).needs_end
    assert Warmed(3)(optimizer(), math.inf, -1).get_last_lr() == pytest.approx([0.1 / 3])


def test_the_epochs_of_a_curve_need_those_of_the_run() -> None:
    with pytest.raises(SettingError, match=r"trainer\.max_epochs is -1"):
        Cosine(5, epochs=3)(optimizer(), 100, -1)
