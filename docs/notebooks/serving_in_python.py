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
# # Serving in Python
#
# An exported folder recommends without the data and without the text encoder. This notebook trains, exports and asks.

# %%
import subprocess
import sys
from pathlib import Path

from sage_pl.serving import load

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").is_file())


def sh(line: str) -> None:
    """A command of the project."""
    script, *arguments = line.split()
    subprocess.run([sys.executable, ROOT / script, *arguments], check=True)


sh("docs/tutorials/purchases.py")
sh(
    "train.py dataset=csv dataset.path=purchases.csv dataset.user=customer dataset.item=sku dataset.time=time "
    "dataset.text=title method=residual_text embedder=tfidf steps.embed.dim=16 dim=16 evaluation.sampled=10 "
    "trainer.max_epochs=5 hydra.run.dir=outputs/served_run"
)
sh("scripts/export.py checkpoint=outputs/served_run/checkpoints/best.ckpt folder=served")

# %% [markdown]
# `load` needs torch and numpy alone. A history is a list of the shop's own ids, the newest last.

# %%
model = load("served")
for item, title, score in model.recommend(history=["TEA-03", "TEA-05"], k=5):
    print(f"{score:6.2f}  {item:8} {title}")

# %% [markdown]
# Another history gives another list; what was bought last counts most.

# %%
tea = [row.id for row in model.recommend(history=["TEA-03", "TEA-05"], k=5)]
bike = [row.id for row in model.recommend(history=["BIKE-01", "BIKE-02"], k=5)]
assert tea != bike
print(tea, bike, sep="\n")
