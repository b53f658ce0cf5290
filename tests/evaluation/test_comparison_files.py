from __future__ import annotations

import csv
import json
from pathlib import Path

from sage_pl.evaluation.comparison import Against, Cell
from sage_pl.evaluation.comparison_files import COLUMNS, Section, Table, latex, markdown, write

AGAINST = Against("plain", 0.02, 0.01, None, 0.004, 0.008, 0.3, 0.001, "*")
CELLS = [
    Cell("full", "ndcg@10", "popularity", "overall", 1200, 0, 0.0053),
    Cell("full", "ndcg@10", "popularity", "item_tail", 30, 0, 0.0),
    Cell("full", "ndcg@10", "a_b", "overall", 1200, 3, 0.05342, 0.0012, 0.05, 0.06, AGAINST),
    Cell("full", "ndcg@10", "a_b", "item_tail", 30, 3, 0.01, 0.001, None, None, AGAINST._replace(mark="~", noise=None)),
    Cell("full", "ndcg@10", "a_b", "item_unseen", 0, 3),
    Cell("full", "hr@10", "a_b", "overall", 1200, 3, 0.1, 0.0),
]
CELLS.insert(2, Cell("full", "ndcg@10", "popularity", "item_unseen", 0, 0))
SECTIONS = [Section("tea & co", [Table("full", "head and tail", CELLS)], ["A line."])]


def test_markdown() -> None:
    lines = markdown(SECTIONS, {"by": "method"}, ["a run was left out"]).splitlines()
    assert "| metric | system | seeds | overall (1,200) | item_tail (30†) | item_unseen (0†) |" in lines
    assert "| ndcg@10 | popularity | – | 0.53 | 0.00 | – |" in lines
    assert "| ndcg@10 | a_b | 3 | 5.34 ± 0.12 * | 1.00 ± 0.10 ~ | – |" in lines
    assert "by method" in lines
    assert "- a run was left out" in lines
    assert "A line." in lines


def test_latex_is_escaped() -> None:
    text = latex(SECTIONS)
    assert r"ndcg@10 & a\_b & 3 & 5.34 $\pm$ 0.12 $^*$ & 1.00 $\pm$ 0.10 $\sim$ & -- \\" in text
    assert r"\shortstack{item\_tail\\(30\dag)}" in text
    assert text.count(r"\midrule") == 2  # below the header, between the metrics
    assert r"\begin{tabular}{llrrrr}" in text


def test_files_hold_everything(tmp_path: Path) -> None:
    write(tmp_path / "new", SECTIONS, {"by": "method"}, ["remark"])
    folder = tmp_path / "new"
    assert sorted(path.suffix for path in folder.iterdir()) == [".csv", ".json", ".md", ".tex"]
    record = json.loads((folder / "comparison.json").read_text())
    assert record["remarks"] == ["remark"]
    assert record["lines"] == {"tea & co": ["A line."]}
    assert len(record["values"]) == len(CELLS)
    assert record["values"][3] == {
        **{"dataset": "tea & co", "protocol": "full", "metric": "ndcg@10", "system": "a_b", "group": "overall"},
        **{"cases": 1200, "seeds": 3, "mean": 0.05342, "sd": 0.0012, "low": 0.05, "high": 0.06, "baseline": "plain"},
        **{"difference": 0.02, "difference_low": 0.01, "difference_high": None, "p": 0.004, "p_holm": 0.008},
        **{"effect": 0.3, "noise": 0.001, "mark": "*"},
    }
    with (folder / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(COLUMNS)
    assert (rows[3]["mean"], rows[3]["mark"], rows[0]["mark"]) == ("0.05342", "*", "")
