from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from sage_pl.comparison.cells import Against, Agreement, Cell
from sage_pl.comparison.files import (
    COLUMNS,
    Comparison,
    ListValue,
    Section,
    Table,
    latex,
    markdown,
    write,
)
from sage_pl.comparison.published import PaperTable, Row
from sage_pl.comparison.terminal import show

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
AGREED = Agreement("ndcg@10", ("full", "sampled100"), ("a_b", "a_b"), 1.0, 2)
LISTS = [ListValue("a_b", "coverage@10", 3, 0.25, 0.01), ListValue("c", "coverage@10", 1, 0.5, None)]
LISTS.append(ListValue("a_b", "gini@10", 3, 0.9, 0.0))
SECTION = Section("tea & co", [Table("full", "head and tail", CELLS)], [AGREED], LISTS, {"a_b": ["runs/1", "runs/2"]})
PAPER = PaperTable(
    "Table 1",
    "A & B, 2025",
    ("Backbone", "Model"),
    ("Tea H@10",),
    (Row(("SASRec", "None"), "ours", (0.12345,), ("~",)), Row(("SASRec", "None"), "printed", (None,), ("",))),
)
COMPARISON = Comparison({"by": "method"}, [SECTION], PAPER, [("runs/3", "is not finished")], ["a run was left out"])


def test_markdown() -> None:
    lines = markdown(COMPARISON).splitlines()
    assert "| metric | system | seeds | overall (1,200) | item_tail (30†) | item_unseen (0†) |" in lines
    assert "| ndcg@10 | popularity | – | 0.53 | 0.00 | – |" in lines
    assert "| ndcg@10 | a_b | 3 | 5.34 ± 0.12 * | 1.00 ± 0.10 ~ | – |" in lines
    assert "by method" in lines
    assert "- a run was left out" in lines
    assert "- runs/3: is not finished" in lines
    assert str(AGREED) in lines


def test_recommended_lists_are_a_line_per_system() -> None:
    lines = markdown(COMPARISON).splitlines()
    assert "| system | seeds | coverage@10 | gini@10 |" in lines
    assert "| a_b | 3 | 0.250 ± 0.010 | 0.900 ± 0.000 |" in lines
    assert "| c | 1 | 0.500 | – |" in lines


def test_a_paper_comes_first_with_its_source() -> None:
    lines = markdown(COMPARISON).splitlines()
    assert lines.index("Printed: A & B, 2025") < lines.index("## tea & co")
    assert "| Backbone | Model |  | Tea H@10 |" in lines
    assert "| SASRec | None | ours | 0.1235 ~ |" in lines
    assert "| SASRec | None | printed | – |" in lines


def test_latex_is_escaped() -> None:
    text = latex(COMPARISON)
    assert r"ndcg@10 & a\_b & 3 & 5.34 $\pm$ 0.12 $^*$ & 1.00 $\pm$ 0.10 $\sim$ & -- \\" in text
    assert r"\shortstack{item\_tail\\(30\dag{})}" in text
    assert r"\begin{tabular}{llrrrr}" in text
    grid = text[text.index("% tea & co, full, head and tail") : text.index("% tea & co, recommended lists")]
    assert grid.count(r"\midrule") == 2  # below the header, between the metrics
    assert "SASRec & None & ours & 0.1235 $\\sim$ \\\\" in text


def test_files_hold_everything(tmp_path: Path) -> None:
    write(tmp_path / "new", COMPARISON)
    folder = tmp_path / "new"
    assert sorted(path.suffix for path in folder.iterdir()) == [".csv", ".json", ".md", ".tex"]
    record = json.loads((folder / "comparison.json").read_text())
    assert record["remarks"] == ["a run was left out"]
    assert record["unfinished"] == [{"folder": "runs/3", "reason": "is not finished"}]
    assert record["runs"] == {"tea & co": {"a_b": ["runs/1", "runs/2"]}}
    assert record["lines"] == {"tea & co": [str(AGREED)]}
    assert record["agreement"][0]["winners"] == ["a_b", "a_b"]
    lists = {"dataset": "tea & co", "system": "c", "metric": "coverage@10", "seeds": 1, "mean": 0.5, "sd": None}
    assert record["lists"][1] == lists
    (table,) = record["tables"]
    assert table["columns"] == ["Tea H@10"]
    assert table["rows"][1] == {"labels": ["SASRec", "None"], "origin": "printed", "values": [None], "marks": [""]}
    assert len(record["values"]) == len(CELLS)
    assert record["values"][3] == {
        **{"dataset": "tea & co", "protocol": "full", "family": "head and tail", "metric": "ndcg@10"},
        **{"system": "a_b", "group": "overall"},
        **{"cases": 1200, "seeds": 3, "mean": 0.05342, "sd": 0.0012, "low": 0.05, "high": 0.06, "baseline": "plain"},
        **{"difference": 0.02, "difference_low": 0.01, "difference_high": None, "p": 0.004, "p_holm": 0.008},
        **{"effect": 0.3, "noise": 0.001, "mark": "*", "converged": None, "refit": False},
    }
    with (folder / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(COLUMNS)
    assert (rows[3]["mean"], rows[3]["mark"], rows[0]["mark"]) == ("0.05342", "*", "")


def test_a_system_that_is_not_converged_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell._replace(converged=False) if cell.system == "a_b" else cell for cell in CELLS]
    early = Comparison({}, [SECTION._replace(tables=[Table("full", "head and tail", cells)])])
    write(tmp_path, early)
    show(early)
    assert r"| ndcg@10 | a\_b ‡ | 3 |" in (tmp_path / "comparison.md").read_text().replace("a_b", r"a\_b")
    assert r"a\_b \ddag{} & 3" in (tmp_path / "comparison.tex").read_text()
    with (tmp_path / "comparison.csv").open(newline="") as stream:
        assert [row["converged"] for row in csv.DictReader(stream)] == ["", "", "", *["False"] * 4]
    printed = capsys.readouterr().out
    assert "a_b ‡" in printed
    assert "5.34 ± 0.12 *" in printed


HOSTILE = "[x]|<b>_y_\n\\end{tabular}%\r"


def hostile() -> Comparison:
    cells = [cell._replace(system=HOSTILE) for cell in CELLS if cell.system == "a_b"]
    lists = [value._replace(system=HOSTILE) for value in LISTS]
    section = Section(HOSTILE, [Table("full", "head and tail", cells)], [], lists)
    return Comparison({"baseline": HOSTILE}, [section], None, [(HOSTILE, HOSTILE)], [HOSTILE])


def test_a_name_leaves_no_comment_and_no_cell_of_latex() -> None:
    lines = re.split(r"[\r\n]", latex(hostile()))
    assert r"% [x]|<b>_y_\n\end{tabular}%\r, full, head and tail" in lines
    assert lines.count(r"\end{tabular}") == 2
    name = r"{[}x{]}\textbar{}\textless{}b\textgreater{}\_y\_\textbackslash{}n\textbackslash{}end\{tabular\}"
    assert sum(name in line for line in lines) == 3
    assert not any(line.startswith("[") for line in lines)


def test_a_name_is_text_in_markdown() -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown(hostile()))
    inside = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inside for child in token.children or ()}
    assert kinds <= {"text", "text_special", "code_inline"}
    shown = ["".join(child.content for child in token.children or ()) for token in inside]
    assert shown.count("[x]|<b>_y_\\n\\end{tabular}%\\r") == 5  # a heading, three cells, a remark


def test_texts_of_csv_are_no_formulas_and_numbers_stay(tmp_path: Path) -> None:
    cells = [CELLS[3]._replace(system=name, against=AGAINST._replace(difference=-0.5)) for name in ("=1+1", "-0.5")]
    write(tmp_path, Comparison({}, [Section("@x\ry", [Table("full", "all", cells)])]))
    with (tmp_path / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["system"] for row in rows] == ["'=1+1", "-0.5"]
    assert [row["dataset"] for row in rows] == ["'@x\\ry"] * 2
    assert [row["difference"] for row in rows] == ["-0.5"] * 2
    values = json.loads((tmp_path / "comparison.json").read_text())["values"]
    assert [value["system"] for value in values] == ["=1+1", "-0.5"], "JSON holds the texts as they are"
    assert values[0]["dataset"] == "@x\ry"
