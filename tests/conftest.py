"""A small world every end-to-end test shares: 60 users, 40 titled items in four kinds, in the in-house format."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # UMAP would set the threads of OpenMP back to all cores
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_DATA_DIR", str(Path(tempfile.gettempdir()) / "sage-pl-wandb"))  # not the home folder

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from tests.campaign.bench import SETTINGS

settings.register_profile("unhurried", deadline=None)  # a loaded machine is no failure
settings.load_profile("unhurried")

ROOT = Path(__file__).parent.parent
KINDS = {
    "tea": "green leaf tea box organic infusion",
    "paint": "acrylic paint brush canvas set colour",
    "bike": "mountain bike tyre chain repair tool",
    "lamp": "led desk lamp bulb warm light",
}


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with interactions.parquet and items.parquet; users mostly stay within one kind of item."""
    folder = tmp_path_factory.mktemp("world")
    generator = np.random.default_rng(0)
    names = list(KINDS)
    titles = [f"{KINDS[names[i % 4]]} {names[i % 4]} number {i}" for i in range(40)]
    rows = []
    for user in range(60):
        kind, time = user % 4, 1_500_000_000 + int(generator.integers(0, 5_000))
        for _ in range(int(generator.integers(4, 12))):
            time += int(generator.integers(1, 1_000))
            own = generator.random() < 0.85
            item = int(generator.choice(np.arange(kind, 40, 4) if own else np.arange(40)))
            rows.append((f"u{user}", item, time))
    interactions = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.Int64, "timestamp": pl.Int64}, orient="row"
    )
    items = pl.DataFrame(
        {"item_id": list(range(40)), "title": titles}, schema={"item_id": pl.Int64, "title": pl.String}
    )
    interactions.write_parquet(folder / "interactions.parquet")
    items.filter(pl.col("item_id").is_in(interactions["item_id"].unique().to_list())).write_parquet(
        folder / "items.parquet"
    )
    return folder


@pytest.fixture(scope="session")
def small_settings(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that make any command run on the small world in seconds; all tests share one artifact cache."""
    base = tmp_path_factory.getbasetemp()
    outputs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "outputs"
    return [
        "dataset=folder",
        f"dataset.path={small_world}",
        f"paths.outputs={outputs}",
        *SETTINGS,
        "products=float32",  # on any processor
    ]


@pytest.fixture
def run_train(small_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``train.py`` in this process on the small world; returns the run's folder."""
    return _runner("train", small_settings, tmp_path, monkeypatch)


@pytest.fixture
def run_bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The same without the small world's settings."""
    return _runner("train", [], tmp_path / "bare", monkeypatch)


def _runner(script: str, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    from sage_pl.commands.door import open_door

    count = 0

    def run(*overrides: str) -> Path:
        nonlocal count
        count += 1
        folder = tmp_path / f"run{count}"
        monkeypatch.setattr(
            sys, "argv", [str(ROOT / f"{script}.py"), *settings, *overrides, f"hydra.run.dir='{folder}'"]
        )
        open_door(script, str(ROOT / f"{script}.py"))
        return folder

    return run
