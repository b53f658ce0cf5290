"""What decides a result: every leaf of every method is changed, and the settings that do not count are listed."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.identity import decisive, flat, is_decisive
from sage_pl.commands.door import config_dir
from sage_pl.runs.stages import decisive_settings
from tests.planned import planned

METHODS = sorted(  # those that are trained: a floor has no part of its own
    path.stem for path in (config_dir() / "method").glob("*.yaml") if "/objective: none" not in path.read_text()
)
INDIFFERENT = [
    *("role", "run_dir", "report", "resume", "sweep", "verify", "floors"),  # what a run is called and writes
    *("paths.*", "logger.*", "choices*"),
    *("stages*", "steps.*"),  # artifacts, each with a key of its own
    *(
        "dataset.name",
        "dataset.path",
        "dataset.source.*",
        "dataset.filters",
        "dataset.catalogue",
        "dataset.prompt",
        "dataset.instruction",
        "dataset.expect",
    ),
    *("dataset.cluster.*", "split.*"),  # act through steps
    *("evaluation.table_mb", "model.table_mb", "optimizer.fused", "data.extras.neighbours.ratio"),  # how fast
    *("data.eval_batch_size", "data.num_workers"),
    *("callbacks.best.dirpath", "callbacks.best.filename", "callbacks.best.resume"),
    *(
        "callbacks.last.[!_]*",
        "callbacks.gradient_norms.every_n_steps",
        "callbacks.term_gradients.every_n_epochs",
        "callbacks.at_chance.after_epochs",
        "callbacks.footprint.folder",
    ),  # observers
    *("callbacks.epoch_lines.monitor", "callbacks.progress.monitor", "callbacks.validation_table.monitor"),
    *("trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.default_root_dir"),
    "trainer.enable_model_summary",
    *("trainer.log_every_n_steps", "trainer.num_sanity_val_steps", "trainer.use_distributed_sampler"),
]
DATA = ("dataset=folder", "dataset.path=x", "embedder=tfidf")
UNREAD = ("freeze", "refit", "loss.[!t]*", "products")  # by methods none of whose parts refers to them


def editable(config: DictConfig) -> DictConfig:
    copy = config.copy()
    OmegaConf.set_readonly(copy, False)
    OmegaConf.set_struct(copy, False)
    return copy


def changed_leaves(config: DictConfig) -> dict[str, Any]:
    """Every leaf with another value; placeholders of preparation stay."""
    leaves = flat(OmegaConf.to_container(config, resolve=False))
    return {key: f"<changed {key}>" for key, _ in leaves if not key.startswith(("artifacts.", "catalog."))}


def indifferent(config: DictConfig) -> set[str]:
    """Leaves that change no decisive setting.

    Many values are changed at once, and a setting counts where its new value appears: first plain values, then references to
    values, then references to whole nodes from the inside out. A callback's address is changed alone, since it decides
    whether its settings count.
    """
    plain, leaves = dict(flat(OmegaConf.to_container(config, resolve=False))), changed_leaves(config)
    references = {key for key in leaves if isinstance(plain[key], str) and plain[key].startswith("${")}
    whole = {key for key in references if OmegaConf.is_config(selected(config, plain[key]))}
    addresses = {key for key in leaves if key.startswith("callbacks.") and key.endswith("._target_")}
    outer = {key for key in whole if key.startswith("model.")}
    seen: set[str] = set()
    for group in (leaves.keys() - references - addresses, references - whole, whole - outer, outer):
        trial = editable(config)
        for key in group:
            OmegaConf.update(trial, key, leaves[key])
        text = str(decisive_settings(trial))
        seen |= {key for key in group if leaves[key] in text}
    return leaves.keys() - seen - (addresses - one_by_one(config, sorted(addresses)))


def selected(config: DictConfig, reference: str) -> Any:
    return OmegaConf.select(config, reference.removeprefix("${").removesuffix("}"), throw_on_missing=False)


def one_by_one(config: DictConfig, keys: list[str]) -> set[str]:
    """The same by changing one leaf at a time."""
    before, leaves, same = decisive_settings(config), changed_leaves(config), set()
    for key in keys:
        trial = editable(config)
        OmegaConf.update(trial, key, leaves[key])
        if decisive_settings(trial) == before:
            same.add(key)
    return same


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_a_method_counts_but_for_those_listed(method: str) -> None:
    config = planned(*DATA, f"method={method}").config
    unlisted = one_by_one(config, sorted(key for key in indifferent(config) if not matches(key, INDIFFERENT)))
    replaced = (
        ("backbone.*", "dropout") if method in ("tiger", "semantic_convergence_llm", "stosa") else ()
    )  # an encoder-decoder, a language model or attention of distributions stands in the backbone's place
    if method == "semantic_convergence_llm":
        replaced += ("targets.*",)  # those of the backbone, and so of the plain run; its own are loss.targets
    assert not {key for key in unlisted if not matches(key, (*UNREAD, *replaced))}


def matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(key, pattern) for pattern in patterns)


def test_changing_all_at_once_equals_changing_one_by_one() -> None:
    config = planned(*DATA, "method=sage").config
    keys = sorted(changed_leaves(config))[::9]
    assert one_by_one(config, keys) == one_by_one(config, sorted(indifferent(config) & set(keys)))


def test_settings_listed_as_indifferent_are_so_in_every_method() -> None:
    keys = set(changed_leaves(planned(*DATA, "method=sage").config))
    listed = {key for key in keys if matches(key, INDIFFERENT)}
    assert listed <= indifferent(planned(*DATA, "method=sage").config)


@pytest.mark.parametrize(
    ("key", "decides"),
    [
        ("data.batch_size", True),
        ("data.eval_batch_size", False),
        ("optimizer.lr", True),
        ("optimizer.fused", False),
        ("trainer.precision", True),
        ("trainer.accelerator", False),
        ("a_key_of_tomorrow", True),
        ("model.a_key_of_tomorrow", True),
        ("callbacks.swa.swa_lrs", True),
        ("my.devices", True),
        ("wanted", False),  # of a preparation, whose stages a training finds
    ],
)
def test_a_setting_decides_unless_it_is_listed(key: str, decides: bool) -> None:
    assert is_decisive(key) is decides


def test_a_new_key_counts_by_itself() -> None:
    assert decisive({"a_key_of_tomorrow": 3, "dim": 4}) == {"a_key_of_tomorrow": 3}
