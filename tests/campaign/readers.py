"""Text files at random: every event as written, or a refusal in words; rows that vanish are a wrong result."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from functools import partial

from tests.campaign.bench import Bench, Case, Verdict

CASES = 200
PROBE = """
import json, sys
from sage_pl.data.sources.csv import CSV
from sage_pl.errors import UserError
try:
    rows = CSV({path!r}, **{options!r}).load().interactions.collect().sort("timestamp", maintain_order=True).rows()
    print("ROWS" + json.dumps([list(map(str, row)) for row in rows]))
except UserError as error:
    print("REFUSED", error)
"""
KINDS = (
    "clean",
    "quoted",
    "stray",
    "open quote",
    "blanks",
    "blank lines",
    "milliseconds",
    "dates",
    "short row",
    "no id",
)
TITLES = ("plain", 'a, "quoted" word', "two\nlines", "tab\tand ; and | inside", "7 o'clock")
STRAY = ('12" mix', 'x "y', '"a" (b)', '7"')
ENCODERS = {"utf-8": "utf-8", "bom": "utf-8-sig", "utf-16": "utf-16"}


def cases(bench: Bench) -> Iterator[Case]:
    """Random files of each kind, in random separators, encodings and compressions."""
    for number in range(CASES):
        kind = KINDS[number % len(KINDS)]
        yield f"{kind} {number}", partial(_read, bench, kind, random.Random(1000 * bench.seed + number))


def _read(bench: Bench, kind: str, draw: random.Random) -> Verdict:
    events = [(f"u{draw.randrange(9)}", f"i{draw.randrange(9)}", 1_600_000_000 + 60 * at) for at in range(40)]
    separator = draw.choice("\t,;|")
    text = _file(kind, events, separator, draw)
    data = text.encode(ENCODERS[draw.choice(list(ENCODERS))])
    path = bench.new_folder("file") / "events.txt"
    path.write_bytes(draw.choice([bytes, gzip.compress, bz2.compress])(data))
    options = {"separator": separator, "text": draw.choice([None, "title"])}
    outcome = bench.command("prepare", code=PROBE.format(path=str(path), options=options))
    if outcome.verdict != "held" or outcome.code:
        return outcome.verdict if outcome.verdict != "held" else "traceback"
    if outcome.out.startswith("ROWS"):
        rows = json.loads(outcome.out.removeprefix("ROWS"))
        refusable = kind in ("short row", "no id")
        return "held" if rows == [list(map(str, event)) for event in events] and not refusable else "wrong result"
    return "held" if kind in ("short row", "no id", "open quote") else "wrong result"


def _file(kind: str, events: list[tuple[str, str, int]], separator: str, draw: random.Random) -> str:
    """The text of a file of 40 events that has one peculiarity."""
    times = {"milliseconds": lambda time: f"{time}000", "dates": _date}.get(kind, str)
    rows = [[user, item, times(time), "plain"] for user, item, time in events]
    for row in draw.sample(rows, 4):
        if kind in ("quoted", "stray", "open quote"):
            row[3] = draw.choice(
                TITLES if kind == "quoted" else STRAY if kind == "stray" else ('"open', '"', '"Heroes')
            )
        elif kind == "blanks":
            row[1] = f" {row[1]} "
        elif kind == "no id":
            row[draw.randrange(2)] = draw.choice(["", "  "])
        elif kind == "short row":
            del row[3]
    rows.insert(0, ["user", "item", "time", "title"])
    if kind == "quoted":
        stream = io.StringIO(newline="")
        csv.writer(stream, delimiter=separator).writerows(rows)
        return stream.getvalue()
    lines = [separator.join(row) for row in rows]
    if kind == "blank lines":
        lines[draw.randrange(1, 40)] += "\n" * draw.randrange(2, 4)
        lines.append("")
    return "\n".join(lines) + "\n"


def _date(time: int) -> str:
    minutes = (time - 1_600_000_000) // 60
    return f"2020-09-13 {12 + (26 + minutes) // 60}:{(26 + minutes) % 60:02d}:40 UTC"
