"""Plain values of files that others may have written: read with a limit on their size and depth, and nothing is called.

A file of 200 bytes can stand for 10^9 values (YAML aliases, objects that a pickle shares), and deep nesting ends the process.
Both are refused before anything walks through the values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage_pl.errors import SettingError

DEEPEST = 50  # levels of nesting
MOST = 200_000  # values of a configuration
_LARGEST = 256 * 2**20  # bytes of a file


class PlainError(SettingError):
    """A file holds no plain values, or too many."""


def check_size(value: Any, source: str | Path, most: int = MOST) -> None:
    """Refuse nested values beyond ``most`` parts or :data:`DEEPEST` levels; a shared part counts wherever it stands.

    Args:
        value: of mappings, lists and leaves.
        source: for the message.

    Raises:
        PlainError: naming the limit.
    """
    pending, count = [(value, 0)], 0
    while pending:
        part, depth = pending.pop()
        count += len(part) if isinstance(part, str) and len(part) > most else 1
        if isinstance(part, Mapping):
            children = [*part.keys(), *part.values()]
        else:
            children = list(part) if isinstance(part, list | tuple | set | frozenset) else []
        count += len(children)
        if count > 3 * most or depth > DEEPEST:
            limit = f"nested deeper than {DEEPEST} levels" if depth > DEEPEST else f"more than {most:,}"
            raise PlainError(f"{source} is refused: its values are {limit}; it is no file that this project writes")
        pending += [(child, depth + 1) for child in children]


def read_json(file: Path, most: int = MOST) -> Any:
    """The content of a JSON file.

    Raises:
        PlainError: it is damaged or too large.
    """
    try:
        content = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise PlainError(f"{file} cannot be read as JSON ({_reason(error)}); restore it or make it again") from error
    check_size(content, file, most)
    return content


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; aliases are refused, since the project writes none. libyaml reads it where available.

    Raises:
        PlainError: it is damaged, too large or holds an alias.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = _text(file)
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST or count > MOST:
                limit = f"an alias, more than {MOST:,} values or more than {DEEPEST} levels"
                raise PlainError(f"{file} is refused: it holds {limit}; it is no file that this project writes")
        content = yaml.load(text, Loader=loader)
    except PlainError:
        raise
    except Exception as error:
        raise PlainError(f"{file} cannot be read as YAML ({_reason(error)}); restore it or make it again") from error
    return content


def _text(file: Path) -> str:
    if file.stat().st_size > _LARGEST:
        raise PlainError(f"{file} is refused: it has {file.stat().st_size / 2**20:,.0f} MiB, at most 256 are read")
    return file.read_text()


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
