"""HR, NDCG and MRR of ranks, overall and per group, as sums and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from sage_pl.errors import SettingError

KS = (5, 10, 20)


class RankMetrics(Metric):
    """Means over cases of the gain of a rank r for each cut-off k; there is one relevant item per case.

    HR@k = [r <= k], NDCG@k = [r <= k] / log2(r + 1), MRR@k = [r <= k] / r.

    The state is sums ``[1 + G, 3 * len(ks)]`` and counts ``[1 + G]`` in float64, summed over processes, so that the result
    is the mean over the cases of all processes. Names are ``ndcg@10`` for all cases and ``ndcg@10/item_tail`` for a group,
    with the numbers of cases in ``count`` and ``count/item_tail``. A group without cases has a count of 0 and no means.

    Args:
        groups: names of the groups, in the order of the rows of ``update``.
        ks: cut-offs, each at least 1.
        sync_on_compute: sum over processes before computing; False where each process holds all the cases.

    Raises:
        SettingError: ``ks`` is empty or holds a cut-off below 1.

    Example:
        >>> metric = RankMetrics(groups=["item_tail"], ks=[2])
        >>> metric.update(torch.tensor([1, 2, 7]), torch.tensor([[False, True, True]]))
        >>> {name: round(float(value), 4) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'count': 3.0, 'hr@2': 0.6667, 'ndcg@2': 0.5436, 'mrr@2': 0.5,
         'count/item_tail': 2.0, 'hr@2/item_tail': 0.5, 'ndcg@2/item_tail': 0.3155, 'mrr@2/item_tail': 0.25}
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    sums: Tensor
    counts: Tensor

    def __init__(self, groups: Sequence[str] = (), ks: Sequence[int] = KS, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        if not ks or min(ks) < 1:
            raise SettingError(f"ks must hold at least one cut-off and each must be at least 1, got {list(ks)}")
        self.groups = tuple(groups)
        self.ks = tuple(ks)
        rows = 1 + len(self.groups)
        self.add_state("sums", torch.zeros(rows, 3 * len(self.ks), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(rows, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, ranks: Int[Tensor, "B"], groups: Bool[Tensor, "G B"] | None = None) -> None:
        """Add cases.

        Args:
            ranks: 1-based.
            groups: membership of the cases in the groups; None for a metric without groups.

        Raises:
            SettingError: a rank is below 1, or ``groups`` is not ``[G, B]``.
        """
        shape = (len(self.groups), len(ranks))
        members = ranks.new_ones(shape, dtype=torch.bool)[:0] if groups is None else groups
        if members.shape != shape:
            raise SettingError(f"groups must be of shape {shape} for groups {self.groups}, got {tuple(members.shape)}")
        if (ranks < 1).any():
            raise SettingError(f"ranks start at 1, got {int(ranks.min())}")
        overall = torch.ones(1, len(ranks), dtype=torch.float64, device=ranks.device)
        weights = torch.cat([overall, members.double()])
        self.sums += weights @ self._gains(ranks.double())
        self.counts += weights.sum(1)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Means and counts by name."""
        result = {}
        for row, group in enumerate(("", *self.groups)):
            suffix = group and f"/{group}"
            result[f"count{suffix}"] = self.counts[row]
            if self.counts[row] > 0:
                names = [f"{metric}@{k}{suffix}" for k in self.ks for metric in ("hr", "ndcg", "mrr")]
                result.update(zip(names, self.sums[row] / self.counts[row], strict=True))
        return result

    def _gains(self, ranks: Float[Tensor, "B"]) -> Float[Tensor, "B M"]:
        gains = torch.stack([torch.ones_like(ranks), 1 / torch.log2(ranks + 1), 1 / ranks], 1)
        return torch.cat([gains * (ranks <= k)[:, None] for k in self.ks], 1)


def summarise(
    ranks: npt.NDArray[np.integer], groups: Mapping[str, npt.NDArray[np.bool_]], ks: Sequence[int] = KS
) -> dict[str, float]:
    """Metrics of a split's cases, all of which this process holds.

    Args:
        ranks: [K] one rank per case; 0 excludes a case that was not evaluated.
        groups: name -> [K] membership.
        ks: cut-offs.
    """
    has_rank = ranks > 0
    metric = RankMetrics(list(groups), ks, sync_on_compute=False)
    members = np.array([group[has_rank] for group in groups.values()], dtype=bool).reshape(len(groups), has_rank.sum())
    metric.update(torch.from_numpy(ranks[has_rank].astype(np.int64)), torch.from_numpy(members))
    return {name: float(value) for name, value in metric.compute().items()}
