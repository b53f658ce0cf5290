"""Views of items that came after training, from their text."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.gates import Gate
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.nn.item_encoders.sharded import ShardedTable
from sage_pl.types import ItemEncoder, Views

NEAREST, TEMPERATURE = 10, 0.1
_RESIDUAL = 1e-2  # of an affine map, relative to the spread of the vectors


@torch.no_grad()
def new_views(
    encoder: ItemEncoder,
    known: Float[Tensor, "N D"],
    new: Float[Tensor, "M D"],
    trained: Bool[Tensor, "N"],
    reads: Collection[str],
) -> Views:
    """The views ``reads`` and the scored vector ``output`` of M new items, each [M, E].

    A trained table's row is ``sum_j softmax_j(cos(x, x_j) / 0.1) E[j]`` over the 10 trained items nearest in centred text. A
    frozen text table's row is the affine map of the new text that gives the known items' rows, by least squares: exact for
    principal components and standardised text. Known items whose vectors are zero have no say in either; a new item's zero
    vector stays zero as text. Gates treat a new item as one without training events, but every expert scores it: its rows are
    no random start.

    Args:
        encoder: trained, on the CPU; it stays as it is.
        known: text vectors of items 1..N.
        new: text vectors of the new items, by the same text encoder.
        trained: whether an item has training events.
        reads: views that sequences read.

    Raises:
        SettingError: the encoder has codes, or text that is no affine map of ``known``.
    """
    grown: nn.Module = copy.deepcopy(encoder).eval()  # type: ignore[attr-defined]
    size, places, weights = encoder.n_items + 2, *_nearest(known, new, trained)
    mean = lambda table: (weights[..., None] * table[places + 1]).sum(1)  # noqa: E731
    done = set()
    for part in grown.modules():
        match part:
            case ItemText() if not isinstance(part.table, nn.Parameter):
                part.table = torch.cat([part.table, _mapped(part.table[1:-1], known, new).to(part.table.dtype)])
                part._file = None
            case ItemText():
                part.table = nn.Parameter(torch.cat([part.table, mean(part.table)]))
            case nn.Embedding() | ShardedTable() if len(part.weight) == size:
                part.weight = nn.Parameter(torch.cat([part.weight, mean(part.weight)]))
            case Gate():
                part.append(len(new))
            case _:
                continue
        done.add(id(part))
    for name, part in grown.named_modules():
        tensors = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if id(part) not in done and any(tensor.ndim and len(tensor) == size for tensor in tensors):
            raise SettingError(
                f"new items cannot be added: {name or 'the item encoder'} ({type(part).__name__}) has codes or rows per item "
                "that text does not give; train again with the new items"
            )
    ids = torch.arange(size, size + len(new))  # behind the mask token, which keeps its number
    views = grown.views(ids)  # type: ignore[operator]
    return {name: views[name] for name in reads} | {"output": grown.output(views)}  # type: ignore[operator]


def _nearest(
    known: Float[Tensor, "N D"], new: Float[Tensor, "M D"], trained: Bool[Tensor, "N"]
) -> tuple[Int[Tensor, "M K"], Float[Tensor, "M K"]]:
    """Places in ``known`` of the trained items nearest to each new one, and their weights."""
    has_text = known.any(1)
    centre, near = known[has_text].mean(0), trained & has_text
    cosines = F.normalize(new - centre, dim=1) @ F.normalize(known - centre, dim=1).T
    values, places = cosines.masked_fill(~near, -torch.inf).topk(min(NEAREST, int(near.sum())), dim=1)
    return places, F.softmax(values / TEMPERATURE, dim=1)


def _mapped(rows: Float[Tensor, "N E"], known: Float[Tensor, "N D"], new: Float[Tensor, "M D"]) -> Float[Tensor, "M E"]:
    """``A(new)`` of the affine map A with ``A(known) = rows``."""
    rows = rows.double()
    if rows.shape == known.shape and torch.equal(rows.float(), known.float()):
        return new
    if not (has_text := known.any(1)).all():
        rows, known = rows[has_text], known[has_text]
    bias, centre = rows.mean(0), known.double().mean(0)
    source, target = known.double() - centre, rows - bias
    weight = torch.linalg.lstsq(source, target, driver="gelsd").solution
    if (source @ weight - target).norm() > _RESIDUAL * target.norm():
        raise SettingError(
            "new items cannot be added: the model's text vectors are no affine map of the text encoder's; train again with them"
        )
    mapped = (new.double() - centre) @ weight + bias
    return (mapped * new.any(1, keepdim=True)).float()
