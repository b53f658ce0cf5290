"""Small files of events, each with one peculiarity: 240 events of 30 users and 20 items, and a shop of 1,477 purchases."""

from __future__ import annotations

import bz2
import datetime as dt
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

Event = tuple[str, str, int]
FIRST = [("24", "3", 1600102547), ("29", "10", 1600107334), ("6", "17", 1600038855)]
NEW_ITEMS = [f"99999,777777777{at},160200000{at},New {at}" for at in range(1, 5)]
_SHOP = ["00121,0000000092,1601388391,Product 92 kind 1", "00000,0000000004,1600683624,Product 4 kind 4"]


def write_cases(folder: Path) -> None:
    """Write every file into ``folder``."""
    events = _events()
    rows = [f"{user},{item},{time}" for user, item, time in events]
    table = ["user,item,time", *rows]
    shop = _shop()
    texts = {
        "plain.csv": table,
        "plain_tab.tsv": [line.replace(",", "\t") for line in table],
        "dups.csv": [*table, *rows[:50]],
        "emptyids.csv": _with_item(events, {5: "", 9: ""}),
        "quotedempty.csv": _with_item(events, {5: '""'}),
        "floatids_mixed.csv": _with_item(events, {at: f"{events[at][1]}.0" for at in range(1, 240, 2)}),
        "ml100k_u.data": [f"{user}\t{item}\t5\t{time}" for user, item, time in events],
        "notime.csv": ["user,item", "1,11", *(f"{user},{item}" for user, item, _ in events[1:])],
        "recbole_frac.inter": [
            "user_id:token\titem_id:token\ttimestamp:float",
            *(f"{user}\t{item}\t{time}.5" for user, item, time in events),
        ],
        "stray_quotes_two.tsv": [
            "user\titem\ttime\ttitle",
            *(_titled(event, '12" mix' if at in (10, 50) else "Song") for at, event in enumerate(events)),
        ],
        "time_iso_UTC_word.csv": _with_time(events, lambda time: f"{_utc(time):%Y-%m-%d %H:%M:%S} UTC"),
        "time_ms.csv": _with_time(events, lambda time: f"{time}000"),
        "trail_blank.csv": [*table, ""],
        "shop.csv": shop,
        "shop_sorted.csv": [shop[0], *sorted(shop[1:])],
        "shop_moreitems.csv": [*shop, *NEW_ITEMS],
        "a23_bom.jsonl": _reviews(events),
        "a23_meta.jsonl": [_product(item) for item in range(1, 21)],
    }
    for name, lines in texts.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="")
    (folder / "plain.csv.bz2").write_bytes(bz2.compress((folder / "plain.csv").read_bytes()))


def _events() -> list[Event]:
    """Eight events of each user; every item occurs in rows of even and of odd number."""
    draw = random.Random(0)
    items = [str(1 + at // 2 % 20) for at in range(240)]
    rows = [(str(1 + at % 30), items[at], 1_600_000_000 + 500 * at + draw.randrange(500)) for at in range(240)]
    draw.shuffle(rows)
    odd, even = rows[1::2], rows[0::2]
    for half in (odd, even):  # both halves get all items
        half[:] = [(user, str(1 + at % 20), time) for at, (user, _, time) in enumerate(half)]
    rows[1::2], rows[0::2] = odd, even
    rows[:3] = FIRST
    return rows


def _shop() -> list[str]:
    draw = random.Random(1)
    lines = dict.fromkeys(_SHOP)
    while len(lines) < 1477:
        item = draw.randrange(1, 151)
        user, time = draw.randrange(1, 206), 1_600_000_000 + draw.randrange(2_000_000)
        lines[f"{user:05d},{item:010d},{time},Product {item} kind {item % 7}"] = None
    return ["customer_id,article_id,t_dat,prod_name", *lines]


def _with_item(events: Sequence[Event], items: dict[int, str]) -> list[str]:
    return ["user,item,time", *(f"{user},{items.get(at, item)},{time}" for at, (user, item, time) in enumerate(events))]


def _with_time(events: Sequence[Event], form: Callable[[int], str]) -> list[str]:
    return ["user,item,time", *(f"{user},{item},{form(time)}" for user, item, time in events)]


def _titled(event: Event, title: str) -> str:
    user, item, time = event
    return f"{user}\t{item}\t{time}\t{title} {item}"


def _utc(time: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time, dt.UTC)


def _reviews(events: Sequence[Event]) -> list[str]:
    """Amazon reviews of 2023 in milliseconds, with a byte order mark."""
    lines = [
        json.dumps(
            {
                "rating": 5.0,
                "title": "x",
                "asin": f"B{item}v",
                "parent_asin": item,
                "user_id": user,
                "timestamp": 1000 * time,
            }
        )
        for user, item, time in events
    ]
    return ["\ufeff" + lines[0], *lines[1:]]


def _product(item: int) -> str:
    strange = {2: "Tea &amp; more", 3: "half a sign \ud83d"}  # json.dumps writes the lone surrogate as an escape
    title = strange.get(item, f"Item number {item}")
    return json.dumps(
        {
            "main_category": "A",
            "title": title,
            "features": [],
            "categories": [],
            "price": None,
            "parent_asin": str(item),
        }
    )
