"""The README of an exported folder."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sage_pl.serving.exported_model import Catalogue

_TEXT = """# A trained recommender

{n_items} items; {seen}; {longest}.

It needs Python 3.11, torch, numpy, jaxtyping and sage-pl itself, and neither Lightning nor Hydra: `pip install torch numpy
jaxtyping`, then `pip install --no-deps DIR` of the project's folder, or its `src` in PYTHONPATH.{more}

```python
from sage_pl.serving import load

model = load(".")  # this folder
for item in model.recommend(history={history}, k=5):
    print(item.id, item.title, item.score)
for answer in model.recommend(histories=[{history}, []], k=5):  # several at once; an empty one is a new user
    print([item.id for item in answer])
```

{new}

`catalogue.json` has the ids and titles, row i for the model's number i. `model.model.recommend(items, k)` takes numbers
instead: `items` is an integer tensor [B, L], left-padded with 0, oldest first. Loading compares every file's hash with
`manifest.json`.
"""


def readme(catalogue: Catalogue, max_len: int | None, columns: Sequence[str]) -> str:
    """What the folder is and a program that uses it, with two ids of its own.

    Args:
        catalogue: of the folder.
        max_len: items of a history that are read; None for all.
        columns: the texts of a new item; empty for a model that takes none.
    """
    masked = 'items of the history are left out (`seen="keep"` recommends them too)'
    recurring = 'items of the history may be recommended again (`seen="mask"` leaves them out)'
    row = json.dumps({"item_id": ["NEW-1"], **{column: ["its text"] for column in columns}})
    return _TEXT.format(
        more=" New items also need polars, filelock and what the text encoder uses." if columns else "",
        new=f"New items are recommended without training: `model.add_items({row})`."
        if columns
        else "New items need a training run.",
        n_items=f"{len(catalogue.ids) - 1:,}",
        seen=masked if catalogue.seen == "mask" else recurring,
        longest="every item of a history is read"
        if max_len is None
        else f"the newest {max_len} items of a history are read",
        history=json.dumps(catalogue.ids[1:3]),
    )
