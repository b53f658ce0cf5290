"""An exported folder with more items, for ``benchmarks/serving.py``: those of ``benchmarks/retrieval.py`` for the same size.

``python benchmarks/larger.py FOLDER SIZE OUT [INDEX]``: an exported folder of a method whose items are one table (``plain``),
the number of items, a folder to write, and an index that ``RETRIEVAL_INDEXES`` kept (its name begins with its kind).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from retrieval import of_size

from sage_pl.artifacts.files import MANIFEST, records_of
from sage_pl.serving.retrieval import INDEX


def main(source: Path, size: int, out: Path, index: Path | None) -> None:
    shutil.copytree(source, out)
    table = of_size(torch.from_numpy(np.load(source / "items" / "output.npy")), size).numpy()
    for file in (out / "items").glob("*.npy"):
        np.save(file, table)
    catalogue = json.loads((out / "catalogue.json").read_text())
    further = range(len(catalogue["ids"]) - 1, size)
    catalogue["ids"] += [f"further-{number}" for number in further]
    if catalogue["titles"]:
        catalogue["titles"] += [f"further item {number}" for number in further]
    (out / "catalogue.json").write_text(json.dumps(catalogue))
    model = json.loads((out / "model.json").read_text()) | {"new_items": None}
    if index is not None:
        shutil.copy(index, out / INDEX)
        model["retrieval"] = index.name.partition("-")[0]
    (out / "model.json").write_text(json.dumps(model, indent=2))
    for file in ("new_items.json", "item_encoder.pt", MANIFEST):
        (out / file).unlink()
    (out / MANIFEST).write_text(json.dumps({"files": records_of(out)}, indent=2))


if __name__ == "__main__":
    folder, size, out, *index = sys.argv[1:]
    main(Path(folder), int(size), Path(out), Path(index[0]) if index else None)
