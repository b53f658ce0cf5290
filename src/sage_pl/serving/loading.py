"""An exported folder as a model again; torch, numpy and jaxtyping are all that it imports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sage_pl import hosts
from sage_pl.artifacts.files import MANIFEST, ArtifactError, damage_in
from sage_pl.artifacts.plain import read_json
from sage_pl.artifacts.weights import read_tensors
from sage_pl.errors import MissingFileError
from sage_pl.nn.item_encoders.cached import CachedItems
from sage_pl.nn.modules.served import SERVED
from sage_pl.runs.checks import ConfigError, check_weights
from sage_pl.serving.exported_model import ADDED, Added, Catalogue, ExportedModel
from sage_pl.serving.parts import built, of_folder, with_place

_AGAIN = "write it again with scripts/export.py checkpoint=FILE folder=DIR"


def load(folder: str | Path, allow_host: Sequence[str] = (), retrieval: str | None = None) -> ExportedModel:
    """The model of a folder written by :func:`sage_pl.serving.save`, ready for ``recommend(history=["ID", "ID"], k=10)``.

    Its ``model`` works on item numbers (:mod:`sage_pl.nn.modules.served`), and ``stored`` is the checkpoint's name. Every
    file's hash is compared first (0.5 s per GB); folders of earlier versions have none.

    Args:
        folder: the folder.
        allow_host: hosts that it may contact, such as ``huggingface.co`` for a language model that it names and that is not on
            this machine.
        retrieval: ``exact`` scores every item; ``hnsw`` and ``ivf`` find some by an index (:mod:`sage_pl.serving.retrieval`),
            which is built now unless the folder holds it. None: as it was exported.

    Raises:
        MissingFileError: the folder has no ``model.json``.
        ArtifactError: a file is missing, cut or changed.
        HostError: it asks for another host.
        ConfigError: ``model.json`` names a class that is not allowed, holds a reference such as ``${oc.env:X}``, or cannot be
            built.
        PlainError: it is damaged.
    """
    place = Path(folder)
    if not (place / "model.json").is_file():
        raise MissingFileError(f"{place} has no model.json; write it with scripts/export.py checkpoint=FILE folder=DIR")
    node = _checked_node(place)
    with of_folder(place), hosts.only(allow_host):
        name = node.pop("name", {})
        new_items, exported_for = node.pop("new_items", None), node.pop("retrieval", "exact")
        node, new_items = with_place([node, new_items], place)
        node["_target_"] = SERVED.get(node["_target_"], node["_target_"])
        model = built("model", {**node, "_partial_": True})(CachedItems(place / "items"))
        if not callable(getattr(model, "recommend", None)):
            raise ConfigError(f"{place}/model.json describes a {type(model).__name__}, which recommends nothing")
        weights = read_tensors(place, "weights")
        check_weights(model, weights)
        model.load_state_dict(weights)
        model.stored = name
        adder = None if new_items is None else partial(_encoded, place, new_items, sorted(model.sequence_encoder.reads))
        catalogue = Catalogue.read(place)
        added = _append_added(place, model, catalogue)
        _try(place, model, catalogue)
        if (kind := retrieval or exported_for) != "exact":
            from sage_pl.serving.retrieval import INDEX, index_of

            model.retrieval = index_of(model, kind, place / INDEX if kind == exported_for else None)
        return ExportedModel(model.eval(), catalogue, adder, added)


def _try(place: Path, model: Any, catalogue: Catalogue | None) -> None:
    """Answer once, so that parts which do not fit each other are an error of the folder, and not of the first request."""
    n_items = model.item_encoder.n_items
    if catalogue is not None and len(catalogue.ids) != n_items + 1:
        raise ConfigError(f"{place} has {n_items} items, and ids of {len(catalogue.ids) - 1}; {_AGAIN}")
    with torch.inference_mode():
        model.eval().recommend(torch.tensor([[1]]), 1, False)


def _append_added(place: Path, model: Any, catalogue: Catalogue | None) -> list[Added]:
    """Append the items that were added to the model before it was saved; its catalogue ends with them."""
    if catalogue is None or not any(place.glob(f"{ADDED}.*")):
        return []
    tensors, added = read_tensors(place, ADDED), []
    texts = [tensors[f"{batch}.text"] for batch in range(len(tensors)) if f"{batch}.text" in tensors]
    start = len(catalogue.ids) - sum(map(len, texts))
    for batch, text in enumerate(texts):
        beginning, end = f"{batch}.views.", start + len(text)
        views = {name.removeprefix(beginning): rows for name, rows in tensors.items() if name.startswith(beginning)}
        titles = catalogue.titles[start:end] if catalogue.titles else [""] * len(text)
        added.append(Added(catalogue.ids[start:end], titles, views, text))
        model.append_rows(views, text)
        start = end
    return added


def _encoded(*arguments: Any) -> Added:
    """:func:`sage_pl.serving.new_items.encoded_by_folder`, which reads tables and texts, and so needs more than torch."""
    from sage_pl.serving.new_items import encoded_by_folder

    return encoded_by_folder(*arguments)


def _checked_node(place: Path) -> dict[str, Any]:
    """The content of ``model.json`` of a folder whose files are as they were written."""
    manifest = place / MANIFEST
    node = read_json(place / "model.json")
    if not isinstance(node, dict):
        raise ConfigError(f"{place}/model.json holds a {type(node).__name__}, wanted names with values; {_AGAIN}")
    try:
        if manifest.exists():
            files = read_json(manifest)["files"]
            if problem := damage_in(place, files, hashes=True):
                raise ArtifactError(f"{problem}; {_AGAIN}")
            if "model.json" not in files:
                raise ArtifactError(f"{manifest} does not list model.json; {_AGAIN}")
        if node.pop("manifest", False) and not manifest.exists():
            raise ArtifactError(f"{place} has no {MANIFEST}; {_AGAIN}")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ArtifactError(f"a .json file of {place} is damaged ({error}); {_AGAIN}") from error
    return node
