import logging
from pathlib import Path

import polars as pl
import pytest

from sage_pl.semantic.texts import Texts

COLUMNS = {
    "title": ["Red  wine\n", None, "", "Tea"],
    "brand": ["Acme", "Bolt", None, " "],
    "categories": [["Drinks", None, "Wine"], [], None, ["Drinks"]],
}


def prompts(step: Texts, sequences, out: Path) -> list[str]:
    step.run({"sequences": sequences}, out)
    frame = pl.read_parquet(out / "texts.parquet")
    assert frame["item"].to_list() == list(range(1, len(frame) + 1))
    return frame["text"].to_list()


def test_title_is_bare_and_missing_pieces_are_left_out(make_sequences, out) -> None:
    texts = prompts(Texts(["title", "brand", "categories"]), make_sequences([[1, 2, 3, 4]], **COLUMNS), out)
    assert texts == [
        "Red wine. brand: Acme. categories: Drinks, Wine",
        "brand: Bolt",
        "unknown",
        "Tea. categories: Drinks",
    ]


def test_items_without_text_are_counted_in_a_warning(make_sequences, out, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        prompts(Texts(("title",)), make_sequences([[1, 2, 3, 4]], **COLUMNS), out)
    assert "2 of 4 items have no text" in caplog.text


def test_a_column_that_no_item_has_is_named(make_sequences, out, caplog) -> None:
    """As ``categories`` is, where metadata are of another year than ``dataset.year`` says."""
    columns = {"title": ["a", "b"], "brand": [None, " "], "categories": [[], None]}
    sequences = make_sequences([[1, 2]], **columns)
    with caplog.at_level(logging.WARNING):
        assert prompts(Texts(("title", "brand", "categories")), sequences, out) == ["a", "b"]
    assert "no item has a value of brand, categories" in caplog.text


def test_labels_and_order_are_chosen(make_sequences, out) -> None:
    step = Texts(("brand", "title"), {"brand": "", "title": "Name"})
    assert prompts(step, make_sequences([[1, 2, 3, 4]], **COLUMNS), out)[0] == "Acme. Name: Red wine"


def test_prompts_are_cut(make_sequences, out) -> None:
    assert prompts(Texts(("title",), max_chars=3), make_sequences([[1, 2, 3, 4]], **COLUMNS), out)[0] == "Red"


def test_numbers_become_text(make_sequences, out) -> None:
    assert prompts(Texts(("price",)), make_sequences([[1, 2]], price=[1.5, 2.0]), out) == ["price: 1.5", "price: 2.0"]


def test_null_takes_every_column_of_text(make_sequences, out) -> None:
    sequences = make_sequences([[1, 2, 3, 4]], **COLUMNS, rank=[1, 2, 3, 4])
    named = prompts(Texts(("title", "brand", "categories")), sequences, out)
    assert prompts(Texts(None), sequences, out) == named


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        pytest.param({}, ["title"], "no item text; use embedder=cooccurrence, or method=plain", id="no text"),
        pytest.param(
            COLUMNS, ["title", "colour"], "no column colour; set steps.texts.columns to some of: title", id="column"
        ),
        pytest.param(COLUMNS, [], "no column is chosen", id="none chosen"),
    ],
)
def test_unfit_columns_are_refused(make_sequences, out, columns, asked, message) -> None:
    with pytest.raises(ValueError, match=message):
        Texts(asked).run({"sequences": make_sequences([[1, 2, 3, 4]], **columns)}, out)
    assert not list(out.iterdir())


def test_a_prompt_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"steps\.texts\.max_chars is 0"):
        Texts(("title",), max_chars=0)
