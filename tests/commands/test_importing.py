"""What a command imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sage_pl.commands import importing

UNUSED = (  # by a run without text models, clusters, a report or a tracker; each takes a tenth of a second to seconds
    *("faiss", "hdbscan", "matplotlib", "numba", "openai", "optuna", "pandas", "peft", "scipy.signal", "scipy.stats"),
    *("sentence_transformers", "sklearn", "tensorboard", "tensorboardX", "transformers", "umap", "wandb"),
)


def test_a_plain_run_imports_nothing_that_it_does_not_use(small_settings: list[str], tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    run = ["method=plain", "debug=fast_dev_run", "report=null", f"hydra.run.dir='{tmp_path}/run'"]
    command = [sys.executable, "-X", "importtime", str(root / "train.py"), *small_settings, *run]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert {"torch", "pytorch_lightning"} <= imported
    assert not imported.intersection(UNUSED)


def test_with_packages_of_the_users_own_lightning_sees_all_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_utilities.core import imports

    seen: list[tuple[bool, bool]] = []

    def look(_: str) -> None:
        seen.append((imports.package_available("scipy"), bool(imports.RequirementCache("scipy>=1"))))
        assert imports.RequirementCache("numpy>=1")

    monkeypatch.setattr(importing, "importlib", SimpleNamespace(import_module=look))
    for packages in ("", "tea_parts"):
        monkeypatch.setenv("SAGE_PL_PACKAGES", packages)
        importing.command_module("sage_pl.commands.train")
    assert seen == [(False, False), (True, True)]
    assert imports.package_available("scipy")
