"""Every choice of conf/, found by looking, and configurations with stand-ins for what is only known at run time."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parent.parent.parent / "conf"
SOMEWHERE = "somewhere"  # stands for a path or a mandatory value that nobody gave
PARTS = ("model", "data", "steps", "callbacks", "trainer", "logger")

ALSO = {  # a choice that means nothing without another
    "semantic=handled": ["dataset=handled"],
    "model=generative": ["method=semantic_convergence"],
    "objective=codes": ["method=semantic_convergence"],
    "objective=code_sequence": ["method=semantic_convergence_llm"],
    "loss=semantic_convergence_llm": ["method=semantic_convergence_llm"],
    "loss=stosa": ["method=stosa"],
    "method=repeat": ["dataset=pantry"],
}
PARTS_LEFT_OUT = [path.relative_to(CONF / "without").with_suffix("") for path in (CONF / "without").glob("*/*.yaml")]
ALSO |= {f"without={part.as_posix()}": [f"method={part.parent}"] for part in PARTS_LEFT_OUT}


def groups_of_a_run() -> set[str]:
    """Groups that conf/train.yaml chooses from; the others are put into a place of their own."""
    return {
        str(key).removeprefix("optional ") for entry in OmegaConf.load(CONF / "train.yaml").defaults for key in entry
    }


def choices() -> list[str]:
    """One override per file of every group, e.g. ``backbone=sasrec`` or ``+loss/term@alone=mmd``."""
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.parent.relative_to(CONF).as_posix()
        if group.startswith("without/"):
            found.append(f"without={path.relative_to(CONF / 'without').with_suffix('').as_posix()}")
        elif group not in (
            ".",
            "local",
            "download",
        ):  # conf/data.yaml chooses the latter, see tests/commands/test_data.py
            found.append(f"{group}={path.stem}" if group in groups_of_a_run() else f"+{group}@alone={path.stem}")
    return found


def composed(*overrides: str, name: str = "train") -> DictConfig:
    return copy.deepcopy(_composed(overrides, name))


@functools.cache
def _composed(overrides: tuple[str, ...], name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides), return_hydra_config=True)


def filled(value: Any) -> Any:
    """The same with a stand-in for every mandatory value."""
    if isinstance(value, dict):
        return {key: filled(child) for key, child in value.items()}
    return [filled(child) for child in value] if isinstance(value, list) else SOMEWHERE if value == "???" else value


def resolved(
    config: DictConfig,
    *parts: str,
    artifacts: Mapping[str, str] | None = None,
    catalog: Mapping[str, int] | None = None,
    output_dir: str = SOMEWHERE,
) -> dict[str, Any]:
    """The parts as plain values, with stand-ins for what preparation and Hydra fill in at run time."""
    config = copy.deepcopy(config)
    OmegaConf.set_struct(config, False)
    config.catalog = dict(catalog or {"n_users": 3, "n_items": 4})
    config.products = "float32"  # which a plan chooses by the processor
    named = re.findall(r"\$\{artifacts\.(\w+)\}", str(OmegaConf.to_container(config, resolve=False)))
    for name in {*config.artifacts, *named}:  # a method may name its own, which a loss of it then refers to
        config.artifacts[name] = (artifacts or {}).get(name, SOMEWHERE)
    config.hydra.runtime.output_dir = output_dir
    for group in ("dataset", "method", "backbone"):
        config.hydra.runtime.choices.setdefault(group, "x")
    plain: Any = OmegaConf.to_container(config, resolve=False)
    text = OmegaConf.create(filled({key: value for key, value in plain.items() if key != "hydra"}))
    OmegaConf.clear_resolver("hydra")
    OmegaConf.register_new_resolver("hydra", lambda key: OmegaConf.select(config.hydra, key, default="x"), replace=True)
    whole: Any = {part: OmegaConf.to_container(text[part], resolve=True) for part in parts if part in text}
    return whole
