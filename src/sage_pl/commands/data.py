"""The command data: fetch a public data set, or say how to get one that may not be fetched."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.plain import read_yaml
from sage_pl.commands import following
from sage_pl.commands.door import config_dir
from sage_pl.data import fetching
from sage_pl.errors import UserError
from sage_pl.ranges import Count
from sage_pl.runs.checks import missing_values, refuse
from sage_pl.runs.construct import construct
from sage_pl.runs.numbers import setting_problems

log = logging.getLogger(__name__)
_ACCEPTED = ".licence_accepted"


class LicenceError(UserError):
    """The licence of a data set was not accepted."""


def data(config: DictConfig) -> None:
    """Fetch the files of ``config.download``, and write them as a folder that its data set reads.

    Raises:
        ConfigError: a value is missing, such as the category, or a number is out of range.
        LicenceError: the licence was not accepted.
        FetchError, DataError: a file cannot be fetched, or has other contents than are known.
    """
    if "title" not in config:
        _list()
        return
    recipe: Any = OmegaConf.to_container(config, resolve=False)
    refuse(missing_values({"category": recipe.get("category")}, "category"))
    refuse(setting_problems({"tries": Count, "timeout": Count}, {"tries": config.tries, "timeout": config.timeout}))
    plain: Any = OmegaConf.to_container(config, resolve=True)
    if plain["by_hand"]:
        _by_hand(plain)
        return
    folder = Path(plain["folder"]) if "folder" in plain else None
    if folder is None or not (folder / "interactions.parquet").is_file():
        _fetch(plain)
        if folder is not None:
            log.info("%s: its files become %s", plain["title"], folder)
            fetching.write_folder(construct("source", plain["source"]), folder, plain["expect"])
    if folder is not None:
        log.info("data        %s", folder)
    log.info("next        %s", following.training([*plain["settings"].split(), *_elsewhere(config, folder)]))


def _elsewhere(config: DictConfig, folder: Path | None) -> list[str]:
    return [] if folder is None or config.paths.data == "data" else [f"paths.data={config.paths.data}"]


def _list() -> None:
    """Every name with what it is and its licence."""
    for file in sorted((config_dir() / "download").glob("*.yaml")):
        content = read_yaml(file)
        how = "by hand" if "by_hand" in content else "fetched"
        title = content["title"].replace("${category}", "CATEGORY")
        print(f"{file.stem:14} {title} ({how}); {content['licence']}")
    print("\nFetch one: sage-pl data NAME; in a clone: python scripts/download.py NAME")


def _by_hand(plain: dict[str, Any]) -> None:
    print(f"{plain['title']} may not be fetched by a program ({plain['licence']}):")
    for number, step in enumerate(plain["by_hand"], 1):
        print(f"  {number}. {step}")
    print(f"  {len(plain['by_hand']) + 1}. {following.training(plain['settings'].split())}")


def _fetch(plain: dict[str, Any]) -> None:
    raw = Path(plain["raw"])
    files = {raw / one["url"].rpartition("/")[2]: one for one in plain["files"].values()}
    missing = [one["url"] for file, one in files.items() if not file.is_file()]
    if missing:
        _accept(plain, missing, raw)
    for file, one in files.items():
        log.info("%s -> %s", one["url"], file)
        fetching.fetch(one["url"], file, one["md5"], plain["tries"], plain["timeout"])


def _accept(plain: dict[str, Any], urls: list[str], raw: Path) -> None:
    """Show the licence, the addresses and their sizes, and ask once.

    Raises:
        LicenceError: the answer is no, or there is no one to ask.
    """
    print(f"{plain['title']}: {plain['page']}\nLicence: {plain['licence']}")
    for url in urls:
        size = fetching.size_of(url, plain["timeout"])
        print(f"  {url}  ({'size unknown' if size is None else f'{size / 1e6:,.1f} MB'})")
    raw.mkdir(parents=True, exist_ok=True)
    if not plain["accept"] and not (raw / _ACCEPTED).is_file():
        if not sys.stdin.isatty():
            raise LicenceError("the licence is accepted by a person, or by --yes where nobody can be asked")
        if input("Fetch these files under this licence? [y/N] ").strip().lower() not in ("y", "yes"):
            raise LicenceError("nothing is fetched without the licence accepted; y accepts it, and so does --yes")
    (raw / _ACCEPTED).write_text(f"{plain['licence']}\n")
