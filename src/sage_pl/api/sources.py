"""What a model came from: a run with all its data, or an exported folder that holds nobody's history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

from omegaconf import DictConfig, OmegaConf

from sage_pl import hosts, serving
from sage_pl.api.frames import Columns, columns_of
from sage_pl.artifacts.store import Artifact
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.errors import SettingError
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.runs import checkpoint
from sage_pl.runs.construct import construct, stored
from sage_pl.runs.fit import Parts
from sage_pl.runs.plan import filled_artifacts
from sage_pl.runs.scoring import choose_weights
from sage_pl.serving.exported import catalogue_of, copy, in_memory, knows_users
from sage_pl.serving.exported_model import Added, ExportedModel
from sage_pl.serving.histories import Histories
from sage_pl.serving.kept_events import KeptEvents
from sage_pl.serving.new_items import TextSource, encoded


class Source(Protocol):
    """What a :class:`sage_pl.Model` asks of the place it came from."""

    @property
    def path(self) -> Path:
        """The run's folder, or the exported one."""
        ...

    @property
    def columns(self) -> Columns:
        """Names of a frame's columns."""
        ...

    @property
    def overrides(self) -> Mapping[str, Any]:
        """Changes to the configuration, with which the model was opened."""
        ...

    @property
    def module(self) -> RecommenderModule:
        """The LightningModule with its weights."""
        ...

    def histories(self, also: Sequence[str] = ()) -> Histories:
        """Those of all users, and of the users ``also`` whom a filter left out."""
        ...

    def checkpoint(self, purpose: str) -> Path:
        """The checkpoint file; ``purpose`` is what it is for, in words."""
        ...

    def write(self, folder: Path, served: ExportedModel) -> None:
        """Write the model as a folder of its own, with the items that were added to ``served``."""
        ...


@dataclass(frozen=True)
class RunSource:
    """A checkpoint with the data it was trained with.

    Args:
        trained: the checkpoint.
        overrides: changes to its configuration.
        config: that configuration, with the paths of its artifacts.
        parts: data, model and evaluation.
    """

    trained: checkpoint.Checkpoint
    overrides: Mapping[str, Any]
    config: DictConfig
    parts: Parts

    @classmethod
    def open(
        cls, file: Path, overrides: Mapping[str, Any], artifacts: str | Path, allow_host: Iterable[str]
    ) -> RunSource:
        """The model of a checkpoint with its data, as the commands open it."""
        quiet_libraries()
        trained = checkpoint.open_checkpoint(file)
        changes: Any = OmegaConf.merge(*(_nested(key, value) for key, value in overrides.items())) if overrides else {}
        with hosts.only(allow_host):
            config = checkpoint.prepared(trained, changes, artifacts)
            parts = checkpoint.trained(config, trained)
            choose_weights(parts, changes)
        return cls(trained, changes, config, parts)

    def served(self) -> ExportedModel:
        """The model with the ids of its data."""
        catalogue = catalogue_of(self._sequences, self.config.evaluation.seen, knows_users(self.config))
        adder = None if self._texts is None or self.parts.model.decodes else self._encoded
        return ExportedModel(in_memory(self.parts.model), catalogue, adder)

    @property
    def path(self) -> Path:
        return self.trained.path.parent.parent

    @property
    def columns(self) -> Columns:
        return columns_of(self._dataset)

    @property
    def module(self) -> RecommenderModule:
        return self.parts.model

    def histories(self, also: Sequence[str] = ()) -> Histories:
        """With the events that ``scripts/recommend.py events=FILE`` added."""
        key = self.trained.artifact_keys.get("sequences", self._sequences.key)
        later = KeptEvents.beside(self.trained.path, key).events()
        with stored(self.trained.path):
            rules = [construct("dataset.filters", rule) for rule in self._dataset["filters"]] if len(later) else []
        return Histories.of(self._sequences, later, also, rules)

    def checkpoint(self, purpose: str) -> Path:
        return self.trained.path

    def write(self, folder: Path, served: ExportedModel) -> None:
        kind = served.model.retrieval.kind if served.model.retrieval else "exact"
        name = serving.model_name(self.trained.path, self.overrides, self.config)
        serving.save(self.parts.model, self.config, folder, name, self._texts, served.added, kind)

    @property
    def _sequences(self) -> Artifact:
        return Artifact.at(self.config.artifacts.sequences)

    @property
    def _dataset(self) -> dict[str, Any]:
        node: Any = OmegaConf.to_container(self.config.dataset, resolve=True)
        return node

    @cached_property
    def _texts(self) -> TextSource | None:
        return TextSource.of(*checkpoint.text_settings(self.trained, self.overrides), self._sequences)

    def _encoded(self, table: Any, known_ids: Sequence[str], allow_host: Sequence[str]) -> Added:
        assert self._texts is not None
        model, embed = self.parts.model, filled_artifacts(self.config).get("embed")
        reads = sorted(model.sequence_encoder.reads)
        return encoded(self._texts, model.item_encoder, embed, reads, table, known_ids, allow_host)


@dataclass(frozen=True)
class FolderSource:
    """An exported folder."""

    path: Path
    overrides: ClassVar[Mapping[str, Any]] = {}

    @property
    def columns(self) -> Columns:
        return Columns()

    @property
    def module(self) -> RecommenderModule:
        raise SettingError(
            f"{self.path} is an exported folder, which holds no LightningModule; its parts are .served.model, or load the run"
        )

    def histories(self, also: Sequence[str] = ()) -> Histories:
        raise SettingError(
            f"{self.path} is an exported folder, which holds nobody's history; give history=[ITEM, ITEM] or a frame of "
            "events, or load the run"
        )

    def checkpoint(self, purpose: str) -> Path:
        raise SettingError(
            f"{self.path} is an exported folder, which holds no data for {purpose}; load the run: sage_pl.load(RUN_FOLDER)"
        )

    def write(self, folder: Path, served: ExportedModel) -> None:
        copy(self.path, folder, served.catalogue, served.added)


def _nested(key: str, value: Any) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}
