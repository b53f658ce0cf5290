"""Links between the page of a comparison and those of its runs, by relative addresses."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from sage_pl.artifacts.files import whole_file
from sage_pl.escaping import visible

START, END = "<!-- comparisons -->", "<!-- /comparisons -->"  # around a page's links to comparisons
_REGION = re.compile(f"{START}.*?{END}", re.DOTALL)
_LINK = re.compile(r'<a href="([^"]*)">(.*?)</a>', re.DOTALL)


def address(page: Path, target: Path) -> str:
    """The address of a page from another one; empty where only the root of the disk is above both."""
    start, end = Path(os.path.abspath(page.parent)), Path(os.path.abspath(target))
    if os.path.commonpath([start, end]) == start.anchor:
        return ""
    return quote(os.path.relpath(end, start))


def comparisons(page: Path) -> dict[str, str]:
    """The comparisons that an earlier version of a page links to and that still exist: address -> title."""
    region = _REGION.search(page.read_text()) if page.is_file() else None
    pairs = _LINK.findall(region.group()) if region else []
    links = {html.unescape(link): html.unescape(title) for link, title in pairs}
    return {link: title for link, title in links.items() if (page.parent / unquote(link)).is_file()}


def add(page: Path, comparison: Path, title: str) -> bool:
    """Link a run's page to a comparison's.

    Returns:
        False where the page has no place for links, as older versions wrote it, or cannot be reached by a relative address.
    """
    text, link = page.read_text(), address(page, comparison)
    if not link or not _REGION.search(text):
        return False
    region = markup(comparisons(page) | {link: title})
    with whole_file(page) as part:
        part.write_text(_REGION.sub(lambda _: region, text, count=1))
    return True


def markup(links: dict[str, str]) -> str:
    """The place of a page's links to comparisons."""
    items = [f'<a href="{html.escape(link)}">{html.escape(visible(title))}</a>' for link, title in links.items()]
    text = f'<p class="comparisons">Compared in: {", ".join(items)}</p>' if items else ""
    return f"{START}{text}{END}"
