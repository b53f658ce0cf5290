"""Links between pages of the documentation, and the size of the front page of results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GENERATED = tuple(
    (ROOT / "docs" / name).as_posix() for name in ("_build", "reference/conf/", "reference/api/", "notebooks/pages/")
)
PAGES = [page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if not str(page).startswith(GENERATED)]
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for path, anchor in _LINK.findall(_CODE.sub("", page.read_text())):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_outside_tables_is_over_150_characters(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    if name.startswith("docs/results"):
        return
    long = [n for n, line in enumerate(page.read_text().splitlines(), 1) if len(line) > 150 and line.lstrip()[0] != "|"]
    assert not long, f"lines {long} of {name}: wrap them"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "tutorials").glob("*.md")), ids=lambda page: page.stem)
def test_no_sentence_of_a_tutorial_is_over_30_words(page: Path) -> None:
    parts = re.split(r"\n\s*\n|\n(?=[-#|] |\d\. )", _CODE.sub("\n\n", page.read_text()))
    prose = [" ".join(part.split()) for part in parts if not part.startswith("|")]
    sentences = [sentence for part in prose for sentence in re.split(r"(?<=[.!?:])\s", part)]
    assert sentences
    assert [sentence for sentence in sentences if len(sentence.split()) > 30] == []


def test_every_page_is_in_the_contents_of_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text().split()
    pages = [page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in PAGES if "docs" in page.parts]
    listed = {"index", *index, *(page for page in pages if page.startswith(("methods/", "results/")))}
    assert not set(pages) - listed, "add them to docs/index.md"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert "tutorials/shop.html" in (tmp_path / "llms.txt").read_text()
    assert "min_cluster_size" in (tmp_path / "reference" / "conf" / "semantic.html").read_text()
    assert "sign_flip_p" in (tmp_path / "reference" / "api" / "sage_pl.comparison.html").read_text()


def test_every_remedy_has_a_row_whose_tests_and_switches_exist() -> None:
    text = (ROOT / "docs" / "remedies.md").read_text()
    assert [int(point) for point in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(range(1, 20))
    files = (ROOT / "tests").rglob("test_*.py")
    tests = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert set(re.findall(r"`(test_\w+)`", text)) <= tests
    places = [
        *(ROOT / "docs" / "methods").glob("*.md"),
        *(ROOT / "docs" / f"{n}.md" for n in ("methods", "deviations")),
    ]
    described = "".join(page.read_text() for page in places)
    assert [switch for switch in re.findall(r"`'?([\w.]+=[^`]+?)'?`", text) if switch not in described] == []


def test_the_front_page_of_results_is_one_page() -> None:
    assert len((ROOT / "docs" / "results.md").read_text().splitlines()) <= 60
