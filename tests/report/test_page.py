"""Rendering: whatever comes from data is text, whatever is drawn has words, and no page grows too large."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_pl.report import drawing, page
from sage_pl.report.blocks import (
    Block,
    Code,
    Column,
    Example,
    Examples,
    Facts,
    Figure,
    Folded,
    Line,
    Links,
    Names,
    Prose,
    RecommendedList,
    Section,
    SideBySide,
    Table,
    Value,
    Verdict,
)
from sage_pl.report.page import Chapter, Page
from sage_pl.report.reading import ReportError

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></title></style>&amp;"


def built(*blocks: Block, text: str = "tea") -> Page:
    section = Section("results", text, blocks)
    research = [Section("more", text, [Prose(text)])]
    chapter = Chapter("c-tea", text, [section], research, [(text, text)])
    return Page(text, text, [Verdict(text, text, text)], [chapter], text, {"../report.html": text})


def every_block(text: str) -> list[Block]:
    chart = drawing.lines(text, [drawing.Series("s1", text, [0, 1], [1.0, 2.0])], text, rule=(1, text))
    bars = drawing.bars(text, [(text, text, [drawing.Height("s1", text, 1.0, 0.5, 2.0)])], text, text)
    arrows = drawing.arrows(text, [("s1", text, [(0, 0), (1, 1)])], text, text)
    table = Table(text, [Column(text), Column(text, True, text)], [[Value(text), Value(text, 1.0, text, text)]])
    line = Line(text, 3, True)
    example = Example(text, 2, [line], line, [RecommendedList(text, 4, [line])])
    code = Code(text, text, text)
    figure = Figure(text, text, [chart, bars, arrows], {"s1": text}, table)
    dots = drawing.scatter(text, np.zeros((2, 2)), ["s1", "s1"], text, [0, 1])
    beside = SideBySide(Figure(text, text, [dots]), Table(text, [Column(text)], [[Value(text)]]))
    plain = [Prose(text), table, figure, Facts({text: (text, text)}), code, Examples(text, text, [example])]
    return [*plain, Names([text, text]), beside, Links({text: ("report.html", text)}), Folded(text, [Prose(text)])]


def test_hostile_text_stays_text(read_page: Callable[[str], Any]) -> None:
    html = page.html(built(*every_block(EVIL), text=EVIL))
    document = read_page(html)
    assert document.problems == []
    assert [own.get("type") for own in document.of("script")] == ["application/json", None]  # names, and the page's own
    assert not document.of("img")
    assert not any(name.startswith("on") for _, own in document.tags for name in own)
    assert document.text.count("<script>alert(1)</script>") > 20


def test_unseen_characters_are_shown_by_name(read_page: Callable[[str], Any]) -> None:
    html = page.html(built(*every_block("a\x1b[2J\u202e\ud800\n\nb"), text="a\x1b[2J\u202e\ud800\n\nb"))
    assert read_page(html).text.count("a\\x1b[2J\\u202e\\ud800\\n\\nb") > 20
    assert html.encode()
    assert all(character.isprintable() or character == "\n" for character in html)


def test_lines_of_code_stay(read_page: Callable[[str], Any]) -> None:
    html = page.html(built(Code("one: <b>\n\ntwo: \x1b", "configuration")))
    assert "<code>one: &lt;b&gt;\n\ntwo: \\x1b</code>" in html


def test_every_block_is_drawn_and_named(read_page: Callable[[str], Any]) -> None:
    document = read_page(page.html(built(*every_block("tea"))))
    assert document.problems == []
    assert [own["aria-label"][:5] for own in document.of("svg") if own.get("role") == "img"] == ["tea. "] * 4
    assert {own["scope"] for own in document.of("th")} == {"col", "row"}
    assert len(document.of("caption")) == 3
    regions = [own for own in document.of("div") if own.get("role") == "region"]
    assert all(own["tabindex"] == "0" and own["aria-label"] for own in regions)
    assert "the answer" in document.text
    assert "answer at rank 4" in document.text
    assert "after 2 earlier" in document.text
    assert "default-src 'none'" in next(o["content"] for o in document.of("meta") if "http-equiv" in o)


def test_what_is_left_out_is_a_list_item(read_page: Callable[[str], Any]) -> None:
    document = read_page(page.html(built(Prose("words"))))
    assert "Not in this report tea. tea" in document.text
    assert not document.of("table")
    assert not document.of("figure")


def test_a_page_over_the_limit_is_refused(tmp_path: Path) -> None:
    large = built(Prose("x" * page.LARGEST))
    with pytest.raises(ReportError, match=r"would have 3.0 MB, more than 3; make it smaller with map_items=1000"):
        page.write(large, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_names_of_chapters_are_ids() -> None:
    assert [page.slug(name) for name in ("Beauty 2014", "llmesr_yelp", "«»")] == [
        "c-beauty-2014",
        "c-llmesr-yelp",
        "c-data",
    ]
