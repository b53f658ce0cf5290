"""Time and memory of preparation: interactions, clusters, similar users, text vectors; beside plainer ways to do the same.

``python benchmarks/preparation.py [part[=size] ...]``, e.g. ``clusters similar_users=20000``; without arguments all of them at
full size. Writes benchmarks/results/preparation.json. Data are random. Each part runs in a process of its own.

- ``interactions``: 20 million, filtered, numbered and split. Users are drawn evenly, one for 20, items by Zipf's law, one for
  100; ids are text, as in raw dumps. Target: 60 s and 6 GB.
- ``clusters`` and fuzzy memberships of 57,000 items, 64 wide. Target: 120 s.
- ``similar_users``: the 100 nearest of each of 200,000, 64 wide; beside a product and a partial sort per chunk of users, on a
  twentieth of them. Target: 60 s and 3 GB.
- ``embedding``: 1,500 texts by MiniLM, the faster of two runs, beside the library's ``encode`` of the whole list (which sorts
  by length itself) and of batches of 32 in the order given. Target: 1.5 times as many per second, cosine distance below 0.01.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SIZES = {"interactions": 20_000_000, "clusters": 57_000, "similar_users": 200_000, "embedding": 1_500}
TARGETS: dict[str, dict[str, float]] = {
    "interactions": {"seconds": 60, "peak_rss_gib": 6},
    "clusters": {"seconds": 120},
    "similar_users": {"seconds": 60, "peak_rss_gib": 3},
    "embedding": {"times encode in the order given": 1.5, "largest cosine distance": 0.01},
}
DIM, NEIGHBOURS, SHARE = 64, 100, 20
RESULT = Path(__file__).parent / "results" / "preparation.json"
PACKAGES = ("polars", "numpy", "umap-learn", "hdbscan", "faiss-cpu", "sentence-transformers", "torch", "sage-pl")


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def synthesise(folder: Path, n: int) -> None:
    random = np.random.default_rng(0)
    weight = 1 / np.arange(1, n // 100 + 1)
    users = random.integers(n // 20, size=n)
    items = np.searchsorted(np.cumsum(weight / weight.sum()), random.random(n))
    times = random.integers(1_300_000_000, 1_400_000_000, size=n)
    pl.DataFrame({"user": users, "item": items, "timestamp": times}).lazy().select(
        user_id=pl.format("A{}", pl.col("user")), item_id=pl.format("B{}", pl.col("item")), timestamp="timestamp"
    ).sink_parquet(folder / "interactions.parquet")


def interactions(n: int) -> dict[str, Any]:
    from sage_pl.data.filters import KCore
    from sage_pl.data.interactions import Interactions
    from sage_pl.data.sources.folder import Folder
    from sage_pl.data.split import LeaveOneOut

    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place), Path(place) / "out"
        # In a process of its own, so that making the data does not count as the step's memory.
        subprocess.run([sys.executable, __file__, "synthesise", place, str(n)], check=True)
        out.mkdir()
        seconds, _ = seconds_of(lambda: Interactions(Folder(folder), LeaveOneOut(), (KCore(),)).run({}, out))
        return {"seconds": seconds, "stages": json.loads((out / "report.json").read_text())["stages"]}


def groups(n: int, n_groups: int, spread: float) -> np.ndarray:
    """Points in groups of uneven size, in directions of falling variance, as the components of text vectors are."""
    random, scale = np.random.default_rng(0), np.arange(1, DIM + 1) ** -0.5
    share = random.dirichlet(np.full(n_groups, 2.0))
    centres = random.standard_normal((n_groups, DIM))
    return scale * (centres[random.choice(n_groups, n, p=share)] + spread * random.standard_normal((n, DIM)))


def clusters(n: int) -> dict[str, Any]:
    from sage_pl.semantic.cluster import Cluster
    from sage_pl.semantic.memberships import centres, memberships

    points, step = groups(n, 300, 0.5), Cluster()
    projecting, projected = seconds_of(lambda: step._project(points))
    searching, (labels, strength) = seconds_of(lambda: step._cluster(projected))
    sharing, shares = seconds_of(lambda: memberships(points, centres(points, labels, strength), labels, strength))
    parts = {"UMAP s": projecting, "HDBSCAN s": searching, "memberships s": sharing}
    return {"seconds": sum(parts.values()), **parts, "clusters": shares.shape[1]}


def similar_users(n: int) -> dict[str, Any]:
    from sage_pl.semantic.retrieve import similar
    from sage_pl.semantic.tables import normalised

    rows = normalised(groups(n, 2_000, 1.0)).astype(np.float32)
    seconds, found = seconds_of(lambda: similar(rows, NEIGHBOURS))
    peak = peak_gib()  # before the plainer way takes more
    asked = np.arange(0, n, SHARE)

    def plainly() -> np.ndarray:
        nearest = []
        for chunk in np.array_split(asked, max(1, len(asked) // 500)):
            scores = rows[chunk] @ rows.T
            scores[np.arange(len(chunk)), chunk] = -2
            nearest.append(np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS])
        return np.concatenate(nearest)

    plain, nearest = seconds_of(plainly)
    same = np.mean([len(np.intersect1d(ours, theirs)) for ours, theirs in zip(found[asked], nearest, strict=True)])
    ratio = plain * n / len(asked) / seconds
    return {
        "seconds": seconds,
        "times product and partial sort": ratio,
        "same": same / NEIGHBOURS,
        "peak_rss_gib": peak,
    }


def embedding(n: int) -> dict[str, Any]:
    from sage_pl.hardware import multiplies_bfloat16
    from sage_pl.semantic.embedders.sentence import SentenceEmbedder
    from sage_pl.semantic.language_models.batches import encode

    embedder = SentenceEmbedder()
    model = embedder._load()
    random = np.random.default_rng(0)
    words = np.array(sorted(word for word in model.tokenizer.get_vocab() if word.isalpha()))
    lengths = np.minimum(
        random.lognormal(3.2, 0.5, n).astype(int) + 3, 200
    )  # those of titles with brand and categories
    texts = [" ".join(random.choice(words, length)) for length in lengths]
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: encode(model, texts, True, embedder.batch_tokens, multiplies_bfloat16(model.device)),
        "ourselves in float32": lambda: encode(model, texts, True, embedder.batch_tokens),
        "encode of the whole list": lambda: model.encode(texts, normalize_embeddings=True),
        "encode in the order given": lambda: [model.encode(texts[at : at + 32]) for at in range(0, n, 32)],
    }
    model.encode(texts[:64])
    runs = [{name: seconds_of(way) for name, way in ways.items()} for _ in range(2)]
    best = {name: min(run[name][0] for run in runs) for name in ways}
    plain, vectors = runs[0]["encode of the whole list"][1], runs[0]["ours"][1]
    return {
        "texts per second": n / best["ours"],
        **{f"times {name}": seconds / best["ours"] for name, seconds in best.items() if name != "ours"},
        "largest cosine distance": float(1 - (plain * vectors).sum(axis=1).min()),
    }


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


PARTS = {work.__name__: work for work in (interactions, clusters, similar_users, embedding)}


def main(wanted: dict[str, int]) -> None:
    before = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    results: dict[str, Any] = {part: figures for part, figures in before.items() if part in PARTS}
    results |= {"cpus": os.cpu_count(), "versions": {name: importlib.metadata.version(name) for name in PACKAGES}}
    results["versions"]["python"] = platform.python_version()
    for part, size in wanted.items():
        command = [sys.executable, __file__, "part", part, str(size)]
        child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[part] = {"size": size, **json.loads(child.stdout), "target": TARGETS[part]}
        print(part, json.dumps(results[part], indent=2), flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["synthesise", folder, n]:
            synthesise(Path(folder), int(n))
        case ["part", part, size]:
            figures = PARTS[part](int(size))
            print(json.dumps({"peak_rss_gib": peak_gib(), **figures}))
        case []:
            main(SIZES)
        case parts:
            chosen = (entry.partition("=") for entry in parts)
            main({part: int(size or SIZES[part]) for part, _, size in chosen})
