# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Who would want the new ones?
#
# Four products arrive today. Nobody has bought them, so there is no history to learn from. Their titles are enough: the
# model places them by text, and every customer's list is made again without training.

# %%
import runpy
from pathlib import Path

import polars as pl

import sage_pl

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").is_file())
purchases = runpy.run_path(str(ROOT / "docs" / "tutorials" / "purchases.py"))["purchases"]()
purchases = purchases.with_columns(pl.col("time").str.to_datetime())
items = purchases.select("sku", "title").unique("sku", keep="first", maintain_order=True)
settings = {"embedder": "tfidf", "steps.embed.dim": 16, "dim": 16, "evaluation.sampled": 10, "trainer.max_epochs": 20}
names = {"user": "customer", "item": "sku", "time": "time"}
model = sage_pl.fit(purchases, items, method="text_only", overrides=settings | {"report": None}, **names)

# %% [markdown]
# `text_only` knows an item by its title alone. What it has learned of tea holds for tea that is new.

# %%
new = pl.DataFrame(
    {
        "sku": ["TEA-99", "BIKE-99", "LAMP-99", "PAINT-99"],
        "title": ["green tea leaf 99", "bike tyre chain 99", "desk lamp bulb 99", "acrylic paint brush 99"],
    }
)
model.add_items(new)
model.similar(["TEA-99"], k=3)

# %% [markdown]
# ## From the customer's side
#
# Ana buys tea. The new one stands in her list, beside those that she may know.

# %%
model.recommend(users=["ana"], k=10)

# %% [markdown]
# ## From the product's side
#
# Every customer's list of ten, turned around: the customers whose list holds a new product, and what they mostly buy.

# %%
kind = pl.col("sku").str.split("-").list.first()
favourite = purchases.group_by("customer").agg(kind.mode().sort().first().alias("favourite"))
lists = model.recommend(users="all", k=10).filter(pl.col("item_id").is_in(new["sku"].to_list()))
takers = lists.join(favourite, left_on="user_id", right_on="customer")
takers.group_by("item_id", "favourite").len("customers").sort("item_id", "customers", descending=[False, True])

# %% [markdown]
# Each product should go to those who buy its kind. How often it does:

# %%
fits = takers.select((pl.col("item_id").str.split("-").list.first() == pl.col("favourite")).mean()).item()
print(f"{fits:.0%} of these places are with customers of the same kind; by chance it would be about 25 %")
assert fits > 0.5

# %% [markdown]
# Whether this helps is a question for a test, not for a look. `split=global_time` holds back the last days, and
# `item_unseen` measures the answers that were new by then.
