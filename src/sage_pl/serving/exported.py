"""A trained model as a self-contained folder: item tables, the sequence encoder's weights, and its configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.files import MANIFEST, file_digest, records_of, refuse_existing, whole_folder
from sage_pl.artifacts.identity import flat, is_decisive
from sage_pl.artifacts.store import Artifact
from sage_pl.artifacts.weights import write_weights
from sage_pl.data.sequences import write_counts
from sage_pl.nn.item_encoders.cached import CachedItems, write_tables
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.served import SERVED
from sage_pl.runs.checks import part_called
from sage_pl.runs.plan import filled_artifacts
from sage_pl.serving.exported_model import ADDED, CATALOGUE, Added, Catalogue
from sage_pl.serving.new_items import ENCODER, TextSource
from sage_pl.serving.parts import HERE, map_texts
from sage_pl.serving.readme import readme
from sage_pl.serving.retrieval import INDEX, index_of


def save(
    model: RecommenderModule,
    config: DictConfig,
    folder: str | Path,
    name: Mapping[str, Any],
    texts: TextSource | None = None,
    added: Sequence[Added] = (),
    retrieval: str = "exact",
) -> None:
    """Write ``items/<view>.npy``, ``weights.pt``, ``model.json`` and the artifacts these parts read, atomically.

    ``catalogue.json`` has ids, titles and the rule for seen items, ``README.md`` an example that runs, ``manifest.json`` the
    size and hash of each of these files.

    Args:
        model: trained, in the state to serve.
        config: its configuration.
        folder: must not exist.
        name: plain values that identify the model (:class:`sage_pl.serving.Origin`).
        texts: encodes new items; with it the folder holds the item encoder, and the text vectors it reads. None for no new
            items.
        added: items that were added to the model since; the folder has them too.
        retrieval: how the folder's model finds items; see :func:`sage_pl.serving.retrieval.index_of`.

    Raises:
        ConfigError: the folder exists.
    """
    final = Path(folder)
    refuse_existing(final)
    parts = model.exported_parts if model.scorer is None else (*model.exported_parts, "scorer")
    with whole_folder(final) as work:
        (work / "items").mkdir()
        write_tables(model.item_encoder, sorted(model.sequence_encoder.reads), work / "items", model.device)
        prefixes = tuple(f"{name}." for name in parts)
        weights = {k: v.cpu() for k, v in model.state_dict().items() if k.startswith(prefixes)}
        write_weights(weights, work / "weights.pt")
        artifacts = {path: f"artifacts/{name}" for name, path in filled_artifacts(config).items()}
        nodes: Any = {name: OmegaConf.to_container(config.model[name], resolve=True) for name in parts}
        nodes = map_texts(nodes, lambda text: _copy_artifact(text, artifacts.get(text), work))
        new_items = None
        if texts is not None and not model.decodes:
            texts.write(work)
            encoder = {k: v.cpu() for k, v in model.item_encoder.state_dict().items()}  # type: ignore[attr-defined]
            write_weights(encoder, work / f"{ENCODER}.pt")
            embed = filled_artifacts(config).get("embed")
            new_items = {"embed": embed, "encoder": OmegaConf.to_container(config.model.item_encoder, resolve=True)}
            new_items = map_texts(new_items, lambda text: _copy_artifact(text, artifacts.get(text), work))
        node = {
            "_target_": config.model._target_,
            "_partial_": True,
            **nodes,
            "max_len": model.max_len,
            "new_items": new_items,
            "retrieval": retrieval,
        }
        (work / "model.json").write_text(json.dumps({"name": dict(name), "manifest": True, **node}, indent=2))
        if index := index_of(model, retrieval):
            index.write(work / INDEX)
        catalogue = catalogue_of(
            Artifact.at(config.artifacts.sequences), config.evaluation.seen, "n_users" in str(nodes)
        )
        for one in added:
            catalogue = catalogue.with_new(one)
        write_added(work, catalogue, added)
        (work / "README.md").write_text(
            readme(catalogue, model.max_len, texts.columns if new_items and texts and texts.encodes_new else ())
        )
        (work / MANIFEST).write_text(json.dumps({"files": records_of(work)}, indent=2))


def write_added(folder: Path, catalogue: Catalogue, added: Sequence[Added]) -> None:
    """Write ``catalogue.json`` and, where items were added to the model, ``added.pt`` with their vectors.

    Args:
        folder: that is being written.
        catalogue: that ends with them.
        added: since training.
    """
    if added:
        tensors = {f"{batch}.text": one.text for batch, one in enumerate(added)}
        for batch, one in enumerate(added):
            tensors |= {f"{batch}.views.{name}": rows for name, rows in one.views.items()}
        write_weights(tensors, folder / f"{ADDED}.pt")
    (folder / CATALOGUE).write_text(json.dumps(asdict(catalogue)))


def copy(place: Path, folder: str | Path, catalogue: Catalogue, added: Sequence[Added]) -> None:
    """An exported folder again, with the items that were added to its model since.

    Args:
        place: the folder.
        folder: must not exist.
        catalogue, added: see :func:`write_added`.

    Raises:
        ConfigError: the folder exists.
    """
    final = Path(folder)
    refuse_existing(final)
    with whole_folder(final) as work:
        shutil.copytree(place, work, dirs_exist_ok=True)
        for file in (MANIFEST, f"{ADDED}.safetensors"):
            (work / file).unlink(missing_ok=True)
        write_added(work, catalogue, added)
        (work / MANIFEST).write_text(json.dumps({"files": records_of(work)}, indent=2))


def in_memory(model: RecommenderModule) -> Any:
    """What serves the model (:mod:`sage_pl.nn.modules.served`), without a folder; the model stays as it is."""
    kind = type(model)
    served = part_called(SERVED[f"{kind.__module__}.{kind.__qualname__}"])
    items = CachedItems.of(model.item_encoder, sorted(model.sequence_encoder.reads), model.device)
    parts = {name: getattr(model, name) for name in model.exported_parts}
    tensors = {} if model.scorer is None else {id(one): one for one in model.scorer.buffers()}  # type: ignore[attr-defined]
    scorer = deepcopy(model.scorer, tensors)  # over the same tensors; added items are its own
    return served(items, **parts, max_len=model.max_len, scorer=scorer).eval()


def knows_users(config: DictConfig) -> bool:
    """Whether a prepared model has what it knows of each user beside the history."""
    model: Any = OmegaConf.to_container(config.model, resolve=True)
    return "n_users" in str([model.get(name) for name in ("sequence_encoder", "scorer")])


def catalogue_of(sequences: Artifact, seen: str, knows_users: bool) -> Catalogue:
    """Ids and titles of the data set, and users where the model knows them."""
    items = sequences.frame("items").sort("item")
    ids = items["item_id"].cast(pl.String).to_list()
    titles = ["", *items["title"].to_list()] if "title" in items.columns else []
    users = sequences.frame("users").sort("user")["user_id"].cast(pl.String).to_list() if knows_users else []
    return Catalogue(["", *ids], titles, ["", *users], seen)


def model_name(checkpoint: Path, overrides: Any, config: DictConfig) -> dict[str, Any]:
    """Values that determine a model's lists: ``checkpoint`` (sha256 of the file), the decisive ``overrides`` of its
    configuration, and the keys of the ``artifacts`` it reads, item codes included.

    Args:
        checkpoint: the file.
        overrides: changes to the configuration in it.
        config: that configuration, with the paths of its artifacts.
    """
    plain = OmegaConf.to_container(overrides) if OmegaConf.is_config(overrides) else overrides
    return {
        "checkpoint": file_digest(checkpoint),
        "overrides": {key: value for key, value in flat(plain) if key and is_decisive(key)},
        "artifacts": {name: Artifact.at(path).key for name, path in filled_artifacts(config).items()},
    }


def _copy_artifact(text: str, artifact: str | None, folder: Path) -> str:
    """A text of the configuration; the path of an artifact becomes that of its copy in ``folder``."""
    if artifact is None:
        return text
    if artifact.endswith("/sequences"):
        (folder / artifact).mkdir(parents=True, exist_ok=True)
        write_counts(Artifact.at(text), folder / artifact)
        return HERE + artifact
    shutil.copytree(text, folder / artifact, dirs_exist_ok=True)
    return HERE + artifact
