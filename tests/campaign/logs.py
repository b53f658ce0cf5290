"""Logs of later events, histories in files and restricted lists: what a shop sends day by day, at random.

A case compares what ``recommend`` prints or writes with the histories and lists that plain Python makes of the same events.
"""

from __future__ import annotations

import bz2
import datetime as dt
import functools
import gzip
import io
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.campaign.bench import SETTINGS, Bench, Case, Outcome, Verdict

Event = tuple[str, str, int]  # user, item, Unix seconds
START, DAY = 1_600_000_000, 86_400
FORMS = ("own", "plain", "own json", "plain json", "own parquet", "plain parquet", "no times")
NUMBERS = {
    "forms": 56,
    "twice": 16,
    "days": 16,
    "kills": 24,
    "at once": 6,
    "few": 8,
    "hints": 8,
    "restricted": 24,
    "histories": 12,
}


@dataclass
class Shop:
    """A model trained on a file of purchases in a shop's own columns; users below the filter are in it too."""

    bench: Bench
    events: list[Event]

    @classmethod
    def of(cls, bench: Bench) -> Shop:
        draw = random.Random(7)
        rows = []
        for user in range(24):
            for at in range(3 if user % 8 == 7 else draw.randrange(6, 12)):
                rows.append((f"customer-{user}", f"sku-{draw.randrange(12)}", START + at * DAY + user * 60))
        return cls(bench, sorted(rows, key=lambda row: row[2]))

    @functools.cached_property
    def checkpoint(self) -> Path:
        """Of the training, which the first case runs."""
        folder = self.bench.new_folder("shop")
        _write(folder / "data.csv", self.events, "own")
        columns = [f"dataset.{key}={name}" for key, name in (("user", "customer"), ("item", "sku"), ("time", "moment"))]
        places = [f"dataset.path={folder / 'data.csv'}", f"paths.outputs={folder}", f"hydra.run.dir={folder / 'run'}"]
        outcome = self.bench.command(
            "train",
            "dataset=csv",
            *columns,
            *places,
            "method=plain",
            *SETTINGS,
            "trainer.max_epochs=1",
            "evaluation.sampled=2",
        )
        assert outcome.code == 0, outcome.out + outcome.err
        return folder / "run" / "checkpoints" / "best.ckpt"

    def copy(self) -> Path:
        """A checkpoint in a folder of its own, so without events of other cases."""
        file = self.bench.new_folder("copy") / "best.ckpt"
        shutil.copy(self.checkpoint, file)
        return file

    def recommend(self, checkpoint: Path, *overrides: str, bench: Bench | None = None, kill_at: int = 0) -> Outcome:
        return (bench or self.bench).command("recommend", f"checkpoint={checkpoint}", *overrides, kill_at=kill_at)

    def histories(self, later: Sequence[Event], users: Sequence[str]) -> dict[str, list[str]]:
        """What plain Python makes of the data and of later events, each once, oldest first."""
        every = sorted({*self.events, *later}, key=lambda row: row[2])
        order = {row: at for at, row in enumerate([*self.events, *later])}
        every.sort(key=lambda row: (row[2], order[row]))
        return {user: [item for one, item, _ in every if one == user] for user in users}

    def judged(self, checkpoint: Path, later: Sequence[Event], *overrides: str) -> Verdict:
        """Whether the command prints the histories of all users of ``later`` and of one more."""
        users = sorted({user for user, _, _ in later} | {"customer-0"})
        outcome = self.recommend(checkpoint, f"users=[{','.join(users)}]", "k=3", *overrides)
        if outcome.code != 0:
            return outcome.verdict if outcome.verdict != "held" else "wrong result"
        wanted = {user: (len(items), items[-10:]) for user, items in self.histories(later, users).items()}
        return "held" if printed(outcome.out) == wanted else "wrong result"


def printed(text: str) -> dict[str, tuple[int, list[str]]]:
    """Of each user of the output: the number of items of the history, and the last ten."""
    blocks = re.findall(r"^user (\S+): (\d+) items, the last \d+\n((?:  \S+ *\n)*)", text, re.MULTILINE)
    return {user: (int(count), items.split()) for user, count, items in blocks}


def cases(bench: Bench) -> Iterator[Case]:
    """So many of each kind."""
    shop = Shop.of(bench)
    kinds: dict[str, Callable[[Shop, random.Random, int], Verdict]] = {
        "forms": _form, "twice": _twice, "days": _days, "kills": _killed, "at once": _at_once,
        "few": _few, "hints": _hint, "restricted": _restricted, "histories": _histories,
    }  # fmt: skip
    for kind, number in NUMBERS.items():
        for at in range(number):
            yield f"{kind} {at}", functools.partial(kinds[kind], shop, random.Random(f"{bench.seed} {kind} {at}"), at)


def _day(draw: random.Random, day: int, size: int = 6) -> list[Event]:
    """Events of one day after the data, of known and new users, in order of time."""
    times = sorted(draw.sample(range(DAY), size))
    users = [f"customer-{draw.choice([0, 1, 2, 100 + day, 101])}" for _ in times]
    return [
        (user, f"sku-{draw.randrange(12)}", START + (100 + day) * DAY + time)
        for user, time in zip(users, times, strict=True)
    ]


def _write(file: Path, events: Sequence[Event], form: str, separator: str = ",", times: str = "seconds") -> None:
    """A log in one of the forms."""
    names = ["customer", "sku", "moment"] if form.startswith("own") else ["user_id", "item_id", "timestamp"]
    shapes: dict[str, Callable[[int], object]] = {
        "seconds": int,
        "milliseconds": lambda time: 1000 * time,
        "dates": lambda time: dt.datetime.fromtimestamp(time, dt.UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "zone": lambda time: dt.datetime.fromtimestamp(time, dt.timezone(dt.timedelta(hours=2))).isoformat(),
    }
    rows = [dict(zip(names, (user, item, shapes[times](time)), strict=True)) for user, item, time in events]
    frame = pl.DataFrame(rows)
    if form.endswith("parquet"):
        frame.write_parquet(file)
    elif form.endswith("json"):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        frame = frame.drop("timestamp") if form == "no times" else frame
        content = io.BytesIO()
        frame.select(reversed(frame.columns)).write_csv(content, separator=separator)
        file.write_bytes(content.getvalue())


def _form(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """A log of any form, some of its events older than what is known; half of them shuffled where times order them."""
    form, events = FORMS[number % len(FORMS)], _day(draw, 1)
    if form != "no times":
        events.append(("customer-1", "sku-3", START + DAY + 7))
        draw.shuffle(events)
    suffix = ".jsonl" if "json" in form else ".parquet" if "parquet" in form else ".csv"
    file = shop.bench.new_folder("log") / f"log{suffix}"
    _write(file, events, form, draw.choice(",;\t|"), draw.choice(["seconds", "milliseconds", "dates", "zone"]))
    if suffix != ".parquet" and draw.random() < 0.3:
        file.write_bytes(draw.choice([gzip.compress, bz2.compress])(file.read_bytes()))
    return shop.judged(shop.copy(), events, f"events={file}")


def _twice(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """The same log again, a log that grew, one with the data's own events, or one without times."""
    folder, checkpoint, events = shop.bench.new_folder("log"), shop.copy(), _day(draw, 1)
    form = "no times" if number % 4 == 3 else "plain"
    _write(folder / "first.csv", events, form)
    first = shop.recommend(checkpoint, "users=customer-0", f"events={folder / 'first.csv'}")
    again = [*events, *(_day(draw, 2) if number % 4 == 1 else [])]
    again = [*shop.events, *again] if number % 4 == 2 else again
    _write(folder / "second.csv", again, form)
    return (
        first.verdict if first.code else shop.judged(checkpoint, [*events, *again], f"events={folder / 'second.csv'}")
    )


def _days(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """Days alone, one after the other, then a question without a log."""
    folder, checkpoint, sent = shop.bench.new_folder("log"), shop.copy(), []
    for day in range(2 + number % 2):
        events = _day(draw, day)
        _write(folder / f"{day}.csv", events, draw.choice(["own", "plain"]))
        sent += events
        outcome = shop.recommend(checkpoint, "users=all", "k=3", f"events={folder / f'{day}.csv'}")
        if outcome.code:
            return outcome.verdict if outcome.verdict != "held" else "wrong result"
    return shop.judged(checkpoint, sent)


def _killed(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """A command that is killed before one of its file operations, and started again."""
    folder, checkpoint, events = shop.bench.new_folder("log"), shop.copy(), _day(draw, 1)
    _write(folder / "log.csv", events, "plain")
    log = f"events={folder / 'log.csv'}"
    whole = shop.recommend(shop.copy(), "users=customer-0", log, kill_at=10**9)
    places = [at for at, line in enumerate(whole.operations, 1) if "copy" in line or "events" in line] or [1]
    shop.recommend(checkpoint, "users=customer-0", log, kill_at=draw.choice(places))
    verdict = shop.judged(checkpoint, events, log)
    return verdict if verdict != "held" else shop.judged(checkpoint, events)


def _at_once(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """Two logs of two commands at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    folder, checkpoint, days = shop.bench.new_folder("log"), shop.copy(), [_day(draw, day) for day in range(2)]
    for day, events in enumerate(days):
        _write(folder / f"{day}.csv", events, "plain")
    with ThreadPoolExecutor(2) as pool:
        work = [
            pool.submit(shop.recommend, checkpoint, "users=customer-0", f"events={folder / f'{day}.csv'}", bench=bench)
            for day, bench in enumerate(shop.bench.beside(2))
        ]
    if any(job.result().code for job in work):
        return "wrong result"
    return shop.judged(checkpoint, [*days[0], *days[1]])


def _few(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """A user below the filter, alone or with a new event."""
    file, user = shop.bench.new_folder("log") / "log.csv", f"customer-{draw.choice([7, 15, 23])}"
    events = [(user, f"sku-{draw.randrange(12)}", START + 200 * DAY)]
    _write(file, events, "plain")
    if number % 2:
        return shop.judged(shop.copy(), events, f"events={file}")
    outcome = shop.recommend(shop.copy(), f"users={user}")
    wanted = shop.histories([], [user])[user]
    return "held" if outcome.code == 0 and printed(outcome.out) == {user: (len(wanted), wanted)} else "wrong result"


def _hint(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """A mistyped id: the refusal names no customer."""
    known = draw.choice(sorted({user for user, _, _ in shop.events}))
    asked = draw.choice([f"{known}x", known[1:], known.upper(), known.replace("-", "_"), f"{known}0000"])
    file = shop.bench.new_folder("asked") / "asked.txt"
    file.write_text(f"{asked}\n")
    outcome = shop.recommend(shop.copy(), f"users={file if number % 2 else asked}")
    words = set(re.findall(r"[\w-]+", (outcome.out + outcome.err).replace(asked, "")))
    if outcome.verdict != "held" or outcome.code == 0:
        return outcome.verdict if outcome.verdict != "held" else "wrong result"
    return "secret sent" if words & {user for user, _, _ in shop.events} else "held"


def _lists(file: Path) -> dict[str, list[tuple[str, float]]]:
    rows = pl.read_parquet(file).sort("user_id", "rank").select("user_id", "item_id", "score").rows()
    lists: dict[str, list[tuple[str, float]]] = {}
    for user, item, score in rows:
        lists.setdefault(user, []).append((item, score))
    return lists


def _restricted(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """candidates and exclude against the whole list, of which the others are left out."""
    folder, checkpoint = shop.bench.new_folder("lists"), shop.copy()
    items = sorted({item for _, item, _ in shop.events})
    candidates, exclude = (draw.sample(items, draw.randrange(1, 9)) for _ in range(2))
    remaining = set(candidates if number % 3 else items) - set(exclude if number % 3 != 1 else ())
    (folder / "candidates.txt").write_text("\n".join(candidates))
    restriction = [f"candidates={folder / 'candidates.txt'}"] * (number % 3 > 0) + [
        f"exclude=[{','.join(exclude)}]"
    ] * (number % 3 != 1)
    whole, some = (
        ["users=all", "seen=keep", f"parquet={folder / 'whole'}", "k=50"],
        ["users=all", "seen=keep", f"parquet={folder / 'some'}"],
    )
    first = shop.recommend(checkpoint, *whole)
    second = shop.recommend(checkpoint, *some, "k=4", f"cache={folder / 'some.top_k'}", *restriction)
    if not remaining:
        return (
            "held"
            if second.code == 1 and second.verdict == "held" and "leave no item" in second.out
            else "wrong result"
        )
    if first.code or second.code:
        return second.verdict if second.verdict != "held" else "wrong result"
    best = {user: [row for row in rows if row[0] in remaining][:4] for user, rows in _lists(folder / "whole").items()}
    return "held" if _lists(folder / "some") == best else "wrong result"


def _histories(shop: Shop, draw: random.Random, number: int) -> Verdict:
    """Histories of many users from a file, each of which is asked after alone too."""
    folder, checkpoint = shop.bench.new_folder("histories"), shop.copy()
    chosen = {f"guest-{at}": [f"sku-{draw.randrange(12)}" for _ in range(draw.randrange(1, 12))] for at in range(3)}
    file = folder / "histories"
    if number % 3:
        rows = [(user, item, START + 60 * at) for user, items in chosen.items() for at, item in enumerate(items)]
        _write(file, rows, FORMS[number % 4], times="dates")
    else:
        file.write_text("".join(json.dumps(items) + "\n" for items in chosen.values()))
    outcome = shop.recommend(checkpoint, f"history={file}", "k=4")
    if outcome.code:
        return outcome.verdict if outcome.verdict != "held" else "wrong result"
    table = re.compile(r"^ +\d  +(\S+) ", re.MULTILINE)
    for (_, items), block in zip(chosen.items(), outcome.out.split("after history ")[1:], strict=True):
        alone = shop.recommend(checkpoint, f"history=[{','.join(items)}]", "k=4")
        if not block.partition(": ")[2].startswith(f"{len(items)} items") or table.findall(block) != table.findall(
            alone.out
        ):
            return "wrong result"
    return "held"
