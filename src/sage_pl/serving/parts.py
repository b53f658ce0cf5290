"""Parts of an exported folder, built from its plain values by torch alone: Hydra composes what trains, not what serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sage_pl.errors import UserError
from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError

HERE = "<here>/"  # placeholder of the folder in its own paths


def built(name: str, node: Mapping[str, Any]) -> Any:
    """The object that a node describes, by the same rules as :func:`sage_pl.runs.construct.construct`.

    Args:
        name: of the node, for messages; its first part decides which classes are allowed.
        node: plain values; ``_target_`` names a class, ``_partial_`` asks for a function that waits for further arguments.

    Raises:
        ConfigError: a ``_target_`` is not allowed, an argument does not fit, or a text is a reference.
    """
    checks.refuse([*checks.target_problems({name: node}), *checks.unresolved_texts(node, name)])
    return _built(node)


def _built(node: Any) -> Any:
    if isinstance(node, list):
        return [_built(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    values = {key: _built(value) for key, value in node.items() if key not in checks.SPECIAL}
    if "_target_" not in node:
        return values
    part = checks.part_called(node["_target_"])
    return partial(part, **values) if node.get("_partial_") else part(**values)


@contextmanager
def of_folder(place: Path) -> Iterator[None]:
    """Within it, an exported folder is read and built: whatever it lacks or has of a wrong kind is one error.

    Raises:
        ConfigError: naming the folder and the reason.
    """
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, ImportError, LookupError, MemoryError) as error:
        raise _unusable(place, error) from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise _unusable(place, error) from error


def _unusable(place: Path, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:300]
    return ConfigError(
        f"{place} holds a configuration that cannot be used ({type(error).__name__}: {reason}); write it again with "
        "scripts/export.py checkpoint=FILE folder=DIR"
    )


def with_place(node: Any, place: Path) -> Any:
    """The same plain values with the paths of a folder that is now at ``place``."""
    return map_texts(node, lambda text: str(place / text.removeprefix(HERE)) if text.startswith(HERE) else text)


def map_texts(node: Any, change: Callable[[str], str]) -> Any:
    """The same plain values with ``change`` applied to every text."""
    if isinstance(node, dict):
        return {key: map_texts(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [map_texts(value, change) for value in node]
    return change(node) if isinstance(node, str) else node
