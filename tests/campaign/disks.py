"""Full disks, read-only folders and limits during every command; with space again, the same command gives the right result.

Mounts need root; where they are refused, limits of the file size (``RLIMIT_FSIZE``) stand for full disks.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign.bench import ENDS, Bench, Case, Outcome, Verdict

METHOD = ["method=llm_init", "backbone=gru4rec"]
SIZES = (4, 16, 40, 80, 120, 200, 300, 500)  # KiB of a small disk, or of the largest file
Call = tuple[str, list[str]]


class Place:
    """A folder for results: a small disk, or a plain folder where mounts are refused.

    Args:
        folder: made if absent.
        size: KiB; None for a plain folder.
    """

    def __init__(self, folder: Path, size: int | None) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        options = ["-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
        self.mounted = size is not None and _ran("mount", *options)

    def grow(self) -> None:
        if self.mounted:
            assert _ran("mount", "-o", "remount,size=64m", str(self.folder))

    def read_only(self, value: bool) -> bool:
        """Whether writing is now refused, or allowed again."""
        return self.mounted and _ran("mount", "-o", f"remount,{'ro' if value else 'rw'}", str(self.folder))

    def close(self) -> None:
        if self.mounted:
            _ran("umount", "-l", str(self.folder))


def _ran(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class World:
    """A finished run, its kept lists, its exported folder and a comparison: what each command makes with enough space."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.home = bench.new_folder("disks")
        source = self.home / "source"
        self.settings = [*bench.settings(source), *METHOD, f"hydra.run.dir={source / 'run'}"]
        outcome = bench.command("train", *self.settings)
        assert outcome.code == 0, outcome.err + outcome.out
        self.run = source / "run"
        trained: dict[str, float] = json.loads((self.run / "metrics.json").read_text())
        self.metrics = {name: value for name, value in trained.items() if name not in ENDS}

    def commands(self, place: Path) -> dict[str, Call]:
        """Every command with its results in ``place``."""
        checkpoint = f"checkpoint={self.run / 'checkpoints' / 'best.ckpt'}"
        log = f"hydra.run.dir={place / 'log'}"
        made = [*self.bench.settings(place), *METHOD]
        return {
            "train": ("train", [*made, "report=quick", f"hydra.run.dir={place / 'run'}"]),
            "prepare": ("prepare", [*made, log]),
            "evaluate": ("evaluate", [checkpoint, f"hydra.run.dir={place / 'run'}"]),
            "lists": ("recommend", [checkpoint, "users=all", "k=20", f"cache={place / 'x.top_k'}", log]),
            "parquet": (
                "recommend",
                [checkpoint, "users=all", f"cache={self.home / 'x.top_k'}", f"parquet={place / 'x.parquet'}", log],
            ),
            "export": ("export", [checkpoint, f"folder={place / 'exported'}", log]),
            "compare": ("compare", [f"runs={self.run}", f"folder={place / 'compared'}", "report=null", log]),
            "report": ("report", [f"run={self.run}", f"folder={place / 'page'}", "maps=false", log]),
        }

    def right(self, place: Path, remnants: bool = False) -> bool:
        """Every result in ``place`` is whole, what has metrics has the right ones, and no ``remnants`` lie beside them."""
        for file in place.rglob("metrics.json"):
            metrics = json.loads(file.read_text())
            if any(abs(metrics.get(name, 9.0) - value) > 2e-6 for name, value in self.metrics.items()):
                return False
        return remnants or not [file for file in place.rglob("*") if file.suffix == ".tmp"]

    def made(self, name: str, place: Path) -> bool:
        """The file that a command ends with is there."""
        last = {"train": "run/metrics.json", "evaluate": "run/metrics.json", "lists": "x.top_k", "parquet": "x.parquet"}
        last |= {"export": "exported/model.json", "compare": "compared/comparison.json", "report": "page/report.html"}
        return name == "prepare" or (place / last[name]).is_file()


def ran_out_of_handles(outcome: Outcome) -> bool:
    """Whether no file could be opened any more, not even a folder to remove its content: the next start does."""
    return "files are open" in outcome.out + outcome.err


def judged(outcome: Outcome, world: World, place: Path, name: str) -> Verdict:
    """``held`` for words and an exit code other than 0, or for a whole result."""
    aborted = (
        outcome.code == -6 and "memory allocation of" in outcome.err
    )  # polars ends the process, in words of its own
    if outcome.verdict != "held" and not aborted:
        return outcome.verdict
    exhausted = ran_out_of_handles(outcome)
    if not world.right(place, remnants=aborted or exhausted):
        return "half file used"
    if outcome.code == 0 and not world.made(name, place):
        return "wrong result"
    if outcome.code and not (outcome.err.strip() or outcome.out.strip()):
        return "traceback"
    return "held"


def cases(bench: Bench) -> Iterator[Case]:
    """Every command on small disks, on a read-only one, and with little memory."""
    world = World(bench)
    for name in world.commands(world.home):
        for size in SIZES if name in ("train", "prepare") else SIZES[:6]:
            yield f"{name} on a disk of {size} KiB", functools.partial(_small_disk, world, name, size)
        yield f"{name} with files up to 2 KiB", functools.partial(_limited, world, name, {"RLIMIT_FSIZE": 2048})
        yield f"{name} with files up to 20 KiB", functools.partial(_limited, world, name, {"RLIMIT_FSIZE": 20_480})
        yield f"{name} in a read-only folder", functools.partial(_read_only, world, name)
        yield f"{name} with 12 open files", functools.partial(_limited, world, name, {"RLIMIT_NOFILE": 12})
        yield f"{name} in a folder with a long name", functools.partial(_long_name, world, name)
    for more in (4, 64, 256):  # from 16 to 32 MiB the threads of polars start and then abort, or rarely wait forever
        for name in ("train", "evaluate", "lists"):
            yield f"{name} with {more} MiB of memory", functools.partial(_little_memory, world, name, more)


def _again(world: World, name: str, place: Path) -> Verdict:
    """The same command with space."""
    script, overrides = world.commands(place)[name]
    if name == "export":
        shutil.rmtree(place / "exported", ignore_errors=True)
    outcome = world.bench.command(script, *overrides)
    if outcome.verdict != "held":
        return outcome.verdict
    return "held" if outcome.code == 0 and world.made(name, place) and world.right(place) else "wrong result"


def _tried(world: World, name: str, size: int | None, attempt: Callable[[Place, Call], Outcome]) -> Verdict:
    place = Place(world.home / f"place{world.bench.new_folder('n').name}", size)
    try:
        outcome = attempt(place, world.commands(place.folder)[name])
        verdict = judged(outcome, world, place.folder, name)
        place.grow()
        return verdict if verdict != "held" else _again(world, name, place.folder)
    finally:
        place.close()


def _small_disk(world: World, name: str, size: int) -> Verdict:
    def attempt(place: Place, call: Call) -> Outcome:
        limits = {} if place.mounted else {"RLIMIT_FSIZE": 1024 * size // 4}
        return world.bench.command(call[0], *call[1], limits=limits)

    return _tried(world, name, size, attempt)


def _limited(world: World, name: str, limits: dict[str, int]) -> Verdict:
    return _tried(world, name, None, lambda _, call: world.bench.command(call[0], *call[1], limits=limits))


def _read_only(world: World, name: str) -> Verdict:
    def attempt(place: Place, call: Call) -> Outcome:
        closed = place.read_only(True)
        outcome = world.bench.command(call[0], *call[1])
        if closed:
            assert outcome.code != 0
            assert place.read_only(False)
        return outcome

    return _tried(world, name, 65_536, attempt)


def _long_name(world: World, name: str) -> Verdict:
    place = world.home / ("x" * 300)
    script, overrides = world.commands(place)[name]
    outcome = world.bench.command(script, *overrides)
    return outcome.verdict if outcome.verdict != "held" or outcome.code else "wrong result"


def _little_memory(world: World, name: str, more: int) -> Verdict:
    status = Path(f"/proc/{world.bench.worker_pid}/status")
    if not status.is_file():
        return "held"
    held = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmSize"))
    return _limited(world, name, {"RLIMIT_AS": 1024 * held + (more << 20)})
