"""After training: what a scorer leaves to the validation cases is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.weights import read_weights, write_weights
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.errors import SettingError
from sage_pl.nn.modules.base import RecommenderModule

SCORER = "scorer."  # the scorer's own values in a checkpoint


class _Parts(Protocol):
    @property
    def datamodule(self) -> SequenceDataModule: ...

    @property
    def model(self) -> RecommenderModule: ...


def with_scorer(config: DictConfig) -> Any:
    """The overrides of a command, with the scorer that its command line names."""
    named = {key: config[key] for key in ("scorer", "steps") if key in config}
    return OmegaConf.merge(named, config.overrides) if named else config.overrides


def choose_weights(parts: _Parts, overrides: Mapping[Any, Any] | None = None) -> bool:
    """Choose the scorer's weights on validation cases; False where there is nothing to choose.

    Args:
        parts: data and model.
        overrides: changes to the model's recipe; where they name the scorer, weights that were chosen before are for another
            one and are chosen anew.
    """
    datamodule, model = parts.datamodule, parts.model
    scorer = model.scorer
    if scorer is None or not _stored(model) or (scorer.chosen and "scorer" not in (overrides or {})):
        return False
    if not len(datamodule.sequences.valid):
        raise SettingError(
            "no validation cases are held out, by which the scorer chooses its weights; train with the scorer, then refit that "
            "run, which carries them over"
        )
    model.eval()
    with torch.inference_mode():
        model.cache_item_vectors()
        scorer.choose(lambda: model.cases(datamodule.held_out("valid", scorer.cases)))
    model.on_validation_epoch_end()
    return True


def choose_for(parts: _Parts, checkpoint: Path, device: torch.device) -> None:
    """Choose the weights for the model of a checkpoint, and store them there."""
    if parts.model.scorer is None:
        return
    parts.model.to(device).load_state_dict(read_weights(checkpoint)["state_dict"])
    if choose_weights(parts):
        _store(parts.model, checkpoint)


def carry_weights(model: RecommenderModule, earlier: Path, checkpoint: Path) -> None:
    """Give a model, and the checkpoint of it, the scorer's weights of an earlier checkpoint."""
    if model.scorer is None or model.scorer.chosen:
        return
    state = read_weights(earlier)["state_dict"]
    model.load_state_dict({name: value for name, value in state.items() if name.startswith(SCORER)}, strict=False)
    _store(model, checkpoint)


def _store(model: RecommenderModule, checkpoint: Path) -> None:
    """The scorer's own values, into a checkpoint."""
    content: Mapping[str, Any] = read_weights(checkpoint)
    with whole_file(checkpoint) as part:
        write_weights({**content, "state_dict": {**content["state_dict"], **_stored(model)}}, part)


def _stored(model: RecommenderModule) -> dict[str, torch.Tensor]:
    """The scorer's values in a checkpoint; none where it has nothing to choose."""
    return {name: value.cpu() for name, value in model.state_dict().items() if name.startswith(SCORER)}
