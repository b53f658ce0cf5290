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
# # Is it better, or luckier?
#
# Two models never score alike, and neither does one model trained twice. This notebook measures both differences on a shop
# of forty customers, and lets the tables say which of them means anything.

# %%
import runpy
from pathlib import Path

import polars as pl

import sage_pl

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").is_file())
purchases = runpy.run_path(str(ROOT / "docs" / "tutorials" / "purchases.py"))["purchases"]()
purchases = purchases.with_columns(pl.col("time").str.to_datetime())
items = purchases.select("sku", "title").unique("sku", keep="first", maintain_order=True)
SMALL = {"dim": 16, "evaluation.sampled": 10, "trainer.max_epochs": 5, "report": None}
TEXT = {"embedder": "tfidf", "steps.embed.dim": 16}


def trained(method: str, seed: int, **more: object) -> sage_pl.Model:
    """A small run; `SMALL` makes it one of seconds."""
    names = {"user": "customer", "item": "sku", "time": "time"}
    return sage_pl.fit(purchases, items, method=method, seed=seed, overrides=SMALL | more, **names)


# %% [markdown]
# ## One method, two seeds
#
# Data, settings and code are the same. The seed alone differs: it decides the first weights and the order of the users.

# %%
plain = [trained("plain", seed) for seed in (1, 2)]
scores = [run.metrics.filter(protocol="full", group="overall")["ndcg@10"].item() for run in plain]
print(f"seed 1: {scores[0]:.4f}, seed 2: {scores[1]:.4f}, apart by {abs(scores[0] - scores[1]):.4f}")

# %% [markdown]
# This is the *noise of seeds*. A new method whose gain is smaller has shown nothing yet.
#
# ## Two methods, two seeds each
#
# `residual_text` reads the titles, `plain` does not. `compare` needs the folders alone: it trains nothing.

# %%
text = [trained("residual_text", seed, **TEXT) for seed in (1, 2)]
compared = sage_pl.compare([*plain, *text], by="method", baseline="plain", report=None)
overall = compared.table.filter(protocol="full", metric="ndcg@10", group="overall")
overall.select("system", "seeds", "mean", "sd", "difference", "difference_low", "difference_high", "p_holm", "mark")

# %% [markdown]
# Read the row of `residual_text` from left to right:
#
# - `mean ± sd`: over seeds. It says how much a repetition moves.
# - `difference_low` to `difference_high`: the same customers, drawn again and again. It says how much
#   other customers would move it.
# - `mark`: `*` where the difference is above both, `~` where the noise of seeds may explain it.
#
# The mark needs both questions answered. An interval without 0 is not enough, since all customers move together with a seed.

# %%
row = overall.row(by_predicate=pl.col("system").str.starts_with("residual_text"), named=True)
noise = abs(scores[0] - scores[1])
print(f"difference {row['difference']:+.4f}, between two seeds of one method {noise:.4f}, mark {row['mark']!r}")
assert row["difference_low"] <= row["difference"] <= row["difference_high"]

# %% [markdown]
# Forty customers and two seeds decide little. With your own data take three seeds at least, and five for a claim:
# Student's quantile falls from 4.3 to 2.3 between two and five.
