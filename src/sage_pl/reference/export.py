"""Export of prepared data as the reference's ``handled/`` folder, for LLM-ESR's and SAGE's code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.files import whole_folder
from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.data.sources.raw import DataError

STEPS = ("sequences", "embed", "reduce", "cluster", "profile", "retrieve")


def export_handled(folder: str | Path, artifacts: Mapping[str, Artifact]) -> None:
    """Write ``inter.txt`` and the eight pickles that the reference reads, as one atomic folder.

    Arrays are float64 or int64. Row r of an item array is item r + 1, row r of a user array user r + 1. A neighbour is a
    0-based row; where a user has fewer neighbours than columns, its own row fills the rest (self-distillation adds no
    loss), since the reference has no value for "none". :mod:`sage_pl.reference.steps` restores the same arrays bit for bit.

    Args:
        folder: the new folder; absent or empty.
        artifacts: results of the steps ``sequences``, ``embed``, ``reduce``, ``cluster``, ``profile`` and ``retrieve``.

    Raises:
        FileExistsError: the folder has content.
        DataError: an artifact is absent, or the number of its rows does not fit the sequences' items or users.

    Reference: ``data/<dataset>/handled/`` of LLM-ESR; ``hdbscan_*`` of the SAGE code.
    """
    if absent := [step for step in STEPS if step not in artifacts]:
        raise DataError(f"no artifact of {', '.join(absent)}; wanted {', '.join(STEPS)}: run scripts/prepare.py")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; remove it or name another folder")
    sequences = Sequences.load(artifacts["sequences"])
    arrays = _arrays(sequences, artifacts)
    with whole_folder(folder) as work:
        _write_pairs(work / "inter.txt", sequences)
        for name, array in arrays.items():
            with (work / f"{name}.pkl").open("wb") as stream:
                pickle.dump(np.ascontiguousarray(array), stream, protocol=4)


def _write_pairs(file: Path, sequences: Sequences) -> None:
    users = np.repeat(np.arange(sequences.n_users + 1), sequences.lengths)
    np.savetxt(file, np.column_stack([users, sequences.values]), fmt="%d")


def _arrays(sequences: Sequences, artifacts: Mapping[str, Artifact]) -> dict[str, npt.NDArray[Any]]:
    def items(step: str, name: str) -> npt.NDArray[Any]:
        return _rows(artifacts[step], name, sequences.n_items + 2)[1:-1]

    def users(step: str, name: str) -> npt.NDArray[Any]:
        return _rows(artifacts[step], name, sequences.n_users + 1)[1:]

    neighbours = users("retrieve", "neighbours").astype(np.int64)
    own_rows = np.arange(sequences.n_users)[:, None]
    return {
        "itm_emb_np": items("embed", "table").astype(np.float64),
        "pca64_itm_emb_np": items("reduce", "table").astype(np.float64),
        "usr_emb_np": users("profile", "table").astype(np.float64),
        "sim_user_100": np.where(neighbours > 0, neighbours - 1, own_rows),
        "hdbscan_best_labels": items("cluster", "labels").astype(np.int64),
        "hdbscan_core_probs": items("cluster", "strength").astype(np.float64),
        "hdbscan_cluster_centers": artifacts["cluster"].array("centres").astype(np.float64),
        "hdbscan_fuzzy_U": items("cluster", "memberships").astype(np.float64),
    }


def _rows(artifact: Artifact, name: str, n_rows: int) -> npt.NDArray[Any]:
    array = artifact.array(name)
    if len(array) != n_rows:
        raise DataError(
            f"{name}.npy of {artifact.path} has {len(array)} rows where the sequences need {n_rows}; "
            "it was made for other data: run scripts/prepare.py again with the same dataset"
        )
    return array
