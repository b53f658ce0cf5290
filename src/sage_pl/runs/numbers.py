"""Numbers, words and switches of a configuration against the signatures of the parts that use them; nothing is built."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from hydra.utils import get_object

from sage_pl.artifacts.identity import value_at
from sage_pl.ranges import AtMost, Count, Divides, Filled, Limit, Natural, Range, Rate, Share, Signed, Weight
from sage_pl.runs.checks import nodes

_REFERENCE, _PENDING = re.compile(r"\$\{([\w.]+)\}"), re.compile(r"<.*>")
_FROM_MINUS_1 = Annotated[int, Range(-1, 2**31 - 1)]
_OPTIMIZER = {
    **dict.fromkeys(("lr", "lr_decay", "max_lr"), Rate),
    **dict.fromkeys(("weight_decay", "initial_accumulator_value", "lambd", "t0"), Weight),
    **dict.fromkeys(("eps", "momentum", "dampening", "alpha", "rho", "momentum_decay", "tolerance_change"), Share),
    "betas": Annotated[Sequence[Annotated[float, Range(0, 1, below=True)]], Filled()],
}
_CALLBACK = {
    **dict.fromkeys(("patience", "every_n_epochs", "every_n_train_steps", "refresh_rate"), Natural | None),
    "save_top_k": _FROM_MINUS_1,
    "min_delta": Weight,
    "decay": Share,
    **dict.fromkeys(("update_starting_at_step", "update_starting_at_epoch"), Natural | None),
    "update_every_n_steps": Count,
    **dict.fromkeys(("stopping_threshold", "divergence_threshold"), Signed | None),
}
_TRAINER = {
    **dict.fromkeys(("max_epochs", "min_epochs", "max_steps", "num_sanity_val_steps"), _FROM_MINUS_1 | None),
    **dict.fromkeys(("accumulate_grad_batches", "num_nodes", "check_val_every_n_epoch"), Count | None),
    **dict.fromkeys(("min_steps", "log_every_n_steps", "reload_dataloaders_every_n_epochs"), Natural | None),
    **dict.fromkeys(
        ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"), Limit | None
    ),
    "overfit_batches": Weight,
    "gradient_clip_val": Weight | None,
}
_FOREIGN: Mapping[str, Mapping[str, Any]] = {  # by the beginning of a `_target_` that has no annotations of ours
    "torch.optim.": _OPTIMIZER,
    "torch.nn.": {"p": Share, "negative_slope": Signed, "num_parameters": Count, "init": Signed},
    "pytorch_lightning.Trainer": _TRAINER,
    "pytorch_lightning.callbacks.": _CALLBACK,
    "sage_pl.training.loggers.metrics_table.": {"flush_logs_every_n_steps": Count},
    "pytorch_lightning.loggers.": {"flush_logs_every_n_steps": Count},
    "pytorch_lightning.profilers.": {},
    "torchmetrics.": {},
}


def hints(part: Any, target: str = "") -> Mapping[str, Any]:
    """The annotations of a part's settings by name; those of foreign parts are in a table here."""
    for beginning, known in _FOREIGN.items():
        if target.startswith(beginning):
            return known
    owner = part if dataclasses.is_dataclass(part) else part.__init__
    return typing.get_type_hints(owner, include_extras=True)


def number_problems(config: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, str]:
    """A line for every number out of range, and every word or switch that is none, of parts whose targets were checked, and the
    part's path.

    Args:
        config: plain values. A text in ``<...>`` stands for what is filled in later.
        raw: the same with unresolved references, which say where a value was written.
    """
    return {
        f"{_written_at(raw, key)} {text}": path
        for path, node in nodes(config)
        for key, text in _of_settings(path, hints(get_object(node["_target_"]), node["_target_"]), node)
    }


def setting_problems(known: Mapping[str, Any], settings: Mapping[str, Any], path: str = "") -> list[str]:
    """A line for every setting that does not fit its annotation: a number, a word of several, true or false.

    Args:
        known: annotations by the names of the settings.
        settings: plain values; without annotation they count as right.
        path: of the settings, for the lines.
    """
    return [f"{key} {text}" for key, text in _of_settings(path, known, settings)]


def _of_settings(path: str, known: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if name in known and not (isinstance(value, str) and _PENDING.fullmatch(value)):
            yield from _problems(f"{path}.{name}".lstrip("."), value, known[name], settings)


def _written_at(raw: Mapping[str, Any], key: str) -> str:
    """The key that a setting is a reference to, at the end of the chain."""
    names, node = key.split("."), raw
    for place, name in enumerate(names):
        if not isinstance(node, Mapping) or name not in node:
            return key
        node = node[name]
        if isinstance(node, str) and (reference := _REFERENCE.fullmatch(node)):
            return _written_at(raw, ".".join([reference[1], *names[place + 1 :]]))
    return key


def _problems(
    key: str, value: Any, hint: Any, settings: Mapping[str, Any], more: tuple[Any, ...] = ()
) -> Iterator[tuple[str, str]]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        yield from _problems(key, value, arguments[0], settings, (*arguments[1:], *more))
    elif origin in (typing.Union, types.UnionType):
        yield from _union_problems(key, value, arguments, settings, more)
    elif origin is typing.Literal or hint is bool:
        words = [repr(one) for one in arguments] or ["true", "false"]
        if not (value in arguments if arguments else isinstance(value, bool)):
            yield key, f"is {value!r}, wanted {' or '.join(filter(None, (', '.join(words[:-1]), words[-1])))}"
    elif hint in (int, float):
        if text := _number_problem(value, hint, settings, more):
            yield key, text
    elif isinstance(origin, type) and arguments:
        yield from _problems_inside(key, value, origin, arguments, settings, more)


def _problems_inside(
    key: str, value: Any, origin: type, arguments: tuple[Any, ...], settings: Mapping[str, Any], more: tuple[Any, ...]
) -> Iterator[tuple[str, str]]:
    """Those of a list of parts, and of a list or mapping of numbers."""
    named = issubclass(origin, Mapping)
    inner = arguments[-1] if named else arguments[0]
    if origin is Sequence and _is_ours(inner):
        if not isinstance(value, list | tuple) or not all(
            isinstance(one, Mapping) and "_target_" in one for one in value
        ):
            name = key.rpartition(".")[2]
            choice = f"; a file of conf/{name} is chosen by {name}={value}" if isinstance(value, str) else ""
            yield key, f"is {value!r}, wanted a list of parts, each with its _target_{choice}"
        return
    if not _of_numbers(inner) or not (named or issubclass(origin, Sequence)):
        return
    children: dict[str, Any] | None = None
    if named and isinstance(value, Mapping):
        children = {f"{key}.{name}": child for name, child in value.items()}
    elif not named and isinstance(value, list | tuple):
        children = {f"{key}[{at}]": child for at, child in enumerate(value)}
    if children is None or (not children and Filled() in more):
        yield key, f"is {value!r}, wanted a {'mapping' if named else 'list'} of numbers"
    for name, child in (children or {}).items():
        yield from _problems(name, child, inner, settings)


def _union_problems(
    key: str, value: Any, choices: tuple[Any, ...], settings: Mapping[str, Any], more: tuple[Any, ...]
) -> Iterator[tuple[str, str]]:
    """Those of the first choice, where no choice fits."""
    if value is None and type(None) in choices:
        return
    each = [list(_problems(key, value, one, settings, more)) for one in choices if one is not type(None)]
    if all(each):
        optional = ", or null" if type(None) in choices else ""
        yield from ((name, f"{text}{optional}") for name, text in each[0])


def _is_ours(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.partition(".")[0] == __name__.partition(".")[0]


def _of_numbers(hint: Any) -> bool:
    return hint in (int, float) or any(map(_of_numbers, typing.get_args(hint)))


def _number_problem(value: Any, kind: type, settings: Mapping[str, Any], more: tuple[Any, ...]) -> str | None:
    ranges = [one for one in more if isinstance(one, Range)]
    fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not all(value in one for one in ranges):
        return " ".join([f"is {value!r}, wanted {'an integer' if kind is int else 'a number'}", *map(str, ranges)])
    for relation in more:
        other = value_at(settings, relation.other) if isinstance(relation, Divides | AtMost) else None
        if not isinstance(other, int | float) or isinstance(other, bool):
            continue
        if isinstance(relation, Divides) and other > 0 and other % value:
            return f"is {value}, wanted a divisor of {relation.other}, which is {other}"
        if isinstance(relation, AtMost) and value > other:
            return f"is {value}, wanted at most {relation.other}, which is {other}"
    return None
