"""Foreign text is shown and does nothing else."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from sage_pl.escaping import LogFormatter, csv_cell, markdown, tex, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b1m", "\\x9b1m"),
        ("a\r\nb\tc\x00", "a\\r\\nb\\tc\\x00"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("a\u2028b\u200b", "a\\u2028b\\u200b"),
        ("\udcff", "\\udcff"),
        ("Grüner Tee 茶 👩‍🔬 [/b] \\n", "Grüner Tee 茶 👩‍🔬 [/b] \\n"),
    ],
)
def test_unseen_characters_have_names_and_others_stay(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_signs_of_tex_are_text() -> None:
    assert tex("a_b & 50% #1 {x} $y$ ^") == r"a\_b \& 50\% \#1 \{x\} \$y\$ \^{}"
    assert tex("\\input{x}\n") == r"\textbackslash{}input\{x\}\textbackslash{}n"
    assert tex("[2pt]") == "{[}2pt{]}", "an argument of the line's end before it"
    assert tex("a--b – ''") == "a-{}-b -- '{}'"
    assert tex("±0.1 †") == r"$\pm$0.1 \dag{}"


@pytest.mark.parametrize(
    "text",
    [
        "# x",
        "- x",
        "1. x",
        "12) x",
        "a|b",
        "**b** _e_ `c`",
        "[x](http://a.b)",
        "<b>",
        "&amp;",
        "\\|",
        "---",
        "> q",
        "~~x~~",
        "a_b",
    ],
)
def test_signs_of_markdown_are_text(text: str) -> None:
    (start, inside, end) = MarkdownIt("commonmark").enable("strikethrough").parse(markdown(text))
    assert (start.type, end.type) == ("paragraph_open", "paragraph_close")
    assert {child.type for child in inside.children or ()} <= {"text", "text_special"}
    assert "".join(child.content for child in inside.children or ()) == text


def test_a_bar_stays_in_its_cell_of_a_markdown_table() -> None:
    html = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n| - | - |\n| {markdown('x | y')} | z |\n")
    assert "<td>x | y</td>" in html


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-2+3", "@SUM(1)", "-", "'=1", "''=1", "--1", "=1e5"])
def test_formulas_of_csv_begin_with_a_quote_which_can_be_taken_away(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-0.5", "+1e-5", "-.5", "sage", "a=1", "'x"])
def test_numbers_and_other_texts_of_csv_stay(text: str) -> None:
    assert csv_cell(text) == text


def test_a_record_of_csv_is_one_line() -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([csv_cell("a\rb\n=1"), csv_cell("\t=1"), csv_cell("\r=1")])
    assert stream.getvalue() == "a\\rb\\n=1,\\t=1,\\r=1\n"


@pytest.fixture
def logged() -> Callable[..., str]:
    formatter = LogFormatter("%(asctime)s %(message)s", "%H:%M:%S")

    def line(message: str, *arguments: object, **more: object) -> str:
        return formatter.format(logging.LogRecord("x", logging.INFO, "x", 1, message, arguments, None, **more))

    return line


def test_an_argument_cannot_forge_a_log_line(logged: Callable[..., str]) -> None:
    text = "x\n10:00:00 metrics  forged\r\x1b[2J"
    for argument in (text, Path(text)):
        line = logged("user %s, %d", argument, 3)
        assert line.endswith(" user x\\n10:00:00 metrics  forged\\r\\x1b[2J, 3")
        assert line.count("\n") == 0


def test_own_lines_of_a_message_are_indented(logged: Callable[..., str]) -> None:
    assert logged("%s", ValueError("two:\n  a\n10:00:00 b")).endswith(" two:\n    a\n  10:00:00 b")


def test_a_traceback_keeps_its_lines(logged: Callable[..., str]) -> None:
    try:
        raise ValueError("x\n10:00:00 forged")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed", (), sys.exc_info())
    lines = LogFormatter("%(message)s").format(record).split("\n")
    assert lines[:2] == ["failed", "  Traceback (most recent call last):"]
    assert lines[-1] == "  10:00:00 forged"


def test_a_mapping_of_arguments_is_formatted(logged: Callable[..., str]) -> None:
    assert logged("%(users)s users", {"users": 3}).endswith("3 users")
