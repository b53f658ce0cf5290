"""Items as a gated mixture of experts: an item encoder made of item encoders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.types import ItemEncoder, Views

GATE = "gate"


class GatedExperts(nn.Module):
    """``v_i = [g_1(i) v_1(i) ; g_2(i) v_2(i) ; ...]``, so that one inner product is the gated mixture of the experts' scores.

    With states ``h_u = [h_1 ; h_2 ; ...]`` (:class:`sage_pl.nn.sequence_encoders.experts.Experts`),
    ``<h_u, v_i> = sum_e g_e(i) <h_e, v_e(i)>``: ranking, nearest neighbours and export work unchanged. Views are each
    expert's scored vector, which its sequence model reads, and the shares, called ``gate``.

    Experts are in alphabetical order of their names, as are the sequence encoder's states.

    Args:
        experts: an item encoder per name.
        gate: called with the experts' names in that order, gives a module from ids to shares
            (``sage_pl.nn.item_encoders.gates``; a node with ``_partial_: true``).

    Raises:
        SettingError: there is no expert, one is called ``gate``, or they have different items.

    Reference: PAD, frequency-aware mixture of the ID, the aligned and the text expert. Differs: the reference computes one
    score matrix per expert and mixes them, which is the same number.
    """

    def __init__(self, experts: Mapping[str, ItemEncoder], gate: Callable[[tuple[str, ...]], nn.Module]) -> None:
        super().__init__()
        self.names = tuple(sorted(experts))
        if not self.names or GATE in self.names:
            raise SettingError(
                f"item_encoder.experts are {list(self.names)}, wanted at least one, and none called {GATE!r}, which is "
                "the view of the shares"
            )
        sizes = {name: experts[name].n_items for name in self.names}
        if len(set(sizes.values())) > 1:
            raise SettingError(f"the experts have different items: {sizes}; give all n_items=${{catalog.n_items}}")
        self.experts = nn.ModuleDict({name: experts[name] for name in self.names})  # type: ignore[misc]
        self.gate = gate(self.names)
        self.n_items = sizes[self.names[0]]
        widths = {name: experts[name].output_dim for name in self.names}
        self.input_dims: Mapping[str, int] = {**widths, GATE: len(self.names)}
        self.output_dim = sum(widths.values())

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        names = self.input_dims if names is None else names
        views = {name: expert.output(expert.views(ids)) for name, expert in self.experts.items() if name in names}  # type: ignore[operator]
        return views if GATE not in names else {**views, GATE: self.gate(ids)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        shares = views[GATE].split(1, dim=-1)
        return torch.cat([share * views[name] for share, name in zip(shares, self.names, strict=True)], dim=-1)
