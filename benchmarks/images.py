"""The pictures of the README and the docs, each from what was measured.

python benchmarks/images.py results              docs/images/results.png, from the table under "Fusion" of docs/results.md
python benchmarks/images.py report FILE          docs/images/report.png: the top of a report.html, in Chromium (playwright)
python benchmarks/images.py explorer ADDRESS    docs/images/explorer.png: the page of `sage-pl explore`, which runs, likewise
python benchmarks/images.py wandb FOLDER ...     docs/images/wandb.png: what a W&B report's panels hold, from runs
python benchmarks/images.py maps FOLDER ...      docs/images/maps.png: the items by text and by each run, UMAP and t-SNE
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000  # bytes of a picture
_PALETTE = ("#6b7780", "#0072b2", "#d55e00", "#00876a", "#a8457f", "#b07c00", "#3f3f9f", "#7a4a21")
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


def wandb(*folders: str) -> Path:
    """The values that runs logged, as the panels of ``sage-pl wandb-report`` arrange them; W&B itself is not asked."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from PIL import Image

    from sage_pl.comparison.runs import FinishedRun, read
    from sage_pl.training.loggers.wandb_report import CURVES, varied
    from sage_pl.training.loggers.wandb_run import RESULTS

    runs = [read(Path(folder)) for folder in folders]
    axes = varied([{**run.config, "choices": run.choices} for run in runs])
    key = next(iter(axes)).removeprefix("choices.")
    systems: dict[str, list[FinishedRun]] = {}
    for run in runs:
        systems.setdefault(run.name_by(key), []).append(run)
    measured = {short: name for short, name in RESULTS.items() if all(name in run.metrics for run in runs)}
    figure = pyplot.figure(figsize=(11, 9.5), layout="constrained")
    bars, lines, curves = figure.subfigures(3, 1, height_ratios=(1, 1, 1.9))
    for panel, (short, name) in zip(bars.subplots(1, len(measured)), measured.items(), strict=True):
        values = [np.array([run.metrics[name] for run in several]) for several in systems.values()]
        panel.barh(list(systems), [one.mean() for one in values], xerr=[one.std() for one in values], color=_PALETTE)
        panel.set_title(short.partition("/")[2], fontsize=9, loc="left")
        panel.tick_params(labelsize=7)
        panel.invert_yaxis()
    _coordinates(lines.subplots(), systems, [*axes], list(measured.values()))
    for panel, (column, title) in zip(curves.subplots(2, 3).flat, CURVES.items(), strict=True):
        for colour, several in zip(_PALETTE, systems.values(), strict=False):
            for run in several:
                x, y = _history(run.folder, column)
                panel.plot(x, y, color=colour, linewidth=1)
        panel.set_title(title, fontsize=9, loc="left")
        panel.tick_params(labelsize=7)
    for part, title in ((bars, "Results, by " + key), (lines, "Every run"), (curves, "Training, by epoch")):
        part.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    file = IMAGES / "wandb.png"
    figure.savefig(file, dpi=100)
    Image.open(file).quantize(64).save(file, optimize=True)
    return file


def _coordinates(panel: Any, systems: Mapping[str, Sequence[Any]], keys: Sequence[str], results: Sequence[str]) -> None:
    """A line for each run through what varies and its results, each axis from its least to its largest value."""
    columns = {
        key: [str(run.name_by(key.removeprefix("choices."))) for one in systems.values() for run in one] for key in keys
    }
    places: list[Any] = []
    for values in columns.values():
        names = list(dict.fromkeys(values))
        height = {value: n / max(len(names) - 1, 1) for n, value in enumerate(names)}
        places.append([height[value] for value in values])
        for value, y in height.items():
            panel.text(len(places) - 1.03, y, value, fontsize=7, ha="right", va="center", backgroundcolor="white")
    for name in results:
        numbers = np.array([run.metrics[name] for one in systems.values() for run in one])
        places.append((numbers - numbers.min()) / max(np.ptp(numbers), 1e-9))
        for at, value in ((0, numbers.min()), (1, numbers.max())):
            panel.text(len(places) - 0.97, at, f"{value:.3f}", fontsize=7, va="center")
    colours = [colour for colour, one in zip(_PALETTE, systems.values(), strict=False) for _ in one]
    for colour, *line in zip(colours, *places, strict=True):
        panel.plot(line, color=colour, linewidth=1)
    names = [*(key.removeprefix("choices.") for key in keys), *(name.removeprefix("test/full/") for name in results)]
    panel.set_xticks(range(len(names)), names, fontsize=8)
    panel.set_yticks([])
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    panel.grid(axis="x")


def _history(folder: Path, column: str) -> tuple[list[float], list[float]]:
    """A metric by epoch, as the loggers of a run got it."""
    rows = pl.read_csv(folder / "metrics.csv", infer_schema_length=None)
    if column not in rows.columns:
        return [], []
    rows = rows.select("epoch", column).drop_nulls().group_by("epoch").last().sort("epoch")
    return rows["epoch"].to_list(), rows[column].to_list()


def maps(*folders: str) -> Path:
    """3,000 items by their text vectors and by those of each run, coloured by training events: the maps of a report."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from PIL import Image

    from sage_pl.comparison.runs import read
    from sage_pl.data.sequences import Sequences
    from sage_pl.evaluation.groups import POPULARITY
    from sage_pl.report.maps import NAMES, project
    from sage_pl.report.reading import RunFiles
    from sage_pl.report.vectors import RunVectors, sample, text_of

    runs = [read(Path(folder)) for folder in folders]
    methods = [run.name_by("method") for run in runs]
    names = [f"{name} {i}" if methods.count(name) > 1 else name for i, name in enumerate(methods, 1)]
    vectors = {name: RunVectors(RunFiles(run)) for name, run in zip(names, runs, strict=True)}
    data = Sequences.load(RunFiles(runs[0]).artifact("sequences"))
    ids = sample(np.arange(1, data.n_items + 1), 3000, 0)
    band = np.searchsorted(list(POPULARITY.values()), data.train_counts[ids], side="right")
    tables = {"text vectors": text_of(vectors)} | {name: one.scored for name, one in vectors.items()}
    figure, panels = pyplot.subplots(
        len(NAMES), len(tables), figsize=(2.7 * len(tables), 5.6), layout="constrained", squeeze=False
    )
    for row, (layout, title) in zip(panels, NAMES.items(), strict=True):
        place = None
        for panel, (name, table) in zip(row, tables.items(), strict=True):
            here = project(np.asarray(table[ids]), place, 0, layout)
            place = here if place is None else place
            dots = panel.scatter(*here.T, s=1.2, c=band, cmap="viridis_r", linewidths=0)
            panel.set_title(f"{name}, {title}", fontsize=9, loc="left")
            panel.set_axis_off()
    legend, _ = dots.legend_elements()
    figure.legend(
        legend,
        ("0", *POPULARITY),
        title="training events",
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=8,
    )
    file = IMAGES / "maps.png"
    figure.savefig(file, dpi=95)
    Image.open(file).quantize(48).save(file, optimize=True)
    return file


def main() -> None:
    makers: dict[str, Callable[..., Path]] = {
        "results": results,
        "report": report,
        "explorer": explorer,
        "wandb": wandb,
        "maps": maps,
    }
    what, *of = sys.argv[1:] or [""]
    several = what in ("wandb", "maps")
    if what not in makers or (not several and len(of) != (what != "results")) or (several and not of):
        sys.exit(__doc__)
    file = makers[what](*of)
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > LARGEST:
        sys.exit(f"{file.name} has {size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main()
