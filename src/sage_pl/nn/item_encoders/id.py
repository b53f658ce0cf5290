"""Items as rows of one trained table: the collaborative view."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.item_text import load_start
from sage_pl.ranges import Count, Deviation, Width
from sage_pl.types import Views


class IdEncoder(nn.Module):
    """One trained vector per item, from N(0, 0.02²) or from reduced text; row 0 (padding) stays zero.

    The mask token has no text and starts at random either way.

    Args:
        n_items: N.
        dim: width D of the view and of the scored vector.
        init: path of the ``reduce`` artifact, the table's start [R, dim]; None starts it at random.
        init_std: with ``init``, multiply the items' start by one number that gives its entries this root mean square;
            None leaves them unscaled, as the references do.
        sparse: the table's gradient has the rows of the step alone, so a step's cost does not grow with N; needs
            ``optimizer=row_adam`` (:class:`sage_pl.training.optimizers.row_adam.RowAdam`).

    Raises:
        SettingError: the start has another shape, or ``init_std`` is not positive or without ``init``.

    Reference: LLM2BERT4Rec (Harte et al. 2023); LLM2X in LLMEmb's table.
    """

    def __init__(
        self,
        n_items: Count,
        dim: Width = 64,
        init: str | None = None,
        init_std: Deviation | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        if init_std is not None and (init is None or init_std <= 0):
            raise SettingError(
                f"item_encoder.init_std is {init_std} with init {init}; it rescales the start and must be positive: "
                "set item_encoder.init='${artifacts.reduce}' or leave init_std out"
            )
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"id": dim}
        self.output_dim = dim
        self.table = nn.Embedding(n_items + 2, dim, padding_idx=0, sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.zeros_(self.table.weight[0])
        if init is not None:
            start = load_start(init, n_items, dim)[1:-1]
            scale = 1.0 if init_std is None else init_std / start.square().mean().sqrt()
            self.table.weight.data[1:-1] = scale * start

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return {"id": self.table(ids)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["id"]
