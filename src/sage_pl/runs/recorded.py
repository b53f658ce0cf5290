"""A configuration as it is recorded: values as they are, and by its name what the environment gave."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

_STANDS_FOR = re.compile(r"<environment:(\d+)>")


def recorded(config: DictConfig) -> dict[str, Any]:
    """Plain values with resolved references, but ``${oc.env:X}`` as it is written, wherever its value ends up.

    The environment holds keys and passwords; files of a run, W&B and reports are passed on. Folders under ``paths`` are
    resolved earlier (:func:`sage_pl.runs.plan.recipe_of`), since what is stored there must be found again.
    """
    if not _reads_environment(config):
        plain: Any = OmegaConf.to_container(config, resolve=True)
        return plain
    calls: list[str] = []
    copy = OmegaConf.create(_without_calls(OmegaConf.to_container(config, resolve=False), calls))
    return _values(copy, calls)


def save(config: DictConfig, file: Path) -> None:
    """Write :func:`recorded` as YAML."""
    if _reads_environment(config):
        OmegaConf.save(OmegaConf.create(recorded(config)), file)
    else:
        OmegaConf.save(config, file, resolve=True)


def _reads_environment(config: DictConfig) -> bool:
    return "oc.env" in str(OmegaConf.to_container(config, resolve=False))


def hidden(config: DictConfig) -> dict[str, str]:
    """Texts that the environment gave -> what is recorded for them."""
    if not _reads_environment(config):
        return {}
    pairs = zip(_leaves(_values(config, [])), _leaves(recorded(config)), strict=True)
    return {
        value: record for value, record in pairs if isinstance(value, str) and value != record and "${" in str(record)
    }


class Masked(logging.Filter):
    """Log lines with the recorded texts in place of those that the environment gave; for handlers.

    Args:
        texts: of :func:`hidden`; those of fewer than four characters stand in too many words.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.texts = {text: record for text, record in texts.items() if len(text) >= 4}

    def __eq__(self, other: object) -> bool:  # a handler adds an equal filter once
        return isinstance(other, Masked) and other.texts == self.texts

    def __hash__(self) -> int:
        return hash(tuple(self.texts.items()))

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        for text, name in self.texts.items():
            message = message.replace(text, name)
        record.msg, record.args = message, ()
        return True


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list) else [value]


def _without_calls(value: Any, calls: list[str]) -> Any:
    """The same values; a placeholder stands for every reference that reads the environment."""
    if isinstance(value, dict):
        return {key: _without_calls(part, calls) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_calls(part, calls) for part in value]
    if not isinstance(value, str) or "oc.env" not in value:
        return value
    pieces, at = [], 0
    for start, stop in _references(value):
        if "oc.env" in (call := value[start:stop]):
            pieces += [value[at:start], f"<environment:{len(calls)}>"]
            calls.append(call)
            at = stop
    return "".join([*pieces, value[at:]])


def _references(text: str) -> list[tuple[int, int]]:
    """Start and end of every outermost ``${...}``; one that is not closed goes to the end."""
    found, at = [], 0
    while (start := text.find("${", at)) >= 0:
        depth, at = 1, start + 2
        while depth and at < len(text):
            depth += (text[at] == "{") - (text[at] == "}")
            at += 1
        found.append((start, at))
    return found


def _values(node: Any, calls: list[str]) -> Any:
    if isinstance(node, DictConfig):
        return {key: _value(node, key, calls) for key in node}
    return [_value(node, index, calls) for index in range(len(node))]


def _value(node: Any, key: Any, calls: list[str]) -> Any:
    if OmegaConf.is_missing(node, key):
        return "???"
    try:
        value = node[key]
    except OmegaConfBaseException:  # it refers to something by a name that the environment gives
        value = node._get_node(key)._value()
    if isinstance(value, DictConfig | ListConfig):
        return _values(value, calls)
    return _STANDS_FOR.sub(lambda match: calls[int(match[1])], value) if isinstance(value, str) else value
