"""Finished runs opened for the explorer: the trained model, and what encodes new items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from sage_pl import hosts
from sage_pl.artifacts.plain import read_yaml
from sage_pl.artifacts.store import Artifact
from sage_pl.errors import MissingFileError, SettingError
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.sharing import shared_copy
from sage_pl.runs import checkpoint
from sage_pl.runs.plan import filled_artifacts
from sage_pl.runs.scoring import choose_weights
from sage_pl.serving.new_items import TextSource

EVALUATION = "evaluation.yaml"


@dataclass(frozen=True)
class OpenedRun:
    """One model.

    Args:
        name: on the page.
        model: ready to rank.
        sequences: its data.
        seen: ``mask`` or ``keep``, as it was evaluated.
        texts: encodes new items; None where the data have no text.
        embed: folder of the known items' text vectors; None where the model reads none.
    """

    name: str
    model: RecommenderModule
    sequences: Artifact
    seen: str
    texts: TextSource | None
    embed: Path | None

    def with_item(self, texts: dict[str, str], known: Sequence[str]) -> RecommenderModule:
        """A copy of the model that has one more item, N + 1; tensors are shared.

        Raises:
            SettingError: the model takes no new items, or the item has no text.
        """
        if self.texts is None:
            raise SettingError(f"{self.name} takes no new items: its data have no text")
        table = pl.DataFrame(
            {"item_id": ["a new item"], **{name: [texts.get(name, "")] for name in self.texts.columns}}
        )
        with hosts.only(()):
            vectors = self.texts.vectors(self.texts.checked(table, known), self.embed)
        model = shared_copy(self.model)
        model.add_items(*vectors)
        return model


def open_run(place: str | Path, artifacts: str = "outputs/artifacts") -> OpenedRun:
    """The run of a folder, of an evaluation's folder with its scorer, or of a checkpoint.

    Raises:
        MissingFileError: the place holds none.
        UserError: it cannot be used.
    """
    path = Path(place)
    overrides: dict[str, Any] = {}
    file = path if path.is_file() else path / "checkpoints" / "best.ckpt"
    if (path / EVALUATION).is_file():
        evaluation = read_yaml(path / EVALUATION)
        file = Path(str(evaluation.get("evaluated")))
        overrides = {"scorer": evaluation.get("scorer")}
    if not file.is_file():
        raise MissingFileError(
            f"{path} has no checkpoints/best.ckpt; name the folder of a finished run, or a checkpoint"
        )
    trained = checkpoint.open_checkpoint(file)
    with hosts.only(()):
        prepared = checkpoint.prepared(trained, overrides, artifacts)
        parts = checkpoint.trained(prepared, trained)
        choose_weights(parts, overrides)
    sequences = Artifact.at(prepared.artifacts.sequences)
    embed = filled_artifacts(prepared).get("embed")
    texts = TextSource.of(*checkpoint.text_settings(trained, overrides), sequences)
    model = parts.model.to(torch.device("cpu")).eval()
    model.requires_grad_(False)
    model.cache_item_vectors()
    name = path.parent.parent.name if path.is_file() and path.parent.name == "checkpoints" else path.stem
    return OpenedRun(name, model, sequences, prepared.evaluation.seen, texts, None if embed is None else Path(embed))
