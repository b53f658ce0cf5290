"""What every family of the campaign uses: commands of a checkout, a small world, and the outcome of a case."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

ROOT = Path(__file__).parent.parent.parent
Verdict = Literal["held", "wrong result", "code run", "secret sent", "half file used", "traceback", "hang"]
VERDICTS: tuple[Verdict, ...] = (
    "held",
    "wrong result",
    "code run",
    "secret sent",
    "half file used",
    "traceback",
    "hang",
)
ENDS = ("epochs", "best_epoch", "converged")  # of a training; an evaluation has none
Case = tuple[str, Callable[[], Verdict]]
Family = Callable[["Bench"], Iterator[Case]]
OPERATIONS = ("replace", "rename", "link", "symlink", "unlink", "rmdir", "mkdir", "fsync", "open", "truncate")
SETTINGS = [  # any command in seconds
    "embedder=tfidf",
    "steps.embed.dim=12",
    "dim=8",
    "dataset.cluster.n_neighbors=5",
    "dataset.cluster.n_components=2",
    "dataset.cluster.min_cluster_size=4",
    "dataset.cluster.min_samples=2",
    "dataset.ts_user=5",
    "evaluation.sampled=10",
    "data.batch_size=16",
    "data.max_len=8",
    "trainer.max_epochs=2",
    "report=null",
]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Args:
        code: exit code; negative for a signal, None after a hang.
        cut: the campaign killed it on purpose.
        seconds: of wall clock.
        out, err: all that it printed.
        operations: file operations, one line each, where ``kill_at`` counts them.
    """

    code: int | None
    cut: bool
    seconds: float
    out: str
    err: str
    operations: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``held`` for success and for a refusal in words; ``traceback`` or ``hang`` otherwise."""
        if self.code is None:
            return "hang"
        crashed = self.code < 0 and not self.cut
        return "traceback" if crashed or "Traceback (most recent call last)" in self.out + self.err else "held"


@dataclass
class Bench:
    """Commands of one checkout.

    Args:
        checkout: root of the clone whose commands run.
        seed: of all that is drawn at random.
        folder: for files of the cases; removed by :meth:`close`.
    """

    checkout: Path = ROOT
    seed: int = 0
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="campaign-")))
    _worker: subprocess.Popen[str] | None = None
    _number: int = 0
    _beside: list[Bench] = field(default_factory=list)

    def beside(self, number: int) -> list[Bench]:
        """So many further benches of the checkout, whose commands run at the same time; closed with this one."""
        while len(self._beside) < number:
            self._beside.append(Bench(self.checkout, self.seed, self.new_folder("beside")))
        return self._beside[:number]

    def new_folder(self, name: str = "case") -> Path:
        """An empty folder of its own."""
        self._number += 1
        folder = self.folder / f"{name}{self._number}"
        folder.mkdir(parents=True)
        return folder

    def command(
        self,
        script: str,
        *overrides: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        timeout: float = 120,
        kill_after: float | None = None,
        kill_at: int = 0,
        operations: Sequence[str] = OPERATIONS,
        code: str | None = None,
    ) -> Outcome:
        """Run ``train.py`` or ``scripts/<script>.py`` with overrides.

        Args:
            script: ``train``, or the name of a file in ``scripts/``.
            overrides: of the command line.
            cwd: where it starts.
            env: more variables.
            limits: of the process, by their names in :mod:`resource`, such as ``RLIMIT_AS``.
            timeout: seconds after which it counts as hanging.
            kill_after: seconds after which it is killed.
            kill_at: the file operation before which it is killed, counted from 1; 0 for none, and not even counting.
            operations: functions of :mod:`os` that count, beside Python's ``open``, ``torch.save`` and ``shutil.copyfile``.
            code: Python text that runs instead of the script.
        """
        file = self.checkout / ("train.py" if script == "train" else f"scripts/{script}.py")
        place = self.new_folder("log")
        job = {
            "argv": [str(file), *overrides],
            "cwd": str(cwd or place),
            "env": {"WANDB_MODE": "offline", "HYDRA_FULL_ERROR": "", "COLUMNS": "200", **(env or {})},
            "limits": dict(limits or {}),
            "stdout": str(place / "out"),
            "stderr": str(place / "err"),
            "timeout": timeout,
            "kill_after": kill_after,
            "kill_at": kill_at,
            "operations": list(operations),
            "code": code,
        }
        answer = self._ask(job)
        out, err = ((place / name).read_text(errors="replace") for name in ("out", "err"))
        cut = answer["cut"] or (kill_at > 0 and answer["code"] == -9)
        counted = place / "operations"
        operations = tuple(counted.read_text().splitlines()) if counted.is_file() else ()
        return Outcome(answer["code"], cut, answer["seconds"], out, err, operations)

    @property
    def worker_pid(self) -> int:
        """Of the process whose forks the commands are."""
        assert self._worker
        return self._worker.pid

    def _ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        if self._worker is None:
            source = self.checkout / "src"
            env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
            worker = [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), str(source)]
            self._worker = subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            self._read()
        assert self._worker.stdin
        self._worker.stdin.write(json.dumps(job) + "\n")
        self._worker.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._worker
        assert self._worker.stdout
        line = self._worker.stdout.readline()
        if not line:
            raise RuntimeError("the campaign's worker ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def world(self) -> Path:
        """A folder with ``interactions.parquet`` and ``items.parquet``: 60 users, 40 titled items of four kinds."""
        folder = self.folder / "world"
        if not folder.is_dir():
            write_world(folder)
        return folder

    def settings(self, outputs: Path) -> list[str]:
        """Overrides that run any command on the small world, with results under ``outputs``."""
        return ["dataset=folder", f"dataset.path={self.world()}", f"paths.outputs={outputs}", *SETTINGS]

    def close(self) -> None:
        """End the worker and remove the files."""
        for bench in self._beside:
            bench.close()
        if self._worker is not None:
            assert self._worker.stdin
            self._worker.stdin.close()
            self._worker.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_world(folder: Path) -> None:
    """Users who mostly stay within one kind of item, in the in-house format."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    kinds = ["green tea box", "acrylic paint brush", "mountain bike chain", "led desk lamp"]
    rows: list[tuple[str, int, int]] = []
    for user in range(60):
        time = 1_500_000_000 + int(generator.integers(0, 5_000))
        for _ in range(int(generator.integers(4, 12))):
            time += int(generator.integers(1, 1_000))
            usual = generator.random() < 0.85
            item = int(generator.choice(np.arange(user % 4, 40, 4) if usual else np.arange(40)))
            rows.append((f"u{user}", item, time))
    table = pl.DataFrame(rows, schema={"user_id": pl.String, "item_id": pl.Int64, "timestamp": pl.Int64}, orient="row")
    table.write_parquet(folder / "interactions.parquet")
    items = table["item_id"].unique().sort()
    titles = [f"{kinds[item % 4]} number {item}" for item in items.to_list()]
    pl.DataFrame({"item_id": items, "title": titles}).write_parquet(folder / "items.parquet")
