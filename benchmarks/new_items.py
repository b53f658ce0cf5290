"""Items that came after training, by their text alone, against the same items trained.

``python benchmarks/new_items.py paths.data=DIR``; further settings go to every training. 5 % of Pantry's items are drawn, their
events removed, and each method is trained on what remains; the exported model then takes these items by ``add_items``. Beside
it stands the same method trained on all events. Both rank the whole catalogue for the last event of a user, after the same
history: of the users whose last item is one of the 5 % (*new*), of those of them whose item is rare, and of all users.
*before*: without the new items, in histories too; an answer that is no item of the model counts 0.

A model without the items was trained with fewer events than theirs: where a user's last events are removed, earlier ones are
held out in their place. Writes benchmarks/results/new_items.json.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import about, write

from sage_pl.serving import ExportedModel, load

ROOT = Path(__file__).parent.parent
METHODS, SHARE, SEED, EPOCHS, K = ("plain", "llm_init", "residual_text", "text_only"), 0.05, 0, 25, 10
RARE = 17  # events of a rare item at most, as in conf/dataset/pantry.yaml
Cases = list[tuple[list[str], str]]


def without(source: Path, folder: Path, left_out: list[str]) -> None:
    """The data set without some items."""
    folder.mkdir(parents=True)
    for name in ("interactions", "items"):
        table = pl.read_parquet(source / f"{name}.parquet")
        table.filter(~pl.col("item_id").is_in(left_out)).write_parquet(folder / f"{name}.parquet")


def cases(interactions: pl.DataFrame) -> Cases:
    """History and last item of every user with at least three events."""
    lists = interactions.sort("timestamp", maintain_order=True).group_by("user_id", maintain_order=True).agg("item_id")
    return [(items[:-1], items[-1]) for items in lists["item_id"].to_list() if len(items) > 2]


def exported(work: Path, name: str, settings: list[str]) -> ExportedModel:
    """A model, trained and exported by the commands."""
    run, folder = work / name, work / f"{name}-exported"
    train = ["train.py", *settings, f"hydra.run.dir='{run}'", "report=null", f"paths.artifacts={work / 'artifacts'}"]
    export = ["scripts/export.py", f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'", f"folder='{folder}'"]
    for command in (train, [*export, f"hydra.run.dir='{work / 'log'}'"]):
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return load(folder)


def gains(model: ExportedModel, chosen: Cases) -> dict[str, float]:
    """HR and NDCG in per cent; items that the model lacks are left out of histories."""
    known, places = model.catalogue.numbers, []
    for start in range(0, len(chosen), 256):
        rows = chosen[start : start + 256]
        answers = model.recommend(histories=[[one for one in history if one in known] for history, _ in rows], k=K)
        for (_, item), answer in zip(rows, answers, strict=True):
            places += [next((at for at, one in enumerate(answer) if one.id == item), None)]
    values = [0.0 if place is None else 1 / np.log2(place + 2) for place in places]
    error = float(np.std(values) / len(values) ** 0.5)
    hits = sum(place is not None for place in places)
    return {"hr@10": 100 * hits / len(places), "ndcg@10": 100 * float(np.mean(values)), "standard error": 100 * error}


def main(settings: list[str]) -> None:
    given = dict(one.split("=", 1) for one in settings)
    source = Path(given.pop("paths.data", "data")) / "pantry"
    more = [f"{key}={value}" for key, value in given.items()]
    interactions, items = (pl.read_parquet(source / f"{name}.parquet") for name in ("interactions", "items"))
    ids = items["item_id"].sort().to_list()
    new = sorted(np.random.default_rng(SEED).choice(ids, round(SHARE * len(ids)), replace=False).tolist())
    table = items.filter(pl.col("item_id").is_in(new)).select("item_id", "title").filter(pl.col("title") != "")
    every = cases(interactions)
    count = dict(interactions["item_id"].value_counts().rows())
    of_new = [one for one in every if one[1] in set(new)]
    groups = {"new": of_new, "new, rare": [one for one in of_new if count[one[1]] <= RARE], "all": every}
    results: dict[str, Any] = {
        **about(),
        "items": len(ids),
        "new items": len(new),
        "of them without a title": len(new) - len(table),
        "events": len(interactions),
        "events of new items": len(interactions.filter(pl.col("item_id").is_in(new))),
        "users": {name: len(group) for name, group in groups.items()},
        "methods": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        without(source, work / "data" / "pantry", new)
        for method in METHODS:
            start = time.perf_counter()
            common = [
                f"method={method}",
                "dataset=pantry",
                f"trainer.max_epochs={EPOCHS}",
                "dataset.expect=null",
                *more,
            ]
            trained = exported(work, f"{method}-all", [*common, f"paths.data={source.parent}"])
            model = exported(work, f"{method}-without", [*common, f"paths.data={work / 'data'}"])
            figures = {"trained": {name: gains(trained, group) for name, group in groups.items()}}
            figures["before"] = {"all": gains(model, every)}
            model.add_items(table.to_dict(as_series=False))
            figures["added"] = {name: gains(model, group) for name, group in groups.items()}
            results["methods"][method] = figures
            print(method, figures, f"{time.perf_counter() - start:.0f} s", flush=True)
            write("new_items", results)


if __name__ == "__main__":
    main(sys.argv[1:])
