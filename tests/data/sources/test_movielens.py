"""MovieLens' archives, written in the public format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from sage_pl.data.sources.movielens import MovieLens
from sage_pl.data.sources.raw import DataError

OLD = {
    "ml-1m/ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
    "ml-1m/movies.dat": "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
    "1193::Les Mis\xe9rables: a :: b?".replace(" :: ", " ")
    + "::Drama\n7::Nobody &amp; Rates (1999)::(no genres listed)\n",
    "ml-1m/users.dat": "1::F::1::10::48067\n",
}
NEW = {
    "ml-20m/ratings.csv": "userId,movieId,rating,timestamp\n1,1193,3.5,978300760\n1,661,3.0,978302109\n2,1193,4.0,978298413\n",
    "ml-20m/movies.csv": "movieId,title,genres\n661,James and the Giant Peach (1996),Animation|Children's|Musical\n"
    '1193,"Les Mis\xe9rables: a b?",Drama\n7,Nobody &amp; Rates (1999),(no genres listed)\n',
}


def archive(path: Path, members: dict[str, str], encoding: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text.encode(encoding))
    return path


@pytest.mark.parametrize(("members", "encoding"), [(OLD, "latin-1"), (NEW, "utf-8")], ids=["1M", "20M"])
def test_ratings_and_movies_are_read(tmp_path: Path, members: dict[str, str], encoding: str) -> None:
    raw = MovieLens(archive(tmp_path / "ml.zip", members, encoding)).load("rating")
    frame = raw.interactions.collect()
    assert frame.select("user_id", "item_id", "timestamp").rows() == [
        (1, 1193, 978300760), (1, 661, 978302109), (2, 1193, 978298413),
    ]  # fmt: skip
    assert frame["rating"].to_list() == [5 if encoding == "latin-1" else 3.5, 3, 4]
    assert raw.items is not None
    assert raw.items.sort("item_id").rows() == [
        (7, "Nobody & Rates (1999)", []),
        (661, "James and the Giant Peach (1996)", ["Animation", "Children's", "Musical"]),
        (1193, "Les Misérables: a b?", ["Drama"]),
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.txt": ""}, r"holds a\.txt, wanted ratings\.dat or ratings\.csv"),
        (OLD | {"ml-1m/ratings.dat": "1::x::5::978300760\n"}, "is damaged"),
        (OLD | {"ml-1m/movies.dat": "661::James\n"}, "2 fields in '661::James', wanted 3"),
        ({"ml-1m/ratings.dat": "1::2::5::9\n"}, "is damaged"),
        (NEW | {"ml-20m/ratings.csv": "userId,movieId,rating\n1,2,3\n"}, "has no column timestamp"),
        (OLD | {"ml-1m/ratings.dat": ""}, "is damaged|has no ratings"),
    ],
)
def test_another_archive_is_an_error(tmp_path: Path, members: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MovieLens(
            archive(tmp_path / "ml.zip", members, "utf-8" if "ml-20m/movies.csv" in members else "latin-1")
        ).load()


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    file = archive(tmp_path / "ml.zip", OLD, "latin-1")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged"):
        MovieLens(file).load()
