"""Ids as numbers of a model, and the items that may be recommended."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from sage_pl.errors import SettingError

_SEARCHED = 100_000  # ids among which the nearest to an unknown one are looked for


def ids_given(ids: Any, what: str) -> list[str]:
    """Ids as text.

    Args:
        ids: a list of them, or an array or a series.
        what: they are of, such as ``items``.

    Raises:
        SettingError: ``ids`` is a text or no list.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        kind = "text" if isinstance(ids, str) else type(ids).__name__
        raise SettingError(f"{what} are a list of ids, got the {kind} {ids!r}; write [{ids!r}]")
    return [str(one) for one in ids]


def list_length(k: Any, most: int) -> int:
    """``k``, at most ``most``.

    Raises:
        SettingError: it is no whole number of at least 1.
    """
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise SettingError(f"k must be at least 1 and a whole number, got {k!r}")
    return min(int(k), most)


def item_rows(numbers: Mapping[str, int], ids: Sequence[str]) -> list[int]:
    """The model's numbers of items.

    Args:
        numbers: by id.
        ids: of items.

    Raises:
        SettingError: the first that is unknown, with the nearest known ids; or ``ids`` is a text.
    """
    ids = ids_given(ids, "items")
    for one in ids:
        if one not in numbers:
            near = difflib.get_close_matches(one, list(numbers)[:_SEARCHED], n=3)
            hint = f"the nearest ids are {', '.join(near)}" if near else f"ids look like {next(iter(numbers), 'none')}"
            raise SettingError(f"the model has no item {one!r} among its {len(numbers)}; {hint}")
    return [numbers[one] for one in ids]


def allowed_rows(
    numbers: Mapping[str, int], candidates: Sequence[str] | None, exclude: Sequence[str] | None
) -> list[bool] | None:
    """True for the rows of the item table that may be recommended, [N + 2]; None for all of them.

    Args:
        numbers: 1..N by id.
        candidates: ids of the only items that are; None for all.
        exclude: ids of those that are not.

    Raises:
        SettingError: an id is unknown, or no item remains.
    """
    if candidates is None and exclude is None:
        return None
    allowed = [candidates is None] * (len(numbers) + 2)
    for row in item_rows(numbers, () if candidates is None else candidates):
        allowed[row] = True
    for row in item_rows(numbers, () if exclude is None else exclude):
        allowed[row] = False
    if not any(allowed[1:-1]):
        raise SettingError(
            "candidates and exclude leave no item to recommend; name fewer in exclude or more in candidates"
        )
    return allowed
