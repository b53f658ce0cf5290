"""A page in a real browser: nothing in the console, everything drawn, sorting, both themes, a phone, paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage_pl.report import make
from sage_pl.report.page import Options

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE, TABLET, DESK = {"width": 390, "height": 844}, {"width": 820, "height": 1180}, {"width": 1440, "height": 900}
_WIDTHS = pytest.mark.parametrize("viewport", [PHONE, TABLET, DESK], ids=["phone", "tablet", "desktop"])
_UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
_BRIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_file(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.of_comparison(comparison, Options(map_items=30), tmp_path_factory.mktemp("page"))


def open_page(browser: Any, file: Path, viewport: dict[str, int], **more: Any) -> tuple[Any, list[str]]:
    """The page, and what it said or asked the network for."""
    page = browser.new_context(viewport=viewport, **more).new_page()
    page.set_default_timeout(120_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    return page, said


@_WIDTHS
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_without_complaint_and_fits(browser: Any, page_file: Path, viewport: dict[str, int], scheme: str) -> None:
    page, said = open_page(browser, page_file, viewport, color_scheme=scheme)
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert (page.evaluate(_BRIGHTNESS) > 380) == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollHeight") <= 6000
    page.evaluate(_UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    drawn = page.evaluate(
        "[...document.querySelectorAll('.panel svg')].map(s => [s.getBoundingClientRect().width, "
        "s.querySelectorAll('path, rect, circle').length])"
    )
    assert len(drawn) > 15
    assert all(width > 200 and shapes for width, shapes in drawn)
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('.panel svg text')].map(t => "
        "parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / "
        "t.ownerSVGElement.viewBox.baseVal.width))"
    )
    assert smallest >= 8  # px on the screen


def test_long_names_stay_within_a_phone(browser: Any, comparison: Path, tmp_path: Path) -> None:
    text = (comparison / "comparison.json").read_text()
    longer = '"sage/model.terms.prototype.clusters=9d6aff92604177f1"'
    (tmp_path / "comparison.json").write_text(text.replace('"sage"', longer))
    page, said = open_page(browser, make.of_comparison(tmp_path, Options(maps=False)), PHONE)
    assert said == []
    page.evaluate(_UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_tables_sort_by_pointer_and_keyboard(browser: Any, page_file: Path) -> None:
    page, said = open_page(browser, page_file, DESK)
    table = page.locator("table.sortable").first
    column = table.locator("thead th").nth(2)

    def shown() -> list[float]:
        cells = table.locator("tbody tr td:nth-of-type(2)")
        return [float(value) for value in cells.evaluate_all("all => all.map(c => c.dataset.sort)")]

    before = shown()
    column.locator("button").click()
    assert shown() == sorted(before, reverse=True)
    assert column.get_attribute("aria-sort") == "descending"
    column.locator("button").press("Enter")
    assert shown() == sorted(before)
    assert column.get_attribute("aria-sort") == "ascending"
    table.locator("thead th button").first.press("Enter")
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert column.get_attribute("aria-sort") is None
    assert said == []


def test_the_theme_can_be_chosen(browser: Any, page_file: Path) -> None:
    page, _ = open_page(browser, page_file, DESK, color_scheme="light")
    page.get_by_role("button", name="Dark", exact=True).click()
    assert page.evaluate(_BRIGHTNESS) < 380
    page.get_by_role("button", name="Light", exact=True).click()
    assert page.evaluate(_BRIGHTNESS) > 380


def test_the_keyboard_reaches_the_content(browser: Any, page_file: Path) -> None:
    page, _ = open_page(browser, page_file, DESK)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"


def test_prints_on_white_paper(browser: Any, page_file: Path, tmp_path: Path) -> None:
    page, _ = open_page(browser, page_file, DESK, color_scheme="dark")
    paper = page.pdf(path=tmp_path / "page.pdf")
    assert paper.startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(_BRIGHTNESS) > 380
    assert (
        page.evaluate("document.querySelectorAll('details:not([open])').length") <= 1
    )  # the configuration stays folded
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(_BRIGHTNESS) < 380


@_WIDTHS
def test_the_contents_stay_in_view_and_open_what_they_lead_to(
    browser: Any, page_file: Path, viewport: dict[str, int]
) -> None:
    page, said = open_page(browser, page_file, viewport)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.locator("nav.contents").evaluate("nav => nav.getBoundingClientRect().top") >= 0
    link = page.locator("nav.contents a", has_text="Training")
    link.evaluate("link => link.click()")
    fold = page.locator("details", has=page.locator("[id$=-training]")).first
    assert fold.evaluate("fold => fold.open")
    page.locator("nav a[aria-current]", has_text="Training").wait_for()
    assert said == []


def test_a_wide_table_on_a_phone_says_so_and_keeps_its_names(browser: Any, page_file: Path) -> None:
    page, _ = open_page(browser, page_file, PHONE)
    box = page.locator(".scroll.more", has=page.locator("caption", has_text="NDCG@10")).first
    assert "more" in box.get_attribute("class")
    assert "scrolls sideways" in box.evaluate("box => getComputedStyle(box, '::before').content")
    box.evaluate("box => { box.scrollLeft = 150 }")
    edge = box.evaluate("box => box.getBoundingClientRect().left")
    for part in ("tbody th", "caption"):  # the metric stands in the caption
        assert abs(box.locator(part).first.evaluate("one => one.getBoundingClientRect().left") - edge) < 2, part
    assert "NDCG@10" in box.locator("caption").inner_text()


def test_the_points_of_a_map_have_titles(browser: Any, page_file: Path) -> None:
    page, said = open_page(browser, page_file, DESK)
    page.evaluate(_UNFOLD)
    chart, words = page.locator("svg[data-points]").first, page.locator("#point")
    chart.scroll_into_view_if_needed()
    assert words.is_hidden()
    chart.focus()
    titles = set()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        titles.add(words.inner_text())
    assert len(titles) == 3
    assert all(title.endswith("training events") for title in titles)
    page.keyboard.press("Escape")
    assert words.is_hidden()
    x, y = chart.evaluate(
        "map => { const [x, y] = map.querySelector('.dots').getAttribute('d').slice(1).split(/[ h]/).map(Number);"
        "const box = map.getBoundingClientRect(), k = box.width / map.viewBox.baseVal.width;"
        "return [box.left + x * k, box.top + y * k] }"
    )
    page.mouse.move(x, y)
    assert words.inner_text().endswith("training events")
    assert said == []


@pytest.mark.parametrize("made_of", ["comparison", "run"])
def test_no_barriers_are_found(
    browser: Any, page_file: Path, runs: dict[str, Path], tmp_path: Path, made_of: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    file = page_file if made_of == "comparison" else make.of_run(runs["sage"], Options(map_items=30), tmp_path)
    every = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]
    for scheme, viewport, tags in (("light", DESK, every), ("light", PHONE, every), ("dark", TABLET, ["wcag2aa"])):
        page, _ = open_page(browser, file, viewport, color_scheme=scheme)
        page.evaluate(_UNFOLD)
        found = axe.Axe().run(page, options={"runOnly": tags, "resultTypes": ["violations"]})
        assert found.response["passes"], "axe looked at nothing"
        assert found.violations_count == 0, f"{scheme}, {viewport['width']}: {found.generate_report()}"
