"""Damaged artifacts, checkpoints, kept lists and exported folders, each followed by the command that reads it.

The command ends with the undamaged run's result, or with a refusal in words.
"""

from __future__ import annotations

import functools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.campaign.bench import ENDS, Bench, Case, Outcome, Verdict

METHOD = ["method=llm_init", "backbone=gru4rec"]
SERVED = """
import sys
from sage_pl import serving
from sage_pl.errors import UserError
import torch
try:
    model = serving.load(sys.argv[1])
    model = getattr(model, "model", model)  # over item numbers; an earlier version returns it itself
    top = model.recommend(torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]]), 5)
    print("served", top.ids.tolist(), [[round(float(x), 4) for x in row] for row in top.scores])
except UserError as error:
    sys.exit(f"refused: {error}")
"""
Damage = Callable[[Path, random.Random], None]


def flip(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def cut(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])


def grow(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes() + draw.randbytes(64))


def empty(file: Path, draw: random.Random) -> None:
    file.write_bytes(b"")


def delete(file: Path, draw: random.Random) -> None:
    file.unlink()


def swap(file: Path, draw: random.Random) -> None:
    """Exchange a file with another of its kind nearby."""
    others = [other for other in sorted(file.parent.iterdir()) if other.suffix == file.suffix and other != file]
    other = draw.choice(others) if others else next(file.parent.parent.parent.rglob(f"*{file.suffix}"))
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


def zeros(file: Path, draw: random.Random) -> None:
    """A block that never reached the disk."""
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content))
    end = min(start + 512, len(content))
    content[start:end] = bytes(end - start)
    file.write_bytes(content)


DAMAGES: dict[str, Damage] = {f.__name__: f for f in (flip, cut, grow, empty, delete, swap, zeros)}


def alterations() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Manifests altered as JSON."""

    def first(manifest: dict[str, Any]) -> str:
        return next(iter(manifest["files"]))

    return {
        "no files": lambda m: {k: v for k, v in m.items() if k != "files"},
        "files is a list": lambda m: {**m, "files": list(m["files"])},
        "a list": lambda m: [m],
        "null": lambda m: None,
        "a number": lambda m: 7,
        "no key": lambda m: {k: v for k, v in m.items() if k != "key"},
        "another key": lambda m: {**m, "key": "0" * 16},
        "key is a number": lambda m: {**m, "key": 5},
        "a foreign key": lambda m: {**m, "foreign": {"x": 1}},
        "a name above": lambda m: {**m, "files": {**m["files"], "../../x.npy": m["files"][first(m)]}},
        "an absolute name": lambda m: {**m, "files": {**m["files"], "/etc/passwd": m["files"][first(m)]}},
        "no size": lambda m: {**m, "files": {**m["files"], first(m): {"sha256": "0" * 64}}},
        "size is a text": lambda m: {**m, "files": {**m["files"], first(m): {"sha256": "0" * 64, "bytes": "12"}}},
        "another size": lambda m: {**m, "files": {**m["files"], first(m): {**m["files"][first(m)], "bytes": 1}}},
        "another hash": lambda m: {
            **m,
            "files": {**m["files"], first(m): {**m["files"][first(m)], "sha256": "0" * 64}},
        },
        "a file that is not there": lambda m: {**m, "files": {**m["files"], "more.npy": m["files"][first(m)]}},
    }


class World:
    """A trained run with artifacts, kept lists and an exported folder; restored before every case."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.home = bench.new_folder("damage")
        self.live, self.saved = self.home / "outputs", self.home / "saved"
        self.settings = [*bench.settings(self.live), *METHOD, f"hydra.run.dir={self.live / 'run'}"]
        self.checkpoint = self.live / "run" / "checkpoints" / "best.ckpt"
        self._must("train", *self.settings)
        self._must("recommend", f"checkpoint={self.checkpoint}", "users=all", "k=5")
        self._must("export", f"checkpoint={self.checkpoint}", f"folder={self.live / 'exported'}")
        shutil.copytree(self.live, self.saved)
        trained = self.numbers(self.live / "run")
        self.metrics = {name: value for name, value in trained.items() if name not in ENDS}
        self.shown = self.recommend().out
        self.served = self.serve().out
        assert "served" in self.served

    def _must(self, script: str, *overrides: str) -> None:
        outcome = self.bench.command(script, *overrides)
        assert outcome.code == 0, outcome.err + outcome.out

    def restore(self) -> None:
        shutil.rmtree(self.live)
        shutil.copytree(self.saved, self.live)

    def numbers(self, folder: Path) -> dict[str, float]:
        file = folder / "metrics.json"
        metrics: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
        return metrics

    def evaluate(self) -> Verdict:
        folder = self.bench.new_folder("evaluated")
        outcome = self.bench.command("evaluate", f"checkpoint={self.checkpoint}", f"hydra.run.dir={folder}")
        return judged(outcome, outcome.code == 0 and self.equal(self.numbers(folder)))

    def train(self) -> Verdict:
        folder = self.bench.new_folder("trained")
        outcome = self.bench.command("train", *self.settings[:-1], f"hydra.run.dir={folder}")
        return judged(outcome, outcome.code == 0 and self.equal(self.numbers(folder)))

    def recommend(self) -> Outcome:
        call = (f"checkpoint={self.checkpoint}", "users=[u1,u2,u3,u17]", "k=5", "live=false")
        return self.bench.command("recommend", *call)

    def serve(self) -> Outcome:
        # the names of the bench's code jobs are the arguments of sys.argv
        return self.bench.command("train", str(self.live / "exported"), code=SERVED)

    def equal(self, metrics: dict[str, float]) -> bool:
        same = self.metrics.keys() <= metrics.keys()
        return same and all(abs(metrics[name] - value) < 2e-6 for name, value in self.metrics.items())


def judged(outcome: Outcome, right: bool) -> Verdict:
    """``held`` for the right result, and for a refusal in words with another exit code than 0."""
    if outcome.verdict != "held":
        return outcome.verdict
    if outcome.code == 0:
        return "held" if right else "wrong result"
    return "held" if outcome.err.strip() or outcome.out.strip() else "traceback"


def cases(bench: Bench) -> Iterator[Case]:
    """At least 200 damages."""
    draw = random.Random(bench.seed)
    world = World(bench)
    for number, file in enumerate(artifact_files(world)):
        for name in DAMAGES:
            reader = world.train if number % 5 == 0 else world.evaluate
            yield _case(world, f"artifact: {name} {file}", file, DAMAGES[name], reader, draw.random())
    for manifest in sorted(file for file in world.saved.glob("artifacts/*/*/manifest.json"))[:2]:
        place = manifest.relative_to(world.saved)
        for name, alter in alterations().items():
            change = functools.partial(altered, alter=alter)
            yield _case(world, f"manifest: {name} {place}", place, change, world.evaluate, 0.0)
    checkpoint = Path("run/checkpoints/best.ckpt")
    for number in range(42):
        name = ("flip", "zeros", "flip", "cut", "flip", "grow")[number % 6] if number else "empty"
        yield _case(world, f"checkpoint: {name} {number}", checkpoint, DAMAGES[name], world.evaluate, draw.random())
    lists = Path("run/checkpoints/best.top_k")
    for number in range(36):
        name = ("flip", "zeros", "flip", "cut", "flip", "grow")[number % 6] if number else "empty"
        read = functools.partial(_shown, world)
        yield _case(world, f"kept lists: {name} {number}", lists, DAMAGES[name], read, draw.random())
    for file in sorted(file for file in (world.saved / "exported").rglob("*") if file.is_file()):
        place = file.relative_to(world.saved)
        for name in ("flip", "flip", "cut", "empty", "delete", "zeros", "swap"):
            read = functools.partial(_served, world)
            yield _case(world, f"exported: {name} {place}", place, DAMAGES[name], read, draw.random())


def artifact_files(world: World) -> list[Path]:
    """Every file of an artifact that the trained model reads, manifests among them."""
    names = ("sequences", "candidates", "embed", "reduce", "texts")
    files = [file for name in names for file in sorted((world.saved / "artifacts" / name).glob("*/*"))]
    return [file.relative_to(world.saved) for file in files if not file.name.startswith(".") and file.stat().st_size]


def altered(file: Path, draw: random.Random, alter: Callable[[dict[str, Any]], Any]) -> None:
    file.write_text(json.dumps(alter(json.loads(file.read_text()))))


def _shown(world: World) -> Verdict:
    outcome = world.recommend()
    return judged(outcome, outcome.out == world.shown)


def _served(world: World) -> Verdict:
    outcome = world.serve()
    return judged(outcome, outcome.out == world.served)


def _case(world: World, name: str, file: Path, damage: Damage, read: Callable[[], Verdict], seed: float) -> Case:
    def case() -> Verdict:
        world.restore()
        if not (world.live / file).is_file():
            return "held"
        damage(world.live / file, random.Random(seed))
        return read()

    return name, case
