"""Names and numbers as readers see them."""

from __future__ import annotations

import re

_GROUPS = {
    "overall": "all",
    "item_head": "head items",
    "item_tail": "tail items",
    "item_unseen": "unseen items",
    "user_short": "short histories",
    "user_long": "long histories",
    "answer_repeat": "repeated answers",
    "answer_new": "new answers",
    "day_own": "a day of its own",
    "day_shared": "a shared day",
}
_CELL = re.compile(r"user_(short|long)_item_(head|tail)")


def group(name: str) -> str:
    """``item_10-19`` -> ``10–19``; other names stay as they are."""
    if name in _GROUPS:
        return _GROUPS[name]
    if cell := _CELL.fullmatch(name):
        return f"{cell.group(1)} history, {cell.group(2)} item"
    return re.sub(r"^(item|user)_(?=\d)", "", name).replace("-", "–").replace("_", " ")


def metric(name: str) -> str:
    """``ndcg@10`` -> ``NDCG@10``."""
    return name.upper()


def protocol(name: str) -> str:
    """``sampled100`` -> ``100 sampled candidates``."""
    if name.startswith("sampled"):
        return f"{name.removeprefix('sampled')} sampled candidates"
    return "all items ranked" if name == "full" else name


def percent(value: float | None, digits: int = 2) -> str:
    """A share in percent, without the sign."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "–" if value is None else f"{100 * value:+.2f}".replace("-", "−")


def between(low: float | None, high: float | None) -> str:
    """An interval of shares in percent; empty where an end is missing."""
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def seconds(value: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(n_bytes: float) -> str:
    """``512 B``, ``3.4 MB``."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def shorten(text: str, length: int = 90) -> str:
    """At most ``length`` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
