"""Building parts from plain values: the one place that calls Hydra's ``instantiate``."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from sage_pl.errors import UserError
from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError, texts, unresolved_texts

_REFERENCE = re.compile(r"\$\{[\w.@/-]+\}|\$\{(?:oc\.select|hydra|now):[^${}]*\}")  # all that conf/ uses


def construct(name: str, node: Mapping[str, Any], **more: Any) -> Any:
    """The object that a node describes.

    Hydra resolves references once more while it builds. A text that still holds one is refused here, since what it resolves
    to would pass no check.

    Args:
        name: of the node, for messages.
        node: plain values, resolved.
        more: arguments that are objects already.

    Raises:
        ConfigError: a ``_target_`` is not allowed, an argument does not fit, a text is unresolved, or a package is missing.
    """
    checks.refuse([*checks.target_problems({name: node}), *unresolved_texts(node, name)])
    try:
        return instantiate(dict(node), _convert_="all", **more)
    except InstantiationException as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise ConfigError(f"{node['_target_']} lacks a package: {_what_brings_it(error.__cause__)}") from error


def _what_brings_it(error: ModuleNotFoundError) -> str:
    """The extra of this distribution with the package that an error names; the error's own words where none has it."""
    words = {word.lower().replace("_", "-") for word in re.findall(r"[\w-]+", f"{error.name} {error}")}
    with suppress(importlib.metadata.PackageNotFoundError):
        for requirement in importlib.metadata.requires("sage-pl") or ():
            match = re.match(r"([\w-]+).*extra == .([\w-]+)", requirement)
            if match and match[1].lower() in words:
                return f'pip install "sage-pl[{match[2]}]"'
    return " ".join(str(error).split())


@contextmanager
def stored(source: str | Path) -> Iterator[None]:
    """Within it, a stored configuration is read and built: whatever it lacks or has of a wrong kind is one error.

    Raises:
        ConfigError: naming the file and the reason.
    """
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, ArithmeticError, AttributeError, LookupError, MemoryError) as error:
        raise _unusable(source, error) from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise _unusable(source, error) from error


def _unusable(source: str | Path, error: Exception) -> ConfigError:
    cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
    reason = " ".join(str(cause).split())[:300]
    named = reason if isinstance(cause, UserError) else f"{type(cause).__name__}: {reason}"
    return ConfigError(
        f"{source} holds a configuration that cannot be used ({named}); correct it by an override, or train the model again"
    )


def foreign_resolvers(recipe: Mapping[str, Any]) -> list[str]:
    """A line for every text of a stored recipe that calls a resolver which ``conf/`` does not use, such as ``oc.env``."""
    lines = [(place.lstrip("."), text) for place, text in texts(recipe, "") if "${" in _without_references(text)]
    return [f"{place} holds {text!r}, and a stored configuration must not call resolvers" for place, text in lines]


def _without_references(text: str) -> str:
    while (shorter := _REFERENCE.sub("", text)) != text:  # from the inside out
        text = shorter
    return text
