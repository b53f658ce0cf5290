"""A model whose experts are finished runs, with nothing left to train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sage_pl.errors import SettingError
from sage_pl.nn.modules.warm_start import WarmStart
from sage_pl.nn.sequence_encoders.summed import SummedExperts


class TrainedApart:
    """Gives each expert of a model the weights of a finished run and the covariance of its item vectors, and freezes all.

    The model has ``item_encoder=experts`` and ``sequence_encoder=summed``
    (:class:`sage_pl.nn.sequence_encoders.summed.SummedExperts`).

    Args:
        runs: folder of a run by the name of its expert, with ``best.ckpt`` and ``item_table.npy``: ``${artifacts.<stage>}``.

    Raises:
        SettingError: the sequence encoder is another, or an expert and its run differ in the names or shapes of their weights.
    """

    def __init__(self, runs: Mapping[str, str]) -> None:
        self.runs = runs

    def __call__(self, model: nn.Module) -> None:
        sequence_encoder = model.sequence_encoder
        if not isinstance(sequence_encoder, SummedExperts):
            raise SettingError(
                f"the sequence encoder is {type(sequence_encoder).__name__}, wanted SummedExperts, whose scores add up; use "
                "sequence_encoder=summed and model=sequential"
            )
        for name, run in self.runs.items():
            WarmStart(run, "item_encoder", f"item_encoder.experts.{name}")(model)
            WarmStart(run, "sequence_encoder.backbone", f"sequence_encoder.experts.{name}")(model)
            items = torch.from_numpy(np.load(Path(run) / "item_table.npy", allow_pickle=False))[1:-1]
            sequence_encoder.get_buffer(f"covariance_{name}").copy_(items.double().T.cov(correction=0))
        model.requires_grad_(False)
