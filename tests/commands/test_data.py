"""The command data, with the publishers' files on a server on 127.0.0.1."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from sage_pl.artifacts.plain import read_yaml
from sage_pl.commands import door
from tests.data.local_server import Server, serving
from tests.data.sources.test_movielens import OLD, archive

DOWNLOADS = sorted((door.config_dir() / "download").glob("*.yaml"))
COUNTS = [f"expect.{key}={n}" for key, n in {"users": 6, "items": 4, "interactions": 24}.items()]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def sage_pl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``sage_pl(...)`` runs ``sage-pl data`` in an empty folder and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["sage-pl", "data", *arguments])
        try:
            door.main()
        except SystemExit as stop:
            assert stop.code == 1  # noqa: PT017
        output = capsys.readouterr()
        assert "Traceback" not in output.out + output.err
        return output.out + output.err

    return run


def amazon(server: Server, category: str) -> list[str]:
    """The two files of a category of 2014 on the server, and the overrides that lead to them."""
    pairs = [(user, item) for item in range(4) for user in range(6)]
    rows = [
        {"reviewerID": f"A{u}", "asin": f"B{i}", "overall": 5.0, "unixReviewTime": 86400 * (u + i)} for u, i in pairs
    ]
    items = [{"asin": f"B{i}", "title": f"thing {i}", "brand": "b", "categories": [["a", "b"]]} for i in range(4)]
    reviews, metadata = f"reviews_{category}_5.json.gz", f"meta_{category}.json.gz"
    server.files[reviews] = gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode())
    server.files[metadata] = gzip.compress(
        "".join(f"{row}\n" for row in items).encode()
    )  # Python literals, as published
    return [f"files.reviews.url={server.url(reviews)}", f"files.metadata.url={server.url(metadata)}"]


@pytest.mark.parametrize(("name", "category"), [("sports", "Sports_and_Outdoors"), ("games", "Video_Games")])
def test_a_category_becomes_the_folder_that_its_data_set_reads(
    sage_pl: Callable[..., str], server: Server, tmp_path: Path, name: str, category: str
) -> None:
    addresses = amazon(server, category)
    assert "6 users where" in sage_pl(name, "--yes", *addresses), "the known counts are asserted"
    assert not (tmp_path / "data" / name).exists()
    assert f"next        sage-pl train dataset={name}" in sage_pl(name, "--yes", *addresses, *COUNTS)
    frame = pl.read_parquet(tmp_path / "data" / name / "interactions.parquet")
    assert frame.columns == ["user_id", "item_id", "timestamp"]
    assert len(frame) == 24
    titles = pl.read_parquet(tmp_path / "data" / name / "items.parquet")["title"]
    assert titles.to_list() == [f"thing {i}" for i in range(4)]
    before = len(server.requests)
    assert "next        sage-pl train" in sage_pl(name)
    assert len(server.requests) == before, "what is there is not fetched again, and nothing is asked"


def test_movielens_becomes_a_folder(sage_pl: Callable[..., str], server: Server, tmp_path: Path) -> None:
    server.files["ml-1m.zip"] = archive(tmp_path / "x.zip", OLD, "latin-1").read_bytes()
    settings = [f"files.archive.url={server.url('ml-1m.zip')}", "expect={users: 2, items: 2, interactions: 3}"]
    assert "another file than the one that is known" in sage_pl("movielens_1m", "--yes", *settings)
    said = sage_pl("movielens_1m", "--yes", *settings, "files.archive.md5=null")
    assert "next        sage-pl train dataset=movielens_1m" in said
    assert len(pl.read_parquet(tmp_path / "data" / "movielens_1m" / "interactions.parquet")) == 3


def test_a_category_of_a_later_release_is_fetched_raw(
    sage_pl: Callable[..., str], server: Server, tmp_path: Path
) -> None:
    assert "please set category=..." in sage_pl("amazon_2023")
    names = {"reviews": "All_Beauty.jsonl.gz", "metadata": "meta_All_Beauty.jsonl.gz"}
    server.files |= dict.fromkeys(names.values(), gzip.compress(b"{}"))
    addresses = [f"files.{key}.url={server.url(name)}" for key, name in names.items()]
    said = sage_pl("amazon_2023", "category=All_Beauty", "--yes", *addresses)
    assert "dataset=amazon dataset.year=2023 dataset.reviews=data/raw/amazon_2023/All_Beauty.jsonl.gz" in said
    assert (tmp_path / "data" / "raw" / "amazon_2023" / names["metadata"]).is_file()


def test_the_licence_is_shown_and_asked_once(
    sage_pl: Callable[..., str], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [*amazon(server, "Toys_and_Games"), *COUNTS]
    said = sage_pl("toys", *addresses)
    assert "Licence: for research" in said
    assert "0.0 MB" in said
    assert "or by --yes where nobody can be asked" in said
    answers = ["n", "y"]
    monkeypatch.setattr("builtins.input", lambda _: answers.pop(0))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "nothing is fetched without the licence accepted" in sage_pl("toys", *addresses)
    assert not [one for one in server.requests if one[0] == "GET"]
    server.faults = ["404"]
    assert "answered 404" in sage_pl("toys", *addresses)
    assert "next        sage-pl train dataset=toys" in sage_pl("toys", *addresses), "a second call does not ask again"


def test_what_may_not_be_fetched_is_said_step_by_step(sage_pl: Callable[..., str]) -> None:
    said = sage_pl("yelp")
    assert "1. open https://www.yelp.com/dataset" in said
    assert "into data/raw/yelp" in said
    assert "3. sage-pl train dataset=yelp_raw dataset.reviews=data/raw/yelp/yelp_academic_dataset_review.json" in said


def test_every_name_is_listed_and_a_wrong_one_is_corrected(sage_pl: Callable[..., str]) -> None:
    said = sage_pl()
    assert all(f"\n{file.stem} " in f"\n{said}" for file in DOWNLOADS)
    assert sage_pl("beuty").startswith("there is no download=beuty; did you mean download=beauty?")


@pytest.mark.parametrize("file", DOWNLOADS, ids=lambda file: file.stem)
def test_every_download_says_what_it_is_and_fits_its_data_set(file: Path) -> None:
    content = read_yaml(file)
    assert {"title", "page", "licence", "settings"} <= content.keys()
    assert ("files" in content) != ("by_hand" in content)
    for one in content.get("files", {}).values():
        assert one["url"].startswith("https://")
        assert "md5" in one
    choice, *more = content["settings"].split()
    dataset = read_yaml(door.config_dir() / "dataset" / f"{choice.removeprefix('dataset=')}.yaml")
    if "folder" in content:
        assert dataset["source"]["path"] == content["folder"]
        assert f"sage-pl data {file.stem}" in dataset["source"]["missing"]
        assert dataset["expect"] == content["expect"] or more == ["dataset.expect=null"]
