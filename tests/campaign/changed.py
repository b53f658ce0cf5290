"""Data that changed after a training, files that are gone, lists of other numbers, sweeps whose jobs fail alike."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import polars as pl

from tests.campaign.bench import SETTINGS, Bench, Case, Outcome, Verdict

NOTE = "changed after the training"
TABLE = re.compile(r"^ +\d+ +(\S+)", re.MULTILINE)  # rank and item of a recommended list
Rows = list[str]
CHANGES: dict[str, Callable[[Rows, random.Random], Rows]] = {
    "an event more": lambda rows, draw: [*rows, rows[draw.randrange(len(rows))].rpartition(",")[0] + ",1900000000"],
    "four new items": lambda rows, draw: [*rows, *(f"u1,new{at},190000000{at}" for at in range(4))],
    "a new item first": lambda rows, draw: ["u0,first,1", *rows],
    "sorted": lambda rows, draw: sorted(rows),
    "reversed": lambda rows, draw: rows[::-1],
    "shuffled": lambda rows, draw: draw.sample(rows, len(rows)),
    "an event less": lambda rows, draw: rows[:-1],
    "a user less": lambda rows, draw: [row for row in rows if not row.startswith("u7,")],
    "a new user": lambda rows, draw: [*rows, *(f"nobody,{at},{1_600_000_000 + at}" for at in range(5))],
}
COMMANDS = {
    "evaluate": ("evaluate",),
    "users": ("recommend", "users=[u3,u5]", "k=5"),
    "history": ("recommend", "history=[3,8]", "k=5"),
    "export": ("export",),
}
GONE = {  # overrides that name a file which is absent -> what the error names
    "csv": (["dataset=csv", "dataset.path={no}/a.csv"], ["no file a.csv", "dataset.path=FILE"]),
    "items": (
        ["dataset=csv", "dataset.path={shop}", "dataset.text=title", "dataset.items={no}/b.csv"],
        ["no file b.csv"],
    ),
    "csv and items": (
        ["dataset=csv", "dataset.path={no}/a.csv", "dataset.text=title", "dataset.items={no}/b.csv"],
        ["no file a.csv", "no file b.csv"],
    ),
    "folder": (["dataset=folder", "dataset.path={no}"], ["no file interactions.parquet"]),
    "reviews": (
        ["dataset=amazon", "dataset.reviews={no}/r", "dataset.metadata={no}/m"],
        ["dataset.reviews=FILE", "dataset.metadata=FILE"],
    ),
    "handled": (["dataset=handled", "dataset.path={no}"], ["no file inter.txt"]),
    "vectors": (
        [
            "dataset=folder",
            "dataset.path={world}",
            "method=sage",
            "embedder=precomputed",
            "steps.embed.path={no}/v.npy",
        ],
        ["v.npy"],
    ),
    "adapter": (
        ["dataset=folder", "dataset.path={world}", "method=sage", "embedder=scft", "steps.embed.adapter={no}/x"],
        ["steps.embed.adapter"],
    ),
}
_OF_STEPS = ("vectors", "adapter")  # known to be read once the numbers are right
BESIDE = {  # another mistake of the same command -> what the error names too
    "nothing": ([], []),
    "no epoch": (["trainer.max_epochs=0"], ["trainer.max_epochs"]),
    "no batch": (["data.batch_size=0"], ["data.batch_size"]),
    "a share of two": (["dropout=2"], ["dropout"]),
}
SWEEPS = {  # overrides of a sweep -> folders of jobs that begin
    "data gone, by seed": (["dataset.path={no}", "seed=1,2,3"], 1),
    "data gone, by method": (["dataset.path={no}", "method=plain,sage"], 1),
    "data gone, by filter": (["dataset.path={no}", "filters=core,none", "seed=1,2"], 1),
    "data gone in half": (["dataset.path={no},{world}", "seed=1,2"], 3),
    "a broken file": (["dataset.path={broken}", "seed=1,2,3"], 1),
    "heads against width": (["backbone.heads=3", "seed=1,2,3"], 1),
    "no epoch": (["trainer.max_epochs=0", "seed=1,2,3"], 1),
}


def cases(bench: Bench) -> Iterator[Case]:
    """Changes by commands; absent files by other mistakes; lists by numbers; sweeps."""
    run = cache(partial(_trained, bench))
    for name in COMMANDS:
        yield f"{name}: the same file", partial(_same, run, bench, name)
        for change in CHANGES:
            yield f"{name}: {change}", partial(_changed, run, bench, name, change)
    for change in CHANGES:
        yield f"current: {change}", partial(_current, run, bench, change)
        yield f"lists: {change}", partial(_lists, run, bench, change)
    for gone in GONE:
        for beside in BESIDE if gone not in _OF_STEPS else list(BESIDE)[:2]:
            yield f"gone: {gone}, and {beside}", partial(_gone, bench, gone, beside)
    for sweep in SWEEPS:
        yield f"sweep: {sweep}", partial(_sweep, bench, sweep)


def _rows(bench: Bench) -> Rows:
    table = pl.read_parquet(bench.world() / "interactions.parquet")
    return [",".join(map(str, row)) for row in table.select("user_id", "item_id", "timestamp").iter_rows()]


def _write(file: Path, rows: Rows) -> None:
    file.write_text("\n".join(["user,item,time", *rows, ""]))


def _train(bench: Bench, file: Path, outputs: Path) -> Path:
    """A plain run on a text file; its checkpoint."""
    settings = ["dataset=csv", f"dataset.path={file}", f"paths.outputs={outputs}", "dataset.filters=[]", *SETTINGS]
    bench.command("train", *settings, "method=plain", f"hydra.run.dir={outputs}/run")
    return outputs / "run" / "checkpoints" / "best.ckpt"


def _trained(bench: Bench) -> tuple[Path, Path, dict[str, str]]:
    """The file, the checkpoint trained on it, and what each command answers."""
    folder = bench.new_folder("shop")
    file = folder / "shop.csv"
    _write(file, _rows(bench))
    checkpoint = _train(bench, file, folder / "outputs")
    return file, checkpoint, {name: _answer(bench, name, checkpoint)[1] for name in COMMANDS}


def _answer(bench: Bench, name: str, checkpoint: Path, *more: str) -> tuple[Outcome, str]:
    """A command, and its results as text."""
    script, *arguments = COMMANDS[name]
    out = bench.new_folder(name)
    arguments += [f"folder={out}/exported"] if script == "export" else []
    outcome = bench.command(script, f"checkpoint={checkpoint}", *arguments, f"hydra.run.dir={out}/log", *more)
    if script == "evaluate":
        file = out / "log" / "metrics.json"
    elif script == "export":
        file = out / "exported" / "catalogue.json"
        if not file.is_file():
            file = out / "exported" / "model.json"
    else:
        return outcome, " ".join(TABLE.findall(outcome.out))
    return outcome, file.read_text() if file.is_file() else ""


def _changed_file(bench: Bench, file: Path, change: str) -> None:
    _write(file, CHANGES[change](_rows(bench), random.Random(bench.seed)))


Trained = Callable[[], tuple[Path, Path, dict[str, str]]]


def _same(run: Trained, bench: Bench, name: str) -> Verdict:
    """Another time of change alone is no change."""
    file, checkpoint, answers = run()
    _write(file, _rows(bench))
    outcome, answer = _answer(bench, name, checkpoint)
    if outcome.verdict != "held":
        return outcome.verdict
    quiet = NOTE not in outcome.out + outcome.err
    return "held" if outcome.code == 0 and quiet and answer == answers[name] != "" else "wrong result"


def _changed(run: Trained, bench: Bench, name: str, change: str) -> Verdict:
    """The data of the training answer, and a line says so."""
    file, checkpoint, answers = run()
    _changed_file(bench, file, change)
    outcome, answer = _answer(bench, name, checkpoint)
    if outcome.verdict != "held":
        return outcome.verdict
    said = (outcome.out + outcome.err).count(NOTE) == 1 and "data=current" in outcome.out + outcome.err
    return "held" if outcome.code == 0 and said and answer == answers[name] != "" else "wrong result"


def _current(run: Trained, bench: Bench, change: str) -> Verdict:
    """An evaluation on other data says so in its results."""
    file, checkpoint, answers = run()
    _changed_file(bench, file, change)
    outcome, answer = _answer(bench, "evaluate", checkpoint, "data=current")
    if outcome.verdict != "held" or outcome.code:
        return outcome.verdict
    metrics = json.loads(answer)
    return "held" if metrics.get("data/current") == 1 or metrics == json.loads(answers["evaluate"]) else "wrong result"


def _lists(run: Trained, bench: Bench, change: str) -> Verdict:
    """Lists of one model beside another model of the changed shop: the same items, or a refusal."""
    _, checkpoint, _ = run()
    place = bench.new_folder("other")
    _write(place / "shop.csv", CHANGES[change](_rows(bench), random.Random(bench.seed)))
    other = _train(bench, place / "shop.csv", place / "outputs")
    lists = place / "lists.top_k"
    made = bench.command("recommend", f"checkpoint={checkpoint}", "users=all", "k=5", f"cache={lists}")
    asked = ("users=u3", "k=5", "live=false", f"cache={lists}")
    first, second = (bench.command("recommend", f"checkpoint={one}", *asked) for one in (checkpoint, other))
    bad = [one.verdict for one in (made, first, second) if one.verdict != "held"]
    if bad or made.code or first.code:
        return bad[0] if bad else "wrong result"
    lost = set(TABLE.findall(second.out)) - set(TABLE.findall(first.out))  # of what is left, some is seen since
    return "held" if second.code or not lost else "wrong result"


def _filled(bench: Bench, overrides: Sequence[str], place: Path) -> list[str]:
    shop, broken = place / "shop.csv", place / "broken"
    _write(shop, _rows(bench))
    if not broken.is_dir():
        shutil.copytree(bench.world(), broken)
        (broken / "interactions.parquet").write_bytes(b"PAR1 and no more")
    names = {"no": place / "nowhere", "shop": shop, "world": bench.world(), "broken": broken}
    return [text.format(**names) if "{" in text else text for text in overrides]


def _gone(bench: Bench, gone: str, beside: str) -> Verdict:
    """One error names every absent file and the other mistake, before anything is made."""
    place = bench.new_folder("gone")
    (overrides, names), (more, further) = GONE[gone], BESIDE[beside]
    settings = [text for text in SETTINGS if "embed" not in text or gone not in _OF_STEPS]
    method = [] if any(text.startswith("method=") for text in overrides) else ["method=plain"]
    outcome = bench.command(
        "train", *settings, *_filled(bench, overrides, place), *method, f"paths.outputs={place}/outputs", *more
    )
    if outcome.verdict != "held":
        return outcome.verdict
    text = outcome.out + outcome.err
    made = list((place / "outputs").glob("artifacts/*/*"))
    named = all(name in text for name in [*names, *further])
    return "held" if outcome.code == 1 and named and not made else "wrong result"


def _sweep(bench: Bench, name: str) -> Verdict:
    """Jobs that would repeat a failure do not begin, and the others do."""
    place = bench.new_folder("sweep")
    overrides, begun = SWEEPS[name]
    settings = [text for text in bench.settings(place / "outputs") if not text.startswith("dataset.path=")]
    world = [] if any(text.startswith("dataset.path=") for text in overrides) else [f"dataset.path={bench.world()}"]
    method = [] if any(text.startswith("method=") for text in overrides) else ["method=plain"]
    given = [*world, *method, *_filled(bench, overrides, place), "trainer.max_epochs=1"]
    once = list({text.partition("=")[0]: text for text in [*settings, *given]}.values())
    if "trainer.max_epochs=0" in overrides:
        once = [text.replace("trainer.max_epochs=1", "trainer.max_epochs=0") for text in once]
    outcome = bench.command("train", "-m", *once, f"hydra.sweep.dir={place}/jobs", timeout=300)
    if outcome.verdict != "held":
        return outcome.verdict
    jobs = list((place / "jobs").glob("[0-9]_*"))
    return "held" if outcome.code == 1 and len(jobs) == begun else "wrong result"
