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
# # A look at the clusters
#
# SAGE pulls rare items towards prototypes: centres of clusters that were found in the texts. A prototype helps only where
# its cluster means something. This notebook opens the clusters and looks.

# %%
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import yaml

import sage_pl
from sage_pl.artifacts.store import Artifact

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").is_file())
purchases = runpy.run_path(str(ROOT / "docs" / "tutorials" / "purchases.py"))["purchases"]()
purchases = purchases.with_columns(pl.col("time").str.to_datetime())
items = purchases.select("sku", "title").unique("sku", keep="first", maintain_order=True)
sizes = {f"steps.cluster.{name}": None for name in ("n_neighbors", "n_components", "min_cluster_size", "min_samples")}
settings = {
    "embedder": "tfidf",
    "steps.embed.dim": 16,
    "steps.reduce.dim": 16,
    "dim": 16,
    "evaluation.sampled": 10,
    **sizes,
}
names = {"user": "customer", "item": "sku", "time": "time"}
model = sage_pl.fit(
    purchases, items, method="sage", overrides=settings | {"trainer.max_epochs": 2, "report": None}, **names
)

# %% [markdown]
# `null` lets the cluster sizes follow the number of items: 28 here, where the paper's settings would find nothing.
#
# What a run was made of stays on disk. `config.yaml` names every artifact.

# %%
config = yaml.safe_load((model.path / "config.yaml").read_text())
clusters = Artifact.at(config["artifacts"]["cluster"])
labels, memberships = clusters.array("labels")[1:-1], clusters.array("memberships")[1:-1]
print(
    f"{labels.max() + 1} clusters of {len(labels)} items; {np.mean(labels == -1):.0%} of the items are noise, in none"
)

# %% [markdown]
# The shop sells four kinds of things, and no one told the clusters. A row for each kind, a column for each cluster:

# %%
table = model.items.with_columns(
    kind=pl.col("item_id").str.split("-").list.first(), cluster=pl.Series(labels).cast(pl.String)
)
table.pivot("cluster", index="kind", values="item_id", aggregate_function="len").fill_null(0)

# %%
largest = table.group_by("cluster", "kind").len().group_by("cluster").agg(pl.col("len").max() / pl.col("len").sum())
purity = largest["len"].mean()
print(f"in a cluster, {purity:.0%} of the items are of one kind")
assert purity > 0.8

# %% [markdown]
# ## Fuzzy, not crisp
#
# An item belongs to every cluster by a share, and the shares sum to 1. An item in the middle of its cluster has one large
# share. One between two clusters has two, and it is pulled towards both prototypes.

# %%
assert np.allclose(memberships.sum(1), 1, atol=1e-5)
share = np.sort(memberships, axis=1)[:, ::-1]
table = table.with_columns(first=pl.Series(share[:, 0]), second=pl.Series(share[:, 1]))
table.sort("first").select("item_id", "title", "cluster", "first", "second").head(5)

# %% [markdown]
# If the first shares of your catalogue are nearly equal to the second, the clusters say little. Lower
# `steps.cluster.fuzzy_m` for crisper shares, or `steps.cluster.min_samples` where much is noise. The report has the map.
