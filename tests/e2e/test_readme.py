"""The README: its size, its figures, and each of its commands, run on small data in the place of what it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from benchmarks.images import fusion_table
from tests.campaign.bench import SETTINGS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
Shell = Callable[[str], str]


def test_the_readme_is_short() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        lines = (ROOT / page).read_text().splitlines()
        assert [line for line in lines if len(line) > 150] == []
    assert len(TEXT.splitlines()) <= 150


def test_its_table_is_that_of_the_results() -> None:
    table = re.findall(r"^\| (\w+) \| \d \|(.*)\|$", TEXT.split("<!-- results -->")[1], re.MULTILINE)
    tables = fusion_table()["all"]
    assert [name for name, _ in table] == list(tables)
    for name, cells in table:
        values = [float(cell.split("±")[0]) for cell in cells.split("|")[:4]]
        assert values == list(tables[name].values()), name


def test_its_pictures_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\((.*?)\)", TEXT)
    assert len(pictures) >= 2
    assert all((ROOT / picture).stat().st_size <= 200_000 for picture in pictures)


def test_every_method_is_named() -> None:
    names = re.search(r"^\| `method=`.*?^$", TEXT, re.DOTALL | re.MULTILINE)
    assert names is not None
    methods = {file.stem for file in (ROOT / "conf" / "method").glob("*.yaml")}
    assert methods <= set(re.findall(r"`(\w+)`", names.group()))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, small_settings: list[str]) -> Path:
    """A folder as ``make demo`` leaves it, of the small world."""
    import sys

    from sage_pl.commands.door import open_door

    place = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for method in ("plain", "sage"):
            options = [f"method={method}", f"hydra.run.dir=outputs/demo/{method}"]
            patch.setattr(sys, "argv", [str(ROOT / "train.py"), *small_settings, *options])
            open_door("train", str(ROOT / "train.py"))
    return place


def on_small_data(line: str, small: list[str], world: Path) -> str:
    """A command with the small world for its data set, and of a sweep the first thing that varies."""
    words = shlex.split(line)
    if "train.py" not in words or any(word.startswith("refit=") for word in words):
        return line
    if "dataset=csv" in words:
        small = [word for word in small if not word.startswith(("dataset=", "dataset.path="))]
        write_csv(world, Path("FILE.csv"))
    else:
        words = [word for word in words if not word.startswith("dataset=")]
    if "-m" in words:
        first = next(word for word in words if "," in word)
        words = [word if word == first else word.split(",")[0] for word in words]
    return shlex.join([*words, *small])


def write_csv(world: Path, file: Path) -> None:
    events, items = (pl.read_parquet(world / f"{name}.parquet") for name in ("interactions", "items"))
    table = events.join(items.select("item_id", "title"), on="item_id")
    table.select(u="user_id", i="item_id", t="timestamp", title="title").write_csv(file)


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs(
    line: str,
    demo: Path,
    shell: Shell,
    small_settings: list[str],
    small_world: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "logger=wandb" in line:
        pytest.importorskip("wandb")
    monkeypatch.chdir(demo)
    shell(on_small_data(line, small_settings, small_world))


@pytest.mark.slow
def test_the_lines_of_python_run(tmp_path: Path, small_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert len([line for line in program.splitlines() if line]) <= 6
    monkeypatch.chdir(tmp_path)
    names = pl.format("tea-{}", pl.col("item_id"))
    pl.read_parquet(small_world / "interactions.parquet").with_columns(item_id=names).write_parquet("events.parquet")
    pl.read_parquet(small_world / "items.parquet").with_columns(item_id=names).write_parquet("items.parquet")
    pairs = (one.split("=", 1) for one in SETTINGS)
    overrides = {key: yaml.safe_load(value) for key, value in pairs} | {"products": "float32"}
    program = program.replace('method="llm_init"', f'method="llm_init", overrides={overrides!r}')
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - the README's own lines
