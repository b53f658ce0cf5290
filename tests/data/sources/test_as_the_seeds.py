"""Raw files to sequences by the seeds' rule, in one command: written here, counted by a second, plain implementation."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from sage_pl.data.loader import load_sequences
from sage_pl.runs.preparation import prepare
from tests.campaign.bench import SETTINGS
from tests.planned import planned

Event = tuple[str, str, int]
JUNK = ".a-box-inner{background-color:#fff}" * 4  # what prices of 2018 hold where a page was read wrongly


class Raw(NamedTuple):
    overrides: list[str]
    events: list[Event]  # in file order
    prompts: dict[str, str]  # of two items
    thresholds: tuple[int, int]


def events(users: int = 120, items: int = 30) -> list[Event]:
    """Events in no order of time, with repeats, rare users and rare items."""
    generator = np.random.default_rng(3)
    popular = generator.zipf(1.5, 300) % items
    return [
        (
            f"u{generator.integers(users) ** 2 // users}",
            f"i{item}",
            1_300_000_000 + 86_400 * int(generator.integers(900)),
        )
        for item in popular
    ]


def by_the_seeds(rows: list[Event]) -> dict[str, list[str]]:
    """LLM-ESR's ``data_process.py``, in words: raw counts, once, of at least 3; time order; users with 3 left."""
    of_user, of_item = (Counter(row[place] for row in rows) for place in (0, 1))
    left: dict[str, list[Event]] = {}
    for row in rows:
        if of_user[row[0]] >= 3 and of_item[row[1]] >= 3:
            left.setdefault(row[0], []).append(row)
    return {user: [r[1] for r in sorted(own, key=lambda r: r[2])] for user, own in left.items() if len(own) >= 3}


def most_popular_first(rows: list[Event]) -> list[str]:
    return [item for item, _ in Counter(item for _, item, _ in rows).most_common()]


def amazon(folder: Path, year: int) -> Raw:
    """Both files in the public format of the release: JSON lines, and Python literals for 2014's metadata."""
    rows = events()
    field, category = ("category", ["Fashion"]) if year == 2018 else ("categories", [["Beauty", "Hair"], ["Gifts"]])
    # what no seed reads is there as well
    reviews = [
        {"reviewerID": u, "asin": i, "overall": 1.0 + n % 5, "unixReviewTime": t, "reviewText": "..."}
        for n, (u, i, t) in enumerate(rows)
    ]
    items: list[dict[str, Any]] = [
        {"asin": i, "title": f"Thing {i}", "brand": "Own", "price": "$3.50", field: category,
         "description": ["Fine", "&amp; good"] if year == 2018 else "Fine &amp; good"}
        for i in most_popular_first(rows)
    ]  # fmt: skip
    items[0] |= {"price": JUNK, "brand": None} | ({"feature": ["Cotton", "Red"]} if year == 2018 else {})
    as_text: Callable[[Any], str] = json.dumps if year == 2018 else repr
    for name, lines in (("reviews", map(json.dumps, reviews)), ("metadata", map(as_text, items))):
        (folder / f"{name}.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    files = [f"dataset.reviews={folder}/reviews.json.gz", f"dataset.metadata={folder}/metadata.json.gz"]
    first, second = (item["asin"] for item in items[:2])
    if year == 2018:
        prompts = {
            first: f"Thing {first}. features: Cotton, Red. description: Fine & good",
            second: f"Thing {second}. brand: Own. price: $3.50. description: Fine & good",
        }
        return Raw(["dataset=fashion_raw", *files], rows, prompts, (3, 4))
    rest = "categories: Beauty, Hair. description: Fine & good"
    prompts = {
        first: f"Thing {first}. price: {JUNK}. {rest}",
        second: f"Thing {second}. brand: Own. price: $3.50. {rest}",
    }
    return Raw(["dataset=beauty_raw", *files], rows, prompts, (9, 4))


def yelp(folder: Path) -> Raw:
    """Both files; events outside of 2000 to 2019 do not count, neither for the thresholds."""
    rows = events()
    outside = [(user, item, 1_600_000_000) for user, item, _ in rows[::7]]
    stamp = lambda time: str(np.datetime64(time, "s")).replace("T", " ")  # noqa: E731
    reviews = [
        {"review_id": "r", "user_id": u, "business_id": i, "stars": 1.0, "date": stamp(t)} for u, i, t in rows + outside
    ]
    businesses = [
        {"business_id": i, "name": f"Place {i}", "city": "Reno", "stars": 4.5, "review_count": 9, "is_open": 1,
         "categories": "Bars, Beer, Wine & Spirits"}
        for i in most_popular_first(rows)
    ]  # fmt: skip
    for name, records in (("review", reviews), ("business", businesses)):
        (folder / f"{name}.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    item = businesses[0]["business_id"]
    files = [f"dataset.reviews={folder}/review.json", f"dataset.businesses={folder}/business.json"]
    prompts = {str(item): f"Place {item}. categories: Bars, Beer, Wine & Spirits. city: Reno"}
    return Raw(["dataset=yelp_raw", *files], rows, prompts, (12, 13))


@pytest.fixture(params=["beauty_raw", "fashion_raw", "yelp_raw"])
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> Raw:
    if request.param == "yelp_raw":
        return yelp(tmp_path)
    return amazon(tmp_path, 2018 if request.param == "fashion_raw" else 2014)


def test_sequences_counts_prompts_and_thresholds(raw: Raw, tmp_path: Path) -> None:
    plan = planned(*raw.overrides, f"paths.outputs={tmp_path}", wanted=["sequences", "texts"])
    artifacts = prepare(plan)
    data = load_sequences(artifacts["sequences"].path)
    expected = by_the_seeds(raw.events)
    users, items = (artifacts["sequences"].frame(name) for name in ("users", "items"))
    names, of_items = dict(users.select("user", "user_id").rows()), dict(items.select("item", "item_id").rows())
    sequences = {
        names[user]: [of_items[item] for item in data.values[data.offsets[user] : data.offsets[user + 1]]]
        for user in range(1, len(data.offsets) - 1)
    }
    assert sequences == expected
    enough = [user for user, count in Counter(user for user, _, _ in raw.events).items() if count >= 3]
    assert 0 < len(expected) < len(enough) < len({user for user, _, _ in raw.events}), "the rule bites twice"
    counts = {"users": len(expected), "items": len({i for s in expected.values() for i in s})}
    assert {"users": users.height, "items": items.height} == counts
    texts = dict(artifacts["texts"].frame("texts").rows())
    ids = {name: item for item, name in of_items.items()}
    assert {name: texts[ids[name]] for name in raw.prompts} == raw.prompts
    assert (plan.config.ts_user, plan.config.ts_item) == raw.thresholds


def test_one_command_trains_on_the_raw_files(tmp_path: Path, run_bare: Callable[..., Path]) -> None:
    raw = amazon(tmp_path, 2018)
    folder = run_bare(*raw.overrides, *SETTINGS, "evaluation.sampled=3", "method=plain", f"paths.outputs={tmp_path}")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "nothing in this run reads" in (folder / "train.log").read_text(), "the clustering of a run without clusters"
    assert metrics


def test_totals_of_the_crawl_join_the_prompt_where_they_are_asked_for(tmp_path: Path) -> None:
    raw = yelp(tmp_path)
    columns = "dataset.prompt=[title,categories,is_open,review_count,city,stars]"
    plan = planned(*raw.overrides, "dataset.crawl=true", columns, f"paths.outputs={tmp_path}", wanted=["texts"])
    text = prepare(plan)["texts"].frame("texts")["text"][0]
    assert text.endswith("is open: 1. review count: 9. city: Reno. stars: 4.5")
