"""Training and recommending beside other libraries, at equal settings, in one run.

``python benchmarks/peers/run.py dataset=NAME[,NAME] paths.data=DIR [--full [--seeds 0 1 2]] [--models NAME ...]
[key=value ...]``. Every library gets an environment of its own below ``.venv-peers`` (pinned in ``requirements/``), the same
prepared leave-one-out split as a file, and the same settings. All sides load first and then take turns, one round each, so
that what else happens on the machine hits all of them. A round is an epoch, of a few steps where it is not run with
``--full``: seconds per epoch are then seconds per step times steps, the first step left out. The first round is not counted;
of the others the median is told, the shortest and the longest. Lists of ten, seen items left out, are scored by one scorer.

Writes ``benchmarks/results/peers.json``, with ``--full`` ``peers-full-EPOCHS.json``. Quality is told with ``--full`` only,
since all sides have then trained equally long; with several seeds as mean and standard deviation of each side.
"""

from __future__ import annotations

import argparse
import itertools
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

from measuring import unit
from steps import prepared

from sage_pl.data.loader import load_sequences

RESULTS = Path(__file__).parent.parent / "results"
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
    parser.add_argument("--epochs", type=int, default=4, help="epochs (rounds) of each side; the first is not counted")
    parser.add_argument("--steps", type=int, default=3, help="steps in a round of the slowest sides, without --full")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--libraries", nargs="+", default=["rectools", "replay", "recbole"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="several with --full alone")
    asked = parser.parse_args()
    if asked.epochs < 2:
        parser.error("--epochs must be at least 2: the first is not counted")
    if len(asked.seeds) > 1 and not asked.full:
        parser.error("several --seeds tell the spread of quality, which takes --full")
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
    write_events(load_sequences(prepared(overrides, wanted=[]).artifacts.sequences), file)
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
    """Medians and spread over the counted rounds; epochs of limited steps are scaled to whole ones."""
    result, top = contestant.results()
    limit = settings["limit"] and min(settings["limit"] * contestant.side.pace, result["steps"] - 1)
    scale = result["steps"] / limit if limit else 1.0
    quality = score(top, events)  # always, since it also checks the lists
    return {
        **spread("epoch, s", [scale * seconds for seconds in result["seconds"]["epoch"][1:]]),
        "epoch, processor s": scale * statistics.median(result["processor"]["epoch"][1:]),
        "steps": result["steps"],
        "measured steps": (limit or result["steps"]) * (settings["epochs"] - 1),
        **spread("recommend, s", result["seconds"]["recommend"]),
        "recommend, processor s": statistics.median(result["processor"]["recommend"]),
        "peak MB": result["peak_rss_mb"],
        **({} if limit else quality),
        "rounds, s": result["seconds"],
        "versions": result["versions"],
    }


def spread(name: str, values: list[float]) -> dict[str, float]:
    return {name: statistics.median(values), f"{name}, least": min(values), f"{name}, most": max(values)}


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
    numbers = ("epoch, s", "epoch, s, least", "epoch, s, most", "epoch, G", "epoch, times ours", "recommend, s")
    numbers += ("recommend, s, least", "recommend, s, most", "recommend, times ours", "peak MB")
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


def quality(rows: list[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation over the seeds, of each side and metric."""
    by_side: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for metric in ("ndcg@10", "hr@10"):
            if metric in row:
                side = by_side.setdefault(f"{row['dataset']} {row['model']} {row['side']}", {})
                side.setdefault(metric, []).append(row[metric])
    return {
        side: {metric: (statistics.mean(values), statistics.stdev(values)) for metric, values in told.items()}
        for side, told in by_side.items()
        if all(len(values) > 1 for values in told.values())
    }


def main() -> None:
    asked = arguments()
    torch.set_num_threads(asked.threads)
    names = next(entry for entry in asked.overrides if entry.startswith("dataset=")).removeprefix("dataset=").split(",")
    others = [entry for entry in asked.overrides if not entry.startswith("dataset=")]
    settings = {
        **SETTINGS,
        "threads": asked.threads,
        "epochs": asked.epochs,
        "limit": None if asked.full else asked.steps,
        "recommend_rounds": 3,
    }
    libraries = {name: why_not(name) for name in ("ours", *asked.libraries)}
    told = [entry for entry in others if not entry.startswith("paths.")]  # where things lie decides nothing
    result: dict[str, Any] = {"settings": settings, "overrides": told, "1 G, s": {}, "rows": [], "quality": {}}
    columns = ("epoch s", "least", "most", "G", "x ours", "top10 s", "least", "most", "x ours", "peak MB")
    print(f"{'':42} {' '.join(f'{name:>9}' for name in columns)} {'NDCG@10':>7} {'HR@10':>7}  versions", flush=True)
    for name in names:
        overrides = [f"dataset={name}", *others]
        with tempfile.TemporaryDirectory() as base:
            file = Path(base) / "events.csv"
            events = export(overrides, file)
            for model, seed in itertools.product(asked.models, asked.seeds):
                own = {**settings, "seed": seed, "events": str(file), "overrides": overrides}
                rows, one = compare(model, libraries, own, events, Path(base) / f"{model}-{seed}")
                result["1 G, s"][f"{name} {model} {seed}"] = one
                result["rows"] += [{"dataset": name, "seed": seed, **row} for row in rows]
                for row in result["rows"][-len(rows) :]:
                    show(row)
                result["quality"] = quality(result["rows"])
                RESULTS.mkdir(exist_ok=True)
                file_of_results = RESULTS / (f"peers-full-{asked.epochs}.json" if asked.full else "peers.json")
                file_of_results.write_text(json.dumps(result, indent=2) + "\n")
    for side, told in result["quality"].items():
        means = (f"{metric} {100 * mean:.2f} ± {100 * sd:.2f}" for metric, (mean, sd) in told.items())
        print(side, "  ".join(means), flush=True)


if __name__ == "__main__":
    main()
