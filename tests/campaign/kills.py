"""Commands that are killed, at random times and at chosen file operations, and then started again.

The second start must end with the metrics of a command that nobody killed, bit for bit, and no artifact may be half made.
Temporary files are on another file system.
"""

from __future__ import annotations

import csv
import functools
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sage_pl.artifacts.files import file_digest
from tests.campaign.bench import Bench, Case, Outcome, Verdict

NEVER = 10**9  # counts file operations without a kill
PLAIN = ["method=plain", "trainer.max_epochs=3"]
ELSEWHERE = Path("/dev/shm")  # a file system of its own on Linux


@dataclass
class Kills:
    """One kind of command, and what counts as its result.

    Args:
        bench: runs it.
        name: of the kind.
        start: called with an empty folder; whatever must be there before.
        command: called with the folder; the script and its overrides, also when it is started again.
        result: called with the folder; the bytes that must be equal.
    """

    bench: Bench
    name: str
    start: Callable[[Path], None]
    command: Callable[[Path], Sequence[str]]
    result: Callable[[Path], object]

    @functools.cached_property
    def whole(self) -> tuple[object, Outcome]:
        """The result of an uninterrupted command, and how it ended."""
        folder = self._begun()
        outcome = self._run(folder, kill_at=NEVER)
        assert outcome.code == 0, outcome.out + outcome.err
        return self.result(folder), outcome

    def cases(self, aimed: int, timed: int, marks: Sequence[str] = ("",)) -> Iterator[Case]:
        """Kills at operations spread over those whose line holds one of ``marks``, and at random times."""
        lines = self.whole[1].operations
        places = [n for n, line in enumerate(lines, start=1) if any(mark in line for mark in marks)]
        chosen = sorted({places[n * len(places) // aimed] for n in range(aimed)})
        for place in chosen:
            line = lines[place - 1].split("/")[-1]
            yield f"{self.name}, operation {place} ({line})", functools.partial(self._case, kill_at=place)
        generator = random.Random(f"{self.bench.seed}{self.name}")
        for _ in range(timed):
            seconds = generator.uniform(0.2, max(0.4, self.whole[1].seconds))
            yield f"{self.name}, after {seconds:.2f} s", functools.partial(self._case, kill_after=seconds)

    def _case(self, **kill: float) -> Verdict:
        folder = self._begun()
        self._run(folder, **kill)
        if half_artifacts(folder):
            return "half file used"
        again = self._run(folder)
        if again.verdict != "held":
            return again.verdict
        if again.code != 0 or half_artifacts(folder) or self.result(folder) != self.whole[0]:
            return "wrong result"
        shutil.rmtree(folder, ignore_errors=True)
        return "held"

    def _begun(self) -> Path:
        folder = self.bench.new_folder()
        self.start(folder)
        return folder

    def _run(self, folder: Path, **kill: float) -> Outcome:
        script, *overrides = self.command(folder)
        place = tempfile.mkdtemp(dir=ELSEWHERE) if ELSEWHERE.is_dir() else tempfile.gettempdir()
        try:
            return self.bench.command(script, *overrides, env={"TMPDIR": place}, **kill)  # type: ignore[arg-type]
        finally:
            if ELSEWHERE.is_dir():
                shutil.rmtree(place, ignore_errors=True)


def half_artifacts(folder: Path) -> list[Path]:
    """Artifacts under a folder whose files differ from their manifest, or that have none."""
    half = []
    for artifact in folder.glob("o*/artifacts/*/[!.]*"):
        manifest = artifact / "manifest.json"
        try:
            files = json.loads(manifest.read_text())["files"]
            if any(file_digest(artifact / name) != about["sha256"] for name, about in files.items()):
                half.append(artifact)
        except (OSError, ValueError):
            half.append(artifact)
    return half


def metrics(folder: Path) -> object:
    """Of the run in ``run/``: its metrics, its ranks' bytes, and that its table has every epoch once."""
    with (folder / "run" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    epochs = [row["epoch"] for row in rows if row.get("val/full/ndcg@10")]
    tested = sum(bool(row.get("test/full/ndcg@10")) for row in rows)
    every = [float(epoch) for epoch in epochs] == list(range(len(epochs)))
    results = [(folder / "run" / name).read_bytes() for name in ("metrics.json", "ranks.parquet")]
    return results, len(epochs), tested, every or folder  # a folder equals no other


def run_command(bench: Bench, *method: str) -> Callable[[Path], list[str]]:
    """A run that is continued from its last epoch where there is one."""

    def command(folder: Path) -> list[str]:
        last = folder / "run" / "checkpoints" / "last.ckpt"
        place = f"hydra.run.dir={folder}/run"
        if last.is_file():
            return ["train", f"resume={last}", place, "report=null"]
        return ["train", *bench.settings(folder / "o"), *method, place]

    return command


def files_of(folder: Path) -> object:
    """Bytes of every file below ``out/`` that depends on its command alone."""
    names = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path.read_bytes()) for path in names if not _is_about_it(path)]


def _is_about_it(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".log" or ".hydra" in path.parts


def cases(bench: Bench) -> Iterator[Case]:
    """About 170 kills of eight kinds of command."""
    yield from Kills(bench, "plain run", lambda folder: None, run_command(bench, *PLAIN), metrics).cases(40, 12)
    stages = Kills(bench, "stages of pad", lambda folder: None, _of_pad(bench), metrics)
    yield from stages.cases(6, 6)
    yield from stages.cases(24, 0, ("unfinished", "artifacts/plain", "artifacts/align"))
    yield from Kills(bench, "preparation of sage", lambda folder: None, _of_sage(bench), artifacts).cases(20, 6)
    yield from _of_trained_models(bench)
    yield from _of_sweeps(bench)


def _of_pad(bench: Bench) -> Callable[[Path], list[str]]:
    command = run_command(bench, "method=pad", "trainer.max_epochs=1")
    return lambda folder: command(folder)


def _of_sage(bench: Bench) -> Callable[[Path], list[str]]:
    return lambda folder: ["prepare", *bench.settings(folder / "o"), "method=sage", f"hydra.run.dir={folder}/log"]


def artifacts(folder: Path) -> object:
    """Hashes of every artifact's files."""
    about = {}
    for manifest in sorted(folder.glob("o/artifacts/*/*/manifest.json")):
        files = json.loads(manifest.read_text())["files"]
        about[str(manifest.parent.relative_to(folder))] = {name: file["sha256"] for name, file in files.items()}
    return about


def _of_trained_models(bench: Bench) -> Iterator[Case]:
    """Resumed, evaluated, recommended from and exported: one model, copied for each kill."""
    model = bench.new_folder("model")
    settings = [*bench.settings(model / "o"), "method=plain", "trainer.max_epochs=1", f"hydra.run.dir={model}/run"]
    trained = bench.command("train", *settings)
    assert trained.code == 0, trained.out + trained.err

    def start(folder: Path) -> None:
        shutil.copytree(model / "run", folder / "begun")

    def resumed(folder: Path) -> list[str]:
        last = folder / "run" / "checkpoints" / "last.ckpt"
        begun = last if last.is_file() else folder / "begun" / "checkpoints" / "last.ckpt"
        return ["train", f"resume={begun}", "trainer.max_epochs=3", f"hydra.run.dir={folder}/run", "report=null"]

    def of_model(script: str, *more: str) -> Callable[[Path], list[str]]:
        def command(folder: Path) -> list[str]:
            best = f"checkpoint={folder}/begun/checkpoints/best.ckpt"
            place = f"{folder}/out" if script == "evaluate" else f"{folder}/log"
            return [script, best, *(text.format(folder=folder) for text in more), f"hydra.run.dir={place}"]

        return command

    files = (
        "cache={folder}/log/lists.top_k",
        "parquet={folder}/out/lists.parquet",
    )  # kept lists name a folder
    lists = of_model("recommend", "users=all", "k=5", *files)
    yield from Kills(bench, "resumed run", start, resumed, metrics).cases(20, 4)
    yield from Kills(bench, "evaluation", start, of_model("evaluate"), files_of).cases(10, 3)
    yield from Kills(bench, "kept lists", start, lists, files_of).cases(8, 3)
    yield from Kills(bench, "export", start, of_model("export", "folder={folder}/out/model"), files_of).cases(8, 2)


def _of_sweeps(bench: Bench) -> Iterator[Case]:
    """A sweep and its jobs end together, and the command is repeated in its folder."""

    def command(folder: Path) -> list[str]:
        place = f"hydra.sweep.dir={folder}/sweep"
        settings = [*bench.settings(folder / "o"), "method=plain", "trainer.max_epochs=1"]
        return ["train", *settings, "dropout=0.1,0.5", place, "hydra.mode=MULTIRUN"]

    def result(folder: Path) -> object:
        values = json.loads((folder / "sweep" / "comparison" / "comparison.json").read_text())["values"]
        return values, [file.read_bytes() for file in sorted(folder.glob("sweep/*/metrics.json"))]

    yield from Kills(bench, "sweep", lambda folder: None, command, result).cases(1, 3)
