"""The pictures of the README, each from what was measured.

python benchmarks/images.py results              docs/images/results.png, from the table under "Fusion" of docs/results.md
python benchmarks/images.py report FILE          docs/images/report.png: the top of a report.html, in Chromium (playwright)
python benchmarks/images.py explorer ADDRESS    docs/images/explorer.png: the page of `sage-pl explore`, which runs, likewise
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000  # bytes of a picture
_COLOURS = {"best floor": "#9aa1a6", "plain": "#6b7780", "fusion": "#d55e00", "learned fusion": "#0072b2"}


def fusion_table() -> dict[str, dict[str, dict[str, float]]]:
    """Part (``all``, ``tail``) -> data set -> system -> NDCG@10 in percent, of the table under ``## Fusion``."""
    section = (ROOT / "docs" / "results.md").read_text().split("## Fusion")[1].split("\n## ")[0]
    overall: dict[str, dict[str, float]] = {}
    tail: dict[str, dict[str, float]] = {}
    for line in re.findall(r"^\| \[.*$", section, re.MULTILINE):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = cells[0].split("]")[0].lstrip("[")
        plain, fusion, learned = (float(cell.strip("*")) for cell in cells[2:5])
        floor = float(cells[7].split()[-1])
        overall[name] = {"best floor": floor, "plain": plain, "fusion": fusion, "learned fusion": learned}
        systems = ("plain", "fusion", "learned fusion")
        tail[name] = dict(zip(systems, map(float, cells[6].split(", ")), strict=True))
    return {"all": overall, "tail": tail}


def results() -> Path:
    """Bars of each data set: the best floor, plain SASRec, and the same model with either scorer."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
    titles = {"all": "All users", "tail": "Users whose answer is a tail item"}
    for panel, (part, table) in zip(panels, fusion_table().items(), strict=True):
        for i, system in enumerate(_COLOURS):
            places = [n + (i - 1.5) * 0.2 for n, values in enumerate(table.values()) if system in values]
            heights = [values[system] for values in table.values() if system in values]
            panel.bar(places, heights, 0.19, color=_COLOURS[system], label=system)
        panel.set_title(titles[part], fontsize=10, loc="left")
        panel.set_xticks(range(len(table)), list(table), fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("NDCG@10, %, all items ranked", fontsize=9)
    panels[0].legend(frameon=False, fontsize=9)
    file = IMAGES / "results.png"
    figure.savefig(file, dpi=110)
    return file


@contextmanager
def opened(address: str) -> Iterator[Any]:
    """A page of 1280 by 800 in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(address)
        yield page
        browser.close()


def report(file: str) -> Path:
    """The first screen of a report."""
    image = IMAGES / "report.png"
    with opened(Path(file).resolve().as_uri()) as page:
        page.screenshot(path=image)
    return image


def explorer(address: str) -> Path:
    """The lists of the first user, and why the last model recommends its first item, less what is below."""
    from PIL import Image

    image = IMAGES / "explorer.png"
    with opened(address) as page:
        page.locator("#columns article").last.locator("button.item").first.click()
        page.locator("#why .card").last.wait_for()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=image, full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": 1300})
    Image.open(image).quantize(64).save(image, optimize=True)
    return image


def main() -> None:
    makers: dict[str, Callable[..., Path]] = {"results": results, "report": report, "explorer": explorer}
    what, *of = sys.argv[1:] or [""]
    if what not in makers or len(of) != (what != "results"):
        sys.exit(__doc__)
    file = makers[what](*of)
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > LARGEST:
        sys.exit(f"{file.name} has {size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main()
