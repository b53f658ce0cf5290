"""Folders in the layout of the Hugging Face hub: written, uploaded and fetched."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sage_pl.artifacts.files import MANIFEST, records_of, refuse_existing, whole_folder
from sage_pl.artifacts.weights import read_weights
from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.cached import TABLES

SCHEME = "hf://"  # sage_pl.load("hf://OWNER/NAME")


def write_layout(write: Callable[[Path], object], card: str, facts: dict[str, Any], folder: Path) -> None:
    """An exported folder whose tables and weights are safetensors, with a model card and ``config.json``, atomically.

    Args:
        write: writes the exported folder to a path that is absent.
        card: the README.
        facts: what ``config.json`` says of the model, which the hub counts downloads by.
        folder: must not exist.

    Raises:
        SettingError: the folder exists, or the package safetensors is missing.
    """
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError as error:
        raise SettingError('format=hub needs the package safetensors; run: pip install "sage-pl[hub]"') from error
    refuse_existing(folder)
    with whole_folder(folder) as work:
        work.rmdir()
        write(work)
        tables = {file.stem: np.load(file, allow_pickle=False) for file in sorted((work / "items").glob("*.npy"))}
        save_file(
            {name: torch.from_numpy(table) for name, table in tables.items()}, work / "items" / f"{TABLES}.safetensors"
        )
        for file in [*(work / "items").glob("*.npy"), *work.glob("*.pt")]:
            if file.suffix == ".pt":
                weights = {
                    name: value.clone(memory_format=torch.contiguous_format)
                    for name, value in read_weights(file).items()
                }
                save_file(weights, file.with_suffix(".safetensors"))
            file.unlink()
        (work / "README.md").write_text(card, encoding="utf-8")
        (work / "config.json").write_text(json.dumps(facts, indent=2))
        (work / MANIFEST).unlink()
        (work / MANIFEST).write_text(json.dumps({"files": records_of(work)}, indent=2))


def upload(write: Callable[[Path], object], repo: str, private: bool, token: str | None) -> str:
    """Write a folder for a moment and upload it; returns the repository's address.

    Args:
        write: writes the folder to a path that is absent.
        repo: OWNER/NAME.
        private: of a repository that is made now.
        token: None for that of ``hf auth login``.

    Raises:
        SettingError: the hub refuses, or cannot be reached.
    """
    if not isinstance(repo, str):
        raise SettingError(f"repo is {repo!r}, wanted OWNER/NAME")
    hub = _hub()
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "model")
        api = hub.HfApi(token=token)
        try:
            made = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=made.repo_id, folder_path=Path(place) / "model", commit_message="A trained recommender"
            )
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            raise SettingError(
                f"nothing was uploaded to {repo}: {' '.join(str(error).split())}; log in with hf auth login, or give token="
            ) from error
    return str(made)


def fetch(address: str) -> Path:
    """The folder of ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@REVISION`` in the hub's cache, downloaded where it is not there.

    Raises:
        SettingError: the hub has no such repository, or cannot be reached.
    """
    hub = _hub()
    repo, _, revision = address.removeprefix(SCHEME).partition("@")
    try:
        return Path(hub.snapshot_download(repo, revision=revision or None))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise SettingError(
            f"{address} cannot be fetched: {' '.join(str(error).split())}; wanted hf://OWNER/NAME"
        ) from error


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise SettingError('the hub needs the package huggingface_hub; run: pip install "sage-pl[hub]"') from error
    return huggingface_hub
