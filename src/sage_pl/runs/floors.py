"""The floors of a run: rankers without training, on its data and by its evaluation.

They depend on the data alone, so each is a step whose result is kept beside the artifacts and opened when a run is built. They
are no part of a plan: neither a recipe nor a checkpoint names them, and checkpoints of earlier versions have them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig

from sage_pl.artifacts.store import Artifact, Store
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.transitions import Transitions
from sage_pl.evaluation.floors import POPULARITY, Floors, Ranks
from sage_pl.evaluation.popularity import popularity_ranks
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.untrained import untrained
from sage_pl.nn.scorers.fusion import Fusion
from sage_pl.runs.plan import filled_artifacts
from sage_pl.runs.scoring import choose_weights

log = logging.getLogger(__name__)
_SPLITS = ("valid", "test")
_READS = {  # beside the sequences; as conf/method/ has it
    "transitions": ("transitions",),
    "text_knn": ("embed",),
    "neighbours": ("embed", "transitions"),
    "repeat": (),
}


class _Parts(NamedTuple):
    datamodule: SequenceDataModule
    model: RecommenderModule


@dataclass(frozen=True)
class Floor:
    """Step: the ranks of a ranker without training, those of a run with ``method=<ranker>``. Its weights are chosen on the
    validation cases by the rule of ``scorer=fusion``, and logged.

    Writes ``valid.parquet`` and ``test.parquet``: a row per case, a column of ranks per protocol.

    Args:
        ranker: ``transitions``, ``text_knn``, ``neighbours`` or ``repeat``.
        seen: see :class:`sage_pl.data.datamodule.SequenceDataModule`.
        sampled: whether there are sampled candidates.
        max_len: items of a history that are read.
    """

    ranker: str
    seen: Literal["keep", "mask"]
    sampled: bool
    max_len: int = 50

    name: ClassVar[str] = "floor"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("sequences", *(["candidates"] if self.sampled else []), *_READS[self.ranker])

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        paths = {name: str(artifact.path) for name, artifact in inputs.items()}
        log.info("floor %s: a ranker without training, made once for these data", self.ranker)
        data = SequenceDataModule(paths["sequences"], paths.get("candidates"), self.max_len, seen=self.seen)
        n_items = data.sequences.n_items
        scorer = Fusion(n_items, paths.get("embed"), paths.get("transitions"), self.seen)
        model = untrained(n_items, self.max_len, scorer)
        choose_weights(_Parts(data, model))
        for split in _SPLITS:
            pl.DataFrame(_ranks(model, data, split)).write_parquet(out / f"{split}.parquet")


def _ranks(model: RecommenderModule, data: SequenceDataModule, split: str) -> Ranks:
    ranks: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        model.cache_item_vectors()
        for batch in data.held_out(split):
            for protocol, of_batch in model.answer_ranks(batch).items():
                by_case = ranks.setdefault(protocol, np.zeros(len(getattr(data.sequences, split)), np.int64))
                by_case[batch["case"].numpy()] = of_batch.numpy()
    return ranks


def floors_of(
    config: DictConfig, data: SequenceDataModule, keys: Mapping[str, str], root: str | Path | None = None
) -> dict[str, Floors]:
    """The floors of a run for its validation and test cases: popularity and transitions, those of text where the run has text
    vectors, and repeats where items of the history are candidates. What is missing is made.

    Args:
        config: of the run, whose artifacts are filled in. ``floors: false`` leaves popularity alone.
        data: of the run.
        keys: of the artifacts that the model was trained with, by name.
        root: the cache that is written to; None for the run's.
    """
    floors: dict[str, dict[str, Ranks]] = {}
    for split in _SPLITS:
        cases = getattr(data.sequences, split)
        floors[split] = {POPULARITY: popularity_ranks(data.sequences, cases, data.candidates[split], data.mask_seen)}
    if not config.get("floors", True) or not all(len(getattr(data.sequences, split)) for split in _SPLITS):
        return dict(floors)
    store = Store(root or config.paths.artifacts, config.get("verify", True), [config.paths.artifacts])
    inputs = _inputs(config, data, keys, store)
    for ranker, reads in _READS.items():
        if inputs.keys() >= set(reads) and (reads or not data.mask_seen):
            floor = Floor(ranker, "mask" if data.mask_seen else "keep", "candidates" in inputs)
            made = store.get(floor, inputs)
            for split in _SPLITS:
                floors[split][ranker] = {one.name: one.to_numpy() for one in made.frame(split)}
    return dict(floors)


def _inputs(config: DictConfig, data: SequenceDataModule, keys: Mapping[str, str], store: Store) -> dict[str, Artifact]:
    """The artifacts that floors read; transitions by their defaults, which all runs share."""
    paths = filled_artifacts(config)
    inputs = {"sequences": Artifact.at(paths["sequences"])}
    if data.candidates["test"] is not None:
        inputs["candidates"] = Artifact.at(paths["candidates"])
    if embed := Artifact.at(paths["embed"]) if "embed" in paths else store.open("embed", keys.get("embed", "?")):
        inputs["embed"] = embed
    return inputs | {"transitions": store.get(Transitions(), inputs)}
