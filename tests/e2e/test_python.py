"""docs/python.md is run as it stands: frames, fit, recommend, similar, a new item, save, load elsewhere, the same answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).parent.parent.parent
KINDS = {"tea": "green leaf tea in a box", "paint": "acrylic paint and brush", "bike": "tyre of a mountain bike"}
ELSEWHERE = """
import sage_pl
print(sage_pl.load("moved").recommend(history=["tea-new", "tea-1"], k=5).write_json())
"""

pytestmark = pytest.mark.slow


def write_frames(folder: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"{list(KINDS)[user % 3]}-{generator.integers(1, 61)}", 1_600_000_000 + 86_400 * day)
        for user in range(120)
        for day in range(int(generator.integers(5, 15)))
    ]
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(
        folder / "events.parquet"
    )
    ids = sorted({item for _, item, _ in rows})
    titles = [f"{KINDS[one.partition('-')[0]]}, number {one.partition('-')[2]}" for one in ids]
    pl.DataFrame({"item_id": ids, "title": titles}).write_parquet(folder / "items.parquet")


def test_the_page_runs_and_answers_are_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    text = (ROOT / "docs" / "python.md").read_text()
    assert len(text.splitlines()) < 80
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(program, "python.md", "exec"), names)  # noqa: S102 - the program of this project's page

    assert set(names["compared"].table["system"]) >= {"sasrec", "gru4rec"}
    assert names["page"]._repr_html_().startswith("<iframe srcdoc=")
    there = tmp_path / "there"
    shutil.move("shop", there / "moved")
    shutil.rmtree("outputs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=there,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = names["shop"].recommend(history=["tea-new", "tea-1"], k=5)
    assert done.stdout.strip() == answers.write_json()
    assert len(answers) == 5
