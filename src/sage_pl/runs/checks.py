"""Checks on a composed configuration, before anything is built from it.

Nothing else in the package knows about configurations: parts are constructed from plain arguments.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationKeyError

from sage_pl.artifacts.identity import decides

if TYPE_CHECKING:  # numpy and polars would slow --help down
    from sage_pl.artifacts.store import Artifact

_HOW_LONG = ("trainer.max_", "trainer.limit_", "callbacks.early_stopping.patience")
_LIGHTNING = ("callbacks.", "loggers.", "profilers.")
_COMMON = (
    "sage_pl.",
    "torch.nn.",
    "torch.optim.",
    "torchmetrics.",
    *(f"pytorch_lightning.{part}" for part in _LIGHTNING),
)
ALLOWED = (*_COMMON, "pytorch_lightning.Trainer")  # what a `_target_` may be called
HOMES = (*_COMMON, "pytorch_lightning.trainer.")  # where what it leads to may live
_SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_"}
_PENDING = re.compile(r"<artifact:(\w+)>")


class ConfigError(ValueError):
    """The configuration cannot be run; the message lists every problem found."""


def nodes(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping that names a ``_target_``, with its dotted path."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, config
        for key, value in config.items():
            yield from nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list | tuple | ListConfig):
        for index, value in enumerate(config):
            yield from nodes(value, f"{path}[{index}]")


def _problem(path: str, node: Mapping[str, Any]) -> str | None:
    """What is wrong with one node, if anything."""
    target = node["_target_"]
    if not isinstance(target, str) or not target.startswith(ALLOWED):
        return f"{path}._target_ is {target!r}; allowed are names that begin with {', '.join(ALLOWED)}"
    try:
        found = get_object(target)
    except Exception as error:  # noqa: BLE001 - an import may fail in any way; the reason is passed on
        return f"{path}._target_ {target!r} cannot be imported: {error}"
    if not f"{getattr(found, '__module__', '')}.".startswith(HOMES):
        return f"{path}._target_ {target!r} leads to {found!r}, which lives outside {', '.join(HOMES)}"
    if not inspect.isclass(found):
        return f"{path}._target_ {target!r} is a {type(found).__name__}; parts are classes"
    if "_args_" in node:
        return f"{path} passes positional arguments (_args_); name them"
    arguments = {key: value for key, value in node.items() if key not in _SPECIAL}
    try:
        signature = inspect.signature(found)
    except ValueError:
        return f"{path}._target_ {target!r} is no part: it cannot be called with named arguments"
    try:
        (signature.bind_partial if node.get("_partial_") else signature.bind)(**arguments)
    except TypeError as error:
        return f"{path} ({target}): {error}; it takes {', '.join(signature.parameters)}"
    return None


def check_targets(config: Mapping[str, Any]) -> None:
    """Bind every ``_target_`` to the allow-list and to the signature it names.

    Raises:
        ConfigError: listing every node that would import something not allowed or could not be called.
    """
    problems = [problem for path, node in nodes(config) if (problem := _problem(path, node))]
    if problems:
        raise ConfigError("the configuration cannot be run:\n  " + "\n  ".join(problems))


def check_needs(needs: frozenset[str], provides: frozenset[str]) -> None:
    """What the losses read from a batch must be collated into it.

    Raises:
        ConfigError: naming what is missing.
    """
    if missing := needs - provides:
        raise ConfigError(
            f"the losses read {', '.join(sorted(missing))} from a batch, which holds {', '.join(sorted(provides))}; "
            "add what provides it under data.extras (conf/data/default.yaml)"
        )


_NAMED_PARTS = ("loss.terms", "start", "item_encoder.experts", "sequence_encoder.experts")


def prune(config: DictConfig) -> list[str]:
    """Remove named parts set to null, terms of weight 0, and batch extras that no remaining term needs; returns their names.

    Raises:
        ConfigError: a weight is given for a term that there is not.
    """
    removed = []
    with open_dict(config):
        for path in _NAMED_PARTS:
            parts: Any = OmegaConf.select(config, path)
            for name in [name for name, part in (parts or {}).items() if part is None]:
                del parts[name]
                removed.append(f"{path}.{name}")
        known = [str(name) for name, term in config.loss.terms.items() if "_target_" in term]
        for name in config.loss.terms.keys() - set(known):
            raise ConfigError(
                f"loss.terms.{name} has a weight, but there is no such term; there are: {', '.join(known) or 'none'}"
            )
        for name in [name for name, term in config.loss.terms.items() if term.weight == 0]:
            del config.loss.terms[name]
            removed.append(f"loss.terms.{name}")
        needed = frozenset[str]().union(*(_attribute(term, "needs") for term in config.loss.terms.values()))
        for name in [name for name, extra in config.data.extras.items() if not _attribute(extra, "provides") & needed]:
            del config.data.extras[name]
            removed.append(f"data.extras.{name}")
    return removed


def _attribute(node: DictConfig, name: str) -> frozenset[str]:
    problem = _problem("loss.terms", OmegaConf.to_container(node, resolve=False))  # type: ignore[arg-type]
    if problem and "_target_" in problem:
        raise ConfigError(problem)
    return getattr(get_object(node._target_), name)


def unused_weights(config: DictConfig) -> list[str]:
    """Numbers under ``loss``, by name, that are not 0 and that no remaining term, stage or step reads."""
    raw: Any = OmegaConf.to_container(config, resolve=False)
    readers = str([raw["loss"]["terms"], raw.get("stages"), raw["steps"]])
    weights = [key for key, value in raw["loss"].items() if isinstance(value, int | float) and value]
    return [str(key) for key in weights if f"${{loss.{key}}}" not in readers]


def rehearsal(config: DictConfig, parts: Iterable[str]) -> dict[str, Any]:
    """The given top-level parts as plain values, with stand-ins for what preparation will fill in.

    Raises:
        ConfigError: a part refers to something that the configuration does not have.
    """
    check_missing(config)
    trial = config.copy()
    with open_dict(trial):
        for name in trial.artifacts:
            trial.artifacts[name] = f"<artifact:{name}>"
        trial.catalog = {"n_users": 1, "n_items": 1}
    try:
        return {part: OmegaConf.to_container(trial[part], resolve=True) for part in parts}
    except InterpolationKeyError as error:
        wanted = str(error.msg or error).partition("'")[2].partition("'")[0]
        raise ConfigError(
            f"{error.full_key} refers to ${{{wanted}}}, which this configuration does not have; choose what brings it, or set "
            f"{error.full_key} to a value"
        ) from error


def wanted_artifacts(config: DictConfig, parts: Iterable[str]) -> list[str]:
    """Names of the artifacts that the given top-level parts refer to."""
    return sorted(set(_PENDING.findall(str(rehearsal(config, parts)))))


def enter_artifacts(config: DictConfig, made: Mapping[str, Artifact]) -> None:
    """Enter the paths of finished artifacts, and the catalogue's sizes, where parts refer to them."""
    with open_dict(config):
        for name, artifact in made.items():
            config.artifacts[name] = str(Path(artifact.path).resolve())
        sequences = made["sequences"]
        config.catalog.n_items = sequences.height("items")
        config.catalog.n_users = len(sequences.array("train_end")) - 1


def entered_artifacts(config: DictConfig) -> dict[str, str]:
    """The paths that :func:`enter_artifacts` entered, by name."""
    paths: Any = OmegaConf.to_container(config.artifacts)
    return {name: path for name, path in paths.items() if path != "???"}


def refuse_given_artifacts(config: DictConfig) -> None:
    """Artifacts are entered by preparation alone.

    Raises:
        ConfigError: some were given, with the options that take what was made elsewhere.
    """
    if given := entered_artifacts(config):
        raise ConfigError(
            f"{', '.join(f'artifacts.{name}={path}' for name, path in given.items())} cannot be given: preparation enters what "
            "its steps make. Of what was made elsewhere, a tuned text encoder is taken by embedder=scft "
            "steps.embed.adapter=FOLDER, vectors by embedder=precomputed steps.embed.path=FILE, a whole cache by "
            "paths.artifacts=FOLDER"
        )


def make_paths_absolute(config: DictConfig) -> None:
    """So that a checkpoint can be evaluated from any folder."""
    config.paths = {name: str(Path(place).resolve()) for name, place in config.paths.items()}
    for node in (config.dataset, config.dataset.source, *config.steps.values()):
        raw: Any = OmegaConf.to_container(node, resolve=False)
        for key in {"path", "reviews", "metadata", "businesses", "adapter", "model"} & raw.keys():
            if isinstance(raw[key], str) and Path(raw[key]).exists():
                node[key] = str(Path(raw[key]).resolve())


def flat(config: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its dotted key."""
    if not isinstance(config, Mapping):
        return {path: config}
    return {
        k: v for key, child in config.items() for k, v in flat(child, f"{path}.{key}" if path else str(key)).items()
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ, apart from where things live, how they are shown and how long a run goes on."""
    before, after = flat(old), flat(new)
    aside = ("resume", "sweep", "report", "paths.", "logger.", "hydra.", "artifacts.", "catalog.", *_HOW_LONG)
    keys = sorted(key for key in before.keys() | after.keys() if not key.startswith(aside) and decides(key))
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def check_given(config: DictConfig, *keys: str) -> None:
    """A command's own mandatory arguments must be given.

    Raises:
        ConfigError: naming those that are not.
    """
    _refuse_missing([key for key in keys if OmegaConf.is_missing(config, key)])


def check_missing(config: DictConfig, needed: Iterable[str] = ()) -> None:
    """Mandatory values (``???``) of the data set and of the steps that will run must be given.

    Raises:
        ConfigError: naming the keys to set.
    """
    prefixes = ("dataset.", *(f"steps.{name}." for name in needed))
    raw = flat(OmegaConf.to_container(config, resolve=False))
    _refuse_missing(sorted(key for key, value in raw.items() if value == "???" and key.startswith(prefixes)))


def _refuse_missing(keys: list[str]) -> None:
    if keys:
        raise ConfigError(f"please set {', '.join(f'{key}=...' for key in keys)}")


def suggest(key: str, known: Iterable[str]) -> str:
    """The known key nearest to a mistyped one, as a hint, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    if not close:  # the right name under the wrong parent, e.g. gamma for loss.gamma
        close = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:3]
    return f"did you mean {' or '.join(close)}?" if close else ""


def known_keys(config: DictConfig) -> list[str]:
    """Every dotted key of a configuration."""

    def walk(value: Any, path: str) -> Iterator[str]:
        if path:
            yield path
        if isinstance(value, Mapping):
            for key, child in value.items():
                yield from walk(child, f"{path}.{key}" if path else str(key))

    return list(walk(OmegaConf.to_container(config, resolve=False), ""))
