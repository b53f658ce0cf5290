"""The parts of a prepared configuration that evaluation and serving need: data, model and evaluation."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.evaluation.groups import Groups, days
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.runs import checks
from sage_pl.runs.construct import construct
from sage_pl.runs.plan import PARTS
from sage_pl.training.callbacks.ranking_evaluation import RankingEvaluation


class Parts(NamedTuple):
    """The parts that evaluation and serving need."""

    datamodule: SequenceDataModule
    model: RecommenderModule
    evaluation: RankingEvaluation


def build_parts(config: DictConfig, stored: dict[str, Any]) -> Parts:
    """Data, model and evaluation of a configuration whose artifacts are filled in; ``stored`` goes into the checkpoint.

    Raises:
        ConfigError: the parts do not fit each other.
    """
    plain: Any = {part: OmegaConf.to_container(config[part], resolve=True) for part in PARTS}
    torch.set_float32_matmul_precision(config.matmul_precision)
    torch.backends.cuda.enable_cudnn_sdp(False)  # makes a plan for every new length, which takes longer than many steps
    datamodule, model = construct("data", plain["data"]), construct("model", plain["model"])
    model.stored = stored
    checks.check_needs(model.needs, datamodule.provides)
    rules: Any = OmegaConf.to_container(config.evaluation.groups, resolve=True)
    rules["days"] = days(Artifact.at(config.artifacts.sequences))
    splits = {name: getattr(datamodule.sequences, name) for name in ("valid", "test")}
    groups = {name: Groups(datamodule.sequences, cases, **rules) for name, cases in splits.items()}
    return Parts(datamodule, model, RankingEvaluation(groups, list(config.evaluation.ks)))
