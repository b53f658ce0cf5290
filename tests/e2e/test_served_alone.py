"""An exported folder is loaded and answers where torch, numpy and jaxtyping are all that can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sage_pl import serving
from tests.e2e.test_methods import METHODS, SMALL
from tests.e2e.test_served_alike import Answers, command

__all__ = ["command"]
ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import json, sys

ALLOWED = {"torch", "torchgen", "functorch", "numpy", "jaxtyping", "sage_pl"}  # and what torch and jaxtyping require
REQUIRED = {"wadler_lindig", "typing_extensions", "sympy", "mpmath", "networkx", "filelock", "fsspec", "jinja2", "markupsafe"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names | ALLOWED | REQUIRED:
            raise ImportError(f"{name} is not installed here")

import torch, numpy, jaxtyping
sys.meta_path.insert(0, Blocker())
for name in ("polars", "hydra", "omegaconf", "pytorch_lightning", "torchmetrics", "pandas", "scipy"):
    assert name not in sys.modules

from sage_pl.serving import load

folder, histories, user = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
model = load(folder)
answers = [*model.recommend(histories=histories, k=6), model.recommend(histories[0], 6, user=user, seen="keep")]
print(json.dumps([[list(item) for item in answer] for answer in answers]))
"""
HISTORIES = [["3", "9", "4"], ["12"], []]


def answers_alone(folder: Path) -> list[list[list]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    arguments = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(HISTORIES), "u3"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers_here(folder: Path) -> list[list[list]]:
    model = serving.load(folder)
    answers = [*model.recommend(histories=HISTORIES, k=6), model.recommend(HISTORIES[0], 6, user="u3", seen="keep")]
    return [[list(item) for item in answer] for answer in answers]


OFTEN = ("plain", "sam")  # the others are slow tests
CELLS = [
    pytest.param(method, backbone, marks=[] if method in OFTEN and backbone == "sasrec" else pytest.mark.slow)
    for method, backbone in [*((method, "sasrec") for method in METHODS), ("plain", "bert4rec"), ("plain", "gru4rec")]
]


@pytest.mark.parametrize(("method", "backbone"), CELLS)
def test_a_folder_answers_alone(
    method: str, backbone: str, run_train: Callable[..., Path], command: Callable[..., Answers], tmp_path: Path
) -> None:
    settings = [f"method={method}", f"backbone={backbone}", *SMALL.get(method, []), "trainer.max_epochs=1"]
    best = run_train(*settings) / "checkpoints" / "best.ckpt"
    command("export", f"checkpoint={best}", f"folder={tmp_path / 'exported'}")
    alone = answers_alone(tmp_path / "exported")
    assert alone == answers_here(tmp_path / "exported"), "the same ids, titles and scores"
    assert all(len(answer) == 6 for answer in alone)


ADDING = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"hydra", "omegaconf", "pytorch_lightning", "lightning_fabric", "torchmetrics"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocker())
from sage_pl.serving import load

model = load(sys.argv[1])
model.add_items({"item_id": ["900"], "title": ["green leaf tea box number 900"]})
print([item.id for item in model.recommend(["900"], 41, seen="keep")])
"""


@pytest.mark.slow
def test_new_items_need_neither_hydra_nor_lightning(
    run_train: Callable[..., Path], command: Callable[..., Answers], tmp_path: Path
) -> None:
    best = run_train("method=pad", "embedder=tfidf", "trainer.max_epochs=1") / "checkpoints" / "best.ckpt"
    command("export", f"checkpoint={best}", f"folder={tmp_path / 'exported'}")
    arguments = [sys.executable, "-c", ADDING, str(tmp_path / "exported")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "'900'" in done.stdout
