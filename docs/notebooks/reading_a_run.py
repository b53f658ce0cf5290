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
# # Reading a run
#
# A run is a folder of plain files. This notebook trains a small one and answers a question that its report does not ask:
# which customers does the model serve worst?

# %%
import json
import subprocess
import sys
from pathlib import Path

import polars as pl

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").is_file())
subprocess.run([sys.executable, ROOT / "docs" / "tutorials" / "purchases.py"], check=True)

# %% [markdown]
# The command is that of the tutorial. `check=True` stops the notebook where it fails.

# %%
COMMAND = """dataset=csv dataset.path=purchases.csv dataset.user=customer dataset.item=sku dataset.time=time method=plain
dim=16 evaluation.sampled=10 trainer.max_epochs=5 hydra.run.dir=outputs/notebook"""
subprocess.run([sys.executable, ROOT / "train.py", *COMMAND.split()], check=True)

# %% [markdown]
# `metrics.json` has every figure by its name: part, protocol, metric, group.

# %%
run = Path("outputs/notebook")
metrics = json.loads((run / "metrics.json").read_text())
{name: round(value, 4) for name, value in metrics.items() if name.startswith("test/full/ndcg@10")}

# %% [markdown]
# `ranks.parquet` has a row for each test case: the user, the answer, and the rank that the model gave it.
# All metrics follow from these ranks.

# %%
ranks = pl.read_parquet(run / "ranks.parquet")
ranks.head()

# %%
column = next(name for name in ranks.columns if name.startswith("full"))
hits = (ranks[column] <= 10).mean()
assert abs(hits - metrics["test/full/hr@10"]) < 1e-6
print(f"hr@10 from the ranks: {hits:.4f}")

# %% [markdown]
# The customers whose next purchase stands lowest:

# %%
ranks.sort(column, descending=True).head(5)
