"""Writes ``purchases.csv``, the shop of the tutorials: 40 customers who mostly buy things of one kind, 28 items."""

import numpy as np
import polars as pl

KINDS = {"TEA": "green tea leaf", "PAINT": "acrylic paint brush", "BIKE": "bike tyre chain", "LAMP": "desk lamp bulb"}


def purchases() -> pl.DataFrame:
    """Nine purchases of each customer, ten of ana; the first line is the one that the page of the shop shows."""
    generator = np.random.default_rng(0)
    kinds, rows = list(KINDS), [("ana", "TEA-03", 0)]
    for customer in range(40):
        name = "ana" if customer == 0 else f"c{customer}"
        for _ in range(9):
            kind = kinds[customer % 4] if generator.random() < 0.9 else str(generator.choice(kinds))
            rows.append((name, f"{kind}-{generator.integers(1, 8):02d}", int(generator.integers(1, 50_000))))
    frame = pl.DataFrame(rows, ["customer", "sku", "minute"], orient="row").sort("minute")
    kind, number = (pl.col("sku").str.split("-").list.get(part) for part in (0, 1))
    time = pl.datetime(2026, 3, 1, 9, 12) + pl.duration(minutes="minute")
    title = kind.replace_strict(KINDS) + " " + number.cast(pl.Int64).cast(pl.String)
    return frame.select("customer", "sku", title.alias("title"), time.dt.strftime("%Y-%m-%d %H:%M:%S").alias("time"))


if __name__ == "__main__":
    purchases().write_csv("purchases.csv")
