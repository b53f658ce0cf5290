"""docs/methods.md and docs/methods/: one form for every method, and commands that compose."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_pl.errors import SettingError
from tests.planned import planned

ROOT = Path(__file__).parent.parent
FRONT = ROOT / "docs" / "methods.md"
PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))
HEADINGS = ["Idea", "Formula", "Command", "Measured"]
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_FILLED_IN = re.compile(r"\b(FOLDER|FILE|NAME|URL)\b")  # by the reader
_LINE = 150  # characters of prose


def sections(page: Path) -> list[list[str]]:
    """The headings below each method of a page, or below its title where it has one method."""
    titles = re.findall(r"^(#+) (.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    methods = [at for at, (level, _) in enumerate(titles) if level == "##" and titles[at][1] not in HEADINGS]
    ends = [*methods[1:], len(titles)]
    if not methods:
        return [[title for _, title in titles[1:]]]
    return [[title for _, title in titles[start + 1 : end]] for start, end in zip(methods, ends, strict=True)]


def commands(*pages: Path) -> Iterator[str]:
    """The training commands of the pages: in blocks, and in backticks beside what is not run."""
    for page in pages:
        text = page.read_text()
        lines = [line for block in _CODE.findall(text) for line in block.splitlines()]
        lines += re.findall(r"`([^`]+)`", " ".join(_CODE.sub("", text).splitlines()))
        yield from (line for line in lines if line.startswith("python train.py"))


def overrides(command: str) -> list[str]:
    """What a command sets; of a sweep's values the first."""
    words = shlex.split(command, comments=True)[2:]
    if words[:1] == ["-m"]:
        return [re.sub(r"=([^,{]+),.*", r"=\1", word) for word in words[1:]]
    return words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_method_has_the_same_four_headings(page: Path) -> None:
    assert all(headings == HEADINGS for headings in sections(page)), sections(page)


@pytest.mark.parametrize("page", [FRONT, *PAGES], ids=lambda page: page.stem)
def test_prose_has_short_lines(page: Path) -> None:
    prose = [line for line in _CODE.sub("", page.read_text()).splitlines() if not line.startswith("|")]
    assert [line for line in prose if len(line) > _LINE] == []


def test_the_front_page_is_one_page_that_names_every_method_and_every_page() -> None:
    text = FRONT.read_text()
    assert len(text.splitlines()) <= 60
    methods = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}
    assert methods <= set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|.*", text, re.MULTILINE))))
    assert {page.stem for page in PAGES} == set(re.findall(r"\(methods/(\w+)\.md", text))


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(set(commands(FRONT, *PAGES))))
def test_every_documented_command_composes(command: str) -> None:
    try:
        planned(*overrides(command))
    except SettingError:
        if not _FILLED_IN.search(command):
            raise
