from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sage_pl.comparison.cells import Against, Cell
from sage_pl.comparison.published import Layout, Row

CONF = Path(__file__).parent.parent.parent / "conf" / "table"
LAYOUT: dict[str, Any] = {
    "title": "Table 1",
    "source": "A paper",
    "protocol": "sampled100",
    "columns": {"H": ["hr@10", "overall"], "tail H": ["hr@10", "item_tail"]},
    "data": {"Tea": [100, 50]},
    "backbones": {"gru4rec": "GRU4Rec", "sasrec": "SASRec"},
    "models": {"plain": "None"},
    "printed": {"Tea": {"sasrec": {"None": [0.5, 0.1], "Other": [0.6, None]}}},
}
WORSE = Against("plain/sasrec", -0.1, None, None, None, 0.01, None, None, "*")


def cells(system: str, overall: float, tail: float | None, against: Against | None = None) -> list[Cell]:
    place = ("hr@10", system)
    return [
        Cell("full", *place, "overall", 9, 1, 0.99),  # another protocol
        Cell("sampled100", *place, "overall", 9, 1, overall, against=against),
        Cell("sampled100", *place, "item_tail", 9, 1, tail),
    ]


OURS = [*cells("popularity", 0.3, 0.0), *cells("plain/sasrec", 0.55, 0.2), *cells("sage/sasrec", 0.45, None, WORSE)]
ROWS = [
    (("SASRec", "None"), "ours", (0.55, 0.2), ("", "")),
    (("SASRec", "None"), "printed", (0.5, 0.1), ("", "")),
    (("SASRec", "Other"), "printed", (0.6, None), ("", "")),
    (("SASRec", "sage"), "ours", (0.45, None), ("*", "")),
    (("", "popularity"), "ours", (0.3, 0.0), ("", "")),
]


def test_figures_stand_beside_ours_where_the_data_are_the_same() -> None:
    table = Layout(**LAYOUT).fill({"tea": OURS}, {"tea": (100, 50)})
    assert table.header == ["Backbone", "Model", "", "Tea H", "Tea tail H"]
    assert list(table.rows) == [Row(*row) for row in ROWS]
    assert list(table.lines())[2:4] == [
        ["SASRec", "Other", "printed", "0.6000", "–"],
        ["SASRec", "sage", "ours", "0.4500 *", "–"],
    ]


def test_other_data_have_our_values_alone() -> None:
    table = Layout(**LAYOUT).fill({"tea": OURS}, {"tea": (101, 50)})
    assert table.columns == ("tea H", "tea tail H")
    assert {row.origin for row in table.rows} == {"ours"}


def test_data_whose_size_no_paper_prints_are_known_by_name() -> None:
    named = Layout(**LAYOUT | {"data": {"Tea": "tea"}})
    assert list(named.fill({"tea": OURS}, {"tea": (7, 7)}).rows) == [Row(*row) for row in ROWS]
    assert {row.origin for row in named.fill({"jam": OURS}, {"jam": (7, 7)}).rows} == {"ours"}


def test_every_printed_figure_can_be_reached() -> None:
    for path in CONF.glob("*.yaml"):
        layout = Layout(**yaml.safe_load(path.read_text())["table"])
        for name, known in layout.data.items():
            ours, size = (known, (1, 1)) if isinstance(known, str) else ("ours", tuple(known))
            rows = layout.fill({ours: OURS}, {ours: size}).rows
            assert any(row.origin == "printed" for row in rows), f"{path.name}: {name}"


def test_data_sets_side_by_side_or_below_each_other() -> None:
    known = {"tea": OURS, "jam": cells("plain/gru4rec", 0.7, 0.6)}
    sizes = {"tea": (100, 50), "jam": (5, 5)}
    across = Layout(**LAYOUT).fill(known, sizes)
    assert across.columns == ("Tea H", "Tea tail H", "jam H", "jam tail H")
    assert across.rows[0] == Row(("GRU4Rec", "None"), "ours", (None, None, 0.7, 0.6), ("",) * 4)
    assert across.rows[1].values == (0.55, 0.2, None, None)
    below = Layout(**LAYOUT, across=False).fill(known, sizes)
    assert below.header == ["Dataset", "Backbone", "Model", "", "H", "tail H"]
    assert [row.labels[0] for row in below.rows] == ["Tea"] * 5 + ["jam"]


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ({"Jam": {}}, "prints Jam, which data lacks"),
        (
            {"Tea": {"sasrec": {"None": [0.5]}}},
            r"prints 1 values of None \(sasrec, Tea\), wanted one for each of H, tail H",
        ),
    ],
    ids=["unknown data", "a value missing"],
)
def test_a_layout_that_does_not_fit_is_refused(printed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layout(**LAYOUT | {"printed": printed})


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_the_papers_tables_are_consistent(name: str) -> None:
    layout = Layout(**yaml.safe_load((CONF / f"{name}.yaml").read_text())["table"])
    for backbones in layout.printed.values():
        assert set(backbones) <= set(layout.backbones)
        for models in backbones.values():
            assert all(0 < value < 1 for values in models.values() for value in values if value is not None)
            for values in models.values():
                printed = dict(zip(map(tuple, layout.columns.values()), values, strict=True))
                for (metric, group), value in printed.items():  # MRR is never above NDCG, nor NDCG above HR
                    lower = printed.get((metric.replace("ndcg", "mrr").replace("hr", "ndcg"), group))
                    assert None in (value, lower) or value >= lower


def test_both_papers_print_the_same_plain_backbones() -> None:
    llmemb, llm_esr = (
        yaml.safe_load((CONF / f"{n}.yaml").read_text())["table"]["printed"] for n in ("llmemb", "llm_esr")
    )
    for data, backbones in llmemb.items():
        for backbone, models in backbones.items():
            assert llm_esr[data][backbone]["None"][:4] == models["None"]
