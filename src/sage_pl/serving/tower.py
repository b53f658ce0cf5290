"""The user tower as a program of its own: from item numbers to states, for ONNX Runtime or torch.export."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from sage_pl.artifacts.files import MANIFEST, records_of, refuse_existing, whole_folder
from sage_pl.errors import SettingError
from sage_pl.nn.modules.served import ServedProducts
from sage_pl.nn.sequence_encoders.user_interests import UserInterests
from sage_pl.runs.checks import ConfigError
from sage_pl.serving.exported_model import CATALOGUE, Catalogue
from sage_pl.types import Scorer, SeqBatch, real

log = logging.getLogger(__name__)

VECTORS = "item_vectors.npy"
_LARGEST = 1 << 30  # bytes of a file of ONNX, which may hold 2 GiB
FILES = {"onnx": "tower.onnx", "torch": "tower.pt2"}


class Maxima(NamedTuple):
    """What ``cummax`` returns, without the places."""

    values: Tensor


class BasicOperations(TorchFunctionMode):
    """Within it, attention is products and a softmax, and running maxima are those of prefixes: operations that ONNX has,
    without the layout of one device's kernel.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        if func is Tensor.cummax:
            return _running_maxima(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    query: Float[Tensor, "*P L D"],
    key: Float[Tensor, "*P K D"],
    value: Float[Tensor, "*P K D"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
) -> Float[Tensor, "*P L D"]:
    products = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        products = products.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        products = products + attn_mask
    return products.softmax(-1) @ value


def _running_maxima(x: Int[Tensor, "B L"], dim: int) -> Maxima:
    past = torch.ones(x.shape[dim], x.shape[dim], dtype=torch.bool, device=x.device).tril()
    return Maxima(torch.where(past, x[:, None, :], torch.iinfo(x.dtype).min).amax(2))


class UserTower(nn.Module):
    """``states(items)`` of a served model, without choices that depend on the numbers: a history of any length is set into a
    row of ``max_len`` places, whose padding changes no state.

    Args:
        model: ranks by inner products.

    Attributes:
        knows_users: the users' numbers are a second argument; 0 for a new user.

    Shape: ``[B, L] (, [B]) -> [B, E]``, or [B, I, E] where a user has I states, of which the best one scores an item.

    Raises:
        SettingError: the model generates codes, or reads histories of any length.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, ServedProducts):
            raise SettingError(
                "a model that generates codes searches with beams, whose steps depend on what they meet, so no graph of fixed "
                "steps answers as it does; leave out format=, and serve the folder with sage_pl.load"
            )
        if model.max_len is None:
            raise SettingError(
                "a tower has a row of max_len places, and this model reads all items; train with data.max_len=50"
            )
        self.model, self.max_len = model, model.max_len
        self.knows_users = any(isinstance(part, UserInterests) for part in model.sequence_encoder.modules())

    def forward(self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B *I E"]:
        model = self.model
        row = F.pad(items, (self.max_len, 0))[:, -self.max_len :]
        ids = model.targets.inference(row)
        batch: SeqBatch = {"items": ids, "masked": ids == model.item_encoder.n_items + 1}
        if users is not None:
            batch["user"] = users
        with BasicOperations():
            return model.sequence_encoder(model.item_encoder.views(ids), real(ids), batch, last_only=True)[:, -1]

    def example(self) -> tuple[Tensor, ...]:
        """Arguments of a call."""
        items = torch.arange(6).remainder(self.model.item_encoder.n_items).add(1).view(2, 3)
        return (items, torch.zeros(2, dtype=torch.long)) if self.knows_users else (items,)


def exported_program(tower: UserTower) -> ExportedProgram:
    """The tower by torch.export, for any number and length of histories."""
    example = tower.eval().example()
    with torch.no_grad():
        tower(*example)  # masks that are kept by length must be tensors, not the exporter's stand-ins
        sizes = {0: Dim("batch", min=1), 1: Dim("length", min=1)}
        shapes = (sizes, {0: sizes[0]}) if tower.knows_users else (sizes,)
        return torch.export.export(tower, example, dynamic_shapes=shapes)


def write_tower(model: nn.Module, catalogue: Catalogue, folder: str | Path, form: str) -> None:
    """Write ``tower.onnx`` or ``tower.pt2``, ``item_vectors.npy`` [N + 2, E], the catalogue and a README, atomically.

    Args:
        model: of :mod:`sage_pl.nn.modules.served`, items that were added included.
        catalogue: of its items.
        folder: must not exist.
        form: ``onnx`` or ``torch``.

    Raises:
        SettingError: the model has no tower.
        ConfigError: the folder exists, the form is unknown, or a package is missing.
    """
    if form not in FILES:
        raise ConfigError(f"format is {form!r}, wanted folder, {' or '.join(FILES)}")
    final = Path(folder)
    refuse_existing(final)
    tower = UserTower(model)
    program = exported_program(tower)
    with whole_folder(final) as work:
        if form == "torch":
            torch.export.save(program, work / FILES[form])
        else:
            _write_onnx(program, tower, work / FILES[form])
        np.save(work / VECTORS, tower.model.output_table().numpy())
        (work / CATALOGUE).write_text(json.dumps(asdict(catalogue)))
        (work / "README.md").write_text(_readme(tower, catalogue, form))
        (work / MANIFEST).write_text(json.dumps({"files": records_of(work)}, indent=2))
    if tower.model.scorer is not None:
        log.warning("%s", _needs(tower.model.scorer))


def _write_onnx(program: ExportedProgram, tower: UserTower, file: Path) -> None:
    try:
        import onnxscript  # noqa: F401 - what torch.onnx writes with
    except ModuleNotFoundError as error:
        raise ConfigError('format=onnx needs the package onnxscript; run: pip install "sage-pl[onnx]"') from error
    names = ["items", "users"][: 1 + tower.knows_users]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = torch.onnx.export(program, dynamo=True, verbose=False, input_names=names, output_names=["states"])
    assert written is not None
    size = sum(buffer.nbytes for buffer in tower.buffers())
    written.save(file, external_data=size > _LARGEST)


def _needs(scorer: Scorer) -> str:
    """What the tower leaves out of a model with a scorer."""
    return (
        f"the tower gives the model's own scores; {type(scorer).__name__}, which ranks by more than these, also reads the "
        "history, the text vectors and the item matrices, so the fused order needs the folder of format=folder"
    )


def _readme(tower: UserTower, catalogue: Catalogue, form: str) -> str:
    call = {
        "onnx": 'tower = onnxruntime.InferenceSession("tower.onnx")\nstates = tower.run(None, {ARGUMENTS})[0]',
        "torch": 'tower = torch.export.load("tower.pt2").module()\nstates = tower(ARGUMENTS).detach().numpy()',
    }[form]
    row = "np.array([history], np.int64)"
    pairs = {"items": row, **({"users": "np.zeros(1, np.int64)"} if tower.knows_users else {})}
    arguments = (
        ", ".join(f'"{name}": {value}' for name, value in pairs.items())
        if form == "onnx"
        else ", ".join(f"torch.from_numpy({value})" for value in pairs.values())
    )
    call = call.replace("ARGUMENTS", arguments)
    return _README.format(
        package={"onnx": "onnxruntime", "torch": "torch"}[form],
        call=call,
        history=json.dumps(list(catalogue.ids[1:3])),
        longest=tower.max_len,
        users="; `users` are the rows of `users` in it, 0 for a new user" if tower.knows_users else "",
        scorer="" if tower.model.scorer is None else f"\nNote: {_needs(tower.model.scorer)}.\n",
    )


_README = """# A user tower

From the item numbers of a history to a state, whose inner products with the item vectors are the scores.

```python
import json

import numpy as np
import {package}

catalogue = json.load(open("catalogue.json"))
numbers = {{name: row for row, name in enumerate(catalogue["ids"])}}
history = [numbers[name] for name in {history}]  # oldest first
{call}
scores = (states.reshape(-1, states.shape[-1]) @ np.load("item_vectors.npy").T).max(0)  # several states: the best one counts
scores[[0, -1]] = -np.inf  # padding and mask token
for row in np.argsort(-scores)[:5]:
    print(catalogue["ids"][row], scores[row])
```

`items` is int64 [B, L] of any B and L, left-padded with 0; the newest {longest} items are read{users}. The rule for items of
the history is `seen` of `catalogue.json`: `mask` leaves them out.
{scorer}"""
