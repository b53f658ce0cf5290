"""Training and recommending beside other libraries, at equal settings, in one run.

``python benchmarks/peers/run.py [--full] [--models NAME ...] dataset=NAME[,NAME] paths.data=DIR [key=value ...]``. Every
library gets an environment of its own below ``.venv-peers`` (pinned in ``requirements/``), the same prepared leave-one-out
split as a file, and the same settings. All sides load first and then take turns, one round each, so that what else happens on
the machine hits all of them. A round is an epoch, of a few steps where it is not run with ``--full``: seconds per epoch are
then seconds per step times steps. The first round is not counted. Lists of ten, seen items left out, are scored by one scorer.

Writes ``benchmarks/results/peers.json``. Quality is told with ``--full`` only, since all sides have then trained equally long.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from exchange import Events, read_events, score, write_events
from sides import ABSENT, MODELS, SIDES, Contestant, Side, SideError, python

sys.path.insert(0, str(Path(__file__).parent.parent))

from steps import configuration, unit

from sage_pl.data.loader import load_sequences
from sage_pl.preparation import prepare

RESULT = Path(__file__).parent.parent / "results" / "peers.json"
SETTINGS = {
    "dim": 64,
    "blocks": 2,
    "heads": 1,
    "max_len": 50,
    "batch_size": 128,
    "dropout": 0.2,
    "lr": 0.001,
    "mask_probability": 0.2,
    "k": 10,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Training and recommending beside other libraries, at equal settings.")
    parser.add_argument("overrides", nargs="+", help="dataset=NAME[,NAME] paths.data=DIR and other choices of train.py")
    parser.add_argument("--full", action="store_true", help="whole epochs, and quality")
    parser.add_argument("--epochs", type=int, default=3, help="epochs (rounds) of each side; the first is not counted")
    parser.add_argument("--steps", type=int, default=3, help="steps in a round of the slowest sides, without --full")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--libraries", nargs="+", default=["rectools", "replay", "recbole"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.epochs < 2:
        parser.error("--epochs must be at least 2: the first is not counted")
    if not any(entry.startswith("dataset=") for entry in asked.overrides):
        parser.error("name the data: dataset=llmesr_fashion,beauty paths.data=DIR")
    return asked


def why_not(library: str) -> str | None:
    """Makes a library's environment; why that is not possible, or None."""
    try:
        python(library)
    except SideError as error:
        return str(error)
    return None


def export(overrides: list[str], file: Path) -> Events:
    """The prepared split as a file that every library can read."""
    made = prepare(configuration(overrides), ["sequences"])
    write_events(load_sequences(str(made["sequences"].path)), file)
    return read_events(file)


def rounds(contestants: list[Contestant], settings: dict[str, Any], failed: dict[Side, str]) -> None:
    """All sides train and recommend in turns; a side that fails is noted and left out from then on."""
    kinds = ["epoch"] * settings["epochs"] + ["recommend"] * settings["recommend_rounds"]
    for kind in ["ready", *kinds]:
        for contestant in [one for one in contestants if one.side not in failed]:
            try:
                if kind == "ready":
                    contestant.wait_until_ready()
                else:
                    contestant.turn(kind)
            except SideError as error:
                failed[contestant.side] = str(error)


def measure(sides: list[Side], settings: dict[str, Any], events: Events, folder: Path) -> Iterator[dict[str, Any]]:
    """One row a side, ours first."""
    failed: dict[Side, str] = {}
    contestants: list[Contestant] = []
    try:
        for number, side in enumerate(sides):
            contestants.append(Contestant(side, settings, folder / str(number)))
        rounds(contestants, settings, failed)
        for contestant in contestants:
            try:
                if contestant.side not in failed:
                    yield {**about(contestant.side), **figures(contestant, settings, events)}
            except (SideError, ValueError) as error:
                failed[contestant.side] = str(error)
    finally:
        for contestant in contestants:
            contestant.stop()
    yield from ({**about(side), "reason": reason} for side, reason in failed.items())


def about(side: Side) -> dict[str, Any]:
    return {"side": side.name, "model": side.model, "loss": side.loss}


def figures(contestant: Contestant, settings: dict[str, Any], events: Events) -> dict[str, Any]:
    """Medians over the counted rounds; epochs of limited steps are scaled to whole ones."""
    result, top = contestant.results()
    limit = settings["limit"] and min(settings["limit"] * contestant.side.pace, result["steps"])
    scale = result["steps"] / limit if limit else 1.0
    quality = score(top, events)  # always, since it also checks the lists
    return {
        "epoch, s": scale * statistics.median(result["seconds"]["epoch"][1:]),
        "epoch, processor s": scale * statistics.median(result["processor"]["epoch"][1:]),
        "steps": result["steps"],
        "measured steps": (limit or result["steps"]) * (settings["epochs"] - 1),
        "recommend, s": statistics.median(result["seconds"]["recommend"]),
        "recommend, processor s": statistics.median(result["processor"]["recommend"]),
        "peak MB": result["peak_rss_mb"],
        **({} if limit else quality),
        "rounds, s": result["seconds"],
        "versions": result["versions"],
    }


def with_ratios(rows: list[dict[str, Any]], one: float) -> list[dict[str, Any]]:
    """Times in G, and how many times ours they are."""
    ours = next((row for row in rows if row["side"] == "ours" and "reason" not in row), None)
    for row in rows:
        for work in ("epoch", "recommend"):
            if "reason" not in row:
                row[f"{work}, G"] = row[f"{work}, s"] / one
                row[f"{work}, times ours"] = ours and row[f"{work}, s"] / ours[f"{work}, s"]
    return rows


def show(row: dict[str, Any]) -> None:
    head = f"{row['dataset']:15} {row['model']:9} {row['side']:16}"
    if "reason" in row:
        print(f"{head} -  {row['reason']}", flush=True)
        return
    numbers = ("epoch, s", "epoch, G", "epoch, times ours", "recommend, s", "recommend, times ours", "peak MB")
    cells = [f"{row[name]:9.3g}" if row[name] is not None else f"{'-':>9}" for name in numbers]
    cells += [f"{100 * row[name]:7.2f}" if name in row else f"{'-':>7}" for name in ("ndcg@10", "hr@10")]
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    print(f"{head} {' '.join(cells)}  {versions}", flush=True)


def compare(
    model: str, libraries: dict[str, str | None], settings: dict[str, Any], events: Events, folder: Path
) -> tuple[list[dict[str, Any]], float]:
    """All rows of one model, and seconds of one G.

    Args:
        libraries: that take part, and why each cannot, where it cannot.
    """
    chosen = [side for side in SIDES if side.model == model and side.library in libraries]
    before = unit()
    rows = list(measure([side for side in chosen if not libraries[side.library]], settings, events, folder))
    one = (before + unit()) / 2
    rows += [{**about(side), "reason": reason} for side in chosen if (reason := libraries[side.library])]
    rows += [{"side": who, "model": what, "reason": why} for who, what, why in ABSENT if what == model]
    return with_ratios(rows, one), one


def main() -> None:
    asked = arguments()
    torch.set_num_threads(asked.threads)
    names = next(entry for entry in asked.overrides if entry.startswith("dataset=")).removeprefix("dataset=").split(",")
    others = [entry for entry in asked.overrides if not entry.startswith("dataset=")]
    settings = {
        **SETTINGS,
        "threads": asked.threads,
        "seed": asked.seed,
        "epochs": asked.epochs,
        "limit": None if asked.full else asked.steps,
        "recommend_rounds": 3 if asked.full else 2,
    }
    libraries = {name: why_not(name) for name in ("ours", *asked.libraries)}
    told = [entry for entry in others if not entry.startswith("paths.")]  # where things lie decides nothing
    result: dict[str, Any] = {"settings": settings, "overrides": told, "1 G, s": {}, "rows": []}
    columns = ("epoch s", "G", "x ours", "top10 s", "x ours", "peak MB")
    print(f"{'':42} {' '.join(f'{name:>9}' for name in columns)} {'NDCG@10':>7} {'HR@10':>7}  versions", flush=True)
    for name in names:
        overrides = [f"dataset={name}", *others]
        with tempfile.TemporaryDirectory() as base:
            file = Path(base) / "events.csv"
            events = export(overrides, file)
            own = {**settings, "events": str(file), "overrides": overrides}
            for model in asked.models:
                rows, one = compare(model, libraries, own, events, Path(base) / model)
                result["1 G, s"][f"{name} {model}"] = one
                result["rows"] += [{"dataset": name, **row} for row in rows]
                for row in result["rows"][-len(rows) :]:
                    show(row)
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
