"""The share of each expert in an item's score: shares sum to 1, and may depend on the item's training frequency.

A gate is built with the experts' names (a node with ``_partial_: true``) and maps ids ``[*P]`` to shares ``[*P, n_experts]``,
columns in the order of the names. Shares depend on the item alone, so that a mixture of scores stays one inner product
(:class:`sage_pl.nn.item_encoders.gated.GatedExperts`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.data.frequency import equal_mass_buckets
from sage_pl.data.loader import load_sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Signed, Temperature, Width


class Gate(nn.Module):
    """``g_e(i) = softmax_e l_e(i)`` with a gate's logits l, over the experts that score item i.

    Args:
        names: the experts.
        sequences: path of the ``sequences`` artifact, for the training counts; None where nothing depends on them.
        unseen: the experts that score items which never occur in training, in their shares among each other; the others get 0.
            Names of experts that are left out are ignored. None, or none that is there, is the published form: all experts,
            so that an item which no event trained gets its share of an ID vector as it was drawn.
    """

    def __init__(self, names: Sequence[str], sequences: str | None = None, unseen: Sequence[str] | None = None) -> None:
        super().__init__()
        scoring = set(names) & set(unseen or ()) or set(names)
        silent = None
        if sequences is not None and scoring != set(names):
            absent = torch.from_numpy(np.pad(load_sequences(sequences).train_counts[1:-1] == 0, 1))
            silent = absent[:, None] & torch.tensor([name not in scoring for name in names])
        self.register_buffer("silent", silent, persistent=False)
        self.silent: Tensor | None  # [R, n_experts], True where a share is 0

    def forward(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P n_experts"]:
        logits = self.logits(ids)
        return F.softmax(logits if self.silent is None else logits.masked_fill(self.silent[ids], -torch.inf), dim=-1)

    def append(self, count: int) -> None:
        """Add so many items without training events behind the mask token; every expert scores them."""
        if self.silent is not None:
            self.silent = F.pad(self.silent, (0, 0, 0, count))

    @abstractmethod
    def logits(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P n_experts"]:
        """Of every expert; ``log sigma(t)`` gives ``sigma(t_e) / sum_e' sigma(t_e')``, also where every sigmoid is 0."""


class FrequencyGate(Gate):
    """``g_e(i) = sigma(theta_e[b(i)]) / sum_e' sigma(theta_e'[b(i)])`` with b(i) the frequency bucket of item i.

    Buckets hold equal shares of the training events, 1 the most popular; padding and mask token are in bucket 0. One free
    number per expert and bucket, no network.

    Args:
        names: the experts.
        sequences: path of the ``sequences`` artifact, for the training counts.
        starts: per expert, the values of theta for bucket 0 and for the last bucket, linear between. Other names are
            ignored, so that an expert can be left out.
        n_buckets: buckets of equal mass.
        zero_bucket: one more bucket for items that never occur in training; it starts as the last one.
        unseen: see :class:`Gate`; in the shares of the last bucket.

    Raises:
        SettingError: an expert has no start, or one that is not two numbers, or ``unseen`` names one without.

    Reference: PAD, frequency-aware gating; bucket rule and starts from its code.
    """

    def __init__(
        self,
        names: Sequence[str],
        sequences: str,
        starts: Mapping[str, Sequence[Signed]],
        n_buckets: Count = 10,
        zero_bucket: bool = False,
        unseen: Sequence[str] | None = None,
    ) -> None:
        super().__init__(names, sequences, unseen)
        _check_starts(names, starts, unseen)
        counts = load_sequences(sequences).train_counts
        buckets = torch.from_numpy(equal_mass_buckets(counts, n_buckets, zero_bucket))
        self.register_buffer("buckets", buckets, persistent=False)
        self.buckets: Tensor
        lines = torch.stack([_line(starts[name], n_buckets + 1) for name in names], dim=1)
        self.theta = nn.Parameter(torch.cat([lines, lines[-1:]]) if zero_bucket else lines)

    def append(self, count: int) -> None:
        super().append(count)
        self.buckets = F.pad(self.buckets, (0, count), value=len(self.theta) - 1)

    def logits(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P n_experts"]:
        return F.embedding(self.buckets[ids], F.logsigmoid(self.theta))


class ContinuousGate(Gate):
    """``g(i) = softmax(MLP(f_i) / t)`` with ``f_i = log(1 + count_i)`` scaled to [0, 1]: smooth in the frequency.

    The MLP is 1-64-10-64-n_experts, GELU after each hidden layer of 64.

    Args:
        names: the experts.
        sequences: path of the ``sequences`` artifact, for the training counts.
        hidden_dim: width of the two hidden layers.
        frequency_dim: width of a frequency's representation between them.
        temperature: t.
        unseen: see :class:`Gate`.

    Raises:
        SettingError: ``temperature`` is not positive.

    Reference: MME-SID's code.
    """

    def __init__(
        self,
        names: Sequence[str],
        sequences: str,
        hidden_dim: Width = 64,
        frequency_dim: Width = 10,
        temperature: Temperature = 1.0,
        unseen: Sequence[str] | None = None,
    ) -> None:
        super().__init__(names, sequences, unseen)
        if temperature <= 0:
            raise SettingError(f"the gate's temperature is {temperature}, wanted a positive number, e.g. 1")
        self.temperature = temperature
        counts = torch.from_numpy(load_sequences(sequences).train_counts)
        logs = torch.log1p(counts.float())
        self.register_buffer("frequency", logs / logs.max().clamp(min=1), persistent=False)
        self.frequency: Tensor
        self.network = nn.Sequential(
            nn.Linear(1, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, frequency_dim),
            nn.Linear(frequency_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, len(names)),
        )

    def append(self, count: int) -> None:
        super().append(count)
        self.frequency = F.pad(self.frequency, (0, count))

    def logits(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P n_experts"]:
        return self.network(self.frequency[ids][..., None]) / self.temperature


class SharedGate(Gate):
    """``g_e = sigma(theta_e) / sum_e' sigma(theta_e')``: learned shares, the same for every item that all experts score.

    Args:
        names: the experts.
        starts: theta per expert; other names are ignored.
        sequences, unseen: see :class:`Gate`.

    Raises:
        SettingError: an expert has no start, or ``unseen`` names one without.

    Reference: PAD's code, its variant without frequency, where every item is in bucket 0.
    """

    def __init__(
        self,
        names: Sequence[str],
        starts: Mapping[str, Signed],
        sequences: str | None = None,
        unseen: Sequence[str] | None = None,
    ) -> None:
        super().__init__(names, sequences, unseen)
        _check_starts(names, starts, unseen)
        self.theta = nn.Parameter(torch.tensor([float(starts[name]) for name in names]))

    def logits(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P n_experts"]:
        return F.logsigmoid(self.theta).expand(*ids.shape, -1)


class UniformGate(Gate):
    """``g_e = 1 / n_experts``: no gate; the experts' scores are averaged.

    Args:
        names: the experts.
        sequences, unseen: see :class:`Gate`.
    """

    def __init__(self, names: Sequence[str], sequences: str | None = None, unseen: Sequence[str] | None = None) -> None:
        super().__init__(names, sequences, unseen)
        self.register_buffer("zeros", torch.zeros(len(names)), persistent=False)
        self.zeros: Tensor

    def logits(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P n_experts"]:
        return self.zeros.expand(*ids.shape, -1)


def _line(ends: Sequence[float], steps: int) -> Float[Tensor, "steps"]:
    if len(ends) != 2:
        raise SettingError(
            f"a start of the gate is {list(ends)}, wanted two numbers: for bucket 0 and for the last bucket"
        )
    return torch.linspace(ends[0], ends[1], steps)


def _check_starts(names: Sequence[str], starts: Mapping[str, object], unseen: Sequence[str] | None) -> None:
    if unknown := [name for name in unseen or () if name not in starts]:
        raise SettingError(
            f"item_encoder.gate.unseen names the expert {', '.join(unknown)}, and the gate knows {', '.join(starts)}"
        )
    if missing := [name for name in names if name not in starts]:
        raise SettingError(
            f"the gate has no start for the expert {', '.join(missing)}, only for {', '.join(starts)}; add it with "
            f"+item_encoder.gate.starts.{missing[0]}=..."
        )
