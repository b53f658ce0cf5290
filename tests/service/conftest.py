"""Two exports, made once, and clients of a server over a copy of the first."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_pl.artifacts.files import MANIFEST, records_of

ROOT = Path(__file__).parent.parent.parent
TEA = "green leaf tea box organic infusion tea number 900"
HISTORY = ["0", "4", "8"]


@pytest.fixture(scope="session")
def checkpoint(small_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a run on the small world."""
    place = tmp_path_factory.mktemp("served") / "run"
    settings = ["method=residual_text", "embedder=tfidf", "trainer.max_epochs=1"]
    command("train", *small_settings, *settings, f"hydra.run.dir='{place}'")
    return place / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def exports(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The export of :func:`checkpoint`, and one that ranks the other way round."""
    place = tmp_path_factory.mktemp("exports")
    command("export", f"checkpoint={checkpoint}", f"folder={place}/first", f"hydra.run.dir='{place}/log'")
    second = Path(shutil.copytree(place / "first", place / "second"))
    np.save(second / "items" / "output.npy", -np.load(second / "items" / "output.npy"))
    (second / MANIFEST).unlink()
    (second / MANIFEST).write_text(json.dumps({"files": records_of(second)}))
    return [place / "first", second]


def command(name: str, *arguments: str) -> None:
    """A command in this process."""
    from sage_pl.commands.door import open_door

    script = ROOT / ("train.py" if name == "train" else f"scripts/{name}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.name, *arguments])
        open_door(name, str(script))


@pytest.fixture
def folder(exports: list[Path], tmp_path: Path) -> Path:
    """A copy of the first export."""
    return Path(shutil.copytree(exports[0], tmp_path / "served"))


@pytest.fixture
def client(folder: Path) -> Iterator[Callable[..., Any]]:
    """A client of a server of :func:`folder` with some settings."""
    from fastapi.testclient import TestClient

    from sage_pl.service.app import create_app
    from sage_pl.service.settings import Settings

    clients: list[Any] = []

    def started(**settings: Any) -> TestClient:
        values = {"folder": str(folder), "store": str(folder.with_suffix(".db")), "follow": 0.05, **settings}
        clients.append(TestClient(create_app(Settings(**values)), raise_server_exceptions=False))
        return clients[-1].__enter__()

    yield started
    for one in clients:
        one.__exit__(None, None, None)
