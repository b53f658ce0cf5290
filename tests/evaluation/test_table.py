import doctest
import io

import pytest
from rich.console import Console

from sage_pl.evaluation import table
from sage_pl.evaluation.table import results_table

ROWS = {
    "popularity": {"full/count": 1200.0, "full/count/item_tail": 30.0, "full/ndcg@10": 0.0053, "full/hr@10": 0.0114},
    "sage": {"full/count": 1200.0, "full/ndcg@10": 0.0534, "full/ndcg@10/item_tail": 0.0101, "full/hr@10": 0.0891},
}


def test_docstring_example() -> None:
    assert doctest.testmod(table).attempted == 1
    assert doctest.testmod(table).failed == 0


def test_terminal_table_fits_and_shows_all_metrics() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table(ROWS, "full"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "full, in %" in text
    assert "1,200" in text
    for value in ("0.53", "5.34", "1.01", "1.14", "8.91"):
        assert text.count(value) == 1
    assert [line.split()[0] for line in text.splitlines() if "@10" in line] == ["ndcg@10", "ndcg@10", "hr@10", "hr@10"]


def test_refuses_a_protocol_without_results() -> None:
    with pytest.raises(ValueError, match="no system has results of protocol 'sampled100'; there are results of full"):
        results_table(ROWS, "sampled100")


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=200).print(results_table({"[/b] :tea: \x1b[2J": {"full/count": 3.0, "full/ndcg@10": 0.5}}, "full"))
    printed = capsys.readouterr().out
    assert "[/b] :tea: \\x1b[2J" in printed
    assert "\x1b[2J" not in printed
