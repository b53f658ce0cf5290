"""Frames of 60 users and 40 titled items in four kinds, and a model that was fitted on them once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import sage_pl
from tests.campaign.bench import SETTINGS

KINDS = {
    "tea": "green leaf tea box",
    "paint": "acrylic paint brush",
    "bike": "mountain bike tyre",
    "lamp": "led desk lamp",
}


@pytest.fixture(scope="session")
def events() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"{list(KINDS)[user % 4]}-{generator.integers(1, 11)}", 1_500_000_000 + 100 * place + user)
        for user in range(60)
        for place in range(int(generator.integers(4, 12)))
    ]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="session")
def texts(events: pl.DataFrame) -> pl.DataFrame:
    ids = events["item_id"].unique().sort().to_list()
    return pl.DataFrame(
        {"item_id": ids, "title": [f"{KINDS[one.split('-')[0]]} number {one.split('-')[1]}" for one in ids]}
    )


@pytest.fixture(scope="session")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., sage_pl.Model]:
    """``sage_pl.fit`` with settings that take seconds, all in one folder of outputs."""
    small: dict[str, Any] = {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in SETTINGS)}
    outputs = {"paths.outputs": str(tmp_path_factory.mktemp("outputs")), "trainer.max_epochs": 1}

    def fit_small(*frames: Any, overrides: dict[str, Any] | None = None, **settings: Any) -> sage_pl.Model:
        return sage_pl.fit(*frames, overrides={**small, **outputs, **(overrides or {})}, **settings)

    return fit_small


@pytest.fixture(scope="session")
def model(fit: Callable[..., sage_pl.Model], events: pl.DataFrame, texts: pl.DataFrame) -> sage_pl.Model:
    return fit(events, texts, method="plain")


@pytest.fixture
def namespace(
    fit: Callable[..., sage_pl.Model], model: sage_pl.Model, events: pl.DataFrame, texts: pl.DataFrame, tmp_path: Path
) -> dict[str, Any]:
    """Names that the examples use."""
    return {
        "fit": fit,
        "load": partial(sage_pl.load, artifacts=tmp_path / "artifacts"),
        "compare": partial(sage_pl.compare, folder=str(tmp_path / "compared")),
        "model": model,
        "run_folder": model.path,
        "events": events,
        "texts": texts,
        "somewhere": tmp_path,
    }
