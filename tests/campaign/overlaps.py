"""Commands at the same time, and commands in a folder that was used before.

Each ends with its own results or with one sentence; a folder never holds results of another configuration.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.campaign.bench import Bench, Case, Outcome, Verdict

PLAIN = ["method=plain", "trainer.max_epochs=1"]
FAILS = ["method=plain", "objective.candidates=nonsense"]  # when the parts are built
REFUSED = ["method=plain", "+loss.terms.nothing.weight=1"]  # when it is planned
FROZEN_CLOCK = """
import datetime, runpy, sys
import hydra.core.utils as utils
class Clock(datetime.datetime):
    asked = 0
    @classmethod
    def now(cls, tz=None):
        cls.asked += 1
        return datetime.datetime(2020, 1, 1) if cls.asked == 1 else datetime.datetime.now(tz)
utils.datetime = Clock
runpy.run_path(sys.argv[0], run_name="__main__")
"""
HOLD = """
import sys, time
from pathlib import Path
from filelock import FileLock
Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def cases(bench: Bench) -> Iterator[Case]:
    """Runs, sweeps, evaluations and preparations that overlap; used folders; several machines and starters of processes."""
    world = Overlaps(bench)
    for name in dir(world):
        if name.startswith("case_"):
            yield name.removeprefix("case_").replace("_", " "), getattr(world, name)
    for setting in ("trainer.strategy=ddp_spawn", "+trainer.num_nodes=2"):
        yield f"refused at once: {setting}", lambda setting=setting: world.refused([setting], {})
    for variable in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        yield f"refused at once: {variable}=2", lambda variable=variable: world.refused([], {variable: "2"})


class Overlaps:
    """The cases by name; each returns its verdict.

    Args:
        bench: of the checkout.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.outputs = bench.new_folder("o")
        self.known: dict[str, bytes] = {}

    def run(self, folder: Path, *overrides: str, bench: Bench | None = None, outputs: Path | None = None) -> Outcome:
        """A run in a folder."""
        settings = self.bench.settings(outputs or self.outputs)
        return (bench or self.bench).command("train", *settings, *overrides, f"hydra.run.dir={folder}")

    def expected(self, *overrides: str) -> bytes:
        """The metrics of a run that is alone."""
        key = " ".join(overrides)
        if key not in self.known:
            folder = self.bench.new_folder("alone")
            assert self.run(folder, *overrides).code == 0
            self.known[key] = (folder / "metrics.json").read_bytes()
        return self.known[key]

    def together(self, *commands: Callable[[Bench], Outcome]) -> list[Outcome]:
        """Commands that start at the same time, each in a process of its own."""
        benches = self.bench.beside(len(commands))
        for bench in benches:
            bench.command("train", code="pass")  # its libraries are loaded
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda pair: pair[0](pair[1]), zip(commands, benches, strict=True)))

    def refused(self, overrides: Sequence[str], env: dict[str, str]) -> Verdict:
        """A command that would train twice ends with one sentence before anything is prepared."""
        outputs = self.bench.new_folder()
        settings = [*self.bench.settings(outputs), "method=pad", *overrides, f"hydra.run.dir={outputs}/run"]
        done = self.bench.command("train", *settings, env=env)
        if done.verdict != "held":
            return done.verdict
        return "held" if done.code == 1 and not (outputs / "artifacts").exists() else "wrong result"

    def case_two_runs_in_one_folder(self) -> Verdict:
        folder = self.bench.new_folder() / "run"
        commands = [["method=plain", f"seed={seed}", "trainer.max_epochs=20"] for seed in (1, 2)]
        wanted = [self.expected(*command) for command in commands]
        done = self.together(*(lambda b, c=c: self.run(folder, *c, bench=b) for c in commands))
        return self.one_of_them(done, folder, wanted)

    def case_two_runs_begin_in_a_used_folder(self) -> Verdict:
        folder = self.bench.new_folder() / "run"
        self.run(folder, *PLAIN)
        commands = [["method=plain", f"seed={seed}", "trainer.max_epochs=20"] for seed in (1, 2)]
        wanted = [self.expected(*command) for command in commands]
        done = self.together(*(lambda b, c=c: self.run(folder, *c, bench=b) for c in commands))
        return self.one_of_them(done, folder, wanted)

    def one_of_them(self, done: Sequence[Outcome], folder: Path, wanted: Sequence[bytes]) -> Verdict:
        """One command ended well, the other was refused, and the results are those of the first."""
        if bad := [outcome.verdict for outcome in done if outcome.verdict != "held"]:
            return bad[0]
        if sorted(outcome.code or 0 for outcome in done) != [0, 1]:
            return "wrong result"
        first = [outcome.code for outcome in done].index(0)
        return "held" if (folder / "metrics.json").read_bytes() == wanted[first] else "wrong result"

    def case_four_runs_share_a_preparation(self) -> Verdict:
        outputs, places = self.bench.new_folder(), [self.bench.new_folder() / "run" for _ in range(4)]
        methods = [["method=plain"], ["method=sage"], ["method=llm_esr"], ["method=pad"]]
        commands = [[*method, "trainer.max_epochs=1"] for method in methods]
        wanted = [self.expected(*command) for command in commands]
        starts = zip(commands, places, strict=True)
        done = self.together(*(lambda b, c=c, p=p: self.run(p, *c, bench=b, outputs=outputs) for c, p in starts))
        return self.all_of_them(done, places, wanted)

    def case_two_runs_share_a_stage(self) -> Verdict:
        outputs, places = self.bench.new_folder(), [self.bench.new_folder() / "run" for _ in range(2)]
        commands = [["method=pad", "trainer.max_epochs=1", f"loss.alpha={weight}"] for weight in (0.1, 0.2)]
        wanted = [self.expected(*command) for command in commands]
        starts = zip(commands, places, strict=True)
        done = self.together(*(lambda b, c=c, p=p: self.run(p, *c, bench=b, outputs=outputs) for c, p in starts))
        return self.all_of_them(done, places, wanted)

    def all_of_them(self, done: Sequence[Outcome], places: Sequence[Path], wanted: Sequence[bytes]) -> Verdict:
        """Every command ended well with the results that it has alone."""
        if bad := [outcome.verdict for outcome in done if outcome.verdict != "held"]:
            return bad[0]
        results = [place / "metrics.json" for place in places]
        same = all(
            file.is_file() and file.read_bytes() == metrics for file, metrics in zip(results, wanted, strict=True)
        )
        return "held" if same and not any(outcome.code for outcome in done) else "wrong result"

    def case_two_runs_begin_in_the_same_microsecond(self) -> Verdict:
        outputs = self.bench.new_folder()
        settings = [*self.bench.settings(outputs), *PLAIN, "paths.artifacts=" + str(self.outputs / "artifacts")]
        for seed in (1, 1):
            done = self.bench.command("train", *settings, f"seed={seed}", code=FROZEN_CLOCK)
            if done.code:
                return "wrong result" if done.verdict == "held" else done.verdict
        return "held" if len(list(outputs.glob("runs/*/*/*/metrics.json"))) == 2 else "wrong result"

    def failed_in_a_used_folder(self, *overrides: str) -> Verdict:
        """The folder of a failed run has no results of the earlier one."""
        folder = self.bench.new_folder() / "run"
        self.run(folder, *PLAIN)
        failed = self.run(folder, *overrides)
        if failed.verdict != "held":
            return failed.verdict
        left = [name for name in ("metrics.json", "ranks.parquet", "recommended.npy") if (folder / name).exists()]
        return "wrong result" if left or failed.code == 0 else "held"

    def case_a_run_that_fails_when_built_in_a_used_folder(self) -> Verdict:
        return self.failed_in_a_used_folder(*FAILS)

    def case_a_run_that_is_refused_in_a_used_folder(self) -> Verdict:
        return self.failed_in_a_used_folder(*REFUSED)

    def case_a_run_without_data_in_a_used_folder(self) -> Verdict:
        return self.failed_in_a_used_folder("method=plain", "dataset.path=/nowhere")

    def case_a_resumed_run_that_is_refused_in_a_used_folder(self) -> Verdict:
        other = self.bench.new_folder() / "run"
        self.run(other, *PLAIN)
        return self.failed_in_a_used_folder("dim=16", f"resume={other}/checkpoints/last.ckpt")

    def case_an_evaluation_that_fails_in_a_used_folder(self) -> Verdict:
        folder, run = self.bench.new_folder() / "eval", self.bench.new_folder() / "run"
        self.run(run, *PLAIN)
        best = f"checkpoint={run}/checkpoints/best.ckpt"
        first = self.bench.command("evaluate", best, f"hydra.run.dir={folder}")
        failed = self.bench.command("evaluate", best, "+overrides.dim=9", f"hydra.run.dir={folder}")
        if failed.verdict != "held" or first.code:
            return failed.verdict
        return "wrong result" if failed.code == 0 or (folder / "metrics.json").exists() else "held"

    def case_another_run_in_a_used_folder(self) -> Verdict:
        folder, command = self.bench.new_folder() / "run", ["method=plain", "seed=2", "trainer.max_epochs=1"]
        wanted = self.expected(*command)
        self.run(folder, *PLAIN)
        return self.all_of_them([self.run(folder, *command)], [folder], [wanted])

    def case_a_killed_run_in_a_used_folder_leaves_no_checkpoint_of_the_earlier_one(self) -> Verdict:
        folder = self.bench.new_folder() / "run"
        self.run(folder, *PLAIN)
        settings = [*self.bench.settings(self.outputs), "method=plain", "backbone=gru4rec", f"hydra.run.dir={folder}"]
        whole = self.bench.command("train", *settings, f"hydra.run.dir={folder}2", kill_at=10**9)
        place = next(n for n, line in enumerate(whole.operations, start=1) if "best.ckpt" in line)
        self.bench.command("train", *settings, kill_at=place)
        return "wrong result" if list(folder.glob("checkpoints/*.ckpt")) else "held"

    def case_a_run_beside_an_evaluation_of_it(self) -> Verdict:
        folder, command = self.bench.new_folder() / "run", ["method=plain", "trainer.max_epochs=40"]
        wanted = self.expected(*command)

        def evaluated(bench: Bench) -> Outcome:
            best = folder / "checkpoints" / "best.ckpt"
            for _ in range(400):
                if best.is_file():
                    break
                time.sleep(0.05)
            return bench.command("evaluate", f"checkpoint={best}", f"hydra.run.dir={folder}")

        done = self.together(lambda b: self.run(folder, *command, bench=b), evaluated)
        if done[0].verdict != "held":
            return done[0].verdict
        same = (folder / "metrics.json").read_bytes() == wanted
        return "held" if same and done[1].code == 1 else "wrong result"

    def case_an_evaluation_with_changes_in_the_folder_of_its_run(self) -> Verdict:
        folder = self.bench.new_folder() / "run"
        wanted = self.expected(*PLAIN)
        self.run(folder, *PLAIN)
        best, seen = f"checkpoint={folder}/checkpoints/best.ckpt", "+overrides.evaluation.seen=mask"
        self.bench.command("evaluate", best, seen, f"hydra.run.dir={folder}")
        return "held" if (folder / "metrics.json").read_bytes() == wanted else "wrong result"

    def case_a_finished_run_is_resumed(self) -> Verdict:
        return self.resumed("trainer.max_epochs=3")

    def case_a_run_that_early_stopping_ended_is_resumed(self) -> Verdict:
        return self.resumed("trainer.max_epochs=30", "callbacks.early_stopping.patience=1", "optimizer.lr=0.05")

    def resumed(self, *overrides: str) -> Verdict:
        """A run that had ended is tested again."""
        folder = self.bench.new_folder() / "run"
        self.run(folder, "method=plain", *overrides)
        metrics, best = ((folder / name).read_bytes() for name in ("metrics.json", "checkpoints/best.ckpt"))
        done = self.bench.command(
            "train", f"resume={folder}/checkpoints/last.ckpt", f"hydra.run.dir={folder}", "report=null"
        )
        if done.verdict != "held":
            return done.verdict
        after = [(folder / name).read_bytes() for name in ("metrics.json", "checkpoints/best.ckpt")]
        return "held" if done.code == 0 and after == [metrics, best] else "wrong result"

    def case_a_run_waits_for_the_lock_of_a_living_process(self) -> Verdict:
        return self.behind_a_lock(4, None)

    def case_a_run_passes_the_lock_of_a_dead_process(self) -> Verdict:
        return self.behind_a_lock(600, signal.SIGKILL)

    def behind_a_lock(self, seconds: float, end: int | None) -> Verdict:
        """A run whose preparation another process holds the lock of."""
        outputs, folder = self.bench.new_folder(), self.bench.new_folder() / "run"
        known = self.expected(*PLAIN)  # makes the artifact whose key names the lock
        (key,) = (path.name for path in (self.outputs / "artifacts" / "sequences").glob("[!.]*"))
        lock = outputs / "artifacts" / "sequences" / f".{key}.lock"
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(lock), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout
        holder.stdout.readline()
        if end is not None:
            os.kill(holder.pid, end)
            holder.wait()
        done = self.run(folder, *PLAIN, outputs=outputs)
        holder.wait()
        return self.all_of_them([done], [folder], [known])

    def case_two_sweeps_begin_at_once(self) -> Verdict:
        outputs = self.bench.new_folder()
        settings = [
            *self.bench.settings(outputs),
            *PLAIN,
            f"paths.artifacts={self.outputs}/artifacts",
            "hydra.mode=MULTIRUN",
        ]
        values = ("0.1,0.2", "0.3,0.4")
        done = self.together(*(lambda b, v=v: b.command("train", *settings, f"dropout={v}") for v in values))
        records = [json.loads(file.read_text()) for file in outputs.glob("sweeps/*/comparison/comparison.json")]
        systems = sorted(_systems(record) for record in records)
        whole = systems == [["0.1", "0.2"], ["0.3", "0.4"]]
        return "held" if whole and not any(outcome.code for outcome in done) else "wrong result"

    def case_a_sweep_in_a_used_folder_compares_its_own_jobs(self) -> Verdict:
        folder = self.bench.new_folder() / "sweep"
        old = folder / "7_folder_plain-sasrec-seed42"
        self.run(old, *PLAIN, "dropout=0.7")
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        used = folder / "1_folder_plain-sasrec-seed42"  # the second job fails here
        shutil.copytree(old, used)
        settings = [*self.bench.settings(self.outputs), *PLAIN, "hydra.mode=MULTIRUN", f"hydra.sweep.dir={folder}"]
        done = self.bench.command("train", *settings, "objective.candidates=trained,nonsense")
        record = json.loads((folder / "comparison" / "comparison.json").read_text())
        systems = _systems(record)
        named = [Path(entry["folder"]).name for entry in record["unfinished"]]
        own = systems == ["trained"] and named == [used.name] and done.code != 0
        return "held" if own and not (used / "metrics.json").exists() else "wrong result"


def _systems(record: dict) -> list[str]:
    """The compared systems of ``comparison.json``, without floors, of this and of earlier versions."""
    names = {value["system"] for value in record["values"]}
    return sorted(name for name in names if name != "popularity" and not name.startswith("floor: "))
