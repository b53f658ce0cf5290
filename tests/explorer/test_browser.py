"""The explorer in a real browser: every part is clicked, nothing is in the console, axe has nothing to say, a phone fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_browser import DESK, PHONE, browser
from tests.service.conftest import checkpoint, command
from tests.service.server import server

__all__ = ["browser", "checkpoint"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(checkpoint: Path, small_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a fused model beside one without a scorer."""
    place = tmp_path_factory.mktemp("explored")
    settings = [
        "method=plain",
        "embedder=tfidf",
        "scorer=fusion",
        "trainer.max_epochs=1",
        f"hydra.run.dir='{place}/fused'",
    ]
    command("train", *small_settings, *settings)
    runs = [str(checkpoint.parent.parent), str(place / "fused")]
    with server(place / "log", "explore", *runs, "--no-browser", "--map", "pca") as served:
        yield f"{served.url}/"


def open_page(browser: Any, address: str, viewport: dict[str, int], **more: Any) -> tuple[Any, list[str]]:
    """The page with its lists, and what it said or asked others for."""
    page = browser.new_context(viewport=viewport, **more).new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith(address) else None)
    page.goto(address)
    page.wait_for_selector("#similar-users li")
    page.wait_for_selector("#columns[aria-busy=false]")
    return page, said


def titles(page: Any, place: int = 0) -> list[str]:
    return page.locator("#columns article").nth(place).locator("button.item .name").all_inner_texts()


def settled(page: Any, action: Any) -> None:
    """An action that asks for lists, and their arrival."""
    with page.expect_response(lambda response: response.url.endswith("/api/lists")):
        action()
    page.wait_for_selector("#columns[aria-busy=false]")


def test_a_history_is_found_edited_and_answered(browser: Any, address: str) -> None:
    page, said = open_page(browser, address, DESK)
    page.locator("#user").fill("u7")
    settled(page, lambda: page.locator("#user-results button", has_text="u7").first.click())
    assert "User u7" in page.locator("#whose").inner_text()
    assert page.locator("#columns article").count() == 2
    assert all(len(titles(page, place)) == 10 for place in (0, 1))
    before, items = titles(page), page.locator("#history li").count()
    page.locator("#item").fill("lamp number 3")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#item-results button")
    page.locator("#item").press("ArrowDown")
    settled(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#history li").count() == items + 1
    assert titles(page) != before
    settled(page, lambda: page.locator("#history li").last.get_by_role("button", name="Remove").click())
    assert titles(page) == before
    settled(page, lambda: page.locator("#history li").last.get_by_role("button", name="earlier").click())
    assert titles(page) != before
    settled(page, lambda: page.locator("#columns button.add").first.click())
    assert page.locator("#history li").count() == items + 1
    settled(page, lambda: page.get_by_role("button", name="Clear").click())
    assert page.locator("#history li").count() == 0
    assert "new user" in page.locator("#whose").inner_text()
    settled(page, lambda: page.get_by_role("button", name="Another user").click())
    assert said == []


def test_why_has_parts_that_sum_and_follows_the_history(browser: Any, address: str) -> None:
    page, said = open_page(browser, address, DESK)
    for place, cards in (
        (0, ["Parts of the item’s vector"]),
        (1, ["Columns of the score", "Inside the model’s score"]),
    ):
        page.locator("#columns article").nth(place).locator("button.item").first.click()
        page.locator("#why h3", has_text=cards[0]).wait_for()
        headings = page.locator("#why h3").all_inner_texts()
        assert [*cards, "The history, one item left out at a time", "Its cluster"] == headings
        for card in page.locator("#why .card", has=page.locator("tr.total")).all():
            values = [
                float(text.split(" ")[0].replace("−", "-")) for text in card.locator("td.number").all_inner_texts()
            ]
            assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.03)
    assert page.evaluate("document.activeElement.id") == "why"
    with page.expect_response(lambda response: response.url.endswith("/api/why")) as answer:
        page.locator("#history li").last.get_by_role("button", name="Remove").click()
    score = f"a score of {answer.value.json()['score']:.2f}".replace("-", "−")
    page.locator("#why-body p", has_text=score).wait_for()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#why").is_visible()
    assert said == []


def test_similar_new_items_and_the_map(browser: Any, address: str) -> None:
    page, said = open_page(browser, address, DESK)
    with page.expect_response(lambda response: response.url.endswith("/api/similar_users")):
        page.locator("#similar-run").select_option(index=1)
    assert page.locator("#similar-users li").count() == 8
    assert page.locator("#similar-items li").count() == 8
    page.locator("#new-form input").first.fill("green leaf tea box organic infusion tea")
    page.get_by_role("button", name="Who would get it?").click()
    page.wait_for_selector("#new-body .finding")
    assert "of 60 users" in page.locator("#new-body .finding").inner_text()
    assert "tea" in page.locator("#new-body .halves > div").nth(1).locator("li").first.inner_text()
    settled(page, lambda: page.locator("#new-body .halves > div").first.locator("button").first.click())
    page.get_by_role("button", name="Draw the map").click()
    page.wait_for_selector("#legend li")
    for colour in ("count", "unseen", "cluster"):
        page.locator("#colour").select_option(colour)
        assert page.locator("#legend li").count() >= 2
    page.locator("#map-search").fill("lamp")
    canvas = page.locator("#canvas")
    canvas.focus()
    canvas.press("ArrowRight")
    assert "lamp" in page.locator("#tip").inner_text()
    assert "lamp" in page.locator("#status").inner_text()
    rows = page.locator("#history li").count()
    settled(page, lambda: canvas.press("Enter"))
    assert page.locator("#history li").count() == rows + 1
    canvas.press("Escape")
    assert not page.locator("#tip").is_visible()
    box = canvas.bounding_box()
    for step in range(200):  # until the pointer meets an item
        page.mouse.move(
            box["x"] + box["width"] * (step % 20 + 0.5) / 20, box["y"] + box["height"] * (step // 20 + 0.5) / 10
        )
        if page.locator("#tip").is_visible():
            break
    assert "lamp" in page.locator("#tip").inner_text()
    assert said == []


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_axe_finds_no_barrier(browser: Any, address: str, viewport: dict[str, int], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page, said = open_page(browser, address, viewport, color_scheme=scheme)
    page.locator("#columns button.item").first.click()
    page.wait_for_selector("#why .card")
    page.get_by_role("button", name="Draw the map").click()
    page.wait_for_selector("#legend li")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    result = axe.Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
    )
    assert result.response["passes"], "axe looked at nothing"
    assert result.violations_count == 0, result.generate_report()
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if scheme == "light" else "light")
    assert said == []


def test_a_foreign_question_is_refused(address: str) -> None:
    import httpx2

    why = {"run": "x", "history": [], "item": "0"}
    for body, status in (({**why, "history": ["x"]}, 422), (why, 422), ({}, 422)):
        answer = httpx2.post(f"{address}api/why", json=body)
        assert (answer.status_code, "\n" in answer.json()["detail"]) == (status, False)
    assert httpx2.get(f"{address}page/..%2Fapp.py").status_code == 404
    assert httpx2.get(f"{address}health", headers={"Host": "evil.example"}).status_code == 400
