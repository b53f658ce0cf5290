"""The wheel: what it holds, and its commands away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OWN = "from sage_pl.nn.backbones.sasrec import SASRec\n\n\nclass Mine(SASRec): ...\n"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    unreachable = "Could not find a version that satisfies the requirement hatchling"
    if done.returncode and unreachable in done.stdout + done.stderr:
        pytest.skip("the build backend hatchling can be fetched from no package index")
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("sage_pl-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder of its own, beside a package of the user's."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run(command, capture_output=True, check=True)
    (folder / "my_parts.py").write_text(OWN)
    return folder


def sage_pl(installed: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of the installed package, started in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "sage_pl", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), **variables},
        check=False,
    )


def test_the_wheel_holds_all_that_a_command_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        (licence,) = (archive.read(name).decode() for name in names if name.endswith("/licenses/LICENSE"))
    conf = {p.relative_to(ROOT) for p in (ROOT / "conf").rglob("*.yaml")}
    assert {f"sage_pl/{p}" for p in conf if p.parts[1] != "local"} == {
        n for n in names if n.startswith("sage_pl/conf/")
    }
    source = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*") if p.is_file()}
    kept = {n for n in source if "__pycache__" not in n and ".egg-info/" not in n}
    assert kept <= names, "modules, templates, py.typed, sweepers"
    assert {"sage_pl/py.typed", "hydra_plugins/sage_pl_sweepers.py", "sage_pl/report/templates/page.html.j2"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"sage_pl", "hydra_plugins"}
    assert "sage-pl = sage_pl.commands.door:main" in entry_points
    assert "License-Expression: Apache-2.0" in metadata
    assert licence == (ROOT / "LICENSE").read_text()


def test_help_needs_no_clone(installed: Path, tmp_path: Path) -> None:
    done = sage_pl(installed, tmp_path, "train", "--help")
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("sage-pl train", "python train.py", "backbone: bert4rec", "journey"))
    assert not list(tmp_path.iterdir())


def test_a_run_needs_no_clone(installed: Path, small_settings: list[str], tmp_path: Path) -> None:
    settings = [*small_settings, f"paths.outputs={tmp_path}", "method=plain", "debug=fast_dev_run", "report=quick"]
    done = sage_pl(installed, tmp_path, "train", *settings, "backbone._target_=my_parts.Mine")
    assert done.returncode == 1
    assert "SAGE_PL_PACKAGES" in done.stdout + done.stderr
    named = {"SAGE_PL_PACKAGES": "my_parts"}
    done = sage_pl(installed, tmp_path, "train", *settings, "backbone._target_=my_parts.Mine", **named)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (metrics,) = tmp_path.glob("runs/folder/plain-sasrec-seed42/*/metrics.json")
    assert metrics.with_name("train.log").is_file()
    assert f"{installed}/sage_pl/conf" in (metrics.parent / ".hydra" / "hydra.yaml").read_text()


def test_a_checkpoint_with_a_part_of_an_unnamed_package_is_refused(
    installed: Path, small_settings: list[str], tmp_path: Path
) -> None:
    arguments = [*small_settings, "method=plain", "debug=fast_dev_run", "backbone._target_=my_parts.Mine"]
    named = {"SAGE_PL_PACKAGES": "my_parts"}
    done = sage_pl(installed, tmp_path, "train", *arguments, f"hydra.run.dir='{tmp_path}/run'", **named)
    assert done.returncode == 0, done.stdout + done.stderr
    checkpoint = f"checkpoint={tmp_path}/run/checkpoints/best.ckpt"
    done = sage_pl(installed, tmp_path, "evaluate", checkpoint)
    assert done.returncode == 1
    assert "SAGE_PL_PACKAGES" in done.stdout + done.stderr
    assert sage_pl(installed, tmp_path, "evaluate", checkpoint, **named).returncode == 0


def test_a_sweep_needs_no_clone(installed: Path, small_settings: list[str], tmp_path: Path) -> None:
    settings = [*small_settings, "method=plain", "trainer.max_epochs=1", f"hydra.sweep.dir='{tmp_path}/sweep'"]
    done = sage_pl(installed, tmp_path, "train", "-m", *settings, "backbone=sasrec,gru4rec")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2
    assert (tmp_path / "sweep" / "comparison" / "comparison.json").is_file()
