"""Tiny artifacts, written as the steps before would have left them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from tests.semantic.scft.tiny import write_bert, write_llama

MakeArtifact = Callable[..., Artifact]
MakeSequences = Callable[..., Artifact]


@pytest.fixture
def make_artifact(tmp_path: Path) -> MakeArtifact:
    """``make_artifact(name, table=array, items=frame)`` writes a finished artifact."""

    def make(name: str, **content: Any) -> Artifact:
        folder = tmp_path / "artifacts" / name
        folder.mkdir(parents=True)
        for file, value in content.items():
            if isinstance(value, pl.DataFrame):
                value.write_parquet(folder / f"{file}.parquet")
            else:
                np.save(folder / f"{file}.npy", value)
        (folder / "manifest.json").write_text(json.dumps({"key": name}))
        return Artifact.at(folder)

    return make


@pytest.fixture
def make_sequences(make_artifact: MakeArtifact) -> MakeSequences:
    """``make_sequences([[1, 2, 3], ...])`` writes a sequences artifact; of three or more events the last two are held out."""

    def make(
        users: Sequence[Sequence[int]],
        n_items: int | None = None,
        item_ids: Sequence[Any] | None = None,
        **columns: Sequence[Any],
    ) -> Artifact:
        n_items = n_items or max(map(max, users))
        lengths = np.array([0, *map(len, users)])
        long = np.flatnonzero(lengths >= 3)
        items = {"item": range(1, n_items + 1), "item_id": item_ids or range(1, n_items + 1)}
        return make_artifact(
            "sequences",
            values=np.concatenate([np.asarray(user, dtype=np.int32) for user in users]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            train_end=np.where(lengths >= 3, lengths - 2, lengths),
            items=pl.DataFrame({**items, **columns}),
            valid_user=long,
            valid_at=lengths[long] - 2,
            test_user=long,
            test_at=lengths[long] - 1,
        )

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for a step to write into."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("bert") / "tiny-bert")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_llama(tmp_path_factory.mktemp("llama") / "tiny-llama")
