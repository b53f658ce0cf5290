"""Where things are drawn, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sage_pl.report import drawing
from sage_pl.report.charts import BOTTOM, LEFT, RIGHT, TOP, Scale
from sage_pl.report.drawing import Height, Series


def test_scale_is_linear_and_may_point_down() -> None:
    down = Scale(0, 10, 200, 100)
    assert [down(v) for v in (0, 5, 10)] == [200, 150, 100]
    assert Scale(3, 3, 0, 100)(3) == 50  # one value stands in the middle


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 10, ["0", "2", "4", "6", "8", "10"]),
        (0, 105, ["0", "25", "50", "75", "100"]),
        (-3.4, -2.6, ["−3.4", "−3.2", "−3.0", "−2.8", "−2.6"]),
        (0.0041, 0.0066, ["0.0045", "0.0050", "0.0055", "0.0060", "0.0065"]),
        (0, 4000, ["0", "1,000", "2,000", "3,000", "4,000"]),
        (7, 7, ["7"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert [tick.label for tick in Scale(low, high, 0, 100).ticks()] == labels


def test_ticks_of_whole_numbers_are_whole() -> None:
    assert [tick.label for tick in Scale(0, 2, 0, 100).ticks(least=1)] == ["0", "1", "2"]


@pytest.mark.parametrize("last", [5, 7, 12, 28, 99])
def test_epochs_are_whole_numbers(last: int) -> None:
    chart = drawing.lines("loss", [Series("s1", "sage", [0, last], [1.0, 2.0])], "epoch")
    assert all(tick.label.isdigit() for tick in chart.x_ticks)
    assert len(chart.x_ticks) >= 2


@pytest.mark.parametrize(("values", "span"), [([59.4, 60.6], 30), ([-3.0, -2.9], 1.5), ([0.02, 2.0], 2)])
def test_a_flat_line_is_drawn_flat(values: list[float], span: float) -> None:
    chart = drawing.lines("rank", [Series("s1", "sage", [0, 1], values)], "epoch")
    first, last = (y for _, y, _ in chart.paths[0].points)
    assert abs(first - last) <= (BOTTOM - TOP) * (values[1] - values[0]) / span * 1.01


def test_a_curve_runs_through_its_points() -> None:
    chart = drawing.lines("loss", [Series("s1", "sage", [0, 1, 2], [1.0, 2.0, 3.0])], "epoch", rule=(1, "best"))
    (curve,) = chart.paths
    (x0, y0, _), (x1, _, told), (x2, y2, _) = curve.points
    assert (x0, x1, x2) == (LEFT, (LEFT + RIGHT) / 2, RIGHT)
    assert TOP < y2 < y0 <= BOTTOM
    assert told == "sage, epoch 1: 2"
    assert curve.d.count("L") == 2
    assert chart.rule is not None
    assert chart.rule.at == x1
    assert "sage from 1 to 3" in chart.description
    with pytest.raises(ValueError, match="no points"):
        drawing.lines("loss", [], "epoch")


def test_bars_stand_on_zero_and_gaps_stay() -> None:
    heights = [Height("s0", "plain", 2.0, 1.0, 4.0), Height("s1", "sage", None)]
    chart = drawing.bars("tail", [("1–4", "9", heights), ("5+", "3", [Height("s0", "plain", 4.0), heights[1]])], "NDCG")
    small, large = chart.bars
    assert small.y + small.height == pytest.approx(chart.bottom)
    assert large.height == pytest.approx(2 * small.height, abs=0.2)
    assert small.low is not None
    assert small.high is not None
    assert chart.bottom - small.low == pytest.approx(small.height / 2, abs=0.2)
    assert chart.bottom - small.high == pytest.approx(2 * small.height, abs=0.2)
    assert large.low is None
    assert small.label == "1–4, plain: 2.00 (95 % interval 1.00 to 4.00)"
    assert [(tick.label, tick.note) for tick in chart.x_ticks] == [("1–4", "9"), ("5+", "3")]


def test_a_heat_map_marks_sign_few_and_none() -> None:
    values = np.array([[1.0, -2.0], [np.nan, 8.0]])
    cases = np.array([[100, 60], [0, 10]])
    chart = drawing.heat("sage", values, cases, ["1", "2"], ["a", "b"], ("user", "item"), signed=True)
    better, worse, nothing, few = chart.squares
    assert (better.style, worse.style, nothing.style) == ("better", "worse", "none")
    assert (better.text, worse.text, nothing.text) == ("+1.0", "−2.0", "–")
    assert worse.strength == 0.56  # the largest with enough cases
    assert better.strength == pytest.approx(0.31)
    assert few.faint
    assert few.strength == 0.56
    assert nothing.label == "user 2, item a: no cases"
    assert worse.label == "user 1, item b: −2.00, 60 cases"
    assert better.y > few.y  # the first row is at the bottom


def test_points_of_one_style_are_one_path_within_the_box() -> None:
    points = np.random.default_rng(0).normal(size=(50, 2))
    chart = drawing.scatter("map", points, ["s1"] * 20 + ["s2"] * 30, "a map")
    assert [(style, d.count("M")) for style, d in chart.dots] == [("s1", 20), ("s2", 30)]
    numbers = [float(n) for _, d in chart.dots for dot in d.split("M")[1:] for n in dot.removesuffix("h0").split()]
    assert min(numbers) >= 0
    assert max(numbers) <= chart.width


def test_moves_lead_from_where_they_began() -> None:
    chart = drawing.arrows("all", [("floor", "text", [(-1, 1)]), ("s1", "sage", [(-1, 1), (-3, 0.5)])], "u", "a")
    text, sage = chart.labels
    assert text.start is None
    assert sage.start == text.at
    assert sage.at[0] < text.at[0]
    assert sage.at[1] > text.at[1]  # lower is further down
    assert (text.anchor, sage.anchor) == ("end", "start")
