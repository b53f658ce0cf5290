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
# # What the fusion has learned
#
# `scorer=learned_fusion` puts simple columns beside a model's scores: text, transitions, what is bought together. A
# regression on the validation cases weighs them. The weights are few enough to read, and this notebook reads them.

# %%
import runpy
from pathlib import Path

import polars as pl
import torch

import sage_pl
from sage_pl.explorer.why import ranking_shares

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").is_file())
purchases = runpy.run_path(str(ROOT / "docs" / "tutorials" / "purchases.py"))["purchases"]()
purchases = purchases.with_columns(pl.col("time").str.to_datetime())
items = purchases.select("sku", "title").unique("sku", keep="first", maintain_order=True)
settings = {"embedder": "tfidf", "steps.embed.dim": 16, "dim": 16, "evaluation.sampled": 10, "trainer.max_epochs": 5}
names = {"user": "customer", "item": "sku", "time": "time"}
model = sage_pl.fit(
    purchases, items, method="plain", scorer="learned_fusion", overrides=settings | {"report": None}, **names
)

# %% [markdown]
# ## The table
#
# A row of weights for each kind of item. Signs are easier than sizes: above 0 a column speaks for an item, below 0
# against it.

# %%
scorer = model.module.scorer
print("\n".join(scorer.table()))

# %% [markdown]
# - A row is a kind of item, by its training events. `held` is what the customer already has.
# - `model` is the network's own score. Where its weight is small, the columns do the work.
# - `bias` moves a whole row: rare items start behind common ones, or ahead of them.
#
# Rows with few cases keep the common weights, since a prior holds them there. Sizes are comparable only within a column.
#
# ## One list, taken apart
#
# The parts of a score sum to it. Here are three recommendations after two kinds of tea:

# %%
history = ["TEA-03", "TEA-05"]
numbers, module = model.served.catalogue.numbers, model.module
rows = torch.tensor([[numbers[item] for item in history]])
best = model.recommend(history=history, k=3)
parts = {}
with torch.inference_mode():
    module.cache_item_vectors()
    for item in best["item_id"]:
        shares = ranking_shares(module, rows, torch.zeros(1, dtype=torch.long), numbers[item])
        parts[item] = {share.name: share.value for share in shares}
pl.DataFrame([{"item": item, **values} for item, values in parts.items()])

# %%
for item, score in best.select("item_id", "score").iter_rows():
    assert abs(sum(parts[item].values()) - score) < 0.01
    print(f"{item}: {score:.2f}, most of it from {max(parts[item], key=parts[item].get)}")

# %% [markdown]
# The explorer draws the same parts as bars, for any customer and any item: `sage-pl explore RUN_FOLDER`.
